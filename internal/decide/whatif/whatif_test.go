package whatif_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/sched"
	"github.com/lapstrake/lapstrake/internal/decide/whatif"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

const mega = 1 << 20

// swe is a fleet of the usual shape: one system layer, a layer for each twenty
// images, and one of their own.
func swe(n int) whatif.Input {
	in := whatif.Input{Factor: 4, Workers: 1, Cores: 4, Jobs: 2, Shared: []sched.Shared{{Step: "s", Bytes: 300 * mega, Took: time.Minute}}}
	for i := range n {
		in.Tasks = append(in.Tasks, sched.Task{
			Name: fmt.Sprintf("image-%05d", i), Needs: []graph.Digest{"s"}, Own: 100 * mega, Took: 20 * time.Second, Expect: true,
			Layers: []journal.LayerData{
				{Digest: "system", Bytes: 80 * mega}, {Digest: graph.Digest(fmt.Sprint("env-", i/20)), Bytes: 60 * mega},
				{Digest: graph.Digest(fmt.Sprint("own-", i)), Bytes: 10 * mega},
			},
		})
	}
	return in
}

func TestCurve(t *testing.T) {
	in := swe(40)
	c := whatif.Make(in, whatif.Query{Disks: []int64{500 * mega, 2048 * mega, 1 << 40}, Jobs: []int{1, 4}})
	if c.Images != 40 || c.Simulated != 40 || len(c.Cells) != 6 {
		t.Fatalf("%+v", c)
	}
	// Shared steps, one base, one image, and what the ledger keeps back.
	if least := int64(300+4*150+100) * mega; c.Smallest < least || c.Smallest > least*125/100 {
		t.Errorf("the smallest budget is %d MB, of %d needed", c.Smallest/mega, least/mega)
	}
	for _, cell := range c.Cells {
		if fits := cell.Disk >= c.Smallest; cell.Fits != fits || cell.Fits != (cell.Wall > 0) || cell.Peak > cell.Disk {
			t.Errorf("%+v with a smallest budget of %d", cell, c.Smallest)
		}
	}
	one, four := c.Cells[4], c.Cells[5]
	if one.Disk != four.Disk || four.Wall >= one.Wall/2 || one.Wall < 60+40*20 {
		t.Errorf("with room for all 1 job takes %v s, 4 take %v s", one.Wall, four.Wall)
	}
	if each := int64(80+2*60+40*10) * mega; one.Pulled != each {
		t.Errorf("pulled %d, the layers are %d", one.Pulled, each)
	}
}

func TestDefaults(t *testing.T) {
	c := whatif.Make(swe(10), whatif.Query{})
	var disks []int64
	for _, cell := range c.Cells {
		disks = append(disks, cell.Disk)
		if cell.Jobs != 2 || !cell.Fits {
			t.Errorf("%+v", cell)
		}
	}
	s := c.Smallest
	if d := cmp.Diff([]int64{s, 2 * s, 4 * s, 8 * s, 16 * s}, disks); d != "" {
		t.Error(d)
	}
	if c := whatif.Make(whatif.Input{}, whatif.Query{}); c.Images != 0 || len(c.Cells) != 0 || c.Smallest != 0 {
		t.Errorf("nothing to make: %+v", c)
	}
}

// TestGiven holds that what the query says of images counts, and is said.
func TestGiven(t *testing.T) {
	in := swe(10)
	plain := whatif.Make(in, whatif.Query{Disks: []int64{1 << 40}, Jobs: []int{1}})
	given := whatif.Make(in, whatif.Query{Disks: []int64{1 << 40}, Jobs: []int{1}, Own: 2000 * mega, Took: time.Minute})
	if given.Smallest < plain.Smallest+1900*mega || given.Cells[0].Wall < 2*plain.Cells[0].Wall {
		t.Errorf("as is %+v, given %+v", plain, given)
	}
	if d := cmp.Diff(whatif.From{Given: 10, Value: 2000 * mega}, given.Basis.Own); d != "" {
		t.Error(d)
	}
	if in.Tasks[0].Own != 100*mega {
		t.Error("the input was changed")
	}
}

