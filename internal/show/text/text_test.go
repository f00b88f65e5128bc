package text

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/explain"
	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// mixedPlan is a plan with every action and many kinds of reason.
func mixedPlan() *plan.Plan {
	p := &plan.Plan{
		V: 1, Fleet: "swebench", Actions: map[plan.Action]int{},
		Kinds: []plan.Kind{
			{Variant: "sha256:aa", Images: 488, Action: plan.Append, Shared: 14, BaseBound: 1},
			{Variant: "sha256:bb", Images: 12, Action: plan.Build, Shared: 14, BaseBound: 4, Top: []string{
				"[final 2/4] RUN adduser --disabled-password --gecos '' agent && usermod -aG sudo agent && echo 'agent ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/agent",
				"[final 3/4] COPY --from=builder /agent-server /agent-server",
				"[final 4/4] RUN chown -R agent /agent-server",
			}},
		},
		Executions:  plan.Executions{Planned: 62, Naive: 8584},
		Requests:    map[string]int64{"localhost:5000": 1976, "docker.io": 500, "unused.example.com": 0},
		BytesToCopy: 1_325_400_064, Cache: "registry.example.com/cache",
		Warnings: []plan.Reason{
			{Code: "recipe-frontend", Pos: diag.Pos{File: "/src/fleet/Dockerfile", Line: 1, Col: 1}, Detail: "# syntax=docker/dockerfile:1.7 is served by the built-in front end"},
			{Code: "no-epoch", Detail: "without an epoch a rebuild on another daemon has other layer digests"},
		},
	}
	add := func(n int, a plan.Action, image string, why func(i int) []plan.Reason) {
		for i := range n {
			id := fmt.Sprintf("%s-%05d", image, 11000+i)
			p.Units = append(p.Units, plan.Unit{Image: id, Platform: "linux/amd64", Action: a, Tags: []string{"localhost:5000/agents/eval-agent-server:" + id}, Why: why(i)})
			p.Actions[a]++
		}
	}
	one := func(r ...plan.Reason) func(int) []plan.Reason { return func(int) []plan.Reason { return r } }
	run := diag.Pos{File: "/src/fleet/Dockerfile", Line: 14, Col: 1}
	add(3, plan.Skip, "seaborn__seaborn", one(plan.Reason{Code: "same-key", Detail: "the tag holds this content"}))
	add(2, plan.Retag, "pytest__pytest", func(i int) []plan.Reason {
		return []plan.Reason{{Code: "same-content", Detail: fmt.Sprintf("this content was published as localhost:5000/agents@sha256:%064d", i)}}
	})
	add(40, plan.Append, "django__django", one(plan.Reason{Code: "all-shared", Detail: "every step over the base is shared or sets only the config"}))
	add(12, plan.Build, "sympy__sympy", one(
		plan.Reason{Code: "run-on-base", Pos: run, Detail: "RUN adduser --disabled-password agent … runs on each base; move it into a stage of its own and copy the result with COPY --link"},
		plan.Reason{Code: "copy-no-link", Pos: diag.Pos{File: "/src/fleet/Dockerfile", Line: 15}, Detail: "COPY --from=builder /agent-server /agent-server without --link depends on each base"},
		plan.Reason{Code: "run-on-base", Pos: diag.Pos{File: "/src/fleet/Dockerfile", Line: 16}, Detail: "RUN chown -R agent /agent-server runs on each base"},
		plan.Reason{Code: "run-on-base", Pos: diag.Pos{File: "/src/fleet/Dockerfile", Line: 17}, Detail: "RUN one more"},
		plan.Reason{Code: "content-changed", Detail: "the tag holds other content"},
	))
	add(10, plan.Block, "flask__flask", func(i int) []plan.Reason {
		return []plan.Reason{{Code: "blocked", Pos: diag.Pos{File: "/src/fleet/fleet.yaml", Line: 20 + i, Col: 5}, Detail: "docker.io/swebench/sweb.eval.x86_64.flask: manifest unknown\n    second line"}}
	})
	return p
}

func smallPlan() *plan.Plan {
	return &plan.Plan{
		V: 1, Fleet: "one", Actions: map[plan.Action]int{plan.Append: 1},
		Units:      []plan.Unit{{Image: "a", Platform: "linux/amd64", Action: plan.Append, Tags: []string{"h/r:a", "h/r:b", "h/r:c"}, Why: []plan.Reason{{Code: "all-shared"}}}},
		Executions: plan.Executions{Planned: 3, Naive: 3},
	}
}

