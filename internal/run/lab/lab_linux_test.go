package lab_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/lab"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/show/cli"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// asProgram makes the test binary lapstrake itself: trials run it.
const asProgram = "LAPSTRAKE_LAB_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	os.Setenv(asProgram, "1")
	os.Exit(m.Run())
}

// world is a registry with two bases, and an experiment over them.
type world struct {
	t      *testing.T
	host   string
	source string
	e      *experiment.Experiment
	store  *registry.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the embedded daemon needs root")
	}
	reg, err := localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Stop(context.Background()) })
	set, err := testfleet.Bases(t.Context(), testfleet.Options{Host: reg.Host(), N: 2, Seed: 1, Scale: 0.02})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, host: reg.Host(), source: t.TempDir()}
	if w.store, err = registry.New(registry.Options{}); err != nil {
		t.Fatal(err)
	}
	w.write("Dockerfile", "ARG BASE_IMAGE\nFROM "+testfleet.Builder(w.host)+" AS tool\nRUN echo tool > /tool\nFROM ${BASE_IMAGE}\nCOPY --from=tool /tool /tool\nRUN echo package > /package\nARG VERSION=0\nCOPY file /file\nRUN echo $VERSION > /version\n")
	w.write("file", "one")
	w.write("fleet.yaml", "name: f\nrecipe: {dockerfile: Dockerfile, context: .}\nimages:\n  from: rows.jsonl\n  base: \"{{.base}}\"\n  tag: \""+w.host+"/out/f:{{.id}}\"\njobs: 2\n")
	var lines strings.Builder
	for _, b := range set.Images {
		line, _ := json.Marshal(map[string]string{"id": b.ID, "base": b.Ref})
		lines.Write(append(line, '\n'))
	}
	w.write("rows.jsonl", lines.String())
	w.e = &experiment.Experiment{
		Name: "f", Fleet: "fleet.yaml", Replicates: 1, Seed: 1,
		Factors: []experiment.Factor{{Name: "version", Kind: experiment.Argument, Target: "VERSION", Levels: []experiment.Level{{Name: "old", Value: "1"}, {Name: "new", Value: "2"}}}},
		Cells: []experiment.Cell{
			{Setting: "base", Levels: experiment.Levels{"version": "old"}, Temperature: experiment.Cold},
			{Setting: "base", Levels: experiment.Levels{"version": "old"}, Temperature: experiment.Warm},
			{Setting: "next", Levels: experiment.Levels{"version": "new"}, Temperature: experiment.Cold},
			{Setting: "next", Levels: experiment.Levels{"version": "new"}, Temperature: experiment.Bump, Seed: "base"},
		},
	}
	if err := w.e.Check(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.source, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// options are those of a lab in a folder. Edit, when not empty, is shell that
// changes the arguments of the trials' program, "$@", before it runs.
func (w *world) options(dir, edit string) lab.Options {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	bin := filepath.Join(workertest.Root(w.t), "bin")
	o := lab.Options{
		Experiment: w.e, Source: w.source, Dir: dir, Program: []string{self}, Parallel: 1,
		Buildkitd: filepath.Join(bin, "buildkitd"), Runc: filepath.Join(bin, "runc"),
		LoadFleet: func(_ context.Context, path string) (*fleet.Fleet, error) {
			return fleetfile.Load(path, fleetfile.Options{Rows: rows.Read})
		},
	}
	if edit != "" {
		script := filepath.Join(w.t.TempDir(), "program")
		if err := os.WriteFile(script, []byte(edit+"\nexec "+self+" \"$@\"\n"), 0o755); err != nil {
			w.t.Fatal(err)
		}
		o.Program = []string{"/bin/sh", script}
	}
	return o
}

func (w *world) open(dir, edit string) *lab.Lab {
	w.t.Helper()
	l, err := lab.Open(w.t.Context(), w.options(dir, edit))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	return l
}

// run runs one cell, and returns its outcome.
func (w *world) run(l *lab.Lab, cell string) trials.Outcome {
	w.t.Helper()
	p := trials.Make(w.e, trials.Facts{})
	i := slices.IndexFunc(p.Trials, func(t trials.Trial) bool { return t.Cell == cell })
	o, err := l.Trial(w.t.Context(), p.Trials[i])
	if err != nil {
		w.t.Fatal(err)
	}
	return *o
}

func graphDigest(data []byte) graph.Digest {
	return graph.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(data)))
}

func codes(o trials.Outcome) []trials.FaultCode {
	out := []trials.FaultCode{}
	for _, f := range o.Faults {
		out = append(out, f.Code)
	}
	return out
}

