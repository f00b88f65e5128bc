package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// Record is a run that is being written, with its summary so far. It is safe
// for concurrent use.
type Record struct {
	*runlog.Run
	// Resumed is true when the run was begun by an earlier process.
	Resumed bool

	mu    sync.Mutex
	since time.Duration // Mono of this start
	sum   *summary.Summary
	watch []func(journal.Event)
}

// RecordOptions say which run to write.
type RecordOptions struct {
	State string
	Fleet *fleet.Fleet
	// Choices are the flags that make it another run: selection, namespace, force.
	Choices string
	// Namespace is where the fleet's references were moved to; "" when nowhere.
	Namespace string
	// Versions of the programs that take part, by name, as far as known.
	Versions map[string]string
	// New starts a new run although an unfinished one could go on.
	New bool
	// AfterAppend is handed to runlog.Options; tests use it.
	AfterAppend func(seq int64)
}

// StartRecord goes on with the newest run of the same fleet and choices when it
// was interrupted, and begins a new one otherwise. The values of the fleet's
// secrets are known to the run's redactor from the start.
func StartRecord(o RecordOptions) (*Record, error) {
	r := &Record{sum: summary.New()}
	opts := runlog.Options{AfterAppend: o.AfterAppend, OnEvent: r.fold}
	id := identity(o)
	found, ok, err := runlog.Latest(o.State, func(i runlog.Info) bool { return i.Fleet == id })
	if err != nil {
		return nil, err
	}
	if r.Resumed = ok && !o.New && (!found.Ended || found.Exit == diag.Interrupted.ExitCode()); r.Resumed {
		for ev, err := range runlog.Read(found.Dir) {
			if err != nil {
				return nil, err
			}
			summary.Fold(r.sum, ev)
		}
		r.Run, err = opts.Open(o.State, found.ID)
	} else {
		r.Run, err = opts.Create(o.State, "")
	}
	if err != nil {
		return nil, err
	}
	r.Redactor().Add(secretValues(o.Fleet)...)
	return r, r.Append(event(journal.RunStarted, "", journal.RunData{Run: r.ID(), Fleet: id, Command: os.Args, Resumed: r.Resumed, Versions: o.Versions, File: o.Fleet.File, Namespace: o.Namespace, Output: o.Fleet.Output.To}))
}

// identity tells runs of the same fleet and choices from others.
func identity(o RecordOptions) string {
	f := *o.Fleet
	// How it is made, and how it is checked, does not make it another fleet.
	f.Jobs, f.Disk, f.Deadlines, f.Workers, f.Lint = 0, fleet.Disk{}, fleet.Deadlines{}, nil, fleet.Lint{}
	data, err := json.Marshal(f)
	if err != nil {
		panic("engine: a fleet is plain data: " + err.Error())
	}
	sum := sha256.Sum256(append(data, o.Choices...))
	return o.Fleet.Name + "@" + hex.EncodeToString(sum[:6])
}

// secretValues reads what the run must never write down. A secret that cannot
// be read now fails when a step asks for it.
func secretValues(f *fleet.Fleet) []string {
	var out []string
	for _, s := range f.Secrets {
		if s.Env != "" {
			out = append(out, os.Getenv(s.Env))
		} else if data, err := os.ReadFile(s.File); err == nil {
			out = append(out, strings.TrimSpace(string(data)))
		}
	}
	for _, reg := range f.Registries {
		for _, a := range []*fleet.Auth{reg.Pull, reg.Push} {
			if a != nil && a.PasswordEnv != "" {
				out = append(out, os.Getenv(a.PasswordEnv))
			}
		}
	}
	return out
}

func (r *Record) fold(e journal.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	summary.Fold(r.sum, e)
	if e.Kind == journal.RunStarted {
		r.since = e.Mono
	}
	for _, see := range r.watch {
		if see != nil {
			see(e)
		}
	}
}

// Watch calls see with every event from now on until stop is called, in the
// journal's order and one at a time. see must not call the Record.
func (r *Record) Watch(see func(journal.Event)) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := len(r.watch)
	r.watch = append(r.watch, see)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.watch[i] = nil
	}
}

// recordsFile holds the ids of what a worker held when the run began.
const recordsFile = "records-%s.json"

// firstRecords returns the ids that a worker held when the run first reached
// it, which are ids when that is now.
func (r *Record) firstRecords(worker string, ids map[string]bool) map[string]bool {
	name := fmt.Sprintf(recordsFile, fileName(worker))
	if r.Resumed {
		if data, err := os.ReadFile(filepath.Join(r.Dir(), name)); err == nil {
			first := map[string]bool{}
			if json.Unmarshal(data, &first) == nil {
				return first
			}
		}
	}
	data, err := json.Marshal(ids)
	if err == nil {
		// Without it a later start only releases less.
		_ = r.WriteFile(name, data)
	}
	return ids
}

// fileName is a worker's name as a part of a file's.
func fileName(worker string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' {
			return c
		}
		return '_'
	}, strings.ToLower(worker))
}

// State is what the journal says of an image; ok is false when nothing.
func (r *Record) State(image string) (s summary.UnitState, ok bool) {
	if r == nil {
		return s, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok = r.sum.Units[image]
	return s, ok
}

// published tells whether the run made an index what its tags name.
func (r *Record) published(x plan.Index) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	is, ok := r.sum.Indexes[x.Image]
	return ok && is.Key == x.Key
}

// Summary calls read with the summary so far; read must not keep it.
func (r *Record) Summary(read func(*summary.Summary) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return read(r.sum)
}

// Finish closes the run with the error that ended it, writes its summary, and
// returns the error together with what went wrong in closing.
func (r *Record) Finish(err error) error {
	exit, cause := 0, ""
	if err != nil {
		exit, cause = diag.KindOf(err).ExitCode(), err.Error()
	}
	if e := r.AppendDurable(event(journal.RunEnded, "", journal.EndData{Exit: exit, Cause: cause})); e != nil && err == nil {
		err = e
	}
	e := r.Summary(func(s *summary.Summary) error {
		data, e := json.Marshal(s)
		if e != nil {
			return diag.Wrap(diag.Internal, "summary", e)
		}
		return r.WriteFile(runlog.SummaryFile, append(data, '\n'))
	})
	if e == nil {
		e = r.Close()
	}
	if err == nil {
		err = e
	}
	return err
}
