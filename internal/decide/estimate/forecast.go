package estimate

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

const (
	// floor is the least relative half-width of an interval: what is left of a
	// run is never known better, as machines and registries change their pace.
	floor = 0.15
	// longer is what an image that runs is thought to take in all when none that
	// is done took as long as it does already, as a multiple of its time so far.
	longer = 1.3
)

// Part is what is left of a stretch of the order.
type Part struct {
	// Weight is the sum of the weights of its images that are not done, and
	// Squares that of their squares.
	Weight, Squares float64
}

// Wall is the whole time that a run will have taken that is elapsed old and has
// parts left, with a 90 % interval in nanoseconds; ok is false until two images
// are done.
//
// An image's cost is the part of the run's time that it takes up: at the
// concurrency of the last images, wall time is the sum of the costs. Each part
// is forecast from its own images, so that it does not matter that those which
// are done come from the beginning, when a sample was taken over the whole. The
// variance is that of neighbours in the order, which a trend along the order
// does not widen; bounds are those of Student's t.
//
// It looks at every image that is done, and sorts them.
func (w *Work) Wall(elapsed time.Duration, left []Part) (journal.Interval[int64], bool) {
	if len(w.done) < 2 {
		return journal.Interval[int64]{}, false
	}
	costs := w.costs(elapsed)
	s2 := costs.variance()
	var rest, variance float64
	for part, p := range left {
		mean, n := costs.mean(part)
		rest += p.Weight * mean
		variance += s2 * (p.Weight*p.Weight/float64(max(n, 1)) + p.Squares)
	}
	half := math.Max(t95(float64(len(costs.done)-1))*math.Sqrt(variance), floor*rest)
	at := func(s float64) int64 { return int64(elapsed + seconds(math.Max(0, s))) }
	return journal.Interval[int64]{Low: at(rest - half), Value: at(rest), High: at(rest + half)}, true
}

// cost is that of an image per unit of its weight, in seconds.
type cost struct {
	Place
	value float64
}

// costs are those of the images that are done, in order, and of those that run
// already for longer than others of their part took.
type costs struct {
	done []cost
	sum  map[int]float64 // by part
	n    map[int]int
	all  float64 // mean
}

func (w *Work) costs(now time.Duration) costs {
	pace := w.pace()
	c := costs{sum: map[int]float64{}, n: map[int]int{}}
	for _, t := range w.done {
		v := pace.cost(t)
		c.done = append(c.done, cost{t.Place, v})
		c.add(t.Part, v)
		c.all += v / float64(len(w.done))
	}
	w.tick(now)
	var late []cost
	for _, t := range w.open {
		if t = w.measure(t, now); t.took <= 0 {
			continue
		}
		v := pace.cost(t)
		if mean, _ := c.mean(t.Part); v > mean {
			late = append(late, cost{t.Place, v})
		}
	}
	byOrder := func(a, b cost) int { return cmp.Compare(a.Order, b.Order) }
	slices.SortFunc(c.done, byOrder)
	slices.SortFunc(late, byOrder)
	for _, l := range late {
		c.add(l.Part, c.beyond(l.value))
	}
	return c
}

func (c *costs) add(part int, v float64) {
	c.sum[part] += v
	c.n[part]++
}

// mean is the mean cost in a part, and of how many images; that of all when no
// image of the part is done.
func (c *costs) mean(part int) (float64, int) {
	if n := c.n[part]; n > 0 {
		return c.sum[part] / float64(n), n
	}
	return c.all, 0
}

// beyond is the mean cost of those that cost more than v.
func (c *costs) beyond(v float64) float64 {
	sum, n := 0.0, 0
	for _, d := range c.done {
		if d.value > v {
			sum += d.value
			n++
		}
	}
	if n == 0 {
		return longer * v
	}
	return sum / float64(n)
}

// variance is half the mean square of the differences between neighbours.
func (c *costs) variance() float64 {
	var sum float64
	for i := range c.done[1:] {
		d := c.done[i+1].value - c.done[i].value
		sum += d * d
	}
	return sum / float64(2*(len(c.done)-1))
}

// pace is how the time of an image depends on how many run beside it: with the
// power of an exponent, which is 1 when they only share what a machine can do,
// and 0 when they do not disturb each other.
type pace struct{ exponent, beside float64 }

func (p pace) cost(t task) float64 {
	return t.took / math.Pow(t.beside, p.exponent) * math.Pow(p.beside, p.exponent-1) / t.Weight
}

// pace learns the exponent from images that ran beside unlike numbers of
// others. There may be few, and they differ in themselves, so the slope of the
// regression is drawn towards one half as much as if that were known to one half.
func (w *Work) pace() pace {
	const prior, priorSD = 0.5, 0.5
	n := float64(len(w.done))
	var x, y, xx, xy, yy float64
	for _, t := range w.done {
		a, b := math.Log(t.beside), math.Log(t.took/t.Weight)
		x, y, xx, xy, yy = x+a, y+b, xx+a*a, xy+a*b, yy+b*b
	}
	sxx, sxy, syy := xx-x*x/n, xy-x*y/n, yy-y*y/n
	pull := syy / n / (priorSD * priorSD)
	exponent := prior
	if sxx+pull > 1e-9 {
		exponent = min(1, max(0, (sxy+prior*pull)/(sxx+pull)))
	}
	recent := w.done[len(w.done)-max(2, len(w.done)/3):]
	var beside float64
	for _, t := range recent {
		beside += t.beside / float64(len(recent))
	}
	return pace{exponent, beside}
}

// t95 is the 95 % quantile of Student's t with df degrees of freedom, by the
// expansion of Cornish and Fisher (Abramowitz and Stegun, 26.7.5); below 2
// degrees it is that of 2.
func t95(df float64) float64 {
	const z = 1.6448536269514722
	df = math.Max(2, df)
	g1 := (z*z*z + z) / 4
	g2 := (5*math.Pow(z, 5) + 16*z*z*z + 3*z) / 96
	g3 := (3*math.Pow(z, 7) + 19*math.Pow(z, 5) + 17*z*z*z - 15*z) / 384
	return z + g1/df + g2/(df*df) + g3/(df*df*df)
}
