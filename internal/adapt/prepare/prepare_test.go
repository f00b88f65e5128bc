package prepare_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/prepare"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// world is a folder with one source file and a command that concatenates the
// sources and counts its own runs in a file that is no output.
type world struct {
	t     *testing.T
	dir   string
	state string
	p     fleet.Prepare
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), state: filepath.Join(t.TempDir(), "not", "made", "yet")}
	w.write("src/a.txt", "a")
	w.p = fleet.Prepare{
		Name: "cat", Dir: w.dir, Pos: diag.Pos{File: "fleet.yaml", Line: 7, Col: 5},
		Run:    []string{"sh", "-c", "echo out; echo err >&2; echo run >> runs; mkdir -p out && find src -type f | sort | xargs cat > out/all"},
		Inputs: []string{"src/**"}, Outputs: []string{"out/*"},
	}
	return w
}

func (w *world) write(name, text string) {
	w.t.Helper()
	full := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(name string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

func (w *world) run() bool {
	w.t.Helper()
	ran, err := prepare.Run(w.t.Context(), w.p, w.state, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return ran
}

// fails runs the command and returns the problem that it must have.
func (w *world) fails() diag.Problem {
	w.t.Helper()
	_, err := prepare.Run(w.t.Context(), w.p, w.state, nil)
	var p diag.Problem
	if !errors.As(err, &p) {
		w.t.Fatalf("error %v is not a problem", err)
	}
	if diag.KindOf(err) != diag.File || p.Pos != w.p.Pos {
		w.t.Errorf("kind %s at %s, want a file's problem at %s", diag.KindOf(err), p.Pos, w.p.Pos)
	}
	return p
}

func TestRunsOnlyWhenSomethingChanged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world)
		want   bool
	}{
		{"nothing", func(*world) {}, false},
		{"another input", func(w *world) { w.write("src/b/c.txt", "c") }, true},
		{"an input's content", func(w *world) { w.write("src/a.txt", "b") }, true},
		{"an input's time", func(w *world) { w.write("src/a.txt", "a") }, false},
		{"an input is executable", func(w *world) { os.Chmod(filepath.Join(w.dir, "src/a.txt"), 0o755) }, true},
		{"an input moves", func(w *world) {
			os.Rename(filepath.Join(w.dir, "src/a.txt"), filepath.Join(w.dir, "src/b.txt"))
		}, true},
		{"a link to an input's content", func(w *world) { os.Symlink("../other", filepath.Join(w.dir, "src/l")) }, true},
		{"a file that is no input", func(w *world) { w.write("other.txt", "x") }, false},
		{"a .git folder among the inputs", func(w *world) { w.write("src/.git/HEAD", "x") }, false},
		{"an output is gone", func(w *world) { os.Remove(filepath.Join(w.dir, "out/all")) }, true},
		{"an output's content", func(w *world) { w.write("out/all", "x") }, true},
		{"another file among the outputs", func(w *world) { w.write("out/old", "x") }, true},
		{"the command", func(w *world) { w.p.Run[2] += "; true" }, true},
		{"an environment value", func(w *world) { w.p.Env = map[string]string{"A": "b"} }, true},
		{"the name", func(w *world) { w.p.Name = "dog" }, true},
		{"a broken record", func(w *world) {
			records, _ := filepath.Glob(filepath.Join(w.state, "*", "state.json"))
			os.WriteFile(records[0], []byte("{"), 0o644)
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if !w.run() {
				t.Fatal("the first run did nothing")
			}
			tt.change(w)
			want := "run\n"
			if tt.want {
				want += "run\n"
			}
			os.Symlink("nowhere", filepath.Join(w.dir, "other"))
			if ran := w.run(); ran != tt.want {
				t.Errorf("ran %v, want %v", ran, tt.want)
			}
			if d := cmp.Diff(want, w.read("runs")); d != "" {
				t.Error(d)
			}
			if w.run() {
				t.Error("it ran again with nothing changed")
			}
		})
	}
}

func TestOutputsAreNoInputs(t *testing.T) {
	w := newWorld(t)
	w.p.Inputs, w.p.Outputs = []string{"."}, []string{"out", "runs"}
	if !w.run() || w.run() {
		t.Error("outputs count as inputs")
	}
}

