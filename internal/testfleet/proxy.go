package testfleet

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"sync"
	"time"
)

// Fault is a way in which an answer goes wrong.
type Fault int

// The faults.
const (
	// FaultStatus answers with Rule.Status instead of the registry, and with
	// Rule.RetryAfter when that is set.
	FaultStatus Fault = iota
	// FaultResetBefore resets the connection before the registry sees the request.
	FaultResetBefore
	// FaultResetAfter lets the registry carry out the request, then resets the
	// connection instead of answering.
	FaultResetAfter
	// FaultResetUpload reads Rule.Bytes of the request's body, then resets the
	// connection; the registry sees nothing.
	FaultResetUpload
	// FaultResetBody sends the head of the answer and Rule.Bytes of its body,
	// then resets the connection.
	FaultResetBody
	// FaultTruncate sends Rule.Bytes of the body as if they were all of it.
	FaultTruncate
	// FaultSlow sends the body in pieces of Rule.Bytes, and waits Rule.Delay
	// before each.
	FaultSlow
	// FaultExpired takes the request's credentials away, so that the registry
	// answers as to one whose token has ended. A registry that asks for none
	// answers as usual.
	FaultExpired
	// FaultNoMount takes the mount out of a request for one, so that the registry
	// opens an upload instead.
	FaultNoMount
)

// Rule says which requests go wrong, and how. Rules are tried in order; the
// first one that applies decides.
type Rule struct {
	// Method and Path select requests; empty means any. Path is a regular
	// expression over the path with its query.
	Method, Path string
	// Skip lets that many selected requests pass first.
	Skip int
	// Times is how often the rule applies; 0 means always.
	Times int
	// Chance, when not 0, is the share of selected requests to which the rule
	// applies, from 0 to 1. Which ones depends on Seed and on their number in the
	// order of arrival, so the count over a number of requests repeats.
	Chance float64
	Seed   int64

	Fault      Fault
	Status     int    // of FaultStatus
	RetryAfter string // value of the header, with FaultStatus
	Bytes      int64
	Delay      time.Duration
}

// Record is one request as the proxy saw it.
type Record struct {
	Method, Path, Query string
	// Status is that of the answer; 0 when the connection was reset before one.
	Status int
	// Rule is the place of the rule that applied, from 0; -1 without.
	Rule int
	// Reached is true when the registry saw the request.
	Reached bool
}

// FaultProxy stands before a registry and injects faults. It may be used
// concurrently; Before and After must be set before the first request.
type FaultProxy struct {
	// Before is called with every request, before anything else is done to it.
	Before func(*http.Request)
	// After is called when a request is done with, before the client gets the
	// end of the answer.
	After func(Record)

	next  http.Handler
	close func()
	rules []rule

	mu      sync.Mutex
	records []Record
	holds   []*Held
}

// rule is a Rule with its state.
type rule struct {
	Rule
	path *regexp.Regexp
	seen int // requests selected
	used int // requests applied to
}

// Proxy returns a proxy before the registry at target, host:port. It panics
// when a rule's path is not a regular expression. Close it after use.
func Proxy(target string, rules ...Rule) *FaultProxy {
	to := &url.URL{Scheme: "http", Host: target}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	p := Faults(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		ErrorLog:     log.New(io.Discard, "", 0),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}, rules...)
	p.close = transport.CloseIdleConnections
	return p
}

// Faults is [Proxy] round a handler, for a registry in the same process.
func Faults(next http.Handler, rules ...Rule) *FaultProxy {
	p := &FaultProxy{next: next}
	for _, r := range rules {
		p.rules = append(p.rules, rule{Rule: r, path: regexp.MustCompile(r.Path)})
	}
	return p
}

// Close lets go of every held request and of the connections to the registry.
func (p *FaultProxy) Close() {
	p.mu.Lock()
	holds := p.holds
	p.mu.Unlock()
	for _, h := range holds {
		h.Release()
	}
	if p.close != nil {
		p.close()
	}
}

// ServeHTTP answers one request.
func (p *FaultProxy) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if p.Before != nil {
		p.Before(q)
	}
	rec := Record{Method: q.Method, Path: q.URL.Path, Query: q.URL.RawQuery, Rule: -1}
	held := p.holdFor(q)
	if held != nil {
		buffer(q)
	}
	if held != nil && !held.after && !held.wait(q) {
		p.record(rec)
		reset(w)
		return
	}
	var r Rule
	if i, ok := p.apply(q); ok {
		rec.Rule, r = i, p.rules[i].Rule
		if p.spoil(w, q, r, &rec) {
			return
		}
	}
	rec.Reached = true
	if rec.Rule >= 0 {
		q = alter(q, r.Fault)
	}
	if held == nil && p.After == nil && (rec.Rule < 0 || r.Fault == FaultExpired || r.Fault == FaultNoMount) {
		s := &statusWriter{ResponseWriter: w}
		p.next.ServeHTTP(s, q)
		rec.Status = s.code()
		p.record(rec)
		return
	}
	a := httptest.NewRecorder()
	p.next.ServeHTTP(a, q)
	rec.Status = a.Code
	if held != nil && held.after && !held.wait(q) {
		rec.Status = 0
		p.record(rec)
		reset(w)
		return
	}
	p.answer(w, q, r, rec, a)
}

