package summary

import (
	"time"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

const (
	// curvePoints is the most points of a curve; curveStep the time that one
	// stands for at first.
	curvePoints = 200
	curveStep   = 100 * time.Millisecond
)

// curve thins out the readings of a disk: a point stands for all readings of a
// span of time, and the spans double when there are too many.
type curve struct {
	step  time.Duration
	spans []int64 // the number of the span of each point
	used  int64   // the highest reading now
}

// meet takes the first reading of a worker's disk, of which the daemon held a
// part: the rest is others', and a budget comes on top of it.
func (s *Summary) meet(worker string, d journal.DiskData, holds int64) {
	if _, known := s.fold.others[worker]; !known {
		s.fold.others[worker] = max(d.Used-max(holds, 0), 0)
	}
	s.read(worker, d)
}

// read takes a reading of a worker's disk.
func (s *Summary) read(worker string, d journal.DiskData) {
	f := &s.fold
	if d.Budget > 0 {
		d.Budget += f.others[worker]
	}
	f.readings[worker] = d
	grow(&s.DiskPeakBytes, d.Used)
	if w := s.worker(worker); w != nil {
		grow(&w.DiskPeakBytes, d.Used)
		w.DiskFinalBytes = orZero(w.DiskFinalBytes)
		*w.DiskFinalBytes = d.Used
		if d.Budget > 0 {
			w.DiskBudgetBytes = orZero(w.DiskBudgetBytes)
			*w.DiskBudgetBytes = d.Budget
		}
	}
	var used, budget int64
	for _, r := range f.readings {
		used, budget = max(used, r.Used), max(budget, r.Budget)
	}
	f.disk.used = used
	s.DiskFinalBytes = orZero(s.DiskFinalBytes)
	*s.DiskFinalBytes = used
	if budget > 0 {
		s.DiskBudgetBytes = orZero(s.DiskBudgetBytes)
		*s.DiskBudgetBytes = budget
	}
	s.Live.Disk = s.fullest()
	s.plot(DiskPoint{AtSeconds: f.mono.Seconds(), UsedBytes: used, IO: d.IO, Memory: d.Memory})
}

// fullest is the reading that is nearest to its budget; the highest when none
// has one.
func (s *Summary) fullest() *journal.DiskData {
	var best journal.DiskData
	share := func(d journal.DiskData) float64 {
		if d.Budget <= 0 {
			return 0
		}
		return float64(d.Used) / float64(d.Budget)
	}
	for _, d := range s.fold.readings {
		if a, b := share(d), share(best); a > b || a == b && d.Used > best.Used {
			best = d
		}
	}
	return &best
}

// plot adds to the curve.
func (s *Summary) plot(p DiskPoint) {
	c := &s.fold.disk
	if c.step == 0 {
		c.step = curveStep
	}
	span := int64(s.fold.mono / c.step)
	n := len(c.spans)
	if n > 0 && c.spans[n-1] == span {
		s.DiskCurve[n-1].merge(p)
		return
	}
	c.spans = append(c.spans, span)
	s.DiskCurve = append(s.DiskCurve, p)
	for len(c.spans) > curvePoints {
		c.step *= 2
		s.DiskCurve = c.thin(s.DiskCurve)
	}
}

// thin merges the points whose spans are one now.
func (c *curve) thin(points []DiskPoint) []DiskPoint {
	n := 0
	for i, p := range points {
		span := c.spans[i] / 2
		if n > 0 && c.spans[n-1] == span {
			points[n-1].merge(p)
			continue
		}
		c.spans[n], points[n] = span, p
		n++
	}
	c.spans = c.spans[:n]
	return points[:n]
}

// merge adds a later point: the highest reading stands, with its time.
func (p *DiskPoint) merge(q DiskPoint) {
	if q.UsedBytes > p.UsedBytes {
		p.UsedBytes, p.AtSeconds = q.UsedBytes, q.AtSeconds
	}
	p.ReleasedBytes += q.ReleasedBytes
	p.IO, p.Memory = max(p.IO, q.IO), max(p.Memory, q.Memory)
}

// released adds a release.
func (s *Summary) released(e *journal.Event, d journal.ReleaseData) {
	delete(s.fold.releases, e.Worker)
	s.ReleasedBytes, s.ReleaseSeconds = orZero(s.ReleasedBytes), orZero(s.ReleaseSeconds)
	*s.ReleasedBytes += d.Bytes
	*s.ReleaseSeconds += d.Took.Seconds()

	s.Releases = orZero(s.Releases)
	r := s.Releases
	r.Count++
	r.Records += int64(d.Records)
	r.Images += int64(d.Images)
	r.OwnBytes += d.Own
	r.BaseBytes += d.Base
	r.CompressedBytes += d.Compressed
	if d.TimedOut {
		r.TimedOut++
	}
	if d.Error != "" {
		r.Failed++
	}
	s.fold.released.add(d.Took)
	s.fold.released.seconds(&r.P50Seconds, &r.P95Seconds)
	r.LongestSeconds = max(r.LongestSeconds, d.Took.Seconds())

	if w := s.worker(e.Worker); w != nil {
		w.usage(d.Before, d.After)
	}
	if len(s.fold.readings) > 0 && d.Bytes > 0 {
		s.plot(DiskPoint{AtSeconds: s.fold.mono.Seconds(), UsedBytes: s.fold.disk.used, ReleasedBytes: d.Bytes})
	}
}

// usage takes the records by type that a release found and left.
func (w *Worker) usage(before, after map[string]int64) {
	if w.Records == nil && len(before)+len(after) > 0 {
		w.Records = map[string]Usage{}
	}
	for kind, n := range before {
		u := w.Records[kind]
		u.PeakBytes = max(u.PeakBytes, n)
		w.Records[kind] = u
	}
	if after == nil {
		return
	}
	for kind, u := range w.Records {
		u.FinalBytes = 0
		w.Records[kind] = u
	}
	for kind, n := range after {
		w.Records[kind] = Usage{PeakBytes: max(w.Records[kind].PeakBytes, n), FinalBytes: n}
	}
}
