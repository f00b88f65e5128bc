package text

import (
	"fmt"
	"io"
	"time"
)

// Run is a row of the list of runs.
type Run struct {
	ID    string
	Fleet string
	// Started and Last are the times of its first and last event; zero when it
	// has none.
	Started, Last time.Time
	// Ended is true when the run closed its journal, with Exit.
	Ended bool
	Exit  int
	// InUse is true while a process writes it.
	InUse bool
}

// state says in a word how the run stands.
func (r Run) state() (style, string) {
	switch {
	case r.InUse:
		return plain, "running"
	case !r.Ended || r.Exit == 130:
		return amber, "interrupted"
	case r.Exit == 0:
		return plain, "done"
	}
	return red, fmt.Sprintf("exit %d", r.Exit)
}

// Runs renders a list of runs in the order given. Times are in UTC.
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
	wide = min(wide, g.o.Width-16)
	full := g.o.Width-wide >= 46
	title := fmt.Sprintf("%s  %-11s", pad("run", wide), "state")
	if full {
		title += fmt.Sprintf("  %-16s  %s", "started", "fleet")
	}
	g.line(bold, title)
	for _, r := range runs {
		mark, state := r.state()
		line := fmt.Sprintf("%s  %-11s", pad(r.ID, wide), state)
		if full {
			started := "-"
			if !r.Started.IsZero() {
				started = r.Started.UTC().Format("2006-01-02 15:04")
			}
			line += fmt.Sprintf("  %-16s  ", started)
			line += fit(clean(r.Fleet), max(0, g.o.Width-width(line)))
		}
		g.line(mark, line)
	}
	return g.to(w)
}
