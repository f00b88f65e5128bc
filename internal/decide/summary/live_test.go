package summary

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

func on(worker string, e journal.Event) journal.Event {
	e.Worker = worker
	return e
}

func of(step graph.Digest, e journal.Event) journal.Event {
	e.Step = step
	return e
}

func start(unit, worker string, promised int64) journal.Event {
	return on(worker, ev(journal.UnitStarted, unit, journal.UnitData{Action: "build", Promised: promised}))
}

func queued(unit string) journal.Event { return ev(journal.UnitQueued, unit, journal.QueuedData{}) }
func published(unit string) journal.Event {
	return ev(journal.UnitPublished, unit, journal.UnitData{Action: "build"})
}
func retried(unit, reason string) journal.Event {
	return ev(journal.UnitRetried, unit, journal.FailData{Reason: reason})
}
func lost(worker string) journal.Event {
	return on(worker, ev(journal.WorkerLost, "", journal.FailData{Cause: "killed", Reason: journal.RetryWorker}))
}

// An execution is rework unless something explains it, and what explains one
// does not explain the next.
func TestRework(t *testing.T) {
	own := func(unit string) journal.Event {
		return on("w", step("s:1", unit, journal.StepData{Name: "RUN x", Kind: graph.KindExec}))
	}
	shared := on("w", step("s:2", "", journal.StepData{Name: "RUN y", Kind: graph.KindExec, Shared: true}))
	source := func(k graph.Kind, unit string) journal.Event {
		return step("s:3", unit, journal.StepData{Name: "x", Kind: k, Shared: true})
	}
	failed := func(reason string) journal.Event {
		return of("s:2", ev(journal.SharedFailed, "", journal.FailData{Reason: reason}))
	}
	for _, c := range []struct {
		name   string
		events []journal.Event
		rework float64 // of ten distinct steps
	}{
		{"a step of two images", []journal.Event{own("a"), own("b")}, 0.2},
		{"a step twice", []journal.Event{own("a"), own("a")}, 0.2},
		{"after a retry", []journal.Event{start("a", "w", 0), own("a"), retried("a", journal.RetryDisk), own("a")}, 0.1},
		{"twice after a retry", []journal.Event{start("a", "w", 0), own("a"), retried("a", journal.RetryDisk), own("a"), own("a")}, 0.2},
		{"after another's retry", []journal.Event{own("a"), retried("b", journal.RetryDisk), own("a")}, 0.2},
		{"its second attempt", []journal.Event{own("a"), {Kind: journal.StepDone, Unit: "a", Step: "s:1", Attempt: 2, Data: own("a").Data}}, 0.1},
		{"after its worker was lost", []journal.Event{start("a", "w", 0), own("a"), lost("w"), own("a")}, 0.1},
		{"after another worker was lost", []journal.Event{start("a", "w", 0), own("a"), lost("v"), own("a")}, 0.2},
		{"an image that was done on a lost worker", []journal.Event{start("a", "w", 0), own("a"), published("a"), lost("w"), own("a")}, 0.2},
		{"a shared step after its worker was lost", []journal.Event{shared, lost("w"), shared}, 0.1},
		{"a shared step after another worker was lost", []journal.Event{shared, lost("v"), shared}, 0.2},
		{"a shared step that is tried again", []journal.Event{shared, failed(journal.RetryPassing), shared}, 0.1},
		{"a shared step that was given up", []journal.Event{shared, failed(""), shared}, 0.2},
		{"a context in every solve", []journal.Event{source(graph.KindLocal, "a"), source(graph.KindLocal, "b"), source(graph.KindLocal, "")}, 0.1},
		{"an image in every solve", []journal.Event{source(graph.KindImage, "a"), source(graph.KindImage, "b")}, 0.1},
		{"a repository in every solve", []journal.Event{source(graph.KindGit, "a"), source(graph.KindGit, "b")}, 0.1},
		{"an address in every solve", []journal.Event{source(graph.KindHTTP, "a"), source(graph.KindHTTP, "b")}, 0.1},
		{"a source by its name", []journal.Event{
			step("s:3", "a", journal.StepData{Name: "[1/2] FROM x", Shared: true}), step("s:3", "b", journal.StepData{Name: "[1/2] FROM x", Shared: true}),
		}, 0.1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := fold(append([]journal.Event{ev(journal.Planned, "", journal.PlannedData{StepsDistinct: 10})}, c.events...)...)
			if *s.Rework != c.rework {
				t.Errorf("rework %v, want %v", *s.Rework, c.rework)
			}
		})
	}
}

