package text

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/attribute"
	"github.com/lapstrake/lapstrake/internal/decide/bisect"
	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/explain"
	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/waiver"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// labPair is a comparison with every verdict and every reason for none.
func labPair() *answer.Comparison {
	list := func(v ...float64) []stat.Value {
		var out []stat.Value
		for _, x := range v {
			out = append(out, stat.Value{V: x})
		}
		return out
	}
	cut := []stat.Value{{V: 7200, Censored: true}}
	row := func(unit metric.Unit, old, now []stat.Value, c stat.Comparison) answer.Metric {
		return answer.Metric{Comparison: c, Unit: unit, Old: old, New: now}
	}
	return &answer.Comparison{
		A: answer.Side{Cell: "sdk=v1.2.3,code=old/cold", Trials: []string{"a", "b", "c"}}, B: answer.Side{Cell: "sdk=v1.3.0,code=old/cold", Trials: []string{"d"}},
		Differ: []string{"sdk"}, Hosts: []string{"builder-17.example.com", "builder-18.example.com"},
		Metrics: []answer.Metric{
			row(metric.Count, list(500), list(500), stat.Comparison{Metric: "images", Verdict: stat.Same}),
			row(metric.Count, list(8504, 8504), list(9120), stat.Comparison{Metric: "stepsExecuted", Verdict: stat.Changed, Relevant: true, Change: 616}),
			row(metric.Bytes, list(20<<30), list(21<<30), stat.Comparison{Metric: "diskPeakBytes", Verdict: stat.Changed, Change: 1 << 30}),
			row(metric.Seconds, list(4325, 4402), list(6010, 6120), stat.Comparison{Metric: "wallSeconds", Verdict: stat.Regressed, Ratio: &stat.Range{Low: 1.31, Value: 1.392, High: 1.48}}),
			row(metric.Rate, list(416, 420), list(1200), stat.Comparison{Metric: "imagesPerHour", Verdict: stat.Improved, Ratio: &stat.Range{Low: 2.5, Value: 2.87, High: 1234}}),
			row(metric.Seconds, list(300), cut, stat.Comparison{Metric: "phaseSeconds.images", Verdict: stat.Regressed, AtLeast: 18.2}),
			row(metric.Seconds, cut, list(300), stat.Comparison{Metric: "phaseSeconds.shared", Verdict: stat.Improved, AtLeast: 18.2}),
			row(metric.Seconds, list(1), nil, stat.Comparison{Metric: "phaseSeconds.plan", Verdict: stat.Unknown, Why: stat.Few, More: 2}),
			row(metric.Seconds, list(1, 9), list(2, 5), stat.Comparison{Metric: "phaseSeconds.resolve", Verdict: stat.Unknown, Why: stat.Spread, More: 14, Ratio: &stat.Range{Low: 0.3, Value: 1, High: 3.1}}),
			row(metric.Seconds, list(1, 9), list(2, 5), stat.Comparison{Metric: "phaseSeconds.publish", Verdict: stat.Unknown, Why: stat.Family, More: 1}),
			row(metric.Seconds, cut, cut, stat.Comparison{Metric: "phaseSeconds.release", Verdict: stat.Unknown, Why: stat.Cut}),
			row(metric.Count, list(1, 2), list(2), stat.Comparison{Metric: "retries", Verdict: stat.Unknown, Why: stat.Unsteady}),
			row(metric.Seconds, list(0, 1), list(2), stat.Comparison{Metric: "phaseSeconds.prune", Verdict: stat.Unknown, Why: stat.NoNumber}),
			row(metric.Count, list(0), list(0), stat.Comparison{Metric: "failed", Verdict: stat.Same}),
		},
		Apart: []answer.Apart{{Metrics: []string{"releaseSeconds", "phaseSeconds.between"}, Why: "they ran unlike numbers of solves at once"}},
	}
}

