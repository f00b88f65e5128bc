package live

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// run is a run that is played by hand.
type run struct {
	s   *summary.Summary
	now time.Duration
}

func (r *run) see(k journal.Kind, unit, step, worker string, data any) {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	start := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	summary.Fold(r.s, journal.Event{Kind: k, Unit: unit, Step: graph.Digest(step), Worker: worker, Mono: r.now, Wall: start.Add(r.now), Data: raw})
}

func (r *run) phase(k journal.Kind, name string) {
	r.see(k, "", "", "", journal.PhaseData{Phase: name})
}

func (r *run) pass(d time.Duration) *run { r.now += d; return r }

func image(i int) string { return fmt.Sprintf("astropy__astropy-%d", 10000+i) }

// planning is a run that resolves its bases.
func planning() *run {
	r := &run{s: summary.New()}
	r.see(journal.RunStarted, "", "", "", journal.RunData{Run: "20260102-150405-bcdf", Fleet: "agents@0123456789ab"})
	r.phase(journal.PhaseStarted, "resolve")
	return r.pass(2300 * time.Millisecond)
}

// cold is a run of 500 images whose shared steps are made, on n workers.
func cold(n int) *run {
	r := planning()
	r.phase(journal.PhaseEnded, "resolve")
	r.see(journal.Planned, "", "", "", journal.PlannedData{Images: 500, StepsDistinct: 1500})
	r.phase(journal.PhaseStarted, "images")
	r.see(journal.Scheduling, "", "", "", journal.SchedulingData{Jobs: 8, Workers: n, Budget: 20 << 30})
	for _, name := range []string{"[tools 1/2] RUN make -C /src/tools install", "[runtime 1/4] RUN apt-get install -y git"} {
		r.see(journal.SharedQueued, "", name, "", journal.SharedData{Name: name})
	}
	for i := range 500 {
		r.see(journal.UnitQueued, image(i), "", "", journal.QueuedData{})
	}
	r.see(journal.Queued, "", "", "", struct{}{})
	for w := range n {
		r.see(journal.WorkerReady, "", "", worker(w), journal.WorkerData{Disk: &journal.DiskData{Used: 3 << 30, Total: 100 << 30, Budget: 20 << 30}, Holds: 1 << 30})
	}
	r.phase(journal.PhaseStarted, "shared")
	r.see(journal.SharedStarted, "", "[tools 1/2] RUN make -C /src/tools install", worker(0), journal.SharedData{})
	r.see(journal.SharedStarted, "", "[runtime 1/4] RUN apt-get install -y git", worker(0), journal.SharedData{})
	r.see(journal.StepBegun, "", "[runtime 1/4] RUN apt-get install -y git", "", journal.StepBegunData{Name: "[runtime 1/4] FROM docker.io/library/debian:13"})
	r.see(journal.SharedReady, "", "[tools 1/2] RUN make -C /src/tools install", "", journal.SharedData{})
	return r.pass(41 * time.Second)
}

func worker(i int) string { return fmt.Sprintf("worker-%d", i+1) }

// full is a run in its middle.
func full(workers int) *run {
	r := cold(workers)
	r.see(journal.SharedReady, "", "[runtime 1/4] RUN apt-get install -y git", "", journal.SharedData{})
	r.phase(journal.PhaseEnded, "shared")
	running := 8 * workers
	for i := range 312 {
		r.pass(700 * time.Millisecond)
		r.start(i, i%workers)
		if i >= running {
			r.see(journal.UnitPublished, image(i-running), "", "", journal.UnitData{Action: "build"})
		}
	}
	for w := range workers {
		r.see(journal.Disk, "", "", worker(w), journal.DiskData{Used: int64(14+w) << 30, Total: 100 << 30, Budget: 20 << 30})
	}
	r.see(journal.Releasing, "", "", worker(0), struct{}{})
	r.see(journal.Forecast, "", "", "", journal.ForecastData{Done: 290, Wall: journal.Interval[int64]{Low: int64(5 * time.Minute), Value: int64(7 * time.Minute), High: int64(9 * time.Minute)}})
	return r.pass(12 * time.Second)
}

func (r *run) start(i, w int) {
	r.see(journal.UnitStarted, image(i), "", worker(w), journal.UnitData{Action: "build", Promised: 300 << 20})
	steps := []string{"[stage-2 2/5] RUN pip install --no-deps -e /testbed && git -C /testbed status --porcelain", "[stage-2 1/5] FROM registry.example.com/swebench/sweb.eval.x86_64", "exporting to image", "[stage-2 5/5] COPY --from=tools /opt/agent /opt/agent"}
	r.see(journal.StepBegun, image(i), "", "", journal.StepBegunData{Name: steps[i%len(steps)]})
}

func paused() *run {
	r := full(1)
	r.see(journal.Paused, "", "", "", struct{}{})
	return r.pass(95 * time.Second)
}

