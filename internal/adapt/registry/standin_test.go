package registry_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

const (
	diffA = graph.Digest("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	diffB = graph.Digest("sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
)

// TestReadStandIn reads the same base from both forms.
func TestReadStandIn(t *testing.T) {
	const want = `{"architecture":"amd64","config":{"Cmd":["sh"],"Env":["A=b"]},"os":"linux"}`
	for name, tt := range map[string]struct {
		text   string
		layers int
	}{
		"a config":       {`{"os": "linux", "architecture": "amd64", "created": "2024-01-01T00:00:00Z", "config": {"Env": ["A=b"], "Cmd": ["sh"], "Hostname": "x"}, "rootfs": {"type": "layers", "diff_ids": ["` + string(diffA) + `", "` + string(diffB) + `"]}, "history": [{"created_by": "x"}]}`, 2},
		"inspected":      {`[{"Id": "sha256:x", "Os": "linux", "Architecture": "amd64", "Config": {"Cmd": ["sh"], "Env": ["A=b"], "Hostname": "y"}, "RootFS": {"Type": "layers", "Layers": ["` + string(diffA) + `"]}, "Metadata": {"LastTagTime": "x"}}]`, 1},
		"one inspected":  {`{"Config": {"Cmd": ["sh"], "Env": ["A=b"]}}`, 1},
		"no more than a": {"\n {\"config\": {\"Cmd\": [\"sh\"], \"Env\": [\"A=b\"]}}\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := registry.ReadStandIn("f.json", []byte(tt.text), "linux/amd64")
			if err != nil {
				t.Fatal(err)
			}
			if string(b.View) != want || !b.StandIn || b.Ref != "" || len(b.DiffIDs) != tt.layers || len(b.History) != tt.layers || len(b.Layers) != 0 {
				t.Errorf("%s %+v", b.View, b)
			}
		})
	}
	if b, err := registry.ReadStandIn("f.json", []byte(`{"config": {}}`), "linux/arm/v6"); err != nil || string(b.View) != `{"architecture":"arm","config":{},"os":"linux","variant":"v6"}` {
		t.Errorf("%s %v", b.View, err)
	}
}

func TestReadStandInRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:                                   "f.json:1:1: unexpected end of JSON input",
		"{\n \"config\": {},,\n}":            `f.json:2:15: invalid character ',' looking for beginning of object key string`,
		`{"config": 3}`:                      "f.json:1:12: config cannot be a number",
		"[{\"Config\":\n{\"Cmd\": \"\"}}]":   "f.json:2:10: config.Cmd cannot be a string",
		`[]`:                                 "f.json:1:1: this is about 0 images; one is needed",
		`[null]`:                             "f.json:1:1: this is about 1 images; one is needed",
		`null`:                               "f.json:1:1: this is about 1 images; one is needed",
		`{"schemaVersion": 2, "config": {}}`: "f.json:1:1: this is a manifest, not an image's config",
		`{"Config": {}, "Os": "windows", "Architecture": "amd64"}`: "f.json:1:1: this is the config of an image for windows/amd64",
	} {
		_, err := registry.ReadStandIn("f.json", []byte(text), "linux/amd64")
		var l diag.List
		if !errors.As(err, &l) || len(l) != 1 || l[0].Code != diag.BaseConfig || l[0].Help == "" {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if d := cmp.Diff(want, l[0].Pos.String()+": "+l[0].Message); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func FuzzReadStandIn(f *testing.F) {
	for _, s := range []string{`{"config": {}}`, `[{"Config": {"Env": ["A"]}, "RootFS": {"Layers": ["x"]}}]`, `[`, `{"config": {"Labels": {"a": 1}}}`, `{"Config": {}, "config": {}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := registry.ReadStandIn("f.json", []byte(text), "linux/amd64")
		if err != nil {
			if diag.KindOf(err) != diag.File {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		var view map[string]any
		if json.Unmarshal(b.View, &view) != nil || view["os"] != "linux" || len(b.DiffIDs) == 0 || len(b.DiffIDs) != len(b.History) {
			t.Errorf("%q: %s %+v", text, b.View, b)
		}
	})
}
