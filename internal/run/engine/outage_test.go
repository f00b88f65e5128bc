//go:build linux

package engine_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// daemonOf is the process id of the buildkitd that works below dir, 0 when none.
func daemonOf(dir string) int {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	parents := map[int]int{}
	for _, p := range procs {
		command, err := os.ReadFile(p)
		args := bytes.Split(command, []byte{0})
		if err != nil || filepath.Base(string(args[0])) != "buildkitd" || !bytes.Contains(command, []byte(dir+"/")) {
			continue
		}
		stat, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "stat"))
		if f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]); len(f) > 1 {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			parents[pid], _ = strconv.Atoi(string(f[1]))
		}
	}
	for pid, parent := range parents {
		// A child that is about to become a runc looks like its parent.
		if _, child := parents[parent]; !child {
			return pid
		}
	}
	return 0
}

// atEvents calls do with 0, 1, … when a run has written every further n events
// of a kind, beside the run and one at a time; at most times often.
func atEvents(kind journal.Kind, n, times int, do func(i int)) (see func(journal.Event), wait func()) {
	calls := make(chan int, times)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range calls {
			do(i)
		}
	})
	count := 0
	see = func(e journal.Event) {
		if e.Kind != kind {
			return
		}
		if count++; count%n == 0 && count/n <= times {
			calls <- count/n - 1
		}
	}
	return see, func() { close(calls); wg.Wait() }
}

