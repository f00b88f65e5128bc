package limit

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/traffic"
)

var start = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// script drives a host by hand.
type script struct {
	t   *testing.T
	h   *Host
	now time.Time
	r   traffic.Ruling
}

func newScript(t *testing.T, concurrency int) *script {
	return &script{t: t, h: New(Options{Concurrency: concurrency}), now: start}
}

func (s *script) ask(ids ...uint64) {
	for _, id := range ids {
		s.r = s.h.Step(s.now, traffic.Event{Kind: traffic.Ask, ID: id})
	}
}

func (s *script) done(id uint64, status int, header ...string) bool {
	e := traffic.Event{Kind: traffic.Done, ID: id, Status: status, Header: map[string][]string{}}
	for i := 0; i < len(header); i += 2 {
		e.Header[header[i]] = []string{header[i+1]}
	}
	s.r = s.h.Step(s.now, e)
	return s.r.Again
}

func (s *script) after(d time.Duration) {
	s.now = s.now.Add(d)
	s.r = s.h.Step(s.now, traffic.Event{})
}

func (s *script) wantSend(what string, ids ...uint64) {
	s.t.Helper()
	if d := cmp.Diff(ids, s.r.Send); d != "" {
		s.t.Errorf("%s: sent (-want +got):\n%s", what, d)
	}
}

func (s *script) wantWake(what string, d time.Duration) {
	s.t.Helper()
	if got := s.r.Wake.Sub(s.now); got != d {
		s.t.Errorf("%s: wakes after %v, want %v", what, got, d)
	}
}

func TestConcurrency(t *testing.T) {
	s := newScript(t, 2)
	s.ask(1)
	s.wantSend("first", 1)
	s.ask(2)
	s.wantSend("second", 2)
	s.ask(3, 4)
	s.wantSend("full")
	s.done(2, 200)
	s.wantSend("one out", 3)
	s.h.Step(s.now, traffic.Event{Kind: traffic.Drop, ID: 4})
	s.done(1, 404)
	s.wantSend("nothing waits")
}

func TestAskTwice(t *testing.T) {
	s := newScript(t, 3)
	s.ask(1, 1)
	s.wantSend("known in flight")
	if s.done(7, 500) {
		t.Error("an id that is unknown is sent again")
	}
}

func TestRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		wait        time.Duration
		again       bool
	}{
		{"seconds", "30", 30 * time.Second, true},
		{"date", start.Add(45 * time.Second).Format("Mon, 02 Jan 2006 15:04:05 GMT"), 45 * time.Second, true},
		{"nothing to wait", "0", time.Second, true},
		{"date in the past", start.Add(-time.Hour).Format("Mon, 02 Jan 2006 15:04:05 GMT"), time.Second, true},
		{"nonsense", "soon", time.Second, true},
		{"absent", "", time.Second, true},
		{"hours", "21600", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScript(t, 4)
			s.ask(1, 2)
			var header []string
			if tt.value != "" {
				header = []string{"Retry-After", tt.value}
			}
			if again := s.done(1, 429, header...); again != tt.again {
				t.Fatalf("again = %v, want %v", again, tt.again)
			}
			if !tt.again {
				return
			}
			s.wantSend("closed")
			s.ask(3)
			s.wantSend("closed for others too")
			s.wantWake("closed", tt.wait)
			s.after(tt.wait - 1)
			s.wantSend("a moment too early")
			s.after(1)
			if len(s.r.Send) == 0 || s.r.Send[0] != 1 {
				t.Errorf("then sent %v, want 1 first", s.r.Send)
			}
		})
	}
}

func TestUnavailableWithRetryAfter(t *testing.T) {
	s := newScript(t, 4)
	s.ask(1)
	if !s.done(1, 503, "Retry-After", "20") {
		t.Fatal("not sent again")
	}
	s.wantWake("closed", 20*time.Second)
	if s.h.budget != s.h.maxBudget {
		t.Errorf("waiting as told cost %v of the budget", s.h.maxBudget-s.h.budget)
	}
}

// A host that wants to be left alone for hours is left alone: nobody waits.
func TestRefuse(t *testing.T) {
	s := newScript(t, 1)
	s.ask(1, 2, 3)
	if s.done(1, 429, "Retry-After", "21600") {
		t.Error("sent again")
	}
	if d := cmp.Diff([]uint64{2, 3}, s.r.Refuse); d != "" {
		t.Errorf("refused (-want +got):\n%s", d)
	}
	if want := start.Add(6 * time.Hour); !s.r.Until.Equal(want) {
		t.Errorf("until %v, want %v", s.r.Until, want)
	}
	s.now = s.now.Add(time.Hour)
	s.ask(4)
	if d := cmp.Diff([]uint64{4}, s.r.Refuse); d != "" {
		t.Errorf("refused an hour later (-want +got):\n%s", d)
	}
	s.now = start.Add(6*time.Hour - patience)
	s.ask(5)
	s.wantWake("near the end it waits", patience)
}

