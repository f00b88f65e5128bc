// Package workertest starts embedded daemons for tests, from the binaries in
// the repository's bin folder.
//
// A test binary that starts many solves shares one daemon:
//
//	func TestMain(m *testing.M) { os.Exit(workertest.Main(m)) }
//
//	func TestX(t *testing.T) { d := workertest.Start(t) ... }
package workertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/lapstrake/lapstrake/internal/run/worker"
)

// shared is the daemon of this test binary. A variable of the package is the
// only thing that TestMain and the tests have in common.
var shared struct {
	sync.Mutex
	main   bool // Main will stop the daemon
	state  string
	daemon *worker.Daemon
	err    error
}

// Main runs the tests and then stops the daemon that they shared. Its result is
// for os.Exit.
func Main(m *testing.M) int {
	shared.main = true
	code := m.Run()
	if shared.daemon != nil {
		if err := shared.daemon.Stop(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	if shared.state != "" {
		os.RemoveAll(shared.state)
	}
	return code
}

// Start returns the daemon that the tests of this binary share, and starts it
// for the first one. Without [Main] every call starts a daemon that ends with
// the test.
func Start(t testing.TB) *worker.Daemon {
	t.Helper()
	if !shared.main {
		return New(t, worker.Options{})
	}
	opt := Options(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.daemon == nil && shared.err == nil {
		shared.state, shared.err = os.MkdirTemp("", "lapstrake-worker-")
		if shared.err == nil {
			opt.State = shared.state
			shared.daemon, shared.err = worker.Start(context.Background(), opt)
		}
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.daemon
}

// New starts a daemon of the test's own; it is stopped when the test ends. The
// state folder and the binaries are filled in when opt leaves them empty.
func New(t testing.TB, opt worker.Options) *worker.Daemon {
	t.Helper()
	def := Options(t)
	if opt.State == "" {
		opt.State = t.TempDir()
	}
	if opt.Buildkitd == "" {
		opt.Buildkitd = def.Buildkitd
	}
	if opt.Runc == "" {
		opt.Runc = def.Runc
	}
	d, err := worker.Start(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d
}

// Options returns options with the repository's binaries. It skips the test
// where the embedded daemon cannot run at all, and fails it where only the
// binaries are missing.
func Options(t testing.TB) worker.Options {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("the embedded daemon needs Linux and root")
	}
	bin := filepath.Join(Root(t), "bin")
	opt := worker.Options{Buildkitd: filepath.Join(bin, "buildkitd"), Runc: filepath.Join(bin, "runc")}
	for _, path := range []string{opt.Buildkitd, opt.Runc} {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%v: run make", err)
		}
	}
	return opt
}

// Root is the folder of the repository, found by its go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		t.Fatal("no go.mod above the working folder")
	}
}