func TestAFolderBehindALink(t *testing.T) {
	w := newWorld(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(w.dir, link); err != nil {
		t.Fatal(err)
	}
	w.p.Dir = link
	if !w.run() || w.run() {
		t.Error("a command in a linked folder is not kept")
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("HOME", "/home/of/test")
	t.Setenv("LAPSTRAKE_TEST_UNDECLARED", "x")
	w := newWorld(t)
	w.p.Run = []string{"env"}
	w.p.Env = map[string]string{"DECLARED": "yes"}
	w.p.Outputs = []string{"src/a.txt"}
	var log bytes.Buffer
	if _, err := prepare.Run(t.Context(), w.p, w.state, &log); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("PATH=%s\nHOME=/home/of/test\nDECLARED=yes\n", os.Getenv("PATH"))
	if d := cmp.Diff(want, log.String()); d != "" {
		t.Error(d)
	}
	logs, _ := filepath.Glob(filepath.Join(w.state, "*", "log"))
	if len(logs) != 1 {
		t.Fatalf("%d log files", len(logs))
	}
	if data, _ := os.ReadFile(logs[0]); string(data) != want {
		t.Errorf("the log file has %q", data)
	}
}

func TestProblems(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world)
		code   diag.Code
		want   string // with DIR for the folder
	}{
		{"exit code and the last lines", func(w *world) {
			w.p.Run = []string{"sh", "-c", "for i in $(seq 100); do echo line $i; done; echo why >&2; exit 3"}
		}, diag.PrepareFailed, "prepare cat failed with exit status 3; it printed\n        line 82"},
		{"nothing printed", func(w *world) { w.p.Run = []string{"false"} }, diag.PrepareFailed,
			"prepare cat failed with exit status 1 and printed nothing"},
		{"killed by a signal", func(w *world) { w.p.Run = []string{"sh", "-c", "kill -9 $$"} }, diag.PrepareFailed,
			"prepare cat failed with signal: killed and printed nothing"},
		{"no such program", func(w *world) { w.p.Run = []string{"lapstrake-no-such-program"} }, diag.PrepareFailed,
			"prepare cat needs the program lapstrake-no-such-program, which is not in PATH"},
		{"no such program in the folder", func(w *world) { w.p.Run = []string{"./build"} }, diag.PrepareFailed,
			"prepare cat names the program DIR/build, which is not there or not executable"},
		{"not a program", func(w *world) {
			w.write("build", "?")
			os.Chmod(filepath.Join(w.dir, "build"), 0o755)
			os.WriteFile(filepath.Join(w.dir, "build"), []byte{0x7f, 'E', 'L', 'F'}, 0o755)
			w.p.Run = []string{"./build"}
		}, diag.PrepareFailed, "prepare cat cannot start ./build: "},
		{"no program", func(w *world) { w.p.Run = nil }, diag.PrepareFailed, "prepare cat has no command"},
		{"inputs that match nothing", func(w *world) { w.p.Inputs = []string{"scr/**", "src/*", "x"} }, diag.PrepareInput,
			`prepare cat has inputs that match no file: "scr/**", "x"`},
		{"no folder", func(w *world) { w.p.Dir += "/gone" }, diag.PrepareInput, "prepare cat cannot read its folder: "},
		{"an output that is not there", func(w *world) { w.p.Outputs = []string{"out/*", "dist/*.tar.gz"} }, diag.PrepareOutput,
			`prepare cat succeeded, but nothing matches its output "dist/*.tar.gz"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.change(w)
			p := w.fails()
			got := strings.ReplaceAll(p.Message, w.dir, "DIR")
			if p.Code != tt.code || !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s: %s\nwant %s: %s", p.Code, got, tt.code, tt.want)
			}
			if len(p.Message) > 8<<10 {
				t.Errorf("the message has %d bytes", len(p.Message))
			}
			w.fails() // a failure is not remembered as done
		})
	}
}

func TestAFailureIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.write("src/a.txt", "changed")
	good := w.p.Run
	w.p.Run = []string{"false"}
	w.fails()
	w.p.Run = good
	if !w.run() || w.read("out/all") != "changed" {
		t.Error("the outputs of the failed run count as made")
	}
}

// TestOneAtATime starts the same command many times at once: one run makes the
// outputs, the others find them.
func TestOneAtATime(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	count := 0
	for range 6 {
		group.Go(func() {
			ran, err := prepare.Run(t.Context(), w.p, w.state, nil)
			if err != nil {
				t.Error(err)
			}
			if ran {
				mu.Lock()
				count++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if count != 1 || w.read("runs") != "run\n" {
		t.Errorf("%d runs say that they ran, the command says %q", count, w.read("runs"))
	}
}

// TestCancelEndsTheGroup cancels a command that waits for a child, once the
// child has said its process id through a pipe.
func TestCancelEndsTheGroup(t *testing.T) {
	for name, script := range map[string]string{
		"polite":   "sleep 1000 & echo $! ; wait",
		"stubborn": "trap '' TERM; sleep 1000 & echo $! ; wait; wait",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.p.Run = []string{"sh", "-c", script}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			pid := make(chan int, 1)
			log := writer(func(b []byte) {
				n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
				pid <- n
				cancel(errors.New("had enough"))
			})
			ran, err := prepare.Run(ctx, w.p, w.state, log)
			if !ran || diag.KindOf(err) != diag.Interrupted || !strings.Contains(fmt.Sprint(err), "had enough") {
				t.Errorf("ran %v, %s: %v", ran, diag.KindOf(err), err)
			}
			child := <-pid
			// The kill has been sent; the kernel carries it out on its own time.
			for end := time.Now().Add(10 * time.Second); syscall.Kill(child, 0) == nil && !zombie(child); {
				if time.Now().After(end) {
					t.Fatalf("the child %d outlived Run", child)
				}
				runtime.Gosched()
			}
			if w.p.Run = newWorld(t).p.Run; !w.run() {
				t.Error("the cancelled command counts as done")
			}
		})
	}
}

// zombie says whether a process is dead and only waits for its parent.
func zombie(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(data), ") Z ")
}

func TestCancelWhileWaitingForTheLock(t *testing.T) {
	w := newWorld(t)
	w.p.Run = []string{"sh", "-c", "echo started; cat fifo >/dev/null; mkdir -p out; echo x > out/x"}
	if err := syscall.Mkfifo(filepath.Join(w.dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := prepare.Run(t.Context(), w.p, w.state, writer(func([]byte) { close(started) }))
		done <- err
	}()
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := prepare.Run(ctx, w.p, w.state, nil); diag.KindOf(err) != diag.Interrupted {
		t.Errorf("%s: %v", diag.KindOf(err), err)
	}
	w.write("fifo", "") // lets the first one go on
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func TestAStateFolderThatCannotBeMade(t *testing.T) {
	w := newWorld(t)
	_, err := prepare.Run(t.Context(), w.p, filepath.Join(w.dir, "src/a.txt"), nil)
	if diag.KindOf(err) != diag.Infra {
		t.Errorf("%s: %v", diag.KindOf(err), err)
	}
}
