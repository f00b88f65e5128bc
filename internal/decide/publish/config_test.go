package publish_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// TestSolveConfigLabel: with Docker media types the key is a label, and no other
// byte of the inner config moves.
func TestSolveConfigLabel(t *testing.T) {
	tests := []struct{ name, config, want string }{
		{"no config", `{"os":"linux"}`, `{"Labels":{"dev.lapstrake.key":"v1:a"}}`},
		{"null", `{"config":null}`, `{"Labels":{"dev.lapstrake.key":"v1:a"}}`},
		{"empty", `{"config":{}}`, `{"Labels":{"dev.lapstrake.key":"v1:a"}}`},
		{"no labels", `{"config":{"User":"u","Env":["A=\u003cb"],"Cmd":null}}`, `{"User":"u","Env":["A=\u003cb"],"Cmd":null,"Labels":{"dev.lapstrake.key":"v1:a"}}`},
		{"before what follows labels", `{"config":{"Env":[],"StopSignal":"x","Shell":["y"]}}`, `{"Env":[],"Labels":{"dev.lapstrake.key":"v1:a"},"StopSignal":"x","Shell":["y"]}`},
		{"before a health check", `{"config":{"Healthcheck":{"Test":["x"]}}}`, `{"Labels":{"dev.lapstrake.key":"v1:a"},"Healthcheck":{"Test":["x"]}}`},
		{"among others", `{"config":{"Labels":{"z":"1","a":"2"},"Shell":["y"]}}`, `{"Labels":{"a":"2","dev.lapstrake.key":"v1:a","z":"1"},"Shell":["y"]}`},
		{"in place of the base's own", `{"config":{"Labels":{"dev.lapstrake.key":"v0:b"}}}`, `{"Labels":{"dev.lapstrake.key":"v1:a"}}`},
		{"no labels at all", `{"config":{"Labels":null,"Shell":["y"]}}`, `{"Labels":{"dev.lapstrake.key":"v1:a"},"Shell":["y"]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := publish.SolveConfig(&fact.Base{}, &graph.Variant{Config: json.RawMessage(tt.config)}, fleet.Output{MediaTypes: "docker"}, "v1:a")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, field(t, data, "config")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestUnder: a result that is not built on the base has its own history, and the
// exporter keeps the times of what it is built on.
func TestUnder(t *testing.T) {
	base := &fact.Base{View: json.RawMessage(`{"os":"linux"}`), DiffIDs: []graph.Digest{"sha256:d"}, History: []graph.History{{CreatedBy: "base"}}}
	on := &graph.Variant{Config: json.RawMessage(`{}`), History: []graph.History{{CreatedBy: "recipe"}}}
	beside := *on
	beside.Under = json.RawMessage(`{"os":"other"}`)
	for _, tt := range []struct {
		name          string
		v             *graph.Variant
		history, base string
	}{
		{"on the base", on, `[{"created_by":"base"},{"created_by":"recipe"}]`, `{"history":[{"created_by":"base"}],"os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:d"]}}`},
		{"beside it", &beside, `[{"created_by":"recipe"}]`, `{"os":"other"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config, err := publish.SolveConfig(base, tt.v, fleet.Output{}, "v1:a")
			if err != nil {
				t.Fatal(err)
			}
			below, err := publish.BaseConfig(base, tt.v)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{tt.history, tt.base}, []string{field(t, config, "history"), string(below)}); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestComposeAnnotations: new layers keep what the exporter says of them, those
// of the base only what lazy pulling needs, and Docker's manifests have none.
func TestComposeAnnotations(t *testing.T) {
	im := sample()
	im.Layers.Descriptors[0].Annotations = map[string]string{"buildkit/rewritten-timestamp": "1"}
	for _, tt := range []struct {
		types string
		want  []map[string]string
	}{
		{"oci", []map[string]string{{"io.containers.estargz.uncompressed-size": "9"}, {"buildkit/rewritten-timestamp": "1"}}},
		{"docker", []map[string]string{nil, nil}},
	} {
		im.Output.MediaTypes = tt.types
		_, manifest, err := publish.Compose(im)
		if err != nil {
			t.Fatal(err)
		}
		blobs, err := publish.BlobsOf(manifest.Data)
		if err != nil {
			t.Fatal(err)
		}
		got := []map[string]string{blobs[0].Annotations, blobs[1].Annotations}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.types, diff)
		}
	}
}

// FuzzSolveConfig: whatever the config, the result is JSON with the label, or an
// error.
func FuzzSolveConfig(f *testing.F) {
	f.Add([]byte(`{"config":{"Env":["a"],"Labels":{"x":"y"},"Shell":[]}}`))
	f.Add([]byte(`{"config":[]}`))
	f.Add([]byte(`{"config":"x"}`))
	f.Add([]byte(`{"config":{"Labels":1}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		data, err := publish.SolveConfig(&fact.Base{}, &graph.Variant{Config: config}, fleet.Output{MediaTypes: "docker"}, "v1:a")
		if err != nil {
			return
		}
		inner := field(t, data, "config")
		var labels map[string]string
		if err := json.Unmarshal([]byte(field(t, []byte(inner), "Labels")), &labels); err != nil || labels[fact.KeyAnnotation] != "v1:a" {
			t.Errorf("%s became %s", config, data)
		}
	})
}

// field is the text of a top-level field.
func field(t *testing.T, object []byte, name string) string {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(object, &m); err != nil {
		t.Fatal(err)
	}
	return string(m[name])
}
