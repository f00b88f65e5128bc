package estimate_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
)

// fleet is simulated: what its images take alone, in seconds, in the order in
// which they are made after a sample of one in ten.
type fleet struct {
	seconds []float64
	crowd   float64 // 0: each goes as fast as alone, 1: they share what a machine can do
}

const (
	atOnce  = 4  // images, when there is reason enough
	stretch = 10 // images to a part
)

// run makes the fleet with a machine whose pace drifts, and returns the wall time
// and what was said of it after a tenth.
func (f fleet) run(t *testing.T, r *rand.Rand) (low, value, high, wall float64) {
	n := len(f.seconds)
	var order []int
	for i := range n / 10 {
		order = append(order, 10*i+5)
	}
	for i := range n {
		if !slices.Contains(order[:n/10], i) {
			order = append(order, i)
		}
	}
	parts := make([]estimate.Part, n/stretch)
	for i := range n {
		parts[i/stretch].Weight++
		parts[i/stretch].Squares++
	}
	var w estimate.Work
	at := func() time.Duration { return time.Duration(wall * float64(time.Second)) }
	left := map[int]float64{} // seconds of those that run
	load, target := 1.0, 2
	for len(order) > 0 || len(left) > 0 {
		for len(left) < target && len(order) > 0 {
			i := order[0]
			order = order[1:]
			left[i] = f.seconds[i] + 0.8 + 0.3*r.ExpFloat64()
			w.Start(fmt.Sprint(i), estimate.Place{Order: i, Part: i / stretch, Weight: 1}, at())
		}
		rate := 1 / (load * math.Pow(float64(len(left)), f.crowd))
		step := 1.0
		for _, s := range left {
			step = min(step, s/rate)
		}
		wall += step
		load = math.Exp(0.98*math.Log(load) + 0.03*r.NormFloat64())
		for _, i := range slices.Sorted(maps.Keys(left)) {
			if left[i] -= step * rate; left[i] > 1e-9 {
				continue
			}
			delete(left, i)
			w.End(fmt.Sprint(i), at(), true)
			parts[i/stretch].Weight--
			parts[i/stretch].Squares--
			target = min(atOnce, target+1)
			if w.Done() == n/10 {
				said, ok := w.Wall(at(), parts)
				if !ok {
					t.Fatal("nothing is said after a tenth")
				}
				low, value, high = float64(said.Low)/1e9, float64(said.Value)/1e9, float64(said.High)/1e9
			}
		}
	}
	return low, value, high, wall
}

// TestWallOfRuns: whatever images do to each other, and in whatever order slow
// ones come, the wall time is inside what was said after a tenth in nearly nine
// runs of ten, mostly not far off, and that was rarely wider than 35 % to either
// side.
func TestWallOfRuns(t *testing.T) {
	const n, runs = 100, 200
	shapes := map[string]func(r *rand.Rand) float64{
		"tenfold, slow ones last": func(r *rand.Rand) float64 { return math.Pow(10, r.Float64()) },
		"alike":                   func(r *rand.Rand) float64 { return 3 * math.Exp(0.3*r.NormFloat64()) },
		"sixfold, mixed":          func(r *rand.Rand) float64 { return 1.5 * math.Pow(6, r.Float64()) },
	}
	for name, seconds := range shapes {
		for _, crowd := range []float64{0, 0.5, 1} {
			t.Run(fmt.Sprint(name, " ", crowd), func(t *testing.T) {
				inside, wide := 0, 0
				var off []float64
				for seed := range uint64(runs) {
					r := rand.New(rand.NewPCG(seed, 3))
					f := fleet{make([]float64, n), crowd}
					for i := range f.seconds {
						f.seconds[i] = seconds(r)
					}
					if name == "tenfold, slow ones last" {
						slices.Sort(f.seconds)
					}
					low, value, high, wall := f.run(t, r)
					if low <= wall && wall <= high {
						inside++
					}
					if high-low > 2*0.35*value {
						wide++
					}
					off = append(off, value/wall-1)
				}
				slices.Sort(off)
				if inside < runs*85/100 || wide > runs/20 || math.Abs(off[runs/2]) > 0.08 {
					t.Errorf("of %d runs %d are inside, %d are wide; half are off by %.2f or more", runs, inside, wide, off[runs/2])
				}
				t.Logf("%d inside, %d wide, off by %.2f to %.2f in nine of ten", inside, wide, off[runs/20], off[runs*19/20])
			})
		}
	}
}
