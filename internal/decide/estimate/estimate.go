// Package estimate learns from a journal what images take of disk and time, and
// says from what it learned where a run is going.
//
// A [Model] is a fold over journal events and is pure. It serves the scheduler
// of a run that is under way as well as a plan that is made from the journals
// of earlier runs. Sizes are bytes.
package estimate

import (
	"math"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// baseFactor is what a base layer takes on a daemon per compressed byte, blob
// and unpacked files together, as long as no release has told.
const baseFactor = 4.0

// margin is what is added to what images were seen to take, for those that were
// not seen.
const margin = 1.15

// Model is what was learned. The zero value knows nothing and is ready. It is
// not for concurrent use.
type Model struct {
	own        int64 // the largest mean of a release
	solo       int64 // the growth of the disk while the first image ran alone
	base, comp int64 // of released base layers: bytes, and compressed bytes
	work       work
}

// Fold adds an event; those that say nothing about cost are ignored.
func (m *Model) Fold(e journal.Event) {
	switch e.Kind {
	case journal.Released:
		var d journal.ReleaseData
		if e.Decode(&d) == nil {
			m.released(d)
		}
	case journal.UnitStarted:
		m.work.start(e.Unit, e.Mono)
	case journal.UnitPublished:
		m.work.end(e.Unit, e.Mono, true)
	case journal.UnitFailed, journal.UnitRetried:
		m.work.end(e.Unit, e.Mono, false)
	}
}

func (m *Model) released(d journal.ReleaseData) {
	if d.Images > 0 && d.Own > 0 {
		m.own = max(m.own, d.Own/int64(d.Images))
	}
	if d.Compressed > 0 {
		m.base += d.Base
		m.comp += d.Compressed
	}
}

// Solo tells by how much the disk grew at most while one image ran with nothing
// beside it, its base included.
func (m *Model) Solo(growth int64) { m.solo = max(m.solo, growth) }

// Known tells whether any image's own bytes were seen.
func (m *Model) Known() bool { return m.own > 0 || m.solo > 0 }

// Own is what an image is expected to take above its base, with a margin;
// expect is what earlier runs say of it, 0 when they say nothing. It is 0 when
// nothing is known.
func (m *Model) Own(expect int64) int64 {
	n := max(m.own, expect)
	if n == 0 {
		n = m.solo
	}
	return int64(margin * float64(n))
}

// Base is what base layers take that are compressed bytes in a registry.
func (m *Model) Base(compressed int64) int64 {
	f := baseFactor
	if m.comp > 0 {
		f = math.Max(1, float64(m.base)/float64(m.comp)) * margin
	}
	return int64(f * float64(compressed))
}

// Work returns how many images are done and what they cost; see [Cost].
func (m *Model) Work() (done int, cost Cost) { return len(m.work.costs), m.work.cost() }

// Cost is what the images that are done took of the fleet's time: an image's
// cost is the time it ran, divided by the number of images that ran beside it
// on the average, itself included. Costs add up to wall time whatever the
// concurrency was.
type Cost struct {
	// Mean and SD are of one image's cost; those that ran when the run was
	// still slow to start weigh less. N is the number that they weigh.
	Mean, SD time.Duration
	N        float64
}

// work measures costs.
type work struct {
	open    map[string]opened
	costs   []observed
	area    float64 // integral of running images over time, in image-seconds
	last    time.Duration
	running int
}

type opened struct {
	at   time.Duration
	area float64
}

type observed struct{ cost, beside float64 } // seconds; images

func (w *work) tick(now time.Duration) {
	if now > w.last {
		w.area += float64(w.running) * (now - w.last).Seconds()
		w.last = now
	}
}

func (w *work) start(unit string, now time.Duration) {
	w.tick(now)
	if w.open == nil {
		w.open = map[string]opened{}
	}
	if _, ok := w.open[unit]; !ok {
		w.running++
	}
	w.open[unit] = opened{now, w.area}
}

func (w *work) end(unit string, now time.Duration, published bool) {
	w.tick(now)
	o, ok := w.open[unit]
	if !ok {
		return
	}
	delete(w.open, unit)
	w.running--
	took := (now - o.at).Seconds()
	if !published || took <= 0 {
		return
	}
	beside := math.Max(1, (w.area-o.area)/took)
	w.costs = append(w.costs, observed{took / beside, beside})
}

// cost weighs each image by the concurrency that it ran at, against the
// highest: the first ones of a run have the machine for themselves.
func (w *work) cost() Cost {
	var top, sum, sq, weight, weight2 float64
	for _, o := range w.costs {
		top = math.Max(top, o.beside)
	}
	for _, o := range w.costs {
		k := o.beside / top
		weight += k
		weight2 += k * k
		sum += k * o.cost
	}
	if weight == 0 {
		return Cost{}
	}
	mean := sum / weight
	for _, o := range w.costs {
		sq += o.beside / top * (o.cost - mean) * (o.cost - mean)
	}
	n := weight * weight / weight2
	c := Cost{Mean: seconds(mean), N: n}
	if n > 1 {
		c.SD = seconds(math.Sqrt(sq / weight * n / (n - 1)))
	}
	return c
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
