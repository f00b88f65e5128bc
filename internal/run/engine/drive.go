package engine

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/decide/sched"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// driver carries out one schedule: it gives the journal's events to the
// scheduler and does what that answers.
type driver struct {
	e     *Engine
	parts map[graph.Digest]*graph.Variant // shared steps, with a variant that has them

	mu      sync.Mutex
	sched   *sched.Scheduler
	open    map[string]task // images that are not settled
	todo    []sched.Action
	wake    chan struct{}
	cancels map[string]context.CancelCauseFunc // by image, or digest of a shared step
	tried   map[tried]int
	lost    map[string]error // workers that were given up
	all     int
	settled int // at the last forecast
	wg      sync.WaitGroup
}

// forecasts is how often a run says where it is going, at most.
const forecasts = 20

// tried counts attempts of an image, or of a shared step, that ended for a reason.
type tried struct{ key, reason string }

// solve makes the images that need a solve of their own.
func (e *Engine) solve(ctx context.Context, tasks []task) {
	if len(tasks) == 0 {
		return
	}
	d := &driver{e: e, open: map[string]task{}, parts: map[graph.Digest]*graph.Variant{}, sched: sched.New(), wake: make(chan struct{}, 1),
		cancels: map[string]context.CancelCauseFunc{}, tried: map[tried]int{}, lost: map[string]error{}}
	d.all = len(tasks)
	for _, t := range tasks {
		d.open[t.unit.Image] = t
	}
	e.releases.expect(tasks)
	e.driver.Store(d)
	stop := e.Run.Watch(d.see)
	d.queue(ctx, tasks)
	for _, s := range e.stations {
		e.background.Go(func() {
			if _, err := s.get(ctx); err != nil {
				e.gaveUp(s, err)
			}
		})
	}
	d.run(ctx)
	d.wg.Wait()
	stop()
	e.driver.Store(nil)
}

// queue tells the scheduler what there is to do.
func (d *driver) queue(ctx context.Context, tasks []task) {
	e := d.e
	disk := e.Opts.Disk
	history, err := ReadHistory(ctx, e.state, e.Fleet.Name)
	if err != nil {
		e.note(journal.Note, "", journal.NoteData{Level: "warning", Text: "nothing is expected of earlier runs: " + err.Error()})
		history = estimate.NewHistory(runtime.NumCPU())
	}
	e.note(journal.Scheduling, "", journal.SchedulingData{Jobs: e.jobs(), Workers: len(e.stations), Limit: e.Opts.Deadlines.Run, Since: e.Run.since, Cache: e.cacheRepo(),
		Budget: disk.Bytes, Share: disk.Share, LeaveFree: disk.LeaveFree})
	for _, t := range tasks {
		for _, step := range t.unit.Needs {
			if d.parts[step] != nil {
				continue
			}
			d.parts[step] = t.facts.Variant
			e.contents.Store(step, t.facts.Variant.Graph.Fingerprints(t.facts.Files)[step])
			ev := event(journal.SharedQueued, "", journal.SharedData{Name: t.facts.Variant.Graph.Step(step).Name})
			ev.Step = step
			e.append(ev)
		}
	}
	for _, t := range tasks {
		e.note(journal.UnitQueued, t.unit.Image, queued(t, history))
	}
	for _, s := range e.stations {
		if l := s.now(); l != nil {
			s.ready(l) // it may have been there before this schedule
		}
	}
	e.note(journal.Queued, "", struct{}{})
}

func queued(t task, history *estimate.History) journal.QueuedData {
	data := journal.QueuedData{Variant: t.unit.Variant, Needs: t.unit.Needs, Layers: make([]journal.LayerData, len(t.facts.Base.Layers))}
	for i, l := range t.facts.Base.Layers {
		data.Layers[i] = journal.LayerData{Digest: l.Digest, Bytes: l.Size}
	}
	if expect, ok := history.Image(t.unit.Image, t.unit.Variant); ok {
		data.Bytes, data.Took = expect.Bytes, expect.Took
	}
	return data
}

