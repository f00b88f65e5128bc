package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

const (
	trialFile = "trial.json"
	seedFile  = "seed.json"
	markFile  = "lab-mark"
	nameFile  = "names.jsonl"
)

// seed is a state that was built once, and that trials start from copies of.
type seed struct {
	// Mark is written into the state, and so into its copies.
	Mark string `json:"mark"`
	Run  string `json:"run"`
	At   names  `json:"at"`
	Took time.Duration
}

// Trial runs one trial, unless it has ended before, and keeps its outcome. What a
// trial that was interrupted left is removed first. The error is of what could
// not be run; that images fail is part of the outcome.
func (l *Lab) Trial(ctx context.Context, t trials.Trial) (*trials.Outcome, error) {
	c, ok := l.o.Experiment.Cell(t.Cell)
	if !ok {
		return nil, diag.Errorf(diag.Internal, "", "trial %s is of no cell", t.ID)
	}
	return l.trial(ctx, t, c)
}

func (l *Lab) trial(ctx context.Context, t trials.Trial, c experiment.Cell) (*trials.Outcome, error) {
	var done trials.Outcome
	dir := filepath.Join(l.o.Dir, "trials", folder(t.ID))
	if err := readJSON(filepath.Join(dir, trialFile), &done); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = withSummary(l.o.Dir, &done)
		}
		return &done, err
	}
	if err := l.afford(); err != nil {
		return nil, err
	}
	s, err := l.setting(ctx, c.Setting)
	if err != nil {
		return nil, err
	}
	sd, err := l.startFrom(ctx, t, c)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	l.tell(News{What: "trial", Name: t.ID})
	a := &attempt{lab: l, setting: s, cell: c, seed: sd, seedOf: t.Seed, dir: dir}
	if err := a.run(ctx); err != nil {
		return nil, fmt.Errorf("trial %s: %w", t.ID, err)
	}
	o := a.outcome(t, l.expected(s, c, sd))
	if err := a.leave(); err != nil {
		return nil, err
	}
	if err := writeJSON(filepath.Join(dir, trialFile), o); err != nil {
		return nil, err
	}
	l.learn(*o, c.Setting)
	l.tell(News{What: "trial", Name: t.ID, Outcome: o, Ended: true, Took: time.Since(began)})
	return o, nil
}

// expected is what a trial has to be.
func (l *Lab) expected(s *setting, c experiment.Cell, sd *seed) trials.Wanted {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.wanted[c.Setting]
	w.Cell = c
	if w.Inputs == "" { // what it began with, for the first one
		w.Inputs = s.inputs
	}
	if all := l.wanted[everywhere]; w.Daemon == "" {
		w.Daemon = all.Daemon
	}
	w.Skips = l.o.Experiment.Skips(c.Levels)
	if sd != nil {
		w.SeedMark = sd.Mark
	}
	return w
}

// everywhere is the key of what all settings have in common; no setting is named so.
const everywhere = "/"

// learn lets a trial that counts say what those after it are held against.
func (l *Lab) learn(o trials.Outcome, setting string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.Summary != nil && o.Summary.WallSeconds != nil {
		l.spent += time.Duration(*o.Summary.WallSeconds * float64(time.Second))
	}
	if len(o.Faults) > 0 {
		return
	}
	w, all := l.wanted[setting], l.wanted[everywhere]
	if w.Inputs == "" {
		w.Inputs = o.Evidence.Inputs
	}
	if w.Jobs == 0 {
		w.Jobs = o.Evidence.Jobs
	}
	if all.Daemon == "" {
		all.Daemon = o.Conditions.Daemon
	}
	l.wanted[setting], l.wanted[everywhere] = w, all
}

