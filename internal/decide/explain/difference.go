package explain

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
)

// Difference splits what two runs differ in into parts with names. The parts of
// each figure add up to its whole difference; what no name explains is a part of
// its own.
type Difference struct {
	V     int      `json:"v"`
	Old   string   `json:"old"`
	New   string   `json:"new"`
	Wall  *Split   `json:"wall"`  // seconds
	Disk  *Split   `json:"disk"`  // bytes at the peak
	Moved *Split   `json:"moved"` // bytes pulled and pushed
	Notes []string `json:"notes"`
}

// Split is one figure of both runs. New - Old is the sum of the parts.
type Split struct {
	Old   float64 `json:"old"`
	New   float64 `json:"new"`
	Parts []Part  `json:"parts"`
	// Unexplained is what is left.
	Unexplained float64 `json:"unexplained"`
}

// Part is one cause of a difference.
type Part struct {
	Name   string  `json:"name"`
	Amount float64 `json:"amount"`
	// Detail says from what to what, for people; may be empty.
	Detail Detail `json:"detail,omitzero"`
}

// Detail is what a part is made of: how often something happened, and what it
// took each time.
type Detail struct {
	OldCount int64   `json:"oldCount"`
	NewCount int64   `json:"newCount"`
	OldEach  float64 `json:"oldEach"`
	NewEach  float64 `json:"newEach"`
}

// Compare splits the difference of two runs. A figure that either run did not
// measure is nil.
//
// Wall time is shared out thus: while images were made, several things went on
// at once, so what a step took in all is divided by the number of things that
// went on at once, on average, in the old run; that there were more or fewer at
// once in the new run is a part of its own. What phases took beside the images is
// theirs. So equal runs have no parts, and the parts are no estimate but an
// account: they add up.
func Compare(old, now *summary.Summary) *Difference {
	d := &Difference{V: Version, Old: old.Run, New: now.Run, Notes: unlike(old, now)}
	d.Wall = wall(old, now)
	d.Disk = disk(old, now)
	d.Moved = moved(old, now)
	return d
}

// unlike says why times of the runs should not be compared.
func unlike(old, now *summary.Summary) []string {
	notes := []string{}
	if v, w := old.Versions["buildkit"], now.Versions["buildkit"]; v != w && v != "" && w != "" {
		notes = append(notes, "the daemons had the versions "+v+" and "+w)
	}
	if a, b := old.Limits, now.Limits; a != nil && b != nil && a.Jobs != b.Jobs {
		notes = append(notes, "not the same number of solves at once was allowed")
	}
	if a, b := old.Temperature, now.Temperature; a != nil && b != nil && *a != *b {
		notes = append(notes, "the images were not equally cold")
	}
	if old.Starts != now.Starts {
		notes = append(notes, "the runs were not started equally often")
	}
	if old.Exit == nil || now.Exit == nil {
		notes = append(notes, "a run did not come to its end")
	}
	return notes
}

// item is something that images spent time on.
type item struct {
	name  string
	count int64
	total float64 // seconds
}

// busy lists what images spent time on. Of the parts of images, what waits for a
// solve is no work, and their steps are listed by name.
func busy(s *summary.Summary) map[string]item {
	out := map[string]item{}
	for _, st := range s.Steps {
		if st.Executed > 0 && !st.Kind.Source() {
			add(out, item{st.Name, st.Executed, st.TotalSeconds})
		}
	}
	for _, p := range s.Parts {
		if p.Name != "wait" && p.Name != "steps" {
			add(out, item{"part " + p.Name, p.Count, p.TotalSeconds})
		}
	}
	return out
}

func add(to map[string]item, x item) {
	have := to[x.name]
	to[x.name] = item{x.name, have.count + x.count, have.total + x.total}
}

// sum adds up in one order: sums of the same numbers in another one may differ.
func sum(items map[string]item) (total float64) {
	for _, name := range slices.Sorted(maps.Keys(items)) {
		total += items[name].total
	}
	return total
}

// beside are phases that do not overlap the making of images.
var beside = []string{"prepare", "resolve", "plan"}

