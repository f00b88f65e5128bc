package sched

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

const (
	// sampleShare and sampleMost say how many images are run first, spread over
	// the fleet, so that what is learned from them holds for the others.
	sampleShare = 10 // one in ten
	sampleMost  = 24
	// lazy is the part of the allowance that dead records may fill before they
	// are released while nobody waits for the room.
	lazy = 0.25
	// cancelPause is the time that a cancelled image has to free its disk before
	// the next one is cancelled.
	cancelPause = 2 * time.Second
	// patience is how long others may fill the disk before images are given up.
	patience = 10 * time.Minute
)

// arrange puts relatives beside each other, so that a base layer is unpacked
// once and goes when its last user is done, and picks the sample.
func (s *Scheduler) arrange() {
	slices.SortStableFunc(s.spare, func(a, b *unit) int { return strings.Compare(a.chain, b.chain) })
	if s.model.Known() {
		return
	}
	for _, u := range s.spare {
		if u.expect > 0 {
			return
		}
	}
	n := min((len(s.spare)+sampleShare-1)/sampleShare, sampleMost)
	for ; n > 1; n /= 2 {
		if s.samples(n) {
			return
		}
	}
}

// samples picks n images in even distances, unless their bases would take more
// than a quarter of the budget as long as they wait for their relatives.
func (s *Scheduler) samples(n int) bool {
	var picked, rest []*unit
	var bases int64
	probe := &worker{layers: map[string]bool{}}
	for i, u := range s.spare {
		if k := len(picked); k < n && i == (2*k+1)*len(s.spare)/(2*n) {
			picked = append(picked, u)
			bases += probe.missing(u)
			probe.has(u)
		} else {
			rest = append(rest, u)
		}
	}
	if limit := s.limits.Budget; limit > 0 && s.model.Base(bases) > limit/4 {
		return false
	}
	s.sample, s.spare = picked, rest
	return true
}

// decide is everything that is to be done in the present state.
func (s *Scheduler) decide() []Action {
	var out []Action
	for _, w := range s.workers {
		if !w.ready {
			continue
		}
		out = append(out, s.protect(w)...)
		out = append(out, s.startShares(w)...)
		blocked, acts := s.admit(w)
		out = append(out, acts...)
		out = append(out, s.release(w, blocked)...)
	}
	return out
}

// protect cancels the youngest image of a worker whose disk is above its
// ceiling; a shared step only when nothing else runs.
func (s *Scheduler) protect(w *worker) []Action {
	if w.ledger == nil || !w.ledger.Over() || w.cancels && s.now-w.canceled < cancelPause {
		return nil
	}
	why := fmt.Sprintf("%d bytes are used, %d may be", w.ledger.Used(), w.ledger.Ceiling())
	var a Action
	if all := sorted(w.running); len(all) > 0 {
		a = Action{Do: Cancel, Unit: all[len(all)-1].name, Worker: w.name, Why: why}
	} else if len(w.shares) > 0 {
		for _, sh := range s.shares {
			if w.shares[sh] {
				a = Action{Do: Cancel, Step: sh.step, Worker: w.name, Why: why}
			}
		}
	} else {
		return nil
	}
	w.cancels, w.canceled = true, s.now
	return []Action{a}
}

// startShares starts every shared step that waits; the solver itself runs what
// they have in common once.
func (s *Scheduler) startShares(w *worker) []Action {
	var out []Action
	for _, sh := range s.shares {
		if sh.phase != waiting || w.paused && len(w.shares)+len(w.running) > 0 {
			continue
		}
		if w.ledger != nil && w.ledger.Room() <= 0 {
			return append(out, s.rejectAll(w, sh)...)
		}
		sh.phase, sh.worker = running, w
		w.shares[sh] = true
		w.paused = false
		w.fresh = false
		out = append(out, Action{Do: Share, Step: sh.step, Worker: w.name})
	}
	return out
}

// rejectAll gives up what needs a shared step for which there is no room, when
// nothing can be given back and no other worker could take it.
func (s *Scheduler) rejectAll(w *worker, sh *share) []Action {
	if !s.hopeless(w) {
		return nil
	}
	var out []Action
	for _, u := range s.waitingUnits() {
		if slices.Contains(u.needs, sh.step) {
			out = append(out, s.reject(w, u, w.ledger.Used()-w.ledger.Others()+1, "the shared steps alone need more"))
		}
	}
	return out
}

