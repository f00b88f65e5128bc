package experiment_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// sample is an experiment with two factors, four settings and a control.
func sample() *experiment.Experiment {
	e := &experiment.Experiment{
		Name: "bump", Fleet: "fleet.yaml", Replicates: 2,
		Factors: []experiment.Factor{
			{Name: "sdk", Kind: experiment.Submodule, Source: ".", Target: "vendor/sdk", Levels: []experiment.Level{
				{Name: "old", Value: strings.Repeat("a", 40)}, {Name: "new", Value: strings.Repeat("b", 40)}}},
			{Name: "disk", Kind: experiment.Knob, Target: experiment.KnobDisk, Levels: []experiment.Level{
				{Name: "small", Value: "20G"}, {Name: "large", Value: "40G"}}},
		},
		Claims:      []experiment.Claim{{Name: "idle", Cell: "sdk=old,disk=small/cold", Text: "stepsExecuted == 0"}, {Name: "whole", Text: "failed == 0"}},
		Predictions: []experiment.Prediction{{Claim: "idle"}},
		Gates:       []experiment.Gate{{Name: "exit", Claims: []string{"whole"}}},
	}
	for _, l := range experiment.Cross(e.Factors) {
		e.Cells = append(e.Cells, experiment.Cell{Setting: experiment.SettingName(e.Factors, l), Levels: l, Temperature: experiment.Cold})
	}
	e.Cells = append(e.Cells,
		experiment.Cell{Setting: "sdk=new,disk=small", Levels: experiment.Levels{"sdk": "new", "disk": "small"}, Temperature: experiment.Bump, Seed: "sdk=old,disk=small"},
		experiment.Cell{Setting: "sdk=old,disk=small", Levels: experiment.Levels{"sdk": "old", "disk": "small"}, Temperature: experiment.Cold, Control: true})
	return e
}

