package engine

import (
	"context"
	"fmt"
	"maps"
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
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// driver carries out the schedule of a run: it gives the journal's events to the
// scheduler and does what that answers.
type driver struct {
	e       *Engine
	history *estimate.History
	ended   chan struct{} // closed when nothing is done any more

	mu      sync.Mutex
	sched   *sched.Scheduler
	open    map[string]task                 // images that are not settled
	parts   map[graph.Digest]*graph.Variant // shared steps, with a variant that has them
	sets    map[graph.Digest]set            // layer sets that are not settled
	todo    []sched.Action
	wake    chan struct{}
	cancels map[string]context.CancelCauseFunc // by image, or digest of a shared step
	tried   map[tried]int
	lost    map[string]error // workers that were given up
	queued  bool             // everything that waited was
	closing bool             // nothing comes any more
	all     int
	settled int // at the last forecast
	wg      sync.WaitGroup
}

// set is a layer set that is to be made and pushed to repo.
type set struct {
	variant *graph.Variant
	repo    string
	built   *future[plan.Built]
}

// forecasts is how often a run says where it is going, at most.
const forecasts = 20

// tried counts attempts of an image, or of a shared step, that ended for a reason.
type tried struct{ key, reason string }

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

// run does what the scheduler says until nothing comes any more and nothing is
// left, or ctx ends.
func (d *driver) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := d.dead(); err != nil {
			d.drop(err)
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

// drop fails all that is open, as no worker is left.
func (d *driver) drop(err error) {
	for _, t := range d.unsettled("") {
		d.settle(nil, t)
		d.e.fail(t, err, true)
	}
	d.mu.Lock()
	sets := slices.Collect(maps.Keys(d.sets))
	d.mu.Unlock()
	for _, id := range sets {
		d.failShared(id, "", err, "")
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
	d.e.releases.done(name, t)
}

// next starts the first thing that is to be done; more is false when there was
// nothing, and idle true when there will be nothing any more.
func (d *driver) next(ctx context.Context) (more, idle bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.todo) == 0 {
		return false, d.closing && d.sched.Idle()
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
		if a.Step != "" {
			d.endLayers(a.Step, plan.Built{}, noRoom(a, "shared layers"))
		} else if open { // else it failed for another reason just now
			d.settle(s, t)
			d.e.fail(t, noRoom(a, a.Unit), false)
		}
	case sched.Stop:
		d.e.abort(fmt.Errorf("the time limit cannot be kept: %s", a.Why))
	case sched.Wait:
		d.e.note(journal.Note, a.Unit, journal.NoteData{Level: "warning", Text: a.Why + ": " + sizeOf(a.Bytes) + " more are needed before the next image can start"})
	}
}

// noRoom says that there is no schedule for something.
func noRoom(a sched.Action, what string) error {
	return diag.Errorf(diag.Infeasible, "give it a budget of at least "+sizeOf(a.Bytes), "no room for %s on the daemon's disk: %s", what, a.Why)
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
// "" when it is final. What many images wait for is tried more often.
func (d *driver) retry(ctx context.Context, s *station, key string, many bool, err error) (reason string) {
	reason, most := blame(err)
	if many && reason == journal.RetryPassing {
		most = triesMany
	}
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

// share makes one shared step or layer set. What the disk says is written down
// before anything else happens there, as it is what the step took.
func (d *driver) share(ctx context.Context, s *station, l *life, step graph.Digest) {
	d.mu.Lock()
	layers, isSet := d.sets[step]
	part := d.parts[step]
	d.mu.Unlock()
	var built plan.Built
	d.e.phase(journal.PhaseStarted, "shared")
	defer d.e.phase(journal.PhaseEnded, "shared")
	s.noteShared(journal.SharedStarted, step, journal.SharedData{})
	err := d.attempt(ctx, s, l, string(step), 0, func(solve context.Context, stop context.CancelCauseFunc) (err error) {
		if isSet {
			built, err = d.e.solveLayers(solve, stop, s, l.Worker, step, layers)
			return err
		}
		return d.e.solveShared(solve, stop, s, l.Worker, part, step)
	})
	if err == nil {
		s.read()
		s.noteShared(journal.SharedReady, step, journal.SharedData{})
		d.endLayers(step, built, nil)
		return
	}
	reason := d.retry(ctx, s, string(step), true, err)
	if ctx.Err() == nil && reason != journal.RetryWorker { // which is told by the loss of the worker
		d.failShared(step, s.name, err, reason)
	}
}

// failShared says that a shared step or layer set failed; without a reason to try
// again, for all that need it.
func (d *driver) failShared(step graph.Digest, worker string, err error, reason string) {
	data := d.e.failData(err)
	data.Shared, data.Reason = true, reason
	ev := event(journal.SharedFailed, "", data)
	ev.Step, ev.Worker = step, worker
	d.e.append(ev)
	if reason != "" {
		return
	}
	d.endLayers(step, plan.Built{}, err)
	for _, t := range d.unsettled(step) {
		d.settle(d.e.station(worker), t)
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
	err := d.attempt(ctx, s, l, a.Unit, d.e.Opts.Deadlines.Image, func(solve context.Context, stop context.CancelCauseFunc) error {
		return d.e.solveOne(ctx, solve, stop, s, l.Worker, &t)
	})
	if err == nil {
		d.settle(s, t)
		d.e.done(t, t.there.manifest.Digest, t.there.temperature)
		s.read() // until then it counts as if it had taken all that it was promised
		return
	}
	d.mu.Lock()
	if _, ok := d.open[a.Unit]; ok {
		d.open[a.Unit] = t
	}
	d.mu.Unlock()
	reason := d.retry(ctx, s, a.Unit, false, err)
	switch {
	case ctx.Err() != nil, reason == journal.RetryWorker:
	case reason == "":
		d.settle(s, t)
		d.e.fail(t, err, failedShared(t.facts.Variant, err))
	default:
		data := d.e.failData(err)
		data.Reason = reason
		s.note(journal.UnitRetried, a.Unit, data)
	}
}
