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
	// Shared and SharedTook are of shared steps and layer sets. Mean of Shared is
	// true when they are given equal parts of what a daemon went on holding.
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
	seen := map[graph.Digest]bool{}
	var shared []sched.Shared
	add := func(d graph.Digest, early bool) {
		if !seen[d] {
			seen[d] = true
			shared = append(shared, sched.Shared{Step: d, Early: early})
		}
	}
	l := loader{history: h, basis: &out.Basis}
	for i, u := range p.Units {
		switch {
		case u.Action == plan.Build:
			out.Tasks = append(out.Tasks, l.task(u, &in.Images[i]))
			for _, d := range u.Needs {
				add(d, false)
			}
		case u.Action == plan.Append && u.Layers != "" && (in.LayersKnown == nil || !in.LayersKnown(u.Layers)):
			add(u.Layers, true)
		}
	}
	l.shared(shared)
	out.Shared = shared
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

// shared fills in what shared steps and layer sets take. The scheduler is told as
// in a run; what no run tells of one is its part of what the daemon went on
// holding.
func (l *loader) shared(steps []sched.Shared) {
	var part int64
	if n := int64(len(steps)); n > 0 {
		part = l.history.Kept() / n
	}
	for i := range steps {
		sh := &steps[i]
		sh.Bytes, sh.Expect = l.basis.Shared.take(l.history.Size(sh.Step), part, guessShare)
		known, _ := l.history.Step(sh.Step)
		took, _ := l.basis.SharedTook.take(int64(known), 0, int64(guessShareTook))
		sh.Took = time.Duration(took)
	}
}
