package summary

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// readJournal reads a golden journal: they are never rewritten.
func readJournal(t testing.TB, path string) []journal.Event {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var events []journal.Event
	for s := bufio.NewScanner(f); s.Scan(); {
		var e journal.Event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func fold(events ...journal.Event) *Summary {
	s := New()
	for _, e := range events {
		Fold(s, e)
	}
	return s
}

func ev(kind journal.Kind, unit string, data any) journal.Event {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return journal.Event{Kind: kind, Unit: unit, Data: raw}
}

func at(e journal.Event, seconds float64) journal.Event {
	e.Mono = time.Duration(seconds * float64(time.Second))
	return e
}

func step(digest graph.Digest, unit string, d journal.StepData) journal.Event {
	e := ev(journal.StepDone, unit, d)
	e.Step = digest
	return e
}

// Journals of every version are read for ever, to the same summary.
func TestGoldenJournals(t *testing.T) {
	journals, err := filepath.Glob("testdata/v*/*.jsonl")
	if err != nil || len(journals) < 4 {
		t.Fatal(journals, err)
	}
	for _, path := range journals {
		t.Run(path, func(t *testing.T) {
			s := fold(readJournal(t, path)...)
			got, err := json.MarshalIndent(struct {
				Summary *Summary
				Units   map[string]UnitState
				Layers  []journal.LayersData
			}{s, s.Units, layersOf(s)}, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			golden.Text(t, strings.TrimSuffix(path, "l"), string(got))
		})
	}
}

func layersOf(s *Summary) []journal.LayersData {
	out := []journal.LayersData{}
	for _, l := range s.Layers {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b journal.LayersData) int {
		return strings.Compare(string(a.Layers)+a.Repo, string(b.Layers)+b.Repo)
	})
	return out
}

func TestJSONRoundTrip(t *testing.T) {
	journals, err := filepath.Glob("testdata/v*/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	empty := New()
	all := map[string]*Summary{"empty": empty}
	for _, path := range journals {
		all[path] = fold(readJournal(t, path)...)
	}
	for name, s := range all {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var back Summary
			if err := json.Unmarshal(data, &back); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(s, &back, cmpopts.IgnoreUnexported(Summary{}, Step{}, Part{}), cmpopts.IgnoreFields(Summary{}, "Units", "Indexes", "Layers", "Live")); d != "" {
				t.Error(d)
			}
		})
	}
}

// What was not measured is null and not zero, and every figure is named always.
func TestAbsentIsNull(t *testing.T) {
	data, err := json.Marshal(New())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	zero := []string{"images", "built", "skipped", "retagged", "failed", "pending"}
	null := []string{"wallSeconds", "stepsExecuted", "stepsCached", "stepsDistinct", "rework", "repull", "diskPeakBytes", "diskFinalBytes", "diskBudgetBytes", "releasedBytes", "releaseSeconds", "bytesPulled", "bytesPushed", "bytesMounted", "requests", "retries", "temperature", "exit", "releases", "diskCurve", "limits", "retriesByCause", "forecasts"}
	object := []string{"strategies", "phaseSeconds", "versions"}
	for _, name := range zero {
		if v, ok := got[name]; !ok || v != 0.0 {
			t.Errorf("%s is %v", name, v)
		}
	}
	for _, name := range null {
		if v, ok := got[name]; !ok || v != nil {
			t.Errorf("%s is %v", name, v)
		}
	}
	for _, name := range object {
		if v, ok := got[name].(map[string]any); !ok || len(v) != 0 {
			t.Errorf("%s is %v", name, got[name])
		}
	}
}

func TestUnits(t *testing.T) {
	build := journal.UnitData{Action: "build", Key: "v1:k", Digest: "sha256:d", Tags: []string{"h/r:t"}}
	start, put, published := ev(journal.UnitStarted, "a", build), ev(journal.UnitPut, "a", journal.UnitData{Digest: "sha256:d"}), ev(journal.UnitPublished, "a", build)
	failed := ev(journal.UnitFailed, "a", journal.FailData{Kind: "step", Cause: "boom"})
	placed := ev(journal.UnitPlaced, "a", journal.UnitData{Key: "v1:k", Digest: "sha256:d"})
	skipped := ev(journal.UnitSkipped, "a", journal.UnitData{Action: "skip", Key: "v1:k"})
	cases := []struct {
		name   string
		events []journal.Event
		want   UnitState
		counts [5]int // built, skipped, retagged, failed, pending
	}{
		{"started", []journal.Event{start}, UnitState{State: Started, Action: "build", Key: "v1:k", Digest: "sha256:d", Tags: build.Tags, Attempts: 1}, [5]int{0, 0, 0, 0, 1}},
		{"about to be put", []journal.Event{put}, UnitState{State: Put, Digest: "sha256:d"}, [5]int{0, 0, 0, 0, 1}},
		{"published", []journal.Event{start, put, published}, UnitState{State: Published, Action: "build", Key: "v1:k", Digest: "sha256:d", Tags: build.Tags, Attempts: 1}, [5]int{1, 0, 0, 0, 0}},
		{"placed, then scanned", []journal.Event{start, placed, start}, UnitState{State: Placed, Action: "build", Key: "v1:k", Digest: "sha256:d", Tags: build.Tags, Attempts: 1}, [5]int{0, 0, 0, 0, 1}},
		{"placed, and its scan fails", []journal.Event{start, placed, start, failed, start}, UnitState{State: Started, Action: "build", Key: "v1:k", Digest: "sha256:d", Tags: build.Tags, Attempts: 2}, [5]int{0, 0, 0, 0, 1}},
		{"failed, then published", []journal.Event{start, failed, start, published}, UnitState{State: Published, Action: "build", Key: "v1:k", Digest: "sha256:d", Tags: build.Tags, Attempts: 2}, [5]int{1, 0, 0, 0, 0}},
		{"published, then failed", []journal.Event{published, failed}, UnitState{State: Failed, Action: "build", Key: "v1:k", Digest: "sha256:d", Tags: build.Tags}, [5]int{0, 0, 0, 1, 0}},
		{"failed twice", []journal.Event{failed, failed}, UnitState{State: Failed}, [5]int{0, 0, 0, 1, 0}},
		{"skipped", []journal.Event{skipped}, UnitState{State: Skipped, Action: "skip", Key: "v1:k"}, [5]int{0, 1, 0, 0, 0}},
		{"published, then found in place", []journal.Event{published, skipped}, UnitState{State: Published, Action: "build", Key: "v1:k", Digest: "sha256:d", Tags: build.Tags}, [5]int{1, 0, 0, 0, 0}},
		{"retagged", []journal.Event{ev(journal.UnitPublished, "a", journal.UnitData{Action: "retag", Key: "v1:k"})}, UnitState{State: Published, Action: "retag", Key: "v1:k"}, [5]int{0, 0, 1, 0, 0}},
		{"other content now", []journal.Event{put, ev(journal.UnitStarted, "a", journal.UnitData{Key: "v1:new"})}, UnitState{State: Started, Key: "v1:new", Attempts: 1}, [5]int{0, 0, 0, 0, 1}},
		{"without data", []journal.Event{{Kind: journal.UnitStarted, Unit: "a", Attempt: 3}}, UnitState{State: Started, Attempts: 3}, [5]int{0, 0, 0, 0, 1}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := fold(c.events...)
			if d := cmp.Diff(c.want, s.Units["a"]); d != "" {
				t.Error(d)
			}
			if got := [5]int{s.Built, s.Skipped, s.Retagged, s.Failed, s.Pending}; got != c.counts || s.Images != 1 {
				t.Errorf("built, skipped, retagged, failed, pending %v, want %v; %d images", got, c.counts, s.Images)
			}
			if len(s.Failures) != s.Failed {
				t.Errorf("%d failures of %d failed images", len(s.Failures), s.Failed)
			}
		})
	}
}

