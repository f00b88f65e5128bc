// Package limit decides when the requests to one registry host are sent, and
// which failed ones are sent again.
//
// It keeps four things apart. How many requests are in flight: a fixed number.
// How fast they go: as fast as they are answered, until the host refuses some
// for its rate or states a limit; then a token bucket holds the rate that was
// seen to pass, and grows again. Refusals that a lower rate does not make fewer
// cost the pause that they ask for, and no more. When a failed request is repeated: later each
// time, at a random moment. How much may be repeated: a budget that successes
// refill, so that a broken host is not kept busy with repetitions.
//
// When several requests in a row fail, one at a time is sent until one
// succeeds, so that a short outage costs few repetitions.
package limit

import (
	"time"

	"github.com/lapstrake/lapstrake/internal/model/traffic"
)

const (
	maxAttempts = 8                      // sends of one request that fails
	firstDelay  = 200 * time.Millisecond // before the first repetition
	lastDelay   = 15 * time.Second
	throttled1  = time.Second // after a first refusal that states no time
	throttledN  = time.Minute

	// How long a request waits for a host that refuses it for its rate, that
	// fails, and that never answered at all.
	patience        = 10 * time.Minute
	outagePatience  = time.Minute
	unknownPatience = 5 * time.Second

	suspicious = 4   // failures in a row that make a host suspect
	evidence   = 16  // requests that a trial needs
	stray      = 0.1 // the share of refusals up to which they say nothing of the rate
	slower     = 0.7 // how much lower a rate must be for fewer refusals to be due
	refill     = 0.2 // of a repetition, for each success
	minBudget  = 16
)

// Options describe one host. They are read by [New] only.
type Options struct {
	// Concurrency is the number of requests in flight; less than 1 counts as 1.
	Concurrency int
	// Random returns a number in [0, 1); it spreads repetitions. Nil means no
	// spreading.
	Random func() float64
}

// Host is the policy for one host. It implements [traffic.Policy]. It is not
// safe for concurrent use.
type Host struct {
	width     int
	random    func() float64
	maxBudget float64

	now      time.Time
	seq      uint64 // sends so far
	waiting  []*request
	inFlight map[uint64]*request
	budget   float64 // repetitions left, never negative

	closed time.Time // the host wants nothing before

	// Failures since the last success, and the pause they cause.
	failures     int
	failingSince time.Time
	reached      bool // some request was answered
	probe        episode
	pause        time.Time

	throttle episode
	bucket   bucket
	trial    trial
	blamed   trial // the one for which the rate was lowered last
}

// trial is what came of the requests since the rate was judged last.
type trial struct {
	since           time.Time
	passed, refused int
	over            time.Time // of the refusal that ended it; zero while it lasts
	stated          bool      // the refusal said how long the pause is
}

// share is that of the refusals.
func (t trial) share() float64 { return float64(t.refused) / float64(max(1, t.passed+t.refused)) }

// rate is how many requests a second passed before it was over.
func (t trial) rate() float64 { return float64(t.passed) / max(t.over.Sub(t.since).Seconds(), 0.001) }

// request is one that waits or is in flight.
type request struct {
	id             uint64
	seq            uint64 // of its last send
	attempts       int
	notBefore      time.Time
	throttledSince time.Time
	probe          bool // sent to find out whether the host is back
}

// episode counts rounds of trouble. Requests that were in flight together fail
// together; they make one round.
type episode struct {
	rounds int
	until  uint64 // sends up to this one belong to the round
}

// next reports whether trouble of a request with that sequence number begins a
// new round.
func (e *episode) next(seq, sent uint64) bool {
	if e.rounds > 0 && seq <= e.until {
		return false
	}
	e.rounds++
	e.until = sent
	return true
}

// New returns the policy for a host of which nothing is known.
func New(o Options) *Host {
	h := &Host{width: max(1, o.Concurrency), random: o.Random, inFlight: map[uint64]*request{}}
	if h.random == nil {
		h.random = func() float64 { return 1 }
	}
	h.maxBudget = float64(max(minBudget, 4*h.width))
	h.budget = h.maxBudget
	return h
}

