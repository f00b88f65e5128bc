//go:build linux

package engine_test

import (
	"context"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/sched"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
)

// In a pause nothing starts, whether it needs a solve or only requests; the
// journal holds the pause, and the scheduler that replays it keeps to it.
func TestPauseReachesTheScheduler(t *testing.T) {
	bin := workertest.Options(t)
	for _, kind := range []string{"mixed", "linked"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, 3)
			var e *engine.Engine
			readings := 0
			// Read while paused: the daemon has been there, and everything is queued.
			w.see = func(ev journal.Event) {
				if ev.Kind == journal.Disk {
					if readings++; readings == 3 {
						go e.Pause(false)
					}
				}
			}
			r, dir := w.command(t.Context(), w.fleet(w.recipe(kind), "paused"), engine.Options{Jobs: 1}, func(of *engine.Engine) []*engine.Daemon {
				e = of
				d := engine.NewDaemon(e, w.state, engine.DaemonOptions{Buildkitd: bin.Buildkitd, Runc: bin.Runc})
				e.Workers = connectors(func(ctx context.Context) (*engine.Worker, error) {
					e.Pause(true)
					e.Pause(true)
					return d.Connect(ctx)
				})
				return []*engine.Daemon{d}
			})
			if r.err != nil || r.sum.Built != 3 || r.sum.Live.Paused {
				t.Fatalf("built %d, paused %v: %v", r.sum.Built, r.sum.Live.Paused, r.err)
			}
			replay := sched.New()
			paused, pauses, starts, actions := false, 0, 0, 0
			for ev, err := range runlog.Read(dir) {
				if err != nil {
					t.Fatal(err)
				}
				switch ev.Kind {
				case journal.Paused:
					paused = true
				case journal.Unpaused:
					paused = false
					pauses++
				case journal.UnitStarted, journal.SharedStarted:
					if starts++; paused {
						t.Errorf("event %d: %s %s%s in a pause", ev.Seq, ev.Kind, ev.Unit, ev.Step)
					}
				}
				for _, a := range replay.Step(ev) {
					if a.Do == sched.Start || a.Do == sched.Share {
						if actions++; paused {
							t.Errorf("event %d, replayed: %+v in a pause", ev.Seq, a)
						}
					}
				}
			}
			if pauses != 1 || starts < 4 || actions == 0 {
				t.Errorf("%d pauses, %d starts, %d of them by the scheduler", pauses, starts, actions)
			}
		})
	}
}
