package estimate_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// said is what a model says of images.
type said struct {
	Own, Expected int64 // of one of which nothing, or 1000 bytes, are expected
	Base          int64 // 100 compressed bytes
	Total, Least  int64 // of an image on them, of which nothing is expected
	Known         bool
}

func TestModel(t *testing.T) {
	tests := []struct {
		name  string
		learn func(m *estimate.Model)
		want  said
	}{
		{"nothing", func(*estimate.Model) {}, said{0, 1150, 400, 400, 100, false}},
		{"alone", func(m *estimate.Model) { m.Solo(200); m.Solo(50) }, said{230, 1150, 400, 600, 100, true}},
		{"a release tells more than the disk", func(m *estimate.Model) {
			m.Solo(200)
			m.Released(journal.ReleaseData{Own: 200}, 2, 0)
		}, said{115, 1150, 400, 500, 100, true}},
		{"the largest mean counts", func(m *estimate.Model) {
			m.Released(journal.ReleaseData{Own: 200}, 2, 0)
			m.Released(journal.ReleaseData{Own: 40}, 2, 0)
		}, said{115, 1150, 400, 500, 100, true}},
		{"images that take nothing", func(m *estimate.Model) { m.Released(journal.ReleaseData{}, 2, 0) }, said{0, 1150, 400, 400, 100, true}},
		{"a release for nobody", func(m *estimate.Model) { m.Released(journal.ReleaseData{Own: 30}, 0, 0) }, said{0, 1150, 400, 400, 100, false}},
		{"what is expected is too little", func(m *estimate.Model) {
			m.Released(journal.ReleaseData{Own: 300}, 1, 100)
		}, said{345, 3450, 400, 700, 100, true}},
		{"what is expected is too much", func(m *estimate.Model) {
			m.Released(journal.ReleaseData{Own: 300}, 1, 600)
		}, said{345, 1150, 400, 700, 100, true}},
		{"base layers", func(m *estimate.Model) {
			m.Released(journal.ReleaseData{Base: 250, Compressed: 100}, 1, 0)
		}, said{0, 1150, 287, 250, 250, true}},
		{"base layers that are less than compressed", func(m *estimate.Model) {
			m.Released(journal.ReleaseData{Base: 10, Compressed: 100}, 1, 0)
		}, said{0, 1150, 114, 100, 100, true}},
		{"trusted", func(m *estimate.Model) {
			m.Released(journal.ReleaseData{Own: 100}, 1, 0)
			m.Released(journal.ReleaseData{Own: 300}, 1, 0)
			m.Trust()
		}, said{345, 1150, 400, 700, 600, true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m estimate.Model
			tt.learn(&m)
			got := said{m.Own(0), m.Own(1000), m.Base(100), m.Total(0, 100), m.Least(0, 100), m.Known()}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// one is the only part of a fleet, with n images left.
func one(n float64) []estimate.Part { return []estimate.Part{{Weight: n, Squares: n}} }

func TestWallOfEqualImages(t *testing.T) {
	var w estimate.Work
	if _, ok := w.Wall(0, one(10)); ok {
		t.Error("a forecast rests on nothing")
	}
	w.End("unheard of", 0, true)
	now := time.Duration(0)
	for i := range 3 {
		w.Start(fmt.Sprint(i), estimate.Place{Order: i, Weight: 1}, now)
		if now += time.Minute; i == 1 {
			w.End("1", now, false)
			continue
		}
		w.End(fmt.Sprint(i), now, true)
	}
	got, ok := w.Wall(now, one(10))
	want := journal.Interval[int64]{Low: int64(now + 450*time.Second), Value: int64(now + 600*time.Second), High: int64(now + 750*time.Second)}
	if diff := cmp.Diff(want, got); !ok || diff != "" || w.Done() != 2 {
		t.Errorf("%t, after %d images (-want +got):\n%s", ok, w.Done(), diff)
	}
	if got, _ := w.Wall(now, nil); got.Low != int64(now) || got.High != int64(now) {
		t.Errorf("with nothing left it ends at %v", got)
	}
}

// Of two parts, the second is four times as slow; most that is done is of the first.
func TestWallOfUnlikeParts(t *testing.T) {
	var w estimate.Work
	now := time.Duration(0)
	for i := range 12 {
		p, took := estimate.Place{Order: i, Weight: 1}, 10*time.Second
		if i >= 8 {
			p.Part, p.Order, took = 1, 100+i, 40*time.Second
		}
		w.Start(fmt.Sprint(i), p, now)
		now += took
		w.End(fmt.Sprint(i), now, true)
	}
	got, _ := w.Wall(now, []estimate.Part{{}, {Weight: 50, Squares: 50}})
	if rest := time.Duration(got.Value) - now; rest < 1900*time.Second || rest > 2100*time.Second {
		t.Errorf("50 images of 40 s are to take %v", rest)
	}
}

// An image that is expected to take three times as long weighs three.
func TestWallByWeight(t *testing.T) {
	var w estimate.Work
	now := time.Duration(0)
	for i := range 6 {
		weight := float64(1 + 2*(i%2))
		w.Start(fmt.Sprint(i), estimate.Place{Order: i, Weight: weight}, now)
		now += time.Duration(weight * float64(7*time.Second))
		w.End(fmt.Sprint(i), now, true)
	}
	got, _ := w.Wall(now, []estimate.Part{{Weight: 30, Squares: 90}})
	if rest := time.Duration(got.Value) - now; rest.Round(time.Second) != 210*time.Second {
		t.Errorf("a weight of 30 is to take %v", rest)
	}
}

// Costs add up to the time that passed, whatever ran beside what.
func TestWallSharesEachSecond(t *testing.T) {
	var w estimate.Work
	for i := range 4 {
		w.Start(fmt.Sprint(i), estimate.Place{Order: i, Weight: 1}, 0)
	}
	for i := range 4 {
		w.End(fmt.Sprint(i), 40*time.Second, true)
	}
	got, _ := w.Wall(40*time.Second, one(4))
	if d := time.Duration(got.Value); d != 80*time.Second {
		t.Errorf("four more of what took 40 s end at %v", d)
	}
}

// What runs already for longer than the others took makes the forecast longer.
func TestWallCountsWhatIsLate(t *testing.T) {
	at := func(late time.Duration) time.Duration {
		var w estimate.Work
		now := time.Duration(0)
		for i := range 4 {
			w.Start(fmt.Sprint(i), estimate.Place{Order: i, Weight: 1}, now)
			now += 10 * time.Second
			w.End(fmt.Sprint(i), now, true)
		}
		w.Start("late", estimate.Place{Order: 9, Part: 1, Weight: 1}, now)
		got, _ := w.Wall(now+late, []estimate.Part{{}, {Weight: 10, Squares: 10}})
		return time.Duration(got.Value) - now - late
	}
	if soon, later := at(5*time.Second), at(60*time.Second); soon >= later {
		t.Errorf("10 images of a part in which one runs for 5 s take %v, for 60 s %v", soon, later)
	}
}

// Images that are drawn from one population are inside the interval in 9 of 10.
func TestWallInterval(t *testing.T) {
	const runs = 400
	inside := 0
	for seed := range uint64(runs) {
		r := rand.New(rand.NewPCG(seed, 2))
		var w estimate.Work
		now, rest := time.Duration(0), time.Duration(0)
		took := func() time.Duration { return time.Duration(math.Exp(3+0.5*r.NormFloat64()) * float64(time.Second)) }
		for i := range 12 {
			w.Start(fmt.Sprint(i), estimate.Place{Order: i, Weight: 1}, now)
			now += took()
			w.End(fmt.Sprint(i), now, true)
		}
		for range 100 {
			rest += took()
		}
		if got, _ := w.Wall(now, one(100)); got.Low <= int64(now+rest) && int64(now+rest) <= got.High {
			inside++
		}
	}
	if inside < runs*88/100 {
		t.Errorf("%d of %d are inside", inside, runs)
	}
}
