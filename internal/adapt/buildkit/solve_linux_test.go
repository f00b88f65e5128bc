package buildkit_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

func TestSolveReportsStepsAndCache(t *testing.T) {
	c := dial(t)
	opt := buildkit.SessionOptions{Locals: folder(t, map[string]string{"hello": "world " + t.Name() + "\n"})}
	st := sh(copied(box(), "/hello", "/hello"), "read x < /hello; echo hello $x")

	first, err := solve(t, c, opt, st)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := first.log.String(), "hello world "+t.Name()+"\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	for _, name := range []string{"COPY /hello /hello", "RUN read x < /hello; echo hello $x"} {
		s := first.last[name]
		if s.Cached || s.Started.IsZero() || s.Completed.Before(s.Started) || s.Error != "" {
			t.Errorf("%s: %+v", name, s)
		}
	}
	second, err := solve(t, c, opt, st)
	if err != nil {
		t.Fatal(err)
	}
	if ran := second.ran(); len(ran) > 0 || len(second.last) != len(first.last) || second.log.Len() > 0 {
		t.Errorf("again: ran %q, log %q, %d steps, want %d", ran, second.log.String(), len(second.last), len(first.last))
	}
}

func TestSolvesShareASession(t *testing.T) {
	c := dialTo(t, workertest.New(t, worker.Options{}).Addr())
	s := open(t, c, buildkit.SessionOptions{Locals: folder(t, nil)})
	shared := sh(box(), "echo shared")
	const n = 6
	all := make([]*records, n)
	var wg sync.WaitGroup
	for i := range n {
		all[i] = &records{}
		def := marshal(t, sh(shared, fmt.Sprintf("echo own %d", i)))
		wg.Go(func() {
			if _, err := s.Solve(t.Context(), plan.Job{Definition: def}, all[i].add); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	started := map[time.Time]bool{}
	for i, r := range all {
		if !strings.Contains(r.log.String(), fmt.Sprintf("own %d\n", i)) {
			t.Errorf("solve %d: log %q", i, r.log.String())
		}
		if s, ok := r.last["RUN echo shared"]; !ok {
			t.Errorf("solve %d does not report the shared step", i)
		} else if !s.Cached {
			started[s.Started] = true
		}
	}
	if len(started) != 1 {
		t.Errorf("the shared step ran %d times, want once", len(started))
	}
	// The daemon lists a copy when it has put it away, a moment after the solves.
	copies := 0
	for copies == 0 {
		recs, err := c.Records(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			if r.Type == "source.local" {
				copies++
			}
		}
	}
	if copies != 1 {
		t.Errorf("the daemon has %d copies of the folder, want 1", copies)
	}
}

func TestLocalsBelongToRoot(t *testing.T) {
	locals := folder(t, map[string]string{"f": t.Name()})
	if err := os.Chown(filepath.Join(locals["context"].Dir, "f"), 4321, 4321); err != nil {
		t.Fatal(err)
	}
	recs, err := solve(t, dial(t), buildkit.SessionOptions{Locals: locals}, sh(copied(box(), "/f", "/f"), "stat -c %u:%g /f"))
	if err != nil {
		t.Fatal(err)
	}
	if got := recs.log.String(); got != "0:0\n" {
		t.Errorf("owner %q", got)
	}
}

func TestSecrets(t *testing.T) {
	const value = "hunter2-is-not-to-be-seen"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LAPSTRAKE_TEST_TOKEN", value)
	tests := []struct {
		name    string
		secrets []fleet.Secret
		opts    []llb.SecretOption
		fails   bool
	}{
		{"file", secret("token", file, ""), nil, false},
		{"variable", secret("token", "", "LAPSTRAKE_TEST_TOKEN"), nil, false},
		{"neither means the variable of that name", secret("token", "", ""), nil, true},
		{"not offered", nil, nil, true},
		{"not offered but optional", nil, []llb.SecretOption{llb.SecretOptional}, false},
		{"file is gone", secret("token", file+"x", ""), nil, true},
	}
	d := workertest.New(t, worker.Options{})
	c := dialTo(t, d.Addr())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opt := buildkit.SessionOptions{Locals: folder(t, nil), Secrets: tt.secrets}
			line := "read x < /run/secrets/token; echo length ${#x} " + t.Name()
			st := sh(box(), line, llb.AddSecret("/run/secrets/token", append(tt.opts, llb.SecretID("token"))...))
			recs, err := solve(t, c, opt, st)
			if (err != nil) != tt.fails {
				t.Fatalf("error %v", err)
			}
			want := fmt.Sprintf("length %d", len(value))
			if got := recs.log.String(); !tt.fails && tt.secrets != nil && !strings.HasPrefix(got, want) {
				t.Errorf("log %q, want %q", got, want)
			}
			if tt.fails && diag.KindOf(err) != diag.Step {
				t.Errorf("kind %v of %v", diag.KindOf(err), err)
			}
			if s := recs.String() + fmt.Sprint(err); strings.Contains(s, value) {
				t.Errorf("the value is in a record or error: %s", s)
			}
		})
	}
	filepath.WalkDir(filepath.Dir(d.Root()), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if data, _ := os.ReadFile(path); strings.Contains(string(data), value) {
				t.Errorf("the value is in %s", path)
			}
		}
		return nil
	})
}

