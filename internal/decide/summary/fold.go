package summary

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

const (
	maxNotes    = 100
	maxLogBytes = 256 << 10 // of all failures together
)

// state is what folding needs beside the figures.
type state struct {
	seq     int64
	mono    time.Duration
	planned int
	phases  map[string]*phase
	open    []string // phases that go on
	// done and now are totals of finished starts, and of the present one.
	done, now journal.RequestData
	requests  bool

	rows      map[rowKey]*Step
	shared    map[graph.Digest]*executed
	excused   int64
	baseBytes int64
	stepBytes int64 // pulled by the daemon
	basePull  int64
	baseSeen  bool

	works    map[string]*work
	queue    map[graph.Digest]*share
	partRows map[partKey]*Part
	disk     curve
	readings map[string]journal.DiskData // the last of each worker
	others   map[string]int64            // bytes of each worker's disk that were not its own
	releases map[string]bool             // workers with a release under way
	released histogram

	failures map[failKey]*Failure
	failedBy map[string]failKey
	logBytes int
}

// phase is the time of one phase; several parts of it may run at once.
type phase struct {
	open  int
	since time.Duration
	total time.Duration
}

type failKey struct {
	kind, cause, step string
	shared            bool
}

func newState() state {
	return state{
		phases: map[string]*phase{}, rows: map[rowKey]*Step{}, shared: map[graph.Digest]*executed{},
		works: map[string]*work{}, queue: map[graph.Digest]*share{}, partRows: map[partKey]*Part{},
		readings: map[string]journal.DiskData{}, others: map[string]int64{}, releases: map[string]bool{},
		failures: map[failKey]*Failure{}, failedBy: map[string]failKey{},
	}
}

// Fold adds an event. Events must come in the order of Seq: one with a Seq that
// is not above all before it is taken for a repetition and changes nothing, so
// that reading a journal again from an earlier place is harmless. Events
// without a Seq always count.
//
// Events of unknown kinds are counted in Ignored and change nothing else. The
// last state of an image wins, but one exception: an image that this run
// published stays published when a later start finds it in place and skips it.
func Fold(s *Summary, e journal.Event) {
	if e.Seq > 0 {
		if e.Seq <= s.fold.seq {
			return
		}
		s.fold.seq = e.Seq
	}
	if e.Kind == journal.RunStarted {
		s.restart()
	}
	s.clock(&e)
	if !s.apply(&e) {
		s.Ignored++
	}
	s.derive()
}

// apply changes the figures that e is about; false when it cannot be read.
func (s *Summary) apply(e *journal.Event) bool {
	switch e.Kind {
	case journal.RunStarted:
		return with(e, s.runStarted)
	case journal.RunEnded:
		return with(e, func(d journal.EndData) { s.Exit, s.Cause = &d.Exit, d.Cause })
	case journal.PhaseStarted:
		return with(e, func(d journal.PhaseData) { s.phaseStarted(d.Phase) })
	case journal.PhaseEnded:
		return with(e, func(d journal.PhaseData) { s.phaseEnded(d.Phase) })
	case journal.Planned:
		return with(e, s.plan)
	case journal.UnitStarted, journal.UnitBuilt, journal.UnitPut, journal.UnitPlaced, journal.UnitPublished, journal.UnitSkipped:
		return with(e, func(d journal.UnitData) { s.unit(e, d) })
	case journal.UnitFailed:
		return with(e, func(d journal.FailData) { s.unitFailed(e, d) })
	case journal.IndexReady:
		return with(e, func(d journal.UnitData) {
			// What this run published stays so when a later start finds it in place.
			if was, ok := s.Indexes[e.Unit]; !ok || was.Key != d.Key || d.Action != string(plan.Skip) {
				s.Indexes[e.Unit] = d
			}
		})
	case journal.LayersReady:
		return with(e, func(d journal.LayersData) { s.Layers[LayersKey{d.Layers, d.Repo}] = d })
	case journal.StepBegun:
		return with(e, func(d journal.StepBegunData) { s.at(e, d.Name) })
	case journal.StepDone:
		return with(e, func(d journal.StepData) { s.step(e, d) })
	case journal.Requests:
		return with(e, s.moved)
	case journal.Note:
		return with(e, func(d journal.NoteData) {
			if len(s.Notes) < maxNotes {
				s.Notes = append(s.Notes, d)
			}
			if d.Level == "warning" {
				s.trouble(e, journal.FailData{Cause: d.Text}, true)
			}
		})
	}
	return s.applySchedule(e)
}