// folded reads a golden journal of the summary's.
func folded(t testing.TB, name string) *summary.Summary {
	t.Helper()
	f, err := os.Open(filepath.Join("../../decide/summary/testdata/v1", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := summary.New()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var e journal.Event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		summary.Fold(s, e)
	}
	return s
}

func ptr[T any](v T) *T { return &v }

// bigSummary is a fleet of 500 with failures of every shape.
func bigSummary() *summary.Summary {
	s := summary.New()
	s.Run, s.Fleet, s.Starts = "20260102-150405-bcdf", "swebench-verified@0a1b2c3d4e5f", 3
	s.Started, s.Exit, s.Cause = ptr(time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)), ptr(3), "some images failed"
	s.Images, s.Built, s.Skipped, s.Retagged, s.Failed, s.Pending = 500, 388, 60, 10, 32, 10
	s.Strategies = map[string]int{"append": 376, "build": 12}
	s.Temperature = &summary.Temperatures{Cold: 10, Partial: 2, Skipped: 70}
	s.WallSeconds = ptr(4325.0)
	s.PhaseSeconds = map[string]float64{"resolve": 0.76, "plan": 0.021, "shared": 251.4, "images": 4050, "rewind": 3}
	s.StepsExecuted, s.StepsCached, s.StepsDistinct, s.Rework, s.Repull = ptr(int64(75)), ptr(int64(8504)), ptr(int64(62)), ptr(1.21), ptr(1.0)
	s.DiskPeakBytes, s.DiskFinalBytes, s.DiskBudgetBytes = ptr(int64(967<<20)), ptr(int64(500<<20)), ptr(int64(1434<<20))
	s.ReleasedBytes, s.ReleaseSeconds = ptr(int64(3<<30)), ptr(57.2)
	s.BytesPulled, s.BytesPushed, s.BytesMounted = ptr(int64(1536)), ptr(int64(105<<20)), ptr(int64(220<<30))
	s.Requests, s.Retries, s.MountsRefused = map[string]int64{"localhost:5000": 1976, "docker.io": 500}, ptr(int64(17)), ptr(int64(1))
	s.Versions = map[string]string{"lapstrake": "0.1.0", "buildkit": "v0.34.2", "runc": "1.5.2"}
	for i := range 14 {
		f := &summary.Failure{Kind: "infrastructure", Cause: fmt.Sprintf("push registry.example.com/agents/eval-agent-server:astropy__astropy-%d: 429 too many requests", 12907+i), Images: []string{fmt.Sprintf("astropy__astropy-%d", 12907+i)}}
		switch i {
		case 0:
			*f = summary.Failure{
				Kind: "step", Shared: true, Step: "[builder 3/3] RUN make", Cause: "[builder 3/3] RUN make: process \"/bin/sh -c make\" did not complete successfully: exit code: 2",
				Help: "see the log of the step; the same command tries again", Log: strings.Repeat("gcc -O2 -c a.c\n", 20) + "a.c:1:10: fatal error: nothing.h: No such file or directory\r\n\x1b[31mmake: *** [Makefile:4: a.o] Error 1\x1b[0m\n",
			}
			for j := range 17 {
				f.Images = append(f.Images, fmt.Sprintf("django__django-%d", 11000+j))
			}
		case 1:
			f.Step, f.Cause = "[final 2/4] RUN adduser agent", "exit code: 1"
		}
		s.Failures = append(s.Failures, f)
	}
	s.Notes = []journal.NoteData{
		{Level: "info", Text: "shared layers of an earlier run are gone and made again"},
		{Level: "warning", Text: "the journal ended in a torn line of 213 bytes, which was cut off; what it said is found out again from the registry"},
	}
	s.Steps = []*summary.Step{
		{Name: "[builder 2/3] COPY . /src", Shared: true, Count: 1, Executed: 1, TotalSeconds: 0.04, P50Seconds: ptr(0.04), P95Seconds: ptr(0.04)},
		{Name: "[builder 3/3] RUN make", Shared: true, Count: 13, Executed: 1, Cached: 12, Failed: 1, TotalSeconds: 251, P50Seconds: ptr(251.0), P95Seconds: ptr(251.0)},
		{Name: "[final 2/4] RUN adduser --disabled-password --gecos '' agent && usermod -aG sudo agent && echo ok > /etc/sudoers.d/agent", Count: 12, Executed: 12, TotalSeconds: 5.1, P50Seconds: ptr(0.4), P95Seconds: ptr(0.9)},
		{Name: "[final 3/4] COPY x /x", Count: 4, Cached: 4},
	}
	return s
}

