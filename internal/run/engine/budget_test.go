//go:build linux

package engine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// soakImages is how many images the budget tests make when LAPSTRAKE_SOAK asks
// for all of them.
const soakImages = 200

// images is n, or in a soak as many as its environment variable says.
func images(t *testing.T, n int) int {
	t.Helper()
	v := os.Getenv("LAPSTRAKE_SOAK")
	if v == "" {
		return n
	}
	all, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("LAPSTRAKE_SOAK: %v", err)
	}
	return all
}

// eachGrows is a recipe of which every image takes about 65 MB of the daemon:
// a shared payload, a package-like step on each base, and a plain copy.
const eachGrows = `ARG BASE_IMAGE
FROM %s AS builder
RUN head -c 8388608 /dev/zero | tr '\\0' p > /payload
FROM ${BASE_IMAGE}
RUN yes "$(cat /proc/sys/kernel/random/uuid)" | head -c 54525952 > /package
COPY --from=builder /payload /opt/payload
`

// eachLinks is a recipe of images that are appended, with the same payload.
const eachLinks = `ARG BASE_IMAGE
FROM %s AS builder
RUN head -c 8388608 /dev/zero | tr '\\0' p > /payload
FROM ${BASE_IMAGE}
COPY --link --from=builder /payload /opt/payload
`

// small is a world whose daemon lives on a file system of its own.
type small struct {
	*world
	disk string
	// events are those of the last run.
	events []journal.Event
}

func newSmall(t *testing.T, n int, size int64) *small {
	disk := testfleet.Loop(t, size)
	return &small{world: newWorld(t, n), disk: disk}
}

// build runs a build command with an embedded daemon of its own, whose disk is
// sampled all the while; peak is the highest reading.
func (w *small) build(ctx context.Context, f *fleet.Fleet, opts engine.Options) (r result, peak int64) {
	w.t.Helper()
	stop := watchDisk(w.t, w.disk, &peak)
	bin := workertest.Options(w.t)
	r, dir := w.command(ctx, f, opts, func(e *engine.Engine) []*engine.Daemon {
		d := engine.NewDaemon(e, w.disk, engine.DaemonOptions{Buildkitd: bin.Buildkitd, Runc: bin.Runc})
		e.Workers = []engine.Connector{d.Connector()}
		return []*engine.Daemon{d}
	})
	stop()
	w.events = eventsOf(w.t, dir)
	return r, peak
}

// watchDisk reads a file system every 100 ms until stop is called.
func watchDisk(t *testing.T, dir string, peak *int64) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil {
				t.Error(err)
				return
			}
			*peak = max(*peak, int64(st.Blocks-st.Bfree)*int64(st.Bsize))
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// TestBudget: a fleet that would fill the disk many times over is made inside
// its budget, and nothing is made or pulled twice.
func TestBudget(t *testing.T) {
	t.Parallel()
	n := images(t, 14)
	size, budget := int64(1500<<20), int64(1200<<20)
	if n < soakImages {
		size, budget = 900<<20, 640<<20
	}
	w := newSmall(t, n, size)
	dir := w.dockerfile(fmt.Sprintf(eachGrows, testfleet.Builder(w.host)), map[string]string{})
	r, peak := w.build(t.Context(), w.fleet(dir, "grow"), engine.Options{Disk: fleet.Disk{Bytes: budget}})
	if r.err != nil {
		t.Fatalf("%v: %+v", r.err, r.sum.Failures)
	}
	t.Logf("peak %d of %d, wall %.1f s, rework %v, repull %v, released %d in %.1f s", peak>>20, budget>>20, *r.sum.WallSeconds, value(r.sum.Rework), value(r.sum.Repull), *r.sum.ReleasedBytes>>20, *r.sum.ReleaseSeconds)
	if peak > budget {
		t.Errorf("%d bytes were used, %d over the budget", peak, peak-budget)
	}
	if r.sum.Built != n || r.sum.Failed != 0 {
		t.Errorf("%d of %d images built, %d failed", r.sum.Built, n, r.sum.Failed)
	}
	if v := value(r.sum.Rework); v != 1 {
		t.Errorf("rework %v", v)
	}
	if v := value(r.sum.Repull); v > 1.05 {
		t.Errorf("repull %v", v)
	}
	if kept := int64(n) * 60 << 20; *r.sum.ReleasedBytes < kept/2 {
		t.Errorf("only %d bytes were released", *r.sum.ReleasedBytes)
	}
}