// applySchedule is apply for what a schedule and its workers do.
func (s *Summary) applySchedule(e *journal.Event) bool {
	switch e.Kind {
	case journal.Scheduling:
		return with(e, s.scheduling)
	case journal.SharedQueued, journal.SharedStarted, journal.SharedReady:
		return with(e, func(d journal.SharedData) { s.share(e, d.Name) })
	case journal.SharedFailed:
		return with(e, func(d journal.FailData) { s.shareFailed(e, d) })
	case journal.UnitQueued:
		s.queued(e.Unit)
		return true
	case journal.Queued:
		return true
	case journal.Paused, journal.Unpaused:
		s.Live.Paused = e.Kind == journal.Paused
		return true
	case journal.UnitRetried:
		return with(e, func(d journal.FailData) { s.retried(e, d) })
	case journal.WorkerReady:
		return with(e, func(d journal.WorkerData) { s.workerReady(e, d) })
	case journal.WorkerLost:
		return with(e, func(d journal.FailData) { s.workerLost(e, d) })
	case journal.Releasing:
		s.fold.releases[e.Worker] = true
		return true
	case journal.Released:
		return with(e, func(d journal.ReleaseData) { s.released(e, d) })
	case journal.Disk:
		return with(e, func(d journal.DiskData) { s.read(e.Worker, d) })
	case journal.Forecast:
		return with(e, s.forecast)
	}
	return false
}

// with decodes an event's data for use. An event without data says what its kind
// says.
func with[T any](e *journal.Event, use func(T)) bool {
	var d T
	if len(e.Data) > 0 && e.Decode(&d) != nil {
		return false
	}
	use(d)
	return true
}

// restart ends what an earlier start left open.
func (s *Summary) restart() {
	for name, p := range s.fold.phases {
		if p.open > 0 {
			p.open = 1
			s.phaseEnded(name)
		}
	}
	s.fold.done = sum(s.fold.done, s.fold.now)
	s.fold.now = journal.RequestData{}
	s.Exit, s.Cause = nil, ""
	s.idle()
}

func (s *Summary) clock(e *journal.Event) {
	s.fold.mono = max(s.fold.mono, e.Mono)
	if s.WallSeconds == nil {
		s.WallSeconds = new(float64)
	}
	*s.WallSeconds = s.fold.mono.Seconds()
	if e.Wall.IsZero() {
		return
	}
	if s.Started == nil {
		first := e.Wall
		s.Started, s.Last = &first, new(time.Time)
	}
	*s.Last = e.Wall
}

func (s *Summary) runStarted(d journal.RunData) {
	s.Starts++
	s.Run, s.Fleet, s.Observed, s.Imported = d.Run, d.Fleet, d.Observed, d.Imported
	s.File, s.Namespace, s.Output = d.File, d.Namespace, d.Output
	s.versions(d.Versions)
}

func (s *Summary) versions(versions map[string]string) {
	for name, v := range versions {
		if old := s.Versions[name]; old == "" {
			s.Versions[name] = v
		} else if !slices.Contains(strings.Split(old, ", "), v) {
			s.Versions[name] = old + ", " + v
		}
	}
}

func (s *Summary) phaseStarted(name string) {
	p := s.fold.phases[name]
	if p == nil {
		p = &phase{}
		s.fold.phases[name] = p
	}
	if p.open == 0 {
		p.since = s.fold.mono
		s.fold.open = append(s.fold.open, name)
	}
	p.open++
}