// TestLargeFleet compares what a part of a fleet says with the whole.
func TestLargeFleet(t *testing.T) {
	in := swe(3000)
	in.Tasks[1234].Own = 3000 * mega // the one that decides
	c := whatif.Make(in, whatif.Query{Disks: []int64{6 << 30, 40 << 30}, Jobs: []int{2}})
	if c.Simulated >= 1100 || c.Simulated < 900 || c.Worst != "image-01234" || c.Smallest < 3900*mega {
		t.Errorf("simulated %d of %d; %s needs %d", c.Simulated, c.Images, c.Worst, c.Smallest)
	}
	for _, cell := range c.Cells {
		whole := sched.Simulate(sched.World{
			Limits: journal.SchedulingData{Jobs: cell.Jobs, Workers: 1, Budget: cell.Disk}, Tasks: in.Tasks, Shared: in.Shared,
			Disk: 1 << 60, Factor: in.Factor, Release: 2 * time.Second, Cores: in.Cores,
		})
		if r := cell.Wall / whole.Wall.Seconds(); r < 0.93 || r > 1.07 {
			t.Errorf("budget %d: wall is %v s, of the whole %v", cell.Disk, cell.Wall, whole.Wall)
		}
		if r := float64(cell.Peak) / float64(whole.Peak); r < 0.85 || r > 1.15 {
			t.Errorf("budget %d: peak is %d, of the whole %d", cell.Disk, cell.Peak, whole.Peak)
		}
	}
}

// TestSmallestProperty holds for any fleet that the smallest budget does, that
// nothing does which the largest image alone exceeds, and that the order of the
// images does not matter.
func TestSmallestProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := whatif.Input{Factor: rapid.Float64Range(1, 5).Draw(t, "factor"), Workers: rapid.IntRange(1, 3).Draw(t, "workers"), Cores: 2}
		if rapid.Bool().Draw(t, "shared") {
			in.Shared = []sched.Shared{{Step: "s", Bytes: rapid.Int64Range(0, 500).Draw(t, "bytes") * mega, Took: time.Second}}
		}
		var least int64
		for i := range rapid.IntRange(1, 9).Draw(t, "images") {
			task := sched.Task{Name: fmt.Sprint(i), Own: rapid.Int64Range(1, 800).Draw(t, "own") * mega, Took: time.Second, Expect: rapid.Bool().Draw(t, "expect")}
			need := task.Own
			for _, family := range []int{12, 4, 1} {
				// Layers of one digest are of one size.
				size := int64(1+(i/family)*7%50) * mega
				task.Layers = append(task.Layers, journal.LayerData{Digest: graph.Digest(fmt.Sprint(family, "-", i/family)), Bytes: size})
				need += int64(in.Factor * float64(size))
			}
			if in.Shared != nil {
				task.Needs = []graph.Digest{"s"}
			}
			in.Tasks = append(in.Tasks, task)
			least = max(least, need)
		}
		s := whatif.Make(in, whatif.Query{Disks: []int64{1 << 50}, Jobs: []int{1}}).Smallest
		c := whatif.Make(in, whatif.Query{Disks: []int64{least * 99 / 100, s, 1 << 50}, Jobs: []int{1}})
		for i, cell := range c.Cells {
			if cell.Fits != (i > 0) || cell.Peak > cell.Disk {
				t.Fatalf("smallest %d, the largest image takes %d: %+v", s, least, cell)
			}
		}
		slices.Reverse(in.Tasks)
		if again := whatif.Make(in, whatif.Query{Disks: []int64{1 << 50}, Jobs: []int{1}}); again.Smallest != s {
			t.Fatalf("the smallest budget is %d, and with the images in another order %d", s, again.Smallest)
		}
	})
}

func BenchmarkMake(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		in := swe(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				c := whatif.Make(in, whatif.Query{Disks: []int64{2 << 30, 5 << 30, 12 << 30, 60 << 30, 200 << 30}, Jobs: []int{1, 2, 3, 5, 8}})
				if len(c.Cells) != 25 {
					b.Fatal(c)
				}
			}
		})
	}
}
