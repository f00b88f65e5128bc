package text

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/whatif"
)

// WhatIf renders what a plan would take with each budget and number of jobs, the
// smallest budget that does, and what all of that rests on.
func WhatIf(w io.Writer, c whatif.Curve, o Options) error {
	g := newPage(o)
	if c.Images+c.LayerSets == 0 {
		g.line(plain, "no image needs a solve: nothing to schedule")
		return g.to(w)
	}
	per := ""
	if c.Workers > 1 {
		per = fmt.Sprintf(", %d workers", c.Workers)
	}
	what := counted(int64(c.Images), "image") + " to build"
	if c.LayerSets > 0 {
		what += ", " + counted(int64(c.LayerSets), "layer set") + " to append"
	}
	g.line(bold, what+per)
	g.blank()
	grid(g, c, "wall time", func(x whatif.Cell) string { return seconds(x.Wall) })
	peak := "peak of the disk"
	if c.Workers > 1 {
		peak = "highest peak of a worker's disk"
	}
	grid(g, c, peak, func(x whatif.Cell) string { return Bytes(x.Peak) })
	each := ""
	if c.Workers > 1 {
		each = " of each worker"
	}
	smallest := Bytes(c.Smallest)
	if c.Worst != "" {
		smallest += ", for " + c.Worst
	}
	g.para(plain, "smallest budget"+each+"  ", smallest)
	g.blank()
	basis(g, c)
	return g.to(w)
}

const (
	gridHead = 10 // columns of a budget
	gridCell = 14 // columns of a value
)

// grid is a table with a line for each budget and a column for each number of
// jobs, as many at once as fit into the width.
func grid(g *page, c whatif.Curve, title string, value func(whatif.Cell) string) {
	var jobs []int
	for _, x := range c.Cells {
		if !slices.Contains(jobs, x.Jobs) {
			jobs = append(jobs, x.Jobs)
		}
	}
	for part := range slices.Chunk(jobs, (g.o.Width-gridHead)/gridCell) {
		g.line(bold, title)
		head := strings.Repeat(" ", gridHead)
		for _, j := range part {
			head += left(counted(int64(j), "job"))
		}
		g.line(dim, head)
		for row := range slices.Chunk(c.Cells, len(jobs)) {
			line := pad(Bytes(row[0].Disk), gridHead)
			for _, x := range row {
				switch {
				case !slices.Contains(part, x.Jobs):
				case !x.Fits:
					line += left("does not fit")
				default:
					line += left(value(x))
				}
			}
			g.line(plain, line)
		}
		g.blank()
	}
}

// left is a value in its column, to the right of it.
func left(s string) string {
	return strings.Repeat(" ", max(gridCell-width(s), 0)) + s
}

// basis says what the figures rest on.
func basis(g *page, c whatif.Curve) {
	b := c.Basis
	g.line(bold, "what this rests on")
	if c.Images > 0 {
		g.para(plain, "  image, disk   ", from(b.Own, " beside its base", Bytes))
		g.para(plain, "  image, time   ", from(b.Took, "", nanoseconds))
	}
	if s := b.Shared; s.Runs+s.Guessed > 0 {
		size := from(s, "", Bytes)
		if s.Runs == 0 && s.Mean {
			size = "what a daemon went on holding in earlier runs"
		}
		g.para(plain, "  shared, disk  ", size)
		g.para(plain, "  shared, time  ", from(b.SharedTook, "", nanoseconds))
	}
	factor := fmt.Sprintf("%.1f bytes on the disk per compressed byte", b.Factor)
	if b.Measured {
		g.para(plain, "  base layers   ", factor+", as in earlier runs")
	} else {
		g.para(plain, "  base layers   ", "a guess: "+factor)
	}
	g.para(plain, "  cores         ", fmt.Sprintf("up to %s at once, each goes as fast as alone", counted(int64(b.Cores), "image")))
	if c.Simulated < c.Images {
		g.para(plain, "  scale         ", fmt.Sprintf("%s of %s images were simulated, the others extrapolated", Count(int64(c.Simulated)), Count(int64(c.Images))))
	}
	if guessed(b.Own) || guessed(b.Took) {
		g.blank()
		g.para(plain, "", "A build of some images (--limit) puts knowledge in the place of guesses, own=SIZE and took=TIME in --what-if put something else there.")
	}
}

func guessed(f whatif.From) bool { return f.Guessed > 0 && !f.Mean }

func nanoseconds(n int64) string { return Duration(time.Duration(n)) }

// from says where a figure comes from.
func from(f whatif.From, what string, show func(int64) string) string {
	each := show(f.Value) + what + " each"
	known, more := Count(int64(f.Runs))+" as in earlier runs", Count(int64(f.Guessed))+" more"
	switch {
	case f.Given > 0:
		return each + ", as given"
	case f.Guessed == 0:
		return "as in earlier runs"
	case f.Runs == 0 && f.Mean:
		return each + ", as others in earlier runs"
	case f.Runs == 0:
		return "a guess, as no earlier run tells: " + each
	case f.Mean:
		return known + "; " + more + " like those: " + each
	}
	return known + "; for " + more + " a guess: " + each
}
