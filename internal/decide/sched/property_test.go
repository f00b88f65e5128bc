package sched

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/budget"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Whatever happens to a run, it keeps its promises, comes to an end, and replays.
func TestPropertyAnyWorld(t *testing.T) {
	check(t, func(t *rapid.T) {
		w := drawWorld(t)
		troubles := rapid.SliceOfN(rapid.SampledFrom([]string{"", "", journal.RetryPassing, journal.RetryDisk, journal.RetryBudget, journal.RetryWorker}), 0, 20).Draw(t, "troubles")
		asked := 0
		w.Trouble = func(string, int) string {
			if asked++; asked > len(troubles) {
				return ""
			}
			return troubles[asked-1]
		}
		j := newJudge(t, w)
		failures := rapid.SliceOfN(rapid.Bool(), 0, 8).Draw(t, "releases that fail")
		j.m.failRelease = func() bool {
			if len(failures) == 0 {
				return false
			}
			f := failures[0]
			failures = failures[1:]
			return f
		}
		for range rapid.IntRange(0, 5).Draw(t, "incidents") {
			j.incident()
		}
		j.m.begin()
		if rapid.Bool().Draw(t, "estimates are wrong") {
			for i := range j.m.world.Tasks {
				j.m.world.Tasks[i].Own *= rapid.Int64Range(0, 4).Draw(t, "times")
			}
		}
		j.verdict()
		j.replay()
	})
}

// incident plans something that goes wrong, and passes.
func (j *judge) incident() {
	t, m := j.t, j.m
	at := time.Duration(rapid.IntRange(0, 600).Draw(t, "at")) * time.Second
	later := at + time.Duration(rapid.IntRange(0, 1200).Draw(t, "for"))*time.Second
	w := m.workers[rapid.IntRange(0, len(m.workers)-1).Draw(t, "where")]
	switch rapid.SampledFrom([]string{"loss", "others", "shared", "failed", "pause"}).Draw(t, "what") {
	case "loss":
		m.after(at, func() {
			if w.up {
				m.lose(w)
			}
		})
		m.after(later, func() {
			if !w.up {
				m.rise(w)
			}
		})
	case "others":
		n := rapid.Int64Range(0, 3000).Draw(t, "bytes of others") * mega
		m.after(at, func() { w.others += n; m.readings() })
		m.after(later, func() { w.others -= n; m.readings() })
	case "pause":
		m.after(at, func() { m.emit(journal.Paused, "", "", "", nil) })
		m.after(later, func() { m.emit(journal.Unpaused, "", "", "", nil) })
	case "shared":
		reason := rapid.SampledFrom([]string{"", journal.RetryPassing, journal.RetryDisk}).Draw(t, "reason")
		m.after(at, func() { j.failShared(reason) })
	case "failed":
		if len(m.world.Tasks) == 0 {
			return
		}
		name := rapid.SampledFrom(m.world.Tasks).Draw(t, "which").Name
		m.after(at, func() { j.fail(name) })
	}
}

// failShared fails a shared step that is under way; without a reason for ever,
// and then what needs it fails too.
func (j *judge) failShared(reason string) {
	for _, w := range j.m.workers {
		for _, sh := range j.m.world.Shared {
			end := w.sharing[sh.Step]
			if end == nil {
				continue
			}
			end()
			j.m.emit(journal.SharedFailed, "", sh.Step, w.name, journal.FailData{Reason: reason})
			for _, task := range j.m.world.Tasks {
				for _, d := range task.Needs {
					if d == sh.Step && reason == "" {
						j.fail(task.Name)
					}
				}
			}
			return
		}
	}
}

// fail fails a task for ever, whatever it is doing.
func (j *judge) fail(name string) {
	if j.ended[name] > 0 || j.m.sched.units[name].rejected {
		return
	}
	for _, w := range j.m.workers {
		for _, r := range w.running {
			if r.task.Name == name {
				r.version++
				w.running = remove(w.running, r)
				w.dead += r.own()
				j.m.reckon(w)
				break
			}
		}
	}
	j.m.forget(name)
	j.m.emit(journal.UnitFailed, name, "", "", journal.FailData{})
}