// admit starts images while there are slots and room. blocked tells that one
// waits for room.
func (s *Scheduler) admit(w *worker) (blocked bool, out []Action) {
	if w.paused && (len(w.running) > 0 || w.releasing) {
		return true, nil
	}
	w.paused = false
	for len(w.running) < min(max(w.target, 1), max(s.limits.Jobs, 1)) {
		u := s.next(w)
		if u == nil {
			break
		}
		bytes, known := s.promise(w, u)
		if w.ledger != nil {
			if !known && s.bounded() && (len(w.running) > 0 || w.releasing || w.held > 0) {
				w.queue = append([]*unit{u}, w.queue...)
				return true, out // one alone first, and what it left seen
			}
			if !w.ledger.Fits(bytes) {
				if !s.hopeless(w) {
					w.queue = append([]*unit{u}, w.queue...)
					return true, out
				}
				if v := s.fitting(w); v != nil {
					w.queue = append([]*unit{u}, w.queue...)
					w.queue = slices.DeleteFunc(w.queue, func(x *unit) bool { return x == v })
					u = v
					bytes, _ = s.promise(w, u)
				} else if s.starved(w, bytes) {
					w.queue = append([]*unit{u}, w.queue...)
					if w.starving == 0 {
						w.starving = max(s.now, 1)
						out = append(out, Action{Do: Wait, Unit: u.name, Worker: w.name, Bytes: bytes - w.ledger.Room(), Why: "something else fills the disk"})
					}
					return true, out
				} else {
					out = append(out, s.reject(w, u, s.needs(w, bytes), "its base and its steps need more"))
					continue
				}
			}
			if !known {
				// Alone it may take everything; without a budget its part.
				part := int64(1)
				if !s.bounded() {
					part = int64(2 * max(s.limits.Jobs, 1))
				}
				bytes = max(bytes, w.ledger.Room()/part)
			}
		}
		out = append(out, s.start(w, u, bytes))
	}
	return false, out
}

func (s *Scheduler) start(w *worker, u *unit, bytes int64) Action {
	u.phase, u.worker, u.since = running, w, s.now
	if w.alone = nil; len(w.running) == 0 && len(w.shares) == 0 && w.ledger != nil {
		w.alone, w.floor = u, w.ledger.Used()
	}
	w.running[u] = true
	w.fresh, w.starving = false, 0
	w.has(u)
	if w.ledger != nil {
		w.ledger.Promise(u.name, bytes)
	}
	return Action{Do: Start, Unit: u.name, Worker: w.name, Bytes: bytes}
}

// promise is the disk that a unit will take at most on a worker; known is false
// when nothing tells what its steps take.
func (s *Scheduler) promise(w *worker, u *unit) (bytes int64, known bool) {
	own := s.model.Own(u.expect)
	return own + s.model.Base(w.missing(u)), own > 0
}

// bounded tells whether the user set a budget.
func (s *Scheduler) bounded() bool { return s.limits.Budget > 0 || s.limits.Share > 0 }

// hopeless tells whether a worker has all the room that it will ever have:
// nothing runs, nothing can be released, and no other worker is at work.
func (s *Scheduler) hopeless(w *worker) bool {
	return len(w.running) == 0 && len(w.shares) == 0 && !w.releasing && w.fresh
}

// starved tells whether a unit would fit if the bytes were gone that the daemon
// does not account for: others filled the disk, and may free it again.
func (s *Scheduler) starved(w *worker, bytes int64) bool {
	if w.holds < 0 || w.starving > 0 && s.now-w.starving > patience {
		return false
	}
	own := w.ledger.Used() - w.ledger.Others()
	foreign := own - w.holds - max(own/20, 64<<20) // the daemon's own tables are no records
	return foreign > 0 && bytes <= w.ledger.Room()+foreign
}

// needs is the smallest budget in which a unit fits.
func (s *Scheduler) needs(w *worker, bytes int64) int64 {
	holds := w.holds
	if holds < 0 {
		holds = w.ledger.Used() - w.ledger.Others()
	}
	return (holds + bytes) * 104 / 100 // with what the ledger keeps back
}

