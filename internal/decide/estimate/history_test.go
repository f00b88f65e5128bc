package estimate_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// tale writes a journal into a history.
type tale struct {
	h      *estimate.History
	now    time.Duration
	worker string
}

func (t *tale) add(kind journal.Kind, unit string, step graph.Digest, data any) {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	t.h.Fold(journal.Event{V: journal.Version, Mono: t.now, Kind: kind, Unit: unit, Step: step, Worker: t.worker, Data: raw})
}

func (t *tale) run(resumed bool) {
	if !resumed {
		t.now = 0
	}
	t.add(journal.RunStarted, "", "", journal.RunData{Resumed: resumed})
}

func (t *tale) queue(variant graph.Digest, images ...string) {
	for _, im := range images {
		t.add(journal.UnitQueued, im, "", journal.QueuedData{Variant: variant})
	}
}

func (t *tale) start(images ...string) {
	for _, im := range images {
		t.add(journal.UnitStarted, im, "", journal.UnitData{})
	}
}

func (t *tale) after(d time.Duration) { t.now += d }

func (t *tale) publish(images ...string) {
	for _, im := range images {
		t.add(journal.UnitPublished, im, "", journal.UnitData{Action: "build", Temperature: "cold"})
	}
}

func (t *tale) make(took time.Duration, images ...string) {
	t.start(images...)
	t.after(took)
	t.publish(images...)
}

func (t *tale) release(d journal.ReleaseData) {
	t.add(journal.Releasing, "", "", struct{}{})
	t.after(time.Second)
	t.add(journal.Released, "", "", d)
}

const mega = 1 << 20

// expected is everything that a history says of some images, as text.
func expected(h *estimate.History, variant graph.Digest, images ...string) string {
	out := ""
	for _, im := range images {
		e, ok := h.Image(im, variant)
		if !ok {
			out += im + " unknown\n"
			continue
		}
		out += fmt.Sprintf("%s %d MB %v\n", im, e.Bytes/mega, e.Took.Round(time.Millisecond))
	}
	return out
}

