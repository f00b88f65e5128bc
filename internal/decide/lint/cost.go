package lint

import (
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// tally is the steps that a finding counts.
type tally struct {
	// shared are counted once in the fleet.
	shared []*graph.Step
	// bound are counted once for each image of a conversion.
	bound []boundTally
}

// boundTally is the steps on the bases of one conversion's images.
type boundTally struct {
	of    *conversion
	steps []*graph.Step
	// sole is true when without the finding the images would be no builds at all:
	// then all that they took is its cost.
	sole bool
}

// tally is that of a place, made when it is new.
func (l *linter) tally(p place) *tally {
	t := l.tallies[p]
	if t == nil {
		t = &tally{}
		l.tallies[p] = t
	}
	return t
}

// on is the part of one conversion; fresh is true the first time.
func (t *tally) on(c *conversion) (b *boundTally, fresh bool) {
	n := len(t.bound)
	if fresh = n == 0 || t.bound[n-1].of != c; fresh { // conversions come one after the other
		t.bound = append(t.bound, boundTally{of: c})
	}
	return &t.bound[len(t.bound)-1], fresh
}

// runs adds the executions of a step: one for each image of a conversion when it
// is base-bound, else one in the fleet.
func (l *linter) runs(p place, c *conversion, s *graph.Step) {
	f, t := l.found[p], l.tally(p)
	list, n := &t.shared, 1
	if s.BaseBound {
		b, _ := t.on(c)
		list, n = &b.steps, len(c.images)
	}
	if !slices.ContainsFunc(*list, func(o *graph.Step) bool { return o.Digest == s.Digest }) {
		f.Cost.Executions += int64(n)
		*list = append(*list, s)
	}
}

// price adds what earlier runs tell of a finding's steps: the sum of what is
// known of each, and the disk of images when the finding is about all that they
// do on their bases.
func (l *linter) price(p place) {
	f, t := l.found[p], l.tally(p)
	var spent spent
	for _, s := range t.shared {
		spent.add(l.took(s), 1)
	}
	disk, known := int64(0), len(t.bound) > 0
	for _, b := range t.bound {
		images := l.past(b.of)
		if b.sole && images.timed {
			spent.add(&images.seconds, 1)
		} else {
			for _, s := range b.steps {
				spent.add(l.took(s), len(b.of.images))
			}
		}
		disk += images.bytes
		known = known && images.sized && (b.sole || len(b.steps) > 0 && len(b.steps) == b.of.works())
	}
	if spent.known {
		f.Cost.Seconds = &spent.seconds
	}
	if known {
		f.Cost.Bytes = &disk
	}
}

// spent is a sum of seconds of which some may not be known.
type spent struct {
	seconds float64
	known   bool // of any
}

func (s *spent) add(each *float64, times int) {
	if each != nil {
		s.seconds, s.known = s.seconds+*each*float64(times), true
	}
}

// took is the seconds of one execution of a step; nil when no run tells.
func (l *linter) took(s *graph.Step) *float64 {
	if l.in.History != nil && !s.BaseBound {
		if took, ok := l.in.History.Step(s.Digest); ok {
			seconds := took.Seconds()
			return &seconds
		}
	}
	if seconds, ok := l.in.Steps.Took(s.Name, !s.BaseBound); ok {
		return &seconds
	}
	return nil
}

// past is what earlier runs tell of a conversion's images together.
type past struct {
	seconds      float64
	bytes        int64
	timed, sized bool // of all of them
}

func (l *linter) past(c *conversion) past {
	p := past{timed: l.in.History != nil, sized: l.in.History != nil}
	for _, i := range c.images {
		if l.in.History == nil {
			break
		}
		e, ok := l.in.History.Image(l.in.Images[i].Image.ID, l.in.Images[i].Variant.ID)
		p.timed, p.sized = p.timed && ok, p.sized && ok && e.Bytes > 0
		p.seconds, p.bytes = p.seconds+e.Took.Seconds(), p.bytes+e.Bytes
	}
	return p
}

// works counts the steps that do work on each base.
func (c *conversion) works() int {
	n := 0
	for i := range c.variant.Graph.Steps {
		if s := &c.variant.Graph.Steps[i]; s.BaseBound && delta.Works(s.Kind) {
			n++
		}
	}
	return n
}
