package engine

import (
	"context"
	"sync"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// once runs work at most once per key that succeeds. Callers of a key that is
// being worked on wait for it; when it fails, the next waiter tries with its own
// work, since another source may serve what the first one could not.
type once[K comparable] struct {
	mu sync.Mutex
	m  map[K]chan struct{} // open: in work; closed: done
}

// Do runs work for key unless that has succeeded before.
func (o *once[K]) Do(ctx context.Context, key K, work func() error) error {
	for {
		o.mu.Lock()
		if o.m == nil {
			o.m = map[K]chan struct{}{}
		}
		wait, busy := o.m[key]
		if !busy {
			done := make(chan struct{})
			o.m[key] = done
			o.mu.Unlock()
			err := work()
			if err != nil {
				o.mu.Lock()
				delete(o.m, key)
				o.mu.Unlock()
			}
			close(done)
			return err
		}
		o.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
		o.mu.Lock()
		now, still := o.m[key]
		o.mu.Unlock()
		if still && now == wait {
			return nil
		}
	}
}

// future is a value that one goroutine makes and many wait for.
type future[T any] struct {
	done chan struct{}
	val  T
	err  error
}

func newFuture[T any]() *future[T] { return &future[T]{done: make(chan struct{})} }

// Set gives the value; it must be called once.
func (f *future[T]) Set(v T, err error) {
	f.val, f.err = v, err
	close(f.done)
}

// Get waits for the value. When ctx ends first the error is of kind
// diag.Interrupted, whatever ended it.
func (f *future[T]) Get(ctx context.Context) (T, error) {
	select {
	case <-f.done:
		return f.val, f.err
	case <-ctx.Done():
		var zero T
		return zero, diag.Wrap(diag.Interrupted, "wait", context.Cause(ctx))
	}
}
