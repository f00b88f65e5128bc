package sched

import (
	"fmt"
	"time"
)

const (
	// lazy is the part of the allowance that dead records may fill before they
	// are released while nobody waits for the room.
	lazy = 0.25
	// pile is the most that they may fill then, so that little is left to release
	// when the last image is done and somebody waits for the end.
	pile = 1 << 30
	// cancelPause is the time that a cancelled image has to free its disk before
	// the next one is cancelled.
	cancelPause = 2 * time.Second
	// patience is how long others may fill the disk before images are given up.
	patience = 10 * time.Minute
	// slack is what a daemon's own tables may take at least, which are no records.
	slack = 64 << 20
	// releasePause is the time before a release that failed is tried again,
	// doubled each time up to releasePauses times. After releaseTries failures it
	// is thought that nothing can be given back.
	releasePause  = time.Second
	releasePauses = 6
	releaseTries  = 3
	// stopsMost and overflowsMost are how often a unit may find the disk full
	// before it gets a worker to itself, and how often with one.
	stopsMost     = 2
	overflowsMost = 2
)

// decide is everything that is to be done in the present state.
func (s *Scheduler) decide() []Action {
	out := append(s.limit(), s.rejectHopeless()...)
	for _, w := range s.workers {
		if !w.ready {
			continue
		}
		out = append(out, s.protect(w)...)
		waits := true // in a pause there is time to give room back
		if !s.held {
			var acts []Action
			waits, acts = s.begin(w)
			out = append(out, acts...)
		}
		out = append(out, s.release(w, waits)...)
	}
	return out
}

// begin starts what may start on a worker. waits tells that something waits for
// room there.
func (s *Scheduler) begin(w *worker) (waits bool, out []Action) {
	blocked, out := s.startShares(w)
	waits = blocked && !w.stale()
	if s.open && (s.atRest(w) || !blocked && !(w.bounded() && len(w.shares) > 0)) {
		images, acts := s.admit(w)
		out = append(out, acts...)
		waits = waits || images
	}
	return waits, out
}

// protect cancels the youngest image of a worker whose disk is above its
// ceiling, a shared step only when nothing else runs, unless what is dead there
// makes up for it and for all that may still come.
func (s *Scheduler) protect(w *worker) []Action {
	if w.ledger == nil || !w.ledger.Over() || s.now < w.calm || w.idle() {
		return nil
	}
	if w.ledger.Used()+w.ledger.Promised()-s.gathered(w.ended)-s.gathered(w.going) <= w.ledger.Ceiling() {
		return nil
	}
	w.calm = s.now + cancelPause
	a := Action{Do: Cancel, Worker: w.name, Why: fmt.Sprintf("%d bytes are used, %d may be", w.ledger.Used(), w.ledger.Ceiling())}
	if u := youngest(w.running, func(u *unit) *bool { return &u.cancelled }); u != nil {
		a.Unit = u.name
	} else {
		a.Step = youngest(w.shares, func(sh *share) *bool { return &sh.cancelled }).step
	}
	return []Action{a}
}

// youngest is the last of a list that is not marked yet, and marks it; the last
// of all when every one is.
func youngest[T any](list []*T, mark func(*T) *bool) *T {
	if len(list) == 0 {
		return nil
	}
	pick := list[len(list)-1]
	for i := len(list) - 1; i >= 0; i-- {
		if !*mark(list[i]) {
			pick = list[i]
			break
		}
	}
	*mark(pick) = true
	return pick
}

// admit starts images while there are slots and room. blocked tells that one
// waits for room.
func (s *Scheduler) admit(w *worker) (blocked bool, out []Action) {
	if w.paused && (!w.idle() || w.releasing) || w.occupied() {
		return true, nil
	}
	w.paused = false
	for len(w.running) < min(w.target, max(s.limits.Jobs, 1)) && !w.occupied() {
		u := s.next(w)
		if u == nil {
			break
		}
		bytes, ok := s.fits(w, u)
		if !ok && s.atRest(w) && !w.holdsOnly(u) {
			s.gather(w)
			if v := s.fitting(w); v != nil {
				w.queue = remove(w.queue, v)
				w.push(u)
				u = v
				bytes, ok = s.fits(w, u)
			}
		}
		if ok {
			out = append(out, s.start(w, u, bytes))
			continue
		}
		if s.atRest(w) && !w.holdsOnly(u) {
			u = w.holder(u)
		}
		verdict, acts := s.turnDown(w, u)
		out = append(out, acts...)
		if verdict == waits {
			w.push(u)
			return !w.stale(), out
		}
	}
	return w.ledger != nil && w.ledger.Over(), out
}

