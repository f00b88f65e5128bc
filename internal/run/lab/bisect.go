package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/lapstrake/lapstrake/internal/decide/bisect"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// Question is what a bisection asks: at which level of a factor does a metric
// change, when all other factors have their first level? A pointer that was taken
// out of the factor's commits goes with them.
type Question struct {
	Factor string `json:"factor"`
	// Metric is an exact one, by a name that [metric.Find] knows.
	Metric string `json:"metric"`
	// Temperature is Cold, or Bump: what each level costs after the one before it.
	Temperature experiment.Temperature `json:"temperature"`
}

// bisection is a search that real trials answer.
type bisection struct {
	lab    *Lab
	q      Question
	factor experiment.Factor
	metric metric.Metric
	path   string // of its log

	mu     sync.Mutex // of what follows, while probes run
	search *bisect.Search
}

// ReadSearch is the search that a folder's log tells of; one that was not begun
// is new.
func ReadSearch(dir string, q Question) (*bisect.Search, error) {
	data, err := os.ReadFile(searchPath(dir, q))
	if errors.Is(err, fs.ErrNotExist) {
		return bisect.New(), nil
	}
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "bisect", err)
	}
	if i := bytes.LastIndexByte(data, '\n'); i >= 0 {
		data = data[:i+1] // a line that was cut short by a kill is no event
	}
	events, err := bisect.Decode(data)
	if err != nil {
		return nil, err
	}
	return bisect.Replay(events)
}

// searchFolder has the logs of searches.
const searchFolder = "bisect"

// searchPath is the log of a search.
func searchPath(dir string, q Question) string {
	return filepath.Join(dir, searchFolder, folder(q.Factor+"~"+q.Metric+"~"+string(q.Temperature))+".jsonl")
}

// Bisect searches until every question is answered, and goes on with a search
// that was interrupted. Relate tells how checkpoints lie to each other; nil when
// they are no commits.
//
// Levels with equal fingerprints are one, so that what cannot change is not built.
// A trial that does not count, or does not tell the metric, is untestable. Probes
// that do not wait for each other run at once, as many as Options.Parallel says: a
// metric that repeats exactly is not disturbed by that.
func (l *Lab) Bisect(ctx context.Context, q Question, relate func(a, b string) bisect.Relation) (*bisect.Search, error) {
	b, err := l.bisection(q)
	if err != nil {
		return nil, err
	}
	if len(b.search.Log()) == 0 {
		p, err := b.plan(ctx)
		if err != nil {
			return nil, err
		}
		if err := bisect.Check(p, relate); err != nil {
			return nil, err
		}
		if err := b.step(bisect.Event{Kind: bisect.Begin, Plan: &p}); err != nil {
			return nil, err
		}
	}
	return b.search, l.within(ctx, func(ctx context.Context) error {
		for probes := b.search.Pending(); len(probes) > 0; probes = b.search.Pending() {
			if err := each(ctx, max(1, l.o.Parallel), probes, b.answer); err != nil {
				return err
			}
		}
		return nil
	})
}

// answer makes a probe and tells the search what it gave. What others under way
// give makes no difference to that: none of them is taken back.
func (b *bisection) answer(ctx context.Context, p bisect.Probe) error {
	e, err := b.probe(ctx, p)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.step(e)
}

// SkipProbe takes a checkpoint out of a search that has begun.
func (l *Lab) SkipProbe(q Question, at, why string) error {
	b, err := l.bisection(q)
	if err != nil {
		return err
	}
	if len(b.search.Log()) == 0 {
		return diag.Errorf(diag.Usage, "begin it with `lapstrake lab bisect`", "the search has not begun")
	}
	return b.step(bisect.Event{Kind: bisect.Skip, At: at, Detail: why})
}

func (l *Lab) bisection(q Question) (*bisection, error) {
	b := &bisection{lab: l, q: q, path: searchPath(l.o.Dir, q)}
	var ok bool
	if b.factor, ok = l.o.Experiment.Factor(q.Factor); !ok {
		return nil, diag.Errorf(diag.Usage, "name a factor of the lab file", "there is no factor %q", q.Factor)
	}
	if b.metric, ok = metric.Find(q.Metric); !ok || b.metric.Kind != stat.Exact {
		return nil, diag.Errorf(diag.Usage, "name an exact one, like executed", "%q is no metric that repeats exactly", q.Metric)
	}
	var err error
	b.search, err = ReadSearch(l.o.Dir, q)
	return b, err
}

// step tells the search what happened, and writes it down.
func (b *bisection) step(e bisect.Event) error {
	if _, err := b.search.Step(e); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o755); err != nil {
		return diag.Wrap(diag.Infra, "bisect", err)
	}
	return appendLine(b.path, e)
}

// at defines the setting of a level and returns its name.
func (b *bisection) at(level string) string {
	name := "bisect-" + b.factor.Name + "=" + level
	b.lab.define(name, b.lab.o.Experiment.Along(b.factor.Name, level))
	return name
}

// plan lists the checkpoints with their fingerprints. A bump's is over both ends
// of the step; steps that change nothing are alike.
func (b *bisection) plan(ctx context.Context) (bisect.Plan, error) {
	var p bisect.Plan
	before := ""
	for i, level := range b.factor.Levels {
		print, err := b.lab.Fingerprint(ctx, b.at(level.Name))
		if err != nil {
			return p, err
		}
		now := string(print)
		key := now
		if b.q.Temperature == experiment.Bump {
			if key = string(digestOf(before, now)); before == now {
				key = "nothing"
			}
		}
		if before = now; i > 0 || b.q.Temperature != experiment.Bump {
			p.Checkpoints = append(p.Checkpoints, bisect.Checkpoint{ID: b.id(level), Fingerprint: key})
		}
	}
	return p, nil
}

// id is a level's name for good: a commit, where it is one.
func (b *bisection) id(level experiment.Level) string {
	if b.factor.Kind.Commit() {
		return level.Value
	}
	return level.Name
}

// probe runs a trial and says what it gave.
func (b *bisection) probe(ctx context.Context, p bisect.Probe) (bisect.Event, error) {
	i := slices.IndexFunc(b.factor.Levels, func(l experiment.Level) bool { return b.id(l) == p.At })
	level := b.factor.Levels[i]
	cell := experiment.Cell{Setting: b.at(level.Name), Levels: b.lab.o.Experiment.Along(b.factor.Name, level.Name), Temperature: b.q.Temperature}
	t := trials.Trial{Cell: cell.ID(), Replicate: 1}
	if p.Fresh {
		t.Replicate = 2
	}
	if b.q.Temperature == experiment.Bump {
		cell.Seed = b.at(b.factor.Levels[i-1].Name)
		t.Seed = cell.Seed
	}
	t.ID = experiment.TrialID(b.lab.o.Experiment.Digest(), cell, t.Replicate)
	o, err := b.lab.trial(ctx, t, cell)
	if err != nil {
		return bisect.Event{}, err
	}
	e := bisect.Event{Kind: bisect.Untestable, At: p.At, Fresh: p.Fresh}
	switch {
	case len(o.Faults) > 0:
		e.Detail = o.Faults[0].Detail
	case o.Summary == nil:
		e.Detail = "it has no summary"
	default:
		v, ok := b.metric.Of(o.Summary)
		if !ok || v.Censored {
			e.Detail = fmt.Sprintf("it does not tell %s", b.metric.Name)
			break
		}
		e.Kind, e.Value = bisect.Measured, v.V
	}
	return e, nil
}
