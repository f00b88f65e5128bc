package sched

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

const mega = 1 << 20

// bases draws a forest of bases: each begins with a part of an earlier one.
func bases(t *rapid.T) [][]journal.LayerData {
	var out [][]journal.LayerData
	made := 0
	for range rapid.IntRange(1, 8).Draw(t, "bases") {
		var b []journal.LayerData
		if len(out) > 0 {
			from := out[rapid.IntRange(0, len(out)-1).Draw(t, "like")]
			b = append(b, from[:rapid.IntRange(0, len(from)).Draw(t, "same layers")]...)
		}
		for range rapid.IntRange(0, 3).Draw(t, "more layers") {
			made++
			b = append(b, journal.LayerData{Digest: graph.Digest(fmt.Sprint("l", made)), Bytes: rapid.Int64Range(1, 60).Draw(t, "layer") * mega})
		}
		out = append(out, b)
	}
	return out
}

// drawWorld draws a fleet and machines for it.
func drawWorld(t *rapid.T) World {
	w := World{
		Limits:  journal.SchedulingData{Jobs: rapid.IntRange(0, 6).Draw(t, "jobs"), Workers: rapid.IntRange(1, 4).Draw(t, "workers")},
		Disk:    rapid.SampledFrom([]int64{1, 2, 20, 1000}).Draw(t, "disk") * 1024 * mega,
		Others:  rapid.Int64Range(0, 500).Draw(t, "others") * mega,
		Factor:  rapid.SampledFrom([]float64{1, 2.5, 4, 5}).Draw(t, "factor"),
		Release: rapid.SampledFrom([]time.Duration{0, time.Second, 20 * time.Second}).Draw(t, "release"),
		Cores:   rapid.IntRange(0, 3).Draw(t, "cores"),
	}
	switch rapid.IntRange(0, 3).Draw(t, "rule") {
	case 0:
		w.Limits.Share = rapid.Float64Range(0.05, 1).Draw(t, "share")
	case 1:
		w.Limits.LeaveFree = rapid.Int64Range(0, 1000).Draw(t, "leave free") * mega
	case 2:
		w.Limits.Budget = rapid.Int64Range(1, 3000).Draw(t, "budget") * mega
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "shared") {
		w.Shared = append(w.Shared, Shared{Step: graph.Digest(fmt.Sprint("s", i)), Bytes: rapid.Int64Range(0, 200).Draw(t, "shared bytes") * mega, Took: drawTime(t),
			Expect: rapid.Bool().Draw(t, "shared is expected"), Early: rapid.IntRange(0, 3).Draw(t, "layer set") == 0})
	}
	all := bases(t)
	expect := rapid.IntRange(0, 2).Draw(t, "expect")
	for i := range rapid.IntRange(0, 30).Draw(t, "tasks") {
		task := Task{
			Name:   fmt.Sprintf("i%02d", i),
			Layers: rapid.SampledFrom(all).Draw(t, "base"),
			Own:    rapid.Int64Range(0, 300).Draw(t, "own") * mega,
			Took:   drawTime(t),
			Expect: expect == 2 || expect == 1 && rapid.Bool().Draw(t, "expected"),
		}
		for _, sh := range w.Shared {
			if !sh.Early && rapid.Bool().Draw(t, "needs") {
				task.Needs = append(task.Needs, sh.Step)
			}
		}
		w.Tasks = append(w.Tasks, task)
	}
	return w
}

func drawTime(t *rapid.T) time.Duration {
	return time.Duration(rapid.IntRange(0, 100).Draw(t, "seconds")) * time.Second
}

// judge watches a simulation and holds it to what the package promises.
type judge struct {
	t       *rapid.T
	m       *simulation
	events  []journal.Event
	acts    [][]Action
	total   int
	running map[string]string // unit -> worker
	ended   map[string]int
	shares  map[graph.Digest]string // "" after it failed, or was lost
	ready   map[graph.Digest]bool
	needs   map[string][]graph.Digest
	paused  bool
}

func newJudge(t *rapid.T, w World) *judge {
	j := &judge{t: t, running: map[string]string{}, ended: map[string]int{}, shares: map[graph.Digest]string{}, ready: map[graph.Digest]bool{}, needs: map[string][]graph.Digest{}}
	for _, task := range w.Tasks {
		j.needs[task.Name] = task.Needs
	}
	w.Watch = j.watch
	j.m = newSimulation(w)
	return j
}

