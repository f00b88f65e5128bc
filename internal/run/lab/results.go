package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// ReadExperiment reads the question that a folder holds the trials of. A folder
// without one is an error that wraps [fs.ErrNotExist].
func ReadExperiment(dir string) (*experiment.Experiment, error) {
	e := &experiment.Experiment{}
	return e, readJSON(filepath.Join(dir, experimentFile), e)
}

// ReadResults reads the trials in a folder that have ended, in the order of their
// ids, with the summaries of their runs. It needs no lock. A folder that is not
// there has none.
func ReadResults(dir string) (trials.Results, error) {
	found, err := os.ReadDir(filepath.Join(dir, "trials"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, diag.Wrap(diag.Infra, "lab", err)
	}
	out := trials.Results{}
	for _, f := range found {
		at := filepath.Join(dir, "trials", f.Name())
		var o trials.Outcome
		err := readJSON(filepath.Join(at, trialFile), &o)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = withSummary(dir, &o)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b trials.Outcome) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// withSummary reads the run of a trial.
func withSummary(dir string, o *trials.Outcome) error {
	if o.Run == "" {
		return nil
	}
	r, err := readRun(RunDir(dir, *o), known{})
	if err == nil {
		o.Summary = r.summary
	}
	return err
}

// RunDir is the folder of a trial's run.
func RunDir(dir string, o trials.Outcome) string {
	return runlog.Dir(filepath.Join(dir, "trials", folder(o.ID), "state"), o.Run)
}

// Collect copies trials that ran elsewhere into a folder of results, which is made
// when it is not there, and returns how many there were. All must be of one
// experiment. A trial that is there already is not taken again.
func Collect(to string, from []string) (taken int, err error) {
	if err := os.MkdirAll(filepath.Join(to, "trials"), 0o755); err != nil {
		return 0, diag.Wrap(diag.Infra, "collect", err)
	}
	unlock, err := lock(filepath.Join(to, "lock"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	for _, dir := range from {
		n, err := collect(to, dir)
		taken += n
		if err != nil {
			return taken, err
		}
	}
	return taken, nil
}

func collect(to, from string) (taken int, err error) {
	e, err := ReadExperiment(from)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, diag.Errorf(diag.Usage, "name folders that `lapstrake lab run -o` wrote", "%s holds no experiment", from)
	}
	if err != nil {
		return 0, err
	}
	mine, err := ReadExperiment(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = writeJSON(filepath.Join(to, experimentFile), e)
	case err == nil && mine.Digest() != e.Digest():
		err = diag.Errorf(diag.Usage, "trials of different questions have no common answer", "%s is of another experiment than %s", from, to)
	}
	if err != nil {
		return 0, err
	}
	results, err := ReadResults(from)
	if err != nil {
		return 0, err
	}
	for _, o := range results {
		at := filepath.Join(to, "trials", folder(o.ID))
		if _, err := os.Stat(filepath.Join(at, trialFile)); err == nil {
			continue
		}
		if err := take(filepath.Join(from, "trials", folder(o.ID)), at); err != nil {
			return taken, err
		}
		taken++
	}
	return taken, nil
}

// take copies one trial; the file that says that it is whole comes last.
func take(from, to string) error {
	if err := clear(to); err != nil {
		return err
	}
	err := copyTree(from, to, func(rel, _ string) bool { return rel == trialFile || rel == filepath.Join("state", "worker") })
	if err == nil {
		var data []byte
		if data, err = os.ReadFile(filepath.Join(from, trialFile)); err == nil {
			err = os.WriteFile(filepath.Join(to, trialFile), data, 0o644)
		}
	}
	return diag.Wrap(diag.Infra, "collect", err)
}

// lock takes a folder for this process; the kernel gives it back when the process
// dies.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "lab", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return nil, diag.Errorf(diag.Infra, "wait for it, or stop it", "another process works in %s", filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, diag.Wrap(diag.Infra, "lab", fmt.Errorf("%s: %w", path, err))
	}
	return f.Close, nil
}
