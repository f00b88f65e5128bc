// Package prune gives back what a state folder holds and nothing used for a time:
// commits that recipes were taken from, clones of repositories, what registries
// told, and, when that is asked for, recorded runs.
//
// All but runs come back when they are needed, at the price of fetching them
// again. What is used notes that it is; a run that goes on keeps all that may have
// been used since it began.
package prune

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
)

// The folders of a state folder that are pruned without being asked.
const (
	Sources = "sources" // commits that recipes were taken from
	Mirrors = "git"     // clones of repositories that are elsewhere
	Facts   = "facts"   // what registries told
)

const (
	// Unused is how long something is kept that nothing uses.
	Unused = 30 * 24 * time.Hour
	// Least is the shortest time that may be asked for: a command that does not
	// record a run uses what it found as long as it runs.
	Least = time.Hour
	// often is how often [Daily] looks.
	often = 24 * time.Hour
)

// Options say what goes.
type Options struct {
	// Before is the time that something was used after when it is kept.
	Before time.Time
	// Runs prunes recorded runs too, which do not come back.
	Runs bool
	// Dry removes nothing: it is only counted.
	Dry bool
}

// Pruned is what came of one kind of things.
type Pruned struct {
	Name string `json:"name"` // of their folder
	// Removed things took Bytes; Kept are the others.
	Removed int   `json:"removed"`
	Bytes   int64 `json:"bytes"`
	Kept    int   `json:"kept"`
}

// Prune looks at all kinds, whatever goes wrong with one.
func Prune(state string, o Options) ([]Pruned, error) {
	runs, err := runlog.List(state)
	errs := []error{err}
	for _, r := range runs {
		if r.InUse && r.Started.Add(-Least).Before(o.Before) { // what it uses was looked up before its first event
			o.Before = r.Started.Add(-Least)
		}
	}
	var out []Pruned
	each := func(name string, prune func(folder string, drop dropper) error) {
		p := Pruned{Name: name}
		errs = append(errs, prune(filepath.Join(state, name), func(path string, used time.Time) bool {
			if !used.Before(o.Before) {
				p.Kept++
				return false
			}
			p.Removed++
			p.Bytes += size(path)
			return !o.Dry
		}))
		out = append(out, p)
	}
	each(Sources, gitrepo.Prune)
	each(Mirrors, gitrepo.Prune)
	each(Facts, registry.PruneFacts)
	if o.Runs {
		each("runs", func(_ string, drop dropper) error {
			return runlog.Prune(state, func(i runlog.Info) bool { return drop(i.Dir, i.Used()) })
		})
	}
	return out, errors.Join(errs...)
}

// dropper decides whether something goes, by when it was used last.
type dropper = func(path string, used time.Time) bool

// size is what a file, or the files below a folder, take in bytes.
func size(path string) (bytes int64) {
	_ = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil // what cannot be read is not counted
	})
	return bytes
}

// Daily prunes what was not used for [Unused], unless that was done within a day.
// Runs are kept.
func Daily(state string) error {
	stamp := filepath.Join(state, "pruned")
	now := time.Now()
	if st, err := os.Stat(stamp); err == nil && now.Sub(st.ModTime()) < often {
		return nil
	}
	// First, so that two processes hardly do the same, and a failure is not met at
	// every command.
	if err := os.WriteFile(stamp, nil, 0o644); err != nil {
		return err
	}
	_, err := Prune(state, Options{Before: now.Add(-Unused)})
	return err
}
