package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

const (
	// builder is the name of the buildx builder that the command gets.
	builder = "lapstrake"
	// signalled is what shells add to the number of a signal that ended a command.
	signalled = 128
	// outputWithin is how long output that a command's children still hold is
	// waited for, when it is not a file.
	outputWithin = 2 * time.Second
)

// command runs the command to its end, and passes signals on to it.
func (r *recorder) command(path string, env []string) (exit int, err error) {
	cmd := exec.Command(path, r.o.Command[1:]...)
	cmd.Args[0] = r.o.Command[0]
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, r.o.Stdin, r.o.Stdout, r.o.Stderr
	cmd.WaitDelay = outputWithin
	if err := cmd.Start(); err != nil {
		return 0, diag.Errorf(diag.Usage, "is it a program, or a script with #! in its first line?", "start the command: %w", err)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		r.pass(cmd.Process, done)
	}()
	err = cmd.Wait()
	close(done)
	<-ended
	var failed *exec.ExitError
	switch {
	case errors.As(err, &failed):
		return exitCode(failed.ProcessState), nil
	case errors.Is(err, exec.ErrWaitDelay):
		return exitCode(cmd.ProcessState), nil
	case err != nil:
		return 0, diag.Wrap(diag.Infra, "wait for the command", err)
	}
	return 0, nil
}

// pass hands signals to the command until it has ended.
func (r *recorder) pass(to *os.Process, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case s := <-r.o.Signals:
			if r.o.Terminal && (s == os.Interrupt || s == syscall.SIGQUIT) {
				continue
			}
			_ = to.Signal(s) // one that has just ended needs it no more
		}
	}
}

func exitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return signalled + int(w.Signal())
	}
	return s.ExitCode()
}

// exitText says how a command ended.
func exitText(exit int) string {
	if exit > signalled {
		return fmt.Sprintf("the command was ended by signal %d (%s)", exit-signalled, syscall.Signal(exit-signalled))
	}
	return fmt.Sprintf("the command ended with exit code %d", exit)
}

// environment is the command's: with the address of the daemon for everything
// that reads BUILDKIT_HOST, and a builder for buildx, whose configuration is in
// a folder of the run. Logins stay where they are.
func environment(env []string, dir, addr string) ([]string, error) {
	config := filepath.Join(dir, "buildx")
	names := append([]string{builder}, builders(env)...)
	if err := os.MkdirAll(filepath.Join(config, instances), 0o700); err != nil {
		return nil, diag.Wrap(diag.Infra, "make a buildx builder", err)
	}
	for _, name := range names {
		data, err := json.Marshal(group{Name: name, Driver: "remote", Nodes: []node{{Name: name + "0", Endpoint: addr}}})
		if err == nil {
			err = os.WriteFile(filepath.Join(config, instances, name), data, 0o600)
		}
		if err != nil {
			return nil, diag.Wrap(diag.Infra, "make a buildx builder", err)
		}
	}
	return with(env, "BUILDKIT_HOST="+addr, "BUILDX_CONFIG="+config, "BUILDX_BUILDER="+builder), nil
}

// instances is the folder of builders in buildx's configuration; group and node
// are what it keeps of one there.
const instances = "instances"

type group struct {
	Name, Driver string
	Nodes        []node
	Dynamic      bool
}

type node struct{ Name, Endpoint string }

// builders are the names of the builders that the command's user has: a command
// that names one is to find it, and this daemon behind it.
func builders(env []string) []string {
	dir := get(env, "BUILDX_CONFIG")
	if docker := get(env, "DOCKER_CONFIG"); dir == "" && docker != "" {
		dir = filepath.Join(docker, "buildx")
	}
	if home := get(env, "HOME"); dir == "" && home != "" {
		dir = filepath.Join(home, ".docker", "buildx")
	}
	if dir == "" {
		return nil
	}
	found, err := os.ReadDir(filepath.Join(dir, instances))
	if err != nil {
		return nil // there is none
	}
	var names []string
	for _, e := range found {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names
}

// get is the last value of a variable, as programs see it.
func get(env []string, name string) (value string) {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}

// with sets variables.
func with(env []string, set ...string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		replaced := false
		for _, s := range set {
			replaced = replaced || strings.HasPrefix(s, name+"=")
		}
		if !replaced {
			out = append(out, kv)
		}
	}
	return append(out, set...)
}
