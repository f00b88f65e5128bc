package sched

import (
	"fmt"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

const (
	// peakLow and peakHigh bound the highest reading against what is forecast.
	peakLow, peakHigh = 0.75, 1.3
	// looks is how often the time limit is looked at in a run.
	looks = 100
)

func (s *Scheduler) placeOf(u *unit) estimate.Place {
	return estimate.Place{Order: u.order, Part: u.part, Weight: s.weight(u)}
}

// Wall forecasts the wall time of the run; see [estimate.Work.Wall].
func (s *Scheduler) Wall() (journal.Interval[int64], bool) {
	return s.work.Wall(s.now, s.rest)
}

// Forecast says where the run is going; ok is false until two images are done.
// It looks at every image that is done: ask now and then, not at each event.
func (s *Scheduler) Forecast() (f journal.ForecastData, ok bool) {
	if f.Wall, ok = s.Wall(); !ok {
		return f, false
	}
	f.Done = s.work.Done()
	for _, w := range s.workers {
		if w.ledger == nil {
			continue
		}
		if p := s.peak(w); p.Value > f.Peak.Value {
			f.Peak = p
		}
	}
	return f, true
}

// peak forecasts the highest reading of a worker's disk: what cannot be given
// back, dead records until they are worth a release, and what runs. It is never
// below what was seen nor, as the budget holds, above the ceiling.
func (s *Scheduler) peak(w *worker) journal.Interval[int64] {
	l := w.ledger
	own := s.model.Mean()
	if own == 0 {
		own = s.model.Own(0)
	}
	slots := int64(min(max(s.limits.Jobs, 1), s.left))
	ready := int64(0)
	for _, o := range s.workers {
		if o.ready {
			ready++
		}
	}
	lazily := w.worthIt()
	dead := s.gathered(w.ended) + s.gathered(w.going)
	kept := max(0, l.Used()-dead-int64(len(w.running))*own/2)
	value := kept + min(lazily+own, dead+int64(s.left)*own/max(ready, 1)) + slots*own
	value = max(l.Peak(), min(value, l.Ceiling()))
	high := max(value, min(int64(peakHigh*float64(value)), l.Ceiling()))
	return journal.Interval[int64]{Low: max(l.Peak(), int64(peakLow*float64(value))), Value: value, High: high}
}

// limit says once that the run will not end within its time limit, when the
// sample is done and even the low end of the forecast is above it.
func (s *Scheduler) limit() []Action {
	n := s.work.Done()
	if s.limits.Limit <= 0 || s.stopped || s.left == 0 || n < max(2, len(s.rest)) || n < s.looked+max(1, s.queued/looks) {
		return nil
	}
	s.looked = n
	wall, ok := s.Wall()
	limit := s.limits.Since + s.limits.Limit
	if !ok || time.Duration(wall.Low) <= limit {
		return nil
	}
	s.stopped = true
	round := func(d time.Duration) time.Duration { return d.Round(time.Second) }
	return []Action{{Do: Stop, Why: fmt.Sprintf("it would take %s to %s, and may take %s", round(time.Duration(wall.Low)-s.limits.Since), round(time.Duration(wall.High)-s.limits.Since), round(s.limits.Limit))}}
}
