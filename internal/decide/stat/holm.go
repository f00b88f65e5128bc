package stat

import (
	"cmp"
	"slices"
)

// Holm returns the chances of error p, in their order, adjusted for being many
// (Holm 1979): the claims whose adjusted chance is at most alpha hold together
// with a chance of at least 1 - alpha that none of them is false, whatever
// depends on what.
func Holm(p []float64) []float64 {
	out := make([]float64, len(p))
	least := 0.0
	for rank, i := range ascending(p) {
		least = min(1, max(least, float64(len(p)-rank)*p[i]))
		out[i] = least
	}
	return out
}

// ascending are the indexes of p from the smallest value on.
func ascending(p []float64) []int {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(p[i], p[j]) })
	return order
}

// Together takes the comparisons of one question for a family of claims: it
// returns them, in their order, with the chances that [Holm] gives them, and
// takes back the verdicts for which they are then too large. Metrics without
// noise cannot err and do not count. Alpha is that of [Compare].
func Together(family []Comparison, alpha float64) []Comparison {
	if alpha == 0 {
		alpha = DefaultAlpha
	}
	out := slices.Clone(family)
	var noisy []int
	var p []float64
	for i, c := range out {
		if c.Kind == Timed {
			noisy, p = append(noisy, i), append(p, c.P)
		}
	}
	adjusted := Holm(p)
	for rank, k := range ascending(p) {
		c := &out[noisy[k]]
		c.Adjusted = adjusted[k]
		if c.Adjusted <= alpha {
			continue
		}
		if c.Verdict != Unknown {
			c.Verdict, c.Why, c.Relevant, c.AtLeast = Unknown, Family, false, 0
		}
		if c.timed != nil {
			c.More = c.timed.more(alpha / float64(len(p)-rank))
		}
	}
	return out
}