// startFrom is the seed of a trial, built when it is not there; nil for nothing.
func (l *Lab) startFrom(ctx context.Context, t trials.Trial, c experiment.Cell) (*seed, error) {
	if c.Temperature == experiment.Cold {
		return nil, nil
	}
	defer l.oneSeed(t.Seed)()
	dir := filepath.Join(l.o.Dir, "seeds", folder(t.Seed))
	sd := &seed{}
	if err := readJSON(filepath.Join(dir, seedFile), sd); !errors.Is(err, fs.ErrNotExist) {
		return sd, err
	}
	s, err := l.setting(ctx, t.Seed)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	l.tell(News{What: "seed", Name: t.Seed})
	cold := experiment.Cell{Setting: t.Seed, Levels: s.levels, Temperature: experiment.Cold}
	a := &attempt{lab: l, setting: s, cell: cold, dir: dir, keep: true}
	if err := a.run(ctx); err != nil {
		return nil, fmt.Errorf("seed %s: %w", t.Seed, err)
	}
	o := a.outcome(trials.Trial{ID: "seed/" + t.Seed, Cell: cold.ID()}, l.expected(s, cold, nil))
	if len(o.Faults) > 0 {
		return nil, diag.Errorf(diag.Evidence, "remove its folder, and run the lab again", "seed %s is not what it has to be: %s", t.Seed, o.Faults[0].Detail)
	}
	if o.Exit != 0 {
		return nil, diag.Errorf(diag.Step, "see "+a.log(), "seed %s: its build ended with exit code %d", t.Seed, o.Exit)
	}
	*sd = seed{Mark: a.mark, Run: o.Run, At: a.at, Took: time.Since(began)}
	l.mu.Lock()
	l.spent += sd.Took
	l.mu.Unlock()
	if err := writeJSON(filepath.Join(dir, seedFile), sd); err != nil {
		return nil, err
	}
	l.tell(News{What: "seed", Name: t.Seed, Ended: true, Took: sd.Took})
	return sd, nil
}

// oneSeed waits until nobody else makes a seed, and returns what lets the next one
// in: trials that wait for the same seed start together.
func (l *Lab) oneSeed(name string) (done func()) {
	l.mu.Lock()
	m := l.seeds[name]
	if m == nil {
		m = &sync.Mutex{}
		l.seeds[name] = m
	}
	l.mu.Unlock()
	m.Lock()
	return m.Unlock
}

// attempt is one trial, or seed, on its way.
type attempt struct {
	lab     *Lab
	setting *setting
	cell    experiment.Cell
	seed    *seed // nil: nothing
	seedOf  string
	dir     string
	keep    bool // the state stays

	at    names
	mark  string
	host  trials.Host
	seen  trials.Seen
	exit  int
	runID string
	sum   *summary.Summary
	// published is how much the registry holds of it.
	published *int64
}

// seedState is the state of a seed.
func (l *Lab) seedState(name string) string {
	return filepath.Join(l.o.Dir, "seeds", folder(name), "state")
}

func (a *attempt) state() string { return filepath.Join(a.dir, "state") }
func (a *attempt) log() string   { return filepath.Join(a.dir, "output.log") }

// run does everything up to the end of the build. When the disk is spent by then,
// nothing stays of it: it is made again from the beginning anyway.
func (a *attempt) run(ctx context.Context) (err error) {
	defer func() {
		if err != nil && overfull(ctx) {
			err = errors.Join(err, clear(a.dir))
		}
	}()
	if err := clear(a.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(a.state(), 0o755); err != nil {
		return diag.Wrap(diag.Infra, "trial", err)
	}
	if err := a.name(); err != nil {
		return err
	}
	if err := a.begin(ctx); err != nil {
		return err
	}
	if t := a.lab.tamper; t != nil {
		if err := t(a); err != nil {
			return err
		}
	}
	if err := a.readMark(); err != nil {
		return err
	}
	a.host = thisHost()
	a.seen.Mounts = mountsBelow(a.dir)
	if err := a.probe(ctx); err != nil {
		return err
	}
	if err := a.look(ctx); err != nil {
		return err
	}
	if err := a.program(ctx); err != nil {
		return err
	}
	return a.evidence(ctx)
}

// name draws the names of an attempt: no two have the same.
func (a *attempt) name() error {
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return diag.Wrap(diag.Infra, "trial", err)
	}
	a.mark = hex.EncodeToString(b[:])
	a.at = names{Host: a.setting.host, Namespace: "lab-" + a.mark, Cache: "lab-" + a.mark + "/cache"}
	return appendLine(filepath.Join(a.lab.o.Dir, nameFile), a.at)
}

