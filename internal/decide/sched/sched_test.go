package sched

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// play is a scheduler that is given events by hand.
type play struct {
	t   *testing.T
	s   *Scheduler
	now time.Duration
}

// begin opens a schedule of one image for each base, a list of layer names; an
// image needs the shared steps that stand before a colon, of which may be said
// what is expected of them.
func begin(t *testing.T, limits journal.SchedulingData, workers []string, images ...string) *play {
	p := &play{t: t, s: New()}
	p.give(journal.Scheduling, "", limits)
	for _, w := range workers {
		name, disk, _ := strings.Cut(w, "=")
		var d journal.WorkerData
		if disk == "disk" {
			d.Disk = &journal.DiskData{Free: 1000, Total: 1000}
		}
		p.give(journal.WorkerReady, name, d)
	}
	for i, image := range images {
		var d journal.QueuedData
		needs, base, ok := strings.Cut(image, ":")
		if !ok {
			needs, base = "", image
		}
		for _, n := range strings.Fields(needs) {
			step, bytes, _ := strings.Cut(n, "=")
			var sh journal.SharedData
			fmt.Sscan(bytes, &sh.Bytes)
			p.give(journal.SharedQueued, step, sh)
			d.Needs = append(d.Needs, graph.Digest(step))
		}
		for _, l := range strings.Fields(base) {
			d.Layers = append(d.Layers, journal.LayerData{Digest: graph.Digest(l), Bytes: 10})
		}
		d.Bytes, d.Took = 100, time.Minute
		p.give(journal.UnitQueued, fmt.Sprint("i", i), d)
	}
	return p
}

// give gives an event about a unit, a step or a worker, whichever the kind is
// about, and returns the actions in short.
func (p *play) give(k journal.Kind, about string, data any) string {
	p.t.Helper()
	e := journal.Event{Kind: k, Mono: p.now}
	switch {
	case strings.HasPrefix(string(k), "unit"):
		e.Unit = about
	case strings.HasPrefix(string(k), "shared"):
		e.Step = graph.Digest(about)
	default:
		e.Worker = about
	}
	if data != nil {
		e.Data, _ = json.Marshal(data)
	}
	var out []string
	for _, a := range p.s.Step(e) {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s%s", a.Do, a.Unit, a.Step)))
	}
	return strings.Join(out, ", ")
}

// line is one event of a script, and what must follow from it.
type line struct {
	after time.Duration
	kind  journal.Kind
	about string
	data  any
	want  string
}

func disk(used int64) journal.DiskData {
	return journal.DiskData{Used: used, Free: 1000 - used, Total: 1000}
}

func reason(r string) journal.FailData { return journal.FailData{Reason: r} }

