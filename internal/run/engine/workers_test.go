//go:build linux

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// onMany runs a build command with n daemons of its own.
func (w *world) onMany(ctx context.Context, f *fleet.Fleet, opts engine.Options, addrs ...string) (result, string) {
	w.t.Helper()
	e, err := engine.Open(ctx, engine.Setup{Fleet: f, State: w.state, Options: opts, UserAgent: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	run, err := engine.StartRecord(engine.RecordOptions{State: w.state, Fleet: f})
	if err != nil {
		w.t.Fatal(err)
	}
	var r result
	var daemons []*engine.Daemon
	e.Run = run
	for _, a := range addrs {
		d := engine.NewDaemon(e, w.state, engine.DaemonOptions{Address: a})
		daemons = append(daemons, d)
		e.Workers = append(e.Workers, d.Connector())
	}
	r.plan, r.err = e.Build(ctx, nil)
	for _, d := range daemons {
		r.err = errors.Join(r.err, d.Close())
	}
	run.Finish(r.err)
	run.Summary(func(s *summary.Summary) error { r.sum, r.units = *s, s.Units; return nil })
	return r, run.Dir()
}

// eachOnItsBase is a recipe with a shared step of which it can be told whether
// it ran twice, and a step on each base.
const eachOnItsBase = `ARG BASE_IMAGE
FROM %s AS builder
RUN cat /proc/sys/kernel/random/uuid > /payload
FROM ${BASE_IMAGE}
RUN echo on > /on-base
COPY --from=builder /payload /opt/payload
`

// TestWorkers: the images of a fleet are spread over daemons, and a shared step
// runs on one of them only.
func TestWorkers(t *testing.T) {
	w := newWorld(t, 12)
	a, b := workertest.New(t, worker.Options{}), workertest.New(t, worker.Options{})
	dir := w.dockerfile(fmt.Sprintf(eachOnItsBase, testfleet.Builder(w.host)), map[string]string{})
	r, run := w.onMany(t.Context(), w.fleet(dir, "many"), engine.Options{}, a.Addr(), b.Addr())
	if r.err != nil || r.sum.Built != 12 {
		t.Fatalf("%v: %d built, %+v", r.err, r.sum.Built, r.sum.Failures)
	}
	on := map[string]int{}
	shared := 0
	for _, ev := range eventsOf(t, run) {
		switch ev.Kind {
		case journal.UnitStarted:
			on[ev.Worker]++
		case journal.StepDone:
			var d journal.StepData
			if ev.Decode(&d) == nil && d.Shared && !d.Cached && d.Kind == "exec" {
				shared++
			}
		}
	}
	if shared != 1 {
		t.Errorf("the shared step ran %d times", shared)
	}
	if len(on) != 2 {
		t.Errorf("images were started on %v", on)
	}
}