// problems is a run in which much goes wrong.
func problems() *run {
	r := full(2)
	for i := range 5 {
		r.pass(3 * time.Second)
		r.see(journal.UnitFailed, image(311-i), "", "", journal.FailData{Kind: "step", Step: "[stage-2 2/5] RUN pip install", Cause: "Dockerfile:7: step [stage-2 2/5] RUN pip install --no-deps -e /testbed: exit code 1\nmore"})
	}
	r.see(journal.UnitFailed, image(300), "", "", journal.FailData{Kind: "registry", Cause: "base registry.example.com/swebench/漢字:latest: 404 Not Found"})
	r.see(journal.UnitRetried, image(301), "", "", journal.FailData{Reason: journal.RetryDisk, Cause: "no space left on device"})
	r.see(journal.WorkerLost, "", "", worker(1), journal.FailData{Reason: journal.RetryWorker, Cause: "worker-2: the daemon does not answer"})
	r.see(journal.Note, "", "", "", journal.NoteData{Level: "warning", Text: "something else fills the disk: 2.1 GiB more are needed before the next image can start"})
	return r.pass(5 * time.Second)
}

func ended() *run {
	r := full(1)
	for i := range 500 {
		if i%100 == 99 {
			r.see(journal.UnitFailed, image(i), "", "", journal.FailData{Kind: "step", Cause: "exit code 1"})
			continue
		}
		r.see(journal.UnitPublished, image(i), "", "", journal.UnitData{Action: "build"})
	}
	r.phase(journal.PhaseEnded, "images")
	return r
}

var states = map[string]func() *run{
	"planning": planning, "cold": func() *run { return cold(1) }, "full": func() *run { return full(1) }, "workers": func() *run { return full(8) },
	"paused": paused, "problems": problems, "ended": ended,
}

func TestFrame(t *testing.T) {
	for name, state := range states {
		for _, size := range [][2]int{{80, 24}, {120, 40}, {300, 80}} {
			t.Run(fmt.Sprintf("%s-%dx%d", name, size[0], size[1]), func(t *testing.T) {
				r := state()
				got := Frame(r.s, Options{Width: size[0], Height: size[1], Idle: r.now - time.Duration(*r.s.WallSeconds*float64(time.Second)), Chosen: image(309)})
				if f := fault(got, size[0], size[1]); f != "" {
					t.Error(f)
				}
				golden.Text(t, fmt.Sprintf("testdata/%s-%dx%d.txt", name, size[0], size[1]), got+"\n")
			})
		}
	}
}

// fault says what is wrong with a picture for a screen.
func fault(frame string, width, height int) string {
	lines := strings.Split(frame, "\n")
	if len(lines) > height {
		return fmt.Sprintf("%d lines on a screen of %d", len(lines), height)
	}
	for i, l := range lines {
		if n := ansi.StringWidth(l); n > width {
			return fmt.Sprintf("line %d is %d columns wide, not %d: %q", i+1, n, width, l)
		}
		if strings.ContainsFunc(l, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return fmt.Sprintf("line %d has a control character: %q", i+1, l)
		}
	}
	return ""
}

// What people look for is on the smallest usual screen, whatever goes on.
func TestNothingThatMattersIsCut(t *testing.T) {
	for name, want := range map[string][]string{
		"planning": {"agents", "20260102-150405-bcdf", "planning:", "> resolve", "q stop"},
		"full":     {"304 of 500 in place", "8 solving", "188 waiting", "ends in 2 min 26 s", "26 s to 4 min 26 s", "about 15:11 UTC", "14 GiB of 22 GiB", "releasing", "61 images a minute", "8 of 8 at work"},
		"workers":  {"64 solving", "worker-1  8 of 8", "more", "p pause"},
		"paused":   {"PAUSED", "p go on", "no end while paused"},
		"problems": {"6 failed", "last problems", "failed x5", "something else fills", "lost once", "404 Not Found", "exit code 1"},
		"ended":    {"495 of 500 in place", "5 failed"},
	} {
		r := states[name]()
		got := Frame(r.s, Options{Width: 80, Height: 24, Idle: r.now - time.Duration(*r.s.WallSeconds*float64(time.Second))})
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s lacks %q:\n%s", name, w, got)
			}
		}
	}
}

