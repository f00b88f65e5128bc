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
	// Watch, when not nil, sees every event with the actions that follow.
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
	// Rejected are the images for which there was no room, and Needs the budget
	// that the most demanding of them would have needed.
	Rejected []string
	Needs    int64
}

// Simulate runs a world through a scheduler to its end.
func Simulate(w World) Outcome {
	m := &simulation{world: w, sched: New(), byName: map[string]*Task{}, attempts: map[string]int{}, users: map[string]int{}}
	for i := range w.Tasks {
		t := &w.Tasks[i]
		m.byName[t.Name] = t
		m.eachLayer(t, func(chain string, _ int64) { m.users[chain]++ })
	}
	m.begin()
	for m.queue.Len() > 0 && !m.sched.Idle() {
		next := heap.Pop(&m.queue).(due)
		if next.stale() {
			continue
		}
		m.advance(next.at)
		m.readings()
		next.fire()
	}
	m.out.Wall = m.now
	return m.out
}

// simulation is a world while it runs.
type simulation struct {
	world    World
	sched    *Scheduler
	now      time.Duration
	seq      int64
	workers  []*simWorker
	queue    dueQueue
	byName   map[string]*Task
	attempts map[string]int
	users    map[string]int // tasks to come, by chain of layers
	out      Outcome
}

type simWorker struct {
	name    string
	shared  int64
	layers  map[string]int64 // chain -> compressed bytes
	running map[string]*simRun
	dead    int64 // own bytes of tasks that ended
	images  int
}

// simRun is a task at work: progress is what it has done of Took.
type simRun struct {
	task     *Task
	progress time.Duration
	version  int
	gone     bool
}

func (m *simulation) begin() {
	l := m.world.Limits
	l.Workers = max(l.Workers, 1)
	m.emit(journal.Scheduling, "", "", "", l)
	for i := range l.Workers {
		w := &simWorker{name: string(rune('a' + i)), layers: map[string]int64{}, running: map[string]*simRun{}}
		m.workers = append(m.workers, w)
		d := m.reading(w)
		m.emit(journal.WorkerReady, "", "", w.name, journal.WorkerData{Disk: &d})
	}
	for _, sh := range m.world.Shared {
		m.emit(journal.SharedQueued, "", sh.Step, "", nil)
	}
	for _, t := range m.world.Tasks {
		d := journal.QueuedData{Layers: t.Layers, Needs: t.Needs}
		if t.Expect {
			d.Bytes, d.Took = t.Own, t.Took
		}
		m.emit(journal.UnitQueued, t.Name, "", "", d)
	}
	m.emit(journal.Queued, "", "", "", nil)
}

// emit gives the scheduler an event and does what it answers.
func (m *simulation) emit(k journal.Kind, unit string, step graph.Digest, worker string, data any) {
	raw, err := json.Marshal(data)
	if err != nil {
		panic("sched: simulated data is plain: " + err.Error())
	}
	m.seq++
	e := journal.Event{V: journal.Version, Seq: m.seq, Mono: m.now, Kind: k, Unit: unit, Step: step, Worker: worker, Data: raw}
	acts := m.sched.Step(e)
	if m.world.Watch != nil {
		used := map[string]int64{}
		for _, w := range m.workers {
			used[w.name] = m.used(w)
		}
		m.world.Watch(e, acts, used)
	}
	for _, a := range acts {
		m.do(a)
	}
}

