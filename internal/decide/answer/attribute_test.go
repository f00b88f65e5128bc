package answer_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/attribute"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// four is an experiment over every combination of factors.
func four(n int) string {
	s := "fleet: f\ntemperatures: [cold]\nfactors:\n"
	for _, f := range []string{"agent", "sdk", "apt", "cache", "five"}[:n] {
		s += "  " + f + ": {kind: argument, target: T" + f + ", levels: {old: \"1\", new: \"2\"}}\n"
	}
	return s + "cells: crossed\n"
}

// TestAttributionTruths: from trials of a world whose terms are known, with noise in
// its times, come its verdict and its terms, which add up.
func TestAttributionTruths(t *testing.T) {
	type terms map[attribute.Set]float64
	for name, tt := range map[string]struct {
		factors int
		world   terms
		want    attribute.Verdict
	}{
		"none":        {2, terms{0: 400}, attribute.None},
		"single":      {3, terms{0: 400, 2: 140}, attribute.Single},
		"additive":    {2, terms{0: 400, 1: 100, 2: 140}, attribute.Additive},
		"combination": {2, terms{0: 400, 3: 200}, attribute.Combination},
		"masking":     {2, terms{0: 400, 1: 200, 3: -200}, attribute.Masking},
		"crossover":   {2, terms{0: 400, 1: 150, 3: -300}, attribute.Crossover},
		"all of four": {4, terms{0: 400, 15: 300}, attribute.Combination},
	} {
		t.Run(name, func(t *testing.T) {
			e := parse(t, four(tt.factors))
			r := rand.New(rand.NewPCG(17, 91))
			l := &lab{e: e}
			for _, c := range e.Cells {
				set := attribute.Set(0)
				for i, f := range e.Factors {
					if c.Levels[f.Name] == "new" {
						set |= 1 << i
					}
				}
				v := 0.0
				for s, x := range tt.world {
					if s&^set == 0 {
						v += x
					}
				}
				for range 4 {
					if !c.Control {
						l.ran(c.ID(), int64(v), v*math.Exp(0.01*r.NormFloat64()))
					}
				}
			}
			for _, name := range []string{"executed", "wall"} {
				a, err := l.trials().Attribute(answer.Question{Metric: find(t, name), Temperature: experiment.Cold})
				if err != nil {
					t.Fatal(err)
				}
				if a.Verdict != tt.want || a.Sentence == "" {
					t.Errorf("%s: %s: %s (margin %v)", name, a.Verdict, a.Sentence, a.Margin)
				}
				sum, shares := 0.0, 0.0
				for _, term := range a.Terms {
					sum += term.Value
					if name == "executed" && term.Value != tt.world[term.Set] {
						t.Errorf("term %v is %v", term.Set, term.Value)
					}
				}
				for _, f := range a.Factors {
					shares += f.Shapley
				}
				if math.Abs(sum-a.Total) > 1e-9 || math.Abs(shares-a.Total) > 1e-9 {
					t.Errorf("%s: terms add up to %v, shares to %v, and the total is %v", name, sum, shares, a.Total)
				}
			}
		})
	}
}

// TestCountsSettle: where a count grew and is back with twice the disk, no time is
// asked.
func TestCountsSettle(t *testing.T) {
	l := &lab{e: parse(t, `
fleet: f
factors:
  sdk: {kind: argument, target: S, levels: {old: "1", new: "2"}}
  disk: {kind: knob, target: disk-budget, levels: {small: 20G, large: 40G}}
temperatures: [cold]
cells:
  old: {}
  new: {levels: {sdk: new}}
  roomy: {levels: {sdk: new, disk: large}}
`)}
	published := func(n int64) func(*trials.Outcome) { return func(o *trials.Outcome) { o.PublishedBytes = &n } }
	l.ran("old/cold", 9, 100, published(100))
	l.ran("new/cold", 12, 90, published(180))
	l.ran("roomy/cold", 9, 110, published(180))
	a, err := l.trials().Attribute(answer.Question{Metric: find(t, "executed"), Temperature: experiment.Cold})
	if err != nil {
		t.Fatal(err)
	}
	if x := a.Amplifier; x == nil || x.Cause != attribute.DiskCliff || x.Back != 1 || !strings.Contains(x.Sentence, "stepsExecuted comes back and the bytes stay") {
		t.Errorf("%+v", x)
	}
}

