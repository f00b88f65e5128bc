package record

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// log is the run that is written, with its summary so far. A command is not
// ours to stop: what goes wrong in writing is kept until the end. It is safe
// for concurrent use.
type log struct {
	*runlog.Run

	mu  sync.Mutex
	sum *summary.Summary
	err error // the first
}

// newLog begins a run, with the id and the clock if it has its own. The secrets
// never reach it.
func newLog(state, id string, clock func() time.Time, secrets []string) (*log, error) {
	l := &log{sum: summary.New()}
	run, err := runlog.Options{Now: clock, OnEvent: func(e journal.Event) {
		l.mu.Lock()
		defer l.mu.Unlock()
		summary.Fold(l.sum, e)
	}}.Create(state, id)
	if err != nil {
		return nil, err
	}
	l.Run = run
	l.Redactor().Add(secrets...)
	return l, nil
}

// onWorker says that an event is about the daemon.
func onWorker(e *journal.Event) { e.Worker = workerName }

// write appends an event.
func (l *log) write(kind journal.Kind, unit string, data any, more ...func(*journal.Event)) {
	e := journal.Event{Kind: kind, Unit: unit}
	for _, f := range more {
		f(&e)
	}
	var err error
	if e.Data, err = json.Marshal(data); err == nil {
		err = l.Append(e)
	}
	l.keep(err)
}

func (l *log) keep(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

func (l *log) note(level, text string) {
	l.write(journal.Note, "", journal.NoteData{Level: level, Text: text})
}

// failed is the first error in writing.
func (l *log) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// finish closes the run, writes its summary and returns it with all that went
// wrong.
func (l *log) finish(exit int, cause string, err error) (*summary.Summary, error) {
	if err != nil && exit == 0 {
		exit = diag.KindOf(err).ExitCode()
	}
	l.write(journal.RunEnded, "", journal.EndData{Exit: exit, Cause: cause})
	l.mu.Lock()
	sum := l.sum
	data, e := json.Marshal(sum)
	l.mu.Unlock()
	if e == nil {
		e = l.WriteFile(runlog.SummaryFile, append(data, '\n'))
	}
	return sum, errors.Join(err, l.failed(), e, l.Close())
}

// secrets are the values of variables that by their names hold some: the
// command inherits them, and what it prints may be written down.
func secrets(env []string) []string {
	const shortest = 8 // less is more likely a word
	var out []string
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		name = strings.ToUpper(name)
		for _, word := range []string{"TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY", "ACCESS_KEY", "PRIVATE_KEY"} {
			if strings.Contains(name, word) && len(value) >= shortest {
				out = append(out, value)
				break
			}
		}
	}
	return out
}
