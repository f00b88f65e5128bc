package summary

import (
	"slices"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Live is what goes on while a run is written. In the summary of a run that has
// ended it is what went on when it ended.
type Live struct {
	// Waiting images wait for a solve; Running ones are being solved or published.
	Waiting, Running int
	// Promised is the disk in bytes that the running ones were given.
	Promised int64
	// Shared is the number of shared steps that builds wait for, or waited for;
	// SharedReady are those that are there.
	Shared, SharedReady int
	// Sharing are the names of shared steps that run, in the order of their
	// start; a short digest where there is no name.
	Sharing []string
	// Releasing is the number of workers with a release under way.
	Releasing int
	// Paused is true while people let nothing start.
	Paused bool
	// Phases are those that go on, in the order in which they began.
	Phases []string
	// Slots are what the workers solve, in the order of workers and of places.
	Slots []*Slot
	// Ends are when the last images ended that were worked on, published or
	// failed, at most maxEnds: by the run's clock, as is every time here.
	Ends []time.Duration
	// Problems are the last failures, retries, lost workers and warnings, at most
	// maxProblems, one for each cause, the latest last.
	Problems []Problem
	// Disk is the last reading of the worker that is nearest to its budget, or
	// uses most; nil without a reading. Its Budget is of Used: what others held
	// before is in it.
	Disk *journal.DiskData
}

const (
	maxEnds     = 40
	maxProblems = 20
)

// Slot is one solve of a worker.
type Slot struct {
	Worker string
	// Place is a number from 0 that no other solve of the worker has meanwhile:
	// the lowest that was free when it began.
	Place int
	// Unit is the image; empty for a shared step or layer set, which is Shared,
	// by its name.
	Unit, Shared string
	// Step is the name of the step that it is at, as far as known, Began when it
	// was told of, and Since when the solve began.
	Step         string
	Began, Since time.Duration
}

// Problem is something that went wrong, or that people should know.
type Problem struct {
	At time.Duration
	// Unit, Worker and Step are what it is about, as far as it is about one.
	Unit, Worker, Step string
	Cause              string
	// Count is how often it happened, the last time to what is named above.
	Count int
	// Passing is true when the run goes on as if nothing had been: a retry, a
	// worker that is lost, a warning.
	Passing bool
}

// work is what is known of one image beside its state.
type work struct {
	fails int // failures, retries and lost workers
	ran   []executed
	live  *live
}

// live is an image that waits or is in work.
type live struct {
	waiting  bool
	since    time.Duration // when it began to wait, or to run
	promised int64
	worker   string
	slot     *Slot
	layered  time.Duration // when all but its manifest was there
	isLaid   bool
	parts    []spent
}

// share is a shared step in the schedule.
type share struct {
	name   string
	worker string
	phase  sharePhase
	slot   *Slot
}

type sharePhase int

const (
	shareWaits sharePhase = iota
	shareRuns
	shareReady
	shareFailed
)

func (s *Summary) work(image string) *work {
	w := s.fold.works[image]
	if w == nil {
		w = &work{}
		s.fold.works[image] = w
	}
	return w
}

// idle forgets what an earlier start left going on.
func (s *Summary) idle() {
	for _, w := range s.fold.works {
		w.live = nil
	}
	clear(s.fold.queue)
	clear(s.fold.releases)
	s.Live = Live{Disk: s.Live.Disk}
}

// scheduling begins a schedule, which knows nothing of one before.
func (s *Summary) scheduling(d journal.SchedulingData) {
	s.Limits = &Limits{
		Jobs: d.Jobs, Workers: d.Workers, BudgetBytes: d.Budget, BudgetShare: d.Share, LeaveFreeBytes: d.LeaveFree, Seconds: d.Limit.Seconds(),
	}
	if s.RetriesByCause == nil {
		s.RetriesByCause = map[string]int{}
	}
	for _, x := range s.fold.queue {
		s.leave(&x.slot)
	}
	clear(s.fold.queue)
	s.Live.Shared, s.Live.SharedReady, s.Live.Sharing = 0, 0, nil
	if s.Live.Waiting > 0 {
		for _, w := range s.fold.works {
			if w.live != nil && w.live.waiting {
				w.live = nil
			}
		}
		s.Live.Waiting = 0
	}
}

// queued makes an image wait.
func (s *Summary) queued(image string) {
	w := s.work(image)
	switch l := w.live; {
	case l == nil:
		w.live = &live{}
	case l.waiting:
		return
	default:
		s.Live.Running--
		s.Live.Promised -= l.promised
		s.leave(&l.slot)
	}
	l := w.live
	l.waiting, l.since, l.promised, l.isLaid = true, s.fold.mono, 0, false
	s.Live.Waiting++
}

// progress follows an image from its start to its tags.
func (s *Summary) progress(e *journal.Event, promised int64) {
	w := s.work(e.Unit)
	if e.Kind == journal.UnitSkipped || w.live == nil && e.Kind == journal.UnitPublished {
		s.end(e.Unit)
		return
	}
	if w.live == nil {
		w.live = &live{since: s.fold.mono}
		s.Live.Running++
	}
	l := w.live
	if l.waiting {
		l.spend(partWait, s.fold.mono-l.since)
		l.waiting, l.since = false, s.fold.mono
		s.Live.Waiting--
		s.Live.Running++
	}
	set(&l.worker, e.Worker)
	switch e.Kind {
	case journal.UnitStarted:
		s.Live.Promised += promised - l.promised
		l.promised = promised
		if e.Worker != "" {
			s.leave(&l.slot)
			l.slot = s.enter(&Slot{Worker: e.Worker, Unit: e.Unit})
		}
	case journal.UnitBuilt, journal.UnitPut:
		if !l.isLaid {
			l.layered, l.isLaid = s.fold.mono, true
		}
	case journal.UnitPlaced:
		s.tagged(l)
	case journal.UnitPublished:
		s.tagged(l)
		s.end(e.Unit)
		s.settled()
	}
}

// tagged ends the publishing of an image's manifest, if it was going on.
func (s *Summary) tagged(l *live) {
	if l.isLaid {
		l.spend(partTag, s.fold.mono-l.layered)
		l.isLaid = false
	}
}

// end takes an image out of what goes on, and adds what it spent to the parts.
func (s *Summary) end(image string) {
	w := s.fold.works[image]
	if w == nil || w.live == nil {
		return
	}
	if l := w.live; l.waiting {
		s.Live.Waiting--
	} else {
		s.Live.Running--
		s.Live.Promised -= l.promised
		s.leave(&l.slot)
	}
	for _, p := range w.live.parts {
		s.part(partKey{p.name, false}).add(p.took)
	}
	w.live = nil
}

// retried makes an image wait again. One that its worker's loss made wait
// already is not counted twice.
func (s *Summary) retried(e *journal.Event, d journal.FailData) {
	w := s.work(e.Unit)
	if d.Reason == journal.RetryWorker && w.live != nil && w.live.waiting {
		return
	}
	w.fails++
	s.again(d.Reason, 1)
	s.queued(e.Unit)
	s.trouble(e, d, true)
}

// again counts retries.
func (s *Summary) again(reason string, n int) {
	if reason == "" {
		reason = "unknown"
	}
	if s.RetriesByCause == nil {
		s.RetriesByCause = map[string]int{}
	}
	if n > 0 {
		s.RetriesByCause[reason] += n
	}
}

// share moves a shared step on.
func (s *Summary) share(e *journal.Event, name string) {
	x := s.fold.queue[e.Step]
	if x == nil {
		x = &share{name: e.Step.Short()}
		s.fold.queue[e.Step] = x
		s.Live.Shared++
	}
	set(&x.name, name)
	switch e.Kind {
	case journal.SharedStarted:
		s.turn(x, shareRuns)
		x.worker = e.Worker
		s.leave(&x.slot)
		x.slot = s.enter(&Slot{Worker: e.Worker, Shared: x.name})
	case journal.SharedReady:
		s.turn(x, shareReady)
	}
}

// turn changes the phase of a shared step, and what is shown of it.
func (s *Summary) turn(x *share, to sharePhase) {
	if x.phase == to {
		return
	}
	switch x.phase {
	case shareRuns:
		s.leave(&x.slot)
		if i := slices.Index(s.Live.Sharing, x.name); i >= 0 {
			s.Live.Sharing = slices.Delete(s.Live.Sharing, i, i+1)
		}
	case shareReady:
		s.Live.SharedReady--
	}
	switch x.phase = to; to {
	case shareRuns:
		s.Live.Sharing = append(s.Live.Sharing, x.name)
	case shareReady:
		s.Live.SharedReady++
	}
}

// shareFailed ends a shared step, or makes it wait again when it has a reason.
func (s *Summary) shareFailed(e *journal.Event, d journal.FailData) {
	x := s.fold.queue[e.Step]
	if d.Reason == "" {
		if x != nil {
			s.turn(x, shareFailed)
		}
		return
	}
	if ran := s.fold.shared[e.Step]; ran != nil {
		ran.broken = true
	}
	if x != nil && x.phase == shareWaits && d.Reason == journal.RetryWorker {
		return
	}
	s.again(d.Reason, 1)
	s.trouble(e, d, true)
	if x != nil {
		s.turn(x, shareWaits)
	}
}

// workerLost makes what ran on a worker wait again. The results of shared steps
// went with it, so that they may have to run once more.
func (s *Summary) workerLost(e *journal.Event, d journal.FailData) {
	if w := s.worker(e.Worker); w != nil {
		w.Lost++
		w.LostCause = d.Cause
	}
	s.trouble(e, d, true)
	delete(s.fold.releases, e.Worker)
	lost := 0
	for image, w := range s.fold.works {
		if l := w.live; l != nil && !l.waiting && l.worker == e.Worker {
			w.fails++
			s.queued(image)
			lost++
		}
	}
	for _, x := range s.fold.queue {
		if x.phase == shareRuns && x.worker == e.Worker {
			s.turn(x, shareWaits)
			lost++
		}
	}
	s.again(journal.RetryWorker, lost)
	for _, x := range s.fold.shared {
		if x.worker == e.Worker || x.worker == "" {
			x.broken = true
		}
	}
}

func (s *Summary) workerReady(e *journal.Event, d journal.WorkerData) {
	s.versions(d.Versions)
	if w := s.worker(e.Worker); w != nil {
		set(&w.Address, d.Address)
	}
	if d.Disk != nil {
		s.meet(e.Worker, *d.Disk, d.Holds)
	}
}

// worker is the row of a worker; nil for the one of journals that name none.
func (s *Summary) worker(name string) *Worker {
	if name == "" {
		return nil
	}
	for _, w := range s.Workers {
		if w.Name == name {
			return w
		}
	}
	w := &Worker{Name: name}
	s.Workers = append(s.Workers, w)
	return w
}

// forecast keeps the first forecast of each tenth of the images, and the last.
func (s *Summary) forecast(d journal.ForecastData) {
	next := &Forecast{Done: d.Done, AtSeconds: s.fold.mono.Seconds(), WallSeconds: Range{
		Low: time.Duration(d.Wall.Low).Seconds(), Value: time.Duration(d.Wall.Value).Seconds(), High: time.Duration(d.Wall.High).Seconds(),
	}}
	if d.Peak.Value > 0 {
		next.PeakBytes = &Range{Low: float64(d.Peak.Low), Value: float64(d.Peak.Value), High: float64(d.Peak.High)}
	}
	tenth := func(f *Forecast) int { return f.Done * 10 / max(s.fold.planned, 1) }
	if n := len(s.Forecasts); n > 1 && tenth(s.Forecasts[n-1]) == tenth(s.Forecasts[n-2]) {
		s.Forecasts = s.Forecasts[:n-1]
	}
	s.Forecasts = append(s.Forecasts, next)
}