// begin makes what the attempt starts from.
func (a *attempt) begin(ctx context.Context) error {
	if a.seed != nil {
		if err := a.fromSeed(ctx); err != nil {
			return err
		}
	}
	facts := filepath.Join(a.state(), "facts")
	if a.setting.fleet != nil && !isDir(facts) {
		if err := copyTree(filepath.Join(a.lab.locked(), "facts"), facts, nil); err != nil {
			return diag.Wrap(diag.Infra, "trial", err)
		}
	}
	if !a.keep {
		return nil
	}
	return diag.Wrap(diag.Infra, "seed", os.WriteFile(filepath.Join(a.state(), markFile), []byte(a.mark), 0o644))
}

// fromSeed copies what the seed left: its state, unless only the registry counts,
// and its cache.
func (a *attempt) fromSeed(ctx context.Context) error {
	if err := a.copyOutputs(ctx); err != nil {
		return err
	}
	if a.cell.Temperature == experiment.WarmRemote {
		a.seen.SeedMark = a.seed.Mark // its cache is copied by name
		return a.copyCache(ctx)
	}
	if err := os.Remove(a.state()); err != nil {
		return diag.Wrap(diag.Infra, "trial", err)
	}
	if err := cloneState(ctx, a.lab.seedState(a.seedOf), a.state()); err != nil {
		return err
	}
	return a.copyCache(ctx)
}

