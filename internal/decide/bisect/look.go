package bisect

import "math"

// view is what is known of the history between two ends.
type view struct {
	wanted   []Probe
	findings []pair
	spans    []Span
}

// pair is two groups that were measured, with none between them that was.
type pair struct{ left, right int }

// Pending returns the probes that were asked for and not answered, in the order
// of the history; of a sandwich the parent comes before the culprit.
func (s *Search) Pending() []Probe {
	v := s.look()
	if len(v.wanted) > 0 {
		return v.wanted
	}
	var out []Probe
	asked := map[int]bool{}
	for _, f := range v.findings {
		for _, g := range []int{f.left, f.right} {
			if !asked[g] && !s.groups[g].again.given {
				out = append(out, Probe{s.groups[g].speaker(), true, Sandwich})
			}
			asked[g] = true
		}
	}
	return out
}

// look reads the history: what must be probed yet, where it changed, and what
// was not examined.
func (s *Search) look() view {
	var v view
	if len(s.groups) < 2 {
		return v
	}
	first, last := s.ends()
	if first > last {
		v.spans = []Span{s.span(0, len(s.groups)-1, NoValue)}
		return v
	}
	for g, purpose := range s.required(first, last) {
		if !s.groups[g].first.given && purpose != "" {
			v.wanted = append(v.wanted, Probe{s.groups[g].speaker(), false, purpose})
		}
	}
	if len(v.wanted) > 0 {
		return v
	}
	if first > 0 {
		v.spans = append(v.spans, s.span(0, first, NoValue))
	}
	left := first
	for g := first + 1; g <= last; g++ {
		if s.groups[g].first.known() {
			s.between(&v, pair{left, g})
			left = g
		}
	}
	if last < len(s.groups)-1 {
		v.spans = append(v.spans, s.span(last, len(s.groups)-1, NoValue))
	}
	return v
}

// ends are the outermost groups that may have a value.
func (s *Search) ends() (first, last int) {
	last = len(s.groups) - 1
	for first <= last && s.groups[first].first.untestable {
		first++
	}
	for last >= first && s.groups[last].first.untestable {
		last--
	}
	return first, last
}

// required says for each group whether it is measured in any case.
func (s *Search) required(first, last int) []Purpose {
	out := make([]Purpose, len(s.groups))
	if len(out) <= s.plan.All {
		for g := range out {
			out[g] = Few
		}
	}
	out[first], out[last] = End, End
	return out
}

// between decides what to do about the groups between a pair.
func (s *Search) between(v *view, p pair) {
	differ := s.groups[p.left].first.value != s.groups[p.right].first.value
	split := s.split(p)
	heavy := s.plan.Inside > 0 && s.heaviest(p) >= s.plan.Inside
	switch {
	case split > 0 && differ:
		v.wanted = append(v.wanted, Probe{s.groups[split].speaker(), false, Split})
	case split > 0 && heavy:
		v.wanted = append(v.wanted, Probe{s.groups[split].speaker(), false, Look})
	case differ:
		v.findings = append(v.findings, p)
	case split > 0:
		v.spans = append(v.spans, s.span(p.left, p.right, EqualEnds))
	case p.right-p.left > 1:
		v.spans = append(v.spans, s.span(p.left, p.right, NoValue))
	}
}

// heaviest is the largest weight of a change between a pair.
func (s *Search) heaviest(p pair) float64 {
	most := 0.0
	for _, g := range s.groups[p.left+1 : p.right+1] {
		most = max(most, g.weight)
	}
	return most
}

// split chooses the group between a pair that is measured next, 0 when none can
// be. On neither side may more changes be left than half of the next power of
// two, so that the number of probes is that of halving; among the groups that
// keep to that, the one that halves the weight is chosen.
func (s *Search) split(p pair) int {
	changes := p.right - p.left
	most := 1
	for 2*most < changes {
		most *= 2
	}
	total := 0.0
	for _, g := range s.groups[p.left+1 : p.right+1] {
		total += g.weight
	}
	best, excess, distance := 0, 0, 0.0
	before := 0.0
	for g := p.left + 1; g < p.right; g++ {
		before += s.groups[g].weight
		if s.groups[g].first.given {
			continue
		}
		over := max(0, g-p.left-most, p.right-g-most)
		off := math.Abs(2*before - total)
		if best == 0 || over < excess || over == excess && off < distance {
			best, excess, distance = g, over, off
		}
	}
	return best
}
