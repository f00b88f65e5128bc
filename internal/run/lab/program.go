package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// program runs this program for the trial, to its end. It ends with ctx, and with
// this process whatever becomes of that.
func (a *attempt) program(ctx context.Context) error {
	l, s := a.lab, a.setting
	log, err := os.Create(a.log())
	if err != nil {
		return diag.Wrap(diag.Infra, "trial", err)
	}
	defer log.Close()
	args := append(append([]string{}, l.o.Program[1:]...), l.command(s, a.state(), a.at)...)
	cmd := exec.CommandContext(ctx, l.o.Program[0], args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	if s.fleet == nil {
		cmd.Env = append(os.Environ(), s.environment(a.at)...)
	}
	cmd.SysProcAttr = withParent()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = stopWithin
	err = onOneThread(cmd.Run)
	var failed *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return diag.Errorf(diag.Interrupted, "the same command goes on", "%w", context.Cause(ctx))
	case errors.As(err, &failed):
		a.exit = failed.ExitCode()
		return nil
	}
	return diag.Wrap(diag.Infra, "run "+filepath.Base(l.o.Program[0]), err)
}

// onOneThread calls f on a thread of its own: the kernel sends the parent's death
// signal when the thread that started the process ends.
func onOneThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- f()
	}()
	return <-done
}

// tail is the end of a log, for an error.
func tail(path string) string {
	const most = 2000
	data, err := os.ReadFile(path)
	if err != nil || len(data) == 0 {
		return ""
	}
	return ":\n" + string(data[max(0, len(data)-most):])
}

// cloneState copies a state with everything that a file system knows of it. The
// daemon that it belongs to must not run.
func cloneState(ctx context.Context, from, to string) error {
	out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", from, to).CombinedOutput()
	if err != nil {
		return diag.Errorf(diag.Infra, "look at the free space", "copy %s: %w: %s", from, err, out)
	}
	return nil
}

// dyingWithin is how long what was killed may take to end, dyingPause how long until
// it is looked at again.
const (
	dyingWithin = 10 * time.Second
	dyingPause  = 50 * time.Millisecond
)

// clear removes a folder that a killed trial may have left mounts in, and a daemon
// that is about to end and writes until then.
func clear(dir string) error {
	for end := time.Now().Add(dyingWithin); ; time.Sleep(dyingPause) {
		for _, m := range mountsBelow(dir) {
			unmount(m)
		}
		err := os.RemoveAll(dir)
		if dying := errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EBUSY); !dying || time.Now().After(end) {
			return diag.Wrap(diag.Infra, "clean up", err)
		}
	}
}