func TestRetriesByCause(t *testing.T) {
	scheduling := ev(journal.Scheduling, "", journal.SchedulingData{Jobs: 2})
	run := func(d graph.Digest, w string) journal.Event {
		return on(w, of(d, ev(journal.SharedStarted, "", journal.SharedData{})))
	}
	for _, c := range []struct {
		name   string
		events []journal.Event
		want   map[string]int
	}{
		{"nobody would know", []journal.Event{start("a", "w", 0)}, nil},
		{"none", []journal.Event{scheduling, start("a", "w", 0), published("a")}, map[string]int{}},
		{"by reason", []journal.Event{scheduling, start("a", "w", 0), retried("a", journal.RetryDisk), start("a", "w", 0), retried("a", journal.RetryDisk), retried("b", journal.RetryBudget), retried("c", "")},
			map[string]int{"disk": 2, "budget": 1, "unknown": 1}},
		{"what ran on a lost worker", []journal.Event{scheduling, start("a", "w", 0), start("b", "w", 0), start("c", "v", 0), start("d", "w", 0), published("d"), run("s:1", "w"), run("s:2", "v"), lost("w")},
			map[string]int{"worker": 3}},
		{"told twice", []journal.Event{scheduling, start("a", "w", 0), run("s:1", "w"), lost("w"), retried("a", journal.RetryWorker), of("s:1", ev(journal.SharedFailed, "", journal.FailData{Reason: journal.RetryWorker}))},
			map[string]int{"worker": 2}},
		{"told twice the other way round", []journal.Event{scheduling, start("a", "w", 0), retried("a", journal.RetryWorker), lost("w")}, map[string]int{"worker": 1}},
		{"nothing ran there", []journal.Event{scheduling, lost("w")}, map[string]int{}},
		{"a shared step", []journal.Event{scheduling, run("s:1", "w"), of("s:1", ev(journal.SharedFailed, "", journal.FailData{Reason: journal.RetryPassing}))}, map[string]int{"passing": 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, fold(c.events...).RetriesByCause); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLive(t *testing.T) {
	s := New()
	check := func(what string, want Live, events ...journal.Event) {
		t.Helper()
		for _, e := range events {
			Fold(s, e)
		}
		if d := cmp.Diff(want, s.Live, cmpopts.IgnoreFields(Live{}, "Slots", "Ends", "Problems")); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	share := func(kind journal.Kind, d graph.Digest, name string) journal.Event {
		return on("w", of(d, ev(kind, "", journal.SharedData{Name: name})))
	}
	scheduling := ev(journal.Scheduling, "", journal.SchedulingData{Jobs: 2})
	check("all is queued", Live{Waiting: 3, Shared: 2}, scheduling, share(journal.SharedQueued, "s:1", "RUN a"), share(journal.SharedQueued, "s:2222222222222222", ""), queued("a"), queued("b"), queued("c"), queued("c"))
	check("shared steps run", Live{Waiting: 3, Shared: 2, Sharing: []string{"RUN a", "222222222222"}}, share(journal.SharedStarted, "s:1", ""), share(journal.SharedStarted, "s:2222222222222222", ""))
	check("one is ready", Live{Waiting: 3, Shared: 2, SharedReady: 1, Sharing: []string{"222222222222"}}, share(journal.SharedReady, "s:1", "RUN a"))
	check("an image runs", Live{Waiting: 2, Running: 1, Promised: 70, Shared: 2, SharedReady: 1, Sharing: []string{"222222222222"}}, start("a", "w", 70))
	check("another runs", Live{Waiting: 1, Running: 2, Promised: 110, Shared: 2, SharedReady: 1, Sharing: []string{"222222222222"}}, start("b", "v", 40))
	check("the worker is lost", Live{Waiting: 2, Running: 1, Promised: 40, Shared: 2, SharedReady: 1, Sharing: []string{}}, lost("w"))
	check("a retry", Live{Waiting: 3, Shared: 2, SharedReady: 1, Sharing: []string{}}, retried("b", journal.RetryDisk))
	check("one done, one failed", Live{Waiting: 1, Shared: 2, SharedReady: 1, Sharing: []string{}}, start("a", "w", 5), published("a"), ev(journal.UnitFailed, "b", journal.FailData{}))
	check("a release", Live{Waiting: 1, Shared: 2, SharedReady: 1, Sharing: []string{}, Releasing: 2}, on("w", journal.Event{Kind: journal.Releasing}), on("v", journal.Event{Kind: journal.Releasing}))
	check("ends", Live{Waiting: 1, Shared: 2, SharedReady: 1, Sharing: []string{}, Releasing: 1}, on("w", ev(journal.Released, "", journal.ReleaseData{})))
	check("another schedule", Live{Waiting: 1, Releasing: 1}, scheduling, queued("c"))
	check("resumed", Live{}, ev(journal.RunStarted, "", journal.RunData{}))
}

// A solve keeps its place to its end, and a new one takes the lowest that is free.
func TestSlots(t *testing.T) {
	s := New()
	check := func(what string, want []string, events ...journal.Event) {
		t.Helper()
		for _, e := range events {
			Fold(s, e)
		}
		got := []string{}
		for _, x := range s.Live.Slots {
			got = append(got, strings.TrimSpace(fmt.Sprintf("%s%d %s%s %s", x.Worker, x.Place, x.Unit, x.Shared, x.Step)))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	at := func(unit string, step graph.Digest, name string) journal.Event {
		return of(step, ev(journal.StepBegun, unit, journal.StepBegunData{Name: name}))
	}
	shared := on("w", of("s:1", ev(journal.SharedStarted, "", journal.SharedData{})))
	check("some begin", []string{"v0 a", "w0 RUN s", "w1 b", "w2 c"}, of("s:1", ev(journal.SharedQueued, "", journal.SharedData{Name: "RUN s"})), shared, start("a", "v", 0), start("b", "w", 0), start("c", "w", 0))
	check("they are at steps", []string{"v0 a", "w0 RUN s RUN t", "w1 b RUN 2", "w2 c"}, at("b", "s:9", "RUN 1"), at("b", "s:8", "RUN 2"), at("", "s:1", "RUN t"), at("x", "", "RUN 3"), at("", "s:7", "RUN 4"))
	check("one ends", []string{"v0 a", "w0 RUN s RUN t", "w2 c"}, published("b"))
	check("its place is taken", []string{"v0 a", "w0 RUN s RUN t", "w1 d", "w2 c"}, start("d", "w", 0))
	check("a retry, a shared step that is ready", []string{"v0 a", "w1 d"}, retried("c", journal.RetryDisk), of("s:1", ev(journal.SharedReady, "", journal.SharedData{})))
	check("an image without a worker", []string{"v0 a", "w1 d"}, ev(journal.UnitStarted, "e", journal.UnitData{Action: "append"}))
	check("a worker is lost", []string{"v0 a"}, lost("w"))
	check("another schedule", []string{"v0 a"}, ev(journal.Scheduling, "", journal.SchedulingData{}))
	check("another start", []string{}, ev(journal.RunStarted, "", journal.RunData{}))
}

func TestPaused(t *testing.T) {
	pause, start := journal.Event{Kind: journal.Paused}, ev(journal.RunStarted, "", journal.RunData{})
	for what, c := range map[string]struct {
		s    *Summary
		want bool
	}{
		"never": {fold(start), false}, "paused": {fold(start, pause), true}, "no more": {fold(start, pause, journal.Event{Kind: journal.Unpaused}), false},
		"before a schedule": {fold(pause, ev(journal.Scheduling, "", journal.SchedulingData{})), true}, "before it was resumed": {fold(pause, start), false},
	} {
		if c.s.Live.Paused != c.want {
			t.Errorf("%s: paused %v", what, c.s.Live.Paused)
		}
	}
}

// Problems are one for each cause, in the order of the last time.
func TestProblems(t *testing.T) {
	fail := func(unit, cause string) journal.Event {
		return ev(journal.UnitFailed, unit, journal.FailData{Cause: cause, Step: "RUN x"})
	}
	s := fold(fail("a", "exit code 1"), lost("w"), retried("b", ""), fail("c", "exit code 1"), ev(journal.Note, "", journal.NoteData{Level: "info", Text: "not one"}), ev(journal.Note, "", journal.NoteData{Level: "warning", Text: "odd"}))
	want := []Problem{{Worker: "w", Cause: "killed", Count: 1, Passing: true}, {Unit: "b", Count: 1, Passing: true}, {Unit: "c", Step: "RUN x", Cause: "exit code 1", Count: 2}, {Cause: "odd", Count: 1, Passing: true}}
	if d := cmp.Diff(want, s.Live.Problems); d != "" {
		t.Error(d)
	}
	for i := range 100 {
		Fold(s, fail("z", fmt.Sprint("exit code ", i)))
		Fold(s, published(fmt.Sprint("y", i)))
	}
	if len(s.Live.Problems) != maxProblems || len(s.Live.Ends) != maxEnds {
		t.Errorf("%d problems and %d ends are kept", len(s.Live.Problems), len(s.Live.Ends))
	}
}

// What goes on is counted as it is, whatever happens.
func TestLiveAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		for _, e := range drawEvents(t) {
			Fold(s, e)
			var waiting, running int
			var promised int64
			for image, w := range s.fold.works {
				switch l := w.live; {
				case l == nil:
				case s.Units[image].State == Failed && !l.waiting, s.Units[image].State == Published && !l.waiting:
					t.Fatalf("%s is %s and runs", image, s.Units[image].State)
				case l.waiting:
					waiting++
				default:
					running++
					promised += l.promised
				}
			}
			places := map[string]bool{}
			for _, x := range s.Live.Slots {
				places[fmt.Sprint(x.Worker, " ", x.Place)] = true
				if w := s.fold.works[x.Unit]; x.Unit != "" && (w == nil || w.live == nil || w.live.slot != x || w.live.waiting) {
					t.Fatalf("after %s: %s has a place and does not run", e.Kind, x.Unit)
				}
			}
			if len(places) != len(s.Live.Slots) {
				t.Fatalf("after %s: %d solves in %d places", e.Kind, len(s.Live.Slots), len(places))
			}
			ready, sharing := 0, 0
			for _, x := range s.fold.queue {
				switch x.phase {
				case shareReady:
					ready++
				case shareRuns:
					sharing++
				}
			}
			want := []any{waiting, running, promised, len(s.fold.queue), ready, sharing}
			got := []any{s.Live.Waiting, s.Live.Running, s.Live.Promised, s.Live.Shared, s.Live.SharedReady, len(s.Live.Sharing)}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("after %s: %s", e.Kind, d)
			}
		}
	})
}

func TestWorkers(t *testing.T) {
	disk := func(used, budget int64) *journal.DiskData {
		return &journal.DiskData{Used: used, Total: 1000, Budget: budget}
	}
	s := fold(
		on("w", ev(journal.WorkerReady, "", journal.WorkerData{Address: "unix:///w", Disk: disk(150, 300), Holds: 50, Versions: map[string]string{"buildkit": "v1"}})),
		on("v", ev(journal.WorkerReady, "", journal.WorkerData{Address: "tcp://v:1"})),
		start("a", "w", 0), published("a"), start("b", "w", 0), lost("w"), start("b", "v", 0), published("b"), start("c", "v", 0), published("c"),
		on("w", ev(journal.Disk, "", disk(380, 300))), on("w", ev(journal.Disk, "", disk(200, 300))),
		on("w", ev(journal.Released, "", journal.ReleaseData{Before: map[string]int64{"regular": 90, "exec.cachemount": 5}, After: map[string]int64{"regular": 10}})),
		on("w", ev(journal.WorkerReady, "", journal.WorkerData{Disk: disk(999, 300)})),
		lost("w"),
	)
	want := []*Worker{
		{Name: "w", Address: "unix:///w", Images: 1, Lost: 2, LostCause: "killed", DiskPeakBytes: ptr(int64(999)), DiskFinalBytes: ptr(int64(999)), DiskBudgetBytes: ptr(int64(400)),
			Records: map[string]Usage{"regular": {90, 10}, "exec.cachemount": {5, 0}}},
		{Name: "v", Address: "tcp://v:1", Images: 2},
	}
	if d := cmp.Diff(want, s.Workers); d != "" {
		t.Error(d)
	}
	if *s.DiskBudgetBytes != 400 || s.Versions["buildkit"] != "v1" || s.Units["b"].Worker != "v" {
		t.Errorf("budget %d, versions %v, b on %s", *s.DiskBudgetBytes, s.Versions, s.Units["b"].Worker)
	}
}

func TestReleases(t *testing.T) {
	if fold(journal.Event{Kind: journal.Releasing}).Releases != nil {
		t.Error("releases before one ended")
	}
	release := func(d journal.ReleaseData) journal.Event { return ev(journal.Released, "", d) }
	s := fold(
		release(journal.ReleaseData{Records: 3, Bytes: 100, Took: time.Second, Images: 2, Own: 80, Base: 20, Compressed: 7}),
		release(journal.ReleaseData{Took: 6 * time.Second, Error: "deadline", TimedOut: true}),
		release(journal.ReleaseData{Records: 1, Bytes: 10, Took: time.Second, Images: 1, Own: 10, Error: "in use"}),
	)
	r := s.Releases
	if *s.ReleasedBytes != 110 || *s.ReleaseSeconds != 8 || r.Count != 3 || r.Failed != 2 || r.TimedOut != 1 || r.Records != 4 || r.Images != 3 || r.OwnBytes != 90 || r.BaseBytes != 20 || r.CompressedBytes != 7 || r.LongestSeconds != 6 {
		t.Errorf("%d bytes in %v s, %+v", *s.ReleasedBytes, *s.ReleaseSeconds, *r)
	}
	if *r.P50Seconds < 0.98 || *r.P50Seconds > 1.02 || *r.P95Seconds < 5.88 || *r.P95Seconds > 6.12 {
		t.Errorf("p50 %v, p95 %v", *r.P50Seconds, *r.P95Seconds)
	}
	if s.DiskCurve != nil {
		t.Errorf("a curve without a reading: %v", s.DiskCurve)
	}
}

// However many readings there are, the curve is short and loses no peak, no
// release and no order.
func TestCurve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		var now time.Duration
		var peak, freed int64
		for range rapid.IntRange(1, 900).Draw(t, "events") {
			now += time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "dt"))
			e := ev(journal.Disk, "", journal.DiskData{Used: rapid.Int64Range(0, 1000).Draw(t, "used")})
			if len(s.DiskCurve) > 0 && rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
				e = ev(journal.Released, "", journal.ReleaseData{Bytes: 7})
				freed += 7
			}
			e.Mono = now
			Fold(s, e)
			peak = max(peak, *s.DiskPeakBytes)
		}
		var top, released int64
		last := -1.0
		for _, p := range s.DiskCurve {
			top, released = max(top, p.UsedBytes), released+p.ReleasedBytes
			if p.AtSeconds < last || p.AtSeconds > now.Seconds() {
				t.Fatalf("%v after %v", p.AtSeconds, last)
			}
			last = p.AtSeconds
		}
		if len(s.DiskCurve) > curvePoints || len(s.DiskCurve) != len(s.fold.disk.spans) || top != peak || released != freed {
			t.Fatalf("%d points, top %d of %d, released %d of %d", len(s.DiskCurve), top, peak, released, freed)
		}
	})
}

