package sched

import (
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/budget"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// worker is one daemon as the scheduler sees it.
type worker struct {
	name    string
	ready   bool
	manages bool // its disk is known, and its records are ours to release
	ledger  *budget.Ledger
	// holds is what the daemon was last seen to hold when nothing of a release
	// was under way; -1 when that is not known since something ended.
	holds   int64
	queue   []*unit
	running map[*unit]bool
	shares  map[*share]bool
	target  int // images at once, for now
	paused  bool
	// held is the number of images that ended since the last release began.
	held, releasingFor int
	releasing          bool
	// fresh is false until a release has ended that began after everything that
	// ran had ended: only then is it known what cannot be given back.
	fresh bool
	// alone is the unit that runs with nothing beside it since floor was read.
	alone *unit
	floor int64
	// layers counts, for each layer of a base, the units that run or ran here
	// and were not released since.
	layers   map[string]bool
	reading  journal.DiskData
	canceled time.Duration // when the last one was cancelled
	cancels  bool
	grown    time.Duration // when target last changed
	starving time.Duration // since when others fill the disk; 0: they do not
}

// growPause is how long a worker runs at one concurrency before it is raised
// although no image has ended.
const growPause = 2 * time.Second

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

func (s *Scheduler) workerReady(e journal.Event) {
	var d journal.WorkerData
	decode(e, &d)
	w := s.worker(e.Worker)
	if w == nil {
		w = &worker{name: e.Worker, running: map[*unit]bool{}, shares: map[*share]bool{}, layers: map[string]bool{}, target: 1, holds: -1}
		s.workers = append(s.workers, w)
	}
	w.ready, w.releasing, w.paused = true, false, false
	if !s.bounded() {
		w.target = max(w.target, 2)
	}
	if d.Disk == nil {
		w.target = max(w.target, s.limits.Jobs) // nothing would tell that it is too much
		return
	}
	w.manages, w.reading = true, *d.Disk
	if w.ledger != nil {
		w.ledger.Read(budget.Reading{Used: d.Disk.Used, Free: d.Disk.Free, Total: d.Disk.Total}, false)
	} else {
		w.ledger = budget.New(s.rule(), budget.Reading{Used: d.Disk.Used, Free: d.Disk.Free, Total: d.Disk.Total}, d.Holds)
	}
}

// rule is the budget of each worker.
func (s *Scheduler) rule() budget.Rule {
	return budget.Rule{Bytes: s.limits.Budget, Share: s.limits.Share, LeaveFree: s.limits.LeaveFree}
}

// workerLost puts what ran on a worker back. What waited in its queue waits for
// anybody.
func (s *Scheduler) workerLost(e journal.Event) {
	w := s.worker(e.Worker)
	if w == nil {
		return
	}
	w.ready, w.releasing = false, false
	for u := range w.running {
		u.phase, u.worker = waiting, nil
		if w.ledger != nil {
			w.ledger.Settle(u.name)
		}
	}
	back := sorted(w.running)
	clear(w.running)
	for sh := range w.shares {
		sh.phase, sh.worker = waiting, nil
	}
	clear(w.shares)
	w.alone, w.target = nil, 1
	w.held += len(back) // they left something there, should it return
	s.spare = append(append(back, w.queue...), s.spare...)
	w.queue = nil
}

// read takes a reading of a worker's disk; it matters to decisions when there
// is more room than before, or none.
func (s *Scheduler) read(e journal.Event) bool {
	w := s.worker(e.Worker)
	if w == nil || w.ledger == nil {
		return false
	}
	var d journal.DiskData
	decode(e, &d)
	w.reading = d
	w.ledger.Read(budget.Reading{Used: d.Used, Free: d.Free, Total: d.Total}, len(w.shares) > 0)
	if w.alone != nil {
		s.model.Solo(d.Used - w.floor)
	}
	if len(w.running) >= w.target && s.now-w.grown >= growPause {
		w.faster(s) // long steps: do not wait for the first image to end
	}
	return true
}

// stopped takes a unit off the worker, whatever came of it.
func (w *worker) stopped(s *Scheduler, u *unit) {
	delete(w.running, u)
	w.alone = nil
	w.held++
	w.fresh = false
	if w.ledger != nil {
		w.ledger.Settle(u.name)
	}
}

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

func (s *Scheduler) released(e journal.Event) {
	w := s.worker(e.Worker)
	if w == nil || !w.releasing {
		return
	}
	var d journal.ReleaseData
	decode(e, &d)
	w.releasing, w.paused = false, false
	w.fresh = len(w.running) == 0 && len(w.shares) == 0 && w.held == 0
	if d.After != nil {
		w.holds = 0
		for _, n := range d.After {
			w.holds += n
		}
	}
	if d.Error != "" {
		// Not at once again: with the next image that ends.
		return
	}
	if d.Base > 0 {
		clear(w.layers) // which ones went is not said: think of all as gone
		for u := range w.running {
			w.has(u)
		}
	}
}

// has notes that a unit's base is on the worker, or about to be.
func (w *worker) has(u *unit) {
	chain := ""
	for _, l := range u.layers {
		chain += string(l.Digest) + " "
		w.layers[chain] = true
	}
}

// missing is the compressed size of a unit's base layers that are not there.
func (w *worker) missing(u *unit) int64 {
	var n int64
	chain := ""
	for _, l := range u.layers {
		if chain += string(l.Digest) + " "; !w.layers[chain] {
			n += l.Bytes
		}
	}
	return n
}