func (s *Summary) phaseEnded(name string) {
	p := s.fold.phases[name]
	if p == nil || p.open == 0 {
		return
	}
	if p.open--; p.open == 0 {
		p.total += s.fold.mono - p.since
		s.PhaseSeconds[name] = p.total.Seconds()
		s.fold.open = slices.DeleteFunc(s.fold.open, func(x string) bool { return x == name })
	}
}

// plan takes a plan's figures. A later start plans what is left, so the largest
// figures stand for the run.
func (s *Summary) plan(d journal.PlannedData) {
	s.fold.planned = max(s.fold.planned, d.Images)
	s.fold.baseBytes = max(s.fold.baseBytes, d.BaseBytes)
	grow(&s.StepsDistinct, d.StepsDistinct)
	// From here on it would be known if a step ran.
	s.StepsExecuted, s.StepsCached = orZero(s.StepsExecuted), orZero(s.StepsCached)
}

// stateAfter is the state that an event puts an image in.
func stateAfter(k journal.Kind) State {
	switch k {
	case journal.UnitBuilt:
		return Built
	case journal.UnitPut:
		return Put
	case journal.UnitPlaced:
		return Placed
	case journal.UnitPublished:
		return Published
	case journal.UnitSkipped:
		return Skipped
	case journal.UnitFailed:
		return Failed
	}
	return Started
}

func (s *Summary) unit(e *journal.Event, d journal.UnitData) {
	u := s.Units[e.Unit]
	if e.Kind == journal.UnitSkipped && u.State == Published {
		s.end(e.Unit)
		return
	}
	s.count(u, -1)
	s.forgive(e.Unit)
	scan := e.Kind == journal.UnitStarted && u.State == Placed // goes on with its scan
	if !scan {
		u.State = stateAfter(e.Kind)
	}
	if d.Key != "" && d.Key != u.Key {
		u.Digest = "" // that of other content
	}
	set(&u.Action, d.Action)
	set(&u.Key, d.Key)
	set(&u.Digest, d.Digest)
	set(&u.Temperature, d.Temperature)
	if len(d.Tags) > 0 {
		u.Tags = d.Tags
	}
	set(&u.Worker, e.Worker)
	if e.Kind == journal.UnitStarted && !scan {
		u.Attempts++
	}
	u.Attempts = max(u.Attempts, e.Attempt)
	s.Units[e.Unit] = u
	s.count(u, 1)
	s.progress(e, d.Promised)
}

func (s *Summary) unitFailed(e *journal.Event, d journal.FailData) {
	u := s.Units[e.Unit]
	s.count(u, -1)
	s.forgive(e.Unit)
	u.State = stateAfter(e.Kind)
	u.Attempts = max(u.Attempts, e.Attempt)
	s.Units[e.Unit] = u
	s.count(u, 1)
	s.work(e.Unit).fails++
	s.end(e.Unit)
	s.settled()
	s.trouble(e, d, false)

	k := failKey{d.Kind, d.Cause, d.Step, d.Shared}
	f := s.fold.failures[k]
	if f == nil {
		f = &Failure{Kind: d.Kind, Cause: d.Cause, Help: d.Help, Step: d.Step, Shared: d.Shared, Pos: d.Pos}
		if s.fold.logBytes+len(d.Log) <= maxLogBytes {
			f.Log = d.Log
			s.fold.logBytes += len(d.Log)
		}
		s.fold.failures[k] = f
		s.Failures = append(s.Failures, f)
	}
	f.Images = append(f.Images, e.Unit)
	s.fold.failedBy[e.Unit] = k
}

