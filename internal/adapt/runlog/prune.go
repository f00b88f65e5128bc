package runlog

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Prune removes runs of a state folder that no process writes. drop is asked about
// each, the newest first, and those for which it says yes are removed. What was
// recorded there is gone for good.
func Prune(state string, drop func(Info) bool) error {
	runs, err := List(state)
	errs := []error{err}
	for _, r := range runs {
		if !r.InUse && drop(r) {
			errs = append(errs, remove(r))
		}
	}
	return diag.Wrap(diag.Infra, "prune runs", errors.Join(errs...))
}

// remove takes a run away so that nobody sees it half gone, unless a process has
// begun to write it.
func remove(r Info) error {
	lock, err := takeLock(r.Dir, r.ID)
	if err != nil {
		return err
	}
	defer lock.Close()
	gone := filepath.Join(filepath.Dir(r.Dir), tempPrefix+r.ID)
	err = os.RemoveAll(gone) // what a process that died left
	if err == nil {
		err = os.Rename(r.Dir, gone)
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// Used is when something happened in the run last: its last event, or, in one
// that never began, when its folder was made.
func (i Info) Used() time.Time {
	if !i.Last.IsZero() {
		return i.Last
	}
	if st, err := os.Stat(i.Dir); err == nil {
		return st.ModTime()
	}
	return time.Now()
}
