package stat

import (
	"math"
	"sort"
)

// interval is what the runs say of the logarithm of B / A.
type interval struct {
	middle float64
	margin float64 // logarithm of the ratio up to which nothing changed
	spread float64 // the pooled standard deviation of one run
	a, b   int     // runs
}

// freedom is the degrees of freedom after k further runs a side.
func (i interval) freedom(k int) float64 { return float64(i.a + i.b + 2*k - 2) }

// deviation is the standard deviation of the middle after k further runs a side.
func (i interval) deviation(k int) float64 {
	return i.spread * math.Sqrt(1/float64(i.a+k)+1/float64(i.b+k))
}

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
	if cutA || cutB {
		c.orderVerdict(m, a, b, alpha)
		return
	}
	if c.A+c.B < 3 {
		c.Why, c.More = Few, wanting(m, c.A, c.B)
		return
	}
	meanA, squaresA := moments(a)
	meanB, squaresB := moments(b)
	i := interval{middle: meanB - meanA, margin: math.Log1p(m.Margin), a: c.A, b: c.B}
	i.spread = math.Sqrt((squaresA + squaresB) / i.freedom(0))
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