func wall(old, now *summary.Summary) *Split {
	if old.WallSeconds == nil || now.WallSeconds == nil {
		return nil
	}
	s := &Split{Old: *old.WallSeconds, New: *now.WallSeconds}
	a, b := busy(old), busy(now)
	imagesOld, imagesNow := old.PhaseSeconds["images"], now.PhaseSeconds["images"]
	atOnce := 1.0 // as many things as went on at once in the old run, at least one
	if imagesOld > 0 {
		atOnce = max(1, sum(a)/imagesOld)
	}
	s.items(a, b, atOnce)
	s.part("waiting, and another number of things at once", (imagesNow-sum(b)/atOnce)-(imagesOld-sum(a)/atOnce), Detail{})
	for _, p := range beside {
		s.part("phase "+p, now.PhaseSeconds[p]-old.PhaseSeconds[p], Detail{})
	}
	s.close()
	return s
}

// items adds a part for each thing that images spent time on.
func (s *Split) items(a, b map[string]item, atOnce float64) {
	for _, n := range either(a, b) {
		x, y := a[n], b[n]
		s.part(n, (y.total-x.total)/atOnce, Detail{OldCount: x.count, NewCount: y.count, OldEach: each(x), NewEach: each(y)})
	}
}

// either lists the keys of two maps in order.
func either[V any](a, b map[string]V) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	return slices.Compact(names)
}

func each(x item) float64 {
	if x.count == 0 {
		return 0
	}
	return x.total / float64(x.count)
}

func (s *Split) part(name string, amount float64, d Detail) {
	if amount != 0 {
		s.Parts = append(s.Parts, Part{name, amount, d})
	}
}

// rounding is how far a sum of floating-point numbers may be off, relative to the
// sizes of what is added, for each addition: four times the machine's precision.
const rounding = 0x1p-50

// close works out what is left, and puts the largest parts first.
func (s *Split) close() {
	s.Unexplained = s.New - s.Old
	size := math.Abs(s.New) + math.Abs(s.Old)
	for _, p := range s.Parts {
		s.Unexplained -= p.Amount
		size += math.Abs(p.Amount)
	}
	if math.Abs(s.Unexplained) <= rounding*float64(len(s.Parts)+2)*size {
		s.Unexplained = 0
	}
	if s.Parts == nil {
		s.Parts = []Part{}
	}
	slices.SortStableFunc(s.Parts, func(a, b Part) int { return cmp.Compare(math.Abs(b.Amount), math.Abs(a.Amount)) })
}

// disk splits the peak by what the daemons' records held at most, by type.
func disk(old, now *summary.Summary) *Split {
	if old.DiskPeakBytes == nil || now.DiskPeakBytes == nil {
		return nil
	}
	s := &Split{Old: float64(*old.DiskPeakBytes), New: float64(*now.DiskPeakBytes)}
	a, b := records(old), records(now)
	for _, t := range either(a, b) {
		s.part("records of type "+t, float64(b[t]-a[t]), Detail{})
	}
	s.close()
	return s
}

func records(s *summary.Summary) map[string]int64 {
	out := map[string]int64{}
	for _, w := range s.Workers {
		for t, r := range w.Records {
			out[t] += r.PeakBytes
		}
	}
	return out
}

// moved splits the bytes on the network: what the daemon pulled by step, and
// what the client sent and fetched.
func moved(old, now *summary.Summary) *Split {
	if old.BytesPulled == nil || now.BytesPulled == nil || old.BytesPushed == nil || now.BytesPushed == nil {
		return nil
	}
	s := &Split{Old: float64(*old.BytesPulled + *old.BytesPushed), New: float64(*now.BytesPulled + *now.BytesPushed)}
	a, b := pulls(old), pulls(now)
	for _, n := range either(a, b) {
		s.part("pulled for "+n, float64(b[n]-a[n]), Detail{})
	}
	s.part("pushed by the client", float64(*now.BytesPushed-*old.BytesPushed), Detail{})
	s.close()
	return s
}

func pulls(s *summary.Summary) map[string]int64 {
	out := map[string]int64{}
	for _, st := range s.Steps {
		if st.PulledBytes > 0 {
			out[st.Name] += st.PulledBytes
		}
	}
	return out
}