// Colour changes nothing but the colour.
func TestColour(t *testing.T) {
	marks := regexp.MustCompile("\x1b\\[[0-9;]*m")
	for name, state := range states {
		o := Options{Width: 100, Height: 30}
		bare := Frame(state().s, o)
		o.Color = true
		if got := Frame(state().s, o); marks.ReplaceAllString(got, "") != bare || !marks.MatchString(got) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestChoices(t *testing.T) {
	r := problems()
	got := Choices(r.s)
	if len(got) < 7 || got[len(got)-1] != image(307) || got[len(got)-2] != image(300) {
		t.Errorf("%q", got)
	}
}

func TestLog(t *testing.T) {
	r := full(1)
	var out strings.Builder
	out.WriteString("RUN x\n0 %\r50 %\r100 %\n\x1b[31mred\x1b[0m\x1b[2J\a\n" + strings.Repeat("0123456789", 9) + "漢字\n")
	for i := range 30 {
		fmt.Fprintf(&out, "line %d\n", i)
	}
	for _, c := range []struct {
		name       string
		image      int
		output     string
		back, from int
	}{{"log", 309, out.String(), 0, 0}, {"log-first", 309, out.String(), 1000, 25}, {"log-none", 1, "", 3, 0}} {
		got, from := Log(r.s, image(c.image), []byte(c.output), c.back, Options{Width: 80, Height: 12})
		if from != c.from {
			t.Errorf("%s: from %d, want %d", c.name, from, c.from)
		}
		golden.Text(t, "testdata/"+c.name+".txt", got+"\n")
	}
}

// Whatever a summary holds, and however small the screen is, it fits.
func TestPropertyFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.RuneFrom([]rune("a 漢字é\u0301👩‍👩‍👧🇩🇪❤\ufe0f\t\x1b[31m\x00\u202e")), 0, 60, -1), rapid.StringMatching(`[a-z-]{0,200}`))
		text := func() string { return word.Draw(t, "text") }
		number := func() int64 { return rapid.Int64Range(0, 1<<50).Draw(t, "number") }
		r := &run{s: summary.New()}
		units := []string{text(), text(), "a", "b"}
		workers := []string{text(), "w"}
		unit, worker := rapid.SampledFrom(units), rapid.SampledFrom(workers)
		r.see(journal.RunStarted, "", "", "", journal.RunData{Run: text(), Fleet: text()})
		for range rapid.IntRange(0, 60).Draw(t, "events") {
			r.pass(time.Duration(rapid.Int64Range(0, int64(100*time.Hour)).Draw(t, "pass")))
			u, w := unit.Draw(t, "unit"), worker.Draw(t, "worker")
			switch rapid.IntRange(0, 13).Draw(t, "kind") {
			case 0:
				r.phase(rapid.SampledFrom([]journal.Kind{journal.PhaseStarted, journal.PhaseEnded}).Draw(t, "phase"), text())
			case 1:
				r.see(journal.Planned, "", "", "", journal.PlannedData{Images: rapid.IntRange(0, 5000).Draw(t, "images")})
			case 2:
				r.see(journal.Scheduling, "", "", "", journal.SchedulingData{Jobs: int(number())})
			case 3:
				r.see(journal.SharedQueued, "", u, "", journal.SharedData{Name: text()})
			case 4:
				r.see(journal.SharedStarted, "", u, w, journal.SharedData{})
			case 5:
				r.see(journal.UnitQueued, u, "", "", journal.QueuedData{})
			case 6, 7:
				r.see(journal.UnitStarted, u, "", w, journal.UnitData{Promised: number()})
			case 8:
				r.see(journal.StepBegun, u, "", w, journal.StepBegunData{Name: text()})
			case 9:
				r.see(journal.UnitPublished, u, "", "", journal.UnitData{Action: "build"})
			case 10:
				r.see(rapid.SampledFrom([]journal.Kind{journal.UnitFailed, journal.UnitRetried, journal.WorkerLost}).Draw(t, "trouble"), u, "", w, journal.FailData{Cause: text(), Step: text()})
			case 11:
				r.see(journal.Disk, "", "", w, journal.DiskData{Used: number(), Total: number(), Budget: number(), Records: rapid.Bool().Draw(t, "records")})
			case 12:
				r.see(journal.Forecast, "", "", "", journal.ForecastData{Wall: journal.Interval[int64]{Low: number(), Value: number(), High: number()}})
			case 13:
				r.see(rapid.SampledFrom([]journal.Kind{journal.Paused, journal.Unpaused, journal.Releasing}).Draw(t, "pause"), "", "", w, struct{}{})
			}
		}
		o := Options{
			Width: rapid.IntRange(20, 400).Draw(t, "width"), Height: rapid.IntRange(5, 100).Draw(t, "height"), Idle: time.Duration(number()),
			Chosen: unit.Draw(t, "chosen"), Stopping: rapid.Bool().Draw(t, "stopping"),
		}
		if f := fault(Frame(r.s, o), o.Width, o.Height); f != "" {
			t.Fatal(f)
		}
		log, _ := Log(r.s, o.Chosen, []byte(text()+"\n"+text()), rapid.IntRange(-1, 100).Draw(t, "back"), o)
		if f := fault(log, o.Width, o.Height); f != "" {
			t.Fatalf("log: %s", f)
		}
	})
}
