package answer_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/adapt/labfile"
	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/bisect"
	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

func ptr[T any](v T) *T { return &v }

func parse(t testing.TB, text string) *experiment.Experiment {
	t.Helper()
	e, err := labfile.Parse("lab.yaml", []byte(text), func(string) ([]byte, error) { return []byte("x"), nil }, labfile.Language{Metrics: metric.Names()})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// lab collects trials of an experiment.
type lab struct {
	e    *experiment.Experiment
	list trials.Results
}

// ran adds a trial of a cell that executed steps in so many seconds.
func (l *lab) ran(cell string, executed int64, wall float64, change ...func(*trials.Outcome)) {
	c, ok := l.e.Cell(cell)
	if !ok {
		panic(cell)
	}
	n := len(l.list.Of(cell)) + 1
	o := trials.Outcome{
		Trial:      trials.Trial{ID: experiment.TrialID(l.e.Digest(), c, n), Cell: cell, Replicate: n},
		Host:       trials.Host{Name: "here"},
		Conditions: stat.Conditions{Temperature: string(c.Temperature), Concurrency: 2, Plan: "p", Daemon: "v1"},
		Summary: &summary.Summary{Exit: ptr(0), Images: 3, Built: 3, WallSeconds: ptr(wall),
			StepsExecuted: ptr(executed), StepsCached: ptr(int64(0)), Rework: ptr(1.0)},
	}
	for _, f := range change {
		f(&o)
	}
	l.list = append(l.list, o)
}

func (l *lab) trials() *answer.Trials { return answer.New(l.e, l.list) }

func spoilt(o *trials.Outcome) {
	o.Faults = []trials.Fault{{Code: trials.SharedState, Detail: "it was not alone"}}
}

func cut(o *trials.Outcome) { o.Summary.Exit = ptr(130) }

func on(host string) func(*trials.Outcome) {
	return func(o *trials.Outcome) { o.Host.Name = host }
}

func jobs(n int) func(*trials.Outcome) {
	return func(o *trials.Outcome) { o.Conditions.Concurrency = n }
}

func find(t interface{ Fatalf(string, ...any) }, name string) metric.Metric {
	m, ok := metric.Find(name)
	if !ok {
		t.Fatalf("no metric %s", name)
	}
	return m
}

const two = `
fleet: f
factors:
  sdk: {kind: argument, target: S, levels: {old: "1", new: "2"}}
temperatures: [cold, warm, bump]
cells:
  old: {}
  new: {levels: {sdk: new}}
`

// verdicts are those of a comparison, by metric.
func verdicts(c *answer.Comparison) map[string]stat.Verdict {
	out := map[string]stat.Verdict{}
	for _, m := range c.Metrics {
		out[m.Metric] = m.Verdict
	}
	return out
}

func TestCompare(t *testing.T) {
	l := &lab{e: parse(t, two)}
	for _, w := range []float64{100, 102, 101} {
		l.ran("old/cold", 9, w)
		l.ran("new/cold", 12, w+40)
	}
	l.ran("new/cold", 99, 1, spoilt)
	c, err := l.trials().Compare("old/cold", "new/cold", nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]stat.Verdict{
		"images": stat.Same, "built": stat.Same, "skipped": stat.Same, "retagged": stat.Same, "failed": stat.Same, "pending": stat.Same,
		"wallSeconds": stat.Regressed, "imagesPerHour": stat.Regressed, "stepsExecuted": stat.Changed, "stepsCached": stat.Same, "rework": stat.Same,
	}, verdicts(c)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"sdk"}, c.Differ); d != "" || len(c.A.Trials) != 3 || len(c.B.Trials) != 3 || c.Hosts != nil || c.Apart != nil {
		t.Errorf("%s %+v", d, c)
	}
	// Two timed metrics share the chance of error; one alone does not.
	alone, err := l.trials().Compare("old/cold", "new/cold", []metric.Metric{find(t, "wall")})
	if err != nil {
		t.Fatal(err)
	}
	if m := alone.Metrics[0]; m.Adjusted != m.P || m.P == 0 {
		t.Errorf("%+v", m)
	}
	if i := 6; c.Metrics[i].Metric != "wallSeconds" || c.Metrics[i].Adjusted != 2*c.Metrics[i].P {
		t.Errorf("%+v", c.Metrics[i])
	}
}

