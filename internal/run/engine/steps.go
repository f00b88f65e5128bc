package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/decide/evidence"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// stepLog turns the daemon's reports into journal events, each execution once:
// a vertex that several solves wait for is reported to all of them.
type stepLog struct {
	mu   sync.Mutex
	seen map[execution]bool
	ran  map[graph.Digest]bool
}

type execution struct {
	digest  graph.Digest
	started int64
}

// first tells whether r is the first report of its execution that is complete.
func (l *stepLog) first(r journal.StepRecord) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen, l.ran = map[execution]bool{}, map[graph.Digest]bool{}
	}
	if !r.Cached {
		l.ran[r.Digest] = true
	}
	x := execution{r.Digest, r.Started.UnixNano()}
	if l.seen[x] {
		return false
	}
	l.seen[x] = true
	return true
}

// executed tells whether this run executed a step earlier.
func (l *stepLog) executed(d graph.Digest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ran[d]
}

// lookedUp says of a source that brought nothing that it was cached: the daemon
// looks it up in every solve that needs it, and does not say so. Of what is sent
// or cloned it does not say how much came either: there it is the first time in a
// run that counts.
func (l *stepLog) lookedUp(r journal.StepRecord, kind graph.Kind) journal.StepRecord {
	brought := r.Pulled > 0 || r.Parts[journal.PartPull] > 0 || r.Parts[journal.PartUnpack] > 0
	if kind.Source() && !brought && r.Error == "" && (kind == graph.KindImage || l.executed(r.Digest)) {
		r.Cached = true
	}
	return r
}

// failedShared tells whether err is that of a step that does not descend from
// the base. Such a step has the same digest in the variant and in every solve.
func failedShared(v *graph.Variant, err error) bool {
	var step *buildkit.StepError
	if !errors.As(err, &step) {
		return false
	}
	s := v.Graph.Step(step.Step)
	return s != nil && !s.BaseBound
}

// planned finds the variant's step for a digest that the daemon reports; nil
// for a vertex that was not planned. steps is what Recipe.Definition gave.
func planned(v *graph.Variant, steps map[graph.Digest]graph.Digest) func(graph.Digest) *graph.Step {
	known := make(map[graph.Digest]*graph.Step, len(v.Graph.Steps))
	for i := range v.Graph.Steps {
		known[v.Graph.Steps[i].Digest] = &v.Graph.Steps[i]
	}
	return func(d graph.Digest) *graph.Step {
		if as, ok := steps[d]; ok {
			d = as
		}
		return known[d]
	}
}

// solveSteps writes the steps of one solve to the journal. The daemon may start
// and complete a vertex several times, first to look it up and then to run it,
// so a step is written once, when the solve has ended.
type solveSteps struct {
	e      *Engine
	worker string
	image  string       // empty for a solve that serves many
	serves graph.Digest // the shared step or layer set that such a solve makes
	find   func(graph.Digest) *graph.Step
	order  []graph.Digest
	last   map[graph.Digest]journal.StepRecord
	at     graph.Digest // the step that the journal was told of last

	within time.Duration // of a step; 0: no deadline
	all    bool          // steps that were not planned have it too
	stop   context.CancelCauseFunc
	timers map[graph.Digest]*time.Timer
}

// limit ends the solve by stop when one of its planned steps, or any of all,
// takes longer than within.
func (s *solveSteps) limit(within time.Duration, stop context.CancelCauseFunc) {
	s.within, s.stop, s.timers = within, stop, map[graph.Digest]*time.Timer{}
}

// time starts and stops the clock of a step.
func (s *solveSteps) time(r journal.StepRecord) {
	if s.within <= 0 || !s.all && s.find(r.Digest) == nil {
		return
	}
	t := s.timers[r.Digest]
	switch runs := !r.Started.IsZero() && r.Completed.IsZero(); {
	case runs && t == nil:
		s.timers[r.Digest] = time.AfterFunc(s.within, func() {
			s.stop(fmt.Errorf("%w: %s: more than %s", errStepDeadline, r.Name, s.within))
		})
	case !runs && t != nil:
		t.Stop()
		delete(s.timers, r.Digest)
	}
}

func (e *Engine) solveSteps(worker, image string, find func(graph.Digest) *graph.Step) *solveSteps {
	return &solveSteps{e: e, worker: worker, image: image, find: find, last: map[graph.Digest]journal.StepRecord{}}
}

// fetched says of a step that does work that it was cached when it pulled bytes:
// no step does, so its result came from a registry's cache. The daemon says that
// it was cached when it finds it there, and no more when it has fetched it.
func (s *solveSteps) fetched(r journal.StepRecord) journal.StepRecord {
	if step := s.find(r.Digest); step != nil && r.Pulled > 0 && !step.Kind.Source() {
		r.Cached = true
	}
	return r
}

// record takes a report; output of steps is kept at once.
func (s *solveSteps) record(r journal.StepRecord) {
	if len(r.Log) > 0 && s.e.Run != nil {
		s.e.Run.WriteLog(s.image, r.Name, r.Log)
	}
	r.Log = nil
	s.time(r)
	if _, ok := s.last[r.Digest]; !ok {
		s.order = append(s.order, r.Digest)
	}
	s.last[r.Digest] = r
	s.tell()
}

// tell writes down which step the solve is at: of those that run, the one that
// began last. A step may begin again, when something that it needs is fetched.
func (s *solveSteps) tell() {
	var at journal.StepRecord
	for _, d := range s.order {
		if r := s.last[d]; r.Completed.IsZero() && r.Started.After(at.Started) {
			at = r
		}
	}
	if at.Digest == "" || at.Digest == s.at {
		return
	}
	s.at = at.Digest
	ev := event(journal.StepBegun, s.image, journal.StepBegunData{Name: at.Name})
	ev.Step, ev.Worker = s.serves, s.worker
	s.e.append(ev)
}

// flush writes what completed, each execution once however many solves saw it.
func (s *solveSteps) flush() {
	for _, t := range s.timers {
		t.Stop()
	}
	for _, d := range s.order {
		r, step := s.last[d], s.find(d)
		kind := evidence.KindOf(r.Name)
		if step != nil {
			kind = step.Kind
		}
		r = s.e.steps.lookedUp(r, kind)
		if r.Completed.IsZero() && r.Error == "" || !s.e.steps.first(r) {
			continue
		}
		data := journal.StepData{Name: r.Name, Cached: r.Cached, Error: r.Error, Pulled: r.Pulled, Parts: r.Parts, Shared: s.image == ""}
		if !r.Started.IsZero() && !r.Completed.IsZero() {
			data.Began, data.Took = r.Started.UTC(), r.Completed.Sub(r.Started)
		}
		ev := event(journal.StepDone, s.image, nil)
		ev.Step, ev.Worker = r.Digest, s.worker
		if step != nil {
			ev.Step, data.Kind, data.Shared = step.Digest, step.Kind, !step.BaseBound
		}
		ev.Data = encode(data)
		if s.e.Run != nil {
			s.e.Run.Append(ev)
		}
	}
}
