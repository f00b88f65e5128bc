package limit

import (
	"math"
	"time"
)

const (
	slowest = 1.0   // requests a second that a learned rate does not fall below
	fastest = 200.0 // a learned rate above it is no limit any more

	// Growth of the rate with each success: slow when a refusal told the length
	// of the host's window, faster when the rate is little more than a guess.
	slowGrowth = 1.002
	fastGrowth = 1.02
)

// bucket is a token bucket. The zero value lets everything pass.
type bucket struct {
	on     bool
	rate   float64 // tokens a second
	burst  float64
	tokens float64
	at     time.Time // when tokens was right
	growth float64
}

// fill brings the tokens up to date.
func (b *bucket) fill(now time.Time) {
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.burst, b.tokens+d.Seconds()*b.rate)
		b.at = now
	}
}

// next is the time from which a token can be taken.
func (b *bucket) next(now time.Time) time.Time {
	if !b.on {
		return now
	}
	b.fill(now)
	if b.tokens >= 1 {
		return now
	}
	wait := math.Ceil((1 - b.tokens) / b.rate * float64(time.Second))
	// The microsecond makes up for rounding in fill.
	return now.Add(time.Duration(min(wait, float64(patience))) + time.Microsecond)
}

// take removes a token that next has promised.
func (b *bucket) take() {
	if b.on {
		b.tokens = max(0, b.tokens-1)
	}
}

// learn sets the rate after a refusal: passed requests were let through before
// it, and window is the time from the first of them to the end of the pause.
func (b *bucket) learn(now time.Time, passed int, window time.Duration, sure bool) {
	rate := float64(passed) / max(window.Seconds(), 0.001)
	if b.on {
		rate = min(rate, b.rate/2)
	}
	*b = bucket{on: true, rate: min(fastest, max(slowest, rate)), burst: max(1, float64(passed)), at: now, growth: fastGrowth}
	if sure {
		b.growth = slowGrowth
	}
}

// relax lets a learned rate grow fast: what passed at it was hardly refused.
func (b *bucket) relax() {
	if b.growth != 0 {
		b.growth = fastGrowth
	}
}

// grow raises a learned rate after a success, until it limits nothing.
func (b *bucket) grow(slowly bool) {
	if !b.on || b.growth == 0 {
		return
	}
	if slowly {
		b.rate *= slowGrowth
	} else {
		b.rate *= b.growth
	}
	b.on = b.rate < fastest
}

// state sets the rate to what the host says.
func (b *bucket) state(now time.Time, s stated) {
	rate := 0.0
	switch {
	case s.window > 0 && s.limit > 0:
		rate = s.limit / s.window.Seconds()
	case s.reset > 0 && s.remaining > 0:
		rate = s.remaining / s.reset.Seconds()
	default:
		return
	}
	tokens := s.remaining
	if b.on {
		b.fill(now)
		tokens = min(tokens, b.tokens)
	}
	*b = bucket{on: true, rate: rate, burst: max(1, s.limit), tokens: tokens, at: now}
}
