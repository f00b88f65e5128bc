//go:build linux

package engine_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// onMany runs a build command on the daemons at addrs.
func (w *world) onMany(ctx context.Context, f *fleet.Fleet, opts engine.Options, addrs ...string) (result, string) {
	w.t.Helper()
	return w.command(ctx, f, opts, func(e *engine.Engine) (out []*engine.Daemon) {
		for _, a := range addrs {
			d := engine.NewDaemon(e, w.state, engine.DaemonOptions{Address: a})
			e.Workers = append(e.Workers, d.Connector())
			out = append(out, d)
		}
		return out
	})
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
	t.Parallel()
	w := newWorld(t, 12)
	a, b := workertest.New(t, worker.Options{}), workertest.New(t, worker.Options{})
	dir := w.dockerfile(fmt.Sprintf(eachOnItsBase, testfleet.Builder(w.host)), map[string]string{})
	r, run := w.onMany(t.Context(), w.fleet(dir, "many"), engine.Options{}, a.Addr(), b.Addr())
	if r.err != nil || r.sum.Built != 12 {
		t.Fatalf("%v: %d built, %+v", r.err, r.sum.Built, r.sum.Failures)
	}
	on := map[string]int{}
	for _, ev := range eventsOf(t, run) {
		if ev.Kind == journal.UnitStarted {
			on[ev.Worker]++
		}
	}
	if n := sharedRuns(t, run); n != 1 {
		t.Errorf("the shared step ran %d times", n)
	}
	if len(on) != 2 {
		t.Errorf("images were started on %v", on)
	}
}

// TestWorkersAfar: of three daemons on networks of their own one is killed and
// one is cut off for a while. Every image is made, shared steps once, and only
// what was in flight on a lost worker again.
func TestWorkersAfar(t *testing.T) {
	t.Parallel()
	n, cut := images(t, 18), 20*time.Second
	if n > 18 {
		cut = time.Minute
	}
	subnet := testfleet.NewSubnet(t)
	w := newWorld(t, n)
	host := subnet.Expose(w.host)
	bin := workertest.Options(t)
	var daemons []*testfleet.NetDaemon
	var addrs []string
	for range 3 {
		d := subnet.Daemon(bin.Buildkitd, bin.Runc, host)
		daemons, addrs = append(daemons, d), append(addrs, d.Addr)
	}
	dir := w.dockerfile(strings.Replace(fmt.Sprintf(eachOnItsBase, testfleet.Builder(host)), "echo on", "sleep 1; echo on", 1), map[string]string{})
	f := w.fleet(dir, "afar")
	f.Registries = []fleet.Registry{{Host: host, HTTP: true}}
	for i := range f.Images {
		f.Images[i].Base = strings.Replace(f.Images[i].Base, w.host, host, 1)
		f.Images[i].Tags[0] = strings.Replace(f.Images[i].Tags[0], w.host, host, 1)
	}
	see, wait := atEvents(journal.UnitPublished, 3, 2, func(i int) {
		if i == 0 {
			daemons[1].Kill()
			return
		}
		daemons[2].Cut(true)
		time.Sleep(cut)
		daemons[2].Cut(false)
	})
	w.see = see
	r, run := w.onMany(t.Context(), f, engine.Options{Jobs: 2}, addrs...)
	wait()
	if r.err != nil || r.sum.Built != n {
		t.Fatalf("%v: %d of %d built: %s", r.err, r.sum.Built, n, failures(r.sum))
	}
	started, lost := map[string]int{}, map[string]int{}
	for _, ev := range eventsOf(t, run) {
		switch ev.Kind {
		case journal.UnitStarted:
			started[ev.Unit]++
		case journal.WorkerLost:
			lost[ev.Worker]++
		}
	}
	again := 0
	for _, k := range started {
		again += k - 1
	}
	t.Logf("lost %v, %d images started again", lost, again)
	if n := sharedRuns(t, run); n != 1 {
		t.Errorf("the shared step ran %d times", n)
	}
	if lost[addrs[1]] == 0 || lost[addrs[2]] == 0 {
		t.Errorf("workers lost: %v", lost)
	}
	if again > 4 {
		t.Errorf("%d images were started again, more than were in flight", again)
	}
}

// TestCache: a fresh daemon that has nothing but a registry fetches what shared
// steps made, and does not run them. Nothing is looked for that no run writes,
// such as a folder that a step on the base copies.
func TestCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	dir := w.dockerfile(fmt.Sprintf(eachOnItsBase, testfleet.Builder(w.host))+"COPY conf /opt/conf\n", map[string]string{"conf/a": "a"})
	opts := engine.Options{Cache: w.host + "/cache"}
	for i, repo := range []string{"first", "second"} {
		r, run := w.onMany(t.Context(), w.fleet(dir, repo), opts, workertest.New(t, worker.Options{}).Addr())
		if r.err != nil || r.sum.Built != 3 {
			t.Fatalf("%s: %v: %d built: %s", repo, r.err, r.sum.Built, failures(r.sum))
		}
		if got, want := sharedRuns(t, run), 1-i; got != want {
			t.Errorf("%s: the shared step ran %d times, not %d", repo, got, want)
		}
	}
	written, asked := map[string]bool{}, map[string]bool{}
	for _, r := range w.proxy.Records() {
		if tag, ok := strings.CutPrefix(r.Path, "/v2/cache/manifests/cache-"); ok && r.Method == http.MethodPut {
			written[tag] = true
		} else if ok {
			asked[tag] = true
		}
	}
	if d := cmp.Diff(written, asked); d != "" || len(written) != 1 {
		t.Errorf("written and asked for are not one and the same: %s", d)
	}
}

// sharedRuns counts the executions of shared steps in a run.
func sharedRuns(t *testing.T, run string) (n int) {
	for _, ev := range eventsOf(t, run) {
		var d journal.StepData
		if ev.Kind == journal.StepDone && ev.Decode(&d) == nil && d.Shared && !d.Cached && d.Kind == graph.KindExec {
			n++
		}
	}
	return n
}