func TestHistory(t *testing.T) {
	tests := []struct {
		name  string
		cores int
		tell  func(t *tale)
		want  string // of the images a, b, c with the variant v
	}{
		{name: "nothing", tell: func(*tale) {}, want: "a unknown\nb unknown\nc unknown\n"},
		{
			name: "alone, and what a release told of both",
			tell: func(t *tale) {
				t.run(false)
				t.queue("v", "a", "b")
				t.make(10*time.Second, "a")
				t.make(20*time.Second, "b")
				t.release(journal.ReleaseData{Images: 2, Own: 300 * mega})
			},
			want: "a 150 MB 10s\nb 150 MB 20s\nc 150 MB 15s\n",
		},
		{
			name: "a release for each", tell: func(t *tale) {
				t.run(false)
				t.queue("v", "a", "b")
				t.make(time.Second, "a")
				t.release(journal.ReleaseData{Images: 1, Own: 100 * mega})
				t.make(time.Second, "b")
				t.release(journal.ReleaseData{Images: 1, Own: 900 * mega})
			},
			want: "a 100 MB 1s\nb 900 MB 1s\nc 900 MB 1s\n",
		},
		{
			name: "what is published while a release runs is not of it", tell: func(t *tale) {
				t.run(false)
				t.queue("v", "a", "b")
				t.make(time.Second, "a")
				t.add(journal.Releasing, "", "", struct{}{})
				t.make(time.Second, "b")
				t.add(journal.Released, "", "", journal.ReleaseData{Images: 1, Own: 100 * mega})
				t.release(journal.ReleaseData{Images: 1, Own: 500 * mega})
			},
			want: "a 100 MB 1s\nb 500 MB 1s\nc 500 MB 1s\n",
		},
		{
			name: "a release that failed leaves its images to the next", tell: func(t *tale) {
				t.run(false)
				t.queue("v", "a", "b")
				t.make(time.Second, "a")
				t.release(journal.ReleaseData{Images: 1, Own: 7 * mega, Error: "no answer"})
				t.make(time.Second, "b")
				t.release(journal.ReleaseData{Images: 2, Own: 400 * mega})
			},
			want: "a 200 MB 1s\nb 200 MB 1s\nc 200 MB 1s\n",
		},
		{
			name: "more at once than cores", cores: 2, tell: func(t *tale) {
				t.run(false)
				t.queue("v", "a", "b", "x", "y")
				t.make(20*time.Second, "a", "b", "x", "y")
			},
			want: "a 0 MB 10s\nb 0 MB 10s\nc 0 MB 10s\n",
		},
		{
			name: "fewer at once than cores", cores: 8, tell: func(t *tale) {
				t.run(false)
				t.queue("v", "a", "b")
				t.make(20*time.Second, "a", "b")
			},
			want: "a 0 MB 20s\nb 0 MB 20s\nc 0 MB 20s\n",
		},
		{
			name: "warm, appended, failed and retried images tell nothing", tell: func(t *tale) {
				t.run(false)
				t.queue("v", "a", "b")
				t.start("a", "b", "c", "d")
				t.after(time.Second)
				t.add(journal.UnitPublished, "a", "", journal.UnitData{Action: "build", Temperature: "warm"})
				t.add(journal.UnitPublished, "b", "", journal.UnitData{Action: "append"})
				t.add(journal.UnitFailed, "c", "", journal.FailData{})
				t.add(journal.UnitRetried, "d", "", journal.FailData{})
				t.publish("c", "d")
				t.release(journal.ReleaseData{Images: 1, Own: mega})
			},
			want: "a unknown\nb unknown\nc unknown\n",
		},
		{
			name: "an image that was tried again took what its last attempt did", tell: func(t *tale) {
				t.run(false)
				t.queue("v", "a")
				t.start("a")
				t.after(time.Hour)
				t.add(journal.UnitRetried, "a", "", journal.FailData{})
				t.make(3*time.Second, "a")
			},
			want: "a 0 MB 3s\nb 0 MB 3s\nc 0 MB 3s\n",
		},
		{
			name: "a process that died took nothing along", tell: func(t *tale) {
				t.run(false)
				t.queue("v", "a", "b")
				t.start("a", "b")
				t.after(time.Hour)
				t.run(true)
				t.publish("a") // not started in this life
				t.make(2*time.Second, "b")
			},
			want: "a 0 MB 2s\nb 0 MB 2s\nc 0 MB 2s\n",
		},
		{
			name: "the newer run wins, the older one fills up", tell: func(t *tale) {
				t.run(false)
				t.queue("v", "a")
				t.make(10*time.Second, "a")
				t.run(false)
				t.queue("v", "a", "b")
				t.make(50*time.Second, "a")
				t.make(50*time.Second, "b")
				t.release(journal.ReleaseData{Images: 2, Own: 40 * mega})
			},
			want: "a 20 MB 10s\nb 20 MB 50s\nc 20 MB 30s\n",
		},
		{
			name: "another variant of the image, and the variant of others", tell: func(t *tale) {
				t.run(false)
				t.queue("old", "a", "c")
				t.make(10*time.Second, "a")
				t.release(journal.ReleaseData{Images: 1, Own: 70 * mega})
				t.make(30*time.Second, "c")
				t.release(journal.ReleaseData{Images: 1, Own: 5 * mega})
				t.queue("v", "x")
				t.make(20*time.Second, "x")
				t.release(journal.ReleaseData{Images: 1, Own: 50 * mega})
			},
			want: "a 70 MB 10s\nb 50 MB 20s\nc 50 MB 30s\n",
		},
		{
			name: "workers are apart", tell: func(t *tale) {
				t.run(false)
				t.queue("v", "a", "b")
				t.make(time.Second, "a")
				t.worker = "far"
				t.make(time.Second, "b")
				t.release(journal.ReleaseData{Images: 1, Own: 9 * mega})
				t.worker = ""
				t.release(journal.ReleaseData{Images: 1, Own: 3 * mega})
			},
			want: "a 3 MB 1s\nb 9 MB 1s\nc 9 MB 1s\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := estimate.NewHistory(tt.cores)
			tt.tell(&tale{h: h})
			if d := cmp.Diff(tt.want, expected(h, "v", "a", "b", "c")); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestHistoryOfTheDaemon(t *testing.T) {
	h := estimate.NewHistory(2)
	if f, ok := h.Factor(); ok || f <= 1 || h.Kept() != 0 {
		t.Errorf("nothing is known, and the factor is %v, kept %d", f, h.Kept())
	}
	if _, ok := h.Any(); ok {
		t.Error("an image is known of none")
	}
	w := &tale{h: h}
	w.run(false)
	w.add(journal.SharedStarted, "", "one", nil)
	w.add(journal.SharedStarted, "", "two", nil)
	w.after(5 * time.Second)
	w.add(journal.SharedReady, "", "one", nil)
	w.add(journal.SharedFailed, "", "two", journal.FailData{Reason: journal.RetryPassing})
	w.add(journal.SharedReady, "", "two", nil)
	w.release(journal.ReleaseData{Base: 30 * mega, Compressed: 10 * mega, After: map[string]int64{"regular": 80 * mega, "cachemount": 10 * mega}})
	w.release(journal.ReleaseData{Base: 20 * mega, Compressed: 10 * mega, After: map[string]int64{"regular": 40 * mega}})
	w.release(journal.ReleaseData{After: map[string]int64{"regular": 60 * mega}})
	if h.Kept() != 40*mega {
		t.Errorf("kept %d", h.Kept())
	}
	w.run(false)
	w.release(journal.ReleaseData{After: map[string]int64{"regular": mega}})
	if f, ok := h.Factor(); !ok || f != 2.5 || h.Kept() != 40*mega {
		t.Errorf("factor %v %v, kept %d", f, ok, h.Kept())
	}
	if d, ok := h.Step("one"); !ok || d != 5*time.Second {
		t.Errorf("one took %v %v", d, ok)
	}
	if d, ok := h.Step("two"); ok {
		t.Errorf("two failed and took %v", d)
	}
}

// TestHistoryHolds folds journals in any order: what comes out is never
// negative, and an image that is known stays as it is.
func TestHistoryHolds(t *testing.T) {
	kinds := []journal.Kind{
		journal.RunStarted, journal.UnitQueued, journal.UnitStarted, journal.UnitPublished, journal.UnitFailed,
		journal.UnitRetried, journal.Releasing, journal.Released, journal.SharedStarted, journal.SharedReady, journal.Disk,
	}
	rapid.Check(t, func(t *rapid.T) {
		h := estimate.NewHistory(rapid.IntRange(0, 4).Draw(t, "cores"))
		w := &tale{h: h}
		told := map[string]estimate.Expected{}
		for range rapid.IntRange(0, 60).Draw(t, "events") {
			w.after(time.Duration(rapid.IntRange(0, 5).Draw(t, "s")) * time.Second)
			unit := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "unit")
			step := graph.Digest(unit)
			switch k := rapid.SampledFrom(kinds).Draw(t, "kind"); k {
			case journal.RunStarted:
				w.run(rapid.Bool().Draw(t, "resumed"))
			case journal.UnitQueued:
				w.queue("v", unit)
			case journal.UnitPublished:
				w.publish(unit)
			case journal.Released:
				w.add(k, "", "", journal.ReleaseData{Images: rapid.IntRange(0, 3).Draw(t, "images"), Own: rapid.Int64Range(0, 1000).Draw(t, "own")})
			default:
				w.add(k, unit, step, struct{}{})
			}
			for _, im := range []string{"a", "b", "c"} {
				e, ok := h.Image(im, "v")
				if e.Bytes < 0 || e.Took < 0 || !ok && e != (estimate.Expected{}) {
					t.Fatalf("%s: %+v %v", im, e, ok)
				}
				exact, _ := h.Image(im, "none")
				if was := told[im]; was.Bytes > 0 && exact.Bytes != was.Bytes || was.Took > 0 && exact.Took != was.Took {
					t.Fatalf("%s was %+v and is %+v", im, was, exact)
				}
				told[im] = exact
			}
		}
	})
}