func problems() diag.List {
	return diag.List{
		{Code: diag.FleetUnknown, Pos: diag.Pos{File: "/src/fleet/fleet.yaml", Line: 3, Col: 3}, Source: "  dockerfil: Dockerfile", Message: `no field "dockerfil" in recipe`, Help: "did you mean dockerfile?"},
		{Code: diag.RowSyntax, Pos: diag.Pos{File: "rows.jsonl", Line: 2, Col: 160}, Source: `{"id": "` + strings.Repeat("x", 140) + `", "base" "y"}` + strings.Repeat(" ", 60) + "end", Message: "expected : after the name of a field"},
		{Code: diag.FleetNotFound, Pos: diag.Pos{File: "/src/fleet/fleet.yaml"}, Message: "open " + strings.Repeat("/a/long/path", 12) + ": no such file or directory", Help: "give a path that exists, relative to the folder of the fleet file"},
		{Code: diag.FleetTemplate, Pos: diag.Pos{File: "/src/other/fleet.yaml", Line: 9, Col: 12}, Source: "\ttag:\t\"höst/{{.id\"", Message: "a template does not end"},
	}
}

// views are everything that is rendered, by name.
func views(t testing.TB) map[string]func(io.Writer, Options) error {
	runs := []Run{
		{ID: "20260104-101112-zzzz", InUse: true, Summary: folded(t, "future")},
		{ID: "20260103-101112-gggg", Summary: bigSummary()},
		{ID: "20260102-150405-bcdf", Summary: folded(t, "cold")},
		{ID: "20260102-150400-pppp", Summary: folded(t, "observed")},
		{ID: "20260101-101112-bbbb", Summary: folded(t, "future")},
		{ID: "20260101-101111-bbbb"},
	}
	sums := map[string]*summary.Summary{"big": bigSummary(), "cold": folded(t, "cold"), "warm": folded(t, "warm"), "resumed": folded(t, "resumed"), "scheduled": folded(t, "scheduled"), "observed": folded(t, "observed"), "empty": summary.New()}
	out := map[string]func(io.Writer, Options) error{
		"plan-mixed":    func(w io.Writer, o Options) error { return Plan(w, mixedPlan(), o) },
		"plan-small":    func(w io.Writer, o Options) error { return Plan(w, smallPlan(), o) },
		"plan-verbose":  func(w io.Writer, o Options) error { o.Verbose = true; return Plan(w, mixedPlan(), o) },
		"plan-empty":    func(w io.Writer, o Options) error { return Plan(w, &plan.Plan{Fleet: "none"}, o) },
		"runs":          func(w io.Writer, o Options) error { return Runs(w, runs, o) },
		"runs-none":     func(w io.Writer, o Options) error { return Runs(w, nil, o) },
		"history":       func(w io.Writer, o Options) error { return History(w, commits(), o) },
		"history-all":   func(w io.Writer, o Options) error { o.Verbose = true; return History(w, commits(), o) },
		"history-none":  func(w io.Writer, o Options) error { return History(w, &lineage.Report{}, o) },
		"problems":      func(w io.Writer, o Options) error { return Problems(w, problems(), o) },
		"problems-none": func(w io.Writer, o Options) error { return Problems(w, nil, o) },
		"diff":          func(w io.Writer, o Options) error { return Diff(w, bigDiff(), o) },
		"diff-none": func(w io.Writer, o Options) error {
			return Diff(w, &delta.Report{Old: "a", New: "b", Images: 3, Unchanged: 3}, o)
		},
		"explain": func(w io.Writer, o Options) error {
			return Explain(w, bigExplanation(), func(explain.Miss, int) string { return "0123456789ab 2026-01-01 tell the commit" }, o)
		},
		"labcompare": func(w io.Writer, o Options) error {
			return Comparisons(w, Compared{Pairs: []*answer.Comparison{labPair()}, Contaminated: labSpoilt(2), Warnings: labReport().Warnings, Refused: labReport().Refused}, o)
		},
		"labcompare-none": func(w io.Writer, o Options) error { return Comparisons(w, Compared{}, o) },
		"labattribute": func(w io.Writer, o Options) error {
			return Attribution(w, Attributed{Attribution: labAnswer(), Contaminated: labSpoilt(1)}, o)
		},
		"labreport":      func(w io.Writer, o Options) error { return LabReport(w, labReport(), o) },
		"labreport-open": func(w io.Writer, o Options) error { return LabReport(w, labUnfinished(), o) },
		"labreport-none": func(w io.Writer, o Options) error { return LabReport(w, &answer.Report{Experiment: "none"}, o) },
		"difference":     func(w io.Writer, o Options) error { return Difference(w, bigDifference(), o) },
	}
	for name, s := range sums {
		out["summary-"+name] = func(w io.Writer, o Options) error { return Summary(w, s, o) }
		out["show-"+name] = func(w io.Writer, o Options) error { return Show(w, s, o) }
	}
	return out
}

