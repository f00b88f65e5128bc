package runlog

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Info is what the two ends of a run's journal tell, without reading it all.
type Info struct {
	ID  string `json:"id"`
	Dir string `json:"dir"`
	// Started is the time of the first event, Last that of the last whole one;
	// both zero in a run that never began.
	Started time.Time `json:"started"`
	Last    time.Time `json:"last"`
	// Fleet and Command are those of the run's first start.
	Fleet   string   `json:"fleet"`
	Command []string `json:"command,omitempty"`
	// Observed is true when another program's builds were recorded.
	Observed bool `json:"observed,omitempty"`
	// Events is the number of events.
	Events int64 `json:"events"`
	// Ended is true when the last event closes the run; Exit and Cause are then
	// what it says. A run that is neither ended nor in use was interrupted.
	Ended bool   `json:"ended"`
	Exit  int    `json:"exit"`
	Cause string `json:"cause,omitempty"`
	// InUse is true while a process writes the run; PID is that process, 0 when
	// unknown.
	InUse bool `json:"inUse"`
	PID   int  `json:"pid,omitempty"`
}

// List describes the runs in a state folder, newest first. A journal whose ends
// cannot be read leaves what it would tell empty; no runs is not an error.
func List(state string) ([]Info, error) {
	entries, err := os.ReadDir(filepath.Join(state, runsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "list runs", err)
	}
	var runs []Info
	for _, e := range entries {
		if e.IsDir() && validID(e.Name()) {
			runs = append(runs, info(Dir(state, e.Name()), e.Name()))
		}
	}
	sort.SliceStable(runs, func(i, j int) bool { return runs[i].ID > runs[j].ID })
	return runs, nil
}

// Latest returns the newest run that matches; ok is false when none does. A nil
// match matches every run.
func Latest(state string, match func(Info) bool) (found Info, ok bool, err error) {
	runs, err := List(state)
	if err != nil {
		return Info{}, false, err
	}
	for _, r := range runs {
		if match == nil || match(r) {
			return r, true, nil
		}
	}
	return Info{}, false, nil
}

func info(dir, id string) Info {
	i := Info{ID: id, Dir: dir, InUse: inUse(dir)}
	if i.InUse {
		i.PID = lockOwner(filepath.Join(dir, lockFile))
	}
	f, err := os.Open(filepath.Join(dir, journalFile))
	if err != nil {
		return i
	}
	defer f.Close()
	first, err := newScanner(f, dir).next()
	if err != nil {
		return i
	}
	i.Started, i.Last = first.Wall, first.Wall
	var d journal.RunData
	if first.Kind == journal.RunStarted && first.Decode(&d) == nil {
		i.Fleet, i.Command, i.Observed = d.Fleet, d.Command, d.Observed
	}
	if last, ok := lastEvent(f); ok {
		i.Last, i.Events = last.Wall, last.Seq
		var end journal.EndData
		if last.Kind == journal.RunEnded && last.Decode(&end) == nil {
			i.Ended, i.Exit, i.Cause = true, end.Exit, end.Cause
		}
	}
	return i
}

// lastEvent reads the last whole event from the end of a journal.
func lastEvent(f *os.File) (journal.Event, bool) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return journal.Event{}, false
	}
	for window := int64(64 << 10); ; window *= 8 {
		from := max(0, end-window)
		tail := make([]byte, end-from)
		if _, err := f.ReadAt(tail, from); err != nil && err != io.EOF {
			return journal.Event{}, false
		}
		tail = tail[:bytes.LastIndexByte(tail, '\n')+1]
		for len(tail) > 0 {
			tail = tail[:len(tail)-1]
			start := bytes.LastIndexByte(tail, '\n') + 1
			if start == 0 && from > 0 {
				break // the line begins before the window
			}
			if e, why := parse(tail[start:]); why == "" {
				return e, true
			}
			tail = tail[:start]
		}
		if from == 0 || window > 2*maxLine {
			return journal.Event{}, false
		}
	}
}