// TestRefused: what cannot be compared is an error that says what differs.
func TestRefused(t *testing.T) {
	daemon := func(o *trials.Outcome) { o.Conditions.Daemon = "v2" }
	plan := func(o *trials.Outcome) { o.Conditions.Plan = "q" }
	warm := func(o *trials.Outcome) { o.Conditions.Temperature = "warm" }
	for name, c := range map[string]struct {
		a, b string
		run  func(*lab)
		want []string
	}{
		"temperature":             {"old/cold", "old/warm", func(l *lab) { l.ran("old/cold", 1, 1); l.ran("old/warm", 1, 1) }, []string{"temperature"}},
		"no trial yet":            {"old/cold", "old/warm", func(*lab) {}, []string{"temperature"}},
		"temperature as attested": {"old/cold", "new/cold", func(l *lab) { l.ran("old/cold", 1, 1); l.ran("new/cold", 1, 1, warm) }, []string{"temperature"}},
		"all":                     {"old/cold", "new/cold", func(l *lab) { l.ran("old/cold", 1, 1); l.ran("new/cold", 1, 1, jobs(4), daemon, plan) }, []string{"concurrency", "plan", "daemon version"}},
		"within a":                {"old/cold", "new/cold", func(l *lab) { l.ran("old/cold", 1, 1); l.ran("old/cold", 1, 1, daemon) }, []string{"daemon version"}},
		"within b":                {"new/cold", "old/cold", func(l *lab) { l.ran("old/cold", 1, 1); l.ran("old/cold", 1, 1, jobs(3)) }, []string{"concurrency"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lab{e: parse(t, two)}
			c.run(l)
			_, err := l.trials().Compare(c.a, c.b, nil)
			var r *stat.Refusal
			if !errors.As(err, &r) || diag.KindOf(err) != diag.Usage {
				t.Fatalf("%v", err)
			}
			var fields []string
			for _, d := range r.Differences {
				fields = append(fields, d.Field)
			}
			if d := cmp.Diff(c.want, fields); d != "" {
				t.Errorf("%s: %v", d, err)
			}
			if strings.HasPrefix(name, "within") && !strings.Contains(err.Error(), "old/cold/r1 and ") {
				t.Errorf("it does not say which trials: %v", err)
			}
		})
	}
	// A trial that does not count is not asked.
	l := &lab{e: parse(t, two)}
	l.ran("old/cold", 1, 1)
	l.ran("old/cold", 1, 1, daemon, spoilt)
	l.ran("new/cold", 1, 1)
	if _, err := l.trials().Compare("old/cold", "new/cold", nil); err != nil {
		t.Error(err)
	}
	for _, q := range [][2]string{{"old/clod", "new/cold"}, {"old/cold", "moon"}, {"old/cold", "old/cold"}} {
		if _, err := l.trials().Compare(q[0], q[1], nil); diag.KindOf(err) != diag.Usage || err == nil {
			t.Errorf("%v: %v", q, err)
		}
	}
}

// TestBumps: bumps that start from unlike states are unlike, unless that is what
// the question is about.
func TestBumps(t *testing.T) {
	const file = `
fleet: f
factors:
  sdk: {kind: argument, target: S, levels: {old: "1", new: "2"}}
  fix: {kind: argument, target: F, levels: {without: "1", with: "2"}}
temperatures: [cold]
cells:
  base: {}
  fixed: {levels: {fix: with}}
  sdk: {levels: {sdk: new}, temperatures: [cold, bump], from: base}
  both: {levels: {sdk: new, fix: with}, temperatures: [cold, bump], from: %s}
`
	for from, want := range map[string]bool{"fixed": true, "base": true, "sdk": false} {
		l := &lab{e: parse(t, fmt.Sprintf(file, from))}
		l.ran("sdk/bump", 5, 1)
		l.ran("both/bump", 5, 1)
		if _, err := l.trials().Compare("sdk/bump", "both/bump", nil); (err == nil) != want {
			t.Errorf("from %s: %v", from, err)
		}
	}
}

// TestJobs: where the number of solves at once is the factor, counts are compared
// and times are not.
func TestJobs(t *testing.T) {
	l := &lab{e: parse(t, "fleet: f\nfactors:\n  j: {kind: knob, target: jobs, levels: {two: \"2\", four: \"4\"}}\n")}
	l.ran("j=two/cold", 9, 100)
	l.ran("j=four/cold", 9, 60, jobs(4))
	c, err := l.trials().Compare("j=two/cold", "j=four/cold", nil)
	if err != nil {
		t.Fatal(err)
	}
	if v := verdicts(c); v["stepsExecuted"] != stat.Same || v["wallSeconds"] != "" || len(c.Apart) != 1 || len(c.Apart[0].Metrics) < 2 {
		t.Errorf("%v %+v", v, c.Apart)
	}
}