// TestDiskCliff: the bytes grew over the disk, so that steps are made again; with
// twice the disk the time comes back.
func TestDiskCliff(t *testing.T) {
	const file = `
fleet: f
factors:
  sdk: {kind: argument, target: S, levels: {old: "1", new: "2"}}
  disk: {kind: knob, target: disk-budget, levels: {small: 20G, large: %s}}
temperatures: [cold]
cells:
  old: {}
  new: {levels: {sdk: new}}
  roomy: {levels: {sdk: new, disk: large}}
`
	own := func(bytes int64) func(*trials.Outcome) {
		return func(o *trials.Outcome) { o.Summary.Releases = &summary.Releases{OwnBytes: bytes} }
	}
	pushed := func(bytes int64) func(*trials.Outcome) {
		return func(o *trials.Outcome) { o.Summary.BytesPushed = &bytes }
	}
	again := func(released int64, rework float64) func(*trials.Outcome) {
		return func(o *trials.Outcome) {
			o.Summary.ReleasedBytes, o.Summary.DiskFinalBytes, o.Summary.Rework = &released, ptr(int64(0)), &rework
		}
	}
	none := func(*trials.Outcome) {}
	for name, c := range map[string]struct {
		large           string
		old, new, roomy func(*trials.Outcome)
		took            float64
		cause           attribute.Cause
		lacks           string
	}{
		"cliff":              {"40G", own(100), own(180), own(180), 101, attribute.DiskCliff, ""},
		"cliff, by pushes":   {"40G", pushed(100), pushed(180), pushed(180), 101, attribute.DiskCliff, ""},
		"cliff, by rework":   {"40G", again(100, 1), again(540, 3), again(180, 1), 101, attribute.DiskCliff, ""},
		"the disk is small":  {"40G", own(100), own(100), own(100), 101, attribute.SmallDisk, ""},
		"no part":            {"40G", own(100), own(180), own(180), 199, attribute.Direct, ""},
		"bytes not known":    {"40G", own(100), none, own(180), 101, "", "what steps write is not known of all of old/cold, new/cold and roomy/cold"},
		"cut short":          {"40G", own(100), own(180), cut, 101, "", "a trial of roomy/cold was cut short"},
		"not twice the disk": {"50G", own(100), own(180), own(180), 101, "", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lab{e: parse(t, fmt.Sprintf(file, c.large))}
			for _, d := range []float64{0, 1} {
				l.ran("old/cold", 9, 100+d, c.old)
				l.ran("new/cold", 12, 200+d, c.new)
				l.ran("roomy/cold", 12, c.took+d, c.roomy)
			}
			a, err := l.trials().Attribute(answer.Question{Metric: find(t, "executed"), Temperature: experiment.Cold})
			if err != nil {
				t.Fatal(err)
			}
			if c.lacks == "-" {
				if a.Amplifier != nil {
					t.Errorf("%+v", a.Amplifier)
				}
				return
			}
			if x := a.Amplifier; a.Verdict != attribute.Single || x == nil || x.Cause != c.cause || x.Lacks != c.lacks || (x.Bytes == "") != (c.lacks != "") {
				t.Errorf("%s: %+v", a.Verdict, x)
			}
		})
	}
}

