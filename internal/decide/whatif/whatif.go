// Package whatif answers what a plan would take with other budgets of disk and
// other numbers of jobs: it runs the plan's images through the scheduler of
// real runs, in a simulated world, and finds the smallest budget that does.
//
// It is pure: the same input gives the same curve. Sizes are bytes.
package whatif

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/sched"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

const (
	// wholeFleet is the number of images up to which all are simulated. Of more,
	// that many are: runs of relatives, so that bases are shared as in the whole.
	wholeFleet = 1000
	// blocks is how many such runs there are, demanding how many of the images
	// that need the most room are among them in any case.
	blocks    = 20
	demanding = 20
	// disk is the size of the simulated file system: it is never what is short.
	disk = int64(1) << 60
	// release is the time that a release of dead records takes.
	release = 2 * time.Second
)

// Input is a fleet to simulate. [Load] makes it of a plan.
type Input struct {
	// Tasks are the images that need a solve, and Shared the shared steps that
	// they wait for, and the layer sets of those that are appended.
	Tasks  []sched.Task
	Shared []sched.Shared
	// Factor is what a base layer takes per compressed byte.
	Factor float64
	// Workers is their number; each has the budget for itself.
	Workers int
	// Cores is what a worker really does at once.
	Cores int
	// Jobs is the number of solves at once when none is asked for.
	Jobs int
	// Basis says what the figures of Tasks and Shared rest on.
	Basis Basis
}

// Curve is the answer.
type Curve struct {
	// Images is the number of images that need a solve, of which Simulated were
	// simulated; what the others add was extrapolated. LayerSets is that of the
	// layer sets that are made for others.
	Images    int `json:"images"`
	Simulated int `json:"simulated"`
	LayerSets int `json:"layerSets,omitempty"`
	Workers   int `json:"workers"`
	// Smallest is the smallest budget of a worker in bytes with which every image
	// can be made, to about a hundredth; Worst is the image that needs the most.
	Smallest int64  `json:"smallestBytes"`
	Worst    string `json:"worst,omitempty"`
	// Cells are by disk, then by jobs, both ascending.
	Cells []Cell `json:"cells"`
	Basis Basis  `json:"basis"`
}

// Cell is one simulated run.
type Cell struct {
	Disk int64 `json:"diskBytes"`
	Jobs int   `json:"jobs"`
	// Fits is false when some images cannot be made; the rest is then zero.
	Fits bool `json:"fits"`
	// Wall is in seconds. Peak is the most that a daemon holds, and Pulled are
	// compressed bytes of base layers, each pull counted.
	Wall   float64 `json:"wallSeconds,omitempty"`
	Peak   int64   `json:"peakBytes,omitempty"`
	Pulled int64   `json:"pulledBytes,omitempty"`
}

// Make simulates every combination that the query asks for. Without disks it
// takes the smallest budget and its doubles.
func Make(in Input, q Query) Curve {
	in = in.with(q)
	c := Curve{Images: len(in.Tasks), Workers: max(in.Workers, 1), Basis: in.Basis, Cells: []Cell{}}
	for _, sh := range in.Shared {
		if sh.Early {
			c.LayerSets++
		}
	}
	if len(in.Tasks)+len(in.Shared) == 0 {
		return c
	}
	slices.SortStableFunc(in.Tasks, func(a, b sched.Task) int { return strings.Compare(chain(a), chain(b)) })
	part := in
	part.Tasks = sample(in)
	c.Simulated = len(part.Tasks)
	jobs, disks := q.Jobs, q.Disks
	if len(jobs) == 0 {
		jobs = []int{max(in.Jobs, 1)}
	}
	c.Smallest = part.smallest(jobs[0])
	c.Worst = worst(in).Name
	if len(disks) == 0 {
		for i := range points {
			disks = append(disks, c.Smallest<<i)
		}
	}
	for _, d := range disks {
		for _, j := range jobs {
			c.Cells = append(c.Cells, in.cell(part, d, j))
		}
	}
	return c
}

// with puts what the query says of every image in the place of estimates.
func (in Input) with(q Query) Input {
	in.Tasks = slices.Clone(in.Tasks)
	for i := range in.Tasks {
		t := &in.Tasks[i]
		if q.Own > 0 {
			t.Own, t.Expect = q.Own, true
		}
		if q.Took > 0 {
			t.Took = q.Took
		}
	}
	if q.Own > 0 {
		in.Basis.Own = From{Given: len(in.Tasks), Value: q.Own}
	}
	if q.Took > 0 {
		in.Basis.Took = From{Given: len(in.Tasks), Value: int64(q.Took)}
	}
	return in
}