func render(t testing.TB, view func(io.Writer, Options) error, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := view(&b, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, view := range views(t) {
		for _, cols := range []int{80, 120} {
			t.Run(fmt.Sprintf("%s-%d", name, cols), func(t *testing.T) {
				got := render(t, view, Options{Width: cols, Dir: "/src/fleet"})
				path := filepath.Join("testdata", fmt.Sprintf("%s-%d.txt", name, cols))
				golden.Text(t, path, got)
			})
		}
	}
}

var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

// fault says what is wrong with a page of the given width.
func fault(page string, cols int) string {
	for i, line := range strings.Split(page, "\n") {
		if n := ansi.StringWidth(line); n > cols {
			return fmt.Sprintf("line %d is %d columns wide: %q", i+1, n, line)
		}
		if strings.HasSuffix(line, " ") {
			return fmt.Sprintf("line %d ends in a space: %q", i+1, line)
		}
		if j := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }); j >= 0 {
			return fmt.Sprintf("line %d has a control character: %q", i+1, line)
		}
	}
	if page != "" && !strings.HasSuffix(page, "\n") {
		return "the last line has no end"
	}
	return ""
}

// At any width no line is too wide, and colour changes nothing but the colour.
func TestWidthAndColour(t *testing.T) {
	for name, view := range views(t) {
		t.Run(name, func(t *testing.T) {
			for _, cols := range []int{1, 40, 41, 50, 63, 80, 97, 120, 300} {
				text := render(t, view, Options{Width: cols})
				if f := fault(text, max(cols, minWidth)); f != "" {
					t.Errorf("width %d: %s", cols, f)
				}
				if d := cmp.Diff(text, colours.ReplaceAllString(render(t, view, Options{Width: cols, Color: true}), "")); d != "" {
					t.Errorf("width %d: with colour: %s", cols, d)
				}
			}
		})
	}
	if !strings.Contains(render(t, views(t)["summary-big"], Options{Color: true}), "\x1b[31m") {
		t.Error("a failure has no colour")
	}
}

