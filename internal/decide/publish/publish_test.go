package publish_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

func TestSplit(t *testing.T) {
	tests := []struct{ ref, repo, tag string }{
		{"reg.example/a/b:c", "reg.example/a/b", "c"},
		{"localhost:5000/a", "localhost:5000/a", ""},
		{"localhost:5000/a:b", "localhost:5000/a", "b"},
		{"reg/a@sha256:00", "reg/a", "sha256:00"},
		{"reg/a:b@sha256:00", "reg/a", "sha256:00"},
	}
	for _, tt := range tests {
		if repo, tag := publish.Split(tt.ref); repo != tt.repo || tag != tt.tag {
			t.Errorf("Split(%q) = %q, %q", tt.ref, repo, tag)
		}
	}
	if got := publish.KeyTag("v1:0123456789abcdef"); got != "k-0123456789ab" {
		t.Errorf("KeyTag = %q", got)
	}
}

func TestBlobs(t *testing.T) {
	layers := []fact.Descriptor{{Digest: "sha256:a", Size: 1}, {Digest: "sha256:b", Size: 2}, {Digest: "sha256:a", Size: 1}}
	tests := []struct {
		name, repo, from string
		want             string
	}{
		{"same repository", "r.example/x", "r.example/x", ""},
		{"same registry", "r.example/x", "r.example/y", "mount a, mount b"},
		{"other registry", "r.example/x", "s.example/y", "copy a, copy b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, op := range publish.Blobs(tt.repo, tt.from, layers) {
				got = append(got, fmt.Sprintf("%s %s", op.Kind, strings.TrimPrefix(string(op.Digest), "sha256:")))
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, ", ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBaseBlobs(t *testing.T) {
	layers := []fact.Descriptor{{Digest: "sha256:a", Size: 1}, {Digest: "sha256:a", Size: 1}}
	for _, tt := range []struct {
		to, from string
		want     plan.OpKind
	}{
		{"", "r.example/x", ""}, {"", "r.example/y", plan.OpMount}, {"", "s.example/y", plan.OpCopy},
		{"oci:/out", "r.example/x", plan.OpCopy}, {"oci:/out", "r.example/y", plan.OpCopy}, {"oci:/out", "s.example/y", plan.OpCopy},
	} {
		ops := publish.BaseBlobs(fleet.Output{To: tt.to}, "r.example/x", tt.from, layers)
		var got plan.OpKind
		if len(ops) > 0 {
			got = ops[0].Kind
		}
		if got != tt.want || len(ops) > 1 {
			t.Errorf("from %s to %q: %+v, want %q", tt.from, tt.to, ops, tt.want)
		}
	}
}

func TestManifests(t *testing.T) {
	m := publish.Object{MediaType: "m", Digest: "sha256:m", Data: []byte("{}")}
	one := publish.Manifests("r/x", []string{"r/x:a"}, m)
	if len(one) != 1 || one[0].Tag != "a" {
		t.Errorf("one tag: %+v, want one PUT by tag", one)
	}
	two := publish.Manifests("r/x", []string{"r/x:a", "r/x:b"}, m)
	var tags []string
	for _, op := range two {
		tags = append(tags, op.Tag)
	}
	if diff := cmp.Diff([]string{"", "a", "b"}, tags); diff != "" {
		t.Errorf("several tags: by digest first (-want +got):\n%s", diff)
	}
	for _, op := range two {
		if op.Kind != plan.OpManifest || string(op.Data) != "{}" {
			t.Errorf("not the manifest: %+v", op)
		}
	}
}

func at(s string) *time.Time {
	tm, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return &tm
}

func sample() publish.Image {
	return publish.Image{
		Base: &fact.Base{Ref: "r.example/base:1",
			Layers:  []fact.Descriptor{{MediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", Digest: "sha256:b1", Size: 7, Annotations: map[string]string{"x": "y", "io.containers.estargz.uncompressed-size": "9"}}},
			DiffIDs: []graph.Digest{"sha256:d1"},
			History: []graph.History{{Created: at("2020-01-01T00:00:00Z"), CreatedBy: "ADD <rootfs>"}}},
		Variant: &graph.Variant{Config: json.RawMessage(`{"os":"linux","architecture":"amd64","config":{"Env":["A=b & c"]}}`),
			History: []graph.History{{CreatedBy: "ENV A", EmptyLayer: true, Comment: "buildkit.dockerfile.v0"}, {CreatedBy: "COPY x", Comment: "buildkit.dockerfile.v0"}, {CreatedBy: "USER u", EmptyLayer: true}}},
		Layers: publish.Layers{Descriptors: []fact.Descriptor{{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: "sha256:s1", Size: 11}},
			DiffIDs: []graph.Digest{"sha256:e1"}, Times: []time.Time{*at("2024-05-05T05:05:05.123456789Z")}},
		Key: "v1:abc",
	}
}

func TestComposeTimes(t *testing.T) {
	times := func(im publish.Image) (string, string) {
		config, _, err := publish.Compose(im)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Created *time.Time
			History []graph.History
		}
		if err := json.Unmarshal(config.Data, &c); err != nil {
			t.Fatal(err)
		}
		var years []string
		for _, h := range c.History {
			years = append(years, h.Created.Format("2006"))
		}
		return strings.Join(years, " "), c.Created.Format("2006")
	}
	tests := []struct {
		name          string
		change        func(*publish.Image)
		want, created string
	}{
		{"metadata before the first new layer takes its time", func(*publish.Image) {}, "2020 2024 2024 2024", "2024"},
		{"config only takes the base's last time", func(im *publish.Image) {
			im.Layers, im.Variant.History = publish.Layers{}, im.Variant.History[2:]
		}, "2020 2020", "2020"},
		{"an epoch clamps what is new", func(im *publish.Image) { im.Epoch = at("2021-01-01T00:00:00Z") }, "2020 2021 2021 2021", "2021"},
		{"an epoch before the base leaves the base alone", func(im *publish.Image) { im.Epoch = at("2019-01-01T00:00:00Z") }, "2020 2019 2019 2019", "2019"},
		{"a base without times takes the layer's", func(im *publish.Image) { im.Base.History[0].Created = nil }, "2024 2024 2024 2024", "2024"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			im := sample()
			tt.change(&im)
			got, created := times(im)
			if got != tt.want || created != tt.created {
				t.Errorf("history %s created %s, want %s and %s", got, created, tt.want, tt.created)
			}
		})
	}
}

func TestComposeForms(t *testing.T) {
	im := sample()
	config, manifest, err := publish.Compose(im)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": "` + string(config.Digest) + `",
    "size": ` + fmt.Sprint(len(config.Data)) + `
  },
  "layers": [
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "digest": "sha256:b1",
      "size": 7,
      "annotations": {
        "io.containers.estargz.uncompressed-size": "9"
      }
    },
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "digest": "sha256:s1",
      "size": 11
    }
  ],
  "annotations": {
    "dev.lapstrake.key": "v1:abc"
  }
}`
	if diff := cmp.Diff(want, string(manifest.Data)); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	if !strings.Contains(string(config.Data), `"diff_ids":["sha256:d1","sha256:e1"]`) || !strings.Contains(string(config.Data), `b \u0026 c`) {
		t.Errorf("config %s", config.Data)
	}
	im.Output = fleet.Output{MediaTypes: "docker"}
	config, manifest, err = publish.Compose(im)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(manifest.Data); strings.Contains(s, "oci") || strings.Contains(s, "annotations") || !strings.Contains(string(config.Data), `"dev.lapstrake.key":"v1:abc"`) {
		t.Errorf("Docker media types: %s\n%s", manifest.Data, config.Data)
	}
}

func TestComposeRefuses(t *testing.T) {
	im := sample()
	im.Variant.History = nil // a layer that no history names
	if _, _, err := publish.Compose(im); err == nil {
		t.Error("history and layers differ, and nobody says so")
	}
}

// TestComposeProperties: whatever base and layers, equal input gives equal
// bytes, layers and diff ids go together, and no history entry lacks a time.
func TestComposeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		im := sample()
		im.Base.Layers, im.Base.DiffIDs, im.Base.History = nil, nil, nil
		for i := range rapid.IntRange(0, 6).Draw(t, "base") {
			d := graph.Digest(fmt.Sprint("sha256:", i))
			im.Base.Layers = append(im.Base.Layers, fact.Descriptor{Digest: d})
			im.Base.DiffIDs = append(im.Base.DiffIDs, d)
			if rapid.Bool().Draw(t, "meta") {
				im.Base.History = append(im.Base.History, graph.History{EmptyLayer: true})
			}
			im.Base.History = append(im.Base.History, graph.History{Created: at("2020-01-01T00:00:00Z")})
		}
		c1, m1, err := publish.Compose(im)
		if err != nil {
			t.Fatal(err)
		}
		c2, m2, _ := publish.Compose(im)
		if c1.Digest != c2.Digest || m1.Digest != m2.Digest {
			t.Fatal("two compositions of one image differ")
		}
		var c struct {
			RootFS struct {
				DiffIDs []string `json:"diff_ids"`
			}
			History []graph.History
		}
		blobs, err := publish.BlobsOf(m1.Data)
		if err != nil || json.Unmarshal(c1.Data, &c) != nil {
			t.Fatal(err)
		}
		if len(blobs) != len(c.RootFS.DiffIDs)+1 {
			t.Fatalf("%d blobs, %d diff ids", len(blobs), len(c.RootFS.DiffIDs))
		}
		for i, h := range c.History {
			if h.Created == nil {
				t.Fatalf("history %d has no time", i)
			}
		}
	})
}

// FuzzReadLayers: what a registry answers is never trusted to be well formed.
func FuzzReadLayers(f *testing.F) {
	f.Add([]byte(`{"layers":[{"digest":"sha256:a"}]}`), []byte(`{"rootfs":{"diff_ids":["sha256:b"]},"history":[{"created":"2020-01-01T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		l, err := publish.ReadLayers(manifest, config)
		if err == nil && len(l.Descriptors) != len(l.DiffIDs) {
			t.Error("layers and diff ids differ")
		}
		publish.ConfigOf(manifest)
		publish.BlobsOf(manifest)
	})
}
