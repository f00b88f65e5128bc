package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// killDelay is how long what git started may hold its output open when git has
// ended.
const killDelay = 3 * time.Second

// command is one git command.
type command struct {
	args  []string
	dir   string   // "" is the working folder
	env   []string // beside those of localEnv, or the whole when remote
	stdin []byte
	// remote is set for a command that talks to another host.
	remote bool
}

// failedError is a command that git ended with an exit code.
type failedError struct {
	command string
	code    int
	stderr  string
}

// Error is what git said last.
func (e *failedError) Error() string {
	text := strings.TrimSpace(e.stderr)
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	if text == "" {
		text = fmt.Sprintf("exit code %d", e.code)
	}
	return "git " + e.command + ": " + text
}

// prepared is the process, not started. It has a session of its own, so that
// nothing it starts can ask at a terminal, and ends with ctx.
func (c command) prepared(ctx context.Context) *exec.Cmd {
	// What is run by git is what a repository's configuration could name.
	args := []string{"-c", "core.fsmonitor=false", "-c", "core.hooksPath=" + os.DevNull, "-c", "gc.auto=0", "-c", "maintenance.auto=false"}
	if !c.remote {
		// A repository of somebody else may be read: see localEnv.
		args = append(args, "-c", "safe.directory=*", "-c", "core.attributesFile="+os.DevNull)
	}
	cmd := exec.CommandContext(ctx, "git", append(args, c.args...)...)
	cmd.Dir, cmd.Env = c.dir, c.env
	if !c.remote {
		cmd.Env = append(localEnv(), c.env...)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.WaitDelay = killDelay
	return cmd
}

// output runs the command and returns what it prints.
func (c command) output(ctx context.Context) ([]byte, error) {
	cmd := c.prepared(ctx)
	var out bytes.Buffer
	var errs tail
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.stdin), &out, &errs
	err := cmd.Run()
	return out.Bytes(), c.failure(err, &errs)
}

// failure is what a command ended with; nil when it went well.
func (c command) failure(err error, errs *tail) error {
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return &failedError{command: c.verb(), code: exit.ExitCode(), stderr: redact(errs.String())}
	case errors.Is(err, exec.ErrNotFound):
		return diag.Errorf(diag.Infra, "install git", "the git command is not in PATH")
	}
	return err
}

// verb is the command's name, without the options before it.
func (c command) verb() string {
	for i := 0; i < len(c.args); i++ {
		switch a := c.args[i]; {
		case a == "-C" || a == "-c":
			i++
		case !strings.HasPrefix(a, "-"):
			return a
		}
	}
	return ""
}

// localEnv is the environment of commands that read a local repository: neither
// the user's configuration nor variables for git count, no object is fetched,
// no object is replaced by another.
func localEnv() []string {
	env := environ(func(name string) bool { return !strings.HasPrefix(name, "GIT_") })
	return append(env, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM="+os.DevNull, "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_REPLACE_OBJECTS=1", "GIT_ALLOW_PROTOCOL=none")
}

// environ is our environment without the variables that keep refuses, in
// English.
func environ(keep func(name string) bool) []string {
	var env []string
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); keep(name) && name != "LC_ALL" && name != "LANGUAGE" {
			env = append(env, e)
		}
	}
	return append(env, "LC_ALL=C")
}

// wrap gives an error of a git command a kind, unless it has one; nil stays nil.
func wrap(ctx context.Context, op string, err error) error {
	var known *diag.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return diag.Errorf(diag.Interrupted, "run the same command again", "%s: %w", op, context.Cause(ctx))
	case errors.As(err, &known):
		return err
	}
	return diag.Wrap(diag.Infra, op, err)
}

// tail keeps the end of what is written to it.
type tail struct{ buf []byte }

const tailBytes = 4 << 10

// Write keeps the last tailBytes.
func (t *tail) Write(b []byte) (int, error) {
	t.buf = append(t.buf, b[max(0, len(b)-tailBytes):]...)
	if extra := len(t.buf) - tailBytes; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(b), nil
}

// String is the text that was kept.
func (t *tail) String() string { return strings.ToValidUTF8(string(t.buf), "?") }
