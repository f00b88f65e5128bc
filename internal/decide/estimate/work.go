package estimate

import (
	"math"
	"time"
)

// Place is where an image is in its fleet.
type Place struct {
	// Order is its place in the order in which images are made, Part the stretch
	// of that order that it belongs to, from 0.
	Order, Part int
	// Weight is what is expected of its time, in whatever unit; 1 when nothing is.
	Weight float64
}

// Work measures the time that images take while others run beside them. The
// zero value has seen nothing. It is not for concurrent use.
type Work struct {
	open    map[string]task
	done    []task
	running int
	beside  int     // that ran when the last one began, itself included
	shared  float64 // seconds, each divided by the number of images that ran then
	last    time.Duration
}

// task is an image at work, or that was.
type task struct {
	Place
	at     time.Duration
	shared float64 // of the work, at that time
	took   float64 // seconds
	beside float64 // images that ran meanwhile, itself included; the harmonic mean
}

// Start tells that an image begins.
func (w *Work) Start(image string, p Place, now time.Duration) {
	w.tick(now)
	if w.open == nil {
		w.open = map[string]task{}
	}
	if _, ok := w.open[image]; !ok {
		w.running++
	}
	w.beside = w.running
	w.open[image] = task{Place: p, at: now, shared: w.shared}
}

// End tells that an image ends. Only one that was made counts.
func (w *Work) End(image string, now time.Duration, made bool) {
	w.tick(now)
	t, ok := w.open[image]
	if !ok {
		return
	}
	delete(w.open, image)
	w.running--
	if t = w.measure(t, now); made && t.took > 0 {
		w.done = append(w.done, t)
	}
}

// Done is the number of images that were made.
func (w *Work) Done() int { return len(w.done) }

func (w *Work) tick(now time.Duration) {
	if now > w.last {
		w.shared += (now - w.last).Seconds() / float64(max(w.running, 1))
		w.last = now
	}
}

// measure says how long a task took until now, and how many ran beside it.
func (w *Work) measure(t task, now time.Duration) task {
	t.took = (now - t.at).Seconds()
	if t.took > 0 {
		t.beside = math.Max(1, t.took/(w.shared-t.shared))
	}
	return t
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
