package gitrepo

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

const (
	// usedSuffix ends the name of the empty file beside a commit or a mirror whose
	// time is that of its last use: everything inside has a time of its own.
	usedSuffix = ".used"
	// tempPrefix begins the names of what is not whole, or not wanted any more.
	tempPrefix = ".new-"
)

// touch notes that a commit or a mirror is used now. That it cannot be noted is
// no reason to do without it.
func touch(path string) {
	now := time.Now()
	if os.Chtimes(path+usedSuffix, now, now) == nil {
		return
	}
	if f, err := os.OpenFile(path+usedSuffix, os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
		_ = f.Close()
	}
}

// Prune removes commits that [Repo.Materialise] wrote to dir, or mirrors of
// [Mirrors], and what a process that died left half written. drop is asked about
// each folder, with when it was used last, and those for which it says yes are
// removed: nobody may use them meanwhile. What is being fetched is left. A folder
// that does not exist holds nothing.
func Prune(dir string, drop func(path string, used time.Time) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), tempPrefix):
			if info, err := e.Info(); err == nil && drop(path, info.ModTime()) {
				errs = append(errs, os.RemoveAll(path))
			}
		case !e.IsDir():
		case used(path, drop):
			errs = append(errs, remove(path))
		}
	}
	return diag.Wrap(diag.Infra, "prune "+dir, errors.Join(errs...))
}

// used asks about one folder. One of which no use was noted counts as used now.
func used(path string, drop func(string, time.Time) bool) bool {
	st, err := os.Stat(path + usedSuffix)
	if err != nil {
		touch(path)
		return drop(path, time.Now())
	}
	return drop(path, st.ModTime())
}

// remove takes a folder away so that nobody sees it half gone, unless a process
// holds its lock.
func remove(path string) error {
	if _, err := os.Stat(path + lockSuffix); err == nil { // a mirror's; commits have none
		unlock, free, err := takeLock(path + lockSuffix)
		if !free {
			return err
		}
		defer unlock()
	}
	gone, err := os.MkdirTemp(filepath.Dir(path), tempPrefix)
	if err != nil {
		return err
	}
	if err := os.Rename(path, filepath.Join(gone, "old")); err != nil {
		return errors.Join(err, os.Remove(gone))
	}
	return errors.Join(os.RemoveAll(gone), os.Remove(path+usedSuffix))
}