// TestDaemonKilled: the embedded daemon is killed again and again while images
// are made. Every image is right at the end, no process and no mount is left,
// and only what was in flight is made again.
func TestDaemonKilled(t *testing.T) {
	t.Parallel()
	n, kills := images(t, 12), 3
	if n > 12 {
		kills = 10
	}
	const jobs = 3
	w := newSmall(t, n, 900<<20)
	dir := w.dockerfile(fmt.Sprintf(eachGrows, testfleet.Builder(w.host)), map[string]string{})
	f := w.fleet(dir, "killed")
	see, wait := atEvents(journal.UnitPublished, n/(kills+1), kills, func(int) {
		if pid := daemonOf(w.disk); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	w.see = see
	r, peak := w.build(t.Context(), f, engine.Options{Jobs: jobs, Disk: fleet.Disk{Bytes: 640 << 20}})
	wait()
	if r.err != nil || r.sum.Built != n {
		t.Fatalf("%v: %d of %d built: %s", r.err, r.sum.Built, n, failures(r.sum))
	}
	lost := 0
	for _, e := range w.events {
		if e.Kind == journal.WorkerLost {
			lost++
		}
	}
	t.Logf("lost %d times, peak %d MB, rework %v", lost, peak>>20, value(r.sum.Rework))
	if lost != kills {
		t.Errorf("the worker was lost %d times, not %d", lost, kills)
	}
	w.onlyInFlight(r, kills*jobs)
	w.right(f, r)
	awaitNothing(t, w.disk)
}

// TestDaemonHangs: the embedded daemon is stopped in the midst of a release and
// answers nothing any more. The release ends by its deadline; the daemon is given
// up and begun anew.
func TestDaemonHangs(t *testing.T) {
	t.Parallel()
	w := newSmall(t, 6, 600<<20)
	dir := w.dockerfile(fmt.Sprintf(eachOnItsBase, testfleet.Builder(w.host)), map[string]string{})
	f := w.fleet(dir, "hangs")
	var once sync.Once
	w.see = func(e journal.Event) {
		if e.Kind == journal.Releasing { // which is written before the daemon is asked
			once.Do(func() { _ = syscall.Kill(daemonOf(w.disk), syscall.SIGSTOP) })
		}
	}
	r, _ := w.build(t.Context(), f, engine.Options{Jobs: 2, Deadlines: fleet.Deadlines{Release: 3 * time.Second}})
	if r.err != nil || r.sum.Built != 6 {
		t.Fatalf("%v: %d built: %s", r.err, r.sum.Built, failures(r.sum))
	}
	isLost := func(e journal.Event) bool { return e.Kind == journal.WorkerLost }
	if !slices.ContainsFunc(w.events, isLost) {
		t.Error("nobody noticed that the daemon hung")
	}
	first := slices.IndexFunc(w.events, func(e journal.Event) bool { return e.Kind == journal.Released || isLost(e) })
	var release journal.ReleaseData
	if e := w.events[first]; isLost(e) || e.Decode(&release) != nil || !release.TimedOut {
		t.Errorf("no deadline ended the release: %+v, %+v", e, release)
	}
	t.Logf("the release ended after %s", release.Took)
	awaitNothing(t, w.disk)
}

// TestDiskUnmounted: the file system of the embedded daemon is taken away while
// images are made. The daemon works on what nobody can see any more, so it is
// given up, and the rest is made in the folder that is there now.
func TestDiskUnmounted(t *testing.T) {
	t.Parallel()
	const n = 8
	w := newSmall(t, n, 600<<20)
	below, top := w.disk, testfleet.Loop(t, 600<<20)
	// What is there afterwards is a file system too that nobody else writes to.
	if err := unix.Mount(top, below, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	// Steps take their time, so that there is something left to make when it is noticed.
	dir := w.dockerfile(strings.Replace(fmt.Sprintf(eachOnItsBase, testfleet.Builder(w.host)), "echo on", "sleep 1; echo on", 1), map[string]string{})
	f := w.fleet(dir, "unmounted")
	see, wait := atEvents(journal.UnitPublished, 2, 1, func(int) {
		if err := unix.Unmount(w.disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w.see = see
	r, _ := w.build(t.Context(), f, engine.Options{Jobs: 1, Disk: fleet.Disk{Bytes: 500 << 20}})
	wait()
	if r.err != nil || r.sum.Built != n {
		t.Fatalf("%v: %d built: %s", r.err, r.sum.Built, failures(r.sum))
	}
	var lost journal.FailData
	i := slices.IndexFunc(w.events, func(e journal.Event) bool { return e.Kind == journal.WorkerLost })
	if i < 0 || w.events[i].Decode(&lost) != nil || !strings.Contains(lost.Cause, "not there any more") {
		t.Errorf("the worker was not given up for its folder: %+v", lost)
	}
	w.right(f, r)
	awaitNothing(t, w.disk)
}

// TestDeadlines: what takes too long is cancelled in the daemon too, and said.
func TestDeadlines(t *testing.T) {
	tests := []struct {
		name string
		with fleet.Deadlines
		kind diag.Kind
		want string
	}{
		{"image", fleet.Deadlines{Image: 2 * time.Second}, diag.Step, "the image took too long: more than 2s"},
		{"step", fleet.Deadlines{Step: 2 * time.Second}, diag.Step, "a step took too long: [2/2] RUN : step; sleep 1000: more than 2s"},
		{"run", fleet.Deadlines{Run: 4 * time.Second}, diag.Interrupted, "the time limit of 4s is reached"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			// A step of its own: the daemon runs equal ones once for all.
			dir := w.dockerfile("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN : "+tt.name+"; sleep 1000\n", map[string]string{})
			r := w.build(t.Context(), w.fleet(dir, "late"), engine.Options{Deadlines: tt.with})
			if diag.KindOf(r.err) != tt.kind {
				t.Errorf("ended with %v, which is not of kind %s", r.err, tt.kind)
			}
			said := fmt.Sprint(r.err)
			for _, f := range r.sum.Failures {
				said += "\n" + f.Cause
			}
			if !strings.Contains(said, tt.want) {
				t.Errorf("said %q, not %q", said, tt.want)
			}
		})
	}
}

// fillDisk takes every free byte of a file system; the result gives them back.
func fillDisk(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "foreign")
	f, err := os.Create(path)
	if err != nil {
		t.Error(err)
		return func() {}
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for len(chunk) > 0 {
		if _, err := f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2] // to the last byte
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// TestDiskFull: another program fills the disk to its last byte while images are
// made, again and again, and lets go of it after a while.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	n, times := images(t, 12), 3
	const jobs = 3
	w := newSmall(t, n, 900<<20)
	dir := w.dockerfile(fmt.Sprintf(eachGrows, testfleet.Builder(w.host)), map[string]string{})
	f := w.fleet(dir, "full")
	lowest := int64(1 << 40)
	var fillings []filling
	see, wait := atEvents(journal.UnitPublished, n/(times+1), times, func(int) {
		from := time.Now()
		free := fillDisk(t, w.disk)
		var st unix.Statfs_t
		if err := unix.Statfs(w.disk, &st); err == nil {
			lowest = min(lowest, int64(st.Bavail)*int64(st.Bsize))
		}
		time.Sleep(4 * time.Second)
		free()
		fillings = append(fillings, filling{from, time.Now()})
	})
	w.see = see
	r, _ := w.build(t.Context(), f, engine.Options{Jobs: jobs})
	wait()
	if r.err != nil || r.sum.Built != n {
		t.Fatalf("%v: %d of %d built: %s", r.err, r.sum.Built, n, failures(r.sum))
	}
	t.Logf("%d bytes were free at the lowest, wall %.1f s, rework %v", lowest, *r.sum.WallSeconds, value(r.sum.Rework))
	if lowest != 0 {
		t.Errorf("%d bytes were free when the disk was full", lowest)
	}
	w.onlyDuring(r, fillings)
	w.right(f, r)
	awaitNothing(t, w.disk)
}

// filling is a time in which the disk was being filled, or full.
type filling struct{ from, to time.Time }

// onlyDuring checks that every attempt that failed was in flight during a filling,
// no image more than once in each, and that nothing else was made twice.
func (w *small) onlyDuring(r result, fillings []filling) {
	w.t.Helper()
	began := map[string]time.Time{}
	again := map[string]int{}
	for _, e := range w.events {
		switch e.Kind {
		case journal.UnitStarted:
			began[e.Unit] = e.Wall
		case journal.UnitRetried:
			again[e.Unit]++
			var d journal.FailData
			if err := e.Decode(&d); err != nil {
				w.t.Fatal(err)
			}
			w.t.Logf("%s was tried from %s to %s: %s", e.Unit, began[e.Unit].Format(clock), e.Wall.Format(clock), d.Reason)
			if !slices.ContainsFunc(fillings, func(f filling) bool { return began[e.Unit].Before(f.to) && e.Wall.After(f.from) }) {
				w.t.Errorf("%s failed while there was room: %s: %s", e.Unit, d.Reason, d.Cause)
			}
		}
	}
	for _, f := range fillings {
		w.t.Logf("the disk was full from %s to %s", f.from.Format(clock), f.to.Format(clock))
	}
	for unit, n := range again {
		if n > len(fillings) {
			w.t.Errorf("%s was started again %d times, the disk was full %d times", unit, n, len(fillings))
		}
	}
	if v := value(r.sum.Rework); v != 1 {
		w.t.Errorf("rework %v", v)
	}
}

// clock is a time of the day for logs.
const clock = "15:04:05.000"

// onlyInFlight checks that images were started again no more often than most, which
// is what ran when something happened to the daemon, and nothing else was made twice.
// What was in flight on a daemon that was killed may leave a folder in the way of
// another image, which is tried again once.
func (w *small) onlyInFlight(r result, most int) {
	w.t.Helper()
	again, inTheWay := 0, 0
	for _, u := range r.units {
		again += max(0, u.Attempts-1)
	}
	w.t.Logf("images were started again %d times, retried %v", again, r.sum.RetriesByCause)
	for _, e := range w.events {
		var d journal.FailData
		if e.Kind == journal.UnitRetried && e.Decode(&d) == nil && d.Reason == journal.RetryPassing {
			w.t.Logf("%s in passing: %s", e.Unit, d.Cause)
			if strings.Contains(d.Cause, "file exists") {
				inTheWay++
			}
		}
	}
	if again-min(inTheWay, most) > most {
		w.t.Errorf("images were started again %d times, %d were in flight", again, most)
	}
	if v := value(r.sum.Rework); v != 1 {
		w.t.Errorf("rework %v", v)
	}
}

// right checks that every tag has the content that the run says.
func (w *small) right(f *fleet.Fleet, r result) {
	w.t.Helper()
	for _, im := range f.Images {
		if got := w.digestOf(im.Tags[0]); got != string(r.units[im.ID].Digest) {
			w.t.Errorf("%s is %s, not %s", im.Tags[0], got, r.units[im.ID].Digest)
		}
	}
}