func TestNames(t *testing.T) {
	e := sample()
	var got []string
	for _, c := range e.Cells {
		got = append(got, c.ID())
	}
	want := []string{"sdk=old,disk=small/cold", "sdk=old,disk=large/cold", "sdk=new,disk=small/cold", "sdk=new,disk=large/cold",
		"sdk=new,disk=small/bump", "sdk=old,disk=small/cold+aa"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if id := (experiment.Cell{Temperature: experiment.WarmRemote}).ID(); id != "warm-remote" {
		t.Error(id)
	}
	if id := experiment.TrialID("sha256:0123456789abcdef", e.Cells[4], 3); id != "0123456789ab/sdk=new,disk=small/bump/r3" {
		t.Error(id)
	}
	if n := experiment.Combinations(e.Factors, 100); n != 4 {
		t.Errorf("%d combinations", n)
	}
	if n := experiment.Combinations(e.Factors, 3); n != 3 {
		t.Errorf("%d combinations up to 3", n)
	}
	if got := experiment.Cross(nil); len(got) != 1 || len(got[0]) != 0 {
		t.Errorf("without factors: %v", got)
	}
	claims, ok := e.Judged("exit")
	if !ok || len(claims) != 1 || claims[0].Name != "whole" {
		t.Errorf("the gate judges %v", claims)
	}
	if all, ok := e.Judged(""); !ok || len(all) != 2 {
		t.Errorf("all claims are %v", all)
	}
	if _, ok := e.Judged("none"); ok {
		t.Error("a gate that does not exist")
	}
}

func TestPinned(t *testing.T) {
	f := experiment.Factor{Kind: experiment.Ref}
	for value, want := range map[string]bool{
		strings.Repeat("0", 40): true, strings.Repeat("f", 64): true,
		"main": false, "v1.2": false, "0123456": false, strings.Repeat("F", 40): false, strings.Repeat("0", 41): false, "": false,
	} {
		if got := f.Pinned(experiment.Level{Value: value}); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
	f.Kind = experiment.Argument
	if !f.Pinned(experiment.Level{Value: "main"}) {
		t.Error("an argument is no commit")
	}
}

// TestCheck breaks one thing at a time.
func TestCheck(t *testing.T) {
	if err := sample().Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*experiment.Experiment){
		"nothing is built":        func(e *experiment.Experiment) { e.Fleet = "" },
		"two things are built":    func(e *experiment.Experiment) { e.Command = []string{"make"} },
		"no replicates":           func(e *experiment.Experiment) { e.Replicates = 0 },
		"no cells":                func(e *experiment.Experiment) { e.Cells = nil },
		"a factor's name":         func(e *experiment.Experiment) { e.Factors[0].Name = "s d k" },
		"two factors of a name":   func(e *experiment.Experiment) { e.Factors[1].Name = "sdk" },
		"a factor's kind":         func(e *experiment.Experiment) { e.Factors[0].Kind = "moon" },
		"one level":               func(e *experiment.Experiment) { e.Factors[0].Levels = e.Factors[0].Levels[:1] },
		"two levels of a name":    func(e *experiment.Experiment) { e.Factors[0].Levels[1].Name = "old" },
		"two levels of a value":   func(e *experiment.Experiment) { e.Factors[1].Levels[1].Value = "20G" },
		"a level that is not":     func(e *experiment.Experiment) { e.Cells[0].Levels["sdk"] = "older" },
		"a factor that is not":    func(e *experiment.Experiment) { e.Cells[0].Levels["moon"] = "full" },
		"a temperature":           func(e *experiment.Experiment) { e.Cells[0].Temperature = "hot" },
		"two cells alike":         func(e *experiment.Experiment) { e.Cells[1] = e.Cells[0] },
		"a bump from nowhere":     func(e *experiment.Experiment) { e.Cells[4].Seed = "" },
		"a bump from itself":      func(e *experiment.Experiment) { e.Cells[4].Seed = e.Cells[4].Setting },
		"a seed of a cold cell":   func(e *experiment.Experiment) { e.Cells[0].Seed = e.Cells[1].Setting },
		"a control of nothing":    func(e *experiment.Experiment) { e.Cells[5].Temperature = experiment.Warm },
		"two claims of a name":    func(e *experiment.Experiment) { e.Claims[1].Name = "idle" },
		"a claim of no cell":      func(e *experiment.Experiment) { e.Claims[0].Cell = "moon" },
		"a prediction of nothing": func(e *experiment.Experiment) { e.Predictions[0].Claim = "moon" },
		"two predictions of one":  func(e *experiment.Experiment) { e.Predictions = append(e.Predictions, e.Predictions[0]) },
		"a gate of nothing":       func(e *experiment.Experiment) { e.Gates[0].Claims = nil },
		"a gate of other claims":  func(e *experiment.Experiment) { e.Gates[0].Claims = []string{"moon"} },
	} {
		e := sample()
		spoil(e)
		if e.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestDigest holds what trials depend on, and what they do not.
func TestDigest(t *testing.T) {
	want := sample().Digest()
	if want != "sha256:f404229f02880b136d12f362ee13c62815b2f85eb349a40d6fb494dc75d3710f" {
		t.Errorf("the digest of the sample is %s; a change makes other trials of all that ran", want)
	}
	for name, c := range map[string]struct {
		change func(*experiment.Experiment)
		same   bool
	}{
		"the name":           {func(e *experiment.Experiment) { e.Name = "other" }, true},
		"a place":            {func(e *experiment.Experiment) { e.Factors[0].Pos = diag.Pos{Line: 7} }, true},
		"more replicates":    {func(e *experiment.Experiment) { e.Replicates = 9 }, true},
		"claims":             {func(e *experiment.Experiment) { e.Claims = nil }, true},
		"predictions":        {func(e *experiment.Experiment) { e.Predictions = nil }, true},
		"gates":              {func(e *experiment.Experiment) { e.Gates = nil }, true},
		"the budget":         {func(e *experiment.Experiment) { e.Budget.Time = time.Hour }, true},
		"the order":          {func(e *experiment.Experiment) { slices.Reverse(e.Cells); slices.Reverse(e.Factors[0].Levels) }, true},
		"the fleet":          {func(e *experiment.Experiment) { e.Fleet = "other.yaml" }, false},
		"the command":        {func(e *experiment.Experiment) { e.Fleet, e.Command = "", []string{"make"} }, false},
		"a source":           {func(e *experiment.Experiment) { e.Factors[0].Source = "agent" }, false},
		"a target":           {func(e *experiment.Experiment) { e.Factors[0].Target = "vendor/other" }, false},
		"a value":            {func(e *experiment.Experiment) { e.Factors[1].Levels[0].Value = "21G" }, false},
		"a patch's content":  {func(e *experiment.Experiment) { e.Factors[1].Levels[0].Content = "sha256:c" }, false},
		"a level's name":     {func(e *experiment.Experiment) { e.Factors[1].Levels[0].Name = "tiny" }, false},
		"a cell's level":     {func(e *experiment.Experiment) { e.Cells[0].Levels["disk"] = "large" }, false},
		"a temperature":      {func(e *experiment.Experiment) { e.Cells[0].Temperature = experiment.Warm }, false},
		"what a bump is of":  {func(e *experiment.Experiment) { e.Cells[4].Seed = "sdk=old,disk=large" }, false},
		"a cell less":        {func(e *experiment.Experiment) { e.Cells = e.Cells[:4] }, false},
		"the kind of factor": {func(e *experiment.Experiment) { e.Factors[0].Kind = experiment.Ref }, false},
	} {
		e := sample()
		c.change(e)
		if got := e.Digest(); (got == want) != c.same {
			t.Errorf("%s: the same digest: %v", name, got == want)
		}
	}
}

// TestLevelsProperty: Differ is symmetric, and empty exactly between equals.
func TestLevelsProperty(t *testing.T) {
	levels := rapid.Custom(func(t *rapid.T) experiment.Levels {
		return rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.SampledFrom([]string{"", "1", "2"})).Draw(t, "levels")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := levels.Draw(t, "a"), levels.Draw(t, "b")
		if d := cmp.Diff(a.Differ(b), b.Differ(a)); d != "" {
			t.Fatal(d)
		}
		if equal := cmp.Equal(map[string]string(a), map[string]string(b)); equal != a.Equal(b) {
			t.Fatalf("%v and %v: equal %v", a, b, a.Equal(b))
		}
	})
}