// see gives an event to the scheduler. It is called in the journal's order.
func (d *driver) see(ev journal.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ev.Kind == journal.WorkerLost {
		// What was to be done there is put back by the event itself.
		d.todo = slices.DeleteFunc(d.todo, func(a sched.Action) bool { return a.Worker == ev.Worker && a.Do != sched.Reject })
	}
	d.todo = append(d.todo, d.sched.Step(ev)...)
	if len(d.todo) > 0 || ev.Kind == journal.UnitPublished || d.sched.Idle() {
		d.nudge()
	}
}

func (d *driver) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run does what the scheduler says until nothing is left, ctx ends or every
// worker was given up.
func (d *driver) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := d.dead(); err != nil {
			for _, t := range d.unsettled("") {
				d.settle(nil, t)
				d.e.fail(t, err, true)
			}
			return
		}
		more, idle := d.next(ctx)
		if more {
			continue
		}
		d.forecast()
		if idle {
			return
		}
		select {
		case <-d.wake:
		case <-ctx.Done():
		}
	}
}

// forecast says where the run is going when enough has happened since the last
// time.
func (d *driver) forecast() {
	d.mu.Lock()
	now := d.all - len(d.open)
	due := now > d.settled && (now-d.settled)*forecasts >= d.all
	var f journal.ForecastData
	if due {
		d.settled = now
		f, due = d.sched.Forecast()
	}
	d.mu.Unlock()
	if due {
		d.e.note(journal.Forecast, "", f)
	}
}

// dead is why no worker is left, nil while there is one.
func (d *driver) dead() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.lost) < len(d.e.stations) {
		return nil
	}
	return d.lost[d.e.stations[0].name]
}

// unsettled lists the images that are not published and have not failed, in
// order; with a step only those that need it.
func (d *driver) unsettled(step graph.Digest) []task {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []task
	for _, t := range d.open {
		if step == "" || slices.Contains(t.unit.Needs, step) {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b task) int { return strings.Compare(a.unit.Image, b.unit.Image) })
	return out
}

// settle notes that an image needs no daemon any more. It comes before the event
// that says so, as that may lead to a release.
func (d *driver) settle(s *station, t task) {
	d.mu.Lock()
	delete(d.open, t.unit.Image)
	d.mu.Unlock()
	name := ""
	if s != nil {
		name = s.name
	}
	d.e.releases.done(name, t.facts.Base)
}

// next starts the first thing that is to be done; more is false when there was
// nothing, and idle true when there will be nothing any more.
func (d *driver) next(ctx context.Context) (more, idle bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.todo) == 0 {
		return false, d.sched.Idle()
	}
	a := d.todo[0]
	d.todo = d.todo[1:]
	s := d.e.station(a.Worker)
	switch a.Do {
	case sched.Share, sched.Start, sched.Release:
		// A worker that is being lost takes nothing: its loss, which is told
		// when this lock is free, puts the action back.
		if l := s.now(); l != nil && s.join(l) {
			d.wg.Go(func() {
				defer l.busy.Done()
				d.work(ctx, s, l, a)
			})
		}
	case sched.Cancel:
		if cancel := d.cancels[a.Unit+string(a.Step)]; cancel != nil {
			d.wg.Go(func() {
				d.e.note(journal.Note, a.Unit, journal.NoteData{Level: "warning", Text: "stopped, to be made later: " + a.Why})
				cancel(errBudget)
			})
		}
	default:
		d.wg.Go(func() { d.tell(s, a) })
	}
	return true, false
}

// tell carries out what needs no daemon.
func (d *driver) tell(s *station, a sched.Action) {
	d.mu.Lock()
	t, open := d.open[a.Unit]
	d.mu.Unlock()
	switch a.Do {
	case sched.Reject:
		if !open {
			return // it failed for another reason just now
		}
		d.settle(s, t)
		d.e.fail(t, diag.Errorf(diag.Infeasible, "give it a budget of at least "+sizeOf(a.Bytes), "no room for %s on the daemon's disk: %s", a.Unit, a.Why), false)
	case sched.Stop:
		d.e.abort(fmt.Errorf("the time limit cannot be kept: %s", a.Why))
	case sched.Wait:
		d.e.note(journal.Note, a.Unit, journal.NoteData{Level: "warning", Text: a.Why + ": " + sizeOf(a.Bytes) + " more are needed before the next image can start"})
	}
}