// Of two workers the curve is that which used more.
func TestCurveOfWorkers(t *testing.T) {
	disk := func(w string, sec float64, used int64) journal.Event {
		return on(w, at(ev(journal.Disk, "", journal.DiskData{Used: used, IO: float64(used)}), sec))
	}
	s := fold(disk("a", 1, 50), disk("b", 2, 20), disk("a", 3, 10), disk("b", 4, 30))
	want := []DiskPoint{{1, 50, 0, 50, 0}, {2, 50, 0, 20, 0}, {3, 20, 0, 10, 0}, {4, 30, 0, 30, 0}}
	if d := cmp.Diff(want, s.DiskCurve); d != "" || *s.DiskFinalBytes != 30 {
		t.Errorf("final %d: %s", *s.DiskFinalBytes, d)
	}
}

func TestForecasts(t *testing.T) {
	forecast := func(done int) journal.Event {
		return at(ev(journal.Forecast, "", journal.ForecastData{Done: done, Wall: journal.Interval[int64]{Low: int64(time.Second), Value: int64(2 * time.Second), High: int64(3 * time.Second)}}), float64(done))
	}
	s := fold(ev(journal.Planned, "", journal.PlannedData{Images: 200}))
	for n := 2; n <= 200; n++ {
		Fold(s, forecast(n))
		if last := s.Forecasts[len(s.Forecasts)-1]; last.Done != n {
			t.Fatalf("after %d the last is of %d", n, last.Done)
		}
	}
	var done []int
	for _, f := range s.Forecasts {
		done = append(done, f.Done)
	}
	if d := cmp.Diff([]int{2, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200}, done); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(&Forecast{Done: 2, AtSeconds: 2, WallSeconds: Range{1, 2, 3}}, s.Forecasts[0]); d != "" {
		t.Error(d)
	}
}

