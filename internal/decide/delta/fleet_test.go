package delta

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// fleetOf is n images with a shared step and one on each base. The first letter
// of the version is what the shared step does, the second what the other does,
// the third is the config's, the fourth the tags'.
func fleetOf(n int, version string) Plan {
	g := graph.Graph{Steps: []graph.Step{
		{Digest: graph.Digest("shared" + version[:1]), Kind: graph.KindExec, Own: graph.Digest(version[:1]), Name: "RUN make", Key: graph.Key{Stage: "builder", Text: "RUN make"}},
		{Digest: "base", Kind: graph.KindImage, Own: "base", BaseBound: true, Name: "FROM base", Key: graph.Key{Text: "FROM base"}},
		{Digest: graph.Digest("bound" + version[:2]), Kind: graph.KindExec, Own: graph.Digest(version[1:2]), BaseBound: true, Name: "RUN setup", Key: graph.Key{Text: "RUN setup"},
			Inputs: []graph.Digest{"base", graph.Digest("shared" + version[:1])}},
	}}
	id := graph.Digest("variant" + version[:3])
	p := Plan{Name: version, Plan: &plan.Plan{}, Basis: &plan.Basis{Conversions: []plan.Conversion{{ID: id, Graph: g}}}}
	for i := range n {
		image := string(rune('a' + i))
		p.Plan.Units = append(p.Plan.Units, plan.Unit{Image: image, Action: plan.Build, Variant: id, BaseLayers: "l", Base: "base:" + image,
			Key: "key" + version[:3] + image, Tags: []string{"repo:" + image + version[3:]}})
	}
	return p
}

func inCache(p Plan, repo string) Plan {
	p.Plan.Cache = repo
	return p
}

// TestKept: what a build keeps are the results of steps that do work and that a
// step on a base takes in; a source, and what only they rest on, is not among it.
func TestKept(t *testing.T) {
	p := fleetOf(1, "1111")
	g := &p.Basis.Conversions[0].Graph
	g.Steps = append([]graph.Step{{Digest: "below", Kind: graph.KindExec, Own: "below"}, {Digest: "local", Kind: graph.KindLocal, Own: "local"}}, g.Steps...)
	g.Steps[2].Inputs = []graph.Digest{"below"}
	last := &g.Steps[len(g.Steps)-1]
	last.Inputs = append(last.Inputs, "local", "shared1")
	if d := cmp.Diff([]graph.Digest{"shared1", "local"}, g.Taken()); d != "" {
		t.Error(d)
	}
	if got := Kept(p.Plan, p.Basis); got != nil {
		t.Errorf("without a repository: %v", got)
	}
	p.Plan.Cache = "r/cache"
	p.Basis.Conversions = append(p.Basis.Conversions, p.Basis.Conversions[0])
	want := []string{publish.CacheRef("r/cache", &g.Steps[2], g.Fingerprints(nil)["shared1"])}
	if d := cmp.Diff(want, Kept(p.Plan, p.Basis)); d != "" {
		t.Error(d)
	}
}