func TestBackoff(t *testing.T) {
	s := newScript(t, 4)
	s.ask(1)
	s.done(1, 200)
	s.ask(2)
	var waits []time.Duration
	for s.done(2, 502) {
		waits = append(waits, s.r.Wake.Sub(s.now))
		s.after(waits[len(waits)-1])
		s.wantSend("after its pause", 2)
	}
	want := []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond, 3200 * time.Millisecond, 6400 * time.Millisecond, 12800 * time.Millisecond}
	if d := cmp.Diff(want, waits); d != "" {
		t.Errorf("pauses (-want +got):\n%s", d)
	}
}

func TestJitter(t *testing.T) {
	for _, tt := range []struct {
		random float64
		want   time.Duration
	}{{0, 100 * time.Millisecond}, {0.5, 150 * time.Millisecond}, {1, 200 * time.Millisecond}} {
		h := New(Options{Random: func() float64 { return tt.random }})
		if got := h.delay(firstDelay, lastDelay, 1); got != tt.want {
			t.Errorf("random %v: first delay %v, want %v", tt.random, got, tt.want)
		}
	}
}

func TestWhatIsSentAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		final  bool
		want   bool
	}{
		{"no answer", 0, false, true},
		{"no answer for good", 0, true, false},
		{"timeout", 408, false, true},
		{"too many", 429, false, true},
		{"too many, final", 429, true, false},
		{"error", 500, false, true},
		{"not implemented", 501, false, false},
		{"bad gateway", 502, false, true},
		{"unavailable", 503, false, true},
		{"gateway timeout", 504, false, true},
		{"insufficient storage", 507, false, false},
		{"ok", 200, false, false},
		{"not found", 404, false, false},
		{"unauthorized", 401, false, false},
		{"forbidden", 403, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := New(Options{})
			h.Step(start, traffic.Event{Kind: traffic.Ask, ID: 1})
			if r := h.Step(start, traffic.Event{Kind: traffic.Done, ID: 1, Status: tt.status, Final: tt.final}); r.Again != tt.want {
				t.Errorf("again = %v, want %v", r.Again, tt.want)
			}
		})
	}
}

// In an outage one request at a time finds out whether the host is back, the
// waiting ones take turns, and all pass when it is.
func TestProbing(t *testing.T) {
	s := newScript(t, 8)
	s.ask(99)
	s.done(99, 200)
	for id := uint64(1); id <= 8; id++ {
		s.ask(id)
	}
	s.now = s.now.Add(time.Second)
	for id := uint64(1); id <= 8; id++ {
		if !s.done(id, 0) {
			t.Fatalf("request %d is not sent again", id)
		}
	}
	probes := map[uint64]int{}
	for range 5 {
		s.after(s.r.Wake.Sub(s.now))
		if len(s.r.Send) != 1 {
			t.Fatalf("sent %v, want one at a time", s.r.Send)
		}
		id := s.r.Send[0]
		probes[id]++
		if !s.done(id, 0) {
			t.Fatalf("probe %d is not sent again", id)
		}
	}
	if len(probes) < 5 {
		t.Errorf("probes %v, want all different", probes)
	}
	s.after(s.r.Wake.Sub(s.now))
	s.done(s.r.Send[0], 200)
	s.after(15 * time.Second)
	if n := len(s.h.inFlight); n != 7 {
		t.Errorf("%d in flight after the outage, want the 7 others", n)
	}
}

// A host that never answered fails soon; one that stays away fails everybody
// without pauses.
func TestUnreachable(t *testing.T) {
	s := newScript(t, 4)
	s.ask(1)
	n := 1
	for s.done(1, 0) {
		s.after(s.r.Wake.Sub(s.now))
		n++
	}
	if took := s.now.Sub(start); took > 2*unknownPatience || n < 3 {
		t.Errorf("gave up after %v and %d attempts", took, n)
	}
	for id := uint64(2); id < 40; id++ {
		s.ask(id)
		s.wantSend("at once", id)
		if s.done(id, 0) {
			t.Fatal("sent again")
		}
	}
}

