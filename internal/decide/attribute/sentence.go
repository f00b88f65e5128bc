package attribute

import (
	"fmt"
	"slices"
	"strings"
)

// sentence says the verdict in one sentence, without a full stop.
func (d *design) sentence(a Answer) string {
	active := d.active(a)
	total := d.show(a.Total)
	switch a.Verdict {
	case None:
		return "nothing of " + list(d.in.Factors) + " changes it"
	case Single:
		return fmt.Sprintf("%s alone changes it, by %s", active[0].Name, d.show(active[0].Alone))
	case Additive:
		if len(active) == 0 {
			active = a.Factors
		}
		return fmt.Sprintf("%s add up to %s", d.effects(active), total)
	case Combination:
		return d.together(a) + ": none of them does anything alone"
	case Masking:
		return d.hidden(a, active)
	case Crossover:
		return d.turning(a)
	default:
		return fmt.Sprintf("%s change it alone, and together it is %s, not the sum %s", d.effects(active), total, d.show(d.sum(d.all)-d.value[0]))
	}
}

// show writes a difference.
func (d *design) show(v float64) string {
	if d.in.Show != nil {
		return d.in.Show(v)
	}
	return fmt.Sprintf("%+g", v)
}

// effects names factors with what they do alone.
func (d *design) effects(factors []Factor) string {
	out := make([]string, len(factors))
	for i, f := range factors {
		out[i] = fmt.Sprintf("%s (%s)", f.Name, d.show(f.Alone))
	}
	return list(out)
}

// together names the smallest sets that change it.
func (d *design) together(a Answer) string {
	var found []Set
	var out []string
	for _, t := range a.Terms {
		change := d.value[t.Set] - d.value[0]
		known := slices.ContainsFunc(found, func(s Set) bool { return s.in(t.Set) })
		if !known && !d.within(change, 2) {
			found = append(found, t.Set)
			out = append(out, fmt.Sprintf("%s change it together, by %s", list(t.Set.Names(d.in.Factors)), d.show(change)))
		}
	}
	return strings.Join(out, "; ")
}

// hidden says what is not to be seen.
func (d *design) hidden(a Answer, active []Factor) string {
	if d.additive {
		return fmt.Sprintf("%s hide each other: together they change it by %s", d.effects(active), d.show(a.Total))
	}
	masked := slices.DeleteFunc(slices.Clone(a.Factors), func(f Factor) bool { return !d.masked(f) })
	verb := "changes it alone, but not when all else is new as well"
	if len(masked) > 1 {
		verb = "change it alone, but each adds nothing when all else is new as well"
	}
	return fmt.Sprintf("%s %s: together it is %s", d.effects(masked), verb, d.show(a.Total))
}

// turning names the factor whose effects lie farthest apart.
func (d *design) turning(a Answer) string {
	best, span := "", 0.0
	for i, f := range a.Factors {
		t := d.turns(i)
		low, high := d.marginal(i, t.low), d.marginal(i, t.high)
		if d.crosses(i) && high-low > span {
			span = high - low
			best = fmt.Sprintf("%s turns round: it does %s %s, and %s %s", f.Name, d.show(high), d.beside(t.high), d.show(low), d.beside(t.low))
		}
	}
	return best
}

// beside names a context.
func (d *design) beside(s Set) string {
	if s == 0 {
		return "alone"
	}
	return "beside " + list(s.Names(d.in.Factors))
}

// list joins names as a person would.
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
