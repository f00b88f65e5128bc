// Package timeline lays the events of a run out over time: which image was in work
// when and where, what each of its steps took, what the disks held, and when work
// that could have started was held back. What adds up is in package summary.
package timeline

import (
	"cmp"
	"maps"
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// maxPoints is the most points that are kept of a worker's disk.
const maxPoints = 400

// Timeline is a run over time. All times are seconds since its first event, the
// time in which it was stopped left out. Make one with [New]; it is not for
// concurrent use.
type Timeline struct {
	// Seconds is the time of the last event.
	Seconds float64
	// Spans are in the order of their ends, Steps and Releases in that of the
	// journal.
	Spans    []Span
	Steps    []Step
	Releases []Release
	// Held are times, in order and apart, in which an image waited for nothing but
	// leave to start, while a worker had room for another solve.
	Held []Interval
	// Disks are the readings of each worker, in the order of their first; see
	// [Timeline.End].
	Disks []Disk

	state
}

// Outcome is how a span ended.
type Outcome string

// The outcomes.
const (
	Published   Outcome = "published"
	Failed      Outcome = "failed"
	Retried     Outcome = "retried"     // what was in work waits again
	Lost        Outcome = "lost"        // its worker was lost
	Interrupted Outcome = "interrupted" // the run ended
	Ready       Outcome = "ready"       // a shared step's result is there
)

// Interval is a time from Start to End.
type Interval struct {
	Start float64 `json:"start"`
	End   float64 `json:"end"`
}

// Span is an image, or a shared step, in work.
type Span struct {
	Interval
	// Image is "" when it is a shared step, whose name is then Step.
	Image string
	Step  string
	// Worker is "" when no daemon is needed: an image is put together in the
	// registry.
	Worker  string
	Outcome Outcome
	Attempt int
}

// Step is one step of a solve that ended.
type Step struct {
	// Image is "" when the step serves many; Digest is what its log goes by, Name
	// is as in the table of a summary.
	Image  string
	Digest graph.Digest
	Name   string
	Shared bool
	Kind   graph.Kind
	Worker string
	Cached bool
	// Took is in seconds, Pulled and LogSize in bytes.
	Took    float64
	Pulled  int64
	LogSize int64
	Error   string
}

// Release is one release of a worker's records.
type Release struct {
	Interval
	Worker string
	Bytes  int64
	Images int
	Error  string
}

// Disk is what the disk of one worker held.
type Disk struct {
	Worker string
	Points []Point
}

// Point is a reading. Budget is the most that Used may be by the run's budget, 0
// when there is none.
type Point struct {
	At     float64
	Used   int64
	Budget int64
}

// state is what folding needs.
type state struct {
	seq    int64
	now    float64
	images map[string]*Span
	shared map[graph.Digest]*Span
	names  map[graph.Digest]string
	others map[string]int64
	queue
}

// New is an empty timeline.
func New() *Timeline {
	return &Timeline{state: state{
		images: map[string]*Span{}, shared: map[graph.Digest]*Span{}, names: map[graph.Digest]string{}, others: map[string]int64{},
		queue: newQueue(),
	}}
}

// Fold adds an event; they come in the order of Seq, and one that was folded
// already changes nothing. Events that cannot be read are left out.
func (t *Timeline) Fold(e journal.Event) {
	if e.Seq > 0 && e.Seq <= t.seq {
		return
	}
	t.seq, t.now = max(t.seq, e.Seq), max(t.now, e.Mono.Seconds())
	t.Seconds = t.now
	t.queue.fold(&e)
	switch e.Kind {
	case journal.RunStarted, journal.RunEnded:
		t.interrupt()
	case journal.UnitStarted:
		t.images[e.Unit] = &Span{Interval: Interval{Start: t.now}, Image: e.Unit, Worker: e.Worker, Attempt: max(e.Attempt, 1)}
	case journal.UnitPublished:
		end(t, t.images, e.Unit, Published)
	case journal.UnitSkipped:
		delete(t.images, e.Unit)
	case journal.UnitFailed:
		end(t, t.images, e.Unit, Failed)
	case journal.UnitRetried:
		end(t, t.images, e.Unit, Retried)
	case journal.SharedQueued, journal.SharedStarted, journal.SharedReady, journal.SharedFailed:
		t.share(&e)
	case journal.WorkerLost:
		t.lost(e.Worker)
	default:
		t.read(&e)
	}
	t.hold()
}

// share follows a shared step.
func (t *Timeline) share(e *journal.Event) {
	var d journal.SharedData
	if e.Kind != journal.SharedFailed && len(e.Data) > 0 && e.Decode(&d) == nil && d.Name != "" {
		t.names[e.Step] = d.Name
	}
	switch e.Kind {
	case journal.SharedStarted:
		name := t.names[e.Step]
		if name == "" {
			name = e.Step.Short()
		}
		t.shared[e.Step] = &Span{Interval: Interval{Start: t.now}, Step: name, Worker: e.Worker}
	case journal.SharedReady:
		end(t, t.shared, e.Step, Ready)
	case journal.SharedFailed:
		end(t, t.shared, e.Step, Failed)
	}
}

// end ends what is in work.
func end[K cmp.Ordered](t *Timeline, m map[K]*Span, key K, o Outcome) {
	s := m[key]
	if s == nil {
		return
	}
	delete(m, key)
	s.End, s.Outcome = t.now, o
	t.Spans = append(t.Spans, *s)
}

// lost ends what was in work on a worker.
func (t *Timeline) lost(worker string) {
	endAll(t, t.images, worker, Lost)
	endAll(t, t.shared, worker, Lost)
}

// interrupt ends what an earlier start, or this one, left in work.
func (t *Timeline) interrupt() {
	endAll(t, t.images, "", Interrupted)
	endAll(t, t.shared, "", Interrupted)
}

// endAll ends all that is in work on a worker, or everything when worker is "".
func endAll[K cmp.Ordered](t *Timeline, m map[K]*Span, worker string, o Outcome) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if worker == "" || m[k].Worker == worker {
			end(t, m, k, o)
		}
	}
}

