package engine

import (
	"context"
	"sync"
)

// each calls work for every index below n with at most width at a time, in
// order of index, and returns when all have ended. It stops starting new ones
// when ctx is done.
func each(ctx context.Context, n, width int, work func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(width, n) {
		wg.Go(func() {
			for i := range next {
				work(i)
			}
		})
	}
	for i := range n {
		select {
		case next <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
}
