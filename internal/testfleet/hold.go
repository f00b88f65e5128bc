package testfleet

import (
	"context"
	"net/http"
	"regexp"
	"sync"
)

// Held keeps requests waiting; see [FaultProxy.Hold].
type Held struct {
	method string
	path   *regexp.Regexp
	after  bool

	mu      sync.Mutex
	waiting int
	total   int
	changed chan struct{} // closed and replaced when a request arrives
	release chan struct{}
	once    sync.Once
}

// Hold makes requests wait until they are released: those with the method
// ("" for any) whose path and query match the regular expression, which must
// compile. When after is true the registry carries the request out first and
// its answer waits; otherwise the registry does not see it yet. A request whose
// client goes away stops waiting, and in the latter case never reaches the
// registry. Of several holds the oldest unreleased one that matches counts.
func (p *FaultProxy) Hold(method, path string, after bool) *Held {
	h := &Held{method: method, path: regexp.MustCompile(path), after: after,
		changed: make(chan struct{}), release: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holds = append(p.holds, h)
	return h
}

// Wait returns when at least n requests have been held, those counted that
// gave up since, or with the context's error.
func (h *Held) Wait(ctx context.Context, n int) error {
	for {
		h.mu.Lock()
		total, changed := h.total, h.changed
		h.mu.Unlock()
		if total >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Waiting is the number of requests that wait now.
func (h *Held) Waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiting
}

// Release lets everything through, now and from now on. It may be called again.
func (h *Held) Release() { h.once.Do(func() { close(h.release) }) }

// wait holds a request up. It reports false when its client went away.
func (h *Held) wait(q *http.Request) bool {
	h.mu.Lock()
	h.waiting++
	h.total++
	close(h.changed)
	h.changed = make(chan struct{})
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.waiting--
	}()
	select {
	case <-h.release:
		return true
	case <-q.Context().Done():
		return false
	}
}

// holdFor finds the hold that a request falls under.
func (p *FaultProxy) holdFor(q *http.Request) *Held {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.holds {
		select {
		case <-h.release:
			continue
		default:
		}
		if selects(q, h.method, h.path) {
			return h
		}
	}
	return nil
}
