package publish_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// part is a manifest of an index.
func part(platform string, n int) publish.Part {
	return publish.Part{Platform: platform, Key: "v1:" + platform, Manifest: manifestOf(platform, n)}
}

func manifestOf(name string, n int) publish.Object {
	return publish.Object{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: graph.Digest("sha256:" + name), Data: make([]byte, n)}
}

func TestIndexBytes(t *testing.T) {
	attested := part("linux/amd64", 10)
	attested.Attestation = manifestOf("attestation", 30)
	for _, tt := range []struct {
		name  string
		parts []publish.Part
		out   fleet.Output
		key   string
	}{
		{"oci", []publish.Part{part("linux/amd64", 10), part("linux/arm/v7", 20)}, fleet.Output{Annotations: map[string]string{"org.example.a": "b"}}, "v1:whole"},
		{"docker", []publish.Part{part("linux/amd64", 10), part("linux/arm64", 20)}, fleet.Output{MediaTypes: "docker"}, "v1:whole"},
		{"attested", []publish.Part{attested, part("linux/arm64", 20)}, fleet.Output{}, "v1:whole"},
		{"mirror", []publish.Part{{Platform: "linux/amd64", Manifest: manifestOf("m", 10)}}, fleet.Output{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, err := publish.Index(tt.parts, tt.out, tt.key)
			if err != nil {
				t.Fatal(err)
			}
			golden.Text(t, "testdata/index-"+tt.name+".json", string(x.Data)+"\n")
		})
	}
}

// TestIndexProperty: every part is in the index once, in order, with its platform and
// key, before what attests it; equal arguments give equal bytes.
func TestIndexProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parts []publish.Part
		for _, p := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7", "linux/s390x"}), 1, 5, rapid.ID[string]).Draw(t, "platforms") {
			x := part(p, rapid.IntRange(0, 99).Draw(t, "size"))
			if rapid.Bool().Draw(t, "attested") {
				x.Attestation = manifestOf("of "+p, 1)
			}
			parts = append(parts, x)
		}
		index, err := publish.Index(parts, fleet.Output{}, "v1:k")
		if err != nil {
			t.Fatal(err)
		}
		again, _ := publish.Index(slices.Clone(parts), fleet.Output{}, "v1:k")
		if index.Digest != again.Digest {
			t.Fatal("other bytes")
		}
		var doc struct {
			Manifests []struct {
				fact.Descriptor
				Platform struct{ OS, Architecture, Variant string }
			}
		}
		if err := json.Unmarshal(index.Data, &doc); err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, m := range doc.Manifests {
			platform := m.Platform.OS + "/" + m.Platform.Architecture
			if m.Platform.Variant != "" {
				platform += "/" + m.Platform.Variant
			}
			got = append(got, platform+" "+string(m.Digest)+" "+m.Annotations[fact.KeyAnnotation]+m.Annotations["vnd.docker.reference.digest"])
		}
		for _, p := range parts {
			want = append(want, p.Platform+" "+string(p.Manifest.Digest)+" "+p.Key)
		}
		for _, p := range parts {
			if p.Attestation.Digest != "" {
				want = append(want, "unknown/unknown "+string(p.Attestation.Digest)+" "+string(p.Manifest.Digest))
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}
