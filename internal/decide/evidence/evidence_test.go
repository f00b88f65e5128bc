package evidence

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

var (
	t0 = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	t1 = t0.Add(time.Second)
)

// The reports that a solver makes of one vertex.
func queued(d graph.Digest) journal.StepRecord { return journal.StepRecord{Digest: d, Name: name(d)} }
func begun(d graph.Digest) journal.StepRecord {
	return journal.StepRecord{Digest: d, Name: name(d), Started: t0}
}
func ran(d graph.Digest) journal.StepRecord {
	return journal.StepRecord{Digest: d, Name: name(d), Started: t0, Completed: t1}
}
func found(d graph.Digest) journal.StepRecord {
	return journal.StepRecord{Digest: d, Name: name(d), Started: t0, Completed: t1, Cached: true}
}
func broke(d graph.Digest) journal.StepRecord {
	return journal.StepRecord{Digest: d, Name: name(d), Started: t0, Completed: t1, Error: "exit code: 1"}
}

// name is what BuildKit would show; kind is what the plan says. Digests begin
// with a letter for the kind.
func name(d graph.Digest) string {
	return map[byte]string{
		'b': "[stage-1 1/4] FROM docker.io/library/busybox", 'l': "[internal] load build context", 'g': "git://host/repo",
		'h': "https://host/file", 'x': "[stage-1 2/4] RUN x", 'f': "[stage-1 3/4] COPY a b", 'm': "merge ([1/4], COPY)", 'u': "exporting to image",
	}[d[0]]
}

func kind(d graph.Digest) graph.Kind {
	return map[byte]graph.Kind{
		'b': graph.KindImage, 'l': graph.KindLocal, 'g': graph.KindGit, 'h': graph.KindHTTP,
		'x': graph.KindExec, 'f': graph.KindFile, 'm': graph.KindMerge, 'd': graph.KindDiff,
	}[d[0]]
}

func TestTemperature(t *testing.T) {
	type records = []journal.StepRecord
	cases := []struct {
		name string
		in   records
		want string
	}{
		{"nothing", nil, Skipped},
		{"sources only", records{ran("b"), ran("l"), ran("g"), ran("h")}, Skipped},
		{"sources and a merge", records{ran("b"), ran("m"), ran("u")}, Skipped},
		{"steps that were never begun", records{queued("x1"), queued("f1")}, Skipped},
		{"a step that was cancelled", records{begun("x1")}, Skipped},
		{"every step ran", records{found("b"), ran("l"), ran("x1"), ran("f1"), ran("m"), ran("u")}, Cold},
		{"only a source was cached", records{found("b"), found("g"), ran("x1")}, Cold},
		{"every step was cached", records{ran("b"), ran("l"), found("x1"), found("f1"), ran("m"), ran("u")}, Warm},
		{"cached behind steps that nobody asked for", records{queued("x1"), found("f1")}, Warm},
		{"some were cached", records{found("x1"), ran("f1")}, Partial},
		{"the first failed", records{broke("x1")}, Cold},
		{"one failed behind a cached one", records{found("x1"), broke("f1")}, Partial},
		{"reported again and again", records{queued("x1"), begun("x1"), begun("x1"), ran("x1"), ran("x1")}, Cold},
		{"ended for its key before it was found", records{ran("f1"), found("f1")}, Warm},
		{"ended for its key before it ran", records{ran("f1"), begun("f1"), ran("f1")}, Cold},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			byKind, byName := Tally{Kind: kind}, Tally{}
			for _, r := range c.in {
				byKind.Add(r)
				byName.Add(r)
			}
			if got := byKind.Temperature(); got != c.want {
				t.Errorf("by kind: %s, want %s", got, c.want)
			}
			if got := byName.Temperature(); got != c.want {
				t.Errorf("by name: %s, want %s", got, c.want)
			}
		})
	}
}

// What the run itself put into the cache is no warmth.
func TestStepsOfThisRun(t *testing.T) {
	earlier := map[graph.Digest]bool{"x1": true}
	tally := func(records ...journal.StepRecord) string {
		y := Tally{Kind: kind, Ran: func(d graph.Digest) bool { return earlier[d] }}
		for _, r := range records {
			y.Add(r)
			earlier["f2"] = true // the caller notes what runs meanwhile
		}
		return y.Temperature()
	}
	for _, c := range []struct {
		name string
		in   []journal.StepRecord
		want string
	}{
		{"its own step was cached", []journal.StepRecord{found("x1"), ran("f1")}, Cold},
		{"all were its own", []journal.StepRecord{found("x1")}, Cold},
		{"another was cached too", []journal.StepRecord{found("x1"), found("f1")}, Partial},
		{"it ran only in this solve", []journal.StepRecord{ran("f2"), found("f2")}, Warm},
	} {
		t.Run(c.name, func(t *testing.T) {
			delete(earlier, "f2")
			if got := tally(c.in...); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// The order in which vertices are mixed does not matter, and neither do
// reports before the last of each.
func TestOrderOfVerticesDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digests := rapid.SliceOfNDistinct(rapid.SampledFrom([]graph.Digest{"b", "l", "x1", "x2", "f1", "f2", "m", "u"}), 0, 8, rapid.ID).Draw(t, "digests")
		last := make([]journal.StepRecord, len(digests))
		executed, cached := 0, 0
		for i, d := range digests {
			work := d[0] == 'x' || d[0] == 'f'
			if last[i] = ran(d); rapid.Bool().Draw(t, "cached") {
				last[i] = found(d)
				if work {
					cached++
				}
			} else if work {
				executed++
			}
		}
		want := Partial
		switch {
		case executed+cached == 0:
			want = Skipped
		case cached == 0:
			want = Cold
		case executed == 0:
			want = Warm
		}
		tally := Tally{Kind: kind}
		for _, d := range digests {
			tally.Add(queued(d))
		}
		for _, d := range digests {
			tally.Add(begun(d))
		}
		for _, r := range rapid.Permutation(last).Draw(t, "order") {
			tally.Add(r)
		}
		if got := tally.Temperature(); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}
