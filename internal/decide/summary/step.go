package summary

import (
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// maxRows bounds the table of steps; further names share the row otherSteps.
const (
	maxRows    = 500
	otherSteps = "(other steps)"
)

type rowKey struct {
	name   string
	shared bool
}

// execution names what should run once: a shared step, or a base-bound step of
// one image, whose digest may be that of its variant.
type execution struct {
	step graph.Digest
	unit string
}

// step adds one vertex of a solve.
func (s *Summary) step(e *journal.Event, d journal.StepData) {
	f := &s.fold
	f.stepBytes += d.Pulled
	if !d.Shared {
		f.baseSeen = true
		f.basePull += d.Pulled
	}
	if counts(d) {
		s.StepsExecuted, s.StepsCached = add(s.StepsExecuted, 0), add(s.StepsCached, 0)
		if d.Cached {
			*s.StepsCached++
		} else {
			*s.StepsExecuted++
			x := execution{step: e.Step, unit: e.Unit}
			if d.Shared {
				x.unit = ""
			}
			broke, again := f.ran[x]
			if again && (broke || f.failed[e.Unit] || e.Attempt > 1) {
				f.excused++
			}
			f.ran[x] = broke || d.Error != ""
		}
	}
	s.row(d).add(d)
}

// counts tells a recipe's steps from merges, which do no work, and from what
// the solver does on its own.
func counts(d journal.StepData) bool {
	if d.Kind != "" {
		return d.Kind != graph.KindMerge
	}
	for _, own := range []string{"[internal] ", "[auth] ", "exporting ", "importing ", "merge "} {
		if strings.HasPrefix(d.Name, own) {
			return false
		}
	}
	return true
}

// row is the row of a step, made when it is the first of its name.
func (s *Summary) row(d journal.StepData) *Step {
	k := rowKey{rowName(d), d.Shared}
	if s.fold.rows[k] == nil && len(s.fold.rows) >= maxRows {
		k = rowKey{name: otherSteps}
		d.Kind = ""
	}
	r := s.fold.rows[k]
	if r == nil {
		r = &Step{Name: k.name, Kind: d.Kind, Shared: k.shared}
		s.fold.rows[k] = r
		s.Steps = append(s.Steps, r)
	}
	return r
}

// rowName is a step's name without what differs from base to base.
func rowName(d journal.StepData) string {
	const from = "] FROM "
	if i := strings.Index(d.Name, from); i >= 0 && !d.Shared {
		return d.Name[:i+len(from)] + "(base)"
	}
	return d.Name
}

func (r *Step) add(d journal.StepData) {
	r.Count++
	r.PulledBytes += d.Pulled
	if d.Error != "" {
		r.Failed++
	}
	if d.Cached {
		r.Cached++
		return
	}
	r.Executed++
	r.TotalSeconds += d.Took.Seconds()
	r.times.add(d.Took)
	p50, p95 := r.times.quantile(0.50).Seconds(), r.times.quantile(0.95).Seconds()
	r.P50Seconds, r.P95Seconds = &p50, &p95
}

// histogram counts durations in buckets whose width is 1/32 of their start, so
// that a bucket's middle is right within 1.6 % at any size.
type histogram struct {
	buckets  []bucket // sorted
	n        int64
	min, max time.Duration
}

type bucket struct {
	at int32
	n  int64
}

const subBits = 5

// bucketOf numbers the bucket of d; durations below zero count as zero.
func bucketOf(d time.Duration) int32 {
	v := uint64(max(d, 0))
	if v < 1<<subBits {
		return int32(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return int32(shift<<subBits) + int32(v>>shift)
}

// middle is the middle of a bucket.
func middle(at int32) time.Duration {
	if at < 1<<(subBits+1) {
		return time.Duration(at)
	}
	shift := at>>subBits - 1
	return time.Duration((int64(at)-int64(shift)<<subBits)<<shift + int64(1)<<shift/2)
}

func (h *histogram) add(d time.Duration) {
	at := bucketOf(d)
	i, ok := slices.BinarySearchFunc(h.buckets, at, func(b bucket, at int32) int { return int(b.at - at) })
	if !ok {
		h.buckets = slices.Insert(h.buckets, i, bucket{at: at})
	}
	if d = max(d, 0); h.n == 0 {
		h.min, h.max = d, d
	}
	h.min, h.max = min(h.min, d), max(h.max, d)
	h.buckets[i].n++
	h.n++
}

// quantile is the smallest duration that at least the share q of all do not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	var seen int64
	for _, b := range h.buckets {
		if seen += b.n; float64(seen) >= q*float64(h.n) {
			return min(max(middle(b.at), h.min), h.max)
		}
	}
	return 0
}