// copyState copies the daemon's state of a seed.
func copyState(from, to string) error {
	out, err := exec.Command("cp", "-a", filepath.Join(from, "worker"), to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// push puts a tag into a repository.
func (w *world) push(repo string) error {
	config := []byte("{}")
	d := graphDigest(config)
	if _, err := w.store.Apply(context.Background(), plan.Op{Kind: plan.OpUpload, Repo: repo, Digest: d, Size: 2, Data: config}); err != nil {
		return err
	}
	m := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + string(d) + `","size":2},"layers":[]}`)
	_, err := w.store.Apply(context.Background(), plan.Op{Kind: plan.OpManifest, Repo: repo, Digest: graphDigest(m), Size: int64(len(m)), MediaType: "application/vnd.oci.image.manifest.v1+json", Tag: "there", Data: m})
	return err
}

// TestContaminated contaminates trials in every way that is told apart, and then
// some: each is caught by its name, and none counts.
func TestContaminated(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	clean := w.open(dir, "")
	for _, cell := range []string{"base/cold", "base/warm", "next/bump"} {
		if o := w.run(clean, cell); len(o.Faults) > 0 {
			t.Fatalf("%s, which nobody touched, does not count: %v", cell, o.Faults)
		}
	}
	clean.Close()
	for _, tc := range []struct {
		name, cell string
		tamper     func(lab.Place) error
		edit       string // of the program's arguments
		want       trials.FaultCode
	}{
		{name: "a daemon with records", cell: "base/cold", want: trials.SharedState,
			tamper: func(p lab.Place) error { return copyState(p.Seed, filepath.Join(p.State, "worker")) }},
		{name: "the same by the canary", cell: "base/cold", want: trials.CanaryWrong,
			tamper: func(p lab.Place) error { return copyState(p.Seed, filepath.Join(p.State, "worker")) }},
		{name: "a daemon without records", cell: "base/warm", want: trials.NoState,
			tamper: func(p lab.Place) error { return os.RemoveAll(filepath.Join(p.State, "worker")) }},
		{name: "the state of another seed", cell: "base/warm", want: trials.WrongSeed,
			tamper: func(p lab.Place) error {
				return os.WriteFile(filepath.Join(p.State, "lab-mark"), []byte("other"), 0o644)
			}},
		{name: "a tag where it publishes", cell: "base/cold", want: trials.SharedRef,
			tamper: func(p lab.Place) error { return w.push(p.Outputs + "/out/f") }},
		{name: "a tag in its cache", cell: "base/cold", want: trials.SharedCache,
			tamper: func(p lab.Place) error { return w.push(p.Cache) }},
		{name: "a mount that was left", cell: "base/cold", want: trials.LeftMount,
			tamper: func(p lab.Place) error {
				at := filepath.Join(p.Dir, "left")
				if err := os.Mkdir(at, 0o755); err != nil {
					return err
				}
				w.t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
				return unix.Mount("none", at, "tmpfs", 0, "")
			}},
		{name: "another namespace", cell: "base/cold", want: trials.ForeignRef,
			edit: `case "$*" in *--namespace*) set -- "$@" --namespace elsewhere;; esac`},
		{name: "a cache of others", cell: "base/cold", want: trials.ForeignRef,
			edit: `set -- "$@" --cache ` + w.host + `/others/cache`},
		{name: "skipping", cell: "base/cold", want: trials.Skips,
			edit: `"` + selfOf(t) + `" "$@" >&2; for a; do shift; case "$a" in --force|--new-run) ;; *) set -- "$@" "$a";; esac; done; set -- "$@" --new-run`},
		{name: "results from nowhere", cell: "base/cold", want: trials.ForeignSteps,
			edit: `rm -rf "$2/worker"; cp -a ` + dir + `/seeds/base/state/worker "$2/worker"`},
		{name: "files that change", cell: "base/cold", want: trials.OtherInputs,
			edit: `echo two > file`},
		{name: "other jobs", cell: "base/cold", want: trials.OtherJobs, edit: `set -- "$@" --jobs 1`},
		{name: "another daemon", cell: "base/cold", want: trials.OtherDaemon, edit: "daemon"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w.t = t
			at := t.TempDir()
			if out, err := exec.Command("cp", "-a", dir+"/.", at).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			again(t, at, tc.cell, tc.edit == "daemon")
			if tc.edit == "daemon" {
				tc.edit = ""
			}
			l := w.open(at, tc.edit)
			l.Tamper(func(p lab.Place) error {
				if tc.tamper == nil {
					return nil
				}
				return tc.tamper(p)
			})
			if err := l.Run(t.Context(), trials.Make(w.e, trials.Facts{}), []string{tc.cell}); err != nil {
				t.Fatal(err)
			}
			results, err := lab.ReadResults(at)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(results, func(o trials.Outcome) bool { return o.Cell == tc.cell })
			if o := results[i]; !slices.Contains(codes(o), tc.want) {
				t.Errorf("got %v, want %s; evidence %+v", o.Faults, tc.want, o.Evidence)
			}
			if counted := results.Runs()[tc.cell]; len(counted) != 0 {
				t.Errorf("%d contaminated trials count", len(counted))
			}
		})
	}
}

func selfOf(t *testing.T) string {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

// again lets the trial of a cell be run again, held against the others that are
// there; those may be said to have had another daemon.
func again(t *testing.T, dir, cell string, daemon bool) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "trials", "*", "trial.json"))
	if err != nil || len(found) == 0 {
		t.Fatal(err, found)
	}
	for _, path := range found {
		if strings.Contains(path, strings.ReplaceAll(cell, "/", "~")) {
			if err := os.RemoveAll(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if daemon {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var o map[string]any
			if err := json.Unmarshal(data, &o); err != nil {
				t.Fatal(err)
			}
			o["conditions"].(map[string]any)["daemon"] = "v0.1.0"
			if data, err = json.Marshal(o); err == nil {
				err = os.WriteFile(path, data, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestSkips: where skipping is asked for, a trial finds what its seed published,
// and what changed is built.
func TestSkips(t *testing.T) {
	w := newWorld(t)
	w.e.Knobs = map[string]string{experiment.KnobSkip: "key"}
	l := w.open(t.TempDir(), "")
	for cell, want := range map[string][2]int{"base/warm": {2, 0}, "next/bump": {0, 2}} {
		o := w.run(l, cell)
		if got := [2]int{o.Summary.Skipped, o.Summary.Built}; got != want || len(o.Faults) > 0 {
			t.Errorf("%s: skipped and built %v, want %v; faults %v", cell, got, want, o.Faults)
		}
	}
}
