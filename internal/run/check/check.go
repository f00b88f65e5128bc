// Package check runs the programs that tell whether a claim holds.
package check

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// Within is how long a check may take unless it is said.
const Within = 10 * time.Minute

// outputWithin is how long the output of what a check left behind is waited for.
const outputWithin = time.Second

// Run runs checks in dir, one after the other, and returns what came of each by
// its name. A check that cannot be run is gate.Unknown; when ctx ends, the error is
// of kind diag.Interrupted. Each may take at most within.
func Run(ctx context.Context, dir string, checks []experiment.Claim, within time.Duration) (map[string]gate.Result, error) {
	out := map[string]gate.Result{}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "check", err)
	}
	for _, c := range checks {
		out[c.Name] = one(ctx, dir, c.Command, within)
		if err := context.Cause(ctx); err != nil {
			return nil, diag.Wrap(diag.Interrupted, "check "+c.Name, err)
		}
	}
	return out, nil
}

// one runs a command: exit code 0 is that it holds, 1 that it does not.
func one(ctx context.Context, dir string, command []string, within time.Duration) gate.Result {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	program := command[0]
	if strings.ContainsRune(program, filepath.Separator) && !filepath.IsAbs(program) {
		program = filepath.Join(dir, program)
	}
	cmd := exec.CommandContext(ctx, program, command[1:]...)
	cmd.Dir, cmd.WaitDelay = dir, outputWithin
	// Its children end with it: they may hold its output.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	said, err := cmd.CombinedOutput()
	r := gate.Result{Status: gate.Unknown, Detail: lastLine(said)}
	var failed *exec.ExitError
	switch {
	case ctx.Err() != nil:
		r.Detail = fmt.Sprintf("it took longer than %s", within)
	case err == nil:
		r.Status = gate.Pass
	case !errors.As(err, &failed):
		r.Detail = err.Error()
	case failed.ExitCode() == 1:
		r.Status = gate.Fail
	case r.Detail == "":
		r.Detail = failed.ProcessState.String()
	}
	return r
}

// lastLine is the last line of an output that is not empty.
func lastLine(b []byte) string {
	text := strings.TrimSpace(string(b))
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
