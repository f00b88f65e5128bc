package sched

import "slices"

// startShares starts the shared steps that somebody waits for and that fit; the
// solver itself runs what they have in common once. What found the disk full
// starts alone, and then with the worker at rest. blocked tells that one waits
// for room: then no image takes it, as what shared steps make stays to the end,
// and an image may leave a base for relatives that lack the step.
func (s *Scheduler) startShares(w *worker) (blocked bool, out []Action) {
	for _, sh := range s.shares {
		if !s.due(sh) || s.elsewhere(w, sh) {
			continue
		}
		if (w.paused || sh.stops > 0) && !w.idle() {
			blocked = true
			continue
		}
		bytes, ok := s.shareFits(w, sh)
		if !ok {
			if blocked = true; s.atRest(w) && (len(w.layers) == 0 || !s.others(w)) {
				out = append(out, s.noRoom(w, sh)...)
			}
			continue
		}
		sh.phase, sh.worker, sh.rested = running, w, s.atRest(w)
		w.shares = append(w.shares, sh)
		w.alone, w.paused, w.starves = nil, false, false
		w.stir()
		if w.ledger != nil {
			w.ledger.Promise(sh.id(), bytes)
		}
		out = append(out, Action{Do: Share, Step: sh.step, Worker: w.name, Bytes: bytes})
	}
	return blocked, out
}

// others tells whether an image that lacks no shared step waits for a worker. To
// make it may give room to a shared step, as base layers go.
func (s *Scheduler) others(w *worker) bool {
	waits := func(u *unit) bool { return u.phase == waiting && !u.refusedBy(w) }
	return slices.ContainsFunc(s.sample, waits) || slices.ContainsFunc(s.spare, waits) || slices.ContainsFunc(w.queue, waits)
}

// due tells whether a shared step waits, and somebody for it.
func (s *Scheduler) due(sh *share) bool {
	return sh.phase == waiting && (sh.early || s.open && slices.ContainsFunc(sh.users, func(u *unit) bool { return u.phase == waiting }))
}

// elsewhere tells whether a shared step is known to be too large for a worker,
// and not for another one.
func (s *Scheduler) elsewhere(w *worker, sh *share) bool {
	return !w.mayHold(sh) && slices.ContainsFunc(s.workers, func(o *worker) bool { return o.ready && o.mayHold(sh) })
}

// mayHold tells whether a shared step is not known to be too large for a worker.
func (w *worker) mayHold(sh *share) bool { return w.ledger == nil || sh.bytes <= w.ledger.Most() }

// shareFits tells whether a shared step can start on a worker now, and with how
// many bytes. With a worker at rest what is expected needs no margin, and may be
// among what the daemon had from the beginning.
func (s *Scheduler) shareFits(w *worker, sh *share) (bytes int64, ok bool) {
	if w.ledger == nil {
		return 0, true
	}
	room, rest := w.ledger.Room(), s.atRest(w)
	if room <= 0 || sh.stops >= stopsMost && !rest || sh.overflows >= overflowsMost {
		return 0, false
	}
	if sh.bytes == 0 {
		return max(1, room/s.strangers(w, sh)), true
	}
	if bytes = s.model.Shared(sh.bytes); bytes <= room {
		return bytes, true
	}
	return room, rest && sh.bytes <= room+w.brought
}

// strangers is into how many parts the room is divided for shared steps of which
// nothing is known, as they are all tried at once; without a budget each gets no
// more than an image of which nothing is known. One that found the disk full has
// the room for itself.
func (s *Scheduler) strangers(w *worker, sh *share) int64 {
	if sh.stops > 0 {
		return 1
	}
	n := int64(0)
	for _, o := range s.shares {
		if o.bytes == 0 && s.due(o) {
			n++
		}
	}
	return max(n, s.parts(w))
}

// noRoom waits for others, who fill the disk of a worker at rest, or refuses a
// shared step.
func (s *Scheduler) noRoom(w *worker, sh *share) []Action {
	if sh.overflows < overflowsMost {
		if starved, acts := s.starve(w, Action{Step: sh.step}, max(1, sh.bytes-w.brought)); starved {
			return acts
		}
	}
	return s.refuseShare(w, sh)
}

// refuseShare leaves a shared step to the other workers, or gives up what needs it.
func (s *Scheduler) refuseShare(w *worker, sh *share) []Action {
	for _, o := range s.workers {
		if o == w || !o.ready {
			continue
		}
		if _, fits := s.shareFits(o, sh); fits || !s.atRest(o) && sh.overflows < overflowsMost && o.mayHold(sh) {
			return nil
		}
	}
	may := w.ledger.Ceiling() - w.ledger.Others()
	holds := max(sh.proven, w.ledger.Holds(), may, 4)
	need := s.all()
	switch {
	case sh.bytes == 0 || sh.overflows >= overflowsMost:
		need = max(need, holds+holds/4) // nobody knows how much
	case need <= may:
		need = w.ledger.Holds() + sh.bytes
	}
	return s.giveUp(w, sh, w.rule.Enough(need))
}

// giveUp ends a shared step for which there is no room, with what needs it.
func (s *Scheduler) giveUp(w *worker, sh *share, need int64) (out []Action) {
	s.endShare(sh.step, false)
	if sh.early {
		return []Action{{Do: Reject, Step: sh.step, Worker: w.name, Bytes: need, Why: tooLarge}}
	}
	for _, u := range sh.users {
		if u.phase == waiting && !u.rejected {
			u.needed = need
			out = append(out, s.reject(w, u, tooLarge))
		}
	}
	return out
}

// tooLarge says why no budget like the one that is given can do.
const tooLarge = "the shared steps alone need more"

// all is what is expected of a worker that makes everything: the shared steps
// that somebody needs, which stay, and the image that takes the most.
func (s *Scheduler) all() int64 {
	var steps, image int64
	for _, sh := range s.shares {
		if sh.early || len(sh.users) > 0 {
			steps += sh.bytes
		}
	}
	for _, u := range s.units {
		image = max(image, s.model.Total(u.expect.Bytes, u.base.size()))
	}
	return steps + image
}

// below is what is expected of the shared steps that a unit needs.
func (s *Scheduler) below(u *unit) (n int64) {
	for _, d := range u.needs {
		if sh := s.byStep[d]; sh != nil {
			n += sh.bytes
		}
	}
	return n
}

// rejectHopeless rejects, once all workers are there, what is known to need more
// than any of them may ever hold, so that it is said before anything is made.
func (s *Scheduler) rejectHopeless() (out []Action) {
	if s.judged || !s.open || len(s.workers) < max(s.limits.Workers, 1) {
		return nil
	}
	var w *worker // that may hold the most
	for _, o := range s.workers {
		if o.ledger == nil {
			return nil
		}
		if w == nil || o.ledger.Most() > w.ledger.Most() {
			w = o
		}
	}
	s.judged = true
	most, need := w.ledger.Most(), w.rule.Enough(s.all())
	for _, u := range s.bases.units() {
		known := s.below(u)
		if u.phase != waiting || known+s.model.Least(u.expect.Bytes, u.base.size()) <= most {
			continue
		}
		why := "its base and its steps need more"
		if known > most {
			why = tooLarge
		}
		u.needed = need
		out = append(out, s.reject(w, u, why))
	}
	return out
}