func TestFailuresByCause(t *testing.T) {
	fail := func(unit, cause, log string) journal.Event {
		return ev(journal.UnitFailed, unit, journal.FailData{Kind: "step", Cause: cause, Log: log, Shared: true})
	}
	s := fold(fail("a", "x", "log"), fail("b", "y", ""), fail("c", "x", "other log"), fail("d", "z", ""),
		ev(journal.UnitPublished, "b", journal.UnitData{Action: "build"}), fail("a", "z", ""))
	want := []*Failure{
		{Kind: "step", Cause: "x", Shared: true, Log: "log", Images: []string{"c"}},
		{Kind: "step", Cause: "z", Shared: true, Images: []string{"d", "a"}},
	}
	if d := cmp.Diff(want, s.Failures); d != "" {
		t.Error(d)
	}
}

func TestFailureLogsAreBounded(t *testing.T) {
	s := New()
	for i := range 1_000 {
		Fold(s, ev(journal.UnitFailed, fmt.Sprint(i), journal.FailData{Cause: fmt.Sprint(i), Log: strings.Repeat("x", 4096)}))
	}
	total := 0
	for _, f := range s.Failures {
		total += len(f.Log)
	}
	if len(s.Failures) != 1_000 || total == 0 || total > maxLogBytes {
		t.Errorf("%d failures with %d bytes of logs", len(s.Failures), total)
	}
}

