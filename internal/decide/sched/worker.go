package sched

import (
	"slices"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/budget"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// worker is one daemon as the scheduler sees it.
type worker struct {
	name    string
	ready   bool
	rule    budget.Rule
	ledger  *budget.Ledger // nil when its disk is not known, and its records are not ours
	reading journal.DiskData
	queue   []*unit
	running []*unit // in the order in which they started
	shares  []*share
	target  int           // images at once, for now
	grown   time.Duration // when target was last raised
	paused  bool          // starts nothing until a release has ended or nothing runs

	layers    map[*layer]holding // of bases to come
	ended     batch              // since the last release began
	going     batch              // what the release under way is for
	releasing bool
	failures  int           // of releases, in a row
	again     time.Duration // when the next release may begin
	// clean tells that nothing ran since a release ended, which began after
	// everything had ended, and at when that was. With a reading after it the
	// worker is rested: what is on the disk then cannot be given back.
	clean, rested bool
	at            time.Duration
	brought       int64 // what the daemon held when it was first there
	holds         int64 // what the daemon held then, by its own account; -1 when not known

	alone     *unit // runs with nothing beside it, since the disk read floor
	floor     int64
	calm      time.Duration // until when nothing more is cancelled
	starves   bool          // others fill the disk
	starvedAt time.Duration
}

// batch is what ended on a worker and can be given back.
type batch struct {
	images   int64
	expected int64 // what was expected of them
	dead     int64 // compressed bytes of base layers that nobody needs any more
	surprise bool  // nothing was expected of one of them
	broken   bool  // one of them did not get to its end
}

func (b *batch) add(o batch) {
	b.images += o.images
	b.expected += o.expected
	b.dead += o.dead
	b.surprise = b.surprise || o.surprise
	b.broken = b.broken || o.broken
}

// holding is what is known of a base layer on a worker.
type holding struct {
	state presence
	users int // units that run with it
}

// presence is whether a base layer is on a worker.
type presence int

const (
	doubtful presence = iota + 1 // what would have fetched it did not get to its end
	coming                       // what runs fetches it, and was promised its bytes
	there
)

// Limits of the kernel's pressure figures, in percent of the last ten seconds:
// above the first nothing more is started at once, above the second less.
const (
	ioBusy     = 85
	memoryBusy = 10
	memoryFull = 30
)

func (s *Scheduler) worker(name string) *worker {
	for _, w := range s.workers {
		if w.name == name {
			return w
		}
	}
	return nil
}

// rule is what a worker may use: its own, else the run's. Without any, a little is
// left free, as a disk that is full stops more than this run.
func (s *Scheduler) rule(d journal.WorkerData) budget.Rule {
	r := budget.Rule{Bytes: d.Budget, Share: d.Share, LeaveFree: d.LeaveFree}
	if r == (budget.Rule{}) {
		r = budget.Rule{Bytes: s.limits.Budget, Share: s.limits.Share, LeaveFree: s.limits.LeaveFree}
	}
	if r == (budget.Rule{}) {
		r.LeaveFree = min(d.Disk.Total/50, 1<<30)
	}
	r.Records = d.Disk.Records
	return r
}

// bounded tells whether the user set a budget for a worker.
func (w *worker) bounded() bool { return w.rule.Bytes > 0 || w.rule.Share > 0 }

func (s *Scheduler) workerReady(name string, d journal.WorkerData) {
	w := s.worker(name)
	if w == nil {
		w = &worker{name: name, layers: map[*layer]holding{}, target: 1, holds: -1}
		s.workers = append(s.workers, w)
	}
	w.ready = true
	if d.Disk == nil {
		w.ledger, w.releasing = nil, false
		w.target = max(s.limits.Jobs, 1) // nothing would tell that it is too much
		return
	}
	w.rule = s.rule(d)
	if !w.bounded() {
		w.target = max(w.target, 2)
		if w.ledger == nil {
			w.target = max(s.limits.Jobs, 1) // only what happens speaks against it
		}
	}
	w.reading = *d.Disk
	r := budget.Reading{Used: d.Disk.Used, Free: d.Disk.Free, Total: d.Disk.Total}
	if w.ledger == nil || d.Holds == 0 {
		// It is new, or came back with nothing, maybe on another disk: what is there
		// is not its own.
		w.ledger, w.brought, w.holds = budget.New(w.rule, r, d.Holds), d.Holds, -1
		clear(w.layers)
		return
	}
	w.ledger.Read(r)
}

// workerLost puts back what ran on a worker. What waited in its queue waits for
// anybody.
func (s *Scheduler) workerLost(name string) {
	w := s.worker(name)
	if w == nil || !w.ready {
		return
	}
	back := slices.Clone(w.running)
	for _, u := range back {
		s.take(u, false)
		u.phase = waiting
	}
	for len(w.shares) > 0 {
		w.shares[0].leave(waiting)
	}
	w.unrelease()
	w.ready, w.paused, w.starves = false, false, false
	w.stir()
	w.target, w.failures, w.again = 1, 0, 0
	s.join(append(back, w.queue...))
	w.queue = nil
}

// unrelease takes back that a release was under way.
func (w *worker) unrelease() {
	w.ended.add(w.going)
	w.releasing, w.going = false, batch{}
}

// read takes a reading of a worker's disk.
func (s *Scheduler) read(name string, d journal.DiskData) bool {
	w := s.worker(name)
	if w == nil || w.ledger == nil {
		return false
	}
	w.reading = d
	w.ledger.Read(budget.Reading{Used: d.Used, Free: d.Free, Total: d.Total})
	w.rested = w.rested || w.clean && s.now > w.at
	if w.alone != nil {
		s.model.Solo(d.Used - w.floor)
	}
	if len(w.running) >= w.target && s.now-w.grown >= growPause {
		w.faster(s) // steps are long: do not wait for an image to end
	}
	return true
}

// put lets a unit run on a worker, with the bytes that it is promised above its
// base and a promise for each layer that it will fetch, both by price.
func (w *worker) put(u *unit, own int64, price func(compressed int64) int64) {
	w.alone = nil
	if len(w.running) == 0 && len(w.shares) == 0 && w.ledger != nil {
		w.alone, w.floor = u, w.ledger.Used()
	}
	w.running = append(w.running, u)
	w.starves = false
	w.stir()
	if w.ledger != nil {
		w.ledger.Promise(u.name, own)
	}
	for l := u.base; l != nil; l = l.below {
		h := w.layers[l]
		h.users++
		if h.state != there && h.state != coming {
			h.state = coming
			if w.ledger != nil {
				w.ledger.Promise(l.id, price(l.bytes))
			}
		}
		w.layers[l] = h
	}
}

// drop ends what put began. Of an image that was not made it is not known which
// layers of its base are there.
func (w *worker) drop(u *unit, made bool) {
	w.running = remove(w.running, u)
	w.alone = nil
	w.stir()
	w.ended.add(batch{images: 1, expected: u.expect.Bytes, surprise: u.expect.Bytes == 0, broken: !made})
	w.settle(u.name)
	for l := u.base; l != nil; l = l.below {
		h := w.layers[l]
		h.users--
		switch {
		case made:
			h.state = there
			w.settle(l.id)
		case h.users == 0 && h.state == coming:
			h.state = doubtful
			w.settle(l.id)
		}
		w.layers[l] = h
	}
}

func (w *worker) settle(id string) {
	if w.ledger != nil {
		w.ledger.Settle(id)
	}
}

// missing is the compressed size of the layers of a unit's base that are not on
// the worker, and of those of which that is not known.
func (w *worker) missing(u *unit) (sure, doubt int64) {
	for l := u.base; l != nil; l = l.below {
		switch w.layers[l].state {
		case there, coming:
			return sure, doubt // and so is everything below
		case doubtful:
			doubt += l.bytes
		default:
			sure += l.bytes
		}
	}
	return sure, doubt
}

// growPause is how long a worker runs at one concurrency before that is raised
// although no image has ended.
const growPause = 2 * time.Second

// faster lets one more run at once, when memory and the disk's queue allow.
func (w *worker) faster(s *Scheduler) {
	w.grown = s.now
	switch {
	case w.reading.Memory > memoryFull:
		w.target = max(1, w.target-1)
	case w.reading.Memory > memoryBusy || w.reading.IO > ioBusy:
	case w.target < s.limits.Jobs:
		w.target++
	}
}

// slower halves a worker's concurrency when its disk was full, and lets it start
// nothing more for now.
func (w *worker) slower(reason string) {
	if full(reason) {
		w.target = max(1, len(w.running)/2)
		w.paused = true
	}
}

// released ends a release, whatever came of it.
func (s *Scheduler) released(name string, d journal.ReleaseData) {
	w := s.worker(name)
	if w == nil || !w.releasing {
		return
	}
	if d.Error != "" {
		w.unrelease()
		w.failures++
		w.again = s.now + releasePause<<min(w.failures, releasePauses)
	} else {
		s.learn(d, w.going)
		w.releasing, w.going, w.failures = false, batch{}, 0
		w.holds = 0
		for _, n := range d.After {
			w.holds += n
		}
	}
	w.paused = false
	w.clean, w.at = w.idle() && (w.failures == 0 && w.ended == batch{} || w.failures >= releaseTries), s.now
	w.rested = false
}

// learn takes a release as a measure of what images take. One with leftovers of
// images that did not get to their end is a bad one, and better than none.
func (s *Scheduler) learn(d journal.ReleaseData, b batch) {
	if b.broken && s.model.Mean() > 0 {
		d.Own, b.expected = 0, 0
	}
	if b.surprise || int64(d.Images) != b.images {
		b.expected = 0 // it was for others than those that were known of
	}
	s.model.Released(d, max(int64(d.Images), b.images), b.expected)
}

// stir notes that something happens on the worker, or happened.
func (w *worker) stir() { w.clean, w.rested = false, false }

// idle tells whether nothing is solved on the worker.
func (w *worker) idle() bool { return len(w.running) == 0 && len(w.shares) == 0 }

// remove takes x out of a list, whose order stays.
func remove[T comparable](list []T, x T) []T {
	if i := slices.Index(list, x); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}