// forgive takes an image out of the failures.
func (s *Summary) forgive(image string) {
	k, ok := s.fold.failedBy[image]
	if !ok {
		return
	}
	delete(s.fold.failedBy, image)
	f := s.fold.failures[k]
	if i := slices.Index(f.Images, image); i >= 0 {
		f.Images = slices.Delete(f.Images, i, i+1)
	}
	if len(f.Images) == 0 {
		delete(s.fold.failures, k)
		s.Failures = slices.DeleteFunc(s.Failures, func(x *Failure) bool { return x == f })
		s.fold.logBytes -= len(f.Log)
	}
}

// count adds n for an image in state u.
func (s *Summary) count(u UnitState, n int) {
	temperature := u.Temperature
	switch {
	case u.State == Failed:
		s.Failed += n
		return
	case u.State == Skipped:
		s.Skipped += n
		temperature = "skipped"
	case u.State == Published && u.Action == string(plan.Retag):
		s.Retagged += n
		temperature = "skipped"
	case u.State == Published:
		s.Built += n
		action := u.Action
		if action == "" {
			action = "unknown"
		}
		if s.Strategies[action] += n; s.Strategies[action] == 0 {
			delete(s.Strategies, action)
		}
		if w := s.worker(u.Worker); w != nil {
			w.Images += n
		}
	default:
		return
	}
	s.warmth(temperature, n)
}

func (s *Summary) warmth(temperature string, n int) {
	var t Temperatures
	if s.Temperature != nil {
		t = *s.Temperature
	}
	switch temperature {
	case "cold":
		t.Cold += n
	case "partial":
		t.Partial += n
	case "warm":
		t.Warm += n
	case "skipped":
		t.Skipped += n
	default:
		return
	}
	s.Temperature = &t
}

// moved takes the client's totals.
func (s *Summary) moved(d journal.RequestData) {
	s.fold.now, s.fold.requests = d, true
	r := sum(s.fold.done, d)
	s.Requests, s.Retries, s.MountsRefused = r.Hosts, &r.Retries, &r.MountsRefused
	s.BytesPushed, s.BytesMounted = &r.Pushed, &r.Mounted
}

// derive sets the figures that follow from others.
func (s *Summary) derive() {
	f := &s.fold
	settled := s.Built + s.Skipped + s.Retagged + s.Failed
	s.Images = max(f.planned, len(s.Units))
	s.Pending = s.Images - settled
	s.Live.Releasing = len(f.releases)
	s.Live.Phases = f.open
	for _, name := range f.open {
		p := f.phases[name]
		s.PhaseSeconds[name] = (p.total + f.mono - p.since).Seconds()
	}
	if f.requests || f.stepBytes > 0 {
		s.BytesPulled = orZero(s.BytesPulled)
		*s.BytesPulled = f.done.Pulled + f.now.Pulled + f.stepBytes
	}
	if s.StepsDistinct != nil && *s.StepsDistinct > 0 && s.StepsExecuted != nil {
		s.Rework = orZero(s.Rework)
		*s.Rework = float64(*s.StepsExecuted-f.excused) / float64(*s.StepsDistinct)
	}
	if f.baseBytes > 0 && f.baseSeen {
		s.Repull = orZero(s.Repull)
		*s.Repull = float64(f.basePull) / float64(f.baseBytes)
	}
}

// sum adds totals; the map of the result is new.
func sum(a, b journal.RequestData) journal.RequestData {
	hosts := maps.Clone(a.Hosts)
	if hosts == nil {
		hosts = make(map[string]int64, len(b.Hosts))
	}
	for h, n := range b.Hosts {
		hosts[h] += n
	}
	return journal.RequestData{
		Hosts: hosts, Retries: a.Retries + b.Retries, Pulled: a.Pulled + b.Pulled, Pushed: a.Pushed + b.Pushed,
		Mounted: a.Mounted + b.Mounted, MountsRefused: a.MountsRefused + b.MountsRefused,
	}
}

func set[T ~string](to *T, v T) {
	if v != "" {
		*to = v
	}
}

// orZero is p, or a new zero: from here on the figure is measured.
func orZero[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	return p
}

func grow(p **int64, n int64) {
	if *p == nil || **p < n {
		*p = &n
	}
}