func TestPhases(t *testing.T) {
	start := func(name string, sec float64) journal.Event {
		return at(ev(journal.PhaseStarted, "", journal.PhaseData{Phase: name}), sec)
	}
	end := func(name string, sec float64) journal.Event {
		return at(ev(journal.PhaseEnded, "", journal.PhaseData{Phase: name}), sec)
	}
	note := func(sec float64) journal.Event { return at(ev(journal.Note, "", journal.NoteData{}), sec) }
	run := func(sec float64) journal.Event { return at(ev(journal.RunStarted, "", journal.RunData{}), sec) }
	cases := []struct {
		name   string
		events []journal.Event
		want   map[string]float64
	}{
		{"none", []journal.Event{note(1)}, map[string]float64{}},
		{"one", []journal.Event{start("plan", 1), end("plan", 3)}, map[string]float64{"plan": 2}},
		{"going on", []journal.Event{start("plan", 1), note(5)}, map[string]float64{"plan": 4}},
		{"twice", []journal.Event{start("plan", 1), end("plan", 3), start("plan", 10), end("plan", 11)}, map[string]float64{"plan": 3}},
		{"at once with another", []journal.Event{start("a", 1), start("b", 2), end("a", 4), end("b", 6)}, map[string]float64{"a": 3, "b": 4}},
		{"at once with itself", []journal.Event{start("a", 1), start("a", 2), end("a", 4), end("a", 6)}, map[string]float64{"a": 5}},
		{"ended without a start", []journal.Event{end("a", 6)}, map[string]float64{}},
		{"killed and resumed", []journal.Event{run(0), start("a", 1), start("a", 2), note(3), run(10), note(20), start("a", 30), end("a", 31)}, map[string]float64{"a": 3}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, fold(c.events...).PhaseSeconds); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSteps(t *testing.T) {
	exec := func(digest graph.Digest, unit string, more ...func(*journal.StepData)) journal.Event {
		d := journal.StepData{Name: "RUN x", Kind: graph.KindExec}
		for _, f := range more {
			f(&d)
		}
		return step(digest, unit, d)
	}
	cached := func(d *journal.StepData) { d.Cached = true }
	shared := func(d *journal.StepData) { d.Shared = true }
	broke := func(d *journal.StepData) { d.Error = "exit code: 1" }
	kind := func(k graph.Kind, name string) func(*journal.StepData) {
		return func(d *journal.StepData) { d.Kind, d.Name = k, name }
	}
	planned := ev(journal.Planned, "", journal.PlannedData{Images: 2, StepsDistinct: 2})
	cases := []struct {
		name             string
		events           []journal.Event
		executed, cached int64
		rework           float64
	}{
		{"none", nil, 0, 0, 0},
		{"each once", []journal.Event{exec("s:1", "a"), exec("s:1", "b")}, 2, 0, 1},
		{"one twice", []journal.Event{exec("s:1", "a"), exec("s:2", "a"), exec("s:2", "a")}, 3, 0, 1.5},
		{"a shared one for two images", []journal.Event{exec("s:1", "a", shared), exec("s:1", "b", shared), exec("s:2", "")}, 3, 0, 1.5},
		{"cached", []journal.Event{exec("s:1", "a", cached), exec("s:2", "a", cached)}, 0, 2, 0},
		{"again after it failed", []journal.Event{exec("s:1", "a", broke), exec("s:1", "a"), exec("s:2", "a")}, 3, 0, 1},
		{"again after its image failed", []journal.Event{exec("s:1", "a"), ev(journal.UnitFailed, "a", journal.FailData{}), exec("s:1", "a"), exec("s:2", "a")}, 3, 0, 1},
		{"again after another image failed", []journal.Event{exec("s:1", "a"), ev(journal.UnitFailed, "b", journal.FailData{}), exec("s:1", "a"), exec("s:2", "a")}, 3, 0, 1.5},
		{"the first time after a failure", []journal.Event{exec("s:1", "a", broke), exec("s:1", "a"), exec("s:2", "a")}, 3, 0, 1},
		{"a merge", []journal.Event{exec("s:1", "a", kind(graph.KindMerge, "merge")), exec("s:2", "a")}, 1, 0, 0.5},
		{"the solver's own", []journal.Event{exec("s:1", "a", kind("", "[internal] load build context")), exec("s:2", "a", kind("", "exporting to image")), exec("s:3", "a", kind("", "RUN y"))}, 1, 0, 0.5},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := fold(append([]journal.Event{planned}, c.events...)...)
			if *s.StepsExecuted != c.executed || *s.StepsCached != c.cached || *s.Rework != c.rework {
				t.Errorf("executed %d, cached %d, rework %v; want %d, %d, %v", *s.StepsExecuted, *s.StepsCached, *s.Rework, c.executed, c.cached, c.rework)
			}
			if unplanned := fold(c.events...); unplanned.Rework != nil {
				t.Errorf("rework without a plan is %v", *unplanned.Rework)
			}
		})
	}
}

