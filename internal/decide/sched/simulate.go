package sched

import (
	"cmp"
	"container/heap"
	"encoding/json"
	"slices"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Task is an image of a simulated run.
type Task struct {
	Name   string
	Layers []journal.LayerData
	Needs  []graph.Digest
	// Own is what it takes of the disk above its base, growing evenly over Took.
	Own  int64
	Took time.Duration
	// Expect tells the scheduler Own and Took beforehand.
	Expect bool
}

// Shared is a shared step of a simulated run.
type Shared struct {
	Step  graph.Digest
	Bytes int64
	Took  time.Duration
	// Expect tells the scheduler Bytes beforehand.
	Expect bool
	// Early makes it a layer set: no task needs it.
	Early bool
}

// World is a run to simulate. A second of a task is a second of wall time
// whatever runs beside it, up to Cores tasks on one worker; more share the cores.
type World struct {
	Limits journal.SchedulingData
	Tasks  []Task
	Shared []Shared
	// Disk is the size of each worker's file system, of which Others bytes are
	// used by something else.
	Disk, Others int64
	// Factor is what a base layer takes per compressed byte.
	Factor float64
	// Release is the time that a release takes.
	Release time.Duration
	// Cores bounds what a worker really does at once; 0 means no bound.
	Cores int
	// Trouble, when not nil, is asked at the end of each attempt of a task for the
	// reason of a retry; "" means that it succeeded.
	Trouble func(task string, attempt int) (reason string)
	// Watch, when not nil, sees every event with the actions that follow, and what
	// is used of each worker's file system by then.
	Watch func(e journal.Event, acts []Action, used map[string]int64)
}

// Outcome is how a simulated run went.
type Outcome struct {
	Wall time.Duration
	// Peak is the highest use of a worker's file system by its daemon.
	Peak int64
	// Pulled are compressed bytes of base layers, each pull counted.
	Pulled    int64
	Published int
	// Rejected are the images, and the layer sets by their digests, for which there
	// was no room, and Needs the budget that the most demanding of them would have
	// needed.
	Rejected []string
	Needs    int64
	// Left are the images that came to no end. There are none, as long as all
	// workers come back and no trouble lasts for ever.
	Left int
}

// tick is the time between two readings of a disk when nothing else happens, and
// ticks how many of them a run in which nothing else happens goes on for.
const (
	tick  = 100 * time.Millisecond
	ticks = 2 * int(patience/tick)
)

// Simulate runs a world through a scheduler to its end.
func Simulate(w World) Outcome {
	m := newSimulation(w)
	m.begin()
	return m.run()
}

// simulation is a world while it runs.
type simulation struct {
	world    World
	sched    *Scheduler
	now      time.Duration
	seq      int64
	workers  []*simWorker
	queue    dueQueue
	tasks    map[string]*Task
	shared   map[graph.Digest]*Shared
	bases    forest
	base     map[string]*layer
	attempts map[string]int
	out      Outcome
	// failRelease, when not nil, tells whether the next release fails.
	failRelease func() bool
}

type simWorker struct {
	name    string
	up      bool
	life    int
	others  int64
	shared  int64
	layers  map[*layer]bool
	base    int64 // what they take
	dead    int64 // bytes of tasks that ended, above their bases
	images  int
	running []*simRun
	sharing map[graph.Digest]func() // ends a shared step that is under way
}

// simRun is a task at work: progress is what it has done of Took.
type simRun struct {
	task     *Task
	progress time.Duration
	version  int
}

func newSimulation(w World) *simulation {
	m := &simulation{
		world: w, sched: New(), tasks: map[string]*Task{}, shared: map[graph.Digest]*Shared{},
		bases: forest{find: map[place]*layer{}}, base: map[string]*layer{}, attempts: map[string]int{},
	}
	for i := range w.Tasks {
		t := &w.Tasks[i]
		m.tasks[t.Name] = t
		m.base[t.Name] = m.bases.add(nil, t.Layers)
	}
	for i := range w.Shared {
		m.shared[w.Shared[i].Step] = &w.Shared[i]
	}
	for i := range max(w.Limits.Workers, 1) {
		m.workers = append(m.workers, &simWorker{
			name: string(rune('a' + i)), others: w.Others, layers: map[*layer]bool{}, sharing: map[graph.Digest]func(){},
		})
	}
	return m
}

func (m *simulation) begin() {
	l := m.world.Limits
	l.Workers = len(m.workers)
	m.emit(journal.Scheduling, "", "", "", l)
	for _, w := range m.workers {
		m.rise(w)
	}
	for _, sh := range m.world.Shared {
		d := journal.SharedData{Early: sh.Early}
		if sh.Expect {
			d.Bytes = sh.Bytes
		}
		m.emit(journal.SharedQueued, "", sh.Step, "", d)
	}
	for i := range m.world.Tasks {
		t := &m.world.Tasks[i]
		d := journal.QueuedData{Layers: t.Layers, Needs: t.Needs}
		if t.Expect {
			d.Bytes, d.Took = t.Own, t.Took
		}
		m.emit(journal.UnitQueued, t.Name, "", "", d)
	}
	m.emit(journal.Queued, "", "", "", nil)
}

// run lets things happen until the scheduler is idle, or nothing does any more.
func (m *simulation) run() Outcome {
	for quiet := 0; !m.sched.Idle() && quiet < ticks; {
		if m.queue.Len() == 0 {
			quiet++
			m.advance(m.now + tick)
			m.readings()
			continue
		}
		next := heap.Pop(&m.queue).(due)
		if next.stale() {
			continue
		}
		quiet = 0
		m.advance(next.at)
		if m.readings(); !next.stale() {
			next.fire()
		}
	}
	m.out.Wall = m.now
	m.out.Left, _ = m.sched.Left()
	return m.out
}

// emit gives the scheduler an event and does what it answers.
func (m *simulation) emit(k journal.Kind, unit string, step graph.Digest, worker string, data any) {
	m.seq++
	e := journal.Event{V: journal.Version, Seq: m.seq, Mono: m.now, Kind: k, Unit: unit, Step: step, Worker: worker}
	acts := m.sched.step(e, data)
	if m.world.Watch != nil {
		m.show(e, data, acts)
	}
	for _, a := range acts {
		m.do(a)
	}
}

func (m *simulation) show(e journal.Event, data any, acts []Action) {
	if data != nil {
		raw, err := json.Marshal(data)
		if err != nil {
			panic("sched: simulated data is plain: " + err.Error())
		}
		e.Data = raw
	}
	used := map[string]int64{}
	for _, w := range m.workers {
		used[w.name] = m.used(w)
	}
	m.world.Watch(e, acts, used)
}

func (m *simulation) do(a Action) {
	w := m.worker(a.Worker)
	if w == nil || !w.up && a.Do != Reject {
		return // the loss of the worker puts it back
	}
	switch a.Do {
	case Share:
		m.share(w, m.shared[a.Step])
	case Start:
		m.start(w, a)
	case Cancel:
		m.cancel(w, a)
	case Release:
		m.emit(journal.Releasing, "", "", w.name, nil)
		m.release(w)
	case Reject:
		m.out.Rejected = append(m.out.Rejected, a.Unit+string(a.Step))
		m.out.Needs = max(m.out.Needs, a.Bytes)
		if a.Step != "" {
			return
		}
		m.after(0, func() {
			m.forget(a.Unit)
			m.emit(journal.UnitFailed, a.Unit, "", w.name, journal.FailData{})
		})
	}
}

func (m *simulation) share(w *simWorker, sh *Shared) {
	ended := false
	w.sharing[sh.Step] = func() { ended = true; delete(w.sharing, sh.Step) }
	heap.Push(&m.queue, due{at: m.now + sh.Took, seq: m.next(), stale: func() bool { return ended }, fire: func() {
		w.sharing[sh.Step]()
		w.shared += sh.Bytes
		m.readings()
		m.emit(journal.SharedReady, "", sh.Step, w.name, nil)
	}})
	m.emit(journal.SharedStarted, "", sh.Step, w.name, nil)
}

func (m *simulation) start(w *simWorker, a Action) {
	r := &simRun{task: m.tasks[a.Unit]}
	m.attempts[a.Unit]++
	for l := m.base[a.Unit]; l != nil && !w.layers[l]; l = l.below {
		w.layers[l] = true
		w.base += m.takes(l)
		m.out.Pulled += l.bytes
	}
	w.running = append(w.running, r)
	m.reckon(w)
	m.emit(journal.UnitStarted, a.Unit, "", w.name, journal.UnitData{Promised: a.Bytes})
}

// cancel ends what a Cancel names.
func (m *simulation) cancel(w *simWorker, a Action) {
	if end := w.sharing[a.Step]; end != nil {
		end()
		m.emit(journal.SharedFailed, "", a.Step, w.name, journal.FailData{Reason: journal.RetryBudget})
	}
	for _, r := range w.running {
		if r.task.Name == a.Unit {
			m.end(w, r, journal.RetryBudget)
			return
		}
	}
}

// takes is what a layer takes of the disk.
func (m *simulation) takes(l *layer) int64 { return int64(m.world.Factor * float64(l.bytes)) }

// end takes a task off its worker.
func (m *simulation) end(w *simWorker, r *simRun, reason string) {
	if !slices.Contains(w.running, r) {
		return
	}
	r.version++
	w.running = remove(w.running, r)
	w.dead += r.own()
	m.reckon(w)
	m.readings()
	if reason != "" {
		m.emit(journal.UnitRetried, r.task.Name, "", w.name, journal.FailData{Reason: reason})
		return
	}
	w.images++
	m.out.Published++
	m.forget(r.task.Name)
	m.emit(journal.UnitPublished, r.task.Name, "", w.name, nil)
}

// forget says that a task needs its base no more.
func (m *simulation) forget(task string) {
	for l := m.base[task]; l != nil; l = l.below {
		l.users--
	}
}

// release begins a release of what is dead now.
func (m *simulation) release(w *simWorker) {
	d := journal.ReleaseData{Took: m.world.Release, Own: w.dead, Images: w.images}
	var dead []*layer
	for l := range w.layers {
		if l.users <= 0 {
			dead = append(dead, l)
			d.Base += m.takes(l)
			d.Compressed += l.bytes
		}
	}
	d.Bytes = d.Own + d.Base
	life := w.life
	m.after(m.world.Release, func() {
		switch {
		case !w.up || w.life != life:
			return
		case m.failRelease != nil && m.failRelease():
			d = journal.ReleaseData{Took: d.Took, Error: "it did not work"}
		default:
			for _, l := range dead {
				delete(w.layers, l)
			}
			w.base -= d.Base
			w.dead -= d.Own
			w.images -= d.Images
			d.After = map[string]int64{"regular": m.used(w) - w.others}
		}
		m.readings()
		m.emit(journal.Released, "", "", w.name, d)
	})
}

// rise lets a worker be there.
func (m *simulation) rise(w *simWorker) {
	w.up = true
	d := m.reading(w)
	m.emit(journal.WorkerReady, "", "", w.name, journal.WorkerData{Disk: &d, Holds: d.Used - w.others})
}

// lose ends what runs on a worker, and takes it away.
func (m *simulation) lose(w *simWorker) {
	w.up = false
	w.life++
	for _, r := range w.running {
		w.dead += r.own()
		r.version++
	}
	w.running = nil
	for _, sh := range m.world.Shared {
		if end := w.sharing[sh.Step]; end != nil {
			end()
		}
	}
	m.emit(journal.WorkerLost, "", "", w.name, journal.FailData{Reason: journal.RetryWorker})
}

// readings tells the scheduler what every disk says.
func (m *simulation) readings() {
	for _, w := range m.workers {
		m.out.Peak = max(m.out.Peak, m.used(w)-w.others)
		if w.up {
			m.emit(journal.Disk, "", "", w.name, m.reading(w))
		}
	}
}

func (m *simulation) reading(w *simWorker) journal.DiskData {
	used := m.used(w)
	return journal.DiskData{Used: used, Free: max(0, m.world.Disk-used), Total: m.world.Disk}
}

func (m *simulation) used(w *simWorker) int64 {
	n := w.others + w.shared + w.base + w.dead
	for _, r := range w.running {
		n += r.own()
	}
	return n
}

// own is what the task has taken so far.
func (r *simRun) own() int64 {
	if r.task.Took <= 0 {
		return r.task.Own
	}
	return int64(float64(r.task.Own) * min(1, float64(r.progress)/float64(r.task.Took)))
}

// pace is how fast each task on a worker goes.
func (m *simulation) pace(w *simWorker) float64 {
	if n := len(w.running); m.world.Cores > 0 && n > m.world.Cores {
		return float64(m.world.Cores) / float64(n)
	}
	return 1
}

// advance lets time pass for everything that runs.
func (m *simulation) advance(to time.Duration) {
	for _, w := range m.workers {
		pace := m.pace(w)
		for _, r := range w.running {
			r.progress += time.Duration(pace * float64(to-m.now))
		}
	}
	m.now = max(m.now, to)
}

// reckon sets the time at which each task on a worker ends, after the number of
// those that run has changed.
func (m *simulation) reckon(w *simWorker) {
	pace := m.pace(w)
	for _, r := range w.running {
		r.version++
		version := r.version
		left := time.Duration(float64(max(r.task.Took-r.progress, 0))/pace) + 1
		stale := func() bool { return r.version != version }
		heap.Push(&m.queue, due{at: m.now + left/2, seq: m.next(), stale: stale, fire: func() {}}) // a reading on the way
		heap.Push(&m.queue, due{at: m.now + left, seq: m.next(), stale: stale, fire: func() {
			reason := ""
			if m.world.Trouble != nil {
				reason = m.world.Trouble(r.task.Name, m.attempts[r.task.Name])
			}
			m.end(w, r, reason)
		}})
	}
}

func (m *simulation) after(d time.Duration, fire func()) {
	heap.Push(&m.queue, due{at: m.now + d, seq: m.next(), stale: func() bool { return false }, fire: fire})
}

func (m *simulation) next() int64 { m.seq++; return m.seq }

func (m *simulation) worker(name string) *simWorker {
	for _, w := range m.workers {
		if w.name == name {
			return w
		}
	}
	return nil
}

// due is something that will happen, unless it is stale by then.
type due struct {
	at    time.Duration
	seq   int64
	stale func() bool
	fire  func()
}

type dueQueue []due

func (q dueQueue) Len() int { return len(q) }
func (q dueQueue) Less(i, j int) bool {
	if c := cmp.Compare(q[i].at, q[j].at); c != 0 {
		return c < 0
	}
	return q[i].seq < q[j].seq
}
func (q dueQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *dueQueue) Push(x any) { *q = append(*q, x.(due)) }

// Pop implements heap.Interface.
func (q *dueQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	old[len(old)-1] = due{}
	*q = old[:len(old)-1]
	return x
}
