package engine

import (
	"context"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/release"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// releaser gives back what published images left on the daemon, in batches and
// beside the solves.
type releaser struct {
	e        *Engine
	w        *Worker
	before   map[string]bool
	bases    map[graph.Digest]int // images still to come, by base
	byDigest map[graph.Digest]*fact.Base
	todo     chan *fact.Base
	wg       sync.WaitGroup
}

func (e *Engine) releaser(ctx context.Context, w *Worker, tasks []task) *releaser {
	r := &releaser{e: e, w: w, before: map[string]bool{}, bases: map[graph.Digest]int{}, byDigest: map[graph.Digest]*fact.Base{}, todo: make(chan *fact.Base, len(tasks))}
	for _, t := range tasks {
		r.bases[t.facts.Base.Digest]++
		r.byDigest[t.facts.Base.Digest] = t.facts.Base
	}
	if w.Disk == nil {
		return r
	}
	records, err := w.Disk.Records(ctx)
	if err != nil {
		e.note(journal.Note, "", journal.NoteData{Level: "warning", Text: "nothing is released: " + err.Error()})
		r.w = &Worker{}
		return r
	}
	for _, rec := range records {
		r.before[rec.ID] = true
	}
	r.wg.Go(func() { r.run(ctx) })
	return r
}

// finished says that an image on base needs the daemon no more.
func (r *releaser) finished(base *fact.Base) {
	if r.w.Disk != nil {
		r.todo <- base
	}
}

// close waits for the last release.
func (r *releaser) close() {
	close(r.todo)
	r.wg.Wait()
}

func (r *releaser) run(ctx context.Context) {
	var done []*fact.Base
	for base := range r.todo {
		r.bases[base.Digest]--
		for more := true; more; {
			select {
			case b, ok := <-r.todo:
				if more = ok; ok {
					r.bases[b.Digest]--
				}
			default:
				more = false
			}
		}
		done = done[:0]
		var live []*fact.Base
		for d, n := range r.bases {
			if n > 0 {
				live = append(live, r.byDigest[d])
			} else {
				done = append(done, r.byDigest[d])
			}
		}
		r.release(ctx, done, live)
	}
}

func (r *releaser) release(ctx context.Context, done, live []*fact.Base) {
	if len(done) == 0 || ctx.Err() != nil {
		return
	}
	start := time.Now()
	records, err := r.w.Disk.Records(ctx)
	if err != nil {
		return // the next image tries again; what stays is only disk
	}
	ids := release.Dead(records, r.before, done, live)
	if len(ids) == 0 {
		return
	}
	n, bytes, err := r.w.Disk.Release(ctx, ids)
	if err != nil && ctx.Err() == nil {
		r.e.note(journal.Note, "", journal.NoteData{Level: "warning", Text: "release: " + err.Error()})
	}
	if n > 0 {
		r.e.note(journal.Released, "", journal.ReleaseData{Records: n, Bytes: bytes, Took: time.Since(start)})
	}
}
