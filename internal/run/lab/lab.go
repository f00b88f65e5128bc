// Package lab runs the trials of an experiment, each apart from all others, and
// keeps what is seen of them.
//
// A trial is one run of this program: a build of the fleet, or another program's
// build that is recorded. It has a folder, a daemon and names in the registry of
// its own; what warm trials and bumps start from is a copy of a state that was
// built once before. Whether a trial is what it was meant to be is judged from
// evidence that the trial itself has no part in.
//
// The folder of an experiment is:
//
//	experiment.json          the question
//	workspaces/SETTING/      the sources of a setting, as its trials read them
//	seeds/SETTING/           a state to start from; seed.json says that it is whole
//	trials/TRIAL/            one trial; trial.json says that it has ended
//	names.jsonl              what was written in registries, for the clean-up
//
// The two files that say so are written last, at once. A folder without one is of
// a trial that was interrupted: it is made again from the beginning.
package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// Options say what is run, where, and with what.
type Options struct {
	Experiment *experiment.Experiment
	// Source is the folder of the lab file, absolute.
	Source string
	// Dir is the folder of the experiment's results, absolute; it is made.
	Dir string
	// Program is this program and the arguments that come before a command's name.
	Program []string
	// LoadFleet reads a fleet file with its instance lists.
	LoadFleet func(ctx context.Context, path string) (*fleet.Fleet, error)
	// Parallel is how many trials may run at once where their order does not
	// matter; at least 1.
	Parallel int
	// Buildkitd and Runc are the daemons' binaries; empty means as for the embedded
	// daemon.
	Buildkitd, Runc string
	// Told is called when something begins or ends; calls come one at a time. Nil
	// tells nobody.
	Told func(News)
}

// News is something that began or ended.
type News struct {
	// What is a seed or a trial, and Name its setting or id.
	What, Name string
	// Outcome is nil when it begins, and of a seed.
	Outcome *trials.Outcome
	Ended   bool
	Took    time.Duration
}

// Lab is an experiment's folder that this process works in. Make one with [Open].
type Lab struct {
	o        Options
	unlock   func() error
	registry *localregistry.Registry // of another program's builds; nil for a fleet

	planning sync.Mutex // held while a setting is prepared
	mu       sync.Mutex
	seeds    map[string]*sync.Mutex // by setting, held while it is looked for and made
	settings map[string]*setting
	levels   map[string]experiment.Levels // of settings that are no cell's
	wanted   map[string]trials.Wanted     // what the trials so far show, by setting
	spent    time.Duration

	// tamper, when not nil, is called with an attempt that is about to be looked
	// at: tests contaminate it.
	tamper func(*attempt) error
}

