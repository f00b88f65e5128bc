package trials_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
)

func ptr[T any](v T) *T { return &v }

// run is a whole run without a daemon, changed as a case wants it.
func run(id string, change func(*summary.Summary)) trials.Run {
	s := &summary.Summary{Exit: ptr(0), Images: 3, Built: 3, StepsExecuted: ptr(int64(9)), StepsCached: ptr(int64(0)), WallSeconds: ptr(100.0)}
	if change != nil {
		change(s)
	}
	return trials.Run{ID: id, Summary: s}
}

func wall(seconds float64) func(*summary.Summary) {
	return func(s *summary.Summary) { s.WallSeconds = &seconds }
}

// TestEvidence holds what a gate is told of a metric in a cell.
func TestEvidence(t *testing.T) {
	const file = "fleet: f\n"
	type told struct {
		low, high         float64
		lacks, unattested string
	}
	for name, c := range map[string]struct {
		file, metric, cell string
		runs               trials.Runs
		want               told
	}{
		"exact, one run":   {file, "executed", "cold", trials.Runs{"cold": {run("a", nil)}}, told{low: 9, high: 9}},
		"exact, two runs":  {file, "stepsExecuted", "cold", trials.Runs{"cold": {run("a", nil), run("b", func(s *summary.Summary) { *s.StepsExecuted = 11 })}}, told{low: 9, high: 11}},
		"no run":           {file, "executed", "cold", nil, told{lacks: "no run is given for this cell"}},
		"not told":         {file, "rework", "cold", trials.Runs{"cold": {run("a", nil)}}, told{lacks: "1 of 1 runs do not tell it"}},
		"timed, one run":   {file, "wall", "cold", trials.Runs{"cold": {run("a", nil)}}, told{lacks: "one run tells nothing of the spread of times"}},
		"timed, two alike": {file, "wall", "cold", trials.Runs{"cold": {run("a", nil), run("b", nil)}}, told{low: 100, high: 100}},
		"cut short":        {file, "wall", "cold", trials.Runs{"cold": {run("a", func(s *summary.Summary) { s.Exit = ptr(130) })}}, told{low: 100, high: math.Inf(1)}},
		"cut short, no use": {file, "failed", "cold", trials.Runs{"cold": {run("a", func(s *summary.Summary) { s.Exit = nil })}},
			told{lacks: "1 of 1 runs do not tell it"}},
		"not cold": {file, "built", "cold", trials.Runs{"cold": {run("a", func(s *summary.Summary) { s.Temperature = &summary.Temperatures{Cold: 1, Partial: 2} })}},
			told{low: 3, high: 3, unattested: "run a: it was not cold: 2 images found steps made"}},
		"not said how cold": {file, "built", "cold", trials.Runs{"cold": {run("a", func(s *summary.Summary) { *s.StepsCached = 1 })}},
			told{low: 3, high: 3, unattested: "run a: its journal does not say what it found made"}},
		"warm": {file, "built", "warm", trials.Runs{"warm": {run("a", func(s *summary.Summary) { s.Temperature = &summary.Temperatures{Warm: 3} })}}, told{low: 3, high: 3}},
		"skipped": {file, "built", "warm", trials.Runs{"warm": {run("a", func(s *summary.Summary) { s.Built, s.Skipped, s.Retagged = 0, 2, 1 })}},
			told{unattested: "run a: 3 images were in place already, and were not built"}},
		"skipping is the factor": {"fleet: f\nfactors:\n  s: {kind: knob, target: skip, levels: {no: none, yes: key}}\n", "built", "s=yes/warm",
			trials.Runs{"s=yes/warm": {run("a", func(s *summary.Summary) { s.Built, s.Skipped = 0, 3 })}}, told{}},
		"two daemons": {file, "built", "warm", trials.Runs{
			"warm": {run("a", func(s *summary.Summary) { s.Versions = map[string]string{"buildkit": "v1"} })},
			"cold": {run("b", func(s *summary.Summary) { s.Versions = map[string]string{"buildkit": "v2"} })}},
			told{low: 3, high: 3, unattested: "the runs have daemons of the versions [v1 v2]"}},
	} {
		value, warnings := trials.Evidence(parse(t, c.file), c.runs)
		v, ok := value(c.metric, c.cell)
		got := told{v.Low, v.High, v.Lacks, v.Unattested}
		near := func(a, b float64) bool { return a == b || math.Abs(a-b) < 1e-9 }
		if !ok || !near(got.low, c.want.low) || !near(got.high, c.want.high) || got.lacks != c.want.lacks || got.unattested != c.want.unattested {
			t.Errorf("%s: %+v, %v; want %+v", name, got, ok, c.want)
		}
		if len(v.Trials) != len(c.runs[c.cell]) || len(warnings) > 0 {
			t.Errorf("%s: trials %v, warnings %v", name, v.Trials, warnings)
		}
	}
	value, _ := trials.Evidence(parse(t, file), nil)
	for _, q := range [][2]string{{"moon", "cold"}, {"wall", "moon"}} {
		if _, ok := value(q[0], q[1]); ok {
			t.Errorf("there is a value of %v", q)
		}
	}
}

