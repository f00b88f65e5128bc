package sched

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// shapes are fleets of which nothing is known beforehand, that differ in what
// makes a forecast hard.
var shapes = []struct {
	name  string
	world func(r *rand.Rand) World
}{
	{"like images, cores for all", func(r *rand.Rand) World {
		return fleet(r, 200, 0, 4, func(int) float64 { return 30 * math.Exp(0.3*r.NormFloat64()) })
	}},
	{"two cores, slow and fast images mixed", func(r *rand.Rand) World {
		return fleet(r, 160, 2, 4, func(int) float64 { return 10 * math.Pow(6, r.Float64()) })
	}},
	{"a tenfold spread, the slow ones last", func(r *rand.Rand) World {
		took := make([]float64, 200)
		for i := range took {
			took[i] = 8 * math.Pow(10, r.Float64())
		}
		slices.Sort(took)
		return fleet(r, len(took), 3, 6, func(i int) float64 { return took[i] })
	}},
}

// fleet is n images in families of relatives, in a budget that keeps a part of
// them at a time.
func fleet(r *rand.Rand, n, cores, jobs int, seconds func(i int) float64) World {
	w := World{
		Limits: journal.SchedulingData{Jobs: jobs, Budget: int64(1500+r.IntN(2000)) * mega},
		Disk:   1 << 40, Factor: 3 + r.Float64(), Release: 2 * time.Second, Cores: cores,
		Shared: []Shared{{Step: "s", Bytes: 100 * mega, Took: time.Minute}},
	}
	for i := range n {
		s := seconds(i)
		w.Tasks = append(w.Tasks, Task{
			Name: fmt.Sprintf("i%03d", i), Needs: []graph.Digest{"s"},
			Layers: []journal.LayerData{
				{Digest: graph.Digest(fmt.Sprint("family", i/20)), Bytes: 10 * mega},
				{Digest: graph.Digest(fmt.Sprint("l", i)), Bytes: int64(3+r.IntN(8)) * mega},
			},
			Own: int64(40+r.IntN(50)) * mega, Took: time.Duration(s * float64(time.Second)),
		})
	}
	return w
}

// forecast is what is thought after a tenth of a run, and what came of it.
func forecast(t *testing.T, w World) (f journal.ForecastData, wall time.Duration, peak int64) {
	t.Helper()
	var m *simulation
	w.Watch = func(e journal.Event, _ []Action, used map[string]int64) {
		for _, n := range used {
			peak = max(peak, n)
		}
		if m.sched.work.Done()*10 >= len(w.Tasks) && f.Done == 0 {
			f, _ = m.sched.Forecast()
		}
	}
	m = newSimulation(w)
	m.begin()
	out := m.run()
	if out.Published != len(w.Tasks) || f.Done == 0 {
		t.Fatalf("%d of %d images, forecast after %d", out.Published, len(w.Tasks), f.Done)
	}
	return f, out.Wall, peak
}

// half is the half-width of an interval against its value.
func half(i journal.Interval[int64]) float64 {
	return float64(i.High-i.Low) / 2 / float64(i.Value)
}

func TestForecast(t *testing.T) {
	t.Parallel()
	const seeds = 60
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			walls, peaks := 0, 0
			for seed := range uint64(seeds) {
				f, wall, peak := forecast(t, shape.world(rand.New(rand.NewPCG(seed, 1))))
				if f.Wall.Low <= int64(wall) && int64(wall) <= f.Wall.High {
					walls++
				}
				if f.Peak.Low <= peak && peak <= f.Peak.High {
					peaks++
				}
				if testing.Verbose() {
					t.Logf("wall %+.2f ±%.2f  peak %+.2f ±%.2f", float64(wall)/float64(f.Wall.Value)-1, half(f.Wall), float64(peak)/float64(f.Peak.Value)-1, half(f.Peak))
				}
				if h := half(f.Wall); h > 0.35 {
					t.Errorf("seed %d: the wall time is said to ±%.0f %%", seed, 100*h)
				}
				if h := half(f.Peak); h > 0.35 {
					t.Errorf("seed %d: the peak is said to ±%.0f %%", seed, 100*h)
				}
			}
			t.Logf("wall inside in %d, peak in %d of %d", walls, peaks, seeds)
			if walls < seeds*88/100 || peaks < seeds*88/100 {
				t.Errorf("the wall time is inside in %d and the peak in %d of %d", walls, peaks, seeds)
			}
		})
	}
}
