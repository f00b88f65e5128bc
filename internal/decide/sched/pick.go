package sched

import (
	"cmp"
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
)

const (
	// sampleShare and sampleMost say how many images are run first, spread over
	// the fleet, so that what is learned from them holds for the others.
	sampleShare = 10 // one in ten
	sampleMost  = 24
)

// arrange puts all units in order, those with a base layer in common beside each
// other, so that it is unpacked once and goes when its last user is done; picks
// the sample; and lets those wait in line that lack no shared step.
func (s *Scheduler) arrange() {
	all := slices.DeleteFunc(s.bases.units(), func(u *unit) bool { return u.phase == done })
	s.weighted = len(all) > 0
	cold := true
	for i, u := range all {
		u.order = i
		s.weighted = s.weighted && u.expect.Took > 0
		cold = cold && u.expect.Bytes == 0 && u.expect.Took == 0
	}
	picked := map[*unit]bool{}
	if cold {
		picked = s.pick(all)
	}
	parts := max(len(picked), 1)
	s.rest = make([]estimate.Part, parts)
	for i, u := range all {
		u.part = i * parts / len(all)
		s.count(u, 1)
	}
	for _, u := range all {
		u.sampled = picked[u]
		s.enter(u)
	}
}

// pick chooses the sample in even distances, unless the bases that it would
// keep until their relatives are done take more than a quarter of the budget.
func (s *Scheduler) pick(all []*unit) map[*unit]bool {
	for n := min((len(all)+sampleShare-1)/sampleShare, sampleMost); n > 1; n /= 2 {
		picked := map[*unit]bool{}
		bases := map[*layer]bool{}
		var bytes int64
		for k := range n {
			u := all[(2*k+1)*len(all)/(2*n)]
			picked[u] = true
			for l := u.base; l != nil && !bases[l]; l = l.below {
				bases[l] = true
				bytes += l.bytes
			}
		}
		if limit := s.limits.Budget; limit == 0 || s.model.Base(bytes) <= limit/4 {
			return picked
		}
	}
	return nil
}

// count adds a unit to what is left, or takes it off.
func (s *Scheduler) count(u *unit, sign float64) {
	if u.part < len(s.rest) {
		s.rest[u.part].Weight += sign * s.weight(u)
		s.rest[u.part].Squares += sign * s.weight(u) * s.weight(u)
	}
}

// weight is what is expected of a unit's time, in seconds; 1 for all when
// nothing is expected of one.
func (s *Scheduler) weight(u *unit) float64 {
	if s.weighted {
		return max(u.expect.Took.Seconds(), 1e-3)
	}
	return 1
}

// enter lets a unit wait for the shared steps that it lacks, or in line.
func (s *Scheduler) enter(u *unit) {
	for _, d := range u.needs {
		if sh := s.byStep[d]; sh != nil && (sh.phase != done || !sh.ready) {
			sh.users = append(sh.users, u)
			u.lacks++
		}
	}
	if u.lacks == 0 {
		s.line(u)
	}
}

// line lets a unit wait in line.
func (s *Scheduler) line(u *unit) {
	if u.sampled {
		s.sample = append(s.sample, u)
	} else {
		s.spare = append(s.spare, u)
	}
}

// join lets units wait in line, in order.
func (s *Scheduler) join(units []*unit) {
	if len(units) == 0 {
		return
	}
	for _, u := range units {
		s.line(u)
	}
	byOrder := func(a, b *unit) int { return cmp.Compare(a.order, b.order) }
	slices.SortFunc(s.sample, byOrder)
	slices.SortFunc(s.spare, byOrder)
}

// next takes the unit that a worker should run: from the sample, its own queue,
// the rest, or half of another's queue. Nil when none is ready.
func (s *Scheduler) next(w *worker) *unit {
	if u := pop(&s.sample); u != nil {
		return u
	}
	if u := pop(&w.queue); u != nil {
		return u
	}
	s.refill(w)
	return pop(&w.queue)
}

// pop takes the first unit that still waits.
func pop(q *[]*unit) *unit {
	for len(*q) > 0 {
		u := (*q)[0]
		if *q = (*q)[1:]; u.phase == waiting {
			return u
		}
	}
	return nil
}

// gather gives a worker what nobody has and has layers there: it joined when its
// shared steps were ready, after its relatives.
func (s *Scheduler) gather(w *worker) {
	s.spare = slices.DeleteFunc(s.spare, func(u *unit) bool {
		for l := u.base; l != nil; l = l.below {
			if _, ok := w.layers[l]; ok {
				w.queue = append(w.queue, u)
				return true
			}
		}
		return false
	})
}

// push puts a unit at the head of a worker's queue.
func (w *worker) push(u *unit) { w.queue = append([]*unit{u}, w.queue...) }

// refill gives a worker whose queue is empty its part of what nobody has,
// relatives together, or half of the longest queue.
func (s *Scheduler) refill(w *worker) {
	if len(s.spare) > 0 {
		n := (s.queued + max(s.limits.Workers, 1) - 1) / max(s.limits.Workers, 1)
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
	if from == nil {
		return
	}
	// What a worker refused stays where it is.
	n := len(from.queue) / 2
	stay := slices.Clone(from.queue[:n])
	for _, u := range from.queue[n:] {
		if u.refusedBy(w) {
			stay = append(stay, u)
		} else {
			w.queue = append(w.queue, u)
		}
	}
	from.queue = stay
}
