package cli_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/show/cli"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// TestMain lets the test binary be lapstrake, too: scripts run it as a program
// of its own, so that signals, exit codes and the environment are real. With
// TEST_UID it is that user's.
func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){
		"lapstrake": func() {
			if uid, err := strconv.Atoi(os.Getenv("TEST_UID")); err == nil {
				if err := errors.Join(syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
					panic(err)
				}
			}
			os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
		},
	})
}

// tests stops the daemon that the scripts share when they are done.
type tests struct{ m *testing.M }

func (t tests) Run() int { return workertest.Main(t.m) }

// TestScript runs the scripts of testdata/script. With -update the expected
// outputs in them are rewritten. Beside testscript's own commands there are:
//
//	exits CODE lapstrake ARG...   run, check the exit code, scrub the outputs
//	registry NAME.test            serve a registry; the files of the script and
//	                              its outputs call it NAME.test; $NAME is its host
//	stop-registry NAME.test               stop serving it
//	bases N [NAME.test]           push bases to it; their ids go to ids.txt
//	recipe linked|mixed DIR       write a recipe of the test fleet
//	change [-nothing] DIR         change its source, or a file that no image holds
//	daemon                        use the daemon that all scripts share
//	requests [NAME.test]          print the requests since the last time, by kind
//	tags REPOSITORY... [NAME.test]  print the tags of repositories; equal numbers
//	                              are equal digests
//	image REPOSITORY:TAG          print its manifest and its config
//	scrub FILE                    take out of a file what differs from run to run
//	lacks TEXT PATH...            no file there holds the text
//	interrupt METHOD PATH lapstrake ARG...
//	                              run until such a request arrives at registry.test,
//	                              then send an interrupt; the request never arrives
//	up ARG...                     run lapstrake worker up until down; $UP is the
//	                              daemon's address
//	down                          interrupt it; it must exit with 0
//	run-ids                       $RUN1 is the oldest run, $RUN2 the next, and so on
//	hold                          have a daemon on the state folder, as a build does,
//	                              to the end of the script
//	ended LAB FILE DIR            write the results of trials that never ran: a line of
//	                              FILE is a cell and NAME=VALUE words
//	collector                     receive OpenTelemetry's data at $OTLP
//	received METRIC...            print the traces that came, and metrics
//	withheld TEXT                 nothing that came holds it
//	scrape METHOD PATH lapstrake ARG...
//	                              run, and print the metrics that it serves while such
//	                              a request waits at registry.test
//	serves lapstrake ARG...       run until it has printed a host that answers, then
//	                              interrupt it; it must exit with 0
//
// [root] is true where the embedded daemon can run.
func TestScript(t *testing.T) {
	update := flag.Lookup("update").Value.String() == "true"
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("no condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "registry": serve, "stop-registry": stopRegistry, "bases": bases, "recipe": recipe,
			"change": change, "daemon": daemon, "requests": requests, "tags": tags, "scrub": scrubFile,
			"lacks": lacks, "interrupt": interrupt, "serves": serves, "image": image,
			"collector": collector, "received": received, "withheld": withheld, "scrape": scrape,
			"up": up, "down": down, "hold": hold, "run-ids": runIDs, "ended": ended,
		},
	})
}

var _ = flag.Bool("update", false, "rewrite expected outputs")

// setup gives a script a home with Docker's plugin buildx, a state folder and the
// paths of the binaries.
func setup(e *testscript.Env) error {
	t := e.T().(testing.TB)
	bin := filepath.Join(workertest.Root(t), "bin")
	for key, value := range map[string]string{
		"HOME": filepath.Join(e.WorkDir, "home"), "XDG_STATE_HOME": filepath.Join(e.WorkDir, "state"),
		"ROOT":      workertest.Root(t),
		"BUILDKITD": filepath.Join(bin, "buildkitd"), "RUNC": filepath.Join(bin, "runc"),
		"COLUMNS": "120", "GOTRACEBACK": "single", "BUILDKIT_HOST": "", "DOCKER_CONFIG": "",
	} {
		e.Setenv(key, value)
	}
	plugins := filepath.Join(e.WorkDir, "home", ".docker", "cli-plugins")
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(bin, "buildx"), filepath.Join(plugins, "docker-buildx")); err != nil {
		return err
	}
	h := fnv.New32a()
	h.Write([]byte(filepath.Base(e.WorkDir)))
	w := &world{t: t, work: e.WorkDir, seed: int64(h.Sum32()), registries: map[string]*testRegistry{}}
	e.Values[worldKey{}], e.Values[raisedKey{}], e.Values[collectorKey{}] = w, new(*raised), new(*testfleet.Collector)
	e.Defer(w.close)
	return nil
}

// exits runs lapstrake and compares its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[1] != "lapstrake" {
		ts.Fatalf("usage: exits CODE lapstrake ARG...")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		x, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = x.ExitCode()
	}
	out, errs := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	show(ts, out, errs)
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s\n%s%s", code, args[0], out, errs)
	}
}

// show makes scrubbed outputs those of the command that runs.
func show(ts *testscript.TestScript, out, errs string) {
	w := worldOf(ts)
	fmt.Fprint(ts.Stdout(), w.scrub(out))
	fmt.Fprint(ts.Stderr(), w.scrub(dropProgress(errs)))
}

func runIDs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: run-ids")
	}
	entries, err := os.ReadDir(filepath.Join(ts.Getenv("XDG_STATE_HOME"), "lapstrake", "runs"))
	ts.Check(err)
	for i, e := range entries {
		ts.Setenv(fmt.Sprintf("RUN%d", i+1), e.Name())
	}
}

func scrubFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: scrub FILE...")
	}
	for _, name := range args {
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(worldOf(ts).scrub(ts.ReadFile(name))), 0o644))
	}
}

// lacks looks for a text in files and folders: a secret must be in none.
func lacks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: lacks TEXT PATH...")
	}
	files := 0
	for _, root := range args[1:] {
		ts.Check(filepath.WalkDir(ts.MkAbs(root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			files++
			data, err := readFile(path)
			if strings.Contains(string(data), args[0]) {
				ts.Fatalf("%s holds %q", path, args[0])
			}
			return err
		}))
	}
	if files == 0 {
		ts.Fatalf("no file in %s", strings.Join(args[1:], ", "))
	}
}

// readFile reads a file, a compressed one as what it holds.
func readFile(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil || filepath.Ext(path) != ".zst" {
		return data, err
	}
	d, err := zstd.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return io.ReadAll(d)
}