func TestStepError(t *testing.T) {
	c := dial(t)
	const recipe = "FROM scratch\n\nRUN fails\n"
	src := llb.NewSourceMap(nil, "Dockerfile", "Dockerfile", []byte(recipe))
	at := src.Location([]*pb.Range{{Start: &pb.Position{Line: 3}, End: &pb.Position{Line: 3}}})
	tests := []struct {
		name string
		st   llb.State
		want buildkit.StepError
		text string
	}{
		{"a step exits", sh(box(), "echo "+t.Name()+"; exit 3", at),
			buildkit.StepError{Name: "RUN echo " + t.Name() + "; exit 3", ExitCode: 3, Log: t.Name() + "\n",
				Pos: diag.Pos{File: "Dockerfile", Line: 3}, Source: "RUN fails"},
			"Dockerfile:3: step RUN echo " + t.Name() + "; exit 3: exit code 3"},
		{"without a place", sh(box(), "exit 4"),
			buildkit.StepError{Name: "RUN exit 4", ExitCode: 4}, "step RUN exit 4: exit code 4"},
		{"much output", sh(box(), "yes a line | head -c 200000; exit 1"),
			buildkit.StepError{Name: "RUN yes a line | head -c 200000; exit 1", ExitCode: 1,
				Log: strings.Repeat("a line\n", 30000)[200000-8192 : 200000]}, "exit code 1"},
		{"a file is not there", copied(box(), "/nowhere", "/x"),
			buildkit.StepError{Name: "COPY /nowhere /x"}, "/nowhere"},
		{"no such program", box().Run(llb.Args([]string{"/none"}), llb.WithCustomName("RUN /none")).Root(),
			buildkit.StepError{Name: "RUN /none", ExitCode: 1, Log: "runc run failed: unable to start container process: error during container init: exec: \"/none\": stat /none: no such file or directory\n"}, "exit code 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			recs, err := solve(t, c, buildkit.SessionOptions{Locals: folder(t, nil)}, tt.st)
			var step *buildkit.StepError
			if !errors.As(err, &step) || diag.KindOf(err) != diag.Step {
				t.Fatalf("kind %v of %v", diag.KindOf(err), err)
			}
			got := *step
			got.Err, got.Step = nil, ""
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("error (-want +got):\n%s", d)
			}
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("text %q lacks %q", err, tt.text)
			}
			if s := recs.last[step.Name]; s.Digest != step.Step || s.Error == "" {
				t.Errorf("record %+v, error's step is %s", s, step.Step)
			}
		})
	}
}

func TestSourceErrorsAreNotTheRecipes(t *testing.T) {
	recs, err := solve(t, dial(t), buildkit.SessionOptions{Locals: folder(t, nil)},
		llb.Image("127.0.0.1:1/none:latest").Run(llb.Args([]string{"/x"})).Root())
	if diag.KindOf(err) != diag.Infra || !strings.Contains(err.Error(), "127.0.0.1:1/none") {
		t.Errorf("kind %v of %v\n%s", diag.KindOf(err), err, recs)
	}
}

func TestEntitlements(t *testing.T) {
	c := dial(t)
	opt := buildkit.SessionOptions{Locals: folder(t, nil)}
	if _, err := solve(t, c, opt, sh(box(), "echo host", llb.Network(pb.NetMode_HOST))); err != nil {
		t.Errorf("host network: %v", err)
	}
	_, err := solve(t, c, opt, sh(box(), "echo insecure", llb.Security(pb.SecurityMode_INSECURE)))
	if diag.KindOf(err) != diag.Infra || !strings.Contains(diag.HelpOf(err), "insecure-entitlements") {
		t.Errorf("insecure: kind %v of %v, help %q", diag.KindOf(err), err, diag.HelpOf(err))
	}
	d := workertest.New(t, worker.Options{AllowInsecure: true})
	if _, err := solve(t, dialTo(t, d.Addr()), opt, sh(box(), "echo insecure", llb.Security(pb.SecurityMode_INSECURE))); err != nil {
		t.Errorf("insecure where it is allowed: %v", err)
	}
}