// TestHosts: times are compared inside each host, counts over all.
func TestHosts(t *testing.T) {
	l := &lab{e: parse(t, two)}
	for _, w := range []float64{100, 101, 102} {
		l.ran("old/cold", 9, w)
		l.ran("new/cold", 9, w+1)
		l.ran("old/cold", 9, 5*w, on("slow"))
	}
	l.ran("new/cold", 9, 501, on("slow"))
	c, err := l.trials().Compare("old/cold", "new/cold", []metric.Metric{find(t, "wall"), find(t, "executed")})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"here", "slow"}, c.Hosts); d != "" || c.Metrics[0].A != 6 || c.Metrics[0].B != 4 || c.Metrics[0].Verdict != stat.Same || c.Metrics[1].A != 6 {
		t.Errorf("%+v", c)
	}
	l = &lab{e: l.e}
	l.ran("old/cold", 9, 100, on("one"))
	l.ran("new/cold", 9, 100, on("two"))
	if c, err = l.trials().Compare("old/cold", "new/cold", nil); err != nil || len(c.Apart) != 1 || c.Apart[0].Why != "no host ran trials of both" {
		t.Errorf("%+v %v", c, err)
	}
}

// TestWarnings: a metric that differs inside an A/A pair is a timed one, and one
// that never moves although it should is dead.
func TestWarnings(t *testing.T) {
	l := &lab{e: parse(t, two+"controls: [old/cold]\nmetrics: [stepsCached]\nclaims:\n  c: stepsDistinct(old/cold) == stepsDistinct(new/cold)\n  d: rework(old/cold) <= rework(new/cold)\n  e: wall(old/cold) <= wall(new/cold)\n")}
	l.ran("old/cold", 9, 100)
	l.ran("old/cold+aa", 10, 101)
	l.ran("new/cold", 9, 102)
	want := []stat.Warning{
		{Code: stat.Demoted, Metric: "stepsExecuted", Low: 9, High: 10},
		{Code: stat.Dead, Metric: "stepsCached"},
		{Code: stat.Dead, Metric: "rework", Low: 1, High: 1},
	}
	tr := l.trials()
	if d := cmp.Diff(want, tr.Warnings); d != "" {
		t.Error(d)
	}
	c, err := tr.Compare("old/cold", "new/cold", []metric.Metric{find(t, "executed")})
	if err != nil || c.Metrics[0].Kind != stat.Timed || c.Metrics[0].Verdict != stat.Unknown {
		t.Errorf("%+v %v", c, err)
	}
	if tr.Exact(find(t, "executed")) || !tr.Exact(find(t, "built")) || tr.Exact(find(t, "wall")) {
		t.Error("which metrics are exact")
	}
}

// TestCutShort: a trial that was cut short is "at least", and decides by its order.
func TestCutShort(t *testing.T) {
	l := &lab{e: parse(t, two)}
	for _, w := range []float64{100, 102, 101} {
		l.ran("old/cold", 9, w)
	}
	l.ran("new/cold", 3, 900, cut)
	c, err := l.trials().Compare("old/cold", "new/cold", []metric.Metric{find(t, "wall"), find(t, "executed"), find(t, "failed")})
	if err != nil {
		t.Fatal(err)
	}
	if m := c.Metrics[0]; m.Verdict != stat.Regressed || m.AtLeast < 8 || m.AtLeast > 9 {
		t.Errorf("%+v", m)
	}
	if m := c.Metrics[1]; m.Verdict != stat.Unknown || m.Why != stat.Cut {
		t.Errorf("%+v", m)
	}
	if m := c.Metrics[2]; m.B != 0 || m.Why != stat.Few {
		t.Errorf("it does not know how many failed: %+v", m)
	}
}