// drawPlain draws a world of one worker in which nothing goes wrong and
// everything is known beforehand; need is the most that it must hold at a time,
// what all shared steps make among it.
func drawPlain(t *rapid.T) (w World, need int64) {
	w = drawWorld(t)
	w.Limits = journal.SchedulingData{Jobs: w.Limits.Jobs, Workers: 1}
	w.Disk, w.Factor = 1<<50, 4
	m := newSimulation(w)
	needed := map[graph.Digest]bool{}
	for i := range w.Tasks {
		task := &w.Tasks[i]
		task.Expect, task.Own = true, max(task.Own, mega)
		for _, d := range task.Needs {
			needed[d] = true
		}
		n := task.Own
		for l := m.base[task.Name]; l != nil; l = l.below {
			n += m.takes(l)
		}
		need = max(need, n)
	}
	for i := range w.Shared {
		sh := &w.Shared[i]
		if sh.Expect, sh.Bytes = true, max(sh.Bytes, mega); sh.Early || needed[sh.Step] {
			need += sh.Bytes
		}
	}
	return w, need
}

// With the smallest budget and any larger one, everything is made, the budget
// holds, and no layer is fetched twice.
func TestPropertyEnoughIsEnough(t *testing.T) {
	check(t, func(t *rapid.T) {
		w, need := drawPlain(t)
		w.Limits.Budget = budget.Rule{}.Enough(need) + rapid.SampledFrom([]int64{0, 0, 1, 100, 1000}).Draw(t, "more")*mega
		j := newJudge(t, w)
		j.m.begin()
		out := j.verdict()
		if out.Published != len(w.Tasks) || len(out.Rejected) > 0 {
			t.Fatalf("%d of %d images were made with %d bytes", out.Published, len(w.Tasks), w.Limits.Budget)
		}
		if out.Peak > w.Limits.Budget {
			t.Fatalf("%d bytes were used of %d", out.Peak, w.Limits.Budget)
		}
		if n := distinct(w); len(w.Tasks) > 0 && out.Pulled > n {
			t.Fatalf("%d bytes of layers were fetched of %d", out.Pulled, n)
		}
	})
}

// A budget that is too small is answered with the smallest that is not.
func TestPropertySmallestBudget(t *testing.T) {
	check(t, func(t *rapid.T) {
		w, need := drawPlain(t)
		if need == 0 {
			return
		}
		w.Limits.Budget = rapid.Int64Range(1, budget.Rule{}.Enough(need)).Draw(t, "budget")
		out := Simulate(w)
		if out.Left > 0 {
			t.Fatalf("%d images came to no end", out.Left)
		}
		enough := budget.Rule{}.Enough(need)
		if w.Limits.Budget == enough {
			enough = 0
		}
		if out.Needs != enough {
			t.Fatalf("%d bytes are said to be enough, not %d", out.Needs, enough)
		}
		if w.Limits.Budget = max(out.Needs, w.Limits.Budget); len(Simulate(w).Rejected) > 0 {
			t.Fatalf("images were rejected with the %d bytes that were asked for", out.Needs)
		}
	})
}

// Also where little is known, what is asked for leads to a budget that is enough.
func TestPropertyAskingEnds(t *testing.T) {
	check(t, func(t *rapid.T) {
		w := drawWorld(t)
		w.Disk = 1 << 50
		w.Limits.Share, w.Limits.LeaveFree = 0, 0
		w.Limits.Budget = rapid.Int64Range(1, 3000).Draw(t, "budget") * mega
		for range 20 {
			out := Simulate(w)
			if out.Left > 0 {
				t.Fatalf("%d images came to no end", out.Left)
			}
			if len(out.Rejected) == 0 {
				return
			}
			if out.Needs <= w.Limits.Budget {
				t.Fatalf("%d bytes were too few, and %d are asked for", w.Limits.Budget, out.Needs)
			}
			w.Limits.Budget = out.Needs
		}
		t.Fatalf("not even %d bytes are enough", w.Limits.Budget)
	})
}