func TestParts(t *testing.T) {
	at := func(sec float64, e journal.Event) journal.Event { return at(e, sec) }
	from := journal.StepData{Name: "[1/2] FROM x", Kind: graph.KindImage, Took: time.Second, Parts: map[string]time.Duration{journal.PartPull: 3 * time.Second, journal.PartUnpack: time.Second}}
	run := journal.StepData{Name: "RUN x", Kind: graph.KindExec, Took: 5 * time.Second}
	cached := journal.StepData{Name: "RUN y", Kind: graph.KindExec, Took: time.Second, Cached: true}
	export := journal.StepData{Name: "exporting to image", Took: 9 * time.Second, Parts: map[string]time.Duration{journal.PartExport: 2 * time.Second, journal.PartPush: time.Second}}
	put := func(kind journal.Kind) journal.Event { return ev(kind, "a", journal.UnitData{}) }
	s := fold(
		at(1, queued("a")), at(3, start("a", "w", 0)), step("s:f", "a", from), at(4, retried("a", journal.RetryPassing)), at(8, start("a", "w", 0)),
		step("s:1", "a", run), step("s:1", "a", run), step("s:2", "a", cached), step("s:e", "a", export),
		at(20, put(journal.UnitBuilt)), at(21, put(journal.UnitPut)), at(22, published("a")),
		step("s:e", "", export), // of a solve that serves many
		at(22, start("c", "", 0)), at(22, ev(journal.UnitPut, "c", journal.UnitData{})), at(24, ev(journal.UnitPlaced, "c", journal.UnitData{})),
		at(24, queued("c")), at(27, start("c", "w", 0)), at(30, ev(journal.UnitPublished, "c", journal.UnitData{})), // scanned meanwhile
		at(30, start("b", "w", 0)), step("s:1", "b", run), at(31, ev(journal.UnitFailed, "b", journal.FailData{})),
	)
	type row struct {
		name   string
		shared bool
		count  int64
		total  float64
	}
	want := []row{{"wait", false, 2, 9}, {"pull", false, 1, 3}, {"unpack", false, 1, 1}, {"steps", false, 2, 15}, {"export", false, 1, 2}, {"push", false, 1, 1}, {"tag", false, 2, 4}, {"export", true, 1, 2}, {"push", true, 1, 1}}
	var got []row
	for _, p := range s.Parts {
		got = append(got, row{p.Name, p.Shared, p.Count, p.TotalSeconds})
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(row{})); d != "" {
		t.Error(d)
	}
}

