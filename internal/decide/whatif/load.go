package whatif

import (
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/sched"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// The guesses for what no earlier run tells. They are shown wherever they count.
const (
	guessOwn       = 256 << 20        // what an image takes beside its base
	guessTook      = 30 * time.Second // and the time
	guessShare     = 128 << 20        // what a shared step takes
	guessShareTook = 30 * time.Second // and the time
)

// From says what a figure of several images or steps rests on.
type From struct {
	// Runs are those of which earlier runs told, Guessed those for which Value
	// stands, Given those for which the query gave Value.
	Runs    int `json:"runs"`
	Guessed int `json:"guessed,omitempty"`
	Given   int `json:"given,omitempty"`
	// Value is in bytes, or in nanoseconds. Mean is true when it is not a guess
	// but made of what earlier runs tell of other images.
	Value int64 `json:"value,omitempty"`
	Mean  bool  `json:"mean,omitempty"`
}

// Basis is what a curve rests on.
type Basis struct {
	// Own and Took are of images: bytes beside the base, and time.
	Own  From `json:"ownBytes"`
	Took From `json:"tookNanoseconds"`
	// Shared and SharedTook are of shared steps. Runs of Shared is 1 when earlier
	// runs tell what all of them take together.
	Shared     From `json:"sharedBytes"`
	SharedTook From `json:"sharedTookNanoseconds"`
	// Factor is what a base layer takes on the disk per compressed byte; Measured
	// is false when that is assumed.
	Factor   float64 `json:"factor"`
	Measured bool    `json:"factorMeasured"`
	// Cores is how many images at once go as fast as one alone.
	Cores int `json:"cores"`
}

// Options are what is known of the workers.
type Options struct {
	// Workers is their number, Cores what each really does at once, Jobs the
	// number of solves at once that a run would use.
	Workers, Cores, Jobs int
}

// Load makes the input of a plan and the facts that it was made of, with what
// earlier runs tell.
func Load(p *plan.Plan, in *planner.Input, h *estimate.History, o Options) Input {
	out := Input{Workers: o.Workers, Cores: o.Cores, Jobs: o.Jobs}
	out.Basis.Cores = o.Cores
	out.Factor, out.Basis.Measured = h.Factor()
	out.Basis.Factor = out.Factor
	needs := map[graph.Digest]bool{}
	var steps []graph.Digest
	l := loader{history: h, basis: &out.Basis}
	for i, u := range p.Units {
		if u.Action != plan.Build {
			continue
		}
		out.Tasks = append(out.Tasks, l.task(u, &in.Images[i]))
		for _, d := range u.Needs {
			if !needs[d] {
				needs[d] = true
				steps = append(steps, d)
			}
		}
	}
	out.Shared = l.shared(steps)
	return out
}

type loader struct {
	history *estimate.History
	basis   *Basis
}

// task is an image with what it is expected to take. The scheduler of a run is
// told only what earlier runs tell of it; otherwise it finds out, here as there.
func (l *loader) task(u plan.Unit, f *planner.Facts) sched.Task {
	t := sched.Task{Name: u.Image, Needs: u.Needs, Layers: make([]journal.LayerData, len(f.Base.Layers))}
	for i, d := range f.Base.Layers {
		t.Layers[i] = journal.LayerData{Digest: d.Digest, Bytes: d.Size}
	}
	e, _ := l.history.Image(u.Image, u.Variant)
	any, _ := l.history.Any()
	var took int64
	t.Own, t.Expect = l.basis.Own.take(e.Bytes, any.Bytes, guessOwn)
	took, _ = l.basis.Took.take(int64(e.Took), int64(any.Took), int64(guessTook))
	t.Took = time.Duration(took)
	return t
}

// take chooses a figure: what is known of it, or of others like it, or a guess;
// and counts which it was.
func (f *From) take(known, others, guess int64) (value int64, told bool) {
	if known > 0 {
		f.Runs++
		return known, true
	}
	f.Guessed++
	if f.Value, f.Mean = guess, false; others > 0 {
		f.Value, f.Mean = others, true
	}
	return f.Value, false
}

// shared spreads what the daemon went on holding over the shared steps.
func (l *loader) shared(steps []graph.Digest) []sched.Shared {
	n := int64(len(steps))
	if n == 0 {
		return nil
	}
	bytes := int64(guessShare)
	if kept := l.history.Kept(); kept > 0 {
		bytes = kept / n
		l.basis.Shared = From{Runs: 1}
	} else {
		l.basis.Shared = From{Guessed: len(steps), Value: bytes}
	}
	out := make([]sched.Shared, n)
	for i, d := range steps {
		known, _ := l.history.Step(d)
		took, _ := l.basis.SharedTook.take(int64(known), 0, int64(guessShareTook))
		out[i] = sched.Shared{Step: d, Bytes: bytes, Took: time.Duration(took)}
	}
	return out
}
