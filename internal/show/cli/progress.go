package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// A line of progress comes when something began or ended, but not more often
// than progressPause; when only figures moved, after progressIdle.
const (
	progressPause = 2 * time.Second
	progressIdle  = 10 * time.Second
)

// progress prints what a run does while it changes, until the returned function
// is called.
func (a *app) progress(run *engine.Record) (stop func()) {
	if a.json {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressPause)
		defer tick.Stop()
		var last, lastFigures string
		quiet := time.Duration(0)
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			var line, figures string
			run.Summary(func(s *summary.Summary) error { line, figures = progressLine(s); return nil })
			quiet += progressPause
			if line == "" || line == last && (figures == lastFigures || quiet < progressIdle) {
				continue
			}
			fmt.Fprintln(a.Err, line+figures)
			last, lastFigures, quiet = line, figures, 0
		}
	}()
	return func() { close(done); <-ended }
}

// progressLine is how far a run is: what began and ended, and the figures that
// move all the time. Both are empty until the plan is known.
func progressLine(s *summary.Summary) (line, figures string) {
	if s.Images == 0 {
		return "", ""
	}
	var parts []string
	if shared := sharedProgress(s.Live); shared != "" {
		parts = append(parts, shared)
	}
	parts = append(parts, imageProgress(s))
	if d := s.Live.Disk; d != nil {
		figures += "; disk " + text.Bytes(d.Used)
		if d.Budget > 0 {
			figures += " of " + text.Bytes(d.Budget)
		}
	}
	if s.Live.Releasing > 0 {
		figures += ", releasing"
	}
	if n := len(s.Forecasts); n > 0 && s.Pending > 0 {
		f := s.Forecasts[n-1].WallSeconds
		figures += fmt.Sprintf("; forecast %s [%s-%s]", brief(f.Value), brief(f.Low), brief(f.High))
	}
	return strings.Join(parts, "; "), figures
}

// sharedProgress says which shared steps are missing; "" when none is.
func sharedProgress(l summary.Live) string {
	if l.SharedReady >= l.Shared {
		return ""
	}
	out := fmt.Sprintf("shared: %d of %d steps ready", l.SharedReady, l.Shared)
	if n := len(l.Sharing); n > 0 {
		out += ", running " + text.Cut(l.Sharing[0], 40)
		if n > 1 {
			out += fmt.Sprintf(" and %d more", n-1)
		}
	}
	return out
}

func imageProgress(s *summary.Summary) string {
	out := fmt.Sprintf("images %s of %s", text.Count(int64(s.Built+s.Retagged+s.Skipped)), text.Count(int64(s.Images)))
	add := func(n int, what string) {
		if n > 0 {
			out += fmt.Sprintf(", %s %s", text.Count(int64(n)), what)
		}
	}
	add(s.Failed, "failed")
	add(s.Live.Running, "running")
	if n := waitForRoom(s); n > 0 {
		add(n, "waiting for room")
	} else {
		add(s.Live.Waiting, "waiting")
	}
	return out
}

// waitForRoom is the number of images that could run but for the disk: solves
// that stay idle though images wait, and one more like those that run does not
// fit into the budget. The schedule itself knows better what it set aside; 0
// also when that cannot be told from the journal.
func waitForRoom(s *summary.Summary) int {
	l, d := s.Live, s.Live.Disk
	if s.Limits == nil || s.Limits.Workers > 1 || d == nil || d.Budget == 0 || l.Running == 0 || l.Promised == 0 {
		return 0
	}
	if d.Used+l.Promised+l.Promised/int64(l.Running) <= d.Budget {
		return 0
	}
	return max(0, min(l.Waiting, s.Limits.Jobs-l.Running))
}

// brief renders seconds in few columns: "42s", "12m", "2h05m".
func brief(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch m := int64(d.Round(time.Minute) / time.Minute); {
	case d < 100*time.Second:
		return fmt.Sprintf("%ds", int64(d.Round(time.Second)/time.Second))
	case m < 100:
		return fmt.Sprintf("%dm", m)
	default:
		return fmt.Sprintf("%dh%02dm", m/60, m%60)
	}
}
