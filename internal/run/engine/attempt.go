package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// The causes that end a solve before its time, beside [errLost].
var (
	errBudget        = diag.Errorf(diag.Infeasible, "give it a larger budget (--disk-budget)", "stopped to keep the disk budget, again and again")
	errImageDeadline = errors.New("the image took too long")
	errStepDeadline  = errors.New("a step took too long")
)

const (
	// tries is how often a solve is tried that fails in passing; triesDisk and
	// triesWorker how often one that ran out of disk or lost its daemon.
	tries       = 3
	triesDisk   = 12
	triesWorker = 30
	// triesMany is tries for what many images wait for.
	triesMany = 5
	// passingPause is the pause before a solve that failed in passing is tried a
	// second time; the next ones are twice as long each.
	passingPause = time.Second
)

// attempt runs work with a context that ends with the life of the worker and
// with the deadline, if there is one, and with the cause that work gives to
// stop. Its error is [errBudget], [errLost], or what else came of the work; when
// the worker is to blame it is given up.
func (s *station) attempt(ctx context.Context, l *life, within time.Duration, work func(solve context.Context, stop context.CancelCauseFunc) error) error {
	solve, stop := context.WithCancelCause(l.ctx)
	defer stop(nil)
	if within > 0 {
		timer := time.AfterFunc(within, func() { stop(fmt.Errorf("%w: more than %s", errImageDeadline, within)) })
		defer timer.Stop()
	}
	began := time.Now()
	err := work(solve, stop)
	if err == nil || ctx.Err() != nil {
		return err
	}
	switch cause := context.Cause(solve); {
	case errors.Is(cause, errBudget), errors.Is(cause, errLost):
		return cause
	case errors.Is(cause, errImageDeadline), errors.Is(cause, errStepDeadline):
		if !l.answers() {
			s.lost(l, cause)
			return errLost
		}
		return diag.Errorf(diag.Step, "see what it waits for, or give it more time (deadlines in the fleet file)", "%w", cause)
	case errors.Is(err, buildkit.ErrLost):
		s.lost(l, err)
		return errLost
	case !errors.Is(err, buildkit.ErrNoSpace) && s.wasFull(began):
		return fmt.Errorf("%w: %w", buildkit.ErrNoSpace, err)
	}
	return err
}

// blame says why an attempt is worth another one, and how many there may be in
// all for that reason; 0 when the error is final.
func blame(err error) (reason string, most int) {
	switch {
	case errors.Is(err, errBudget):
		return journal.RetryBudget, triesDisk
	case errors.Is(err, errLost):
		return journal.RetryWorker, triesWorker
	case errors.Is(err, buildkit.ErrNoSpace):
		return journal.RetryDisk, triesDisk
	case diag.KindOf(err) == diag.Infra && diag.HelpOf(err) == "":
		return journal.RetryPassing, tries // nothing is known to be done about it
	}
	return "", 0
}

// mend does what may help before the attempt after the n-th, which ended with err.
func (s *station) mend(ctx context.Context, err error, reason string, n int) {
	if l, broken := s.now(), buildkit.Broken(err); len(broken) > 0 && l != nil && l.Disk != nil {
		ctx, cancel := context.WithTimeout(ctx, releaseWithin)
		defer cancel()
		_, _ = l.Disk.Release(ctx, broken) // what is left of them fails the next attempt, and is said then
	}
	switch reason {
	case journal.RetryDisk:
		s.e.relieve(s)
	case journal.RetryPassing:
		select {
		case <-time.After(passingPause << (n - 1)):
		case <-ctx.Done():
		}
	}
}
