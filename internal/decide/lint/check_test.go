package lint_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/decide/lint"
	summed "github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

const dear = `ARG BASE_IMAGE
FROM docker.io/library/golang:1 AS builder
ARG GIT_SHA=unknown
RUN make /out
FROM ${BASE_IMAGE}
ARG GIT_SHA
RUN apt-get install git
COPY --from=builder /out /agent
`

// folder writes a Dockerfile and a fleet file to a fresh folder.
func folder(t testing.TB, dockerfile, fleet string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"Dockerfile": dockerfile, "fleet.yaml": fleet} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// summary is what findings come to, in short.
func summary(list []lint.Finding) []string {
	var out []string
	for _, f := range list {
		s := fmt.Sprintf("%s %s %s:%d %d/%d", f.Severity, f.Code, filepath.Base(f.Pos.File), f.Pos.Line, f.Cost.Executions, f.Cost.Images)
		if f.Cost.Seconds != nil {
			s += fmt.Sprintf(" %gs", *f.Cost.Seconds)
		}
		if f.Cost.Bytes != nil {
			s += fmt.Sprintf(" %dB", *f.Cost.Bytes)
		}
		out = append(out, s)
	}
	return out
}

// TestSeveritiesAndOrder: the fleet file's severities count, what is off is not
// there, what is waived comes last, and of equal weight the dearer first.
func TestSeveritiesAndOrder(t *testing.T) {
	got := lint.Check(open(t, folder(t, dear, "recipe: {args: {GIT_SHA: 0a1b2c3}}\n"+standardFleet+`lint:
  rules: {run-on-base: error, image-without-digest: off}
  waivers: [{rule: value-early, where: "Dockerfile:6", reason: known}]
`)))
	want := []string{
		"error run-on-base Dockerfile:7 3/3", "error copy-without-link Dockerfile:8 3/3",
		"error value-early Dockerfile:3 1/3", "error value-early Dockerfile:6 6/3",
	}
	if d := cmp.Diff(want, summary(got)); d != "" {
		t.Error(d)
	}
	if last := got[len(got)-1]; last.Waiver == nil || last.Waiver.Reason != "known" {
		t.Errorf("the last one is %+v", last)
	}
}

// past is a history in which each image took that long and that much disk.
func past(images []string, took time.Duration, bytes int64) *estimate.History {
	h := estimate.NewHistory(4)
	now := time.Duration(0)
	say := func(kind journal.Kind, unit string, data any) {
		raw, _ := json.Marshal(data)
		h.Fold(journal.Event{Kind: kind, Unit: unit, Worker: "w", Mono: now, Data: raw})
	}
	say(journal.RunStarted, "", journal.RunData{})
	for _, im := range images {
		say(journal.UnitStarted, im, nil)
		now += took
		say(journal.UnitPublished, im, journal.UnitData{Action: string(plan.Build)})
	}
	say(journal.Releasing, "", nil)
	say(journal.Released, "", journal.ReleaseData{Own: bytes * int64(len(images)), Images: len(images)})
	return h
}

// TestHistory: what images took is told of a step that alone makes them builds,
// and of none when there are two, or when an image is not known.
func TestHistory(t *testing.T) {
	alone := strings.Replace(strings.Replace(dear, "RUN apt-get install git\n", "", 1), "ARG GIT_SHA\n", "", 1)
	for _, tt := range []struct {
		name, dockerfile string
		known            []string
		want             string
	}{
		{"alone", alone, []string{"a", "b", "c"}, "error copy-without-link Dockerfile:6 3/3 30s 3000B"},
		{"one is not known", alone, []string{"a", "b"}, "error copy-without-link Dockerfile:6 3/3"},
		{"two steps", dear, []string{"a", "b", "c"}, "error copy-without-link Dockerfile:8 3/3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := open(t, folder(t, tt.dockerfile, standardFleet))
			in.History = past(tt.known, 10*time.Second, 1000)
			if got := summary(lint.Check(in)); got[0] != tt.want {
				t.Errorf("got %q, want %q first", got, tt.want)
			}
		})
	}
}

