package text

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/whatif"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// curve is an answer for some budgets and numbers of jobs.
func curve(disks []int64, jobs []int, fits func(disk int64, jobs int) bool) whatif.Curve {
	c := whatif.Curve{Images: 12345, Simulated: 1020, Workers: 1, Smallest: 5 << 30, Worst: "sympy__sympy-22456", Cells: []whatif.Cell{}}
	for _, d := range disks {
		for _, j := range jobs {
			x := whatif.Cell{Disk: d, Jobs: j, Fits: fits(d, j)}
			if x.Fits {
				x.Wall, x.Peak = 200000/float64(j), d/2
			}
			c.Cells = append(c.Cells, x)
		}
	}
	return c
}

func curves() map[string]whatif.Curve {
	five := curve([]int64{4 << 30, 20 << 30, 200 << 30}, []int{1, 2, 3, 5, 8}, func(d int64, _ int) bool { return d > 5<<30 })
	five.Basis = whatif.Basis{
		Own: whatif.From{Runs: 345, Guessed: 12000, Value: 300 << 20, Mean: true}, Took: whatif.From{Runs: 345, Guessed: 12000, Value: int64(42 * time.Second), Mean: true},
		Shared: whatif.From{Guessed: 3, Value: 30 << 20, Mean: true}, SharedTook: whatif.From{Runs: 2, Guessed: 1, Value: int64(30 * time.Second)}, Factor: 2.57, Measured: true, Cores: 8,
	}
	guess := curve([]int64{20 << 30}, []int{2}, func(int64, int) bool { return true })
	guess.Images, guess.Simulated, guess.Workers = 1, 1, 3
	guess.Basis = whatif.Basis{
		Own: whatif.From{Guessed: 1, Value: 256 << 20}, Took: whatif.From{Guessed: 1, Value: int64(30 * time.Second)},
		Shared: whatif.From{Guessed: 1, Value: 128 << 20}, SharedTook: whatif.From{Guessed: 1, Value: int64(30 * time.Second)}, Factor: 4, Cores: 1,
	}
	given := curve([]int64{20 << 30}, []int{2}, func(int64, int) bool { return true })
	given.Basis = whatif.Basis{Own: whatif.From{Given: 12345, Value: 1 << 30}, Took: whatif.From{Runs: 12345}, Factor: 4, Cores: 2}
	sets := curve([]int64{1 << 30}, []int{2}, func(int64, int) bool { return true })
	sets.Images, sets.Simulated, sets.LayerSets, sets.Worst = 0, 0, 2, ""
	sets.Basis = whatif.Basis{Shared: whatif.From{Runs: 2}, SharedTook: whatif.From{Runs: 2}, Factor: 4, Cores: 2}
	return map[string]whatif.Curve{"five": five, "guess": guess, "given": given, "sets": sets, "nothing": {}}
}

func TestWhatIfGolden(t *testing.T) {
	for name, c := range curves() {
		for _, cols := range []int{80, 120} {
			t.Run(fmt.Sprintf("%s-%d", name, cols), func(t *testing.T) {
				var b bytes.Buffer
				if err := WhatIf(&b, c, Options{Width: cols}); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join("testdata", fmt.Sprintf("whatif-%s-%d.txt", name, cols))
				golden.Text(t, path, string(b.Bytes()))
			})
		}
	}
}

// TestWhatIfFits holds that no page is too wide and every cell is shown.
func TestWhatIfFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disks := rapid.SliceOfNDistinct(rapid.Int64Range(1<<20, 1<<60), 1, 5, rapid.ID).Draw(t, "disks")
		jobs := rapid.SliceOfNDistinct(rapid.IntRange(1, 1000), 1, 5, rapid.ID).Draw(t, "jobs")
		cols := rapid.IntRange(40, 140).Draw(t, "width")
		c := curve(disks, jobs, func(int64, int) bool { return false })
		c.Worst = rapid.String().Draw(t, "worst")
		var b bytes.Buffer
		if err := WhatIf(&b, c, Options{Width: cols}); err != nil {
			t.Fatal(err)
		}
		if s := fault(b.String(), cols); s != "" {
			t.Fatal(s)
		}
		if n := bytes.Count(b.Bytes(), []byte("does not fit")); n != 2*len(disks)*len(jobs) {
			t.Fatalf("%d cells of %d are shown:\n%s", n, 2*len(disks)*len(jobs), b.String())
		}
	})
}