// stale tells whether the next reading may tell of more room.
func (w *worker) stale() bool { return w.ledger != nil && w.ledger.Stale() }

// atRest tells whether a worker has all the room that it will have by its own
// doing: nothing runs, and nothing can be given back.
func (s *Scheduler) atRest(w *worker) bool {
	return w.rested && w.idle() && !w.releasing && s.rejecting == 0
}

// fits tells whether a unit can start on a worker now, and with how many bytes.
// One of which nothing is known runs alone first when there is a budget, and what
// it left is seen; so does one that found the disk full before. With a worker at
// rest that holds nothing for others, what is only assumed is no reason not to
// try.
func (s *Scheduler) fits(w *worker, u *unit) (bytes int64, ok bool) {
	if w.ledger == nil {
		return 0, true
	}
	sure, doubt := w.missing(u)
	own := s.model.Own(u.expect.Bytes)
	bytes = own + s.model.Base(sure+doubt)
	room, known := w.ledger.Room(), u.expect.Bytes > 0 || s.model.Known()
	if !s.atRest(w) {
		if bytes > room || u.stops >= stopsMost {
			return 0, false
		}
		if !known && w.bounded() {
			return room, w.idle() && !w.releasing && w.ended.images == 0
		}
		if !known {
			bytes = max(bytes, room/s.parts(w))
		}
		return bytes, true
	}
	may := s.model.Total(u.expect.Bytes, sure) <= room || w.holdsOnly(u) && s.model.Least(u.expect.Bytes, sure) <= room
	if u.overflows >= overflowsMost || room <= 0 || !may {
		return 0, false
	}
	if !known {
		return max(min(bytes, room), room/s.parts(w)), true
	}
	return min(bytes, room), true
}

// parts is into how many parts the room is divided for images of which nothing
// is known: with a budget the first one gets all of it, otherwise each no more
// than half of its slot's.
func (s *Scheduler) parts(w *worker) int64 {
	if w.bounded() {
		return 1
	}
	return int64(2 * max(s.limits.Jobs, 1))
}

func (s *Scheduler) start(w *worker, u *unit, bytes int64) Action {
	u.phase, u.worker, u.since, u.cancelled = running, w, s.now, false
	u.would = 0
	own := s.model.Own(u.expect.Bytes)
	if w.ledger != nil && s.atRest(w) {
		sure, _ := w.missing(u)
		u.would = w.ledger.Holds() + s.model.Total(u.expect.Bytes, sure)
	}
	price := s.model.Base
	sure, doubt := w.missing(u)
	if bytes != own+price(sure+doubt) {
		// All of what there is, without a division between layers and the rest.
		own, price = bytes, func(int64) int64 { return 0 }
	}
	w.put(u, own, price)
	s.work.Start(u.name, s.placeOf(u), s.now)
	return Action{Do: Start, Unit: u.name, Worker: w.name, Bytes: bytes}
}

// holdsOnly tells whether a worker holds no base layers but those of a unit.
func (w *worker) holdsOnly(u *unit) bool {
	n := 0
	for l := u.base; l != nil; l = l.below {
		if _, ok := w.layers[l]; ok {
			n++
		}
	}
	return n == len(w.layers)
}

// occupied tells whether a unit has the worker to itself, as it found the disk
// full before.
func (w *worker) occupied() bool {
	return w.ledger != nil && len(w.running) > 0 && w.running[0].stops >= stopsMost
}

// fitting finds a waiting unit that fits although the next one does not, on a
// worker at rest.
func (s *Scheduler) fitting(w *worker) *unit {
	for _, u := range w.queue {
		if u.phase != waiting || u.refusedBy(w) {
			continue
		}
		if _, ok := s.fits(w, u); ok {
			return u
		}
	}
	return nil
}