// recently is what one run of the recipe dear took for its steps.
func recently(executed int64, seconds map[string]float64) *estimate.Steps {
	run := summed.New()
	for name, s := range seconds {
		run.Steps = append(run.Steps, &summed.Step{Name: name, Shared: strings.HasPrefix(name, "[builder"), Executed: executed, TotalSeconds: s})
	}
	steps := &estimate.Steps{}
	steps.Add(run)
	return steps
}

// TestCosts: seconds are the sum of what is known of the steps, each as often as
// it runs; bytes are known when a finding is about all that images do on their
// bases.
func TestCosts(t *testing.T) {
	const args = "recipe: {args: {GIT_SHA: 0a1b2c3}}\n"
	apt, copied, made := "[stage-1 2/9] RUN apt-get install git", "[stage-1 3/9] COPY --from=builder /out /agent", "[builder 2/9] RUN make /out"
	for _, tt := range []struct {
		name  string
		steps map[string]float64 // of 2 executions
		disk  bool               // whether the disk of images is known
		want  []string
	}{
		{"nothing", nil, false, []string{
			"error value-early Dockerfile:6 6/3", "error copy-without-link Dockerfile:8 3/3", "error value-early Dockerfile:3 1/3", "warning run-on-base Dockerfile:7 3/3"}},
		{"all", map[string]float64{apt: 20, copied: 2, made: 60}, true, []string{
			"error value-early Dockerfile:6 6/3 33s 3000B", "error value-early Dockerfile:3 1/3 30s", "error copy-without-link Dockerfile:8 3/3 3s", "warning run-on-base Dockerfile:7 3/3 30s"}},
		{"some", map[string]float64{copied: 2}, false, []string{
			"error value-early Dockerfile:6 6/3 3s", "error copy-without-link Dockerfile:8 3/3 3s", "error value-early Dockerfile:3 1/3", "warning run-on-base Dockerfile:7 3/3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := open(t, folder(t, dear, args+standardFleet+"lint: {rules: {image-without-digest: off}}\n"))
			in.Steps = recently(2, tt.steps)
			if tt.disk {
				in.History = past([]string{"a", "b", "c"}, 40*time.Second, 1000)
			}
			if d := cmp.Diff(tt.want, summary(lint.Check(in))); d != "" {
				t.Error(d)
			}
		})
	}
}

// many writes a fleet of n images.
func many(t testing.TB, n int) string {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint("i", i)
	}
	return folder(t, dear, strings.NewReplacer("a, b, c", strings.Join(ids, ", "), "@sha256:"+strings.Repeat("0", 64), ":v1").Replace(standardFleet))
}

// TestManyImages: a place is one finding, however many images and views there
// are, and what is converted is one graph for each view.
func TestManyImages(t *testing.T) {
	r := lint.Make(openViews(t, many(t, 500), 60))
	want := []string{
		"error copy-without-link Dockerfile:8 500/500", "warning run-on-base Dockerfile:7 500/500",
		"warning image-without-digest Dockerfile:2 0/500", "info base-without-digest fleet.yaml:4 0/500",
	}
	var got []string
	for _, s := range summary(r.Findings) {
		if !strings.Contains(s, rule.ValueEarly) {
			got = append(got, s)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if r.Images != 500 || r.Conversions != 60 {
		t.Errorf("%d images and %d conversions, want 500 and 60", r.Images, r.Conversions)
	}
}

// TestSameTwice: the same input gives the same findings.
func TestSameTwice(t *testing.T) {
	in := openViews(t, many(t, 20), 3)
	in.Fleet.Recipe.Args = map[string]string{"A_TOKEN": "x1", "B_TOKEN": "x2", "C": "x", "D": "x", "GIT_SHA": "0a1b2c3"}
	first := lint.Check(in)
	for range 5 {
		if d := cmp.Diff(first, lint.Check(in)); d != "" {
			t.Fatal(d)
		}
	}
	if len(first) < 8 {
		t.Errorf("only %d findings", len(first))
	}
}

// BenchmarkCheck looks at 500 images on 60 views that are converted.
func BenchmarkCheck(b *testing.B) {
	in := openViews(b, many(b, 500), 60)
	for b.Loop() {
		lint.Check(in)
	}
}

// BenchmarkFleet reads, converts and looks at 500 images on 60 views: what lint
// does once the bases are known.
func BenchmarkFleet(b *testing.B) {
	dir := many(b, 500)
	for b.Loop() {
		lint.Check(openViews(b, dir, 60))
	}
}
