package engine

import (
	"context"
	"sync"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Pause lets nothing more start, or with false lets it start again; what was
// begun goes on to its end. The journal is told, as the scheduler goes by that.
// It may be called at any time while a build runs, and waits while a schedule
// begins.
func (e *Engine) Pause(on bool) {
	e.scheduling.Lock()
	defer e.scheduling.Unlock()
	if !e.gate.set(on) {
		return
	}
	kind := journal.Unpaused
	if on {
		kind = journal.Paused
	}
	e.note(kind, "", struct{}{})
}

// gate holds back what needs no schedule in a pause.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil: it is open; else closed when it opens
}

// set shuts the gate, or opens it; false when it was so.
func (g *gate) set(shut bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if shut == (g.shut != nil) {
		return false
	}
	if shut {
		g.shut = make(chan struct{})
	} else {
		close(g.shut)
		g.shut = nil
	}
	return true
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut != nil
}

// pass returns when the gate is open, or ctx ends.
func (g *gate) pass(ctx context.Context) {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return
	}
	select {
	case <-shut:
	case <-ctx.Done():
	}
}
