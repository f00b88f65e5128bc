package attribute

import (
	"math"
	"slices"
)

// design is a two-level design with its values.
type design struct {
	in       Input
	all      Set
	value    map[Set]float64
	additive bool
}

// sets are all cells.
func (d *design) sets() []Set {
	out := make([]Set, d.all+1)
	for s := range out {
		out[s] = Set(s)
	}
	slices.SortFunc(out, bySize)
	return out
}

// outer are the cells with nothing, one, all but one and all new.
func (d *design) outer() []Set {
	return slices.DeleteFunc(d.sets(), func(s Set) bool { return s.Len() > 1 && s.Len() < d.all.Len()-1 })
}

// marginal is what factor i does when those in s, which is without it, are new.
func (d *design) marginal(i int, s Set) float64 { return d.value[s|1<<i] - d.value[s] }

// sum is what a cell would be if effects added up.
func (d *design) sum(s Set) float64 {
	v := d.value[0]
	for i := range d.in.Factors {
		if s.Has(i) {
			v += d.marginal(i, 0)
		}
	}
	return v
}

// within tells whether x may be noise, when x is a sum of cells with weights of
// which the squares add up to n. The margin is that of a difference, of which n is 2.
func (d *design) within(x, n float64) bool {
	size := 0.0
	for _, v := range d.in.Values {
		size = max(size, math.Abs(v))
	}
	const rounding = 1e-12
	return math.Abs(x) <= d.in.Margin*math.Sqrt(n/2)+rounding*size
}

// adds tells whether every value is the sum of its factors' effects alone; that
// is so when no value stands apart from the old one.
func (d *design) adds() bool {
	apart := false
	for _, v := range d.value {
		apart = apart || !d.within(v-d.value[0], 2)
	}
	if !apart {
		return true
	}
	for s, v := range d.value {
		n := float64(s.Len())
		if n > 1 && !d.within(v-d.sum(s), 1+n+(n-1)*(n-1)) {
			return false
		}
	}
	return true
}

// fill gives the cells without a value their sum, and returns them.
func (d *design) fill() []Set {
	var out []Set
	for _, s := range d.sets() {
		if _, ok := d.value[s]; !ok {
			d.value[s] = d.sum(s)
			out = append(out, s)
		}
	}
	return out
}

// terms are the interaction terms of all sets but the empty one.
func (d *design) terms() []Term {
	var out []Term
	squares := 0.0
	for _, s := range d.sets()[1:] {
		t := Term{Set: s}
		contrast := 0.0
		for u, v := range d.value {
			if u.in(s) {
				t.Value += sign(s.Len()-u.Len()) * v
			}
			contrast += sign((s &^ u).Len()) * v
		}
		t.Share = contrast * contrast
		squares += t.Share
		out = append(out, t)
	}
	for i := range out {
		if squares > 0 {
			out[i].Share /= squares
		}
	}
	return out
}

// sign is 1 for even n, else -1.
func sign(n int) float64 { return float64(1 - 2*(n&1)) }

// turn are the contexts in which a factor does the least and the most.
type turn struct {
	low, high Set
}

// turns looks at factor i in all contexts.
func (d *design) turns(i int) turn {
	t := turn{}
	for _, s := range d.sets() {
		if s.Has(i) {
			continue
		}
		if d.marginal(i, s) < d.marginal(i, t.low) {
			t.low = s
		}
		if d.marginal(i, s) > d.marginal(i, t.high) {
			t.high = s
		}
	}
	return t
}

// crosses tells whether factor i makes it less in one context and more in another.
func (d *design) crosses(i int) bool {
	t := d.turns(i)
	low, high := d.marginal(i, t.low), d.marginal(i, t.high)
	return low < 0 && high > 0 && !d.within(low, 2) && !d.within(high, 2)
}

// masked tells whether factor i does something alone, and nothing beside all others.
func (d *design) masked(f Factor) bool { return !d.within(f.Alone, 2) && d.within(f.Last, 2) }

// active are the factors that do something alone.
func (d *design) active(a Answer) []Factor {
	return slices.DeleteFunc(slices.Clone(a.Factors), func(f Factor) bool { return d.within(f.Alone, 2) })
}

func (d *design) verdict(a Answer) Verdict {
	active := d.active(a)
	total := d.within(a.Total, 2)
	switch {
	case d.additive && len(active) == 0 && total:
		return None
	case d.additive && len(active) == 1:
		return Single
	case d.additive && len(active) > 1 && total:
		return Masking
	case d.additive:
		return Additive
	}
	for i := range a.Factors {
		if d.crosses(i) {
			return Crossover
		}
	}
	switch {
	case slices.ContainsFunc(a.Factors, d.masked):
		return Masking
	case len(active) == 0:
		return Combination
	}
	return Mixed
}
