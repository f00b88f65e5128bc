package registry

import (
	"context"
	"sync"
)

// lock is a mutex that can be waited for with a context. The zero value is not
// useful.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

func (l lock) enter(ctx context.Context) (leave func(), err error) {
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// keyed is a lock for each key in use.
type keyed[K comparable] struct {
	mu   sync.Mutex
	used map[K]*user
}

// user is a lock and how many hold it or wait for it.
type user struct {
	lock lock
	n    int
}

func (k *keyed[K]) enter(ctx context.Context, key K) (leave func(), err error) {
	k.mu.Lock()
	if k.used == nil {
		k.used = map[K]*user{}
	}
	u := k.used[key]
	if u == nil {
		u = &user{lock: newLock()}
		k.used[key] = u
	}
	u.n++
	k.mu.Unlock()
	unlock, err := u.lock.enter(ctx)
	if err != nil {
		k.drop(key, u)
		return nil, err
	}
	return func() { unlock(); k.drop(key, u) }, nil
}

func (k *keyed[K]) drop(key K, u *user) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if u.n--; u.n == 0 {
		delete(k.used, key)
	}
}
