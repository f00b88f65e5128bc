package estimate

import (
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// sharing is a time in which shared steps, or layer sets, are made on one worker
// without a break.
type sharing struct {
	from    int64 // the reading before
	open    map[graph.Digest]bool
	made    []graph.Digest
	ran     bool // a step was executed: not everything was there already
	spoiled bool // something else changed the disk, or nothing was read before
}

// share begins a shared step.
func (r *past) share(e journal.Event) {
	s := r.spans[e.Worker]
	if s == nil {
		used, known := r.disk[e.Worker]
		s = &sharing{from: used, open: map[graph.Digest]bool{}, spoiled: !known}
		for _, o := range r.open {
			s.spoiled = s.spoiled || o.worker == e.Worker
		}
		r.spans[e.Worker] = s
	}
	s.open[e.Step] = true
}

// spoil says that something else than shared steps changes a disk.
func (r *past) spoil(worker string) {
	if s := r.spans[worker]; s != nil {
		s.spoiled = true
	}
}

// executed notes that a shared step ran.
func (r *past) executed(e journal.Event) {
	s := r.spans[e.Worker]
	var d journal.StepData
	if s != nil && !s.ran && e.Unit == "" && e.Decode(&d) == nil {
		s.ran = !d.Cached && !d.Kind.Source()
	}
}

// shareEnds ends a shared step, and tells what each took when it was the last of
// those that ran and nothing else did.
func (r *past) shareEnds(e journal.Event) map[graph.Digest]int64 {
	s := r.spans[e.Worker]
	if s == nil || !s.open[e.Step] {
		return nil
	}
	delete(s.open, e.Step)
	s.made = append(s.made, e.Step)
	if len(s.open) > 0 {
		return nil
	}
	delete(r.spans, e.Worker)
	growth := (r.disk[e.Worker] - s.from) / int64(len(s.made))
	if s.spoiled || !s.ran || growth <= 0 {
		return nil
	}
	out := map[graph.Digest]int64{}
	for _, d := range s.made {
		out[d] = growth
	}
	return out
}
