package prepare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// grace is how long a command has between SIGTERM and SIGKILL, and how long
// processes that it left behind may hold its output open.
const grace = 3 * time.Second

// execute runs the command once.
func execute(ctx context.Context, p fleet.Prepare, logPath string, log io.Writer) error {
	tool, err := find(p)
	if err != nil {
		return err
	}
	file, err := os.Create(logPath)
	if err != nil {
		return diag.Wrap(diag.Infra, "prepare "+p.Name+": log", err)
	}
	defer file.Close()
	var last tail
	cmd := exec.CommandContext(ctx, tool, p.Run[1:]...)
	cmd.Args[0] = p.Run[0]
	cmd.Dir, cmd.Env = p.Dir, environ(p)
	// One writer for both keeps the order of lines, and never two writes at once.
	out := io.MultiWriter(file, &last, lenient{log})
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return problem(p, diag.PrepareFailed, "", "cannot start %s: %v", p.Run[0], err)
	}
	err = cmd.Wait()
	// What is left of the group would change outputs after their digests were taken.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return interrupted(ctx, p)
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case errors.As(err, &exit):
		return problem(p, diag.PrepareFailed, "the whole output is in "+logPath, "failed with %s%s", exit.ProcessState, last.lines())
	}
	return diag.Wrap(diag.Infra, "prepare "+p.Name, err)
}

// lenient keeps a log that cannot be written from stopping the command.
type lenient struct{ w io.Writer }

// Write always takes all of b.
func (l lenient) Write(b []byte) (int, error) {
	if l.w != nil {
		_, _ = l.w.Write(b)
	}
	return len(b), nil
}

// environ is the whole environment of the command: what it depends on is
// declared, so that the key covers it.
func environ(p fleet.Prepare) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME"} {
		if _, own := p.Env[name]; !own {
			env = append(env, name+"="+os.Getenv(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		env = append(env, name+"="+p.Env[name])
	}
	return env
}

// find is the path of the command's program: relative to the command's folder
// when it has a slash, else in the PATH that the command sees.
func find(p fleet.Prepare) (string, error) {
	if len(p.Run) == 0 || p.Run[0] == "" {
		return "", problem(p, diag.PrepareFailed, "", "has no command")
	}
	name := p.Run[0]
	if strings.ContainsRune(name, filepath.Separator) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(p.Dir, name)
		}
		if executable(name) {
			return name, nil
		}
		return "", problem(p, diag.PrepareFailed, "", "names the program %s, which is not there or not executable", name)
	}
	path, own := p.Env["PATH"]
	if !own {
		path = os.Getenv("PATH")
	}
	for _, folder := range filepath.SplitList(path) {
		if !filepath.IsAbs(folder) { // as the go command does: not from where we happen to be
			continue
		}
		if full := filepath.Join(folder, name); executable(full) {
			return full, nil
		}
	}
	return "", problem(p, diag.PrepareFailed, "install it, or name it with its path", "needs the program %s, which is not in PATH", name)
}

func executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0
}

// tail keeps the end of what is written to it.
type tail struct{ buf []byte }

const (
	tailBytes = 4 << 10
	tailLines = 20
)

// Write keeps the last tailBytes.
func (t *tail) Write(b []byte) (int, error) {
	t.buf = append(t.buf, b[max(0, len(b)-tailBytes):]...)
	if extra := len(t.buf) - tailBytes; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(b), nil
}

// lines is the end of the output, for an error.
func (t *tail) lines() string {
	text := strings.ToValidUTF8(string(bytes.TrimSpace(t.buf)), "?")
	if text == "" {
		return " and printed nothing"
	}
	l := strings.Split(text, "\n")
	if len(l) > tailLines {
		l = l[len(l)-tailLines:]
	}
	return fmt.Sprintf("; it printed\n        %s", strings.Join(l, "\n        "))
}
