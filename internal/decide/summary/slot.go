package summary

import (
	"cmp"
	"slices"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// enter gives a solve the lowest place that is free on its worker.
func (s *Summary) enter(x *Slot) *Slot {
	x.Since, x.Began = s.fold.mono, s.fold.mono
	for _, o := range s.Live.Slots {
		if o.Worker == x.Worker && o.Place == x.Place {
			x.Place++ // they are in order
		}
	}
	at, _ := slices.BinarySearchFunc(s.Live.Slots, x, func(a, b *Slot) int {
		return cmp.Or(cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Place, b.Place))
	})
	s.Live.Slots = slices.Insert(s.Live.Slots, at, x)
	return x
}

// leave gives a place back; nil is none.
func (s *Summary) leave(x **Slot) {
	if *x == nil {
		return
	}
	if i := slices.Index(s.Live.Slots, *x); i >= 0 {
		s.Live.Slots = slices.Delete(s.Live.Slots, i, i+1)
	}
	*x = nil
}

// at notes the step that a solve is at.
func (s *Summary) at(e *journal.Event, name string) {
	var x *Slot
	if w := s.fold.works[e.Unit]; e.Unit != "" && w != nil && w.live != nil {
		x = w.live.slot
	} else if sh := s.fold.queue[e.Step]; e.Unit == "" && sh != nil {
		x = sh.slot
	}
	if x != nil {
		x.Step, x.Began = name, s.fold.mono
	}
}

// settled notes that an image ended now.
func (s *Summary) settled() {
	s.Live.Ends = last(append(s.Live.Ends, s.fold.mono), maxEnds)
}

// trouble keeps a problem for those who watch.
func (s *Summary) trouble(e *journal.Event, d journal.FailData, passing bool) {
	p := Problem{At: s.fold.mono, Unit: e.Unit, Worker: e.Worker, Step: d.Step, Cause: d.Cause, Count: 1, Passing: passing}
	list := s.Live.Problems
	if i := slices.IndexFunc(list, func(o Problem) bool { return o.Cause == p.Cause && o.Passing == p.Passing }); i >= 0 {
		p.Count += list[i].Count
		list = slices.Delete(list, i, i+1)
	}
	s.Live.Problems = last(append(list, p), maxProblems)
}

// last keeps the last n.
func last[T any](list []T, n int) []T {
	if len(list) > n {
		list = slices.Delete(list, 0, len(list)-n)
	}
	return list
}