func labSpoilt(n int) trials.Results {
	var out trials.Results
	for i := range n {
		o := trials.Outcome{Trial: trials.Trial{ID: fmt.Sprintf("0123456789ab/sdk=v1.3.0,code=old/warm/r%d", i+1)}}
		for j := range i%5 + 1 {
			o.Faults = append(o.Faults, trials.Fault{Code: trials.ForeignRef, Detail: fmt.Sprintf("not its own: registry.example.com/agents/eval-agent-server:cache-%d", j)})
		}
		out = append(out, o)
	}
	return out
}

// labAnswer is an attribution of three factors.
func labAnswer() *answer.Attribution {
	return &answer.Attribution{
		Metric: "wallSeconds", Unit: metric.Seconds, Temperature: experiment.Cold, Order: []string{"agent", "sdk", "python"},
		New: experiment.Levels{"agent": "new", "sdk": "v1.3.0", "python": "3.13"}, Held: experiment.Levels{"disk": "small", "jobs": "two"},
		Answer: attribute.Answer{
			Verdict: attribute.Mixed, Sentence: "agent (+10 min) and sdk (+5 min) change it alone, and together it is +25 min, not the sum +15 min",
			Total: 1500, Assumed: []attribute.Set{6, 7},
			Factors: []attribute.Factor{{Name: "agent", Alone: 600, Last: 1200, Shapley: 900}, {Name: "sdk", Alone: 300, Last: 900, Shapley: 600}, {Name: "python"}},
			Terms:   []attribute.Term{{Set: 1, Value: 600, Share: 0.7}, {Set: 2, Value: 300, Share: 0.2}, {Set: 4}, {Set: 3, Value: 600, Share: 0.1}, {Set: 5, Value: 2}, {Set: 6}, {Set: 7}},
		},
		Cells:  []answer.Corner{{Set: 0, New: []string{}, Cell: "old/cold", Value: 4325, Trials: []string{"a", "b"}}, {Set: 1, New: []string{"agent"}, Cell: "agent/cold", Value: 4925, Trials: []string{"c"}}},
		Wanted: []answer.Wanted{{Cell: "all/cold", There: true, Trials: 2}, {Cell: "agent=new,sdk=v1.3.0,python=3.12,disk=small,jobs=two/cold", Trials: 1}},
		Margin: 12,
		Amplifier: &answer.Amplifier{Reference: "old/cold", Last: "all/cold", Doubled: "roomy/cold", Bytes: "bytes pushed",
			Amplification: attribute.Amplification{Cause: attribute.DiskCliff, Sentence: "disk cliff: with twice the disk the time comes back", Back: 0.98}},
	}
}