func TestBudget(t *testing.T) {
	s := newScript(t, 1)
	id, again := uint64(0), 0
	// Failures between successes never make the host suspect.
	for range 400 {
		id++
		s.ask(id)
		if s.done(id, 500) {
			again++
			if s.h.budget < 0 {
				t.Fatalf("budget is %v after %d repetitions", s.h.budget, again)
			}
			s.h.Step(s.now, traffic.Event{Kind: traffic.Drop, ID: id})
		}
		id++
		s.ask(id)
		s.done(id, 200)
	}
	if want := minBudget + int(400*refill); again < want-2 || again > want+2 {
		t.Errorf("%d repetitions, want about %d", again, want)
	}
}

// server allows n requests in each window and states when it is over.
type server struct {
	n      int
	window time.Duration
	from   time.Time
	used   int
}

func (v *server) answer(now time.Time) (int, map[string][]string) {
	if now.Sub(v.from) >= v.window {
		v.from, v.used = now, 0
	}
	v.used++
	if v.used > v.n {
		left := v.from.Add(v.window).Sub(now)
		return 429, map[string][]string{"Retry-After": {(left.Truncate(time.Second) + time.Second).String()[:len((left.Truncate(time.Second)+time.Second).String())-1]}}
	}
	return 200, nil
}

// run sends n requests, each answered by f after 50 ms, and returns the time it
// took and how often the answer was 429.
func run(h *Host, n int, f func(time.Time) (int, map[string][]string)) (took time.Duration, refused, failed int) {
	type answer struct {
		id     uint64
		status int
		header map[string][]string
		at     time.Time
	}
	var flying []answer
	now := start
	left := n
	handle := func(r traffic.Ruling) {
		for _, id := range r.Send {
			status, header := f(now)
			if status == 429 {
				refused++
			}
			flying = append(flying, answer{id, status, header, now.Add(50 * time.Millisecond)})
		}
		failed += len(r.Refuse)
		left -= len(r.Refuse)
	}
	var wake time.Time
	for id := uint64(1); id <= uint64(n); id++ {
		r := h.Step(now, traffic.Event{Kind: traffic.Ask, ID: id})
		handle(r)
		wake = r.Wake
	}
	for left > 0 {
		if len(flying) > 0 && (wake.IsZero() || flying[0].at.Before(wake)) {
			a := flying[0]
			flying = flying[1:]
			now = a.at
			r := h.Step(now, traffic.Event{Kind: traffic.Done, ID: a.id, Status: a.status, Header: a.header})
			if !r.Again {
				left--
				if a.status != 200 {
					failed++
				}
			}
			handle(r)
			wake = r.Wake
			continue
		}
		if wake.IsZero() {
			return now.Sub(start), refused, failed + left
		}
		now = wake
		r := h.Step(now, traffic.Event{})
		handle(r)
		wake = r.Wake
	}
	return now.Sub(start), refused, failed
}

// A registry that allows 100 requests a minute gets 600 through without a
// failure, near its rate, and is seldom asked for too much.
func TestLearnsRate(t *testing.T) {
	h := New(Options{Concurrency: 16})
	v := &server{n: 100, window: time.Minute, from: start}
	took, refused, failed := run(h, 600, v.answer)
	if failed != 0 {
		t.Errorf("%d requests failed", failed)
	}
	if took > 8*time.Minute {
		t.Errorf("took %v", took)
	}
	if refused > 150 {
		t.Errorf("%d requests too many", refused)
	}
	t.Logf("took %v, %d refused", took, refused)
}

// One stray refusal must not slow a fleet down for long.
func TestForgetsRate(t *testing.T) {
	h := New(Options{Concurrency: 16})
	n := 0
	took, _, failed := run(h, 5000, func(time.Time) (int, map[string][]string) {
		n++
		if n == 3 {
			return 429, map[string][]string{"Retry-After": {"1"}}
		}
		return 200, nil
	})
	if failed != 0 || took > 3*time.Minute {
		t.Errorf("took %v, %d failed", took, failed)
	}
	t.Logf("took %v", took)
}

// With a stated limit and what remains of it, nothing is refused at all.
func TestStatedLimit(t *testing.T) {
	h := New(Options{Concurrency: 8})
	v := &server{n: 60, window: time.Minute, from: start}
	_, refused, failed := run(h, 300, func(now time.Time) (int, map[string][]string) {
		status, header := v.answer(now)
		if status == 200 {
			left := int(v.from.Add(v.window).Sub(now) / time.Second)
			header = map[string][]string{"Ratelimit-Limit": {"60"}, "Ratelimit-Remaining": {itoa(v.n - v.used)}, "Ratelimit-Reset": {itoa(left + 1)}}
		}
		return status, header
	})
	if failed != 0 || refused > 0 {
		t.Errorf("%d refused, %d failed", refused, failed)
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + max(0, n)))
	}
	return itoa(n/10) + itoa(n%10)
}