func TestStepRows(t *testing.T) {
	from := func(unit string) journal.Event {
		return step("s:f", unit, journal.StepData{Name: "[1/2] FROM host/base:" + unit, Kind: graph.KindImage, Pulled: 10, Took: time.Second})
	}
	s := fold(from("a"), from("b"),
		step("s:g", "", journal.StepData{Name: "[go 1/2] FROM golang", Shared: true, Took: 4 * time.Second}),
		step("s:r", "a", journal.StepData{Name: "RUN x", Took: 2 * time.Second}),
		step("s:r", "b", journal.StepData{Name: "RUN x", Took: 3 * time.Second, Error: "e"}),
		step("s:r", "c", journal.StepData{Name: "RUN x", Cached: true}))
	want := []*Step{
		{Name: "[1/2] FROM (base)", Kind: graph.KindImage, Count: 2, Executed: 2, TotalSeconds: 2, P50Seconds: ptr(1.0), P95Seconds: ptr(1.0), PulledBytes: 20},
		{Name: "[go 1/2] FROM golang", Shared: true, Count: 1, Executed: 1, TotalSeconds: 4, P50Seconds: ptr(4.0), P95Seconds: ptr(4.0)},
		{Name: "RUN x", Count: 3, Executed: 2, Cached: 1, Failed: 1, TotalSeconds: 5, P50Seconds: ptr(2.0), P95Seconds: ptr(3.0)},
	}
	if d := cmp.Diff(want, s.Steps, cmpopts.IgnoreUnexported(Step{}), cmpopts.EquateApprox(0.02, 0)); d != "" {
		t.Error(d)
	}
}

func ptr[T any](v T) *T { return &v }

// Ten thousand images with names of their own need a bounded table.
func TestManyImages(t *testing.T) {
	const n = 10_000
	s := fold(ev(journal.Planned, "", journal.PlannedData{Images: n, StepsDistinct: 2 * n}))
	for i := range n {
		unit := fmt.Sprint("image-", i)
		Fold(s, ev(journal.UnitStarted, unit, journal.UnitData{Action: "build"}))
		Fold(s, step("s:1", unit, journal.StepData{Name: "RUN same", Took: time.Second}))
		Fold(s, step("s:2", unit, journal.StepData{Name: fmt.Sprint("RUN ", i), Took: time.Second}))
		Fold(s, ev(journal.Note, "", journal.NoteData{Level: "info", Text: unit}))
		Fold(s, ev(journal.UnitPublished, unit, journal.UnitData{Action: "build", Temperature: "cold"}))
	}
	if s.Built != n || s.Pending != 0 || *s.StepsExecuted != 2*n || *s.Rework != 1 || s.Temperature.Cold != n || s.Strategies["build"] != n {
		t.Errorf("built %d, pending %d, executed %d, rework %v, %+v, %v", s.Built, s.Pending, *s.StepsExecuted, *s.Rework, s.Temperature, s.Strategies)
	}
	if len(s.Steps) > maxRows+1 || len(s.Notes) != maxNotes {
		t.Errorf("%d rows, %d notes", len(s.Steps), len(s.Notes))
	}
	var count int64
	for _, r := range s.Steps {
		count += r.Count
	}
	if count != 2*n {
		t.Errorf("the rows count %d steps", count)
	}
}

