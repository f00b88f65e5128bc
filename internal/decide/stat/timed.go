package stat

import (
	"maps"
	"math"
	"slices"
	"sort"
)

// interval is what the runs say of the logarithm of B / A.
type interval struct {
	middle float64
	margin float64 // logarithm of the ratio up to which nothing changed
	spread float64 // the pooled standard deviation of one run
	runs   int     // of both sides
	blocks int
	a, b   int     // runs in the block that tells most
	others float64 // what the other blocks tell, as a weight
}

// freedom is the degrees of freedom after k further runs a side.
func (i interval) freedom(k int) float64 { return float64(i.runs + 2*k - i.blocks - 1) }

// deviation is the standard deviation of the middle after k further runs a side,
// in the block that tells most.
func (i interval) deviation(k int) float64 {
	return i.spread / math.Sqrt(i.others+weight(i.a+k, i.b+k))
}

// weight is how much so many runs of the sides tell of their difference: the
// variance of one run over that of the difference.
func weight(a, b int) float64 { return float64(a) * float64(b) / float64(a+b) }

// half is half of the interval's width after k further runs a side.
func (i interval) half(k int, alpha float64) float64 {
	return Quantile(1-alpha/2, i.freedom(k)) * i.deviation(k)
}

// room is how wide half of the interval may be for a verdict, which is moved if
// the middle is beyond the margin, and the same if it is not.
func (i interval) room() (room float64, moved bool) {
	if d := math.Abs(i.middle); d > i.margin {
		return d, true
	}
	return i.margin - math.Abs(i.middle), false
}

// p is the smallest alpha at which the interval fits into the room.
func (i interval) p() float64 {
	room, _ := i.room()
	if s := i.deviation(0); s > 0 {
		return 2 * tail(room/s, i.freedom(0))
	}
	return 0
}

// more is how many further runs a side make the interval fit, at the least; 0
// when not even [MaxMore] do.
func (i interval) more(alpha float64) int {
	room, _ := i.room()
	k := 1 + sort.Search(MaxMore, func(k int) bool { return i.half(k+1, alpha) <= room })
	if k > MaxMore {
		return 0
	}
	return k
}

// timedVerdict decides a metric with noise.
func (c *Comparison) timedVerdict(m Metric, a, b []Value, alpha float64) {
	_, _, cutA := bounds(a)
	_, _, cutB := bounds(b)
	blocks := inBlocks(a, b)
	if cutA || cutB {
		if c.Why = Cut; len(blocks) == 1 {
			c.orderVerdict(m, a, b, alpha)
		}
		return
	}
	i, ok := difference(blocks)
	if !ok {
		c.Why, c.More = Few, max(1, wanting(m, c.A, c.B))
		return
	}
	i.margin = math.Log1p(m.Margin)
	half := i.half(0, alpha)
	c.timed = &i
	c.Ratio = &Range{Low: math.Exp(i.middle - half), Value: math.Exp(i.middle), High: math.Exp(i.middle + half)}
	c.P = i.p()
	c.Adjusted = c.P
	if c.P > alpha {
		c.Why, c.More = Spread, i.more(alpha)
		return
	}
	if _, moved := i.room(); moved {
		c.moved(m, i.middle > 0)
	} else {
		c.Verdict = Same
	}
}

// block is the runs of both sides that share a machine.
type block struct{ a, b []Value }

// inBlocks are the runs by block, in the order of their names.
func inBlocks(a, b []Value) []block {
	by := map[string]block{}
	for _, v := range a {
		x := by[v.Block]
		x.a = append(x.a, v)
		by[v.Block] = x
	}
	for _, v := range b {
		x := by[v.Block]
		x.b = append(x.b, v)
		by[v.Block] = x
	}
	var out []block
	for _, name := range slices.Sorted(maps.Keys(by)) {
		out = append(out, by[name])
	}
	return out
}

// difference is that of the sides inside blocks: the least squares estimate when
// every block has a level of its own. A block with runs of one side tells of the
// spread only. ok is false when no block has both sides, or nothing is left to know
// the spread from.
func difference(blocks []block) (i interval, ok bool) {
	var squares, most, all float64
	var gaps, weights []float64
	for _, x := range blocks {
		i.runs += len(x.a) + len(x.b)
		i.blocks++
		var means [2]float64
		for side, values := range [][]Value{x.a, x.b} {
			if len(values) > 0 {
				mean, s := moments(values)
				means[side] = mean
				squares += s
			}
		}
		if len(x.a) == 0 || len(x.b) == 0 {
			continue
		}
		w := weight(len(x.a), len(x.b))
		gaps, weights = append(gaps, means[1]-means[0]), append(weights, w)
		if all += w; w > most {
			most, i.a, i.b = w, len(x.a), len(x.b)
		}
	}
	if all == 0 || i.freedom(0) < 1 {
		return i, false
	}
	for k, gap := range gaps {
		i.middle += gap * weights[k] / all
	}
	for k, gap := range gaps {
		squares += weights[k] * (gap - i.middle) * (gap - i.middle)
	}
	i.others, i.spread = all-most, math.Sqrt(squares/i.freedom(0))
	return i, true
}

func (c *Comparison) moved(m Metric, up bool) {
	c.Relevant = true
	c.Verdict = Regressed
	if up == m.Higher {
		c.Verdict = Improved
	}
}

// orderVerdict decides when runs were cut short. One side has none of them; of
// the other every run, be it cut short, lies beyond what one more run of the
// first would reach: its prediction interval (Whitmore 1986). So a value that is
// only a bound serves as a bound, and is not averaged.
func (c *Comparison) orderVerdict(m Metric, a, b []Value, alpha float64) {
	c.Why = Cut
	for _, up := range []bool{true, false} {
		low, high := a, b
		if !up {
			low, high = b, a
		}
		least, _, _ := bounds(high)
		_, most, cut := bounds(low)
		if cut || most >= least || len(low) < 2 {
			continue
		}
		mean, squares := moments(low)
		n := float64(len(low))
		gap, deviation := math.Log(least)-mean, math.Sqrt(squares/(n-1)*(1+1/n))
		p := 0.0
		if deviation > 0 {
			p = 2 * tail(gap/deviation, n-1)
		}
		if gap <= math.Log1p(m.Margin) {
			continue
		}
		c.P, c.Adjusted = p, p
		if p <= alpha {
			c.Why, c.AtLeast = "", math.Exp(gap)
			c.moved(m, up)
		}
	}
}

// moments are the mean of the logarithms, and the sum of the squares of their
// distances from it.
func moments(values []Value) (mean, squares float64) {
	for _, v := range values {
		mean += math.Log(v.V)
	}
	mean /= float64(len(values))
	for _, v := range values {
		d := math.Log(v.V) - mean
		squares += d * d
	}
	return mean, squares
}

// Middle is the geometric mean of the runs of a timed metric with its interval:
// Student's t of the logarithms. Alpha is the chance that the interval misses it,
// 0 for [DefaultAlpha]. False with fewer than two runs, with one that was cut
// short, and with values that are not above 0.
func Middle(values []Value, alpha float64) (Range, bool) {
	if len(values) < 2 || !numbers(Metric{Kind: Timed}, values) {
		return Range{}, false
	}
	if _, _, cut := bounds(values); cut {
		return Range{}, false
	}
	if alpha == 0 {
		alpha = DefaultAlpha
	}
	mean, squares := moments(values)
	n := float64(len(values))
	half := Quantile(1-alpha/2, n-1) * math.Sqrt(squares/(n-1)/n)
	return Range{Low: math.Exp(mean - half), Value: math.Exp(mean), High: math.Exp(mean + half)}, true
}