// readMark reads which state this one is a copy of. A seed has its own mark by
// then, and started from nothing.
func (a *attempt) readMark() error {
	if a.keep {
		return nil
	}
	mark, err := os.ReadFile(filepath.Join(a.state(), markFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	a.seen.SeedMark = string(mark)
	return diag.Wrap(diag.Infra, "trial", err)
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// skips tells whether the attempt may find its seed's images in place.
func (a *attempt) skips() bool {
	return a.seed != nil && a.setting.fleet != nil && a.lab.o.Experiment.Skips(a.setting.levels)
}

// copyOutputs gives the attempt what its seed published, where skipping is what is
// looked at.
func (a *attempt) copyOutputs(ctx context.Context) error {
	if !a.skips() {
		return nil
	}
	from := a.setting.repositories(a.seed.At.Namespace)
	for i, to := range a.setting.repositories(a.at.Namespace) {
		if err := a.setting.store.CopyTags(ctx, from[i], to); err != nil {
			return err
		}
	}
	return nil
}

// copyCache gives the attempt the cache of its seed, under its own names.
func (a *attempt) copyCache(ctx context.Context) error {
	from, to := a.seed.At, a.at
	if a.setting.fleet != nil {
		return a.setting.store.CopyTags(ctx, from.cacheRepo(), to.cacheRepo())
	}
	repos, err := a.repositories(ctx, from.Cache)
	if err != nil {
		return err
	}
	for _, r := range repos {
		if err := a.setting.store.CopyTags(ctx, from.Host+"/"+r, to.cacheRepo()+strings.TrimPrefix(r, from.Cache)); err != nil {
			return err
		}
	}
	return nil
}

// repositories are those of the lab's own registry that are called prefix, or
// that have it and a slash before their names.
func (a *attempt) repositories(ctx context.Context, prefix string) ([]string, error) {
	all, err := a.setting.store.Repositories(ctx, a.at.Host)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(r string) bool { return r != prefix && !strings.HasPrefix(r, prefix+"/") }), nil
}

// outcome judges the attempt.
func (a *attempt) outcome(t trials.Trial, want trials.Wanted) *trials.Outcome {
	o := &trials.Outcome{
		Trial: t, V: trials.OutcomeVersion, Experiment: a.lab.o.Experiment.Digest(), Run: a.runID, Exit: a.exit,
		Host: a.host, PublishedBytes: a.published, Evidence: a.seen, Summary: a.sum, Faults: trials.Attest(want, a.seen, a.sum),
	}
	o.Conditions = stat.Conditions{Temperature: string(a.cell.Temperature), Concurrency: a.seen.Jobs, Plan: a.setting.images}
	if a.sum != nil {
		o.Conditions.Daemon = a.sum.Versions[trials.Daemon]
	}
	return o
}

// leave removes what nobody needs any more: the daemon's state is large, and what
// is read of a trial is its run.
func (a *attempt) leave() error {
	if a.keep {
		return nil
	}
	return clear(filepath.Join(a.state(), "worker"))
}

// evidence reads what the trial left.
func (a *attempt) evidence(ctx context.Context) error {
	before := map[string]bool{}
	if a.seed != nil {
		before[a.seed.Run] = true
	}
	info, ok, err := runlog.Latest(a.state(), func(i runlog.Info) bool { return !before[i.ID] })
	if err != nil {
		return err
	}
	a.seen.Mounts = append(a.seen.Mounts, mountsBelow(a.dir)...)
	if !ok {
		return diag.Errorf(diag.Infra, "see "+a.log(), "its program left no run, and ended with exit code %d%s", a.exit, tail(a.log()))
	}
	a.runID = info.ID
	seedSteps, err := a.made()
	if err != nil {
		return err
	}
	r, err := readRun(info.Dir, seedSteps)
	if err != nil {
		return err
	}
	a.sum, a.seen.Steps = r.summary, r.census
	if r.summary.Limits != nil {
		a.seen.Jobs = r.summary.Limits.Jobs
	}
	for _, ref := range r.refs {
		if !a.own(ref) {
			a.seen.Foreign = append(a.seen.Foreign, ref)
		}
	}
	if err := a.weigh(ctx); err != nil {
		return err
	}
	tree, err := a.setting.content()
	if err != nil {
		return err
	}
	git, err := a.setting.known()
	if err != nil {
		return err
	}
	a.seen.Inputs = a.setting.inputs
	if tree != a.setting.Tree || a.setting.git != "" && git != a.setting.git {
		a.seen.Inputs = digestOf(tree, git)
		return a.setting.spoilt() // a trial changed it
	}
	return nil
}

// weigh asks the registry how much was published.
func (a *attempt) weigh(ctx context.Context) error {
	var repos []string
	if a.setting.fleet != nil {
		repos = a.setting.repositories(a.at.Namespace)
	} else {
		all, err := a.repositories(ctx, a.at.Namespace)
		if err != nil {
			return err
		}
		for _, r := range all {
			if !a.inCache(r) {
				repos = append(repos, a.at.Host+"/"+r)
			}
		}
	}
	n, err := a.setting.store.Published(ctx, repos)
	a.published = &n
	return err
}

// inCache tells whether a repository of the lab's own registry is of the cache.
func (a *attempt) inCache(repo string) bool {
	return repo == a.at.Cache || strings.HasPrefix(repo, a.at.Cache+"/")
}

// repository is a reference without its tag.
func repository(ref string) string { return ref[:strings.LastIndexByte(ref, ':')] }

// own tells whether a reference is of the attempt.
func (a *attempt) own(ref string) bool {
	return strings.HasPrefix(ref, a.at.outputs()+"/") || ref == a.at.cacheRepo() || strings.HasPrefix(ref, a.at.cacheRepo()+"/") || strings.HasPrefix(ref, a.at.cacheRepo()+":")
}

// made are the steps that the state holds which the attempt started from.
func (a *attempt) made() (known, error) {
	if a.seed == nil {
		return known{}, nil
	}
	dir := runlog.Dir(a.lab.seedState(a.seedOf), a.seed.Run)
	r, err := readRun(dir, known{})
	if err != nil {
		return known{}, err
	}
	return r.steps, nil
}