// TestPairs: the pairs are those of one temperature that one factor sets apart, the
// older level first, and the A/A pairs before them.
func TestPairs(t *testing.T) {
	l := &lab{e: parse(t, "fleet: f\nfactors:\n  sdk: {kind: argument, target: S, levels: {old: \"1\", new: \"2\"}}\n  code: {kind: argument, target: C, levels: {old: \"1\", new: \"2\"}}\n"+
		"temperatures: [cold, warm]\ncells:\n  both: {levels: {sdk: new, code: new}}\n  sdk: {levels: {sdk: new}}\n  base: {}\ncontrols: [base/cold]\n")}
	for _, c := range l.e.Cells {
		if c.ID() != "sdk/warm" {
			l.ran(c.ID(), 9, 100)
		}
	}
	pairs, refused := l.trials().Pairs()
	var got []string
	for _, p := range pairs {
		got = append(got, p.A.Cell+" "+p.B.Cell)
	}
	want := []string{"base/cold base/cold+aa", "sdk/cold both/cold", "base/cold sdk/cold"}
	if d := cmp.Diff(want, got); d != "" || refused != nil {
		t.Errorf("%s %v", d, refused)
	}
}

// TestFalseVerdicts: of 200 comparisons of a cell with its control, from trials to
// verdicts, at most 18 find a difference in time, and none in what is exact. At
// 5 %, 10 are to be expected, and 19 or more are rarer than one time in 150.
func TestFalseVerdicts(t *testing.T) {
	r := rand.New(rand.NewPCG(504, 11))
	e := parse(t, "fleet: f\ntemperatures: [cold]\n")
	wall := find(t, "wall")
	wall.Margin = 0 // every difference would matter
	wrong, exact := 0, 0
	for range 200 {
		l := &lab{e: e}
		for range 4 {
			l.ran("cold", 9, 600*math.Exp(0.1*r.NormFloat64()))
			l.ran("cold+aa", 9, 600*math.Exp(0.1*r.NormFloat64()))
		}
		c, err := l.trials().Compare("cold", "cold+aa", []metric.Metric{wall})
		if err != nil {
			t.Fatal(err)
		}
		if v := c.Metrics[0].Verdict; v != stat.Unknown && v != stat.Same {
			wrong++
		}
		if c, err = l.trials().Compare("cold", "cold+aa", nil); err != nil {
			t.Fatal(err)
		}
		for _, m := range c.Metrics {
			if m.Kind != stat.Timed && m.Verdict != stat.Same {
				exact++
			}
		}
	}
	if wrong == 0 || wrong > 18 || exact > 0 {
		t.Errorf("%d false verdicts of 200, and %d of exact metrics", wrong, exact)
	}
}

// TestReport holds what the whole says, and how a command that shows it ends.
func TestReport(t *testing.T) {
	claims := "replicates: 1\nclaims:\n  small: executed(new/cold) <= 10\n  fast: wall(new/cold) <= 1h\n" +
		"  waived: {that: executed(new/cold) == 0, waiver: {owner: o, reason: r, expires: 2999-01-01}}\n" +
		"predictions:\n  small: {holds: true}\n  fast: {holds: true}\ngates:\n  g: [small]\n  w: [waived]\n"
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		run    func(*lab)
		status gate.Status
		kind   diag.Kind
	}{
		"open":                {func(l *lab) { l.ran("new/cold", 9, 100) }, gate.Unknown, diag.Undecided},
		"failed":              {func(l *lab) { l.ran("new/cold", 12, 100) }, gate.Fail, diag.Gate},
		"passed":              {func(l *lab) { l.ran("new/cold", 9, 100); l.ran("new/cold", 9, 101) }, gate.Pass, -1},
		"contaminated":        {func(l *lab) { l.ran("new/cold", 9, 100, spoilt) }, gate.Invalid, diag.Evidence},
		"one is contaminated": {func(l *lab) { l.ran("new/cold", 9, 100); l.ran("new/cold", 9, 101); l.ran("new/cold", 99, 1, spoilt) }, gate.Pass, diag.Evidence},
		"another cell is":     {func(l *lab) { l.ran("new/cold", 9, 100); l.ran("new/cold", 9, 101); l.ran("old/warm", 99, 1, spoilt) }, gate.Pass, diag.Evidence},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lab{e: parse(t, two+claims)}
			c.run(l)
			r, err := l.trials().Report(answer.Options{Now: now, Replay: "again"})
			if r.Status != c.status || (err == nil) != (c.kind < 0) || err != nil && diag.KindOf(err) != c.kind {
				t.Errorf("%s, %v", r.Status, err)
			}
			if len(r.Findings) != 3 || len(r.Predictions) != 2 || len(r.Gates) != 2 || r.Gates[1].Status != gate.Pass && c.status != gate.Invalid {
				t.Errorf("%+v", r)
			}
			if n := r.Tally.Counted + r.Tally.Contaminated; n != len(l.list) || r.Tally.Contaminated != len(r.Contaminated) {
				t.Errorf("%+v of %d", r.Tally, len(l.list))
			}
			// The gate does not end with 9 because of a cell that no claim speaks of.
			_, bad, err := l.trials().Judge(l.e.Claims, now)
			if name == "another cell is" && (err != nil || len(bad) > 0) {
				t.Errorf("%v %v", err, bad)
			}
		})
	}
	l := &lab{e: parse(t, two)}
	if r, err := l.trials().Report(answer.Options{Now: now}); err != nil || r.Status != gate.Unknown || r.Tally.Missing != r.Tally.Planned || r.Tally.Planned == 0 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestGrid(t *testing.T) {
	l := &lab{e: parse(t, two)}
	l.ran("old/cold", 9, 100)
	l.ran("old/cold", 9, 121)
	l.ran("new/cold", 3, 50, cut)
	l.ran("new/warm", 9, 100, spoilt)
	g := l.trials().Grid(find(t, "wall"))
	if d := cmp.Diff([]experiment.Temperature{"cold", "warm", "bump"}, g.Temperatures); d != "" || len(g.Rows) != 2 {
		t.Fatalf("%s %+v", d, g)
	}
	old, cutShort, bad := g.Rows[0].Cells[0], g.Rows[1].Cells[0], g.Rows[1].Cells[1]
	if *old.Low != 100 || *old.High != 121 || math.Abs(*old.Value-110) > 1e-9 || len(old.Trials) != 2 || g.Rows[0].Cells[2] != nil {
		t.Errorf("%+v", old)
	}
	if !cutShort.Censored || *cutShort.Low != 50 || bad.Value != nil || bad.Contaminated != 1 {
		t.Errorf("%+v %+v", cutShort, bad)
	}
}