func (s *Scheduler) reject(w *worker, u *unit, bytes int64, why string) Action {
	// Answered by UnitFailed; until then it is nobody's.
	u.phase = running
	for _, q := range []*[]*unit{&s.sample, &s.spare} {
		*q = slices.DeleteFunc(*q, func(x *unit) bool { return x == u })
	}
	for _, o := range s.workers {
		o.queue = slices.DeleteFunc(o.queue, func(x *unit) bool { return x == u })
	}
	return Action{Do: Reject, Unit: u.name, Worker: w.name, Bytes: bytes, Why: why}
}

// release asks for a release when dead records are worth it: somebody waits for
// room, much has gathered, or everything is done.
func (s *Scheduler) release(w *worker, blocked bool) []Action {
	if !w.manages || w.releasing || w.ledger == nil {
		return nil
	}
	idle := len(w.running) == 0 && len(w.shares) == 0
	switch {
	case blocked && idle && !w.fresh:
	case w.held == 0:
		return nil
	case blocked, s.left == 0, !s.model.Known():
	case w.gathered(s) > w.threshold():
	default:
		return nil
	}
	w.releasing = true
	w.releasingFor, w.held = w.held, 0
	return []Action{{Do: Release, Worker: w.name}}
}

// gathered estimates the bytes of dead records.
func (w *worker) gathered(s *Scheduler) int64 { return int64(w.held) * s.model.Own(0) }

// threshold is how much dead records may take before they are released although
// nobody waits.
func (w *worker) threshold() int64 {
	return int64(lazy * float64(w.ledger.Ceiling()-w.ledger.Others()))
}

// next takes the unit that a worker should run: from the sample, its own queue,
// the rest, or half of another's queue. Nil when none is ready.
func (s *Scheduler) next(w *worker) *unit {
	if u := take(&s.sample, s.ready); u != nil {
		return u
	}
	if u := take(&w.queue, s.ready); u != nil {
		return u
	}
	s.refill(w)
	return take(&w.queue, s.ready)
}

// refill gives a worker its part of what nobody has, relatives together, or
// half of the longest queue. It leaves queues alone that hold something.
func (s *Scheduler) refill(w *worker) {
	if len(w.queue) > 0 {
		return
	}
	if len(s.spare) > 0 {
		n := (len(s.units) + max(s.limits.Workers, 1) - 1) / max(s.limits.Workers, 1)
		n = min(n, len(s.spare))
		w.queue = append(w.queue, s.spare[:n]...)
		s.spare = s.spare[n:]
		return
	}
	var from *worker
	for _, o := range s.workers {
		if o != w && len(o.queue) > 0 && (from == nil || len(o.queue) > len(from.queue)) {
			from = o
		}
	}
	if from != nil {
		n := len(from.queue) / 2
		w.queue = append(w.queue, from.queue[n:]...)
		from.queue = from.queue[:n:n]
	}
}

// fitting finds a waiting unit that fits although the next one does not: one
// whose base is there already.
func (s *Scheduler) fitting(w *worker) *unit {
	for _, u := range w.queue {
		if bytes, known := s.promise(w, u); known && s.ready(u) && w.ledger.Fits(bytes) {
			return u
		}
	}
	return nil
}

func (s *Scheduler) waitingUnits() []*unit {
	out := append([]*unit{}, s.sample...)
	out = append(out, s.spare...)
	for _, w := range s.workers {
		out = append(out, w.queue...)
	}
	return out
}

// take removes the first unit that is ready; those that are done are dropped.
func take(q *[]*unit, ready func(*unit) bool) *unit {
	for i, u := range *q {
		if u.phase == waiting && ready(u) {
			*q = append((*q)[:i:i], (*q)[i+1:]...)
			return u
		}
	}
	return nil
}

// sorted lists running units, the one that runs longest first.
func sorted(set map[*unit]bool) []*unit {
	out := make([]*unit, 0, len(set))
	for u := range set {
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b *unit) int {
		if c := a.since - b.since; c != 0 {
			return int(min(max(c, -1), 1))
		}
		return strings.Compare(a.name, b.name)
	})
	return out
}

func chainOf(layers []journal.LayerData) string {
	var b strings.Builder
	for _, l := range layers {
		b.WriteString(string(l.Digest))
		b.WriteByte(' ')
	}
	return b.String()
}
