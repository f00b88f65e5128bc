package summary

import (
	"slices"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// The parts that are not the solver's: waiting for a solve, the steps on the
// base, and the way from the layers to the tags.
const (
	partWait  = "wait"
	partSteps = "steps"
	partTag   = "tag"
)

// partOrder is the order in which an image goes through its parts.
func partOrder() []string {
	return []string{partWait, journal.PartResolve, journal.PartPull, journal.PartUnpack, partSteps, journal.PartExport, journal.PartPush, partTag}
}

type partKey struct {
	name   string
	shared bool
}

// spent is the time that one image spent on one part.
type spent struct {
	name string
	took time.Duration
}

func (l *live) spend(name string, took time.Duration) {
	for i := range l.parts {
		if l.parts[i].name == name {
			l.parts[i].took += took
			return
		}
	}
	l.parts = append(l.parts, spent{name, took})
}

// parts adds what a vertex spent: to its image's, or to those of the solves that
// serve many.
func (s *Summary) parts(e *journal.Event, d journal.StepData) {
	var l *live
	if w := s.fold.works[e.Unit]; e.Unit != "" && w != nil {
		l = w.live
	}
	if l != nil && !d.Shared && !d.Cached && counts(d) && !kindOf(d).Source() {
		l.spend(partSteps, d.Took)
	}
	for name, took := range d.Parts {
		if l != nil {
			l.spend(name, took)
		} else {
			s.part(partKey{name, true}).add(took)
		}
	}
}

// part is the row of a part, put in its place when it is the first of its name.
func (s *Summary) part(k partKey) *Part {
	p := s.fold.partRows[k]
	if p == nil {
		if k.name == "" || len(s.Parts) >= maxParts {
			k.name = otherParts
			if p = s.fold.partRows[k]; p != nil {
				return p
			}
		}
		p = &Part{Name: k.name, Shared: k.shared}
		s.fold.partRows[k] = p
		s.Parts = append(s.Parts, p)
		slices.SortStableFunc(s.Parts, comparePart)
	}
	return p
}

// maxParts bounds the rows of parts, two of which are otherParts: a later
// version of the program may know many.
const (
	maxParts   = 40
	otherParts = "(other)"
)

func comparePart(a, b *Part) int {
	if a.Shared != b.Shared {
		if b.Shared {
			return -1
		}
		return 1
	}
	place := func(name string) int {
		if i := slices.Index(partOrder(), name); i >= 0 {
			return i
		}
		return len(partOrder())
	}
	if c := place(a.Name) - place(b.Name); c != 0 {
		return c
	}
	if a.Name < b.Name {
		return -1
	}
	return 1
}

func (p *Part) add(took time.Duration) {
	p.Count++
	p.TotalSeconds += took.Seconds()
	p.times.add(took)
	p.times.seconds(&p.P50Seconds, &p.P95Seconds)
}