// Open makes or opens the folder of an experiment, for this process alone. One
// that holds another experiment is of kind diag.Usage, one that is in use of kind
// diag.Infra.
func Open(ctx context.Context, o Options) (*Lab, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, diag.Wrap(diag.Infra, "lab", err)
	}
	unlock, err := lock(filepath.Join(o.Dir, "lock"))
	if err != nil {
		return nil, err
	}
	l := &Lab{o: o, unlock: unlock, seeds: map[string]*sync.Mutex{}, settings: map[string]*setting{}, levels: map[string]experiment.Levels{}, wanted: map[string]trials.Wanted{}}
	if err := l.begin(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// begin writes the question down, and starts what its trials need.
func (l *Lab) begin(ctx context.Context) error {
	e, err := ReadExperiment(l.o.Dir)
	if err == nil && e.Digest() != l.o.Experiment.Digest() {
		return diag.Errorf(diag.Usage, "give this one another folder with -o", "%s holds the trials of another experiment, %s", l.o.Dir, e.Name)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := writeJSON(filepath.Join(l.o.Dir, experimentFile), l.o.Experiment); err != nil {
		return err
	}
	if err := mendLines(l.o.Dir); err != nil {
		return err
	}
	if err := l.recall(); err != nil {
		return err
	}
	if l.o.Experiment.Fleet != "" {
		return nil
	}
	l.registry, err = localregistry.Start(ctx, localregistry.Options{Root: filepath.Join(l.o.Dir, "registry")})
	return err
}

// recall learns what the trials and seeds that have ended took and showed.
func (l *Lab) recall() error {
	done, err := ReadResults(l.o.Dir)
	if err != nil {
		return err
	}
	for _, o := range done {
		setting := ""
		if i := strings.LastIndexByte(o.Cell, '/'); i >= 0 {
			setting = o.Cell[:i]
		}
		l.learn(o, setting)
	}
	seeds, err := filepath.Glob(filepath.Join(l.o.Dir, "seeds", "*", seedFile))
	if err != nil {
		return diag.Wrap(diag.Internal, "lab", err)
	}
	for _, path := range seeds {
		var s seed
		if err := readJSON(path, &s); err != nil {
			return err
		}
		l.spent += s.Took
	}
	return nil
}

// Close gives the folder back.
func (l *Lab) Close() error {
	var err error
	if l.registry != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		err = l.registry.Stop(ctx)
	}
	return errors.Join(err, l.unlock())
}

// stopWithin bounds the clean end of a daemon, a registry or a trial.
const stopWithin = 20 * time.Second

// Run runs the trials of a plan that have not ended, and returns when all have,
// when the experiment's budget is spent, or when ctx ends. Cells, when not empty,
// are those to run. A trial that does not count is no error: see the results.
//
// The error of a trial that could not be run at all is returned at once; trials
// that run meanwhile end first.
func (l *Lab) Run(ctx context.Context, p *trials.Plan, cells []string) error {
	done, err := ReadResults(l.o.Dir)
	if err != nil {
		return err
	}
	ended := map[string]bool{}
	for _, o := range done {
		ended[o.ID] = true
	}
	var todo []trials.Trial
	for _, t := range p.Trials {
		if !ended[t.ID] && (len(cells) == 0 || contains(cells, t.Cell)) {
			todo = append(todo, t)
		}
	}
	atOnce := 1
	if p.Order == trials.Parallel {
		atOnce = max(1, l.o.Parallel)
	}
	return l.within(ctx, func(ctx context.Context) error {
		return each(ctx, atOnce, todo, func(ctx context.Context, t trials.Trial) error {
			_, err := l.Trial(ctx, t)
			return err
		})
	})
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// each calls f for every item, some at once, in their order. After the first
// error no further call begins.
func each[T any](ctx context.Context, atOnce int, items []T, f func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for _, item := range items {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := f(ctx, item); err != nil {
				once.Do(func() { first = err })
				cancel(err)
			}
		})
	}
	wg.Wait()
	if first == nil && ctx.Err() != nil {
		first = diag.Errorf(diag.Interrupted, "the same command goes on", "lab: %w", context.Cause(ctx))
	}
	return first
}

// tell passes news on.
func (l *Lab) tell(n News) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.o.Told != nil {
		l.o.Told(n)
	}
}

const experimentFile = "experiment.json"

// writeJSON writes a file at once: it is there whole or not at all.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return diag.Wrap(diag.Internal, "lab", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return diag.Wrap(diag.Infra, "lab", err)
	}
	_, err = tmp.Write(append(data, '\n'))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return diag.Wrap(diag.Infra, "lab", err)
}

// readJSON reads a file that writeJSON wrote.
func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return diag.Wrap(diag.Infra, "lab", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return diag.Errorf(diag.Infra, "remove it, and run the lab again", "%s: %w", path, err)
	}
	return nil
}

// folder is a file name for a trial or a setting, whose names may hold slashes, and
// commas, which no path of a daemon's state may have.
func folder(name string) string {
	if name == "" {
		return "default"
	}
	return strings.NewReplacer("/", "~", ",", "~").Replace(name)
}

// appendLine adds a line of JSON to a file, with one call.
func appendLine(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return diag.Wrap(diag.Internal, "lab", err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return diag.Wrap(diag.Infra, "lab", err)
	}
	_, err = f.Write(append(data, '\n'))
	return diag.Wrap(diag.Infra, "lab", errors.Join(err, f.Close()))
}

// mendLines takes torn last lines off the files that appendLine writes: the next
// line would go on where they end.
func mendLines(dir string) error {
	searches, err := filepath.Glob(filepath.Join(dir, searchFolder, "*.jsonl"))
	if err != nil {
		return diag.Wrap(diag.Internal, "lab", err)
	}
	for _, path := range append(searches, filepath.Join(dir, nameFile)) {
		data, err := os.ReadFile(path)
		if whole := bytes.LastIndexByte(data, '\n') + 1; err == nil && whole < len(data) {
			err = os.Truncate(path, int64(whole))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return diag.Wrap(diag.Infra, "lab", err)
		}
	}
	return nil
}

// lines yields the lines of a file that appendLine wrote; a torn last one, and a
// file that is not there, count for nothing.
func lines[T any](path string) ([]T, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "lab", err)
	}
	defer f.Close()
	var out []T
	d := json.NewDecoder(f)
	for {
		var v T
		err := d.Decode(&v)
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return out, nil
		}
		if err != nil {
			return nil, diag.Wrap(diag.Infra, fmt.Sprintf("lab: %s", path), err)
		}
		out = append(out, v)
	}
}