// labReport is a report with something of everything.
func labReport() *answer.Report {
	p := func(v float64) *float64 { return &v }
	none, open := labAnswer(), labAnswer()
	none.Metric, none.Verdict, none.Sentence, none.Wanted = "failed", attribute.None, "nothing of agent, sdk and python changes it", nil
	open.Temperature, open.Verdict, open.Amplifier = experiment.Bump, attribute.Open, nil
	open.Wanted = append(open.Wanted, open.Wanted...)
	found := labAnswer()
	found.Wanted = nil
	lacks := "the experiment has no cell roomy/warm"
	warm := labAnswer()
	warm.Metric, warm.Temperature, warm.Wanted, warm.Amplifier = "stepsExecuted", experiment.Warm, nil, &answer.Amplifier{Lacks: lacks}
	strip := answer.Strip{Name: "executed of cold over sdk", Names: map[string]string{"c40": "v1.3.0"}, Result: bisect.Result{Done: true, Groups: 90, Probes: 12, Again: 2,
		Findings:   []bisect.Finding{{Parent: "c39", OneOf: []string{"c40"}, Before: 8504, After: 9120, State: bisect.Confirmed}, {Parent: "c70", OneOf: []string{"c71", "c72"}, Before: 9120, After: 9000, State: bisect.Unconfirmed}},
		Unexamined: []bisect.Span{{From: "c40", To: "c70", Changes: 30, Why: bisect.EqualEnds}}}}
	for i := range 90 {
		x := answer.Point{ID: fmt.Sprintf("c%d", i), State: answer.Unexamined}
		switch {
		case i%7 == 0:
			x.State, x.Value = answer.Known, float64(i/40)
		case i == 71:
			x.State, x.Culprit = answer.NoValue, true
		case i == 40 || i == 72:
			x.State, x.Value, x.Culprit = answer.Known, float64(i/30), true
		}
		strip.Points = append(strip.Points, x)
	}
	miss := explain.Miss{Name: "[final 3/9] RUN pip install -r requirements.txt", Why: explain.Changed, Executions: 500, Images: 500, Seconds: 12500, InheritedExecutions: 2000, InheritedSeconds: 4000,
		Causes: []delta.Cause{{Kind: graph.FacetArgument, Name: "GIT_SHA", Old: "0a1b2c3d", New: "9f8e7d6c", Pos: diag.Pos{File: "/src/fleet/Dockerfile", Line: 4}}}}
	absent := explain.Miss{Name: "[builder 2/2] RUN make", Why: explain.Released, Detail: "its result was released after its image was published", Executions: 1, Seconds: 3}
	claim := func(name, cell, text string, s gate.Status, why string, left, right gate.Side) gate.Finding {
		return gate.Finding{Name: name, Cell: cell, Text: text, Status: s, Why: why, Left: left, Right: right}
	}
	waived, expired := claim("idle", "", "executed(old/warm) == 0", gate.Fail, "", gate.Side{Low: p(9), High: p(9)}, gate.Side{Low: p(0), High: p(0)}), claim("over", "", "failed(old/warm) == 0", gate.Fail, "", gate.Side{Low: p(1), High: p(1)}, gate.Side{Low: p(0), High: p(0)})
	w := &waiver.Waiver{Owner: "build team", Reason: "later", Expires: time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC)}
	waived.Waiver, waived.Waived, expired.Waiver, expired.Expired = w, true, w, true
	yes, no := true, false
	return &answer.Report{
		Experiment: "sdk-bump", Status: gate.Invalid, Tally: answer.Tally{Planned: 60, Counted: 41, Contaminated: 14, Missing: 5},
		Causes: []*answer.Attribution{found, none, warm, open}, NotAsked: []string{"wallSeconds, warm: trials that differ in daemon version (v0.34.2, v0.33.0) cannot be compared"},
		Misses: []answer.Missed{{Cell: "all/bump", Trial: "t", Report: &explain.Report{Executed: 2501, Cached: 8504, Misses: []explain.Miss{miss, absent, absent, absent, absent}}}},
		Grid: answer.Grid{Metric: "wallSeconds", Unit: metric.Seconds, Temperatures: experiment.Temperatures(), Rows: []answer.GridRow{
			{Setting: "old", Cells: []*answer.GridCell{{Low: p(4300), Value: p(4325), High: p(4400)}, {Low: p(300), Value: p(300), High: p(300), Contaminated: 2}, nil, nil}},
			{Setting: "agent=new,sdk=v1.3.0,python=3.12,disk=small,jobs=two", Cells: []*answer.GridCell{{Low: p(7200), Value: p(7200), High: p(7200), Censored: true}, {Contaminated: 3}, {}, {Low: p(1), Value: p(2), High: p(3)}}},
		}},
		Pairs: []*answer.Comparison{labPair(), {A: answer.Side{Cell: "old/cold"}, B: answer.Side{Cell: "old/cold+aa"}}}, Refused: []answer.Refused{{A: "old/warm", B: "all/warm", Why: "trials that differ in plan (p, q) cannot be compared"}},
		Searches: []answer.Strip{strip},
		Gates:    []answer.Gated{{Name: "exit", Status: gate.Invalid, Claims: 5, Passed: 2}},
		Findings: []gate.Finding{claim("whole", "old/cold", "failed == 0", gate.Pass, "", gate.Side{Low: p(0), High: p(0)}, gate.Side{Low: p(0), High: p(0)}), waived, expired,
			claim("warm-is-fast", "", "wall(old/warm) <= 0.25 * wall(old/cold)", gate.Unknown, "wall(old/warm): one run tells nothing of the spread of times", gate.Side{}, gate.Side{}),
			claim("inert", "", "fingerprint(old/cold) == fingerprint(all/cold)", gate.Pass, "", gate.Side{Text: "sha256:0123456789abcdef"}, gate.Side{Text: "sha256:0123456789abcdef"}),
			claim("bump", "", "executed(all/bump) <= 5", gate.Invalid, "executed(all/bump): trial x: the daemon held 5 bytes before it", gate.Side{}, gate.Side{})},
		Predictions:  []answer.Predicted{{Claim: "whole", Holds: true, Because: "nothing can fail", Right: &yes}, {Claim: "over", Holds: false, Right: &no}, {Claim: "bump", Holds: true}},
		Contaminated: labSpoilt(14), Warnings: []stat.Warning{{Code: stat.Demoted, Metric: "stepsExecuted", Low: 9, High: 10}, {Code: stat.Dead, Metric: "rework", Low: 1, High: 1}},
		Caveats:   diag.List{{Code: diag.LabNoBump, Message: "no cell starts from what another level left"}, {Code: diag.LabFew, Message: "times are asked for, and one trial of a cell tells nothing of their spread"}},
		Unchecked: []string{"the commits of sdk: no repository"}, Replay: "lapstrake lab report lab.yaml --results results",
	}
}