func TestFigures(t *testing.T) {
	run := ev(journal.RunStarted, "", journal.RunData{Run: "r", Fleet: "f"})
	requests := func(n int64) journal.Event {
		return ev(journal.Requests, "", journal.RequestData{Hosts: map[string]int64{"h": n}, Retries: n, Pulled: n, Pushed: n, Mounted: n, MountsRefused: n})
	}
	s := fold(run,
		ev(journal.Planned, "", journal.PlannedData{Images: 3, BaseBytes: 100, StepsDistinct: 7}),
		ev(journal.Disk, "", journal.DiskData{Used: 50, Budget: 90}), requests(5), requests(10),
		ev(journal.Disk, "", journal.DiskData{Used: 80}), ev(journal.Disk, "", journal.DiskData{Used: 60}),
		step("s:1", "a", journal.StepData{Name: "[1/2] FROM x", Kind: graph.KindImage, Pulled: 120}),
		step("s:2", "", journal.StepData{Name: "[go 1/2] FROM y", Kind: graph.KindImage, Pulled: 30, Shared: true}),
		ev(journal.RunEnded, "", journal.EndData{Exit: 130, Cause: "stopped"}),
		run, ev(journal.Planned, "", journal.PlannedData{Images: 3, BaseBytes: 40, StepsDistinct: 2}),
		requests(4), ev(journal.Released, "", journal.ReleaseData{Bytes: 5, Took: time.Second}), ev(journal.Released, "", journal.ReleaseData{Bytes: 6, Took: time.Second}))
	got := map[string]any{
		"starts": s.Starts, "exit": s.Exit, "cause": s.Cause, "distinct": *s.StepsDistinct, "peak": *s.DiskPeakBytes, "final": *s.DiskFinalBytes, "budget": *s.DiskBudgetBytes,
		"repull": *s.Repull, "pulled": *s.BytesPulled, "pushed": *s.BytesPushed, "mounted": *s.BytesMounted, "refused": *s.MountsRefused,
		"requests": s.Requests["h"], "retries": *s.Retries, "released": *s.ReleasedBytes, "releaseSeconds": *s.ReleaseSeconds,
	}
	want := map[string]any{
		"starts": 2, "exit": (*int)(nil), "cause": "", "distinct": int64(7), "peak": int64(80), "final": int64(60), "budget": int64(90),
		"repull": 1.2, "pulled": int64(164), "pushed": int64(14), "mounted": int64(14), "refused": int64(14),
		"requests": int64(14), "retries": int64(14), "released": int64(11), "releaseSeconds": 2.0,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestVersionsOfSeveralStarts(t *testing.T) {
	run := func(v string) journal.Event {
		return ev(journal.RunStarted, "", journal.RunData{Versions: map[string]string{"buildkit": v}})
	}
	s := fold(run("v0.33.0"), run("v0.34.2"), run("v0.34.2"), run("v0.33.0"))
	if got := s.Versions["buildkit"]; got != "v0.33.0, v0.34.2" {
		t.Error(got)
	}
}

func TestUnreadableEventsAreCounted(t *testing.T) {
	s := fold(ev("of.the.future", "a", 1), journal.Event{Kind: journal.Planned, Data: json.RawMessage(`{"images":"many"}`)},
		journal.Event{Kind: journal.UnitPublished, Unit: "a", Data: json.RawMessage(`[]`)})
	if s.Ignored != 3 || s.Images != 0 || len(s.Units) != 0 {
		t.Errorf("ignored %d, %d images, %d units", s.Ignored, s.Images, len(s.Units))
	}
}

// drawEvents makes a journal of a run on a few images, with everything that can
// happen in any order.
func drawEvents(t *rapid.T) []journal.Event {
	unit := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	var events []journal.Event
	mono := time.Duration(0)
	for i := range rapid.IntRange(0, 80).Draw(t, "n") {
		u := unit.Draw(t, "unit")
		data := journal.UnitData{
			Action:      rapid.SampledFrom([]string{"", "append", "build", "retag", "skip"}).Draw(t, "action"),
			Key:         rapid.SampledFrom([]string{"", "v1:x", "v1:y"}).Draw(t, "key"),
			Temperature: rapid.SampledFrom([]string{"", "cold", "warm", "skipped", "odd"}).Draw(t, "temperature"),
			Promised:    rapid.Int64Range(0, 9).Draw(t, "promised"),
		}
		kind := rapid.SampledFrom([]journal.Kind{
			journal.UnitStarted, journal.UnitBuilt, journal.UnitPut, journal.UnitPlaced, journal.UnitPublished, journal.UnitSkipped, journal.UnitFailed,
			journal.RunStarted, journal.Planned, journal.StepDone, journal.PhaseStarted, journal.PhaseEnded, journal.Requests, "unknown",
			journal.Scheduling, journal.UnitQueued, journal.UnitRetried, journal.WorkerLost, journal.SharedQueued, journal.SharedStarted, journal.SharedReady,
			journal.SharedFailed, journal.Releasing, journal.Released, journal.Disk, journal.Forecast, journal.WorkerReady,
		}).Draw(t, "kind")
		var e journal.Event
		switch kind {
		case journal.UnitRetried, journal.WorkerLost, journal.SharedFailed:
			e = ev(kind, u, journal.FailData{Reason: rapid.SampledFrom([]string{"", journal.RetryDisk, journal.RetryWorker}).Draw(t, "reason")})
		case journal.Disk:
			e = ev(kind, "", journal.DiskData{Used: rapid.Int64Range(0, 9).Draw(t, "used"), Budget: 5})
		case journal.Released:
			e = ev(kind, "", journal.ReleaseData{Bytes: 1, Took: time.Second})
		case journal.Forecast:
			e = ev(kind, "", journal.ForecastData{Done: rapid.IntRange(0, 6).Draw(t, "done")})
		case journal.Scheduling, journal.SharedQueued, journal.SharedStarted, journal.SharedReady, journal.Releasing, journal.UnitQueued, journal.WorkerReady:
			e = journal.Event{Kind: kind, Unit: u}
		case journal.UnitFailed:
			e = ev(kind, u, journal.FailData{Cause: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "cause")})
		case journal.RunStarted:
			e = ev(kind, "", journal.RunData{})
		case journal.Planned:
			e = ev(kind, "", journal.PlannedData{Images: rapid.IntRange(0, 6).Draw(t, "images"), StepsDistinct: 3})
		case journal.StepDone:
			e = step(rapid.SampledFrom([]graph.Digest{"s:1", "s:2"}).Draw(t, "step"), u, journal.StepData{Name: "RUN", Cached: rapid.Bool().Draw(t, "cached")})
		case journal.PhaseStarted, journal.PhaseEnded:
			e = ev(kind, "", journal.PhaseData{Phase: rapid.SampledFrom([]string{"p", "q"}).Draw(t, "phase")})
		case journal.Requests:
			e = ev(kind, "", journal.RequestData{Hosts: map[string]int64{"h": int64(i)}})
		default:
			e = ev(kind, u, data)
		}
		mono += time.Duration(rapid.IntRange(0, 5).Draw(t, "dt")) * time.Second
		e.V, e.Seq, e.Mono = 1, int64(i+1), mono
		e.Worker = rapid.SampledFrom([]string{"", "w", "v"}).Draw(t, "worker")
		if e.Step == "" {
			e.Step = rapid.SampledFrom([]graph.Digest{"", "s:1", "s:2"}).Draw(t, "share")
		}
		events = append(events, e)
	}
	return events
}

// After every event the counts add up, the failures are those of the failed
// images, and no phase is longer than the run.
func TestCountsAreConsistent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		for _, e := range drawEvents(t) {
			Fold(s, e)
			if s.Images != s.Built+s.Skipped+s.Retagged+s.Failed+s.Pending || min(s.Built, s.Skipped, s.Retagged, s.Failed, s.Pending) < 0 {
				t.Fatalf("%d images: %d built, %d skipped, %d retagged, %d failed, %d pending", s.Images, s.Built, s.Skipped, s.Retagged, s.Failed, s.Pending)
			}
			states := map[State]int{}
			for _, u := range s.Units {
				states[u.State]++
			}
			strategies := 0
			for action, n := range s.Strategies {
				if strategies += n; n <= 0 {
					t.Fatalf("%d images by %s", n, action)
				}
			}
			if states[Failed] != s.Failed || states[Skipped] != s.Skipped || states[Published] != s.Built+s.Retagged || strategies != s.Built {
				t.Fatalf("states %v, strategies %v, summary %+v", states, s.Strategies, s)
			}
			failed := map[string]bool{}
			for _, f := range s.Failures {
				for _, u := range f.Images {
					if failed[u] || s.Units[u].State != Failed {
						t.Fatalf("%s is among the failures; its state is %s", u, s.Units[u].State)
					}
					failed[u] = true
				}
			}
			if len(failed) != s.Failed {
				t.Fatalf("%d images in failures, %d failed", len(failed), s.Failed)
			}
			if w := s.Temperature; w != nil && w.Cold+w.Partial+w.Warm+w.Skipped > s.Built+s.Skipped+s.Retagged {
				t.Fatalf("temperatures %+v of %d images", *w, s.Built+s.Skipped+s.Retagged)
			}
			for name, sec := range s.PhaseSeconds {
				if sec < 0 || sec > *s.WallSeconds {
					t.Fatalf("phase %s took %v of %v", name, sec, *s.WallSeconds)
				}
			}
		}
	})
}

