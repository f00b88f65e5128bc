// Package sched decides what starts where and when, and what is given back: the
// shared steps of a run, the images that need a solve, and the releases between
// them, on any number of workers, each inside a disk budget of its own.
//
// A [Scheduler] is a fold over the journal: [Scheduler.Step] takes an event and
// answers with what is to be done now. It has no clock and does nothing itself,
// so that a journal replays through it with the same answers, and a simulation
// drives the same code as a run. What it promises:
//
//   - nothing starts whose promised disk does not fit the worker's ledger, be it
//     an image, a shared step or a layer set;
//   - no image starts before the shared steps that it needs, and none runs
//     twice at a time;
//   - a shared step starts once in the fleet, and again only when it failed in
//     passing or its worker was lost before it was ready;
//   - nothing starts between a Paused and its Unpaused; what runs goes on, and
//     what is dead is given back;
//   - it ends: every image is published, failed or rejected as long as every
//     action is answered by its event, readings of the disks go on, nothing
//     fails in passing for ever, and no pause lasts for ever.
package sched

import (
	"slices"
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
	// answered like what it stops, by UnitRetried or SharedFailed, unless that
	// has ended before. It may come again for the same work.
	Cancel Verb = "cancel"
	// Release: give the dead records of Worker back; Released.
	Release Verb = "release"
	// Reject: no schedule within the budget can make Unit; UnitFailed. Bytes is
	// the smallest budget that would do, as far as is known. Instead of a Unit it
	// may be a layer set, by its Step; nothing answers that.
	Reject Verb = "reject"
	// Wait: others fill the disk of Worker, and Bytes would have to go before
	// Unit, or the shared Step, can start. Nothing answers it.
	Wait Verb = "wait"
	// Stop: the run will not end within its time limit. It comes once, nothing
	// answers it, and until the run is stopped the schedule goes on.
	Stop Verb = "stop"
)

// Action is one thing to do.
type Action struct {
	Do     Verb
	Unit   string
	Step   graph.Digest
	Worker string
	// Bytes is what Start or Share was promised, what Reject would need, or what
	// Wait waits for.
	Bytes int64
	// Why says for people what led to Cancel, Reject, Wait and Stop.
	Why string
}

// phase is how far a unit or a shared step is.
type phase int

const (
	waiting phase = iota
	running
	done
)

// unit is an image.
type unit struct {
	name   string
	base   *layer
	needs  []graph.Digest
	expect journal.QueuedData // Bytes and Took
	order  int                // its place among all, relatives beside each other
	part   int                // the stretch of that order that it stands in
	phase  phase
	lacks  int     // shared steps that are not ready
	worker *worker // that it runs on
	since  time.Duration

	sampled   bool
	cancelled bool
	stops     int   // times that it was stopped as the disk was full
	overflows int   // how often that was so with a worker to itself
	would     int64 // what its worker would have held with it, when it had it to itself
	proven    int64 // the most of that with which it found the disk full
	refused   []*worker
	needed    int64 // the smallest budget that one of those would need
	rejected  bool
}

// refusedBy tells whether a worker will never have the room for a unit.
func (u *unit) refusedBy(w *worker) bool {
	for _, r := range u.refused {
		if r == w {
			return true
		}
	}
	return false
}

// share is a shared step, or a layer set, which nobody in the schedule needs.
type share struct {
	step      graph.Digest
	early     bool  // a layer set
	bytes     int64 // that earlier runs lead to expect; 0 when there were none
	phase     phase
	ready     bool
	worker    *worker
	cancelled bool
	rested    bool  // it started with the worker at rest
	stops     int   // times that it was stopped as the disk was full
	overflows int   // how often that was so with a worker to itself, at rest
	proven    int64 // the most that the worker held then
	users     []*unit
}

// id is that of its promise in a ledger.
func (sh *share) id() string { return "share " + string(sh.step) }

// Scheduler is the state of one schedule. Use [New]. It is not for concurrent use.
type Scheduler struct {
	limits    journal.SchedulingData
	units     map[string]*unit
	bases     forest
	shares    []*share // those of which nothing is known last, as they divide what is left
	byStep    map[graph.Digest]*share
	workers   []*worker
	open      bool
	held      bool // people let nothing start
	judged    bool // what is hopeless was rejected
	weighted  bool // every unit has an expected time
	queued    int
	left      int // units that are not done
	rejecting int // units that were rejected and have not failed yet
	sample    []*unit
	spare     []*unit         // in nobody's queue yet, in order
	rest      []estimate.Part // of what is left
	model     estimate.Model
	work      estimate.Work
	now       time.Duration
	looked    int // images that were done when the time limit was looked at
	stopped   bool
}