// labUnfinished is the report of a large matrix of which few cells have run.
func labUnfinished() *answer.Report {
	r := &answer.Report{Experiment: "matrix", Status: gate.Unknown, Tally: answer.Tally{Planned: 64, Counted: 9, Missing: 55}, Replay: "lapstrake lab report --results results"}
	for _, temperature := range experiment.Temperatures() {
		for i, m := range []string{"stepsExecuted", "stepsCached", "rework", "diskPeakBytes", "bytesPulled", "bytesPushed", "failed", "wallSeconds", "phaseSeconds.images", "requests"} {
			a := labAnswer()
			a.Metric, a.Temperature, a.Amplifier, a.Verdict = m, temperature, nil, attribute.Open
			if a.Wanted = a.Wanted[:1+i%2]; temperature == experiment.Cold && i < 8 {
				a.Verdict, a.Wanted = attribute.Mixed, nil
			}
			r.Causes = append(r.Causes, a)
		}
	}
	r.Grid = answer.Grid{Metric: "stepsExecuted", Unit: metric.Count, Temperatures: experiment.Temperatures()}
	for i := range 16 {
		r.Grid.Rows = append(r.Grid.Rows, answer.GridRow{Setting: fmt.Sprintf("setting-%d", i), Cells: []*answer.GridCell{{}, {}, {}, nil}})
	}
	return r
}

// TestLabFirstScreen: however much of a matrix is open, verdict, causes and the
// grid fit on one screen; with --verbose nothing is folded.
func TestLabFirstScreen(t *testing.T) {
	show := func(verbose bool) []string {
		var b bytes.Buffer
		if err := LabReport(&b, labUnfinished(), Options{Width: 100, Verbose: verbose}); err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(b.String()), "\n")
	}
	if lines := show(false); len(lines) > 40 {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	all := strings.Join(show(true), "\n")
	if n := strings.Count(all, "open: "); n != 32 {
		t.Errorf("--verbose lists %d open attributions of 32", n)
	}
	if n := strings.Count(all, "\nsetting-"); n != 16 {
		t.Errorf("--verbose lists %d settings of 16", n)
	}
}

// TestLabMarkdown holds the page for pull requests: no text of an experiment is read
// as Markdown, and every table is whole.
func TestLabMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := LabMarkdown(&b, labReport(), Options{Dir: "/src/fleet"}); err != nil {
		t.Fatal(err)
	}
	const path = "testdata/labreport.md"
	golden.Text(t, path, b.String())
	columns, tables := 0, 0
	for line := range strings.Lines(b.String()) {
		n := strings.Count(line, "|") - strings.Count(line, `\|`)
		if n > 0 && columns > 0 && n != columns {
			t.Errorf("a row has %d bars, the one above %d: %s", n, columns, line)
		}
		if columns == 0 && n > 0 {
			tables++
		}
		columns = n
	}
	if tables != 6 {
		t.Errorf("%d tables", tables)
	}
}
