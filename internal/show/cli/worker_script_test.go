package cli_test

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
)

// raised is a daemon that a script keeps.
type raised struct {
	cmd  *exec.Cmd
	out  *bufio.Reader
	errs bytes.Buffer
}

type raisedKey struct{}

// up runs lapstrake worker up and waits for the address.
func up(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! up")
	}
	r := &raised{cmd: start(ts, append([]string{"worker", "up"}, args...))}
	pipe, err := r.cmd.StdoutPipe()
	ts.Check(err)
	r.cmd.Stderr = &r.errs
	ts.Check(r.cmd.Start())
	r.out = bufio.NewReader(pipe)
	line, err := r.out.ReadString('\n')
	if err != nil {
		r.cmd.Wait()
		ts.Fatalf("%v\n%s", err, r.errs.String())
	}
	ts.Defer(func() { r.cmd.Process.Kill(); r.cmd.Wait() })
	*ts.Value(raisedKey{}).(**raised) = r
	ts.Setenv("UP", strings.TrimSpace(line[strings.LastIndex(line, " ")+1:]))
	show(ts, line, "")
}

// down interrupts it.
func down(ts *testscript.TestScript, neg bool, args []string) {
	r := *ts.Value(raisedKey{}).(**raised)
	if neg || len(args) != 0 || r == nil {
		ts.Fatalf("usage: up, then down")
	}
	ts.Check(r.cmd.Process.Signal(syscall.SIGINT))
	rest, err := io.ReadAll(r.out)
	ts.Check(err)
	err = r.cmd.Wait()
	show(ts, string(rest), r.errs.String())
	ts.Check(err)
}

// hold has a daemon on the state folder, which nobody else may use.
func hold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: hold")
	}
	workertest.New(worldOf(ts).t, worker.Options{State: filepath.Join(ts.Getenv("XDG_STATE_HOME"), "lapstrake", "worker")})
}