func TestStep(t *testing.T) {
	const fill = 500 << 20
	gone := journal.ReleaseData{Images: 1, Own: 100, After: map[string]int64{}}
	broken := journal.ReleaseData{Error: "no"}
	tests := []struct {
		name    string
		limits  journal.SchedulingData
		workers []string
		images  []string
		script  []line
	}{
		{"shared steps first, and once", journal.SchedulingData{Jobs: 2, Workers: 2}, []string{"a", "b"}, []string{"s t: x", "s: y"}, []line{
			{0, journal.Queued, "", nil, "share s, share t"},
			{0, journal.SharedReady, "s", nil, "start i1"},
			{0, journal.SharedReady, "s", nil, ""},
			{0, journal.SharedFailed, "t", reason(journal.RetryPassing), "share t"},
			{0, journal.SharedReady, "t", nil, "start i0"},
		}},
		{"what needs a failed step does not start", journal.SchedulingData{Jobs: 2}, []string{"a"}, []string{"s: x", "y"}, []line{
			{0, journal.Queued, "", nil, "share s, start i1"},
			{0, journal.SharedFailed, "s", reason(""), ""},
			{0, journal.UnitFailed, "i0", reason(""), ""},
			{0, journal.UnitPublished, "i1", nil, ""},
		}},
		{"a lost worker's step runs again, unless it was ready", journal.SchedulingData{Jobs: 1, Workers: 2}, []string{"a", "b"}, []string{"s: x", "t: y"}, []line{
			{0, journal.Queued, "", nil, "share s, share t"},
			{0, journal.SharedReady, "s", nil, "start i0"},
			{0, journal.WorkerLost, "a", nil, "share t, start i0"},
			{0, journal.WorkerReady, "a", journal.WorkerData{}, ""},
			{0, journal.SharedReady, "t", nil, "start i1"},
			{0, journal.WorkerLost, "b", nil, ""},
			{0, journal.UnitPublished, "i1", nil, "start i0"},
		}},
		{"relatives follow each other", journal.SchedulingData{Jobs: 1}, []string{"a"}, []string{"x1 x2", "y1", "x1 x3", "x1 x2 x4", "y1 y2"}, []line{
			{0, journal.Queued, "", nil, "start i0"},
			{0, journal.UnitPublished, "i0", nil, "start i3"},
			{0, journal.UnitPublished, "i3", nil, "start i2"},
			{0, journal.UnitSkipped, "i1", nil, ""},
			{0, journal.UnitPublished, "i2", nil, "start i4"},
		}},
		{"no jobs are one job", journal.SchedulingData{}, []string{"a"}, []string{"x", "y"}, []line{
			{0, journal.Queued, "", nil, "start i0"},
			{0, journal.Queued, "", nil, ""},
			{0, journal.UnitQueued, "i0", journal.QueuedData{}, ""},
			{0, journal.UnitPublished, "i0", nil, "start i1"},
		}},
		{"a full disk: the youngest goes, then the next, and then again", journal.SchedulingData{Jobs: 2, LeaveFree: 100}, []string{"a=disk"}, []string{"x", "y", "z"}, []line{
			{0, journal.Queued, "", nil, "start i0, start i1"},
			{0, journal.Disk, "a", disk(950), "cancel i1"},
			{time.Second, journal.Disk, "a", disk(950), ""},
			{time.Second, journal.Disk, "a", disk(950), "cancel i0"},
			{2 * time.Second, journal.Disk, "a", disk(950), "cancel i1"},
			{0, journal.UnitRetried, "i1", reason(journal.RetryBudget), "release"},
			{0, journal.UnitRetried, "i0", reason(journal.RetryBudget), ""},
			{0, journal.Released, "a", gone, ""},
			{0, journal.Disk, "a", disk(950), "release"},
			{0, journal.Released, "a", gone, ""},
			{time.Second, journal.Disk, "a", disk(0), "start i0"},
		}},
		{"a release that fails is tried again, later each time", journal.SchedulingData{Jobs: 1, LeaveFree: 800}, []string{"a=disk"}, []string{"x", "y"}, []line{
			{0, journal.Queued, "", nil, "start i0"},
			{0, journal.Disk, "a", disk(140), ""},
			{0, journal.UnitPublished, "i0", nil, "release"},
			{0, journal.Released, "a", broken, ""},
			{time.Second, journal.Disk, "a", disk(140), ""},
			{time.Second, journal.Disk, "a", disk(140), "release"},
			{0, journal.Released, "a", broken, ""},
			{3 * time.Second, journal.Disk, "a", disk(140), ""},
			{time.Second, journal.Disk, "a", disk(140), "release"},
			{0, journal.Released, "a", broken, ""},
			{time.Second, journal.Disk, "a", disk(140), "reject i1"},
		}},
		{"what others fill is waited for, with patience", journal.SchedulingData{Jobs: 1, LeaveFree: 1}, []string{"a"}, []string{"x"}, []line{
			{0, journal.WorkerReady, "a", journal.WorkerData{Disk: &journal.DiskData{Free: fill, Total: fill}}, ""},
			{0, journal.Disk, "a", journal.DiskData{Used: fill, Total: fill}, ""},
			{0, journal.Queued, "", nil, "release"},
			{0, journal.Released, "a", gone, ""},
			{0, journal.Disk, "a", journal.DiskData{Used: fill, Total: fill}, ""},
			{time.Second, journal.Disk, "a", journal.DiskData{Used: fill, Total: fill}, "wait i0"},
			{time.Minute, journal.Disk, "a", journal.DiskData{Used: fill, Total: fill}, ""},
			{patience, journal.Disk, "a", journal.DiskData{Used: fill, Total: fill}, "reject i0"},
		}},
		{"a shared step waits for what others fill, too", journal.SchedulingData{Jobs: 1, LeaveFree: 1}, []string{"a"}, []string{"s: x"}, []line{
			{0, journal.WorkerReady, "a", journal.WorkerData{Disk: &journal.DiskData{Free: fill, Total: fill}}, ""},
			{0, journal.Disk, "a", journal.DiskData{Used: fill, Total: fill}, ""},
			{0, journal.Queued, "", nil, "release"},
			{0, journal.Released, "a", gone, ""},
			{time.Second, journal.Disk, "a", journal.DiskData{Used: fill, Total: fill}, "wait s"},
			{time.Minute, journal.Disk, "a", journal.DiskData{Used: fill, Total: fill}, ""},
			{patience, journal.Disk, "a", journal.DiskData{Used: fill, Total: fill}, "reject i0"},
		}},
		{"what others fill and free again", journal.SchedulingData{Jobs: 1, LeaveFree: 1}, []string{"a"}, []string{"x"}, []line{
			{0, journal.WorkerReady, "a", journal.WorkerData{Disk: &journal.DiskData{Free: fill, Total: fill}}, ""},
			{0, journal.Disk, "a", journal.DiskData{Used: fill, Total: fill}, ""},
			{0, journal.Queued, "", nil, "release"},
			{0, journal.Released, "a", gone, ""},
			{time.Second, journal.Disk, "a", journal.DiskData{Used: fill, Total: fill}, "wait i0"},
			{time.Minute, journal.Disk, "a", journal.DiskData{Free: fill, Total: fill}, "start i0"},
		}},
		{"a worker that says twice that it is there", journal.SchedulingData{Jobs: 1}, []string{"a=disk"}, []string{"x"}, []line{
			{0, journal.Queued, "", nil, "start i0"},
			{0, journal.UnitPublished, "i0", nil, "release"},
			{0, journal.WorkerReady, "a", journal.WorkerData{Disk: &journal.DiskData{Free: 1000, Total: 1000}}, ""},
		}},
		{"a time limit that cannot be kept is told once", journal.SchedulingData{Jobs: 1, Limit: 3 * time.Minute}, []string{"a"}, []string{"x", "x", "x", "x", "x", "x"}, []line{
			{0, journal.Queued, "", nil, "start i0"},
			{time.Minute, journal.UnitPublished, "i0", nil, "start i1"},
			{time.Minute, journal.UnitPublished, "i1", nil, "stop, start i2"},
			{time.Minute, journal.UnitPublished, "i2", nil, "start i3"},
		}},
		{"without a budget as many start as may", journal.SchedulingData{Jobs: 3}, []string{"a=disk"}, []string{"x", "x", "x", "x"}, []line{
			{0, journal.Queued, "", nil, "start i0, start i1, start i2"},
		}},
		{"with a budget one starts", journal.SchedulingData{Jobs: 3, Budget: 900}, []string{"a=disk"}, []string{"x", "x", "x", "x"}, []line{
			{0, journal.Queued, "", nil, "start i0"},
			{time.Minute, journal.UnitPublished, "i0", nil, "start i1, start i2, release"},
		}},
		{"a layer set starts before all is queued", journal.SchedulingData{Jobs: 1}, []string{"a=disk"}, []string{"s: x"}, []line{
			{0, journal.SharedQueued, "set", journal.SharedData{Early: true}, "share set"},
			{0, journal.Queued, "", nil, "share s"},
			{0, journal.SharedFailed, "set", reason(journal.RetryPassing), "share set"},
			{0, journal.SharedReady, "set", nil, ""},
		}},
		{"a layer set that waits can fail", journal.SchedulingData{Jobs: 1}, nil, nil, []line{
			{0, journal.SharedQueued, "set", journal.SharedData{Early: true}, ""},
			{0, journal.SharedFailed, "set", reason(""), ""},
			{0, journal.WorkerReady, "a", journal.WorkerData{}, ""},
		}},
		{"within a budget images wait for shared steps", journal.SchedulingData{Jobs: 2, Budget: 900}, []string{"a=disk"}, []string{"s=100: x", "y"}, []line{
			{0, journal.Queued, "", nil, "share s"},
			{0, journal.Disk, "a", disk(100), ""},
			{0, journal.SharedReady, "s", nil, "start i0"},
		}},
		{"a shared step waits until what it may take fits", journal.SchedulingData{Jobs: 1, Budget: 980}, []string{"a=disk"}, []string{"s=420 t=420: x"}, []line{
			{0, journal.Queued, "", nil, "share s"}, // each is promised 483
			{0, journal.Disk, "a", disk(300), ""},
			{0, journal.SharedReady, "s", nil, ""},
			{0, journal.Disk, "a", disk(300), "share t"}, // it took less
			{0, journal.Disk, "a", disk(700), ""},
			{0, journal.SharedReady, "t", nil, "start i0"},
		}},
		{"shared steps that no budget like this one can hold", journal.SchedulingData{Jobs: 1, Budget: 900}, []string{"a=disk"}, []string{"s=500 t=500: x", "s=500: x"}, []line{
			{0, journal.Queued, "", nil, "reject i0, share s"},
			{0, journal.UnitFailed, "i0", reason(""), ""},
			{0, journal.Disk, "a", disk(500), ""},
			{0, journal.SharedReady, "s", nil, "start i1"},
		}},
		{"a layer set that is too large is refused", journal.SchedulingData{Jobs: 1, Budget: 900}, []string{"a=disk"}, nil, []line{
			{0, journal.SharedQueued, "set", journal.SharedData{Early: true, Bytes: 1000}, "release"},
			{0, journal.Released, "a", gone, ""},
			{time.Second, journal.Disk, "a", disk(0), "reject set"},
		}},
		{"what the daemon has may be the shared step", journal.SchedulingData{Jobs: 1, Budget: 900}, []string{"a"}, nil, []line{
			{0, journal.WorkerReady, "a", journal.WorkerData{Disk: &journal.DiskData{Used: 600, Free: 400, Total: 1000}, Holds: 600}, ""},
			{0, journal.SharedQueued, "set", journal.SharedData{Early: true, Bytes: 600}, "release"},
			{0, journal.Released, "a", journal.ReleaseData{After: map[string]int64{"regular": 600}}, ""},
			{time.Second, journal.Disk, "a", disk(600), "share set"},
		}},
		{"a time limit counts from when the run was started again", journal.SchedulingData{Jobs: 1, Limit: time.Hour, Since: 24 * time.Hour}, []string{"a"}, []string{"x", "x", "x", "x"}, []line{
			{24 * time.Hour, journal.Queued, "", nil, "start i0"},
			{time.Minute, journal.UnitPublished, "i0", nil, "start i1"},
			{time.Minute, journal.UnitPublished, "i1", nil, "start i2"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := begin(t, tt.limits, tt.workers, tt.images...)
			for i, l := range tt.script {
				p.now += l.after
				if diff := cmp.Diff(l.want, p.give(l.kind, l.about, l.data)); diff != "" {
					t.Fatalf("line %d, %s %s (-want +got):\n%s", i, l.kind, l.about, diff)
				}
			}
		})
	}
}

// Shared steps of which nothing is known share the room; each gives back what it
// did not take.
func TestPromiseOfShared(t *testing.T) {
	p := begin(t, journal.SchedulingData{Jobs: 1, Budget: 1000}, []string{"a=disk"}, "s t: x", "u=100: x")
	room := func(want int64) {
		t.Helper()
		if got := p.s.workers[0].ledger.Room(); got != want {
			t.Errorf("there is room for %d bytes, not %d", got, want)
		}
	}
	if got := p.give(journal.Queued, "", nil); got != "share u, share s, share t" {
		t.Fatal(got)
	}
	room(0)
	p.give(journal.WorkerLost, "a", nil)
	if got := p.give(journal.WorkerReady, "a", journal.WorkerData{Disk: &journal.DiskData{Free: 1000, Total: 1000}}); got != "share u, share s, share t" {
		t.Fatal(got)
	}
	p.give(journal.SharedReady, "s", nil)
	room(0) // it may have taken all of what it was promised
	p.give(journal.Disk, "a", disk(30))
	room(427 - 30)
}

// A base is paid for by the first image that needs it; when that does not get to
// its end, by who else needs it, or by nobody.
func TestPromiseOfBase(t *testing.T) {
	p := begin(t, journal.SchedulingData{Jobs: 2}, []string{"a=disk"}, "x y", "x y", "x z")
	room := func(want int64) {
		t.Helper()
		p.now += time.Second
		p.give(journal.Disk, "a", disk(0))
		if got := p.s.workers[0].ledger.Room(); got != want {
			t.Errorf("there is room for %d bytes, not %d", got, want)
		}
	}
	own, layer, size := int64(115), int64(40), int64(1000-1000/50) // a little is left free
	if got := p.give(journal.Queued, "", nil); got != "start i0, start i1" {
		t.Fatal(got)
	}
	room(size - 2*own - 2*layer) // i1 pays for nothing but itself
	p.s.limits.Jobs = 1          // nothing else starts
	p.give(journal.UnitRetried, "i0", reason(journal.RetryPassing))
	room(size - own - 2*layer)
	p.give(journal.WorkerLost, "a", nil)
	room(size)
}

// A pause lets what runs go on, gives back what is dead, and starts nothing, also
// of what comes meanwhile.
func TestPause(t *testing.T) {
	p := begin(t, journal.SchedulingData{Jobs: 2}, []string{"w=disk"}, "s: a", "b", "c")
	for i, x := range []struct {
		kind  journal.Kind
		about string
		data  any
		want  string
	}{
		{journal.Paused, "", nil, "release"},
		{journal.Queued, "", nil, ""},
		{journal.Released, "w", journal.ReleaseData{}, ""},
		{journal.Disk, "w", journal.DiskData{Free: 1000, Total: 1000}, ""},
		{journal.Unpaused, "", nil, "share s, start i1, start i2"},
		{journal.Paused, "", nil, ""},
		{journal.Paused, "", nil, ""},
		{journal.SharedReady, "s", nil, ""},
		{journal.UnitPublished, "i1", nil, "release"},
		{journal.UnitRetried, "i2", journal.FailData{Reason: journal.RetryPassing}, ""},
		{journal.Released, "w", journal.ReleaseData{Images: 1, Own: 100}, "release"},
		{journal.Unpaused, "", nil, "start i2, start i0"},
	} {
		if got := p.give(x.kind, x.about, x.data); got != x.want {
			t.Fatalf("%d, %s %s: %q, want %q", i, x.kind, x.about, got, x.want)
		}
	}
}
