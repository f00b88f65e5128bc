package summary

import (
	"math/bits"
	"slices"
	"time"
)

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

// seconds are the figures of a histogram that a summary shows, kept up to date
// in place: the summary is read while it is written, and often.
func (h *histogram) seconds(p50, p95 **float64) {
	if *p50 == nil {
		*p50, *p95 = new(float64), new(float64)
	}
	**p50, **p95 = h.quantile(0.50).Seconds(), h.quantile(0.95).Seconds()
}