// New is a scheduler that has seen no event.
func New() *Scheduler {
	return &Scheduler{units: map[string]*unit{}, byStep: map[graph.Digest]*share{}, bases: forest{find: map[place]*layer{}}}
}

// Idle tells whether nothing is left to do: every image and layer set is done,
// and so is every release.
func (s *Scheduler) Idle() bool {
	if !s.open || s.left > 0 {
		return false
	}
	for _, sh := range s.shares {
		if sh.early && sh.phase != done {
			return false
		}
	}
	for _, w := range s.workers {
		if w.ready && w.ledger != nil && (w.releasing || w.ended.images > 0 && w.failures == 0) {
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

// Step takes one event and returns what is to be done now, in order. Events of
// kinds that do not matter to it change nothing. A Scheduling event begins a
// schedule: what was before it is forgotten.
func (s *Scheduler) Step(e journal.Event) []Action { return s.step(e, dataOf(&e)) }

// step is Step with the event's data decoded, by value.
func (s *Scheduler) step(e journal.Event, data any) []Action {
	if e.Kind == journal.Scheduling {
		*s = *New()
		s.limits, _ = data.(journal.SchedulingData)
	}
	s.now = max(s.now, e.Mono)
	if !s.apply(e, data) {
		return nil
	}
	return s.decide()
}

// apply changes the state; false when the event cannot change a decision.
func (s *Scheduler) apply(e journal.Event, data any) bool {
	switch d := data.(type) {
	case journal.QueuedData:
		s.queue(e.Unit, d)
	case journal.SharedData:
		s.queueShare(e.Step, d)
	case journal.WorkerData:
		s.workerReady(e.Worker, d)
	case journal.DiskData:
		return s.read(e.Worker, d)
	case journal.ReleaseData:
		s.released(e.Worker, d)
	case journal.FailData:
		s.troubled(e, d)
	default:
		return s.plain(e)
	}
	return true
}

// plain applies the kinds whose data does not matter.
func (s *Scheduler) plain(e journal.Event) bool {
	switch e.Kind {
	case journal.Queued:
		if !s.open {
			s.open = true
			s.arrange()
		}
	case journal.Paused:
		s.held = true
	case journal.Unpaused:
		s.unpause()
	case journal.SharedReady:
		s.endShare(e.Step, true)
	case journal.UnitPublished:
		s.ended(e.Unit, true)
	case journal.UnitSkipped:
		s.ended(e.Unit, false)
	default:
		return false
	}
	return true
}

// unpause lets things start again. Others who filled a disk meanwhile are waited
// for anew, as nobody asked them for room.
func (s *Scheduler) unpause() {
	s.held = false
	for _, w := range s.workers {
		w.starves = false
	}
}

// troubled applies what has a cause and perhaps the reason of a retry.
func (s *Scheduler) troubled(e journal.Event, d journal.FailData) {
	switch e.Kind {
	case journal.WorkerLost:
		s.workerLost(e.Worker)
	case journal.UnitFailed:
		s.ended(e.Unit, false)
	case journal.UnitRetried:
		s.retried(e.Unit, d.Reason)
	case journal.SharedFailed:
		s.shareFailed(e.Step, d.Reason)
	}
}

// dataOf decodes the data of those events that matter.
func dataOf(e *journal.Event) any {
	switch e.Kind {
	case journal.Scheduling:
		return decode[journal.SchedulingData](e)
	case journal.UnitQueued:
		return decode[journal.QueuedData](e)
	case journal.SharedQueued:
		return decode[journal.SharedData](e)
	case journal.WorkerReady:
		return decode[journal.WorkerData](e)
	case journal.Disk:
		return decode[journal.DiskData](e)
	case journal.Released:
		return decode[journal.ReleaseData](e)
	case journal.WorkerLost, journal.UnitFailed, journal.UnitRetried, journal.SharedFailed:
		return decode[journal.FailData](e)
	}
	return nil
}

func decode[T any](e *journal.Event) (d T) {
	if len(e.Data) > 0 {
		// An event that does not decode says what its kind says.
		_ = e.Decode(&d)
	}
	return d
}

// queue takes a unit in; a second one of the same name is the first.
func (s *Scheduler) queue(name string, d journal.QueuedData) {
	if s.units[name] != nil {
		return
	}
	u := &unit{name: name, needs: d.Needs, expect: journal.QueuedData{Bytes: d.Bytes, Took: d.Took}}
	u.base = s.bases.add(u, d.Layers)
	s.units[name] = u
	s.queued++
	s.left++
	if s.open {
		u.order, u.part = s.queued-1, max(len(s.rest)-1, 0)
		s.enter(u)
		s.count(u, 1)
	}
}

// queueShare takes a shared step in; a second one of the same digest is the first.
func (s *Scheduler) queueShare(step graph.Digest, d journal.SharedData) {
	if s.byStep[step] != nil {
		return
	}
	sh := &share{step: step, early: d.Early, bytes: d.Bytes}
	s.byStep[step] = sh
	at := len(s.shares)
	for sh.bytes > 0 && at > 0 && s.shares[at-1].bytes == 0 {
		at--
	}
	s.shares = slices.Insert(s.shares, at, sh)
}

// retried puts a unit back that was stopped.
func (s *Scheduler) retried(name, reason string) {
	u := s.units[name]
	if u == nil || u.phase != running || u.worker == nil {
		return
	}
	w := u.worker
	if full(reason) {
		s.overflowed(w, u)
	}
	s.take(u, false)
	u.phase = waiting
	w.push(u)
	w.slower(reason)
}

// overflowed notes that a unit did not find the room that it was promised. What
// had a worker to itself twice has shown that it needs more.
func (s *Scheduler) overflowed(w *worker, u *unit) {
	u.stops++
	if w.ledger == nil || w.alone != u || u.would == 0 {
		return
	}
	u.overflows++
	if holds := w.ledger.Holds(); u.would < holds {
		u.would = holds + holds/4 // more than was thought, and nobody knows how much
	}
	u.proven = max(u.proven, u.would)
	s.model.Trust()
}

// full tells whether a retry is for want of disk.
func full(reason string) bool {
	return reason == journal.RetryDisk || reason == journal.RetryBudget
}

// ended takes a unit out of the schedule, wherever it is.
func (s *Scheduler) ended(name string, published bool) {
	u := s.units[name]
	if u == nil || u.phase == done {
		return
	}
	w := u.worker
	if w != nil {
		s.take(u, published)
	}
	if u.rejected {
		s.rejecting--
	}
	u.phase = done
	s.left--
	if s.open {
		s.count(u, -1)
	}
	for l := u.base; l != nil; l = l.below {
		if l.users--; l.users == 0 {
			s.dies(l)
		}
	}
	if w != nil && published {
		w.faster(s)
	}
}

// dies notes that no unit to come has a layer.
func (s *Scheduler) dies(l *layer) {
	for _, w := range s.workers {
		if _, ok := w.layers[l]; ok {
			delete(w.layers, l)
			w.ended.dead += l.bytes
			w.stir()
		}
	}
}

// take takes a unit off the worker that it runs on.
func (s *Scheduler) take(u *unit, made bool) {
	s.work.End(u.name, s.now, made)
	u.worker.drop(u, made)
	u.worker = nil
}

// endShare ends a shared step, for ever.
func (s *Scheduler) endShare(step graph.Digest, ready bool) {
	sh := s.byStep[step]
	if sh == nil || sh.phase == done {
		return
	}
	sh.leave(done)
	if sh.ready = ready; !ready {
		return // what needs it fails one by one
	}
	var free []*unit
	for _, u := range sh.users {
		if u.lacks--; u.lacks == 0 && u.phase == waiting {
			free = append(free, u)
		}
	}
	s.join(free)
}

func (s *Scheduler) shareFailed(step graph.Digest, reason string) {
	sh := s.byStep[step]
	switch {
	case sh == nil:
	case reason == "":
		s.endShare(step, false) // also one that waits: no worker is left
	case sh.phase == running:
		w := sh.worker
		if full(reason) {
			sh.stops++
		}
		if full(reason) && sh.rested && len(w.shares) == 1 && len(w.running) == 0 && w.ledger != nil {
			sh.overflows++
			sh.proven = max(sh.proven, w.ledger.Holds())
		}
		sh.leave(waiting)
		w.slower(reason)
	}
}

// leave takes a shared step off its worker.
func (sh *share) leave(p phase) {
	if w := sh.worker; w != nil {
		w.shares = remove(w.shares, sh)
		w.settle(sh.id())
		w.stir()
	}
	sh.phase, sh.worker, sh.cancelled = p, nil, false
}