// sizeOf is a size for people to read and to give: whole mebibytes.
func sizeOf(n int64) string {
	const mega = 1 << 20
	return fleet.Disk{Bytes: (n + mega - 1) / mega * mega}.String()
}

func (d *driver) work(ctx context.Context, s *station, l *life, a sched.Action) {
	switch a.Do {
	case sched.Share:
		d.share(ctx, s, l, a.Step)
	case sched.Start:
		d.start(ctx, s, l, a)
	case sched.Release:
		d.e.release(ctx, s, l)
	}
}

// attempt is [station.attempt] with a context that the scheduler can cancel by key.
func (d *driver) attempt(ctx context.Context, s *station, l *life, key string, within time.Duration, work func(solve context.Context, stop context.CancelCauseFunc) error) error {
	return s.attempt(ctx, l, within, func(solve context.Context, stop context.CancelCauseFunc) error {
		d.mu.Lock()
		d.cancels[key] = stop
		d.mu.Unlock()
		defer func() {
			d.mu.Lock()
			delete(d.cancels, key)
			d.mu.Unlock()
		}()
		return work(solve, stop)
	})
}

// retry decides what the error of an attempt means: the reason to try again, or
// "" when it is final.
func (d *driver) retry(ctx context.Context, s *station, key string, err error) (reason string) {
	reason, most := blame(err)
	d.mu.Lock()
	d.tried[tried{key, reason}]++
	n := d.tried[tried{key, reason}]
	d.mu.Unlock()
	if n >= most {
		return ""
	}
	s.mend(ctx, err, reason, n)
	return reason
}

// share makes one shared step.
func (d *driver) share(ctx context.Context, s *station, l *life, step graph.Digest) {
	name := journal.SharedData{Name: d.parts[step].Graph.Step(step).Name}
	note := func(kind journal.Kind, data any) {
		ev := event(kind, "", data)
		ev.Step, ev.Worker = step, s.name
		d.e.append(ev)
	}
	d.e.phase(journal.PhaseStarted, "shared")
	defer d.e.phase(journal.PhaseEnded, "shared")
	note(journal.SharedStarted, name)
	err := d.attempt(ctx, s, l, string(step), 0, func(solve context.Context, stop context.CancelCauseFunc) error {
		return d.e.solveShared(solve, stop, s, l.Worker, d.parts[step], step)
	})
	if err == nil {
		note(journal.SharedReady, name)
		return
	}
	reason := d.retry(ctx, s, string(step), err)
	if ctx.Err() != nil || reason == journal.RetryWorker {
		return // told by the loss of the worker
	}
	data := failData(err)
	data.Shared, data.Reason = true, reason
	note(journal.SharedFailed, data)
	if reason != "" {
		return
	}
	for _, t := range d.unsettled(step) {
		d.settle(s, t)
		d.e.fail(t, err, true)
	}
}

// start makes one image.
func (d *driver) start(ctx context.Context, s *station, l *life, a sched.Action) {
	d.mu.Lock()
	t, ok := d.open[a.Unit]
	d.mu.Unlock()
	if !ok {
		return
	}
	s.note(journal.UnitStarted, a.Unit, journal.UnitData{Action: string(t.unit.Action), Key: t.unit.Key, Promised: a.Bytes})
	var image made
	err := d.attempt(ctx, s, l, a.Unit, d.e.Opts.Deadlines.Image, func(solve context.Context, stop context.CancelCauseFunc) (err error) {
		image, err = d.e.solveOne(ctx, solve, stop, s, l.Worker, t)
		return err
	})
	if err == nil {
		d.settle(s, t)
		d.e.done(t, image.digest, image.temperature)
		return
	}
	reason := d.retry(ctx, s, a.Unit, err)
	switch {
	case ctx.Err() != nil, reason == journal.RetryWorker:
	case reason == "":
		d.settle(s, t)
		d.e.fail(t, err, failedShared(t.facts.Variant, err))
	default:
		data := failData(err)
		data.Reason = reason
		s.note(journal.UnitRetried, a.Unit, data)
	}
}