// TestBudgetAfar: a daemon whose file system cannot be read is held to what it
// says that it keeps. That is summed up now and then, so one image may start by an
// old sum: the budget is passed by no more than it takes. On the file system, which
// the test can read, that is another one more: the daemon collects what is released a
// moment after it is off its records.
func TestBudgetAfar(t *testing.T) {
	t.Parallel()
	const n, budget, late = 8, 300 << 20, 65 << 20
	w := newSmall(t, n, 900<<20)
	daemon := workertest.New(t, worker.Options{State: filepath.Join(w.disk, "worker")})
	var before, peak int64
	watchDisk(t, w.disk, &before)()
	stop := watchDisk(t, w.disk, &peak)
	dir := w.dockerfile(fmt.Sprintf(eachGrows, testfleet.Builder(w.host)), map[string]string{})
	r, run := w.onMany(t.Context(), w.fleet(dir, "afar"), engine.Options{Disk: fleet.Disk{Bytes: budget}}, daemon.Addr())
	stop()
	if r.err != nil || r.sum.Built != n {
		t.Fatalf("%v: %d built: %s", r.err, r.sum.Built, failures(r.sum))
	}
	said := value64(r.sum.DiskPeakBytes)
	t.Logf("the daemon grew by %d MB, its records took %d MB at most", (peak-before)>>20, said>>20)
	if peak-before > budget+2*late {
		t.Errorf("the daemon grew by %d bytes, %d over its budget", peak-before, peak-before-budget)
	}
	if said == 0 || said > budget+late {
		t.Errorf("its records took %d bytes", said)
	}
	if released := value64(r.sum.ReleasedBytes); released < n*50<<20 {
		t.Errorf("released %d", released)
	}
	readings := 0
	for i, e := range eventsOf(t, run) {
		var d journal.DiskData
		if e.Kind == journal.Disk && e.Decode(&d) == nil {
			if readings++; !d.Records {
				t.Errorf("event %d is a reading of a file system", i)
			}
		}
	}
	if readings < n {
		t.Errorf("%d readings for %d images", readings, n)
	}
}

// TestBudgetTooSmall: no schedule fits, and that is said before much is done.
func TestBudgetTooSmall(t *testing.T) {
	for _, tt := range []struct {
		name, recipe, shared string // bytes of the shared step
		want                 string
	}{
		{"an image", eachGrows, "8388608", "its base and its steps need more"},
		{"the shared steps", eachGrows, "209715200", "the shared steps alone need more"},
		{"the layers of appended images", eachLinks, "209715200", "the shared steps alone need more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newSmall(t, 3, 400<<20)
			recipe := strings.Replace(fmt.Sprintf(tt.recipe, testfleet.Builder(w.host)), "8388608", tt.shared, 1)
			r, peak := w.build(t.Context(), w.fleet(w.dockerfile(recipe, map[string]string{}), "grow"), engine.Options{Disk: fleet.Disk{Bytes: 60 << 20}})
			if diag.KindOf(r.err) != diag.Infeasible {
				t.Fatalf("ended with %v", r.err)
			}
			t.Logf("peak %d MB", peak>>20)
			noRoom(t, r, tt.want)
			// An image of which nothing is known may be done before a reading sees it,
			// and the next one begun before what it left is measured.
			most := 0
			if tt.recipe == eachGrows && tt.shared == "8388608" {
				most = 2
			}
			if r.sum.Built > most || r.sum.Built+r.sum.Failed != 3 {
				t.Errorf("%d built, %d failed", r.sum.Built, r.sum.Failed)
			}
		})
	}
}

// noRoom checks that every failure of a run is for want of disk, and says why and
// which budget would do.
func noRoom(t *testing.T, r result, why string) {
	t.Helper()
	for _, f := range r.sum.Failures {
		t.Logf("%s; %s", f.Cause, f.Help)
		if !strings.Contains(f.Cause, why) || !strings.Contains(f.Help, "give it a budget of at least") {
			t.Errorf("said %s (%s)", f.Cause, f.Help)
		}
	}
}

// TestBudgetKnown: what shared steps took in an earlier run is what they are
// promised in the next one; a budget that they do not fit into is refused before
// anything starts.
func TestBudgetKnown(t *testing.T) {
	t.Parallel()
	const shared = 100 << 20
	w := newSmall(t, 2, 900<<20)
	recipe := strings.Replace(fmt.Sprintf(eachGrows, testfleet.Builder(w.host)), "8388608", strconv.Itoa(shared), 1)
	f := w.fleet(w.dockerfile(recipe, map[string]string{}), "known")
	all := f.Images
	f.Images = all[:1]
	if r, _ := w.build(t.Context(), f, engine.Options{}); r.err != nil {
		t.Fatalf("%v: %s", r.err, failures(r.sum))
	}
	f.Images = all
	r, _ := w.build(t.Context(), f, engine.Options{Disk: fleet.Disk{Bytes: 60 << 20}})
	if diag.KindOf(r.err) != diag.Infeasible || r.sum.Failed != 1 {
		t.Fatalf("ended with %v, %d failed", r.err, r.sum.Failed)
	}
	noRoom(t, r, "the shared steps alone need more")
	told := int64(0)
	for _, e := range w.events {
		switch e.Kind {
		case journal.SharedQueued:
			var d journal.SharedData
			if err := e.Decode(&d); err != nil {
				t.Fatal(err)
			}
			told += d.Bytes
		case journal.SharedStarted, journal.UnitStarted:
			t.Errorf("%s, although there is no room", e.Kind)
		}
	}
	// The payload and, of the base of its step, the layers and their files.
	if t.Logf("%d MB were expected of shared steps", told>>20); told < shared || told > 2*shared {
		t.Errorf("%d bytes were expected of shared steps that make %d", told, shared)
	}
}

func value64(p *int64) int64 {
	if p == nil {
		return -1
	}
	return *p
}

func value(p *float64) float64 {
	if p == nil {
		return -1
	}
	return *p
}
