package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/show/live"
	"github.com/lapstrake/lapstrake/internal/show/screen"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// The ways to show progress.
const (
	progressAuto  = "auto"
	progressTTY   = "tty"
	progressPlain = "plain"
	progressJSON  = "json"
	progressQuiet = "quiet"
)

// A line of progress comes when something began or ended, but not more often
// than progressPause; when only figures moved, after progressIdle.
const (
	progressPause = 2 * time.Second
	progressIdle  = 10 * time.Second
)

// logTail is how much of an image's output the live view can scroll through.
const logTail = 256 << 10

// progressMode decides how a run is shown: on a terminal by the live view, unless
// something else was asked for.
func (a *app) progressMode(asked string) (string, error) {
	out, terminal := terminalOf(a.Err)
	switch asked {
	case progressAuto:
		switch {
		case a.json:
			return progressQuiet, nil
		case terminal && os.Getenv("TERM") != "dumb" && !inActions():
			return progressTTY, nil
		}
		return progressPlain, nil
	case progressTTY:
		if out == nil || !terminal {
			return "", diag.Errorf(diag.Usage, "leave the flag out, and lines are printed instead", "--progress=tty: the standard error is not a terminal")
		}
		return asked, nil
	case progressPlain, progressJSON, progressQuiet:
		return asked, nil
	}
	return "", diag.Errorf(diag.Usage, "give auto, tty, plain, json or quiet", "--progress=%s: there is no such way to show progress", asked)
}

// terminalOf is the file behind a stream, and whether it is a terminal.
func terminalOf(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// inActions tells whether GitHub Actions reads the output.
func inActions() bool { return os.Getenv("GITHUB_ACTIONS") == "true" }

// watched is a run that somebody watches.
type watched struct {
	// stop ends the watching; what is printed after it comes below.
	stop func()
	// plan shows the plan when it is known.
	plan func(show func(io.Writer) error) error
}

// watch shows what a run does until it is stopped. The returned context ends when
// ctx does, or when a person stops the run.
func (a *app) watch(ctx context.Context, mode string, eng *engine.Engine) (context.Context, watched) {
	w := watched{stop: func() {}, plan: func(show func(io.Writer) error) error { return show(a.Err) }}
	switch mode {
	case progressTTY:
		return a.live(ctx, eng)
	case progressJSON:
		w.stop = a.events(eng.Run)
		w.plan = func(func(io.Writer) error) error { return nil }
	case progressQuiet:
		w.plan = func(func(io.Writer) error) error { return nil }
	case progressPlain:
		if inActions() {
			return ctx, a.grouped(eng.Run)
		}
		w.stop = a.progress(eng.Run)
	}
	return ctx, w
}

// events prints the journal as it is written.
func (a *app) events(run *engine.Record) (stop func()) {
	to := json.NewEncoder(a.Err)
	// Who reads no more gets no more; the run goes on.
	return run.Watch(func(e journal.Event) { _ = to.Encode(e) })
}

// grouped is plain progress that a page of GitHub Actions can fold away.
func (a *app) grouped(run *engine.Record) watched {
	group := func(name string) { fmt.Fprintln(a.Err, "::group::"+name) }
	endGroup := func() { fmt.Fprintln(a.Err, "::endgroup::") }
	lines := func() {} // ends the group that is open
	return watched{
		plan: func(show func(io.Writer) error) error {
			group("plan")
			err := show(a.Err)
			endGroup()
			group("progress")
			stop := a.progress(run)
			lines = func() { stop(); endGroup() }
			return err
		},
		stop: func() { lines() },
	}
}

// live shows a run on the terminal. The plan is printed when the terminal is given
// back, as the lines above the summary.
func (a *app) live(ctx context.Context, eng *engine.Engine) (context.Context, watched) {
	ctx, cancel := context.WithCancelCause(ctx)
	out, _ := terminalOf(a.Err)
	in, keys := terminalOf(a.In)
	if !keys {
		in = nil
	}
	s := screen.Open(in, out, liveView(eng, func() { cancel(errors.New("interrupted from the keyboard")) }))
	var plan strings.Builder
	return ctx, watched{
		plan: func(show func(io.Writer) error) error { return show(&plan) },
		stop: func() {
			if err := s.Close(); err != nil {
				fmt.Fprintln(a.Err, "warning: "+err.Error())
			}
			fmt.Fprint(a.Err, plan.String())
			cancel(nil)
		},
	}
}

// liveView is what the screen shows of a run, and does to it.
func liveView(eng *engine.Engine, stop func()) screen.View {
	run := eng.Run
	return screen.View{
		Color: os.Getenv("NO_COLOR") == "",
		Stop:  stop,
		Pause: func() {
			paused := false
			run.Summary(func(s *summary.Summary) error { paused = s.Live.Paused; return nil })
			eng.Pause(!paused)
		},
		Frame: func(o live.Options) (out string) {
			run.Summary(func(s *summary.Summary) error {
				if s.Last != nil {
					o.Idle = max(time.Since(*s.Last), 0)
				}
				out = live.Frame(s, o)
				return nil
			})
			return out
		},
		Log: func(image string, back int, o live.Options) (out string, from int) {
			output, err := run.LogTail(image, logTail)
			if err != nil {
				output = []byte(err.Error())
			}
			run.Summary(func(s *summary.Summary) error { out, from = live.Log(s, image, output, back, o); return nil })
			return out, from
		},
		Choices: func() (out []string) {
			run.Summary(func(s *summary.Summary) error { out = live.Choices(s); return nil })
			return out
		},
	}
}

// progress prints what a run does while it changes, until the returned function
// is called.
func (a *app) progress(run *engine.Record) (stop func()) {
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