// alter is the request with what a fault takes away from it.
func alter(q *http.Request, f Fault) *http.Request {
	switch f {
	case FaultExpired:
		q = q.Clone(q.Context())
		q.Header.Del("Authorization")
	case FaultNoMount:
		if v := q.URL.Query(); v.Has("mount") {
			q = q.Clone(q.Context())
			v.Del("mount")
			v.Del("from")
			q.URL.RawQuery = v.Encode()
		}
	}
	return q
}

// buffer reads the request's body into memory. Only when it is read does the
// server notice that a client goes away.
func buffer(q *http.Request) {
	body, err := io.ReadAll(q.Body)
	q.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{err}))
}

// failing is a reader that ends with an error; nil stands for the end.
type failing struct{ err error }

// Read fails.
func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

// spoil carries out the faults in which the registry has no part. It reports
// whether the request is done with.
func (p *FaultProxy) spoil(w http.ResponseWriter, q *http.Request, r Rule, rec *Record) bool {
	switch r.Fault {
	case FaultStatus:
		rec.Status = r.Status
		p.record(*rec)
		if r.RetryAfter != "" {
			w.Header().Set("Retry-After", r.RetryAfter)
		}
		http.Error(w, fmt.Sprintf(`{"errors":[{"code":"INJECTED","message":"status %d"}]}`, r.Status), r.Status)
	case FaultResetUpload:
		_, _ = io.CopyN(io.Discard, q.Body, r.Bytes)
		fallthrough
	case FaultResetBefore:
		p.record(*rec)
		reset(w)
	default:
		return false
	}
	return true
}

// answer sends what the registry answered, spoilt by the rule if one applies.
func (p *FaultProxy) answer(w http.ResponseWriter, q *http.Request, r Rule, rec Record, a *httptest.ResponseRecorder) {
	body := a.Body.Bytes()
	part := body[:min(int64(len(body)), r.Bytes)]
	fault := r.Fault
	if rec.Rule < 0 {
		fault = FaultStatus // none: plain
	}
	if fault == FaultResetAfter {
		rec.Status = 0
		p.record(rec)
		reset(w)
		return
	}
	p.record(rec)
	for k, v := range a.Header() {
		w.Header()[k] = v
	}
	switch fault {
	case FaultResetBody:
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(a.Code)
		_, _ = w.Write(part)
		_ = http.NewResponseController(w).Flush()
		reset(w)
	case FaultTruncate:
		if q.Method != http.MethodHead {
			w.Header().Set("Content-Length", fmt.Sprint(len(part)))
		}
		w.WriteHeader(a.Code)
		_, _ = w.Write(part)
	case FaultSlow:
		w.WriteHeader(a.Code)
		dribble(w, q, body, r)
	default:
		w.WriteHeader(a.Code)
		_, _ = io.Copy(w, bytes.NewReader(body))
	}
}

// dribble sends the body in pieces with pauses, until the client has enough.
func dribble(w http.ResponseWriter, q *http.Request, body []byte, r Rule) {
	step := max(r.Bytes, 1)
	timer := time.NewTimer(r.Delay)
	defer timer.Stop()
	for len(body) > 0 {
		select {
		case <-timer.C:
		case <-q.Context().Done():
			return
		}
		n := min(step, int64(len(body)))
		if _, err := w.Write(body[:n]); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		body = body[n:]
		timer.Reset(r.Delay)
	}
}

// apply finds the rule for a request and counts.
func (p *FaultProxy) apply(q *http.Request) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.rules {
		r := &p.rules[i]
		if !selects(q, r.Method, r.path) {
			continue
		}
		r.seen++
		if r.seen <= r.Skip || r.Times > 0 && r.used >= r.Times || !r.lucky() {
			continue
		}
		r.used++
		return i, true
	}
	return 0, false
}

// lucky decides for the request that was just counted.
func (r *rule) lucky() bool {
	if r.Chance == 0 {
		return true
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d", r.Seed, r.seen)
	x := h.Sum64()
	// The low bits of neighbouring numbers are alike: mix them.
	x ^= x >> 32
	x *= 0x9e3779b97f4a7c15
	return float64(x>>11)/(1<<53) < r.Chance
}

// selects reports whether a request has the method and path.
func selects(q *http.Request, method string, path *regexp.Regexp) bool {
	return (method == "" || method == q.Method) && path.MatchString(q.URL.RequestURI())
}

// record keeps what happened to a request.
func (p *FaultProxy) record(r Record) {
	p.mu.Lock()
	p.records = append(p.records, r)
	p.mu.Unlock()
	if p.After != nil {
		p.After(r)
	}
}

// Records returns every request so far, in the order in which they were done with.
func (p *FaultProxy) Records() []Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Record(nil), p.records...)
}

// Applied returns how often each rule has applied, in the order of the rules.
func (p *FaultProxy) Applied() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]int, len(p.rules))
	for i, r := range p.rules {
		out[i] = r.used
	}
	return out
}

// reset closes the connection in a way that the client notices: with a reset
// where possible, and never with an orderly end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	conn.Close()
}

// statusWriter remembers the status of an answer that it passes on.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status.
func (s *statusWriter) WriteHeader(status int) {
	if s.status == 0 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap gives a ResponseController what is below.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// code is the answer's status; none written means 200.
func (s *statusWriter) code() int {
	if s.status == 0 {
		return http.StatusOK
	}
	return s.status
}