// Step takes an event into account and says what to do. A time before that of
// an earlier event counts as the latter.
func (h *Host) Step(now time.Time, e traffic.Event) traffic.Ruling {
	if now.Before(h.now) {
		now = h.now
	}
	if h.trial.since.IsZero() {
		h.trial.since = now
	}
	h.now = now
	var r traffic.Ruling
	switch e.Kind {
	case traffic.Ask:
		if !h.knows(e.ID) {
			h.waiting = append(h.waiting, &request{id: e.ID})
		}
	case traffic.Done:
		r.Again = h.done(e)
	case traffic.Drop:
		h.drop(e.ID)
	}
	if h.closed.Sub(now) > patience {
		h.refuse(&r)
		return r
	}
	h.send(&r)
	return r
}

func (h *Host) knows(id uint64) bool {
	if h.inFlight[id] != nil {
		return true
	}
	for _, q := range h.waiting {
		if q.id == id {
			return true
		}
	}
	return false
}

func (h *Host) drop(id uint64) {
	delete(h.inFlight, id)
	for i, q := range h.waiting {
		if q.id == id {
			h.waiting = append(h.waiting[:i], h.waiting[i+1:]...)
			return
		}
	}
}

// refuse turns away everything that waits.
func (h *Host) refuse(r *traffic.Ruling) {
	for _, q := range h.waiting {
		r.Refuse = append(r.Refuse, q.id)
	}
	h.waiting, r.Until = nil, h.closed
}

// send starts what may start now, and says when more may.
func (h *Host) send(r *traffic.Ruling) {
	for len(h.waiting) > 0 && len(h.inFlight) < h.width && !(h.probing() && h.probed()) {
		i, t := h.ready()
		if open := h.opens(); open.After(t) {
			t = open
		}
		if t.After(h.now) {
			r.Wake = t
			return
		}
		h.judge()
		if t := h.bucket.next(h.now); t.After(h.now) {
			r.Wake = t
			return
		}
		h.bucket.take()
		q := h.waiting[i]
		h.waiting = append(h.waiting[:i], h.waiting[i+1:]...)
		h.seq++
		q.seq = h.seq
		q.attempts++
		q.probe = h.probing()
		h.inFlight[q.id] = q
		r.Send = append(r.Send, q.id)
	}
}

// ready finds the first request that may go, or the time of the first that
// will, which is in the future.
func (h *Host) ready() (int, time.Time) {
	var first time.Time
	for i, q := range h.waiting {
		if !q.notBefore.After(h.now) {
			return i, time.Time{}
		}
		if first.IsZero() || q.notBefore.Before(first) {
			first = q.notBefore
		}
	}
	return -1, first
}

// probing tells whether requests go one at a time. A host that has failed for
// too long is not probed any more: what waits for it had better fail soon.
func (h *Host) probing() bool {
	return h.failures >= suspicious && h.budget >= 1 && !h.lost()
}

func (h *Host) lost() bool {
	limit := outagePatience
	if !h.reached {
		limit = unknownPatience
	}
	return h.failures > 0 && h.now.Sub(h.failingSince) > limit
}

// probed tells whether a probe is in flight. Other requests may be: those sent
// before, which may themselves wait for one that is not sent yet.
func (h *Host) probed() bool {
	for _, q := range h.inFlight {
		if q.probe {
			return true
		}
	}
	return false
}

func (h *Host) opens() time.Time {
	if h.probing() && h.pause.After(h.closed) {
		return h.pause
	}
	return h.closed
}

// done takes in the end of a request and reports whether it is sent again.
func (h *Host) done(e traffic.Event) bool {
	q := h.inFlight[e.ID]
	if q == nil {
		return false
	}
	delete(h.inFlight, e.ID)
	h.reached = h.reached || e.Status != 0
	wait, stated := retryAfter(e.Header, h.now)
	again := false
	switch {
	case e.Status == 429 || e.Status == 503 && stated:
		again = h.refused(q, wait, stated) && !e.Final
	case e.Final:
	case e.Status == 0 || e.Status == 408 || e.Status >= 500 && e.Status <= 504 && e.Status != 501:
		again = h.failed(q)
	default:
		h.succeeded(q)
	}
	h.heed(e.Header)
	if again && q.notBefore.After(h.now) {
		// Behind the others, so that they take turns in finding out whether the
		// host is back.
		h.waiting = append(h.waiting, q)
	} else if again {
		h.waiting = append([]*request{q}, h.waiting...)
	}
	return again
}

