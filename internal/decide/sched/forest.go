package sched

import (
	"strconv"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// layer is a layer of bases, with everything below it: a node of the forest
// that the bases of a fleet make.
type layer struct {
	id    string // of its promise in a ledger
	below *layer
	above []*layer // in the order in which they were first seen
	bytes int64    // compressed
	tops  []*unit  // units whose base ends here
	users int      // units that are not done and have it in their base
}

// size is what a layer and those below it are compressed; 0 for nil.
func (l *layer) size() (n int64) {
	for ; l != nil; l = l.below {
		n += l.bytes
	}
	return n
}

// place tells layers apart: by what they are and what they lie on.
type place struct {
	below  *layer
	digest graph.Digest
}

// forest holds the layers of all bases.
type forest struct {
	find   map[place]*layer
	ground layer // below every lowest layer
}

// add enters the base of a unit, lowest layer first, and returns its top; nil
// for an empty base.
func (f *forest) add(u *unit, layers []journal.LayerData) *layer {
	at := &f.ground
	for _, l := range layers {
		key := place{at, l.Digest}
		next := f.find[key]
		if next == nil {
			next = &layer{id: "layer " + strconv.Itoa(len(f.find)), bytes: l.Bytes}
			if at != &f.ground {
				next.below = at
			}
			at.above = append(at.above, next)
			f.find[key] = next
		}
		next.users++
		at = next
	}
	at.tops = append(at.tops, u)
	if at == &f.ground {
		return nil
	}
	return at
}

// units lists all units so that relatives stand beside each other: those with a
// layer in common follow one another, in the order in which they came.
func (f *forest) units() []*unit {
	var out []*unit
	var visit func(l *layer)
	visit = func(l *layer) {
		out = append(out, l.tops...)
		for _, a := range l.above {
			visit(a)
		}
	}
	visit(&f.ground)
	return out
}
