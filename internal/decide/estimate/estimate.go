// Package estimate learns from a run what images take of disk and time, and
// says from what it learned where the run is going; and it knows what earlier
// runs of a fleet tell of the next one.
//
// A [Model] is about disk, [Work] about time, and a [History] about both in
// earlier journals. All are pure. Sizes are bytes.
package estimate

import (
	"math"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// baseFactor is what a base layer takes on a daemon per compressed byte, blob
// and unpacked files together, as long as no release has told.
const baseFactor = 4.0

// margin is what is added to what images were seen to take, for those that were
// not seen.
const margin = 1.15

// Model is what was learned about disk. The zero value knows nothing and is
// ready. It is not for concurrent use.
type Model struct {
	own, images int64   // sum of what releases found above bases, and for how many
	most        int64   // the largest mean of a release
	scale       float64 // the largest ratio of what images took to what was expected
	solo        int64   // the growth of the disk while the first image ran alone
	base, comp  int64   // of released base layers: bytes, and compressed bytes
	trusted     bool
}

// Released learns from a release that was for a number of images, of which
// expected bytes were expected together; 0 when nothing was.
func (m *Model) Released(d journal.ReleaseData, images, expected int64) {
	if images > 0 {
		m.own += d.Own
		m.images += images
		m.most = max(m.most, d.Own/images)
	}
	if expected > 0 {
		m.scale = max(m.scale, float64(d.Own)/float64(expected))
	}
	if d.Compressed > 0 {
		m.base += d.Base
		m.comp += d.Compressed
	}
}

// Solo tells by how much the disk grew at most while one image ran with nothing
// beside it, its base included.
func (m *Model) Solo(growth int64) { m.solo = max(m.solo, growth) }

// Trust tells that an image which had the whole room took more: from now on
// what is only assumed of base layers is reason enough to turn an image down.
func (m *Model) Trust() { m.trusted = true }

// Known tells whether it was seen what an image takes, be it nothing.
func (m *Model) Known() bool { return m.images > 0 || m.solo > 0 }

// Own is what an image is expected to take above its base, with a margin.
// Expect is what earlier runs say of it, 0 when they say nothing. The answer is
// 0 when nothing is known, or that it takes nothing.
func (m *Model) Own(expect int64) int64 { return int64(math.Ceil(margin * float64(m.plain(expect)))) }

// Shared is what a shared step is expected to take of which earlier runs say so
// much, with a margin.
func (m *Model) Shared(expect int64) int64 { return int64(math.Ceil(margin * float64(expect))) }

// plain is the same without the margin.
func (m *Model) plain(expect int64) int64 {
	switch {
	case expect > 0:
		return int64(max(1, m.scale) * float64(expect))
	case m.most > 0:
		return m.most
	}
	return m.solo
}

// Mean is what an image took above its base on the average; 0 when no release told.
func (m *Model) Mean() int64 {
	if m.images == 0 {
		return 0
	}
	return m.own / m.images
}

// Base is what base layers take that are compressed bytes in a registry, with a
// margin when that was measured.
func (m *Model) Base(compressed int64) int64 {
	if m.comp > 0 {
		return int64(margin * m.factor() * float64(compressed))
	}
	return int64(baseFactor * float64(compressed))
}

// factor is what was measured per compressed byte, or assumed.
func (m *Model) factor() float64 {
	if m.comp > 0 {
		return max(1, float64(m.base)/float64(m.comp))
	}
	return baseFactor
}

// Total is what an image and base layers take, without margins.
func (m *Model) Total(expect, compressed int64) int64 {
	return m.plain(expect) + int64(m.factor()*float64(compressed))
}

// Least is what an image and base layers take at least. What is only assumed of
// base layers, or known of other images only, does not count unless it is
// trusted; and what is expected of the image is not corrected by that of others.
func (m *Model) Least(expect, compressed int64) int64 {
	factor := 1.0
	if m.comp > 0 || m.trusted {
		factor = m.factor()
	}
	if expect == 0 && m.trusted {
		expect = m.Mean()
	}
	return expect + int64(factor*float64(compressed))
}