func TestPartsAreBounded(t *testing.T) {
	s := New()
	for i := range 500 {
		Fold(s, step("s", "", journal.StepData{Name: "x", Parts: map[string]time.Duration{fmt.Sprint("part-", i): time.Second}}))
	}
	var count int64
	for _, p := range s.Parts {
		count += p.Count
	}
	if len(s.Parts) > maxParts+2 || count != 500 {
		t.Errorf("%d rows of %d parts", len(s.Parts), count)
	}
}

func TestLimits(t *testing.T) {
	s := fold(ev(journal.Scheduling, "", journal.SchedulingData{Jobs: 4, Workers: 2, Budget: 7, Share: 0.5, LeaveFree: 3, Limit: time.Minute}))
	if d := cmp.Diff(&Limits{Jobs: 4, Workers: 2, BudgetBytes: 7, BudgetShare: 0.5, LeaveFreeBytes: 3, Seconds: 60}, s.Limits); d != "" {
		t.Error(d)
	}
}

// A journal that was folded in two parts is one.
func TestScheduledRunReplays(t *testing.T) {
	events := readJournal(t, "testdata/v1/scheduled.jsonl")
	want := fold(events...)
	if want.Live.Running != 0 || want.Live.Waiting != 0 || want.Live.Promised != 0 || want.Live.Releasing != 0 || want.Live.SharedReady != 2 {
		t.Errorf("at the end: %+v", want.Live)
	}
	if want.Ignored != 0 {
		t.Errorf("%d events ignored", want.Ignored)
	}
}

