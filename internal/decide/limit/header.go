package limit

import (
	"strconv"
	"strings"
	"time"
)

// farthest is the longest time that a header can state; more is cut to it, so
// that arithmetic with times stays in range.
const farthest = 7 * 24 * time.Hour

// stated is a limit as an answer states it.
type stated struct {
	limit, remaining float64
	window, reset    time.Duration // 0: not stated
}

func first(h map[string][]string, names ...string) string {
	for _, n := range names {
		if v := h[n]; len(v) > 0 {
			return strings.TrimSpace(v[0])
		}
	}
	return ""
}

// retryAfter reads Retry-After: a number of seconds, or a date.
func retryAfter(h map[string][]string, now time.Time) (time.Duration, bool) {
	v := first(h, "Retry-After")
	if v == "" {
		return 0, false
	}
	if d, ok := seconds(v); ok {
		return d, true
	}
	for _, layout := range []string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC850, time.ANSIC} {
		if t, err := time.Parse(layout, v); err == nil {
			return min(farthest, max(0, t.Sub(now))), true
		}
	}
	return 0, false
}

// rateLimit reads what there is of the RateLimit headers: the three separate
// ones, with or without X-, whose values may carry a window (";w=60"), and the
// combined one with its policy. ok is false when they do not say how much
// remains.
func rateLimit(h map[string][]string, now time.Time) (s stated, ok bool) {
	if all := first(h, "Ratelimit"); all != "" {
		p := params(all)
		s.remaining, ok = number(p, "r", "remaining")
		s.limit, _ = number(p, "limit")
		s.reset, _ = span(p, "t", "reset")
		policy := params(first(h, "Ratelimit-Policy"))
		if q, found := number(policy, "q"); found {
			s.limit = q
		}
		s.window, _ = span(policy, "w")
		return s, ok
	}
	remaining := params(first(h, "Ratelimit-Remaining", "X-Ratelimit-Remaining"))
	limit := params(first(h, "Ratelimit-Limit", "X-Ratelimit-Limit"))
	s.remaining, ok = number(remaining, "")
	s.limit, _ = number(limit, "")
	if s.window, _ = span(remaining, "w"); s.window == 0 {
		s.window, _ = span(limit, "w")
	}
	s.reset = resetTime(first(h, "Ratelimit-Reset", "X-Ratelimit-Reset"), now)
	return s, ok
}

// resetTime reads a number of seconds, or a Unix time.
func resetTime(v string, now time.Time) time.Duration {
	n, ok := parse(v)
	if !ok {
		return 0
	}
	if n > 1e9 {
		n = max(0, n-float64(now.Unix()))
	}
	return duration(n)
}

// params reads "value;a=1;b=2" and "a=1, b=2"; the bare value, which may be
// quoted, has the name "". Of a list of policies only the first counts.
func params(v string) map[string]string {
	p := map[string]string{}
	for part := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == ';' || r == ',' }) {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			name, value = "", name
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := p[name]; !twice {
			p[name] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return p
}

func number(p map[string]string, names ...string) (float64, bool) {
	for _, n := range names {
		if f, ok := parse(p[n]); ok {
			return f, true
		}
	}
	return 0, false
}

func span(p map[string]string, names ...string) (time.Duration, bool) {
	n, ok := number(p, names...)
	return duration(n), ok
}

func seconds(v string) (time.Duration, bool) {
	n, ok := parse(v)
	return duration(n), ok
}

// parse reads a number that is not negative and not absurd.
func parse(v string) (float64, bool) {
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || !(n >= 0 && n <= 1e15) {
		return 0, false
	}
	return n, true
}

func duration(seconds float64) time.Duration {
	if seconds >= farthest.Seconds() {
		return farthest
	}
	return time.Duration(seconds * float64(time.Second))
}
