package dockerfile

import (
	"context"
	"sync"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// memo keeps one value per key and computes it once, however many ask at the
// same time. Failures are not kept. The zero value is ready.
type memo[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]*cell[V]
}

type cell[V any] struct {
	mu   sync.Mutex
	done bool
	v    V
}

func (m *memo[K, V]) cell(k K) *cell[V] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m == nil {
		m.m = map[K]*cell[V]{}
	}
	c, ok := m.m[k]
	if !ok {
		c = &cell[V]{}
		m.m[k] = c
	}
	return c
}

func (m *memo[K, V]) put(k K, v V) {
	c := m.cell(k)
	c.v, c.done = v, true
}

func (m *memo[K, V]) get(k K, compute func() (V, error)) (V, error) {
	c := m.cell(k)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return c.v, nil
	}
	v, err := compute()
	if err == nil {
		c.v, c.done = v, true
	}
	return v, err
}

// slotKey is everything that a conversion depends on. Base is empty unless the
// reference's text matters.
type slotKey struct {
	view    int
	scratch bool
	args    string
	base    string
}

// slot is the place of one conversion. Waiting for it ends with the caller's
// context, so a caller that gives up does not hold the others.
type slot struct {
	turn chan struct{}
	c    *conversion
	err  error
}

func (r *Recipe) slot(k slotKey) *slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.slots[k]
	if !ok {
		s = &slot{turn: make(chan struct{}, 1)}
		r.slots[k] = s
	}
	return s
}

// do returns the slot's conversion, making it when nobody has. A problem of the
// recipe is kept; any other failure is left for the next caller to try again.
func (s *slot) do(ctx context.Context, convert func() (*conversion, error)) (*conversion, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.turn }()
	if s.c != nil || s.err != nil {
		return s.c, s.err
	}
	c, err := convert()
	if err == nil {
		s.c = c
	} else if diag.KindOf(err) == diag.File {
		s.err = err
	}
	return c, err
}
