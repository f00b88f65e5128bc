package lint_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/lint"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// TestSourceAndProfiles: what a source's commit and a profile reach.
func TestSourceAndProfiles(t *testing.T) {
	const commit = "0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d"
	const text = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE} AS final\nARG SOURCE\nLABEL source=$SOURCE\n"
	for _, tt := range []struct {
		name   string
		change func(*fleet.Fleet)
		want   []string
	}{
		{"neither", func(*fleet.Fleet) {}, nil},
		{"in the tag alone", func(f *fleet.Fleet) {
			f.Recipe.Source = &fleet.Source{Commit: commit}
			f.Images[0].Tags = []string{"registry.example.com/agents:" + commit[:7]}
		}, []string{"tag-changes-alone the commit of the recipe's source is in the tag and reaches no step, so that each commit only gives 1 image another tag"}},
		{"in the image too", func(f *fleet.Fleet) {
			f.Recipe.Source = &fleet.Source{Commit: commit}
			f.Recipe.Args = map[string]string{"SOURCE": commit}
			f.Images[0].Tags = []string{"registry.example.com/agents:" + commit[:7]}
		}, nil},
		{"a profile for the target", func(f *fleet.Fleet) {
			f.Recipe.Target, f.Recipe.Profiles = "final", []fleet.Profile{{Name: "debug", Targets: []string{"final"}}}
		}, nil},
		{"a profile for others", func(f *fleet.Fleet) {
			f.Recipe.Target, f.Recipe.Profiles = "final", []fleet.Profile{{Name: "debug", Targets: []string{"other", "more"}}}
		}, []string{"argument-unused the profile debug reaches no step: it is for other, more, and the recipe builds final"}},
		{"a profile without a target", func(f *fleet.Fleet) { f.Recipe.Profiles = []fleet.Profile{{Name: "debug", Targets: []string{"final"}}} },
			[]string{"argument-unused the profile debug reaches no step: it is for final, and the recipe builds its last stage, which no profile names"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range map[string]string{"Dockerfile": text, "fleet.yaml": standardFleet} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			in := open(t, dir)
			tt.change(in.Fleet)
			in.Images[0].Image.Tags = in.Fleet.Images[0].Tags
			var got []string
			for _, f := range lint.Check(in) {
				got = append(got, f.Code+" "+f.Message)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
