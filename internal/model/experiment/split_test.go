package experiment

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bundled is an experiment over commits.
func bundled(levels ...string) *Experiment {
	e := &Experiment{Name: "e", Fleet: "fleet.yaml", Replicates: 1, Factors: []Factor{
		{Name: "disk", Kind: Knob, Target: KnobDisk, Levels: []Level{{Name: "small", Value: "1G"}, {Name: "large", Value: "2G"}}},
		{Name: "code", Kind: Ref, Source: "agent"},
	}}
	for _, l := range levels {
		e.Factors[1].Levels = append(e.Factors[1].Levels, Level{Name: l, Value: "commit-" + l})
		e.Cells = append(e.Cells, Cell{Setting: l, Levels: Levels{"disk": "large", "code": l}, Temperature: Cold})
	}
	again := e.Cells[0]
	again.Control = true
	e.Cells = append(e.Cells, again)
	return e
}

func TestSplit(t *testing.T) {
	for _, tc := range []struct {
		name     string
		e        *Experiment
		pointers map[string]string
		want     []string // cells: id, code, pointer
	}{
		{"a bump", bundled("old", "new"), map[string]string{"old": "a", "new": "b"}, []string{
			"old/cold old old", "new/cold new new",
			"disk=small,code=new,code-sdk=old/cold new old", "disk=small,code=old,code-sdk=new/cold old new", "old/cold+aa old old",
		}},
		{"only one of two moves it", bundled("v1", "v2", "v3"), map[string]string{"v1": "a", "v2": "a", "v3": "b"}, []string{
			"v1/cold v1 v1", "v2/cold v2 v1", "v3/cold v3 v3",
			"disk=small,code=v3,code-sdk=v1/cold v3 v1", "disk=small,code=v1,code-sdk=v3/cold v1 v3", "v1/cold+aa v1 v1",
		}},
		{"a level that only a search looks at", searched(bundled("v1", "v2"), "v3"), map[string]string{"v1": "a", "v2": "b", "v3": "c"}, []string{
			"v1/cold v1 v1", "v2/cold v2 v2",
			"disk=small,code=v2,code-sdk=v1/cold v2 v1", "disk=small,code=v1,code-sdk=v2/cold v1 v2", "v1/cold+aa v1 v1",
		}},
		{"equal pointers", bundled("old", "new"), map[string]string{"old": "a", "new": "a"}, nil},
		{"a pointer that is not known", bundled("old", "new"), map[string]string{"old": "a"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := tc.e.Digest()
			got := tc.e.Split("code", "vendor/sdk", tc.pointers)
			if tc.want == nil {
				if got != tc.e {
					t.Error("it was taken apart")
				}
				return
			}
			if err := got.Check(); err != nil {
				t.Error(err)
			}
			var cells []string
			for _, c := range got.Cells {
				cells = append(cells, c.ID()+" "+c.Levels["code"]+" "+c.Levels["code-sdk"])
			}
			if d := cmp.Diff(tc.want, cells); d != "" {
				t.Errorf("cells (-want +got):\n%s", d)
			}
			for _, c := range tc.e.Cells { // what follows is what the commit has
				along := got.Along("code", c.Levels["code"])
				if want := tc.pointers[c.Levels["code"]]; pointerOf(got, along) != want || along["disk"] != "small" {
					t.Errorf("along %s: %v, which points to %s, not %s", c.Levels["code"], along, pointerOf(got, along), want)
				}
			}
			if tc.e.Digest() != before || got.Digest() == before {
				t.Error("the original was changed, or the result is the same experiment")
			}
			if again := got.Split("code", "vendor/sdk", tc.pointers); again != got {
				t.Error("what is apart was taken apart again")
			}
		})
	}
}

// searched adds a level that no cell has.
func searched(e *Experiment, level string) *Experiment {
	i := slices.IndexFunc(e.Factors, func(f Factor) bool { return f.Name == "code" })
	e.Factors[i].Levels = append(e.Factors[i].Levels, Level{Name: level, Value: strings.Repeat("9", 40)})
	return e
}

// pointerOf is the commit that levels point to.
func pointerOf(e *Experiment, l Levels) string {
	f, _ := e.Factor("code-sdk")
	level, _ := f.Level(l["code-sdk"])
	return level.Value
}