func TestStrip(t *testing.T) {
	p := bisect.Plan{Checkpoints: []bisect.Checkpoint{{ID: "1", Fingerprint: "a"}, {ID: "2", Fingerprint: "a"}, {ID: "3", Fingerprint: "b"}, {ID: "4", Fingerprint: "c"}}, All: 2}
	s, err := bisect.Replay([]bisect.Event{
		{Kind: bisect.Begin, Plan: &p}, {Kind: bisect.Measured, At: "1", Value: 5}, {Kind: bisect.Measured, At: "4", Value: 7},
		{Kind: bisect.Untestable, At: "3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []answer.Point{{ID: "1", State: answer.Known, Value: 5}, {ID: "2", State: answer.Known, Value: 5},
		{ID: "3", State: answer.NoValue, Culprit: true}, {ID: "4", State: answer.Known, Value: 7, Culprit: true}}
	if d := cmp.Diff(want, answer.NewStrip("s", nil, s).Points); d != "" {
		t.Error(d)
	}
}

// TestPropertyContaminated: whatever trials that do not count hold, no answer is
// another for them.
func TestPropertyContaminated(t *testing.T) {
	e := parse(t, two+"controls: [old/cold]\nmetrics: [executed, wall]\n")
	cells := []string{"old/cold", "old/cold+aa", "new/cold", "old/warm", "new/warm", "new/bump"}
	rapid.Check(t, func(t *rapid.T) {
		clean, all := &lab{e: e}, &lab{e: e}
		for range rapid.IntRange(0, 20).Draw(t, "trials") {
			cell := rapid.SampledFrom(cells).Draw(t, "cell")
			executed, wall := rapid.Int64Range(0, 20).Draw(t, "executed"), rapid.Float64Range(0, 1000).Draw(t, "wall")
			if rapid.Bool().Draw(t, "contaminated") {
				all.ran(cell, executed, wall, spoilt, jobs(int(executed)), on("elsewhere"))
				continue
			}
			clean.ran(cell, executed, wall)
			all.ran(cell, executed, wall)
			all.list[len(all.list)-1].ID = clean.list[len(clean.list)-1].ID
		}
		answers := func(l *lab) []any {
			tr := l.trials()
			pairs, refused := tr.Pairs()
			a, err := tr.Attribute(answer.Question{Metric: find(t, "executed"), Temperature: experiment.Cold})
			return []any{pairs, refused, a, err, tr.Warnings}
		}
		if d := cmp.Diff(answers(clean), answers(all), cmpopts.IgnoreUnexported(stat.Comparison{})); d != "" {
			t.Fatal(d)
		}
	})
}
