package estimate

import (
	"math"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// floor is the least relative half-width of an interval: what is left of a run
// is never known better than that, as machines and registries change their pace.
const floor = 0.10

// Left is what a run still has to do.
type Left struct {
	// Elapsed is the run's time so far.
	Elapsed time.Duration
	// Images are those not published yet, the running ones included.
	Images int
}

// Wall is the whole time that a run will have taken, with a 90 % interval; ok
// is false until two images are done.
//
// What is left is N images drawn from the same population as the n that are
// done, so their sum has the mean N*m and the variance s²(N²/n + N); the bounds
// are those of Student's t with n-1 degrees of freedom.
func (m *Model) Wall(l Left) (journal.Interval[int64], bool) {
	c := m.work.cost()
	if len(m.work.costs) < 2 {
		return journal.Interval[int64]{}, false
	}
	// Those that run have done a part of their work already.
	n := math.Max(0, float64(l.Images)-float64(m.work.running)/2)
	rest := n * c.Mean.Seconds()
	sd := c.SD.Seconds() * math.Sqrt(n*n/math.Max(1, c.N)+n)
	half := math.Max(t95(c.N-1)*sd, floor*rest)
	at := func(s float64) int64 { return int64(l.Elapsed + seconds(math.Max(0, s))) }
	return journal.Interval[int64]{Low: at(rest - half), Value: at(rest), High: at(rest + half)}, true
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
