package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

func TestMain(m *testing.M) {
	if state := os.Getenv("LAPSTRAKE_TEST_OWNER"); state != "" {
		os.Exit(own(state))
	}
	os.Exit(m.Run())
}

// traces lists what a daemon on state has on this machine outside of the state
// folder: processes, mounts, control groups and sockets.
func traces(state string) []string {
	var out []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if pid := filepath.Base(d); pid != fmt.Sprint(os.Getpid()) {
			if data, _ := os.ReadFile(d + "/cmdline"); bytes.Contains(data, []byte(filepath.Join(state, "root"))) {
				out = append(out, "process "+pid)
			}
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " "+state+"/") {
			out = append(out, "mount "+line)
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/lapstrake-*")
	more, _ := filepath.Glob("/sys/fs/cgroup/*/lapstrake-*")
	for _, g := range append(groups, more...) {
		if strings.HasSuffix(g, worker.GroupName(state)) {
			out = append(out, "group "+g)
		}
	}
	sockets, _ := filepath.Glob("/run/lapstrake/*")
	for _, s := range sockets {
		if strings.HasSuffix(worker.GroupName(state), filepath.Base(s)) {
			out = append(out, "folder "+s)
		}
	}
	if _, err := os.Stat(filepath.Join(state, "run")); err == nil {
		out = append(out, "folder "+filepath.Join(state, "run"))
	}
	return out
}

// solving starts a solve whose one step runs a line of shell in a file system
// of busybox alone, and returns the solve's error. dir is a folder of its own.
func solving(ctx context.Context, addr, dir, line string) (<-chan error, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "busybox"), data, 0o755); err != nil {
		return nil, err
	}
	st := llb.Scratch().File(llb.Copy(llb.Local("context", llb.IncludePatterns([]string{"busybox"})), "/busybox", "/bin/sh", &llb.CopyInfo{CreateDestPath: true})).
		Run(llb.Args([]string{"/bin/sh", "-c", line})).Root()
	def, err := st.Marshal(ctx, llb.LinuxAmd64)
	if err != nil {
		return nil, err
	}
	bytes, err := def.ToPB().Marshal()
	if err != nil {
		return nil, err
	}
	c, err := buildkit.Dial(ctx, addr, buildkit.Options{})
	if err != nil {
		return nil, err
	}
	s, err := c.Session(ctx, buildkit.SessionOptions{Locals: map[string]buildkit.Local{"context": {Dir: dir}}})
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		defer c.Close()
		defer s.Close()
		_, err := s.Solve(ctx, plan.Job{Definition: bytes}, func(journal.StepRecord) {})
		done <- err
	}()
	return done, nil
}

// sleeper starts a solve whose step sleeps for the unique number of seconds arg.
func sleeper(ctx context.Context, addr, dir, arg string) (<-chan error, error) {
	return solving(ctx, addr, dir, "sleep "+arg+" & sleep "+arg)
}

// made makes a layer of that many bytes.
func made(t *testing.T, addr string, size int) error {
	t.Helper()
	done, err := solving(t.Context(), addr, t.TempDir(), fmt.Sprintf("head -c %d /dev/zero > /layer # %s", size, t.TempDir()))
	if err != nil {
		return err
	}
	return <-done
}

func sleeping(t *testing.T, d *worker.Daemon, arg string) <-chan error {
	t.Helper()
	done, err := sleeper(t.Context(), d.Addr(), t.TempDir(), arg)
	if err != nil {
		t.Fatal(err)
	}
	testfleet.Await(t, "the step runs", func() bool { return len(testfleet.Processes(arg)) >= 2 })
	return done
}

func start(t *testing.T, state string) *worker.Daemon {
	t.Helper()
	return workertest.New(t, worker.Options{State: state})
}

func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	d := start(t, state)
	if len(traces(state)) == 0 {
		t.Fatal("a running daemon has no traces: the test is blind")
	}
	arg := fmt.Sprintf("97%d.1", os.Getpid())
	done := sleeping(t, d, arg)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := d.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := <-done; !errors.Is(err, buildkit.ErrLost) {
		t.Errorf("the solve ended with %v", err)
	}
	<-d.Died()
	if err := d.Err(); err != nil {
		t.Errorf("a daemon that was stopped has the error %v", err)
	}
	if left := traces(state); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if left := testfleet.Processes(arg); len(left) > 0 {
		t.Errorf("the step's processes %v run on", left)
	}
	again := start(t, state)
	if again.PID() == d.PID() {
		t.Error("nothing was started")
	}
}

