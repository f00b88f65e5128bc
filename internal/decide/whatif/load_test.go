package whatif_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/sched"
	"github.com/lapstrake/lapstrake/internal/decide/whatif"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// planned is a plan with two images that need a solve among others.
func planned() (*plan.Plan, *planner.Input) {
	p, in := &plan.Plan{}, &planner.Input{}
	add := func(image string, a plan.Action, needs ...graph.Digest) {
		p.Units = append(p.Units, plan.Unit{Image: image, Action: a, Variant: "v", Needs: needs})
		f := planner.Facts{Base: &fact.Base{Layers: []fact.Descriptor{{Digest: "os", Size: 80}, {Digest: graph.Digest(image), Size: 10}}}}
		if a == plan.Block {
			f.Base = nil
		}
		in.Images = append(in.Images, f)
	}
	add("skipped", plan.Skip)
	add("a", plan.Build, "one", "two")
	add("blocked", plan.Block)
	add("b", plan.Build, "one")
	return p, in
}

func layers(image graph.Digest) []journal.LayerData {
	return []journal.LayerData{{Digest: "os", Bytes: 80}, {Digest: image, Bytes: 10}}
}

func TestLoadGuesses(t *testing.T) {
	p, in := planned()
	got := whatif.Load(p, in, estimate.NewHistory(2), whatif.Options{Workers: 3, Cores: 2, Jobs: 4})
	want := whatif.Input{
		Tasks: []sched.Task{
			{Name: "a", Layers: layers("a"), Needs: []graph.Digest{"one", "two"}, Own: 256 * mega, Took: 30 * time.Second},
			{Name: "b", Layers: layers("b"), Needs: []graph.Digest{"one"}, Own: 256 * mega, Took: 30 * time.Second},
		},
		Shared: []sched.Shared{{Step: "one", Bytes: 128 * mega, Took: 30 * time.Second}, {Step: "two", Bytes: 128 * mega, Took: 30 * time.Second}},
		Factor: 4, Workers: 3, Cores: 2, Jobs: 4,
		Basis: whatif.Basis{
			Own: whatif.From{Guessed: 2, Value: 256 * mega}, Took: whatif.From{Guessed: 2, Value: int64(30 * time.Second)},
			Shared: whatif.From{Guessed: 2, Value: 128 * mega}, SharedTook: whatif.From{Guessed: 2, Value: int64(30 * time.Second)},
			Factor: 4, Cores: 2,
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLoadHistory(t *testing.T) {
	h := estimate.NewHistory(2)
	var now time.Duration
	add := func(kind journal.Kind, unit string, step graph.Digest, data any) {
		raw, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		h.Fold(journal.Event{Mono: now, Kind: kind, Unit: unit, Step: step, Data: raw})
	}
	add(journal.RunStarted, "", "", journal.RunData{})
	add(journal.Disk, "", "", journal.DiskData{Used: 1000})
	add(journal.SharedStarted, "", "one", nil)
	now += 5 * time.Second
	add(journal.StepDone, "", "one", journal.StepData{Shared: true, Kind: graph.KindExec})
	add(journal.Disk, "", "", journal.DiskData{Used: 1070})
	add(journal.SharedReady, "", "one", nil)
	add(journal.UnitQueued, "a", "", journal.QueuedData{Variant: "other"})
	add(journal.UnitStarted, "a", "", nil)
	now += 9 * time.Second
	add(journal.UnitPublished, "a", "", journal.UnitData{Action: "build"})
	add(journal.Releasing, "", "", nil)
	add(journal.Released, "", "", journal.ReleaseData{Images: 1, Own: 700, Base: 250, Compressed: 100, After: map[string]int64{"regular": 60}})

	p, in := planned()
	for _, known := range []graph.Digest{"set", "known"} {
		p.Units = append(p.Units, plan.Unit{Image: "appended", Action: plan.Append, Layers: known})
		in.Images = append(in.Images, planner.Facts{})
	}
	in.LayersKnown = func(d graph.Digest) bool { return d == "known" }
	got := whatif.Load(p, in, h, whatif.Options{Workers: 1, Cores: 2, Jobs: 4})
	want := whatif.Input{
		Tasks: []sched.Task{
			{Name: "a", Layers: layers("a"), Needs: []graph.Digest{"one", "two"}, Own: 700, Took: 9 * time.Second, Expect: true},
			{Name: "b", Layers: layers("b"), Needs: []graph.Digest{"one"}, Own: 700, Took: 9 * time.Second},
		},
		Shared: []sched.Shared{
			{Step: "one", Bytes: 70, Expect: true, Took: 5 * time.Second}, {Step: "two", Bytes: 20, Took: 30 * time.Second},
			{Step: "set", Bytes: 20, Took: 30 * time.Second, Early: true},
		},
		Factor: 2.5, Workers: 1, Cores: 2, Jobs: 4,
		Basis: whatif.Basis{
			Own: whatif.From{Runs: 1, Guessed: 1, Value: 700, Mean: true}, Took: whatif.From{Runs: 1, Guessed: 1, Value: int64(9 * time.Second), Mean: true},
			Shared: whatif.From{Runs: 1, Guessed: 2, Value: 20, Mean: true}, SharedTook: whatif.From{Runs: 1, Guessed: 2, Value: int64(30 * time.Second)},
			Factor: 2.5, Measured: true, Cores: 2,
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
