package runlog

import (
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// maxLine is the longest event in bytes; a longer line is taken for damage.
const maxLine = 16 << 20

// Append writes e as the journal's next event, with one call. It sets V, Seq,
// Wall and Mono, and replaces secrets in the strings of Data. When it returns
// the event survives the death of the process, but not that of the machine.
//
// After an error (a full disk, of kind diag.Infra) the event is not in the
// journal, and appending may be tried again; when the journal's end cannot be
// restored, that error is returned for every later event too.
func (r *Run) Append(e journal.Event) error {
	seq, err := r.write(e)
	if err == nil && r.opts.AfterAppend != nil {
		r.opts.AfterAppend(seq)
	}
	return err
}

// AppendDurable is [Run.Append] that returns only after the event, and so every
// earlier one, is on the disk. Callers at one time share one sync. After an
// error of the sync the event may or may not be on the disk, and every later
// call fails: what the kernel dropped cannot be known.
func (r *Run) AppendDurable(e journal.Event) error {
	seq, err := r.write(e)
	if err != nil {
		return err
	}
	if err := r.syncTo(seq); err != nil {
		return err
	}
	if r.opts.AfterAppend != nil {
		r.opts.AfterAppend(seq)
	}
	return nil
}

// Sync returns after every event appended so far is on the disk.
func (r *Run) Sync() error { return r.syncTo(r.last()) }

func (r *Run) last() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seq
}

func (r *Run) write(e journal.Event) (int64, error) {
	e.Data = r.redact.json(e.Data)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return 0, r.err
	}
	now := time.Now()
	if r.opts.Now != nil {
		now = r.opts.Now()
	}
	if r.since.IsZero() {
		r.since = now
	}
	e.V, e.Seq, e.Wall, e.Mono = journal.Version, r.seq+1, now.UTC().Round(0), r.base+now.Sub(r.since)
	line, err := json.Marshal(e)
	switch {
	case err != nil:
		return 0, diag.Wrap(diag.Internal, "journal: "+string(e.Kind), err)
	case len(line) >= maxLine:
		return 0, diag.Errorf(diag.Internal, "", "journal: %s: an event of %d bytes", e.Kind, len(line))
	}
	line = append(line, '\n')
	n, err := r.file.Write(line)
	if err != nil {
		err = diag.Errorf(diag.Infra, "free space on the file system of the state folder", "journal of run %s: %w", r.id, err)
		if n > 0 {
			if cut := r.file.Truncate(r.size); cut != nil {
				r.err = errors.Join(err, cut)
			}
		}
		return 0, err
	}
	r.size += int64(len(line))
	r.seq = e.Seq
	if r.opts.OnEvent != nil {
		r.opts.OnEvent(e)
	}
	return e.Seq, nil
}

// group lets one sync of the journal serve everybody who waits for one. A sync
// that is under way does not count for events written after it began: their
// writers wait for it to end, and one of them syncs for all.
type group struct {
	mu     sync.Mutex
	end    *sync.Cond
	busy   bool
	synced int64 // the last event known to be on the disk
	err    error
	sync   func() error
}

func (r *Run) syncTo(seq int64) error {
	g := &r.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.end == nil {
		g.end = sync.NewCond(&g.mu)
	}
	for g.synced < seq && g.err == nil {
		if g.busy {
			g.end.Wait()
			continue
		}
		g.busy = true
		g.mu.Unlock()
		upTo := r.last()
		err := g.sync()
		g.mu.Lock()
		g.busy = false
		if err != nil {
			g.err = diag.Wrap(diag.Infra, "sync the journal of run "+r.id, err)
		} else {
			g.synced = upTo
		}
		g.end.Broadcast()
	}
	if g.synced >= seq {
		return nil
	}
	return g.err
}