// A limit over hours, as Docker Hub states it, does not slow anything.
func TestLongWindow(t *testing.T) {
	h := New(Options{Concurrency: 4})
	took, _, failed := run(h, 100, func(time.Time) (int, map[string][]string) {
		return 200, map[string][]string{"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {"0;w=21600"}}
	})
	if failed != 0 || took > 2*time.Second {
		t.Errorf("took %v, %d failed", took, failed)
	}
}

// TestSafety plays random worlds and holds what must always hold.
func TestSafety(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(-1, 6).Draw(t, "concurrency")
		h := New(Options{Concurrency: width, Random: func() float64 { return rapid.Float64Range(0, 1).Draw(t, "random") }})
		now := start
		var closed, wake time.Time
		waiting, flying := map[uint64]bool{}, []uint64{}
		next := uint64(1)
		step := func(e traffic.Event) traffic.Ruling {
			r := h.Step(now, e)
			if e.Kind == traffic.Done {
				if i := slices.Index(flying, e.ID); i >= 0 {
					flying = slices.Delete(flying, i, i+1)
					if r.Again {
						waiting[e.ID] = true
					}
				} else if r.Again {
					t.Fatalf("unknown %d is sent again", e.ID)
				}
			}
			for _, id := range r.Send {
				if !waiting[id] {
					t.Fatalf("sent %d, which does not wait", id)
				}
				if now.Before(closed) {
					t.Fatalf("sent %d at %v, before the host allows it at %v", id, now, closed)
				}
				delete(waiting, id)
				flying = append(flying, id)
			}
			for _, id := range r.Refuse {
				if !waiting[id] {
					t.Fatalf("refused %d, which does not wait", id)
				}
				delete(waiting, id)
			}
			if len(flying) > max(1, width) {
				t.Fatalf("%d in flight, allowed are %d", len(flying), width)
			}
			if h.budget < 0 || h.budget > h.maxBudget {
				t.Fatalf("budget is %v", h.budget)
			}
			if len(waiting) > 0 && len(flying) == 0 && (r.Wake.IsZero() || !r.Wake.After(now)) {
				t.Fatalf("%d wait, nothing is in flight, and it wakes at %v", len(waiting), r.Wake)
			}
			wake = r.Wake
			return r
		}
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				waiting[next] = true
				step(traffic.Event{Kind: traffic.Ask, ID: next})
				next++
			case 2, 3:
				if len(flying) == 0 {
					continue
				}
				e := traffic.Event{Kind: traffic.Done, ID: rapid.SampledFrom(flying).Draw(t, "id"), Header: map[string][]string{}}
				e.Status = rapid.SampledFrom([]int{0, 200, 201, 404, 429, 429, 500, 503}).Draw(t, "status")
				e.Final = rapid.IntRange(0, 9).Draw(t, "final") == 0
				if s := rapid.IntRange(-1, 900).Draw(t, "retry after"); s >= 0 && (e.Status == 429 || e.Status == 503) {
					e.Header["Retry-After"] = []string{itoa(s)}
					if until := now.Add(time.Duration(s) * time.Second); until.After(closed) {
						closed = until
					}
				}
				if n := rapid.IntRange(-1, 50).Draw(t, "remaining"); n >= 0 {
					e.Header["Ratelimit-Remaining"] = []string{itoa(n)}
					e.Header["Ratelimit-Limit"] = []string{"50;w=60"}
				}
				step(e)
			case 4:
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Minute)).Draw(t, "time")))
				step(traffic.Event{})
			case 5:
				id := rapid.Uint64Range(1, next).Draw(t, "dropped")
				delete(waiting, id)
				if i := slices.Index(flying, id); i >= 0 {
					flying = slices.Delete(flying, i, i+1)
				}
				step(traffic.Event{Kind: traffic.Drop, ID: id})
			}
		}
		// Liveness: when every request succeeds from now on, all are sent or refused.
		for n := 0; len(waiting)+len(flying) > 0; n++ {
			if n > 20_000 {
				t.Fatalf("%d wait and %d fly without end", len(waiting), len(flying))
			}
			if len(flying) > 0 {
				step(traffic.Event{Kind: traffic.Done, ID: flying[0], Status: 200})
				continue
			}
			now = wake
			step(traffic.Event{})
		}
	})
}