func (m *simulation) do(a Action) {
	w := m.worker(a.Worker)
	switch a.Do {
	case Share:
		i := slices.IndexFunc(m.world.Shared, func(s Shared) bool { return s.Step == a.Step })
		sh := m.world.Shared[i]
		m.after(sh.Took, func() {
			w.shared += sh.Bytes
			m.readings()
			m.emit(journal.SharedReady, "", sh.Step, w.name, nil)
		})
	case Start:
		r := &simRun{task: m.byName[a.Unit]}
		m.attempts[a.Unit]++
		m.eachLayer(r.task, func(chain string, bytes int64) {
			if _, ok := w.layers[chain]; !ok {
				w.layers[chain] = bytes
				m.out.Pulled += bytes
			}
		})
		w.running[a.Unit] = r
		m.reckon(w)
		m.emit(journal.UnitStarted, a.Unit, "", w.name, journal.UnitData{Promised: a.Bytes})
	case Cancel:
		if r := w.running[a.Unit]; r != nil {
			m.after(0, func() { m.end(w, r, journal.RetryBudget) })
		}
	case Release:
		m.emit(journal.Releasing, "", "", w.name, nil)
		m.after(m.world.Release, func() { m.release(w) })
	case Reject:
		m.out.Rejected = append(m.out.Rejected, a.Unit)
		m.out.Needs = max(m.out.Needs, a.Bytes)
		m.eachLayer(m.byName[a.Unit], func(chain string, _ int64) { m.users[chain]-- })
		m.after(0, func() { m.emit(journal.UnitFailed, a.Unit, "", w.name, nil) })
	}
}

// end takes a task off its worker.
func (m *simulation) end(w *simWorker, r *simRun, reason string) {
	if r.gone {
		return
	}
	r.gone = true
	delete(w.running, r.task.Name)
	w.dead += r.own()
	m.reckon(w)
	m.readings()
	if reason != "" {
		m.emit(journal.UnitRetried, r.task.Name, "", w.name, journal.FailData{Reason: reason})
		return
	}
	w.images++
	m.out.Published++
	m.eachLayer(r.task, func(chain string, _ int64) { m.users[chain]-- })
	m.emit(journal.UnitPublished, r.task.Name, "", w.name, nil)
}

func (m *simulation) release(w *simWorker) {
	d := journal.ReleaseData{Own: w.dead, Images: w.images, Took: m.world.Release}
	w.dead, w.images = 0, 0
	wanted := map[string]bool{}
	for _, r := range w.running {
		m.eachLayer(r.task, func(chain string, _ int64) { wanted[chain] = true })
	}
	for chain, n := range w.layers {
		if m.users[chain] <= 0 && !wanted[chain] {
			d.Base += int64(m.world.Factor * float64(n))
			d.Compressed += n
			delete(w.layers, chain)
		}
	}
	d.Bytes = d.Own + d.Base
	d.After = map[string]int64{"regular": m.held(w)}
	m.readings()
	m.emit(journal.Released, "", "", w.name, d)
}

// readings tells the scheduler what every disk says.
func (m *simulation) readings() {
	for _, w := range m.workers {
		m.out.Peak = max(m.out.Peak, m.used(w)-m.world.Others)
		m.emit(journal.Disk, "", "", w.name, m.reading(w))
	}
}

func (m *simulation) reading(w *simWorker) journal.DiskData {
	used := m.used(w)
	return journal.DiskData{Used: used, Free: m.world.Disk - used, Total: m.world.Disk}
}

func (m *simulation) used(w *simWorker) int64 { return m.world.Others + m.held(w) }

func (m *simulation) held(w *simWorker) int64 {
	n := w.shared + w.dead
	for _, bytes := range w.layers {
		n += int64(m.world.Factor * float64(bytes))
	}
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
	names := make([]string, 0, len(w.running))
	for name := range w.running {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		r := w.running[name]
		r.version++
		version := r.version
		left := time.Duration(float64(max(r.task.Took-r.progress, 0))/pace) + 1
		stale := func() bool { return r.gone || r.version != version }
		half := due{at: m.now + left/2, seq: m.next(), stale: stale, fire: func() {}}
		heap.Push(&m.queue, half) // a reading on the way
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
	i := slices.IndexFunc(m.workers, func(w *simWorker) bool { return w.name == name })
	return m.workers[i]
}

func (m *simulation) eachLayer(t *Task, use func(chain string, bytes int64)) {
	chain := ""
	for _, l := range t.Layers {
		chain += string(l.Digest) + " "
		use(chain, l.Bytes)
	}
}

// due is something that will happen.
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
	*q = old[:len(old)-1]
	return x
}
