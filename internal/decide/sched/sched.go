// Package sched decides what starts where and when, and what is given back: the
// shared steps of a run, the images that need a solve, and the releases between
// them, on any number of workers, each inside a disk budget of its own.
//
// A [Scheduler] is a fold over the journal: [Scheduler.Step] takes an event and
// answers with what is to be done now. It has no clock and does nothing itself,
// so that a journal replays through it with the same answers, and a simulation
// drives the same code as a run. What it promises:
//
//   - nothing starts whose promised disk does not fit the worker's ledger;
//   - no image starts before the shared steps that it needs, and none runs
//     twice at a time;
//   - a shared step starts once in the fleet, and again only when it failed in
//     passing or its worker was lost before it was ready;
//   - it ends: every image is published, failed or rejected as long as every
//     action is answered by its event.
package sched

import (
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Verb is what is to be done.
type Verb string

// The verbs, with the events that answer them.
const (
	// Share: solve the shared Step on Worker; SharedReady or SharedFailed.
	Share Verb = "share"
	// Start: solve the image Unit on Worker; UnitPublished, UnitFailed or UnitRetried.
	Start Verb = "start"
	// Cancel: stop Unit, or the shared Step, as the disk is running full;
	// answered like what it stops, by UnitRetried or SharedFailed.
	Cancel Verb = "cancel"
	// Release: give the dead records of Worker back; Released.
	Release Verb = "release"
	// Reject: no schedule within the budget can make Unit; UnitFailed. Bytes is
	// the smallest budget that would do, as far as is known.
	Reject Verb = "reject"
	// Wait: others fill the disk of Worker, and Bytes would have to go before
	// Unit can start. Nothing answers it.
	Wait Verb = "wait"
)

// Action is one thing to do.
type Action struct {
	Do     Verb
	Unit   string
	Step   graph.Digest
	Worker string
	// Bytes is what Start was promised, or what Reject would need.
	Bytes int64
	// Why says for people what led to Cancel and Reject.
	Why string
}

// phase is how far a unit or a shared step is.
type phase int

const (
	waiting phase = iota
	running
	done
)

type unit struct {
	name   string
	layers []journal.LayerData
	needs  []graph.Digest
	expect int64
	chain  string // the base's layers, as a key that sorts relatives together
	phase  phase
	worker *worker
	since  time.Duration
}

type share struct {
	step   graph.Digest
	phase  phase
	failed bool
	worker *worker
}

// Scheduler is the state of one schedule. Use [New]. It is not for concurrent use.
type Scheduler struct {
	limits  journal.SchedulingData
	units   map[string]*unit
	shares  []*share
	byStep  map[graph.Digest]*share
	open    bool
	left    int // units that are not done
	sample  []*unit
	spare   []*unit // in nobody's queue yet, relatives beside each other
	workers []*worker
	model   estimate.Model
	now     time.Duration
}

// New is a scheduler that has seen no event.
func New() *Scheduler {
	return &Scheduler{units: map[string]*unit{}, byStep: map[graph.Digest]*share{}}
}

// Idle tells whether nothing is left to do: every image is done, and so is
// every release.
func (s *Scheduler) Idle() bool {
	if !s.open || s.left > 0 {
		return false
	}
	for _, w := range s.workers {
		if w.ready && (w.releasing || w.held > 0 && w.manages) {
			return false
		}
	}
	return true
}

// Left is the number of images that are not done, and how many of them run.
func (s *Scheduler) Left() (images, now int) {
	for _, w := range s.workers {
		now += len(w.running)
	}
	return s.left, now
}

// Wall forecasts the wall time of the run; see [estimate.Model.Wall].
func (s *Scheduler) Wall() (journal.Interval[int64], bool) {
	return s.model.Wall(estimate.Left{Elapsed: s.now, Images: s.left})
}

// Step takes one event and returns what is to be done now, in order. Events of
// kinds that do not matter to it change nothing.
func (s *Scheduler) Step(e journal.Event) []Action {
	if e.Kind == journal.Scheduling {
		*s = Scheduler{units: map[string]*unit{}, byStep: map[graph.Digest]*share{}, workers: s.workers, model: s.model, now: e.Mono}
		decode(e, &s.limits)
		for _, w := range s.workers {
			w.queue = nil
		}
		return nil
	}
	s.now = max(s.now, e.Mono)
	s.model.Fold(e)
	if !s.apply(e) || !s.open {
		return nil
	}
	return s.decide()
}

// apply changes the state; false when the event cannot change a decision.
func (s *Scheduler) apply(e journal.Event) bool {
	switch e.Kind {
	case journal.SharedQueued:
		sh := &share{step: e.Step}
		s.shares = append(s.shares, sh)
		s.byStep[e.Step] = sh
	case journal.UnitQueued:
		s.queue(e)
	case journal.Queued:
		s.open = true
		s.arrange()
	case journal.WorkerReady:
		s.workerReady(e)
	case journal.WorkerLost:
		s.workerLost(e)
	case journal.Disk:
		return s.read(e)
	case journal.SharedReady:
		s.endShare(e.Step, done, false)
	case journal.SharedFailed:
		var d journal.FailData
		decode(e, &d)
		if d.Reason == "" {
			s.endShare(e.Step, done, true)
		} else {
			s.endShare(e.Step, waiting, false)
			s.slower(e.Worker, d.Reason)
		}
	case journal.UnitPublished, journal.UnitFailed, journal.UnitSkipped:
		s.ended(e, e.Kind == journal.UnitPublished)
	case journal.UnitRetried:
		s.retried(e)
	case journal.Released:
		s.released(e)
	default:
		return false
	}
	return true
}

func (s *Scheduler) queue(e journal.Event) {
	var d journal.QueuedData
	decode(e, &d)
	u := &unit{name: e.Unit, layers: d.Layers, needs: d.Needs, expect: d.Bytes, chain: chainOf(d.Layers)}
	if s.units[e.Unit] == nil {
		s.left++
	}
	s.units[e.Unit] = u
	s.spare = append(s.spare, u)
}

func (s *Scheduler) endShare(step graph.Digest, p phase, failed bool) {
	sh := s.byStep[step]
	if sh == nil || sh.phase != running {
		return
	}
	delete(sh.worker.shares, sh)
	sh.phase, sh.failed, sh.worker = p, failed, nil
}

// ended takes a unit out of the schedule. One that is failed before it was
// started, because a shared step failed, was in a queue.
func (s *Scheduler) ended(e journal.Event, published bool) {
	u := s.units[e.Unit]
	if u == nil || u.phase == done {
		return
	}
	if w := u.worker; w != nil {
		w.stopped(s, u)
		if published {
			w.faster(s)
		}
	}
	u.phase, u.worker = done, nil
	s.left--
}

func (s *Scheduler) retried(e journal.Event) {
	var d journal.FailData
	decode(e, &d)
	u := s.units[e.Unit]
	if u == nil || u.phase != running {
		return
	}
	w := u.worker
	w.stopped(s, u)
	u.phase, u.worker = waiting, nil
	w.queue = append([]*unit{u}, w.queue...)
	s.slower(w.name, d.Reason)
}

// slower halves a worker's concurrency when its disk was the reason, and lets
// it start nothing more until a release has ended or nothing runs.
func (s *Scheduler) slower(name, reason string) {
	w := s.worker(name)
	if w == nil || reason != journal.RetryDisk && reason != journal.RetryBudget {
		return
	}
	w.target = max(1, len(w.running)/2)
	w.paused = true
}

// ready tells whether a unit's shared steps are there; failed, that one of them
// never will be.
func (s *Scheduler) ready(u *unit) bool {
	for _, d := range u.needs {
		if sh := s.byStep[d]; sh != nil && (sh.phase != done || sh.failed) {
			return false
		}
	}
	return true
}

func decode(e journal.Event, v any) {
	if len(e.Data) > 0 {
		// An event that does not decode says what its kind says.
		_ = e.Decode(v)
	}
}
