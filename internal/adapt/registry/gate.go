package registry

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/traffic"
)

// gate lets the requests to one host through when its policy says so.
type gate struct {
	retries *atomic.Int64

	mu      sync.Mutex
	policy  traffic.Policy
	last    uint64
	tickets map[uint64]*ticket
	timer   *time.Timer
}

// ticket is one request's place at a gate.
type ticket struct {
	gate *gate
	id   uint64
	turn chan turn // holds the answer to ask
}

// turn is the zero time to go on, or the time before which the host wants no
// request.
type turn struct{ refused time.Time }

func newGate(p traffic.Policy, retries *atomic.Int64) *gate {
	return &gate{policy: p, retries: retries, tickets: map[uint64]*ticket{}}
}

// ask queues a request.
func (g *gate) ask() *ticket {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last++
	t := &ticket{gate: g, id: g.last, turn: make(chan turn, 1)}
	g.tickets[t.id] = t
	g.step(traffic.Event{Kind: traffic.Ask, ID: t.id})
	return t
}

// wait returns when the request may be sent. After an error the ticket is void.
func (t *ticket) wait(ctx context.Context) error {
	select {
	case got := <-t.turn:
		if !got.refused.IsZero() {
			return refusedError{got.refused}
		}
		return nil
	case <-ctx.Done():
		t.drop()
		return ctx.Err()
	}
}

// done tells how the request ended. When it returns true, wait again and send
// the request once more; otherwise the ticket is void.
func (t *ticket) done(status int, final bool, header map[string][]string) bool {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	again := g.step(traffic.Event{Kind: traffic.Done, ID: t.id, Status: status, Final: final, Header: header})
	if again {
		g.retries.Add(1)
	} else {
		delete(g.tickets, t.id)
	}
	return again
}

// drop gives up the request's place. A void ticket can be dropped.
func (t *ticket) drop() {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	delete(t.gate.tickets, t.id)
	t.gate.step(traffic.Event{Kind: traffic.Drop, ID: t.id})
}

func (g *gate) tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.step(traffic.Event{})
}

// step carries out what the policy says. The lock is held.
func (g *gate) step(e traffic.Event) (again bool) {
	r := g.policy.Step(time.Now(), e)
	for _, id := range r.Send {
		if t := g.tickets[id]; t != nil {
			t.turn <- turn{}
		}
	}
	for _, id := range r.Refuse {
		if t := g.tickets[id]; t != nil {
			delete(g.tickets, id)
			t.turn <- turn{refused: r.Until}
		}
	}
	if g.timer != nil {
		g.timer.Stop()
	}
	if !r.Wake.IsZero() {
		g.timer = time.AfterFunc(time.Until(r.Wake), g.tick)
	}
	return r.Again
}

// policy makes a host's policy.
func (s *Store) policy(hostname string, width int) traffic.Policy {
	if s.o.Limits != nil {
		return s.o.Limits(hostname, width)
	}
	return &plain{width: max(1, width), sent: map[uint64]bool{}}
}

// plain bounds the requests in flight and repeats none.
type plain struct {
	width   int
	waiting []uint64
	sent    map[uint64]bool
}

// Step implements traffic.Policy.
func (p *plain) Step(_ time.Time, e traffic.Event) (r traffic.Ruling) {
	switch e.Kind {
	case traffic.Ask:
		p.waiting = append(p.waiting, e.ID)
	case traffic.Done, traffic.Drop:
		delete(p.sent, e.ID)
		for i, id := range p.waiting {
			if id == e.ID {
				p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
				break
			}
		}
	}
	for len(p.waiting) > 0 && len(p.sent) < p.width {
		p.sent[p.waiting[0]] = true
		r.Send = append(r.Send, p.waiting[0])
		p.waiting = p.waiting[1:]
	}
	return r
}
