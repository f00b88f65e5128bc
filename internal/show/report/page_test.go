package report_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/attribute"
	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/decide/timeline"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/show/report"
)

// hostile are texts that would do harm where they are taken for markup.
const hostile = `</script><script>document.title="owned"</script><img src=x onerror='document.title="owned"'> & "q" {{js}}`

// fleetPage is a run of n images on two workers with a budget: of every ten images
// the first is cold, one failed, and so on. The second image's id and log are
// hostile.
func fleetPage(n int) *report.Page {
	s := summary.New()
	at, seq := time.Duration(0), int64(0)
	fold := func(kind journal.Kind, unit, worker string, data string) {
		seq++
		at += 100 * time.Millisecond
		summary.Fold(s, journal.Event{V: 1, Seq: seq, Mono: at, Wall: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC).Add(at), Kind: kind, Unit: unit, Worker: worker, Data: []byte(data)})
	}
	r := &report.Run{
		ID: "20260102-150405-bcdf", Fleet: "swebench", Workers: []string{"left", "right"},
		StepNames: []report.StepName{{Name: "[builder 2/2] RUN make", Kind: graph.KindExec, Shared: true}, {Name: "[stage-1 2/3] RUN adduser agent", Kind: graph.KindExec}, {Name: "[stage-1 3/3] RUN pip install", Kind: graph.KindExec}},
		Reasons:   []report.Reason{{Action: "build", Code: "run-on-base", Meaning: "a `RUN` step runs on each base", Images: n}},
		Images:    []report.Image{}, Releases: []report.Release{}, Held: []timeline.Interval{{Start: 3, End: 9}}, Logs: []report.Log{{Text: "Collecting agent\n" + hostile, Bytes: 90000}},
	}
	fold(journal.RunStarted, "", "", `{"run":"20260102-150405-bcdf","fleet":"swebench@0a1b"}`)
	fold(journal.Planned, "", "", fmt.Sprintf(`{"images":%d,"stepsDistinct":%d}`, n, 2*n+1))
	took, zero := 3.0, 0
	r.Shared = []report.Step{{Step: 0, Took: 31.5, Log: &zero}}
	disks := []report.Disk{{Worker: "left"}, {Worker: "right"}}
	for i := range n {
		id := fmt.Sprintf("django__django-%d", 10000+i)
		if i == 1 {
			id = hostile
		}
		w, at := i%2, float64(i/2)*3.2
		temperature := []string{"cold", "cold", "partial", "warm"}[i%4]
		im := report.Image{
			ID: id, State: "published", Action: "build", Temperature: temperature, Base: "registry.test/swebench/sweb.eval.x86_64." + strings.ToLower(fmt.Sprint(i)) + ":latest",
			Tags: []string{fmt.Sprintf("registry.test/agents:%d", i)}, Worker: &w, Attempts: 1, Seconds: &took, Why: []report.Why{{Code: "run-on-base", Place: "Dockerfile:9:1"}},
			Digest: graph.Digest(fmt.Sprintf("sha256:%064d", i)), Key: fmt.Sprintf("v1:%064d", i),
			Steps: []report.Step{{Step: 1, Took: 0.4 + float64(i%7)/10, Pulled: int64(1000 * (i % 13))}, {Step: 2, Took: 2.1 + float64(i%11)/10, Cached: temperature == "warm", Log: &zero}},
		}
		span := report.Span{Interval: timeline.Interval{Start: at, End: at + took}, Image: &i, Worker: &w, Outcome: timeline.Published}
		worker := r.Workers[w]
		switch {
		case i%10 == 9:
			im.State, im.Failure, span.Outcome = "failed", &zero, timeline.Failed
			fold(journal.UnitFailed, id, worker, `{"kind":"step","cause":"exit code: 1","step":"[stage-1 3/3] RUN pip install","log":"no space left"}`)
		default:
			fold(journal.UnitPublished, id, worker, `{"action":"build","temperature":"`+temperature+`"}`)
		}
		fold(journal.StepDone, id, worker, `{"name":"[stage-1 3/3] RUN pip install","kind":"exec","took":2300000000}`)
		r.Images, r.Spans = append(r.Images, im), append(r.Spans, span)
		if i < 400 {
			disks[w].Points = append(disks[w].Points, [3]float64{at, float64(4<<30 + (i%37)<<26), 8 << 30})
		}
		if i%37 == 36 {
			r.Releases = append(r.Releases, report.Release{Interval: timeline.Interval{Start: at, End: at + 2}, Worker: &w, Bytes: 2 << 30, Images: 18})
		}
	}
	r.Disks = disks
	s.DiskCurve = nil
	r.Summary = s
	return &report.Page{V: report.Version, Title: "Run " + r.ID + " of " + r.Fleet, Run: r}
}

// experimentReport is an experiment of two factors that mean more together.
func experimentReport() *answer.Report {
	return &answer.Report{
		V: answer.Version, Experiment: "bump", Digest: "sha256:0a1b2c", Status: gate.Pass, Tally: answer.Tally{Planned: 4, Counted: 4},
		Causes: []*answer.Attribution{{
			Metric: "wallSeconds", Unit: metric.Seconds, Temperature: experiment.Cold, Order: []string{"agent", "sdk"}, Margin: 12,
			Answer: attribute.Answer{
				Verdict: attribute.Mixed, Sentence: "agent (+10 min) and sdk (+5 min) change it alone, and together it is +25 min, not the sum +15 min", Total: 1500,
				Factors: []attribute.Factor{{Name: "agent", Alone: 600, Last: 1200, Shapley: 900}, {Name: "sdk", Alone: 300, Last: 900, Shapley: 600}},
				Terms:   []attribute.Term{{Set: 1, Value: 600, Share: 0.7}, {Set: 2, Value: 300, Share: 0.2}, {Set: 3, Value: 600, Share: 0.1}},
			},
			Amplifier: &answer.Amplifier{Amplification: attribute.Amplification{Cause: attribute.DiskCliff, Sentence: "disk cliff: with twice the disk the time comes back"}},
		}},
		Grid: answer.Grid{Metric: "wallSeconds", Unit: metric.Seconds, Temperatures: []experiment.Temperature{experiment.Cold}, Rows: []answer.GridRow{
			{Setting: "old", Cells: []*answer.GridCell{{Value: new(float64)}}}}},
		Misses: []answer.Missed{}, Searches: []answer.Strip{}, Gates: []answer.Gated{}, Findings: []gate.Finding{}, Predictions: []answer.Predicted{}, Replay: "lapstrake lab report",
	}
}
