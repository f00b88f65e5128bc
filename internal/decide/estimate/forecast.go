package estimate

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

const (
	// drift is by how much a machine or a registry may change its pace in the rest
	// of a run, as the half-width of an interval, relative. The engine's TestForecast
	// measures it, and TestWallOfRuns what it and the rest hold.
	drift = 0.25
	// longer is what an image that runs is thought to take in all when none that
	// is done took as long as it does already, as a multiple of its time so far.
	longer = 1.3
	// beside is how many parts to either side of one stand for it.
	beside = 2
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
// An image's cost is the part of the run's time that it takes up, so that wall
// time is the sum of the costs. Each part is forecast from its own images as far
// as the parts differ: then it does not matter that most of those which are done
// come from the beginning, when a sample was taken over the whole. Bounds are
// those of Student's t.
//
// It looks at every image that is done, and sorts them.
func (w *Work) Wall(elapsed time.Duration, left []Part) (journal.Interval[int64], bool) {
	if len(w.done) < 2 {
		return journal.Interval[int64]{}, false
	}
	costs := w.costs(elapsed, len(left))
	rest, variance := costs.sum(left)
	half := math.Hypot(t95(float64(len(costs.done)-1))*math.Sqrt(variance), drift*rest)
	at := func(s float64) int64 { return int64(elapsed + seconds(math.Max(0, s))) }
	return journal.Interval[int64]{Low: at(rest - half), Value: at(rest), High: at(rest + half)}, true
}

// cost is that of an image per unit of its weight, in seconds.
type cost struct {
	Place
	value float64
}

// costs are those of the images that are done, in order, and by part with those
// that still run and stand for others of their part.
type costs struct {
	done  []cost
	parts int
	total map[int]float64 // by part
	n     map[int]int
	mean  float64 // of all
}

func (w *Work) costs(now time.Duration, parts int) costs {
	pace := w.pace()
	c := costs{total: map[int]float64{}, n: map[int]int{}, parts: parts}
	for _, t := range w.done {
		v := pace.cost(t)
		c.done = append(c.done, cost{t.Place, v})
		c.add(t.Part, v)
	}
	w.tick(now)
	var open []cost
	for _, t := range w.open {
		if t = w.measure(t, now); t.took > 0 {
			open = append(open, cost{t.Place, pace.cost(t)})
		}
	}
	byOrder := func(a, b cost) int { return cmp.Compare(a.Order, b.Order) }
	slices.SortFunc(c.done, byOrder)
	slices.SortFunc(open, byOrder)
	c.mean = meanOf(c.done, open)
	// Those that are longer at work than others of their part took are what the
	// part lacks; the others are no news of it.
	late := slices.DeleteFunc(slices.Clone(open), func(o cost) bool {
		mean, _ := c.of(o.Part)
		return c.n[o.Part] > 0 && o.value <= mean
	})
	for _, l := range late {
		c.add(l.Part, c.beyond(l.value))
	}
	return c
}

// meanOf is the mean cost when those in open are known to cost more than they did
// so far: what is done early is what is quick, so that their own mean would be
// too low. Each one's weight goes to those that cost more, in equal parts, as
// Efron lets it in the estimate of Kaplan and Meier.
func meanOf(done, open []cost) float64 {
	type point struct {
		value float64
		open  bool
	}
	var all []point
	for _, d := range done {
		all = append(all, point{d.value, false})
	}
	for _, o := range open {
		all = append(all, point{o.value, true})
	}
	slices.SortStableFunc(all, func(a, b point) int { return cmp.Compare(a.value, b.value) })
	var sum float64
	weight := 1 / float64(len(all))
	for i, p := range all {
		rest := float64(len(all) - i - 1)
		switch {
		case !p.open:
			sum += weight * p.value
		case rest > 0:
			weight += weight / rest
		default:
			sum += weight * longer * p.value
		}
	}
	return sum
}

func (c *costs) add(part int, v float64) {
	c.total[part] += v
	c.n[part]++
}

// of is the mean cost in a part, and of how many images. A part of which no
// image is done is like those beside it.
func (c *costs) of(part int) (mean float64, n int) {
	if n := c.n[part]; n > 0 {
		return c.total[part] / float64(n), n
	}
	var sum float64
	for _, step := range []int{-1, 1} {
		for p, found := part+step, 0; p >= 0 && p < c.parts && found < beside; p += step {
			if c.n[p] > 0 {
				sum += c.total[p] / float64(c.n[p])
				n++
				found++
			}
		}
	}
	return sum / float64(n), 1
}

// sum is what all parts cost together, and its variance. Each part's own mean is
// drawn towards that of all, the more the less the parts differ.
func (c *costs) sum(left []Part) (sum, variance float64) {
	near, apart := c.variance()
	var general float64 // weight that rests on the mean of all
	for part, p := range left {
		own, n := c.of(part)
		trust := 1.0
		if near > 0 {
			trust = float64(n) * apart / (float64(n)*apart + near)
		}
		sum += p.Weight * (trust*own + (1-trust)*c.mean)
		variance += near*p.Squares + p.Weight*p.Weight*(trust*trust*near/float64(n)+(1-trust)*(1-trust)*apart)
		general += p.Weight * (1 - trust)
	}
	return sum, variance + general*general*near/float64(len(c.done))
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

// variance is that of images beside each other in the order, which is half the
// mean square of the differences between neighbours, and what is left of the
// variance of all for those that are apart.
func (c *costs) variance() (near, apart float64) {
	n := float64(len(c.done))
	var all float64 // against the mean of those too that are not done
	for i, d := range c.done {
		all += (d.value - c.mean) * (d.value - c.mean) / (n - 1)
		if i > 0 {
			step := d.value - c.done[i-1].value
			near += step * step / (2 * (n - 1))
		}
	}
	// Without a trend the two differ by chance, and images have one mean.
	if apart = all - near; apart < all/math.Sqrt(n) {
		return all, max(0, apart)
	}
	return near, apart
}

// pace is the number of images that run at once by now, and how much they are in
// each other's way.
type pace struct {
	now   float64
	crowd float64 // 0: each goes as fast as alone, 1: they only share what a machine can do
}

// cost is the time that an image took up, per unit of its weight: each second
// shared by those that ran in it. One that ran while fewer did, at the beginning,
// took up more than it will be when it is made beside others.
func (p pace) cost(t task) float64 {
	few := math.Min(1, t.beside/p.now)
	return t.took / t.beside * math.Pow(few, 1-p.crowd) / t.Weight
}

// crowding is the exponent by which an image's time grows with the number of
// those that run beside it. Neighbours in the order, which are alike, tell it when
// they ran beside other numbers: least squares through the origin of the
// differences of logarithms, drawn towards half way with the weight of a normal
// prior.
func (w *Work) crowding() float64 {
	byOrder := slices.SortedFunc(slices.Values(w.done), func(a, b task) int { return cmp.Compare(a.Order, b.Order) })
	var xx, xy, yy float64
	for i := 1; i < len(byOrder); i++ {
		a, b := byOrder[i-1], byOrder[i]
		x := math.Log(b.beside / a.beside)
		y := math.Log(b.took * a.Weight / (a.took * b.Weight))
		xx, xy, yy = xx+x*x, xy+x*y, yy+y*y
	}
	const prior, spread = 0.5, 0.35
	if xx == 0 {
		return prior
	}
	noise := math.Max(0, yy-xy*xy/xx) / float64(len(byOrder)) // of a difference
	trust := spread * spread / (spread*spread + noise/xx)
	return math.Min(1, math.Max(0, prior+trust*(xy/xx-prior)))
}

func (w *Work) pace() pace { return pace{now: float64(w.beside), crowd: w.crowding()} }

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
