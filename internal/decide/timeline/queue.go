package timeline

import (
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// queue follows what waits, as far as the journal says of it, to tell when a solve
// could have started and did not.
type queue struct {
	jobs    int
	ready   map[string]bool // workers
	waiting map[string][]graph.Digest
	running map[string]bool // images and shared steps
	done    map[graph.Digest]bool
	since   float64
	held    bool
}

func newQueue() queue {
	return queue{ready: map[string]bool{}, waiting: map[string][]graph.Digest{}, running: map[string]bool{}, done: map[graph.Digest]bool{}}
}

func (q *queue) fold(e *journal.Event) {
	switch e.Kind {
	case journal.RunStarted, journal.RunEnded, journal.Scheduling:
		clear(q.waiting)
		clear(q.running)
		if e.Kind != journal.Scheduling {
			clear(q.ready)
			clear(q.done)
		}
		var d journal.SchedulingData
		if e.Kind == journal.Scheduling && e.Decode(&d) == nil {
			q.jobs = d.Jobs
		}
	case journal.UnitQueued:
		var d journal.QueuedData
		if len(e.Data) == 0 || e.Decode(&d) == nil {
			q.waiting[e.Unit] = d.Needs
		}
	case journal.UnitStarted:
		if _, ok := q.waiting[e.Unit]; ok {
			delete(q.waiting, e.Unit)
			q.running[e.Unit] = true
		}
	case journal.UnitPublished, journal.UnitFailed, journal.UnitSkipped, journal.UnitBuilt:
		delete(q.waiting, e.Unit)
		delete(q.running, e.Unit)
	case journal.UnitPlaced:
		if e.Worker != "" { // which scans it
			q.running[e.Unit] = true
		}
	case journal.UnitRetried:
		if q.running[e.Unit] {
			q.waiting[e.Unit] = nil
			delete(q.running, e.Unit)
		}
	case journal.SharedStarted:
		q.running[string(e.Step)] = true
	case journal.SharedReady:
		q.done[e.Step] = true
		delete(q.running, string(e.Step))
	case journal.SharedFailed:
		delete(q.running, string(e.Step))
	case journal.WorkerReady:
		q.ready[e.Worker] = true
	case journal.WorkerLost:
		delete(q.ready, e.Worker)
	}
}

// idle tells whether something could start now.
func (q *queue) idle() bool {
	if len(q.waiting) == 0 || len(q.running) >= q.jobs*len(q.ready) {
		return false
	}
	for _, needs := range q.waiting {
		if q.met(needs) {
			return true
		}
	}
	return false
}

func (q *queue) met(needs []graph.Digest) bool {
	for _, n := range needs {
		if !q.done[n] {
			return false
		}
	}
	return true
}

// hold begins and ends the times in which work is held back.
func (t *Timeline) hold() {
	q := &t.queue
	idle := q.idle()
	if idle == q.held {
		return
	}
	if idle {
		q.since = t.now
	} else if t.now > q.since {
		t.Held = append(t.Held, Interval{q.since, t.now})
	}
	q.held = idle
}

// close ends what is held back when the journal ends.
func (q *queue) close(t *Timeline) {
	if q.held && t.now > q.since {
		t.Held = append(t.Held, Interval{q.since, t.now})
	}
	q.held = false
}
