// Package evidence says how much of an image the solver had to do, from what
// the solver itself reported: cold, partial, warm or skipped. Images, and runs,
// in unlike states must not be compared.
//
// Only steps count. A step is a vertex of the plan that is neither a source
// (image, local, git, http) nor an arrangement of results (merge, diff): a
// source is fetched or looked up whatever the cache holds, and a merge does no
// work. Of the steps, those count whose end the solver reported: as cached, as
// completed or as failed. A step that it never came to, because a later result
// was cached, or that was cancelled, says nothing of its own. Then an image is
//
//   - skipped when no step ended at all: nothing was solved, or
//     the recipe only sets the config;
//   - cold when it found none of them cached;
//   - warm when it found every one of them cached;
//   - partial otherwise.
//
// A step that this run executed earlier, for another image, is found in the
// cache because of the run and not because of what was there before it. It
// counts as executed, when the caller says which steps those are; see
// [Tally.Ran].
package evidence

import (
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// The temperatures, as journals carry them.
const (
	Cold    = "cold"
	Partial = "partial"
	Warm    = "warm"
	Skipped = "skipped"
)

// Tally collects the reports of one image's solve. The zero value is ready;
// it is not for concurrent use.
type Tally struct {
	// Kind tells the kind of a planned step by the digest that the solver
	// reports, and "" for a vertex that was not planned. When Kind is nil, kinds
	// are told by [KindOf].
	Kind func(graph.Digest) graph.Kind
	// Ran tells whether this run executed a step earlier; may be nil. It is
	// asked once for each step, when that is first reported.
	Ran func(graph.Digest) bool

	ran   map[graph.Digest]bool // what Ran said
	steps map[graph.Digest]bool // those that ended; true: executed
}

// Add takes a report. A vertex may be reported any number of times, and the
// last report that it ended counts: a step without inputs is reported as ended
// once for its cache key and again for its result, and only the second says
// whether that was cached.
func (t *Tally) Add(r journal.StepRecord) {
	if !t.counts(r) {
		return
	}
	if t.steps == nil {
		t.steps, t.ran = map[graph.Digest]bool{}, map[graph.Digest]bool{}
	}
	if _, asked := t.ran[r.Digest]; !asked {
		t.ran[r.Digest] = t.Ran != nil && t.Ran(r.Digest)
	}
	if r.Cached || !r.Completed.IsZero() || r.Error != "" {
		t.steps[r.Digest] = !r.Cached || t.ran[r.Digest]
	}
}

// Temperature is the image's temperature by the reports so far.
func (t *Tally) Temperature() string {
	executed := 0
	for _, x := range t.steps {
		if x {
			executed++
		}
	}
	switch {
	case len(t.steps) == 0:
		return Skipped
	case executed == 0:
		return Warm
	case executed == len(t.steps):
		return Cold
	}
	return Partial
}

func (t *Tally) counts(r journal.StepRecord) bool {
	kind := graph.Kind("")
	if t.Kind == nil {
		kind = KindOf(r.Name)
	} else {
		kind = t.Kind(r.Digest)
	}
	return kind != "" && kind != graph.KindMerge && kind != graph.KindDiff && !kind.Source()
}