// TestAttributeOpen: cells that lack trials are named, and what they lack.
func TestAttributeOpen(t *testing.T) {
	l := &lab{e: parse(t, "fleet: f\nfactors:\n  sdk: {kind: argument, target: S, levels: {old: \"1\", new: \"2\"}}\n  code: {kind: argument, target: C, levels: {old: \"1\", mid: \"2\", new: \"3\"}}\n"+
		"temperatures: [cold, warm, bump]\ncells:\n  base: {}\n  sdk: {levels: {sdk: new}}\n  code: {levels: {code: new}}\n  mid: {levels: {code: mid}}\n")}
	l.ran("base/cold", 9, 100)
	l.ran("sdk/cold", 12, 100)
	l.ran("base/warm", 0, 0)
	l.ran("sdk/bump", 0, 0)
	ask := func(name string, at experiment.Temperature, levels experiment.Levels) *answer.Attribution {
		a, err := l.trials().Attribute(answer.Question{Metric: find(t, name), Temperature: at, New: levels})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	// A factor with three levels is held, unless it is named with one of them.
	if a := ask("executed", experiment.Cold, nil); a.Verdict != attribute.Single || a.Total != 3 || a.Held["code"] != "old" {
		t.Errorf("%+v", a)
	}
	a := ask("executed", experiment.Cold, experiment.Levels{"sdk": "", "code": "new"})
	want := []answer.Wanted{{Cell: "code/cold", There: true, Trials: 1}, {Cell: "sdk=new,code=new/cold", There: false, Trials: 1}}
	if d := cmp.Diff(want, a.Wanted); d != "" || a.Verdict != attribute.Open {
		t.Errorf("%s %+v", d, a)
	}
	a = ask("wall", experiment.Cold, nil)
	if d := cmp.Diff([]answer.Wanted{{Cell: "base/cold", There: true, Trials: 1}, {Cell: "sdk/cold", There: true, Trials: 1}}, a.Wanted); d != "" {
		t.Error(d)
	}
	// Where no time was spent there is no spread.
	if a := ask("wall", experiment.Bump, nil); a.Verdict != attribute.None {
		t.Errorf("%+v", a)
	}
	for _, levels := range []experiment.Levels{{"moon": ""}, {"code": ""}, {"sdk": "old"}, {"sdk": "moon"}} {
		if _, err := l.trials().Attribute(answer.Question{Metric: find(t, "wall"), Temperature: experiment.Cold, New: levels}); diag.KindOf(err) != diag.Usage || err == nil {
			t.Errorf("%v: %v", levels, err)
		}
	}
	five := &lab{e: parse(t, four(5))}
	if _, err := five.trials().Attribute(answer.Question{Metric: find(t, "wall"), Temperature: experiment.Cold}); err == nil || !strings.Contains(err.Error(), "of 5 factors") {
		t.Errorf("%v", err)
	}
	l.ran("sdk/cold", 12, 100, jobs(7), func(o *trials.Outcome) { o.Conditions.Daemon = "v2" })
	var r *stat.Refusal
	if _, err := l.trials().Attribute(answer.Question{Metric: find(t, "executed"), Temperature: experiment.Cold}); !errors.As(err, &r) {
		t.Errorf("%v", err)
	}
}

// TestAttributeOfSearched: levels that only a search looks at do not stand in the
// way.
func TestAttributeOfSearched(t *testing.T) {
	hash := func(n int) string { return fmt.Sprintf("%040d", n) }
	l := &lab{e: parse(t, fmt.Sprintf("fleet: f\nfactors:\n  sdk: {kind: ref, source: ., levels: {v1: %q, v2: %q, v3: %q}}\ntemperatures: [cold]\ncells:\n  old: {}\n  new: {levels: {sdk: v3}}\n", hash(1), hash(2), hash(3)))}
	l.ran("old/cold", 9, 100)
	l.ran("new/cold", 12, 100)
	for _, levels := range []experiment.Levels{nil, {"sdk": ""}, {"sdk": "v3"}} {
		a, err := l.trials().Attribute(answer.Question{Metric: find(t, "executed"), Temperature: experiment.Cold, New: levels})
		if err != nil || a.Verdict != attribute.Single || a.New["sdk"] != "v3" {
			t.Errorf("%v: %+v %v", levels, a, err)
		}
	}
}
