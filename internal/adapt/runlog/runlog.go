// Package runlog keeps a run on disk, in STATE/runs/ID:
//
//	journal.jsonl   what happened, one event a line, only ever appended to
//	plan.json       the plan, basis.json what that rests on, and summary.json
//	                its outcome; see [Run.WriteFile]
//	logs/*.zst      the output of steps
//	lock            held while a process writes the run
//
// A process that dies leaves a journal that can be read: every event is written
// with one call, and a line that was cut short by the death is dropped when the
// run is opened again. Readers need no lock.
package runlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

const (
	journalFile = "journal.jsonl"
	lockFile    = "lock"
	logDir      = "logs"
	runsDir     = "runs"
)

// Options say how a run is written. The zero value is the usual way.
type Options struct {
	// AfterAppend, when not nil, is called once for every event: after it was
	// written, and for a durable one after it is on the disk. Calls come from
	// the appending goroutines, concurrently, with no lock held.
	AfterAppend func(seq int64)
	// OnEvent, when not nil, is called with every event as it was written,
	// secrets replaced, in the order of Seq and one at a time. It must not call
	// the Run. The events of earlier starts of the run are not repeated; they
	// are read with [Read].
	OnEvent func(journal.Event)
	// Now says when an event happens; nil means when it is written. A run that is
	// told of afterwards has the times at which it took place.
	Now func() time.Time
}

// Run is a run that this process writes. Its methods may be called
// concurrently.
type Run struct {
	id, dir string
	opts    Options
	lock    *os.File
	redact  *Redactor
	logs    *logs

	mu    sync.Mutex // guards the journal's end
	file  *os.File
	size  int64 // bytes of whole events in file
	seq   int64 // of the last event written
	base  time.Duration
	since time.Time // when this process wrote its first event, at Mono base
	err   error     // sticky: the journal's end is not known any more

	group group
}

// Create makes a new run in the state folder and locks it. An empty id gets a
// fresh one from the clock; an id that exists is an error.
func Create(state, id string) (*Run, error) { return Options{}.Create(state, id) }

// Open locks an existing run to go on with it. A journal that ends in a torn
// line is cut there, and a Note event says so. A run that another process
// writes is an error of kind diag.Infra that names the process, and so is a
// journal with a broken line before its end; neither is changed.
func Open(state, id string) (*Run, error) { return Options{}.Open(state, id) }

// Create is [Create] with options.
func (o Options) Create(state, id string) (*Run, error) {
	if err := os.MkdirAll(filepath.Join(state, runsDir), 0o755); err != nil {
		return nil, diag.Wrap(diag.Infra, "state folder", err)
	}
	dir, id, err := makeDir(state, id)
	if err != nil {
		return nil, err
	}
	r, err := o.start(dir, id, os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := syncDir(d); err != nil {
			r.Close()
			return nil, diag.Wrap(diag.Infra, "create run "+id, err)
		}
	}
	return r, nil
}

// Open is [Open] with options.
func (o Options) Open(state, id string) (*Run, error) {
	if !validID(id) {
		return nil, diag.Errorf(diag.Usage, "`lapstrake runs` lists them", "%q is not the id of a run", id)
	}
	dir := Dir(state, id)
	if _, err := os.Stat(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, diag.Errorf(diag.Usage, "`lapstrake runs` lists them", "no run %s: %w", id, err)
		}
		return nil, diag.Wrap(diag.Infra, "open run "+id, err)
	}
	r, err := o.start(dir, id, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if err := r.recover(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Dir is the folder of a run, whether it exists or not.
func Dir(state, id string) string { return filepath.Join(state, runsDir, id) }

// makeDir makes the folder of a new run.
func makeDir(state, id string) (dir, made string, err error) {
	fresh := id == ""
	if !fresh && !validID(id) {
		return "", "", diag.Errorf(diag.Usage, "letters, digits, dots, dashes and underscores", "%q cannot be the id of a run", id)
	}
	for {
		if fresh {
			id = ID(time.Now())
		}
		dir = Dir(state, id)
		err = os.Mkdir(dir, 0o700)
		switch {
		case err == nil:
			return dir, id, nil
		case fresh && errors.Is(err, fs.ErrExist):
			continue // somebody took this instant; the next one is free
		case errors.Is(err, fs.ErrExist):
			return "", "", diag.Errorf(diag.Usage, "give the new run another id", "run %s exists", id)
		}
		return "", "", diag.Wrap(diag.Infra, "create run "+id, err)
	}
}

// start locks the run and opens its journal.
func (o Options) start(dir, id string, flag int) (*Run, error) {
	lock, err := takeLock(dir, id)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, journalFile), flag|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		lock.Close()
		return nil, diag.Wrap(diag.Infra, "open run "+id, err)
	}
	r := &Run{id: id, dir: dir, opts: o, lock: lock, file: f, redact: &Redactor{}}
	r.group.sync = f.Sync
	r.logs = newLogs(filepath.Join(dir, logDir), r.redact)
	return r, nil
}

// recover finds the end of the journal and cuts off a torn line.
func (r *Run) recover() error {
	s := newScanner(r.file, filepath.Join(r.dir, journalFile))
	var last journal.Event
	for {
		e, err := s.next()
		if err == errEnd {
			break
		}
		if err != nil {
			return err
		}
		last = e
	}
	r.seq, r.base, r.size = last.Seq, last.Mono, s.good
	if err := removeTemps(r.dir); err != nil {
		return diag.Wrap(diag.Infra, "open run "+r.id, err)
	}
	if s.torn == 0 {
		return nil
	}
	if err := r.file.Truncate(s.good); err != nil {
		return diag.Wrap(diag.Infra, "cut the torn end off "+s.name, err)
	}
	text := fmt.Sprintf("the journal ended in a torn line of %d bytes, which was cut off", s.torn)
	data, err := json.Marshal(journal.NoteData{Level: "warning", Text: text})
	if err != nil {
		return diag.Wrap(diag.Internal, "journal", err)
	}
	return r.AppendDurable(journal.Event{Kind: journal.Note, Data: data})
}

// ID is the run's id.
func (r *Run) ID() string { return r.id }

// Dir is the run's folder.
func (r *Run) Dir() string { return r.dir }

// Redactor replaces the run's secrets in text; values are added to it. What was
// written before a value was added is not changed.
func (r *Run) Redactor() *Redactor { return r.redact }

// Close finishes the logs, makes the journal durable and gives up the lock. It
// does not append an event: a run that ended without journal.RunEnded counts as
// interrupted. The Run must not be used afterwards.
func (r *Run) Close() error {
	err := r.logs.close()
	if err == nil {
		err = r.Sync()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = diag.Errorf(diag.Internal, "", "run %s is closed", r.id)
	}
	return errors.Join(err, r.file.Close(), r.lock.Close())
}

// idAlphabet has no vowels, so that ids spell nothing.
const idAlphabet = "bcdfghjklmnpqrstvwxz"

// ID is the id of a run that starts at t: the second in UTC, and where t is
// within it in four letters, so that ids sort by time.
func ID(t time.Time) string {
	t = t.UTC()
	n := int64(len(idAlphabet))
	part := int64(t.Nanosecond()) * (n * n * n * n) / int64(time.Second)
	var letters [4]byte
	for i := 3; i >= 0; i-- {
		letters[i] = idAlphabet[part%n]
		part /= n
	}
	return t.Format("20060102-150405-") + string(letters[:])
}

// validID keeps ids inside their folder.
func validID(id string) bool {
	ok := id != "" && id[0] != '.' && len(id) <= 128
	return ok && strings.IndexFunc(id, func(c rune) bool {
		return c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}) < 0
}
