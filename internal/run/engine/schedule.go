package engine

import (
	"context"
	"runtime"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/decide/sched"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/archive"
)

// schedule is the run's; the first call begins it.
func (e *Engine) schedule(ctx context.Context) *driver {
	e.scheduling.Lock()
	defer e.scheduling.Unlock()
	if d := e.driver.Load(); d != nil {
		return d
	}
	d := &driver{e: e, ended: make(chan struct{}), sched: sched.New(), open: map[string]task{}, parts: map[graph.Digest]*graph.Variant{},
		sets: map[graph.Digest]set{}, wake: make(chan struct{}, 1), cancels: map[string]context.CancelCauseFunc{}, tried: map[tried]int{}, lost: map[string]error{}}
	var err error
	if d.history, err = archive.History(ctx, e.state, e.Fleet.Name); err != nil {
		e.note(journal.Note, "", journal.NoteData{Level: "warning", Text: "nothing is expected of earlier runs: " + err.Error()})
		d.history = estimate.NewHistory(runtime.NumCPU())
	}
	e.driver.Store(d)
	stopSeeing, stopReading := e.Run.Watch(d.see), e.watch()
	disk := e.Opts.Disk
	e.note(journal.Scheduling, "", journal.SchedulingData{Jobs: e.jobs(), Workers: len(e.stations), Limit: e.Opts.Deadlines.Run, Since: e.Run.since, Cache: e.cacheRepo(),
		Budget: disk.Bytes, Share: disk.Share, LeaveFree: disk.LeaveFree})
	if e.gate.isShut() {
		e.note(journal.Paused, "", struct{}{})
	}
	for _, s := range e.stations {
		if l := s.now(); l != nil {
			s.ready(l) // it was there before this schedule
		}
	}
	go func() {
		defer close(d.ended)
		d.run(ctx)
		d.wg.Wait()
		stopReading()
		stopSeeing()
	}()
	return d
}

// close says that nothing comes any more, and returns when all that was queued,
// and what it left on the workers, is done.
func (d *driver) close() {
	d.allQueued()
	d.mu.Lock()
	d.closing = true
	d.mu.Unlock()
	d.nudge()
	<-d.ended
}

// endSchedule closes the run's schedule, if one was begun.
func (e *Engine) endSchedule() {
	if d := e.driver.Load(); d != nil {
		d.close()
		e.driver.Store(nil)
	}
}

// solve queues the images that need a solve of their own.
func (e *Engine) solve(ctx context.Context, tasks []task) {
	if len(tasks) == 0 {
		return
	}
	d := e.schedule(ctx)
	e.releases.expect(tasks)
	d.queue(tasks)
	for i := range e.stations {
		d.reach(ctx, i)
	}
}

// reach connects to a worker. When it is given up, the next one is reached.
func (d *driver) reach(ctx context.Context, i int) {
	s := d.e.stations[i]
	d.e.background.Go(func() {
		if _, err := s.get(ctx); err != nil {
			d.e.gaveUp(ctx, s, err)
		}
	})
}

// layers makes a layer set in repo, and waits for it.
func (d *driver) layers(ctx context.Context, id graph.Digest, v *graph.Variant, repo string) (plan.Built, error) {
	built := newFuture[plan.Built]()
	d.mu.Lock()
	d.sets[id] = set{v, repo, built}
	d.mu.Unlock()
	d.tellShared(id, journal.SharedData{Name: "shared layers " + id.Short(), Early: true})
	d.reach(ctx, 0)
	return built.Get(ctx)
}

// endLayers says what came of a layer set.
func (d *driver) endLayers(id graph.Digest, built plan.Built, err error) {
	d.mu.Lock()
	s, ok := d.sets[id]
	delete(d.sets, id)
	d.mu.Unlock()
	if ok {
		s.built.Set(built, err)
	}
}

// tellShared tells the scheduler of a shared step or a layer set.
func (d *driver) tellShared(step graph.Digest, data journal.SharedData) {
	data.Bytes = d.history.Size(step)
	ev := event(journal.SharedQueued, "", data)
	ev.Step = step
	d.e.append(ev)
}

// queue tells the scheduler of images, and of the shared steps that they need.
func (d *driver) queue(tasks []task) {
	e := d.e
	for _, t := range tasks {
		v := t.facts.Variant
		for _, step := range t.unit.Needs {
			if d.isNew(step, v) {
				e.contents.Store(step, v.Graph.Fingerprints(t.facts.Files)[step])
				d.tellShared(step, journal.SharedData{Name: v.Graph.Step(step).Name})
			}
		}
	}
	d.mu.Lock()
	d.all += len(tasks)
	for _, t := range tasks {
		d.open[t.unit.Image] = t
	}
	d.mu.Unlock()
	for _, t := range tasks {
		e.note(journal.UnitQueued, t.unit.Image, queued(t, d.history))
	}
	d.allQueued()
}

// isNew notes a variant that has a shared step; false when one was noted already.
func (d *driver) isNew(step graph.Digest, v *graph.Variant) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.parts[step] != nil {
		return false
	}
	d.parts[step] = v
	return true
}

// allQueued says once that everything is queued, but for what turns out later.
func (d *driver) allQueued() {
	d.mu.Lock()
	was := d.queued
	d.queued = true
	d.mu.Unlock()
	if !was {
		d.e.note(journal.Queued, "", struct{}{})
	}
}

func queued(t task, history *estimate.History) journal.QueuedData {
	layers := t.facts.Base.Layers
	if t.there != nil { // what is scanned is all of the image
		if blobs, err := publish.BlobsOf(t.there.manifest.Data); err == nil {
			layers = blobs[:len(blobs)-1]
		}
	}
	data := journal.QueuedData{Variant: t.unit.Variant, Needs: t.unit.Needs, Layers: make([]journal.LayerData, len(layers))}
	for i, l := range layers {
		data.Layers[i] = journal.LayerData{Digest: l.Digest, Bytes: l.Size}
	}
	if expect, ok := history.Image(t.unit.Image, t.unit.Variant); ok {
		data.Bytes, data.Took = expect.Bytes, expect.Took
	}
	return data
}