func TestPlans(t *testing.T) {
	tests := []struct {
		name                  string
		old, now              Plan
		unchanged, configOnly int
		want                  Executions
		moves                 []Move
	}{
		{name: "nothing", old: fleetOf(3, "1111"), now: fleetOf(3, "1111"), unchanged: 3},
		{name: "step on the base", old: fleetOf(3, "1111"), now: fleetOf(3, "1211"), want: Executions{BaseBound: 3, PerImage: 1},
			moves: []Move{{What: "content keys", Moved: 3, Of: 3, Old: "key111a", New: "key121a"}}},
		{name: "shared step", old: fleetOf(2, "1111"), now: fleetOf(2, "2111"), want: Executions{Shared: 1, BaseBound: 2, PerImage: 1.5},
			moves: []Move{{What: "content keys", Moved: 2, Of: 2, Old: "key111a", New: "key211a"}, {What: "cache refs", Moved: 1, Of: 1}}},
		{name: "config", old: fleetOf(2, "1111"), now: fleetOf(2, "1121"), configOnly: 2, want: Executions{Released: 2},
			moves: []Move{{What: "content keys", Moved: 2, Of: 2, Old: "key111a", New: "key112a"}}},
		{name: "tags", old: fleetOf(3, "1111"), now: fleetOf(3, "1112"), unchanged: 3,
			moves: []Move{{What: "tags", Moved: 3, Of: 3, Same: 3, Old: "repo:a1", New: "repo:a2"}}},
		{name: "cache repository", old: inCache(fleetOf(2, "1111"), "r/old"), now: inCache(fleetOf(2, "1111"), "r/new"), unchanged: 2,
			moves: []Move{{What: "cache refs", Moved: 1, Of: 1, Same: 1}}},
		{name: "first cache repository", old: fleetOf(2, "1111"), now: inCache(fleetOf(2, "1111"), "r/new"), unchanged: 2},
		{name: "new image", old: fleetOf(1, "1111"), now: fleetOf(2, "1111"), unchanged: 1, want: Executions{BaseBound: 1, PerImage: .5}},
		{name: "another base", old: fleetOf(2, "1111"), now: func() Plan {
			p := fleetOf(2, "1111")
			p.Plan.Units[1].BaseLayers, p.Plan.Units[1].Key, p.Plan.Units[1].BaseDigest = "other", "other", "other"
			return p
		}(), unchanged: 1, want: Executions{BaseBound: 1, PerImage: .5},
			moves: []Move{{What: "content keys", Moved: 1, Of: 2, Old: "key111b", New: "other"}, {What: "bases", Moved: 1, Of: 2, Old: "base:b@", New: "base:b@other"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Plans(tt.old, tt.now, nil)
			if d := cmp.Diff(tt.want, r.Executions); d != "" {
				t.Error(d)
			}
			for i := range r.Moves {
				if r.Moves[i].What == "cache refs" {
					r.Moves[i].Old, r.Moves[i].New = "", ""
				}
			}
			if d := cmp.Diff(tt.moves, r.Moves, cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
			if r.Unchanged != tt.unchanged || r.ConfigOnly != tt.configOnly {
				t.Errorf("%d unchanged, %d with another config", r.Unchanged, r.ConfigOnly)
			}
		})
	}
}

// TestPrices: what earlier runs tell of a step is multiplied by its executions;
// what they do not tell stays unknown.
func TestPrices(t *testing.T) {
	r := Plans(fleetOf(3, "1111"), fleetOf(3, "2111"), func(name string, shared bool) (float64, bool) { return 2, name == "RUN setup" && !shared })
	if r.Executions.Seconds == nil || *r.Executions.Seconds != 6 {
		t.Errorf("%+v", r.Executions)
	}
	for _, s := range r.Steps {
		if (s.Seconds != nil) != (s.Name == "RUN setup") {
			t.Errorf("%s takes %v", s.Name, s.Seconds)
		}
	}
	if r := Plans(fleetOf(3, "1111"), fleetOf(3, "2111"), nil); r.Executions.Seconds != nil {
		t.Error("seconds are known of nothing")
	}
}

// TestChangedFiles names what a step may read and that is not what it was.
func TestChangedFiles(t *testing.T) {
	old := plan.Listing{"context": {"a/x": "1", "a/y": "1", "b": "1", "a/gone": "1"}}
	now := plan.Listing{"context": {"a/x": "2", "a/y": "1", "b": "2", "a/new": "1"}}
	got := ChangedFiles(old, now, &graph.Step{Uses: []graph.Use{{Context: "context", Paths: []string{"a"}}}})
	if d := cmp.Diff([]string{"a/gone", "a/new", "a/x"}, got); d != "" {
		t.Error(d)
	}
}

// TestExceeded: a limit is broken by what lies beyond it, not by what reaches it.
func TestExceeded(t *testing.T) {
	r := Plans(fleetOf(4, "1111"), fleetOf(4, "1211"), nil) // one execution for each image
	for limit, want := range map[int]int{0: 0, 1: 0, 2: 0} {
		if got := r.Exceeded(fleet.Limits{ExecutionsPerImage: limit}); len(got) != want {
			t.Errorf("at most %d: %v", limit, got)
		}
	}
	r = Plans(fleetOf(4, "1111"), fleetOf(4, "2211"), nil) // and one that they share
	if got := r.Exceeded(fleet.Limits{ExecutionsPerImage: 1}); len(got) != 1 {
		t.Errorf("1.25 are within 1: %v", got)
	}
	r.BytesToCopy.Old, r.BytesToCopy.New = 10, 11
	for limit, want := range map[int64]int{0: 0, 10: 1, 11: 0} {
		if got := r.Exceeded(fleet.Limits{Bytes: limit}); len(got) != want {
			t.Errorf("at most %d bytes: %v", limit, got)
		}
	}
	if r.BytesToCopy.Old = 11; len(r.Exceeded(fleet.Limits{Bytes: 10})) != 0 {
		t.Error("what was so before is not the change's")
	}
}
