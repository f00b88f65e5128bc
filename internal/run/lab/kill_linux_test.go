package lab_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/run/lab"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
)

// labFile asks for five trials of each of three cells and of a control.
const labFile = `name: f
fleet: fleet.yaml
factors:
  version: {kind: argument, target: VERSION, levels: {old: "1", new: "2"}}
cells:
  base: {temperatures: [cold, warm]}
  next: {levels: {version: new}, temperatures: [bump], from: base}
controls: [base/cold]
replicates: 5
claims:
  whole: failed(base/cold) == 0
`

// TestKilled kills the lab with SIGKILL 15 times, each time at the next moment of
// a trial, and lets it go on. Every trial is there once, what had ended is not
// touched again, and nothing is left of what was killed. As it is many runs of the
// same thing, it is also the A/A test: no exact metric differs.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	w.write("lab.yaml", labFile)
	dir := t.TempDir()
	moments := []string{"trials/*", "*/*/state/worker/root", "*/*/output.log", "*/*/state/runs/*/journal.jsonl", "*/*/*.json"}
	ended := map[string]string{}
	for n := range 15 {
		if code, out := w.lab(dir, moments[n%len(moments)]); code == 0 {
			t.Fatalf("it was done before kill %d:\n%s", n+1, out)
		}
		remember(t, dir, ended)
	}
	if code, out := w.lab(dir, ""); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	before := len(ended)
	remember(t, dir, ended)
	if before == 0 || before >= len(ended) {
		t.Errorf("%d of %d trials had ended before the last start: it should be some", before, len(ended))
	}
	results, err := lab.ReadResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	if bad := results.Contaminated(); len(results) != 20 || len(bad) != 0 {
		t.Errorf("%d trials, of which %d do not count: %+v", len(results), len(bad), bad)
	}
	noneDiffers(t, results)
	w.nothingLeft(dir)
}

// noneDiffers holds every exact metric of the runs of one cell, and of its
// control, against each other.
func noneDiffers(t *testing.T, results trials.Results) {
	t.Helper()
	seen := map[string]float64{}
	compared := 0
	for _, o := range results {
		cell := strings.TrimSuffix(o.Cell, "+aa")
		for _, m := range metric.All() {
			v, ok := m.Of(o.Summary)
			if !ok || m.Kind != stat.Exact {
				continue
			}
			first, there := seen[cell+" "+m.Name]
			if compared++; there && first != v.V {
				t.Errorf("%s of %s is %g in one trial and %g in another", m.Name, cell, first, v.V)
			}
			seen[cell+" "+m.Name] = v.V
		}
	}
	if compared < 100 {
		t.Errorf("only %d values were compared", compared)
	}
}

// lab runs lapstrake lab run, and kills it once a file that matches the pattern
// appears that was not there before; "" lets it end.
func (w *world) lab(dir, pattern string) (code int, out string) {
	w.t.Helper()
	before := map[string]bool{}
	for _, f := range match(dir, pattern) {
		before[f] = true
	}
	bin := filepath.Join(workertest.Root(w.t), "bin")
	cmd := exec.Command(selfOf(w.t), "--state", filepath.Join(dir, "state"), "lab", "run", w.source, "-o", dir,
		"--buildkitd", filepath.Join(bin, "buildkitd"), "--runc", filepath.Join(bin, "runc"))
	var b strings.Builder
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return cmd.ProcessState.ExitCode(), b.String()
		case <-tick.C:
			for _, f := range match(dir, pattern) {
				if !before[f] {
					_ = cmd.Process.Signal(syscall.SIGKILL)
					<-done
					return -1, b.String()
				}
			}
		}
	}
}

func match(dir, pattern string) []string {
	if pattern == "" {
		return nil
	}
	found, _ := filepath.Glob(filepath.Join(dir, pattern))
	return found
}

// remember notes the trials that have ended, and that those noted before did not
// change.
func remember(t *testing.T, dir string, ended map[string]string) {
	t.Helper()
	for _, f := range match(dir, "trials/*/trial.json") {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if was, ok := ended[f]; ok && was != string(data) {
			t.Errorf("%s has changed", f)
		}
		ended[f] = string(data)
	}
}

// nothingLeft looks for processes and mounts below a folder.
func (w *world) nothingLeft(dir string) {
	w.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		w.t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		w.t.Errorf("mounts are left below %s", dir)
	}
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range found {
		if line, err := os.ReadFile(f); err == nil && strings.Contains(string(line), dir) {
			w.t.Errorf("left: %s", strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
}
