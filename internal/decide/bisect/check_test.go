package bisect_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/decide/bisect"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

func TestCheck(t *testing.T) {
	// A line of history by number; x is beside it, from the third on.
	number := map[string]int{"35d75e3a": 40, "b498a699": 97, "c1": 120, "c2": 150, "c1-again": 120}
	relate := func(a, b string) bisect.Relation {
		if b == "x" {
			return bisect.Relation{Ahead: 4, Behind: number[a] - 3}
		}
		return bisect.Relation{Ahead: max(0, number[b]-number[a]), Behind: max(0, number[a]-number[b])}
	}
	for name, tt := range map[string]struct {
		ids  []string
		want string
	}{
		"in order":             {[]string{"b498a699", "c1", "c2"}, ""},
		"before the baseline":  {[]string{"b498a699", "35d75e3a", "c1", "c2"}, "checkpoint 2 (35d75e3a) is an ancestor of the baseline b498a699, 57 commits before it"},
		"out of order":         {[]string{"b498a699", "c2", "c1"}, "checkpoint 3 (c1) is an ancestor of c2, 30 commits before it"},
		"twice":                {[]string{"b498a699", "c1", "c1"}, "checkpoint 3 (c1) is the same as c1"},
		"the same commit":      {[]string{"b498a699", "c1", "c1-again"}, "checkpoint 3 (c1-again) is the same as c1"},
		"the baseline twice":   {[]string{"b498a699", "b498a699"}, "checkpoint 2 (b498a699) is the same as b498a699"},
		"diverged":             {[]string{"b498a699", "x"}, "checkpoint 2 (x) does not descend from the baseline b498a699: it lacks 94 of its commits"},
		"one":                  {[]string{"b498a699"}, "there are fewer than two checkpoints"},
		"no id":                {[]string{"b498a699", ""}, "checkpoint 2 () has no id, or a weight that is not a number from 0"},
		"every fault is named": {[]string{"b498a699", "35d75e3a", "c2", "c1", "x"}, "checkpoint 2 (35d75e3a) is an ancestor of the baseline b498a699, 57 commits before it\ncheckpoint 4 (c1) is an ancestor of c2, 30 commits before it\ncheckpoint 5 (x) does not descend from the baseline b498a699: it lacks 94 of its commits"},
	} {
		t.Run(name, func(t *testing.T) {
			var p bisect.Plan
			for _, id := range tt.ids {
				p.Checkpoints = append(p.Checkpoints, bisect.Checkpoint{ID: id})
			}
			err := bisect.Check(p, relate)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var e *bisect.Invalid
			if !errors.As(err, &e) || err.Error() != tt.want || diag.KindOf(err) != diag.Usage || len(e.Misplaced) != strings.Count(tt.want, "\n")+1 {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
	for _, w := range []float64{-1, math.NaN(), math.Inf(1)} {
		if bisect.Check(bisect.Plan{Checkpoints: []bisect.Checkpoint{{ID: "a"}, {ID: "b", Weight: w}}}, nil) == nil {
			t.Errorf("weight %v is taken", w)
		}
	}
}
