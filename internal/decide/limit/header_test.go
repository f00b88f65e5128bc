package limit

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRateLimit(t *testing.T) {
	s := func(n int) time.Duration { return time.Duration(n) * time.Second }
	for _, tt := range []struct {
		name   string
		header map[string][]string
		want   stated
		ok     bool
	}{
		{"none", nil, stated{}, false},
		{"Docker Hub", map[string][]string{"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {"76;w=21600"}}, stated{100, 76, s(21600), 0}, true},
		{"three headers", map[string][]string{"Ratelimit-Limit": {"100"}, "Ratelimit-Remaining": {"0"}, "Ratelimit-Reset": {"30"}}, stated{100, 0, 0, s(30)}, true},
		{"limit with policy", map[string][]string{"Ratelimit-Limit": {"10, 10;w=1, 50;w=60"}, "Ratelimit-Remaining": {"9"}}, stated{10, 9, s(1), 0}, true},
		{"with X and Unix time", map[string][]string{"X-Ratelimit-Limit": {"60"}, "X-Ratelimit-Remaining": {"5"}, "X-Ratelimit-Reset": {"1714564860"}}, stated{60, 5, 0, s(60)}, true},
		{"combined", map[string][]string{"Ratelimit": {"limit=100, remaining=50, reset=5"}}, stated{100, 50, 0, s(5)}, true},
		{"combined with policy", map[string][]string{"Ratelimit": {`"default";r=50;t=30`}, "Ratelimit-Policy": {`"default";q=100;w=10`}}, stated{100, 50, s(10), s(30)}, true},
		{"no remainder", map[string][]string{"Ratelimit-Limit": {"100"}}, stated{limit: 100}, false},
		{"nonsense", map[string][]string{"Ratelimit-Remaining": {"-3"}, "Ratelimit-Limit": {"NaN"}, "Ratelimit-Reset": {"Inf"}}, stated{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := rateLimit(tt.header, start)
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(stated{})); d != "" || ok != tt.ok {
				t.Errorf("ok = %v (-want +got):\n%s", ok, d)
			}
		})
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("30", "100;w=60", "5;w=60", "12", `"d";r=1;t=2`, `"d";q=1;w=2`)
	f.Add("Wed, 01 May 2024 12:00:30 GMT", "", "", "1714564860", "limit=1, remaining=0, reset=3", "")
	f.Fuzz(func(t *testing.T, retry, limit, remaining, reset, combined, policy string) {
		h := map[string][]string{
			"Retry-After": {retry}, "Ratelimit-Limit": {limit}, "Ratelimit-Remaining": {remaining}, "Ratelimit-Reset": {reset},
			"Ratelimit": {combined}, "Ratelimit-Policy": {policy},
		}
		if d, _ := retryAfter(h, start); d < 0 || d > farthest {
			t.Errorf("retry after %v", d)
		}
		s, _ := rateLimit(h, start)
		for _, n := range []float64{s.limit, s.remaining} {
			if n < 0 || math.IsNaN(n) || math.IsInf(n, 0) {
				t.Errorf("number %v", n)
			}
		}
		for _, d := range []time.Duration{s.window, s.reset} {
			if d < 0 || d > farthest {
				t.Errorf("time %v", d)
			}
		}
		// Whatever it says, a bucket fed with it must promise a time and keep it.
		var b bucket
		b.state(start, s)
		for now, i := start, 0; i < 20; i++ {
			at := b.next(now)
			if at.Before(now) || at.Sub(now) > patience+time.Second {
				t.Fatalf("next token after %v", at.Sub(now))
			}
			if now = at; !b.next(now).After(now) {
				b.take()
			}
		}
	})
}
