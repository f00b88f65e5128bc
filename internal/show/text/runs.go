package text

import (
	"fmt"
	"io"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
)

// Run is a row of the list of runs.
type Run struct {
	ID string `json:"id"`
	// InUse is true while a process writes the run.
	InUse bool `json:"inUse"`
	// Summary is what it came to; nil when its journal cannot be read.
	Summary *summary.Summary `json:"summary"`
}

// state says in a word how the run stands.
func (r Run) state() (style, string) {
	switch {
	case r.InUse:
		return plain, "running"
	case r.Summary == nil:
		return red, "unreadable"
	case r.Summary.Exit == nil || *r.Summary.Exit == 130:
		return amber, "interrupted"
	case *r.Summary.Exit == 0:
		return plain, "done"
	}
	return red, fmt.Sprintf("exit %d", *r.Summary.Exit)
}

// Runs renders a list of runs in the order given: how each stands, how many of
// its images are in place, how long it took, and whose it is. What the width
// has no room for is left out, from the right.
func Runs(w io.Writer, runs []Run, o Options) error {
	g := newPage(o)
	if len(runs) == 0 {
		g.line(plain, "no runs")
		return g.to(w)
	}
	wide := 0
	for _, r := range runs {
		wide = max(wide, width(r.ID))
	}
	wide = min(wide, g.o.Width-14)
	row := func(s style, id, state, images, took, fleet string) {
		line := pad(id, wide) + "  " + pad(state, 11)
		for _, cell := range []string{fmt.Sprintf("  %13s", images), fmt.Sprintf("  %11s", took)} {
			if width(line)+width(cell) > g.o.Width {
				break
			}
			line += cell
		}
		if room := g.o.Width - width(line) - 2; room >= 10 {
			line += "  " + cut(clean(fleet), room)
		}
		g.line(s, line)
	}
	row(bold, "run", "state", "images", "took", "fleet")
	for _, r := range runs {
		mark, state := r.state()
		images, took, fleet := "-", "-", ""
		if s := r.Summary; s != nil {
			images = fmt.Sprintf("%d of %d", s.Built+s.Skipped+s.Retagged, s.Images)
			if s.WallSeconds != nil {
				took = seconds(*s.WallSeconds)
			}
			if fleet = s.Fleet; s.Observed {
				fleet = "observed: " + fleet
			}
			if s.Imported != "" {
				fleet = "imported: " + s.Imported
			}
		}
		row(mark, r.ID, state, images, took, fleet)
	}
	return g.to(w)
}