// TestDaemonLacksCapability: what a definition asks for and the daemon does not
// know is not the recipe's fault, and no reason to try again.
func TestDaemonLacksCapability(t *testing.T) {
	session, err := dial(t).Session(t.Context(), buildkit.SessionOptions{Locals: folder(t, nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	def, err := sh(box(), "echo never").Marshal(t.Context(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	for digest, m := range def.Metadata {
		m.Caps = map[apicaps.CapID]bool{"exec.tomorrow": true}
		def.Metadata[digest] = m
	}
	data, err := def.ToPB().MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	_, err = session.Solve(t.Context(), plan.Job{Definition: data}, func(journal.StepRecord) {})
	if diag.KindOf(err) != diag.Infra || !strings.Contains(err.Error(), "exec.tomorrow") || !strings.Contains(diag.HelpOf(err), "0.32 or newer") {
		t.Errorf("kind %v of %v, help %q", diag.KindOf(err), err, diag.HelpOf(err))
	}
}

func TestCancelReachesTheDaemon(t *testing.T) {
	cause := errors.New("the user said so")
	tests := []struct {
		name string
		stop func(context.Context) (context.Context, func())
		want []error
	}{
		{"cancel", func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(cause) }
		}, []error{context.Canceled, cause}},
		{"deadline", func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			t.Cleanup(cancel)
			return ctx, func() {}
		}, []error{context.DeadlineExceeded}},
	}
	c := dial(t)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			arg := fmt.Sprintf("99%d.%d", os.Getpid(), i)
			s := open(t, c, buildkit.SessionOptions{Locals: folder(t, nil)})
			ctx, stop := tt.stop(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := s.Solve(ctx, plan.Job{Definition: marshal(t, sh(box(), "sleep "+arg))}, new(records).add)
				done <- err
			}()
			testfleet.Await(t, "the step runs", func() bool { return len(testfleet.Processes(arg)) > 0 })
			stop()
			err := <-done
			for _, want := range tt.want {
				if !errors.Is(err, want) {
					t.Errorf("%v is not %v", err, want)
				}
			}
			if diag.KindOf(err) != diag.Interrupted {
				t.Errorf("kind %v of %v", diag.KindOf(err), err)
			}
			testfleet.Await(t, "the step's process ends", func() bool { return len(testfleet.Processes(arg)) == 0 })
		})
	}
}

func TestDaemonHangs(t *testing.T) {
	d := workertest.New(t, worker.Options{})
	c := dialTo(t, d.Addr())
	s := open(t, c, buildkit.SessionOptions{Locals: folder(t, nil)})
	def := marshal(t, sh(box(), "echo hi"))
	if err := syscall.Kill(d.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	// Whoever waits longer than this waits for ever.
	watchdog := time.AfterFunc(20*time.Second, func() { syscall.Kill(d.PID(), syscall.SIGCONT); t.Error("hangs") })
	defer watchdog.Stop()
	if _, err := s.Solve(ctx, plan.Job{Definition: def}, new(records).add); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("solve: %v", err)
	}
	if _, err := c.Records(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("records: %v", err)
	}
	if _, err := c.Release(ctx, []string{"x"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("release: %v", err)
	}
	s.Close()
	if err := syscall.Kill(d.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

func TestDaemonDies(t *testing.T) {
	d := workertest.New(t, worker.Options{})
	c := dialTo(t, d.Addr())
	s := open(t, c, buildkit.SessionOptions{Locals: folder(t, nil)})
	arg := fmt.Sprintf("98%d", os.Getpid())
	done := make(chan error, 1)
	go func() {
		_, err := s.Solve(t.Context(), plan.Job{Definition: marshal(t, sh(box(), "sleep "+arg))}, new(records).add)
		done <- err
	}()
	testfleet.Await(t, "the step runs", func() bool { return len(testfleet.Processes(arg)) > 0 })
	syscall.Kill(d.PID(), syscall.SIGKILL)
	err := <-done
	if !errors.Is(err, buildkit.ErrLost) || diag.KindOf(err) != diag.Infra {
		t.Errorf("kind %v of %v", diag.KindOf(err), err)
	}
	<-d.Died()
	if _, err := c.Records(t.Context()); !errors.Is(err, buildkit.ErrLost) {
		t.Errorf("records: %v", err)
	}
	if _, err := buildkit.Dial(t.Context(), d.Addr(), buildkit.Options{}); !errors.Is(err, buildkit.ErrLost) {
		t.Errorf("dial: %v", err)
	}
}

func TestDiskIsFull(t *testing.T) {
	d := workertest.New(t, worker.Options{State: testfleet.Loop(t, 96<<20)})
	c := dialTo(t, d.Addr())
	_, err := solve(t, c, buildkit.SessionOptions{Locals: folder(t, nil)}, sh(box(), "dd if=/dev/zero of=/big bs=1M count=200"))
	var step *buildkit.StepError
	if !errors.Is(err, buildkit.ErrNoSpace) || !errors.As(err, &step) {
		t.Errorf("a step fills the disk: kind %v of %v", diag.KindOf(err), err)
	}
	locals := folder(t, nil)
	f, err := os.Create(filepath.Join(locals["context"].Dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(160 << 20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	_, err = solve(t, c, buildkit.SessionOptions{Locals: locals}, copied(box(), "/big", "/big"))
	if !errors.Is(err, buildkit.ErrNoSpace) || diag.KindOf(err) != diag.Infra {
		t.Errorf("a copy fills the disk: kind %v of %v", diag.KindOf(err), err)
	}
}
