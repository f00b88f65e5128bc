// Package explain says why steps of a run were not cached, and what makes two
// runs different.
//
// For a step that executed it compares with an earlier run: the step or an input
// changed, and then it names what and where; or nothing changed, and then it
// says why the result was not there.
package explain

import (
	"time"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// Run is what is to be known of a run. Plan and Basis are those it kept; the rest
// is a fold over its journal, see [Run.Fold].
type Run struct {
	ID    string
	Plan  *plan.Plan
	Basis *plan.Basis
	// Started is the time of its first event; zero before that was folded.
	Started time.Time

	steps    map[graph.Digest]*done
	releases []time.Time     // that removed records
	workers  map[string]bool // addresses
	versions map[string]bool // of daemons
	lost     bool            // a daemon was lost
	cache    string
	// continues is the run whose daemons' state this one's began with.
	continues *Run
}

// done is what became of a step over all images.
type done struct {
	executed, cached int64
	failed           int64
	seconds          float64
	images           map[string]bool
	again            int64 // executions for an image that it had run for before
}

// NewRun is a run of which nothing was folded yet.
func NewRun(id string, p *plan.Plan, b *plan.Basis) *Run {
	return &Run{ID: id, Plan: p, Basis: b, steps: map[graph.Digest]*done{}, workers: map[string]bool{}, versions: map[string]bool{}}
}

// Fold takes the run's events in order. Events that cannot be read are left out.
func (r *Run) Fold(e journal.Event) {
	if r.Started.IsZero() {
		r.Started = e.Wall
	}
	switch e.Kind {
	case journal.StepDone:
		var d journal.StepData
		if e.Decode(&d) == nil {
			r.step(e, d)
		}
	case journal.Released:
		var d journal.ReleaseData
		if e.Decode(&d) == nil && d.Records > 0 {
			r.releases = append(r.releases, e.Wall)
		}
	case journal.WorkerReady:
		var d journal.WorkerData
		if e.Decode(&d) == nil {
			r.workers[d.Address] = true
			r.versions[d.Versions["buildkit"]] = true
		}
	case journal.WorkerLost:
		r.lost = true
	case journal.Scheduling:
		var d journal.SchedulingData
		if e.Decode(&d) == nil {
			r.cache = d.Cache
		}
	}
}

func (r *Run) step(e journal.Event, d journal.StepData) {
	s := r.steps[e.Step]
	if s == nil {
		s = &done{images: map[string]bool{}}
		r.steps[e.Step] = s
	}
	if d.Cached {
		s.cached++
		return
	}
	s.executed++
	s.seconds += d.Took.Seconds()
	if d.Error != "" {
		s.failed++
	}
	if s.images[e.Unit] {
		s.again++
	}
	s.images[e.Unit] = true
}

// Continues says that the run's daemons began with a copy of what those of another
// run held when it had ended: they are as good as the same.
func (r *Run) Continues(other *Run) { r.continues = other }

// apart tells whether the runs used no daemon in common.
func (r *Run) apart(other *Run) bool {
	if r.continues == other || len(r.workers) == 0 || len(other.workers) == 0 {
		return false
	}
	for w := range r.workers {
		if other.workers[w] {
			return false
		}
	}
	return true
}

// upgraded tells whether the runs' daemons have no version in common.
func (r *Run) upgraded(other *Run) bool {
	if len(r.versions) == 0 || len(other.versions) == 0 {
		return false
	}
	for v := range r.versions {
		if other.versions[v] {
			return false
		}
	}
	return true
}