func TestStopOfAHungDaemon(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	d := start(t, state)
	arg := fmt.Sprintf("97%d.2", os.Getpid())
	sleeping(t, d, arg)
	if err := syscall.Kill(d.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := d.Alive(t.Context()); diag.KindOf(err) != diag.Infra || !strings.Contains(err.Error(), "is silent") {
		t.Errorf("alive: kind %v of %v", diag.KindOf(err), err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := d.Alive(short); diag.KindOf(err) != diag.Interrupted {
		t.Errorf("alive: kind %v of %v", diag.KindOf(err), err)
	}
	if err := d.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if err := d.Alive(t.Context()); diag.KindOf(err) != diag.Infra || !strings.Contains(err.Error(), "it was stopped") {
		t.Errorf("alive: kind %v of %v", diag.KindOf(err), err)
	}
	if left := append(traces(state), testfleet.Processes(arg)...); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestKilledDaemonTakesItsStepsAlong(t *testing.T) {
	state := t.TempDir()
	d := start(t, state)
	arg := fmt.Sprintf("97%d.3", os.Getpid())
	done := sleeping(t, d, arg)
	if err := syscall.Kill(d.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-d.Died()
	if left := testfleet.Processes(arg); len(left) > 0 {
		t.Errorf("the step's processes %v run on", left)
	}
	if err := d.Err(); diag.KindOf(err) != diag.Infra || !strings.Contains(fmt.Sprint(err), "killed") || !strings.Contains(diag.HelpOf(err), d.Log()) {
		t.Errorf("error %v, help %q", err, diag.HelpOf(err))
	}
	<-done
	if err := d.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if left := traces(state); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	// The state is intact: the same daemon answers again.
	c, err := buildkit.Dial(t.Context(), start(t, state).Addr(), buildkit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if recs, err := c.Records(t.Context()); err != nil || len(recs) == 0 {
		t.Errorf("%d records, %v", len(recs), err)
	}
}

func TestOneDaemonPerFolder(t *testing.T) {
	state := t.TempDir()
	d := start(t, state)
	opt := workertest.Options(t)
	opt.State = filepath.Join(t.TempDir(), "link") // the same folder by another name
	if err := os.Symlink(state, opt.State); err != nil {
		t.Fatal(err)
	}
	_, err := worker.Start(t.Context(), opt)
	who := fmt.Sprintf("in use by pid %d (%s)", os.Getpid(), filepath.Base(os.Args[0]))
	if diag.KindOf(err) != diag.Infra || !strings.Contains(fmt.Sprint(err), who) || strings.Contains(diag.HelpOf(err), d.Addr()) {
		t.Errorf("error %v, want %q; help %q", err, who, diag.HelpOf(err))
	}
	h, ok, err := worker.Held(opt.State)
	if want := (worker.Holder{PID: os.Getpid(), Command: filepath.Base(os.Args[0]), Address: d.Addr()}); h != want || !ok || err != nil {
		t.Errorf("held by %+v, %v, %v; want %+v", h, ok, err, want)
	}
	if err := d.Err(); err != nil {
		t.Errorf("the first daemon suffered: %v", err)
	}
	c, err := buildkit.Dial(t.Context(), d.Addr(), buildkit.Options{})
	if err != nil {
		t.Fatalf("the first daemon suffered: %v", err)
	}
	c.Close()
}

// A daemon that others may use is named by its address to those who would start
// one of their own.
func TestSharedDaemon(t *testing.T) {
	opt := workertest.Options(t)
	opt.State, opt.Shared = t.TempDir(), true
	if h, ok, err := worker.Held(opt.State); h != (worker.Holder{}) || ok || err != nil {
		t.Errorf("before: held by %+v, %v, %v", h, ok, err)
	}
	d := workertest.New(t, opt)
	if _, err := worker.Start(t.Context(), opt); !strings.Contains(diag.HelpOf(err), "--worker "+d.Addr()) {
		t.Errorf("%v: help %q", err, diag.HelpOf(err))
	}
	if h, ok, err := worker.Held(opt.State); !h.Shared || !ok || err != nil {
		t.Errorf("held by %+v, %v, %v", h, ok, err)
	}
	if err := d.Alive(t.Context()); err != nil {
		t.Error(err)
	}
	if err := d.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if h, ok, err := worker.Held(opt.State); h != (worker.Holder{}) || ok || err != nil {
		t.Errorf("after: held by %+v, %v, %v", h, ok, err)
	}
	for name, state := range map[string]string{"no folder": "/nowhere", "no state": ""} {
		if h, ok, err := worker.Held(state); h != (worker.Holder{}) || ok || err != nil {
			t.Errorf("%s: held by %+v, %v, %v", name, h, ok, err)
		}
	}
}

// own is the program that is killed in the tests below: it starts a daemon and
// a step, says so and waits.
func own(state string) int {
	opt := worker.Options{State: state, Buildkitd: os.Getenv("LAPSTRAKE_TEST_BUILDKITD"), Runc: os.Getenv("LAPSTRAKE_TEST_RUNC")}
	d, err := worker.Start(context.Background(), opt)
	if err == nil {
		_, err = sleeper(context.Background(), d.Addr(), filepath.Dir(state), os.Getenv("LAPSTRAKE_TEST_ARG"))
	}
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("pid", d.PID())
	select {}
}

// owner starts own and waits for its step. It returns the daemon's pid.
func owner(t *testing.T, state, arg string) (*exec.Cmd, int) {
	t.Helper()
	opt := workertest.Options(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LAPSTRAKE_TEST_OWNER="+state, "LAPSTRAKE_TEST_ARG="+arg,
		"LAPSTRAKE_TEST_BUILDKITD="+opt.Buildkitd, "LAPSTRAKE_TEST_RUNC="+opt.Runc)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var pid int
	if _, err := fmt.Fscanf(out, "pid %d\n", &pid); err != nil {
		t.Fatalf("the program did not start a daemon: %v", err)
	}
	testfleet.Await(t, "the step runs", func() bool { return len(testfleet.Processes(arg)) >= 2 })
	return cmd, pid
}

// Ten deaths in a row, each with solves running: nothing is left, and the next
// daemon on the folder has what the one before had.
func TestKilledTenTimes(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	opt := workertest.Options(t)
	opt.State = state
	var known []string
	for round := range 10 {
		d, err := worker.Start(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Stop(context.Background()) })
		c, err := buildkit.Dial(t.Context(), d.Addr(), buildkit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		has := unused(t, c, false)
		for _, id := range known {
			if !slices.Contains(has, id) {
				t.Errorf("round %d: record %s is gone", round, id)
			}
		}
		known = has
		c.Close()
		arg := fmt.Sprintf("97%d.1%d", os.Getpid(), round)
		solves := make([]<-chan error, 3)
		for i := range solves {
			if solves[i], err = solving(t.Context(), d.Addr(), t.TempDir(), fmt.Sprintf("sleep %s # %d", arg, i)); err != nil {
				t.Fatal(err)
			}
		}
		testfleet.Await(t, "the steps run", func() bool { return len(testfleet.Processes(arg)) == len(solves) })
		if err := syscall.Kill(d.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-d.Died()
		if left := testfleet.Processes(arg); len(left) > 0 {
			t.Errorf("round %d: the steps' processes %v run on", round, left)
		}
		if err := d.Alive(t.Context()); diag.KindOf(err) != diag.Infra || !strings.Contains(err.Error(), "killed") {
			t.Errorf("round %d: alive: %v", round, err)
		}
		for _, done := range solves {
			if err := <-done; !errors.Is(err, buildkit.ErrLost) {
				t.Errorf("round %d: a solve ended with %v", round, err)
			}
		}
		if err := d.Stop(context.Background()); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if left := traces(state); len(left) > 0 {
			t.Errorf("round %d: left: %q", round, left)
		}
	}
	if len(known) == 0 {
		t.Error("no daemon had records: the test is blind")
	}
}

func TestKilledProgramTakesItsDaemonAlong(t *testing.T) {
	state := filepath.Join(t.TempDir(), "s")
	arg := fmt.Sprintf("97%d.4", os.Getpid())
	cmd, pid := owner(t, state, arg)
	cmd.Process.Kill()
	cmd.Wait()
	// Nobody but the kernel does this.
	testfleet.Await(t, "the daemon and its step end", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid)) // a zombie has none
		return len(testfleet.Processes(arg)) == 0 && err != nil
	})
	d := start(t, state)
	if err := d.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if left := traces(state); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// A daemon that nobody owns, in the namespaces of the machine, is the worst that
// can be found in the folder: it, its step's processes and its mounts must go.
func TestStartClearsWhatWasLeft(t *testing.T) {
	for i, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed=%v", killed), func(t *testing.T) {
			opt := workertest.Options(t)
			state := t.TempDir()
			root, socket := filepath.Join(state, "root"), filepath.Join(state, "old.sock")
			old := exec.Command(opt.Buildkitd, "--config", "/dev/null", "--root", root, "--addr", "unix://"+socket,
				"--otel-socket-path", filepath.Join(state, "otel.sock"), "--oci-worker=true", "--containerd-worker=false",
				"--oci-worker-binary", opt.Runc, "--oci-worker-net", "host")
			if err := old.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- old.Wait() }()
			t.Cleanup(func() { old.Process.Kill() })
			testfleet.Await(t, "the old daemon answers", func() bool {
				c, err := buildkit.Dial(t.Context(), "unix://"+socket, buildkit.Options{})
				if err == nil {
					c.Close()
				}
				return err == nil
			})
			arg := fmt.Sprintf("97%d.5%d", os.Getpid(), i)
			if _, err := sleeper(t.Context(), "unix://"+socket, t.TempDir(), arg); err != nil {
				t.Fatal(err)
			}
			testfleet.Await(t, "the step runs", func() bool { return len(testfleet.Processes(arg)) >= 2 })
			if killed {
				old.Process.Kill()
				ended <- <-ended
			}
			at := filepath.Join(root, "left over")
			if err := os.Mkdir(at, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("none", at, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			if len(testfleet.Processes(arg)) == 0 || !slices.ContainsFunc(traces(state), func(s string) bool { return strings.HasPrefix(s, "mount ") }) {
				t.Fatalf("nothing was left, but %q: the test is blind", traces(state))
			}

			d := start(t, state)
			if err := <-ended; err == nil || !strings.Contains(err.Error(), "killed") {
				t.Errorf("the old daemon ended with %v", err)
			}
			if left := testfleet.Processes(arg); len(left) > 0 {
				t.Errorf("the step's processes %v run on", left)
			}
			if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), state) {
				t.Errorf("mounts are left:\n%s", mounts)
			}
			if err := d.Stop(context.Background()); err != nil {
				t.Error(err)
			}
			if left := traces(state); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestLongFolder(t *testing.T) {
	state := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	d := start(t, state)
	if len(d.Addr()) > 107+len("unix://") {
		t.Errorf("address %s", d.Addr())
	}
	if err := d.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if left := traces(state); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestStartErrors(t *testing.T) {
	good := workertest.Options(t)
	script := filepath.Join(t.TempDir(), "buildkitd")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho why it failed\nexit 5\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	silent := filepath.Join(t.TempDir(), "buildkitd")
	if err := os.WriteFile(silent, []byte("#!/bin/sh\nexec sleep 96"+fmt.Sprint(os.Getpid())+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		opt  worker.Options
		ctx  time.Duration
		kind diag.Kind
		want []string
	}{
		{"no binary", worker.Options{Buildkitd: "/nowhere/buildkitd"}, 0, diag.Infra, []string{"find buildkitd", "/nowhere/buildkitd"}},
		{"no runtime", worker.Options{Buildkitd: good.Buildkitd, Runc: "/nowhere/runc"}, 0, diag.Infra, []string{"find runc"}},
		{"it fails", worker.Options{Buildkitd: script, Runc: good.Runc}, 0, diag.Infra, []string{"exit status 5", "why it failed"}},
		{"it never answers", worker.Options{Buildkitd: silent, Runc: good.Runc}, time.Second, diag.Interrupted, []string{"does not answer"}},
		{"folder with a comma", worker.Options{State: filepath.Join(t.TempDir(), "a,b"), Buildkitd: good.Buildkitd, Runc: good.Runc}, 0, diag.Infra, []string{"start the embedded daemon", "a,b"}},
		{"folder with a colon", worker.Options{State: filepath.Join(t.TempDir(), "a:b"), Buildkitd: good.Buildkitd, Runc: good.Runc}, 0, diag.Infra, []string{"start the embedded daemon", "a:b"}},
		{"folder is a file", worker.Options{State: script, Buildkitd: good.Buildkitd, Runc: good.Runc}, 0, diag.Infra, []string{"not a directory"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			if tt.ctx > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.ctx)
				defer cancel()
			}
			state := t.TempDir()
			if tt.opt.State == "" {
				tt.opt.State = state
			}
			_, err := worker.Start(ctx, tt.opt)
			if err == nil || diag.KindOf(err) != tt.kind {
				t.Fatalf("kind %v of %v", diag.KindOf(err), err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v does not say %q", err, w)
				}
			}
			if left := traces(state); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			// The folder is free again.
			again := good
			again.State = state
			d, err := worker.Start(t.Context(), again)
			if err != nil {
				t.Fatal(err)
			}
			d.Stop(context.Background())
		})
	}
}

// On a machine with both versions of control groups, the tests are run once
// more where only version 2 is seen.
func TestVersion2(t *testing.T) {
	t.Parallel()
	const unified = "/sys/fs/cgroup/unified"
	if os.Getenv("LAPSTRAKE_TEST_V2") != "" {
		return
	}
	if _, err := os.Stat(unified); err != nil {
		return // the other tests have run with version 2, or it is not there
	}
	workertest.Options(t)
	cmd := exec.Command("sh", "-c", "mount --bind "+unified+" /sys/fs/cgroup && exec \"$@\"", "sh", os.Args[0],
		"-test.run", "TestStop|TestKilledDaemon|TestKilledProgram|TestStartClears|TestDoctor", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), "LAPSTRAKE_TEST_V2=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestKilledDaemonTakesItsStepsAlong")) {
		t.Errorf("with version 2: %v\n%s", err, out)
	}
}