// holder is a unit whose base takes room on a worker where nothing fits, put in
// the place of u; u itself when there is none. To turn that one down gives room
// to the others.
func (w *worker) holder(u *unit) *unit {
	if len(w.layers) == 0 || u.base != nil && w.layers[u.base].state != 0 {
		return u
	}
	for i, v := range w.queue {
		if v.phase == waiting && v.base != nil && w.layers[v.base].state != 0 {
			w.queue[i] = u
			return v
		}
	}
	return u
}

// verdict is what becomes of a unit for which there is no room.
type verdict int

const (
	waits  verdict = iota // for what runs, for a release, for others
	leaves                // this worker
)

// turnDown decides what becomes of a unit that does not fit. It waits as long as
// the worker or, when that holds layers for the others, another one has anything
// under way that may change it, or others fill the disk.
func (s *Scheduler) turnDown(w *worker, u *unit) (verdict, []Action) {
	if !s.atRest(w) || len(w.layers) > 0 && s.othersWork(w) {
		return waits, nil
	}
	sure, _ := w.missing(u)
	least := s.model.Least(u.expect.Bytes, sure)
	if u.overflows < overflowsMost {
		if starved, acts := s.starve(w, Action{Unit: u.name}, least); starved {
			return waits, acts
		}
	}
	need := w.rule.Enough(max(u.proven, w.ledger.Holds()+s.model.Total(u.expect.Bytes, sure), w.ledger.Ceiling()-w.ledger.Others()+1, 1))
	if u.needed == 0 || need < u.needed {
		u.needed = need
	}
	if !u.refusedBy(w) {
		u.refused = append(u.refused, w)
	}
	return leaves, s.pass(w, u)
}

// othersWork tells whether another worker has anything under way.
func (s *Scheduler) othersWork(w *worker) bool {
	for _, o := range s.workers {
		if o != w && o.ready && (!o.idle() || o.releasing) {
			return true
		}
	}
	return false
}

// pass gives a unit to a worker that did not refuse it, or gives it up.
func (s *Scheduler) pass(w *worker, u *unit) []Action {
	for _, o := range s.workers {
		if o.ready && !u.refusedBy(o) {
			o.push(u)
			return nil
		}
	}
	return []Action{s.reject(w, u, "its base and its steps need more")}
}

// starve tells whether a worker waits for others: bytes would fit if those were
// gone that the daemon does not account for, and patience has not ended. The
// first time it says so, for what about names.
func (s *Scheduler) starve(w *worker, about Action, bytes int64) (bool, []Action) {
	if w.holds < 0 || w.starves && s.now-w.starvedAt > patience {
		return false, nil
	}
	own := w.ledger.Holds()
	foreign := own - w.holds - max(own/20, slack)
	if foreign <= 0 || bytes > w.ledger.Room()+foreign {
		return false, nil
	}
	if w.starves {
		return true, nil
	}
	w.starves, w.starvedAt = true, s.now
	about.Do, about.Worker, about.Bytes, about.Why = Wait, w.name, bytes-w.ledger.Room(), "something else fills the disk"
	return true, []Action{about}
}

// reject gives a unit up. Until UnitFailed answers it is nobody's.
func (s *Scheduler) reject(w *worker, u *unit, why string) Action {
	u.phase, u.rejected = running, true
	s.rejecting++
	return Action{Do: Reject, Unit: u.name, Worker: w.name, Bytes: u.needed, Why: why}
}

// release asks for a release when dead records are worth it: somebody waits for
// room, much has gathered, nothing is known of images yet, or all are done.
func (s *Scheduler) release(w *worker, blocked bool) []Action {
	if w.ledger == nil || w.releasing || s.now < w.again {
		return nil
	}
	switch {
	case blocked && w.idle() && !w.clean && s.rejecting == 0:
	case w.ended.images == 0:
		return nil
	case blocked, s.left == 0, !s.model.Known():
	case s.gathered(w.ended) > w.worthIt():
	default:
		return nil
	}
	w.releasing, w.going, w.ended = true, w.ended, batch{}
	return []Action{{Do: Release, Worker: w.name}}
}

// worthIt is how many dead bytes are released although nobody waits for the room.
func (w *worker) worthIt() int64 {
	return min(pile, int64(lazy*float64(w.ledger.Ceiling()-w.ledger.Others())))
}

// gathered estimates what a batch gives back.
func (s *Scheduler) gathered(b batch) int64 {
	return b.images*s.model.Own(0) + s.model.Base(b.dead)
}
