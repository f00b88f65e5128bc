package buildkit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// scanOf publishes an image with one file, and a scanner that runs a line of shell.
func scanOf(t *testing.T, s *buildkit.Session, host, line string) plan.Scan {
	t.Helper()
	push := func(name string, st llb.State, config map[string]any) string {
		text, err := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux", "config": config})
		if err != nil {
			t.Fatal(err)
		}
		built, err := s.Solve(t.Context(), plan.Job{Definition: marshal(t, st), Config: text, Repo: host + "/" + name}, new(records).add)
		if err != nil {
			t.Fatal(err)
		}
		return host + "/" + name + "@" + string(built.Digest)
	}
	return plan.Scan{
		Image:    push("image", copied(llb.Scratch(), "/f", "/dir/f"), nil),
		Scanner:  push("scanner", box(), map[string]any{"Entrypoint": []string{"/bin/sh", "-c"}, "Cmd": []string{line}}),
		Platform: "linux/amd64",
	}
}

func TestScan(t *testing.T) {
	many := strings.Repeat("0123456789abcdef", 600_000) // some messages long
	tests := []struct {
		name, line string
		want       []string
		kind       diag.Kind
		log        string
	}{
		{name: "a statement", line: "cp $BUILDKIT_SCAN_SOURCE/dir/f $BUILDKIT_SCAN_DESTINATION/sbom.spdx.json", want: []string{many}},
		{name: "several", line: "cd $BUILDKIT_SCAN_DESTINATION; echo two > b; echo one > a; mkdir c; true > d", want: []string{"one\n", "two\n", ""}},
		{name: "none", line: "echo nothing to say", log: "nothing to say\n"},
		{name: "fails", line: "echo sees nothing; exit 3", kind: diag.Step, log: "sees nothing\n"},
		{name: "the image stays as it is", line: "touch $BUILDKIT_SCAN_SOURCE/x 2>/dev/null && exit 0; echo read-only; exit 1", kind: diag.Step, log: "read-only\n"},
	}
	host := serve(t, nil)
	s := open(t, dial(t), buildkit.SessionOptions{Locals: folder(t, map[string]string{"f": many})})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			recs := new(records)
			got, err := s.Scan(t.Context(), scanOf(t, s, host, tt.line), recs.add)
			if diag.KindOf(err) != tt.kind {
				t.Fatalf("kind %v of %v", diag.KindOf(err), err)
			}
			if string(bytes.Join(got, []byte("|"))) != strings.Join(tt.want, "|") {
				t.Errorf("%d statements, want %d: %.200q", len(got), len(tt.want), got)
			}
			if recs.log.String() != tt.log {
				t.Errorf("log %q, want %q", recs.log.String(), tt.log)
			}
			var step *buildkit.StepError
			if tt.kind == diag.Step && (!errors.As(err, &step) || step.Log != tt.log || !strings.HasPrefix(step.Name, "[sbom] ")) {
				t.Errorf("step %+v", step)
			}
		})
	}
}

func TestScanOfNothing(t *testing.T) {
	host := serve(t, nil)
	s := open(t, dial(t), buildkit.SessionOptions{Locals: folder(t, map[string]string{"f": t.Name()})})
	good := scanOf(t, s, host, "true")
	for name, scan := range map[string]plan.Scan{
		"image":   {Image: host + "/none@sha256:" + strings.Repeat("a", 64), Scanner: good.Scanner, Platform: good.Platform},
		"scanner": {Image: good.Image, Scanner: host + "/none:latest", Platform: good.Platform},
	} {
		if _, err := s.Scan(t.Context(), scan, new(records).add); diag.KindOf(err) != diag.Infra || !strings.Contains(err.Error(), host+"/none") {
			t.Errorf("no %s: kind %v of %v", name, diag.KindOf(err), err)
		}
	}
}

func TestScanEnds(t *testing.T) {
	d := workertest.New(t, worker.Options{})
	s := open(t, dialTo(t, d.Addr()), buildkit.SessionOptions{Locals: folder(t, map[string]string{"f": t.Name()})})
	host := serve(t, nil)
	cause := errors.New("the user said so")
	arg := fmt.Sprintf("97%d", os.Getpid())
	scan := scanOf(t, s, host, "sleep "+arg)
	for name, stop := range map[string]func(context.CancelCauseFunc){
		"cancel": func(cancel context.CancelCauseFunc) { cancel(cause) },
		"cancel while the daemon hangs": func(cancel context.CancelCauseFunc) {
			if err := syscall.Kill(d.PID(), syscall.SIGSTOP); err != nil {
				t.Error(err)
			}
			cancel(cause)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := s.Scan(ctx, scan, new(records).add)
				done <- err
			}()
			testfleet.Await(t, "the scanner runs", func() bool { return len(testfleet.Processes(arg)) > 0 })
			stop(cancel)
			// Whoever waits longer than this waits for ever.
			watchdog := time.AfterFunc(20*time.Second, func() { syscall.Kill(d.PID(), syscall.SIGCONT); t.Error("hangs") })
			err := <-done
			watchdog.Stop()
			if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) || diag.KindOf(err) != diag.Interrupted {
				t.Errorf("kind %v of %v", diag.KindOf(err), err)
			}
			if err := syscall.Kill(d.PID(), syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			testfleet.Await(t, "its process ends", func() bool { return len(testfleet.Processes(arg)) == 0 })
		})
	}
	s.Close()
	if _, err := s.Scan(t.Context(), scan, new(records).add); !errors.Is(err, buildkit.ErrLost) {
		t.Errorf("after the session: %v", err)
	}
}