// A reader may begin again from any place before where it was.
func TestRepeatedEventsChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		want := fold(events...)
		got := New()
		for i := range events {
			Fold(got, events[i])
			for j := rapid.IntRange(0, i).Draw(t, "from"); j <= i; j++ {
				Fold(got, events[j])
			}
		}
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(got)
		if string(a) != string(b) || !cmp.Equal(want.Units, got.Units) {
			t.Fatal(cmp.Diff(string(a), string(b)))
		}
	})
}

// Percentiles are within 2 % of those of the sorted list.
func TestQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Int64Range(-5, 1<<62), 1, 200).Draw(t, "durations")
		var h histogram
		for i, v := range all {
			h.add(time.Duration(v))
			all[i] = max(v, 0)
		}
		slices.Sort(all)
		for _, q := range []float64{0.5, 0.95, 1} {
			exact := all[0]
			for i, v := range all {
				if float64(i+1) >= q*float64(len(all)) {
					exact = v
					break
				}
			}
			got := int64(h.quantile(q))
			if diff := float64(got) - float64(exact); diff < -0.02*float64(exact) || diff > 0.02*float64(exact) {
				t.Fatalf("quantile %v is %d, want %d", q, got, exact)
			}
		}
	})
}

// FuzzFold folds any data under any kind: no panic, and the counts add up.
func FuzzFold(f *testing.F) {
	for _, k := range []journal.Kind{journal.Planned, journal.UnitPublished, journal.StepDone, journal.Requests, journal.PhaseEnded, "other"} {
		f.Add(string(k), []byte(`{}`), "a")
		f.Add(string(k), []byte(`null`), "")
	}
	for _, k := range []journal.Kind{journal.Scheduling, journal.UnitQueued, journal.UnitRetried, journal.WorkerLost, journal.SharedStarted, journal.Released, journal.Disk, journal.Forecast} {
		f.Add(string(k), []byte(`{}`), "a")
	}
	f.Add("step.done", []byte(`{"took":-1,"pulled":-9}`), "a")
	f.Fuzz(func(t *testing.T, kind string, data []byte, unit string) {
		s := New()
		for _, k := range []string{kind, "unit.started", kind, "unit.failed", kind, "run.started", kind} {
			Fold(s, journal.Event{Kind: journal.Kind(k), Unit: unit, Data: data})
		}
		if s.Images != s.Built+s.Skipped+s.Retagged+s.Failed+s.Pending {
			t.Fatalf("%+v", s)
		}
	})
}