// benchEvents is a run of n images with everything that an engine writes down.
func benchEvents(n int) []journal.Event {
	events := []journal.Event{ev(journal.Planned, "", journal.PlannedData{Images: n, StepsDistinct: int64(4 * n)}), ev(journal.Scheduling, "", journal.SchedulingData{Jobs: 8, Budget: 1 << 30})}
	for i := range n {
		events = append(events, queued(fmt.Sprint("image-", i)))
	}
	from := journal.StepData{Name: "[1/4] FROM host/base@sha256:0", Kind: graph.KindImage, Parts: map[string]time.Duration{journal.PartPull: time.Second, journal.PartUnpack: time.Second}}
	export := journal.StepData{Name: "exporting to image", Parts: map[string]time.Duration{journal.PartExport: time.Second, journal.PartPush: time.Second}}
	for i := range n {
		unit := fmt.Sprint("image-", i)
		events = append(events, start(unit, "w", 1<<20), step("s:f", unit, from))
		for k := range 3 {
			events = append(events, step(graph.Digest(fmt.Sprint("s:", k)), unit, journal.StepData{Name: fmt.Sprint("RUN ", k), Kind: graph.KindExec, Took: time.Duration(i%97) * time.Millisecond}))
		}
		events = append(events, step("s:e", unit, export), ev(journal.UnitBuilt, unit, journal.UnitData{Digest: "sha256:0"}),
			on("w", ev(journal.Disk, "", journal.DiskData{Used: int64(i % 1000), Budget: 2000})), published(unit))
		if i%10 == 9 {
			events = append(events, on("w", ev(journal.Released, "", journal.ReleaseData{Bytes: 5, Took: time.Millisecond})),
				ev(journal.Forecast, "", journal.ForecastData{Done: i}), ev(journal.Requests, "", journal.RequestData{Hosts: map[string]int64{"a": 1, "b": 2}}))
		}
	}
	for i := range events {
		events[i].V, events[i].Seq, events[i].Mono, events[i].Wall = 1, int64(i+1), time.Duration(i)*50*time.Millisecond, time.Unix(int64(i), 0)
	}
	return events
}

// BenchmarkFold folds a run of 10,000 images; an op is one event.
func BenchmarkFold(b *testing.B) {
	events := benchEvents(10_000)
	b.ReportAllocs()
	s := New()
	for i := 0; b.Loop(); i++ {
		if i == len(events) {
			b.StopTimer()
			s, i = New(), 0
			b.StartTimer()
		}
		Fold(s, events[i])
	}
}

// Folding is on the way of every event of a run: it must not get dearer with
// the number of images.
func TestFoldAllocatesLittle(t *testing.T) {
	for _, n := range []int{100, 2000} {
		events := benchEvents(n)
		per := testing.AllocsPerRun(1, func() { fold(events...) }) / float64(len(events))
		if per > 12 {
			t.Errorf("%d images: %.1f allocations per event", n, per)
		}
	}
}