func (h *Host) succeeded(q *request) {
	h.failures, h.probe = 0, episode{}
	if q.seq > h.throttle.until {
		h.throttle.rounds = 0
	}
	h.budget = min(h.maxBudget, h.budget+refill)
	h.trial.passed++
	h.bucket.grow(h.poor())
}

// poor tells whether refusals had better be avoided, because they would use up
// what is left for repetitions.
func (h *Host) poor() bool { return h.budget < h.maxBudget/4 }

// judge learns from a trial that a refusal ended, when its pause is over: only
// then it is known what became of the requests that were in flight. A limit of
// the rate refuses them by the dozen, and fewer at a lower rate. Where neither
// is so, the refusals have other reasons, and to halve the rate for each would
// end in a crawl. That is risked all the same before refusals that state no
// time use up the budget.
func (h *Host) judge() {
	t := h.trial
	if t.over.IsZero() {
		return
	}
	if h.trial.over = (time.Time{}); t.passed+t.refused < evidence && (t.passed > 0 || t.refused < 2) {
		return // and the trial goes on
	}
	h.trial = trial{since: h.now}
	poor := !t.stated && h.poor()
	depends := t.rate() > slower*h.blamed.rate() || t.share() < h.blamed.share()/2
	if !poor && (t.share() <= stray || t.passed > t.refused && !depends) {
		h.bucket.relax()
		return
	}
	h.blamed = t
	h.bucket.learn(t.over, t.passed, h.closed.Sub(t.since), t.stated && t.passed >= h.width)
}

// refused handles a request that was too much for the host. Waiting as long as
// the host said costs nothing of the budget: it is no failure.
func (h *Host) refused(q *request, wait time.Duration, stated bool) bool {
	fresh := h.throttle.next(q.seq, h.seq)
	h.trial.refused++
	if !stated || wait < firstDelay {
		stated = false
		wait = max(wait, h.delay(throttled1, throttledN, h.throttle.rounds))
	}
	if fresh {
		h.trial.over, h.trial.stated = h.now, stated
	}
	if until := h.now.Add(wait); until.After(h.closed) && (stated || fresh) {
		h.closed = until
	}
	if q.throttledSince.IsZero() {
		q.throttledSince = h.now
	}
	q.attempts--
	if h.now.Add(wait).Sub(q.throttledSince) > patience {
		return false
	}
	return stated || h.pay()
}

// failed handles a request without a useful answer.
func (h *Host) failed(q *request) bool {
	if h.failures == 0 {
		h.failingSince = h.now
	}
	h.failures++
	if h.failures >= suspicious && h.probe.next(q.seq, h.seq) {
		h.pause = h.now.Add(h.delay(firstDelay, lastDelay, h.probe.rounds))
	}
	if q.attempts >= maxAttempts || h.lost() || !h.pay() {
		return false
	}
	q.notBefore = h.now.Add(h.delay(firstDelay, lastDelay, q.attempts))
	return true
}

// pay takes one repetition from the budget, if there is one.
func (h *Host) pay() bool {
	if h.budget < 1 {
		return false
	}
	h.budget--
	return true
}

// delay is exponential, from first to last, and random in its upper half.
func (h *Host) delay(first, last time.Duration, round int) time.Duration {
	d := first
	for i := 1; i < round && d < last; i++ {
		d *= 2
	}
	d = min(d, last)
	return d/2 + time.Duration(h.random()*float64(d/2))
}

// heed follows a limit that an answer states, if its window is short enough to
// matter: limits over hours are left to refusals, because often only some
// requests count against them.
func (h *Host) heed(header map[string][]string) {
	s, ok := rateLimit(header, h.now)
	if !ok || s.window > patience || s.reset > patience {
		return
	}
	if s.remaining == 0 {
		if until := h.now.Add(s.reset); until.After(h.closed) {
			h.closed = until
		}
	}
	// What is in flight may not be counted yet.
	s.remaining = max(0, s.remaining-float64(len(h.inFlight)))
	h.bucket.state(h.now, s)
}
