package lab

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// errBytes is in the error of a lab that holds more than it may.
var errBytes = errors.New("the experiment's disk is spent")

// lookEvery is how often the disk is looked at. Nobody is asked for that but the
// kernel.
const lookEvery = 200 * time.Millisecond

// afford is an error of kind diag.Interrupted when the experiment's time is spent.
func (l *Lab) afford() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if most := l.o.Experiment.Budget.Time; most > 0 && l.spent >= most {
		return diag.Errorf(diag.Interrupted, "give it a larger budget: time; the same command goes on",
			"the experiment's time is spent: %s of %s", l.spent.Round(time.Second), most)
	}
	return nil
}

// within calls f with a context that ends when the folder of results holds more
// than the experiment's bytes: what it held before, and what its file system has
// got since. The error is then of kind diag.Interrupted. What others write to the
// same file system counts, too: it is as full for that.
func (l *Lab) within(ctx context.Context, f func(context.Context) error) error {
	most := l.o.Experiment.Budget.Bytes
	if most == 0 {
		return f(ctx)
	}
	held, err := holds(l.o.Dir)
	if err != nil {
		return diag.Wrap(diag.Infra, "lab", err)
	}
	before, err := used(l.o.Dir)
	if err != nil {
		return diag.Wrap(diag.Infra, "lab", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	look := func() {
		if now, err := used(l.o.Dir); err == nil && held+now-before > most {
			cancel(diag.Errorf(diag.Interrupted, "give it a larger budget: bytes, or `lapstrake lab clean` it; the same command goes on",
				"the folder of results holds %s and may hold %s: %w", fleet.Disk{Bytes: held + now - before}, fleet.Disk{Bytes: most}, errBytes))
		}
	}
	if look(); ctx.Err() == nil {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			tick := time.NewTicker(lookEvery)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					look()
				case <-stop:
					return
				}
			}
		})
		err = f(ctx)
		close(stop)
		wg.Wait()
	}
	if overfull(ctx) {
		return context.Cause(ctx)
	}
	return err
}

// overfull tells whether a context ended because too much was held.
func overfull(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errBytes) }

// used is how much of the file system of a folder is in use, in bytes.
func used(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Blocks-st.Bfree) * int64(st.Bsize), nil
}

// holds is how much of the disk a folder takes, in bytes.
func holds(dir string) (int64, error) {
	total := int64(0)
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			total += st.Blocks * 512
		}
		return nil
	})
	return total, err
}