// cell simulates a part of the fleet and scales what grows with the number of
// images.
func (in Input) cell(part Input, budget int64, jobs int) Cell {
	c := Cell{Disk: budget, Jobs: jobs}
	out, steady := part.run(budget, jobs)
	if !part.made(out, budget) {
		return c
	}
	if !steady && len(part.Tasks) < len(in.Tasks) {
		// The part has left before the disk filled: its peak is not that of the
		// whole, and without releases in between the whole is quick.
		part = in
		out, _ = in.run(budget, jobs)
	}
	scale := float64(len(in.Tasks)) / float64(max(len(part.Tasks), 1))
	var before time.Duration
	for _, s := range in.Shared {
		before = max(before, s.Took)
	}
	before = min(before, out.Wall)
	c.Fits = true
	c.Wall = math.Round(1000*(before.Seconds()+scale*(out.Wall-before).Seconds())) / 1000
	c.Peak = out.Peak
	c.Pulled = int64(scale * float64(out.Pulled))
	return c
}

// run simulates. steady tells that dead records were released before the end.
func (in Input) run(budget int64, jobs int) (out sched.Outcome, steady bool) {
	published := 0
	out = sched.Simulate(sched.World{
		Limits: journal.SchedulingData{Jobs: jobs, Workers: max(in.Workers, 1), Budget: budget},
		Tasks:  in.Tasks, Shared: in.Shared, Disk: disk, Factor: in.Factor, Release: release, Cores: in.Cores,
		Watch: func(e journal.Event, acts []sched.Action, _ map[string]int64) {
			if e.Kind == journal.UnitPublished {
				published++
			}
			steady = steady || published < len(in.Tasks) && slices.ContainsFunc(acts, func(a sched.Action) bool { return a.Do == sched.Release })
		},
	})
	return out, steady
}

// fits tells whether every image can be made.
func (in Input) fits(budget int64, jobs int) bool {
	out, _ := in.run(budget, jobs)
	return in.made(out, budget)
}

// made tells whether a simulated run made every image within its budget. An image
// of which the scheduler is told nothing starts alone in whatever room there is,
// and may take more.
func (in Input) made(out sched.Outcome, budget int64) bool {
	return out.Published == len(in.Tasks) && len(out.Rejected) == 0 && out.Peak <= budget
}

// smallest finds the smallest budget that fits by halving, between what cannot
// do and what can.
func (in Input) smallest(jobs int) int64 {
	low := int64(1) << 20
	high := in.need(worst(in))
	for !in.fits(high, jobs) && high < disk/4 {
		low, high = high, 2*high
	}
	for high-low > high/100 {
		if mid := low + (high-low)/2; in.fits(mid, jobs) {
			high = mid
		} else {
			low = mid
		}
	}
	// Where little is known of images, a little more may lead to an order of them in
	// which one takes more than was thought.
	s := roundUp(high)
	for !in.fits(s, jobs) && s < disk/4 {
		s = roundUp(s + s/100)
	}
	return s
}

// need is about what an image takes with everything that it rests on.
func (in Input) need(t sched.Task) int64 {
	n := t.Own
	for _, l := range t.Layers {
		n += int64(in.Factor * float64(l.Bytes))
	}
	for _, s := range in.Shared {
		n += s.Bytes
	}
	return max(n, 1<<21)
}

// worst is the image that needs the most; the zero Task when none needs a solve.
func worst(in Input) sched.Task {
	if len(in.Tasks) == 0 {
		return sched.Task{}
	}
	return slices.MaxFunc(in.Tasks, func(a, b sched.Task) int {
		return cmp.Compare(in.need(a), in.need(b))
	})
}

// roundUp rounds to a size that reads well and is not less.
func roundUp(n int64) int64 {
	unit := int64(1) << 20
	for n > 1024*unit {
		unit *= 1024
	}
	unit = max(unit/128, 1<<20)
	return (n + unit - 1) / unit * unit
}

// sample picks the images of a large fleet that are simulated, in the order of
// the tasks, which is that of their bases.
func sample(in Input) []sched.Task {
	n := len(in.Tasks)
	if n <= wholeFleet {
		return in.Tasks
	}
	picked := make([]bool, n)
	for _, i := range mostDemanding(in) {
		picked[i] = true
	}
	size := (wholeFleet - demanding) / blocks
	for b := range blocks {
		start := b * (n - size) / (blocks - 1)
		for i := start; i < start+size; i++ {
			picked[i] = true
		}
	}
	var out []sched.Task
	for i, t := range in.Tasks {
		if picked[i] {
			out = append(out, t)
		}
	}
	return out
}

// mostDemanding are the indices of the images that need the most room.
func mostDemanding(in Input) []int {
	all := make([]int, len(in.Tasks))
	need := make([]int64, len(in.Tasks))
	for i, t := range in.Tasks {
		all[i], need[i] = i, in.need(t)
	}
	slices.SortStableFunc(all, func(a, b int) int { return cmp.Compare(need[b], need[a]) })
	return all[:demanding]
}

// chain is a task's base as a key that sorts relatives together.
func chain(t sched.Task) string {
	var b strings.Builder
	for _, l := range t.Layers {
		b.WriteString(string(l.Digest))
		b.WriteByte(' ')
	}
	return b.String()
}