// Whatever people and programs put into names and messages, the page holds.
func TestAnyText(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z/]{0,200}`), rapid.SampledFrom([]string{"", "\x1b[2J\x07", "a\nb\r\n\tc", "\xff\xfe", "日本語 のテキスト", "  x  "}))
	rapid.Check(t, func(t *rapid.T) {
		s := func(label string) string { return text.Draw(t, label) }
		pos := diag.Pos{File: s("file"), Line: rapid.IntRange(0, 3).Draw(t, "line"), Col: rapid.IntRange(0, 250).Draw(t, "col")}
		why := plan.Reason{Code: s("code"), Pos: pos, Detail: s("detail")}
		p := &plan.Plan{
			Fleet: s("fleet"), Warnings: []plan.Reason{why}, Requests: map[string]int64{s("host"): rapid.Int64().Draw(t, "n")},
			Units: []plan.Unit{{Image: s("image"), Action: rapid.SampledFrom(plan.Actions()).Draw(t, "action"), Tags: []string{s("tag")}, Why: []plan.Reason{why, why}}, {Action: plan.Block}},
			Kinds: []plan.Kind{{Action: plan.Build, Images: 3, BaseBound: 1, Top: []string{s("top")}}},
		}
		sum := summary.New()
		sum.Run, sum.Fleet, sum.Cause, sum.Exit = s("run"), s("fleet2"), s("cause"), ptr(rapid.IntRange(0, 200).Draw(t, "exit"))
		sum.Images, sum.Failed, sum.Started = 1, 1, ptr(time.Unix(0, 0))
		sum.Versions[s("program")] = s("version")
		sum.Failures = []*summary.Failure{{Cause: s("cause2"), Help: s("help"), Step: s("step"), Log: s("log"), Images: []string{s("id")}}}
		sum.Notes = []journal.NoteData{{Level: s("level"), Text: s("note")}, {Level: "warning", Text: s("note2")}}
		sum.Steps = []*summary.Step{{Name: s("name"), Kind: graph.KindExec, Executed: rapid.Int64().Draw(t, "ran"), TotalSeconds: rapid.Float64().Draw(t, "total")}}
		sum.PhaseSeconds[s("phase")] = rapid.Float64().Draw(t, "seconds")
		sum.WallSeconds = ptr(rapid.Float64().Draw(t, "wall"))
		sum.Workers = []*summary.Worker{{Name: s("worker"), Lost: 1, LostCause: s("lost"), Records: map[string]summary.Usage{s("type"): {}}}, {}}
		sum.RetriesByCause = map[string]int{s("reason"): rapid.Int().Draw(t, "again")}
		sum.Parts = []*summary.Part{{Name: s("part"), TotalSeconds: rapid.Float64().Draw(t, "spent")}, {Name: s("part2"), Shared: true}}
		sum.Forecasts = []*summary.Forecast{{WallSeconds: summary.Range{High: rapid.Float64().Draw(t, "high")}, PeakBytes: &summary.Range{}}}
		sum.Limits = &summary.Limits{Jobs: rapid.Int().Draw(t, "jobs"), Workers: 2, BudgetShare: 0.8}
		sum.DiskPeakBytes, sum.DiskBudgetBytes = ptr(rapid.Int64().Draw(t, "peak")), ptr(rapid.Int64().Draw(t, "budget"))
		for range rapid.IntRange(0, 5).Draw(t, "points") {
			sum.DiskCurve = append(sum.DiskCurve, summary.DiskPoint{AtSeconds: rapid.Float64().Draw(t, "at"), UsedBytes: rapid.Int64().Draw(t, "used"), ReleasedBytes: 1})
		}
		problem := diag.List{{Code: diag.Code(s("code2")), Pos: pos, Source: s("source"), Message: s("message"), Help: s("help2")}}
		o := Options{Width: rapid.IntRange(0, 130).Draw(t, "width"), Verbose: true, Dir: s("dir")}
		cols := max(o.Width, minWidth)
		if o.Width == 0 {
			cols = defaultWidth
		}
		for name, view := range map[string]func(io.Writer) error{
			"plan":     func(w io.Writer) error { return Plan(w, p, o) },
			"summary":  func(w io.Writer) error { return Summary(w, sum, o) },
			"show":     func(w io.Writer) error { return Show(w, sum, o) },
			"runs":     func(w io.Writer) error { return Runs(w, []Run{{ID: s("id2"), Summary: sum}}, o) },
			"problems": func(w io.Writer) error { return Problems(w, problem, o) },
		} {
			var b bytes.Buffer
			if err := view(&b); err != nil {
				t.Fatal(err)
			}
			if f := fault(b.String(), cols); f != "" {
				t.Fatalf("%s: %s", name, f)
			}
		}
	})
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriteErrorIsReturned(t *testing.T) {
	for name, view := range views(t) {
		if err := view(brokenPipe{}, Options{}); err != io.ErrClosedPipe {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBytes(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want string
	}{
		{0, "0 B"}, {1, "1 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"}, {10 << 10, "10 KiB"}, {1<<20 - 1, "1.0 MiB"},
		{20 << 20, "20 MiB"}, {1<<30 - 1, "1.0 GiB"}, {1<<30 + 1<<29, "1.5 GiB"}, {599 << 30, "599 GiB"}, {3 << 40, "3.0 TiB"}, {math.MaxInt64, "8.0 EiB"}, {-2048, "-2.0 KiB"}, {math.MinInt64, "-8.0 EiB"},
	} {
		if got := Bytes(c.n); got != c.want {
			t.Errorf("Bytes(%d) is %q, want %q", c.n, got, c.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0 s"}, {500 * time.Microsecond, "< 1 ms"}, {40 * time.Millisecond, "40 ms"}, {999 * time.Millisecond, "999 ms"}, {999900 * time.Microsecond, "1.0 s"},
		{2340 * time.Millisecond, "2.3 s"}, {9960 * time.Millisecond, "10 s"}, {42 * time.Second, "42 s"}, {59600 * time.Millisecond, "1 min"},
		{192 * time.Second, "3 min 12 s"}, {3599600 * time.Millisecond, "1 h"}, {2*time.Hour + 5*time.Minute, "2 h 5 min"}, {76 * time.Hour, "3 d 4 h"}, {-time.Second, "-1.0 s"}, {math.MinInt64, "-106752 d"},
	} {
		if got := Duration(c.d); got != c.want {
			t.Errorf("Duration(%v) is %q, want %q", int64(c.d), got, c.want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 1234567: "1,234,567", -8500: "-8,500", math.MinInt64: "-9,223,372,036,854,775,808"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) is %q, want %q", n, got, want)
		}
	}
}

// TestAlikeKinds shows bases that make kinds of their own, but cost the same,
// as one.
func TestAlikeKinds(t *testing.T) {
	kind := func(images int, top string) plan.Kind {
		return plan.Kind{Variant: graph.Digest(fmt.Sprint(images, top)), Images: images, Action: plan.Build, Shared: 1, BaseBound: 2, Top: []string{top}}
	}
	p := &plan.Plan{Fleet: "f", Kinds: []plan.Kind{kind(3, "RUN a"), kind(2, "RUN b"), kind(4, "RUN a")}}
	var b strings.Builder
	if err := Plan(&b, p, Options{}); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(b.String(), "costs most\n")
	want := "     14  executions: 2 steps on each of 7 images, 1 shared\n         RUN a\n      4  executions: 2 steps on each of 2 images, 1 shared\n         RUN b\n"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestProblemWithOutput shows what a command printed below the line, and paths
// without the folder that the reader is in.
func TestProblemWithOutput(t *testing.T) {
	var b strings.Builder
	list := diag.List{{Code: diag.PrepareFailed, Pos: diag.Pos{File: "/w/fleet.yaml", Line: 3, Col: 1}, Source: "- name: x",
		Message: "prepare x in /w/src failed; it printed\n        one\n\n        two", Help: "see /w/state/log"}}
	if err := Problems(&b, list, Options{Dir: "/w"}); err != nil {
		t.Fatal(err)
	}
	want := "fleet.yaml:3:1: prepare x in src failed; it printed [prepare-failed]\n    - name: x\n    ^\n    | one\n    | two\n    help: see state/log\n1 problem\n"
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

// Characters that take two columns, or none, are counted as what they take.
func TestWideCharacters(t *testing.T) {
	for _, c := range []struct {
		n                 int
		in, cut, fit, pad string
	}{
		{6, "漢字かな", "漢字…", "漢…な", "漢…な "},
		{5, "漢字かな", "漢字…", "漢…な", "漢…な"},
		{8, "漢字かな", "漢字かな", "漢字かな", "漢字かな"},
		{4, "e\u0301te\u0301", "e\u0301te\u0301", "e\u0301te\u0301", "e\u0301te\u0301 "},
		{3, "❤\ufe0f ok", "❤ …", "❤…k", "❤…k"},
		{1, "漢", "…", "…", "…"},
		{0, "漢", "", "", ""},
	} {
		if got := [3]string{Cut(c.in, c.n), fit(clean(c.in), c.n), Pad(c.in, c.n)}; got != [3]string{c.cut, c.fit, c.pad} {
			t.Errorf("%q in %d columns: %q", c.in, c.n, got)
		}
	}
	if got := wrap("漢字 漢字漢字漢 é", 5, 5); !slices.Equal(got, []string{"漢字", "漢字", "漢字", "漢 é"}) {
		t.Errorf("%q", got)
	}
	if got := wrap("漢字", 1, 1); !slices.Equal(got, []string{"漢", "字", ""}) {
		t.Errorf("%q", got)
	}
}