func (j *judge) watch(e journal.Event, acts []Action, _ map[string]int64) {
	j.events = append(j.events, e)
	j.acts = append(j.acts, acts)
	switch e.Kind {
	case journal.UnitPublished, journal.UnitFailed:
		j.ended[e.Unit]++
		delete(j.running, e.Unit)
	case journal.UnitRetried:
		delete(j.running, e.Unit)
	case journal.Paused, journal.Unpaused:
		j.paused = e.Kind == journal.Paused
	case journal.SharedReady:
		j.ready[e.Step] = true
	case journal.SharedFailed:
		j.shares[e.Step] = ""
	case journal.WorkerLost:
		for u, w := range j.running {
			if w == e.Worker {
				delete(j.running, u)
			}
		}
		for sh, w := range j.shares {
			if w == e.Worker {
				j.shares[sh] = ""
			}
		}
	}
	for _, a := range acts {
		j.total++
		j.act(a)
	}
	for _, w := range j.m.sched.workers {
		gave := slices.ContainsFunc(acts, func(a Action) bool { return (a.Do == Start || a.Do == Share) && a.Worker == w.name })
		if gave && w.ledger != nil && w.ledger.Room() < 0 {
			j.t.Fatalf("event %d: %v was started with %d bytes too few", e.Seq, acts, -w.ledger.Room())
		}
	}
}

func (j *judge) act(a Action) {
	w := j.m.sched.worker(a.Worker)
	if a.Do != Stop && (w == nil || !w.ready && a.Do != Reject) {
		j.t.Fatalf("%+v is for a worker that is not there", a)
	}
	if j.paused && (a.Do == Start || a.Do == Share) {
		j.t.Fatalf("%+v in a pause", a)
	}
	switch a.Do {
	case Start:
		switch {
		case j.running[a.Unit] != "":
			j.t.Fatalf("%+v runs already on %s", a, j.running[a.Unit])
		case j.ended[a.Unit] > 0:
			j.t.Fatalf("%+v is done already", a)
		}
		for _, d := range j.needs[a.Unit] {
			if !j.ready[d] {
				j.t.Fatalf("%+v needs %s, which is not ready", a, d)
			}
		}
		j.running[a.Unit] = a.Worker
		if n, most := len(w.running), max(j.m.world.Limits.Jobs, 1); n > most {
			j.t.Fatalf("%d images at once, with %d jobs", n, most)
		}
	case Share:
		if j.shares[a.Step] != "" || j.ready[a.Step] {
			j.t.Fatalf("%+v was started already on %s", a, j.shares[a.Step])
		}
		j.shares[a.Step] = a.Worker
	case Reject:
		if j.running[a.Unit] != "" || j.ended[a.Unit] > 0 || a.Bytes <= 0 {
			j.t.Fatalf("%+v runs on %q, and ended %d times", a, j.running[a.Unit], j.ended[a.Unit])
		}
	}
}

// verdict runs the simulation to its end and holds it to that.
func (j *judge) verdict() Outcome {
	out := j.m.run()
	if out.Left > 0 || !j.m.sched.Idle() {
		j.t.Fatalf("%d images came to no end", out.Left)
	}
	for _, sh := range j.m.world.Shared {
		if sh.Early && j.m.sched.byStep[sh.Step].phase != done {
			j.t.Fatalf("layer set %s came to no end", sh.Step)
		}
	}
	for name := range j.needs {
		if j.ended[name] != 1 {
			j.t.Fatalf("%s ended %d times", name, j.ended[name])
		}
	}
	if most := 200 + 40*len(j.m.world.Tasks); j.total > most {
		j.t.Fatalf("%d actions for %d images", j.total, len(j.m.world.Tasks))
	}
	return out
}

// replay gives the journal to a fresh scheduler, which must answer the same.
func (j *judge) replay() {
	s := New()
	for i, e := range j.events {
		if diff := cmp.Diff(j.acts[i], s.Step(e)); diff != "" {
			j.t.Fatalf("event %d, %s: the same events lead to other actions (-first +again):\n%s", e.Seq, e.Kind, diff)
		}
	}
}

// distinct is the compressed size of a world's layers, each once.
func distinct(w World) (n int64) {
	m := newSimulation(w)
	for _, l := range m.bases.find {
		n += l.bytes
	}
	return n
}

func check(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	t.Parallel()
	rapid.Check(t, property)
}
