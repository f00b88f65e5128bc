package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/release"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// releaseWithin is the deadline of a release when none is given.
const releaseWithin = 2 * time.Minute

// releases knows what may be given back: by worker the records that were there
// before this run, and by base the images that still need it.
type releases struct {
	mu     sync.Mutex
	before map[string]map[string]bool // worker -> ids
	keep   func(worker string, ids map[string]bool) map[string]bool
	users  map[graph.Digest]int
	bases  map[graph.Digest]*fact.Base
	ended  map[string]int // worker -> images that ended since the last release
}

// init makes the maps. The lock must be held.
func (r *releases) init() {
	if r.users == nil {
		r.before, r.ended = map[string]map[string]bool{}, map[string]int{}
		r.users, r.bases = map[graph.Digest]int{}, map[graph.Digest]*fact.Base{}
	}
}

// begin notes which records a worker held when the run first reached it. When
// the run goes on after an interruption, those are what its first start found.
func (r *releases) begin(worker string, records []release.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.init()
	if r.before[worker] != nil {
		return
	}
	ids := make(map[string]bool, len(records))
	for _, rec := range records {
		ids[rec.ID] = true
	}
	if r.keep != nil {
		ids = r.keep(worker, ids)
	}
	r.before[worker] = ids
}

// expect counts the images that will need the daemon.
func (r *releases) expect(tasks []task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.init()
	for _, t := range tasks {
		r.users[t.facts.Base.Digest]++
		r.bases[t.facts.Base.Digest] = t.facts.Base
	}
}

// scans says that an image is pulled to be scanned, maybe again.
func (r *releases) scans(image *fact.Base) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users[image.Digest], r.bases[image.Digest] = 1, image
}

// done says that an image needs the daemon no more.
func (r *releases) done(worker string, t task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users[t.facts.Base.Digest]--
	if t.pulled != nil {
		r.users[t.pulled.Digest] = 0
	}
	r.ended[worker]++
}

// take returns what a decision about a worker's records rests on, with the number
// of images that the release is for; back gives those back when it failed.
func (r *releases) take(worker string) (before map[string]bool, done, live []*fact.Base, images int, back func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for d, n := range r.users {
		if n > 0 {
			live = append(live, r.bases[d])
		} else {
			done = append(done, r.bases[d])
		}
	}
	images = r.ended[worker]
	r.ended[worker] = 0
	return r.before[worker], done, live, images, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended[worker] += images
	}
}

// release gives the dead records of a worker back and writes down what came of
// it. It ends within the deadline whatever the daemon does.
func (e *Engine) release(ctx context.Context, s *station, l *life) {
	s.note(journal.Releasing, "", struct{}{})
	e.phase(journal.PhaseStarted, "release")
	defer e.phase(journal.PhaseEnded, "release")
	start := time.Now()
	within := e.Opts.Deadlines.Release
	if within <= 0 {
		within = releaseWithin
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	data, err := e.releaseDead(ctx, s.name, l.Disk)
	data.Took = time.Since(start)
	if err != nil {
		data.Error = err.Error()
		data.TimedOut = errors.Is(ctx.Err(), context.DeadlineExceeded)
	}
	s.note(journal.Released, "", data)
	s.read()
}

// releaseDead releases what is dead now. With an error the result holds what went
// before it.
func (e *Engine) releaseDead(ctx context.Context, worker string, disk Disk) (data journal.ReleaseData, err error) {
	before, done, live, images, back := e.releases.take(worker)
	records, err := disk.Records(ctx)
	if err != nil {
		back()
		return data, err
	}
	dead := release.Dead(records, before, done, live)
	var gone []string
	if len(dead.IDs) > 0 {
		gone, err = disk.Release(ctx, dead.IDs)
	}
	data = released(records, dead, gone)
	if err != nil {
		back()
		data.After = nil // what stays is not known
		return data, err
	}
	data.Images = images
	if err := disk.Recover(); err != nil {
		e.note(journal.Note, "", journal.NoteData{Level: "warning", Text: err.Error()})
	}
	return data, nil
}

// released sums up what went.
func released(records []release.Record, dead release.Victims, gone []string) journal.ReleaseData {
	data := journal.ReleaseData{Records: len(gone), Before: map[string]int64{}, After: map[string]int64{}}
	went := make(map[string]bool, len(gone))
	for _, id := range gone {
		went[id] = true
	}
	for _, r := range records {
		data.Before[r.Type] += r.Bytes
		if !went[r.ID] {
			data.After[r.Type] += r.Bytes
			continue
		}
		data.Bytes += r.Bytes
		if compressed, ok := dead.Layers[r.ID]; ok {
			data.Base += r.Bytes
			data.Compressed += compressed
		} else {
			data.Own += r.Bytes
		}
	}
	return data
}