// TestFingerprint: equal keys of equal images are one fingerprint; what is not whole
// has none.
func TestFingerprint(t *testing.T) {
	made := func(keys ...string) func(*summary.Summary) {
		return func(s *summary.Summary) {
			s.Images, s.Units = 2, map[string]summary.UnitState{}
			for i, k := range keys {
				s.Units[string(rune('a'+i))] = summary.UnitState{Key: k}
			}
		}
	}
	value, _ := trials.Evidence(parse(t, "fleet: f\n"), trials.Runs{
		"cold": {run("a", made("k", "l")), run("b", made("k", "l"))}, "warm": {run("c", made("k", "m"))},
	})
	cold, ok := value("fingerprint", "cold")
	if warm, okWarm := value("fingerprint", "warm"); !ok || !okWarm || cold.Text == "" || cold.Text == warm.Text || warm.Text == "" || len(cold.Trials) != 2 {
		t.Errorf("%+v %+v", cold, warm)
	}
	for name, c := range map[string]struct {
		runs []trials.Run
		want string
	}{
		"no key":           {[]trials.Run{run("a", made("k", ""))}, "run a does not tell the content keys of all of its images"},
		"an image missing": {[]trials.Run{run("a", made("k"))}, "run a does not tell the content keys of all of its images"},
		"no image":         {[]trials.Run{run("a", nil)}, "run a does not tell the content keys of all of its images"},
		"several":          {[]trials.Run{run("a", made("k", "l")), run("b", made("k", "m"))}, "the runs made different images"},
		"no run":           {nil, "no run is given for this cell"},
	} {
		value, _ := trials.Evidence(parse(t, "fleet: f\n"), trials.Runs{"cold": c.runs})
		if v, ok := value("fingerprint", "cold"); !ok || v.Lacks != c.want || v.Text != "" {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// TestEvidenceOfTimes: the interval of two runs or more holds their middle, and is
// that of package stat.
func TestEvidenceOfTimes(t *testing.T) {
	value, _ := trials.Evidence(parse(t, "fleet: f\n"), trials.Runs{"cold": {run("a", wall(90)), run("b", wall(110)), run("c", wall(100))}})
	v, _ := value("wall", "cold")
	want, _ := stat.Middle([]stat.Value{{V: 90}, {V: 110}, {V: 100}}, 0)
	if v.Low != want.Low || v.High != want.High || v.Low > 100 || v.High < 100 {
		t.Errorf("%+v, want %+v", v, want)
	}
}

// TestDemoted: an exact metric that differs inside an A/A pair is a timed one in
// every cell, and this is said.
func TestDemoted(t *testing.T) {
	more := func(s *summary.Summary) { *s.StepsExecuted = 12 }
	value, warnings := trials.Evidence(parse(t, "fleet: f\n"), trials.Runs{"cold": {run("a", nil)}, "cold+aa": {run("b", more)}, "warm": {run("c", nil)}})
	if d := cmp.Diff([]stat.Warning{{Code: stat.Demoted, Metric: "stepsExecuted", Low: 9, High: 12}}, warnings); d != "" {
		t.Error(d)
	}
	if v, _ := value("executed", "warm"); v.Lacks == "" {
		t.Errorf("one run of a demoted metric tells %+v", v)
	}
	if v, _ := value("built", "warm"); v.Low != 3 || v.Lacks != "" {
		t.Errorf("%+v", v)
	}
}