// read takes what is no span.
func (t *Timeline) read(e *journal.Event) {
	switch e.Kind {
	case journal.StepDone:
		var d journal.StepData
		if e.Decode(&d) == nil {
			t.Steps = append(t.Steps, Step{
				Image: e.Unit, Digest: e.Step, Name: summary.StepName(d), Shared: d.Shared, Kind: d.Kind, Worker: e.Worker,
				Cached: d.Cached, Took: d.Took.Seconds(), Pulled: d.Pulled, LogSize: d.LogSize, Error: d.Error,
			})
		}
	case journal.Released:
		var d journal.ReleaseData
		if e.Decode(&d) == nil {
			t.Releases = append(t.Releases, Release{Interval{max(0, t.now-d.Took.Seconds()), t.now}, e.Worker, d.Bytes, d.Images, d.Error})
		}
	case journal.WorkerReady:
		var d journal.WorkerData
		if e.Decode(&d) == nil && d.Disk != nil {
			if _, known := t.others[e.Worker]; !known {
				t.others[e.Worker] = max(d.Disk.Used-max(d.Holds, 0), 0)
			}
			t.reading(e.Worker, *d.Disk)
		}
	case journal.Disk:
		var d journal.DiskData
		if e.Decode(&d) == nil {
			t.reading(e.Worker, d)
		}
	}
}

func (t *Timeline) reading(worker string, d journal.DiskData) {
	i := slices.IndexFunc(t.Disks, func(x Disk) bool { return x.Worker == worker })
	if i < 0 {
		i = len(t.Disks)
		t.Disks = append(t.Disks, Disk{Worker: worker})
	}
	p := Point{At: t.now, Used: d.Used}
	if d.Budget > 0 {
		p.Budget = d.Budget + t.others[worker]
	}
	t.Disks[i].Points = append(t.Disks[i].Points, p)
}

// End ends what the journal leaves in work, and thins out the disks' readings: of
// each of at most 400 equal parts of the run the highest one stays, and the last of
// all.
func (t *Timeline) End() {
	t.interrupt()
	t.queue.close(t)
	for i := range t.Disks {
		t.Disks[i].Points = thin(t.Disks[i].Points, t.Seconds)
	}
}

func thin(points []Point, seconds float64) []Point {
	if len(points) <= maxPoints {
		return points
	}
	part := func(p Point) int { return int(p.At / max(seconds, 1e-9) * (maxPoints - 1)) }
	var out []Point
	for _, p := range points[:len(points)-1] {
		n := len(out)
		switch {
		case n == 0 || part(out[n-1]) != part(p):
			out = append(out, p)
		case p.Used > out[n-1].Used:
			out[n-1] = p
		}
	}
	return append(out, points[len(points)-1])
}
