package summary

import (
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/evidence"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// maxRows bounds the table of steps; further names share the row otherSteps.
const (
	maxRows    = 500
	otherSteps = "(other steps)"
)

type rowKey struct {
	name   string
	shared bool
}

// executed is what is known of a step that ran: one of an image, or a shared one.
type executed struct {
	step graph.Digest
	// fails is the number of failures of its image before it ran.
	fails int
	// broken tells that the result is not there: it failed, or its worker was lost.
	broken bool
	worker string
}

// step adds one vertex of a solve.
func (s *Summary) step(e *journal.Event, d journal.StepData) {
	f := &s.fold
	f.stepBytes += d.Pulled
	if !d.Shared {
		f.baseSeen = true
		f.basePull += d.Pulled
	}
	if counts(d) {
		s.StepsExecuted, s.StepsCached = orZero(s.StepsExecuted), orZero(s.StepsCached)
		if d.Cached {
			*s.StepsCached++
		} else {
			*s.StepsExecuted++
			s.executed(e, d)
		}
	}
	s.row(d).add(d)
	s.parts(e, d)
}

// executed excuses an execution that repeats one when there was a reason: the
// step, its image or its worker failed since, or it is a source, which a solver
// looks up in every solve.
func (s *Summary) executed(e *journal.Event, d journal.StepData) {
	u := s.work(e.Unit)
	fails := max(u.fails, e.Attempt-1)
	var x *executed
	if d.Shared {
		if x = s.fold.shared[e.Step]; x == nil {
			s.fold.shared[e.Step] = &executed{step: e.Step, fails: fails, broken: d.Error != "", worker: e.Worker}
			return
		}
	} else {
		for i := range u.ran {
			if u.ran[i].step == e.Step {
				x = &u.ran[i]
			}
		}
		if x == nil {
			u.ran = append(u.ran, executed{e.Step, fails, d.Error != "", e.Worker})
			return
		}
	}
	if x.broken || x.fails < fails || kindOf(d).Source() {
		s.fold.excused++
	}
	x.fails, x.broken, x.worker = fails, d.Error != "", e.Worker
}

// kindOf is a step's kind as planned or, when it was not, by its name.
func kindOf(d journal.StepData) graph.Kind {
	if d.Kind != "" {
		return d.Kind
	}
	return evidence.KindOf(d.Name)
}

// counts tells a recipe's steps from merges, which do no work, and from what
// the solver does on its own.
func counts(d journal.StepData) bool {
	k := kindOf(d)
	return k != "" && k != graph.KindMerge
}

// row is the row of a step, made when it is the first of its name.
func (s *Summary) row(d journal.StepData) *Step {
	k := rowKey{StepName(d), d.Shared}
	if s.fold.rows[k] == nil && len(s.fold.rows) >= maxRows {
		k = rowKey{name: otherSteps}
		d.Kind = ""
	}
	r := s.fold.rows[k]
	if r == nil {
		r = &Step{Name: k.name, Kind: d.Kind, Shared: k.shared}
		s.fold.rows[k] = r
		s.Steps = append(s.Steps, r)
	}
	return r
}

// StepName is the name that [Summary.Steps] has a step under: its own, without
// what differs from base to base.
func StepName(d journal.StepData) string {
	const from = "] FROM "
	if i := strings.Index(d.Name, from); i >= 0 && !d.Shared {
		return d.Name[:i+len(from)] + "(base)"
	}
	return d.Name
}

func (r *Step) add(d journal.StepData) {
	r.Count++
	r.PulledBytes += d.Pulled
	if d.Error != "" {
		r.Failed++
	}
	if d.Cached {
		r.Cached++
		return
	}
	r.Executed++
	r.TotalSeconds += d.Took.Seconds()
	r.times.add(d.Took)
	r.times.seconds(&r.P50Seconds, &r.P95Seconds)
}
