package example_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/run/record"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// counts are what a recording of the loop says.
type counts struct {
	Built, Executed int
	Pruned          bool
}

// TestLoop records the loop on two of its images: five steps of each are on its
// base, of which the two FROM count although nothing is fetched, and three are
// shared.
func TestLoop(t *testing.T) {
	w := workertest.Options(t)
	reg, err := localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Stop(context.Background()) })
	lab := laboratory(t, reg.Host())
	ids := testfleet.IDs(2)
	if _, err := testfleet.Bases(t.Context(), testfleet.Options{Host: reg.Host(), IDs: ids, Seed: 1, Scale: 0.2, Envs: true}); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(lab, "benchmarks", "ids.txt")
	if got := must(t, lab, nil, "cat", "benchmarks/ids.txt"); got != strings.Join(testfleet.IDs(4), "\n")+"\n" {
		t.Errorf("the loop's images are %s", got)
	}
	bin := t.TempDir()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(bin, "buildx"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))

	loop := func(name, commit, agent, state string, env ...string) counts {
		t.Helper()
		must(t, filepath.Join(lab, "benchmarks"), nil, "git", "checkout", "-q", "-f", commit)
		must(t, filepath.Join(lab, "benchmarks", "vendor", "sdk"), nil, "git", "checkout", "-q", agent)
		if err := os.WriteFile(list, []byte(strings.Join(ids, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		got, err := record.Run(t.Context(), record.Options{
			Command: []string{filepath.Join(lab, "benchmarks", "build_images")}, State: filepath.Join(lab, "..", state),
			Buildkitd: w.Buildkitd, Runc: w.Runc, Stdout: &out, Stderr: &out,
			Env: append(append(os.Environ(), "BASES="+reg.Host(), "LAPSTRAKE_OUTPUTS="+reg.Host()+"/"+name, "LAPSTRAKE_CACHE="+reg.Host()+"/cache/"+state), env...),
		})
		if err != nil || got.Exit != 0 {
			t.Fatalf("%s: exit code %d, %v\n%s", name, got.Exit, err, out.String())
		}
		c := counts{Built: got.Summary.Built, Pruned: strings.Contains(out.String(), "prune:")}
		if n := got.Summary.StepsExecuted; n != nil { // else nothing was built
			c.Executed = int(*n)
		}
		return c
	}
	this, next := "SDK_BUILD_GIT_SHA=0000001", "SDK_BUILD_GIT_SHA=0000002"
	got := map[string]counts{
		"cold, without the helper": loop("a", "before", "baseline", "a", this),
		"cold":                     loop("d", "after", "checkpoint-5", "d", this),
		"warm":                     loop("d2", "after", "checkpoint-5", "d", this),
		"next":                     loop("d3", "after", "checkpoint-5", "d", next),
		"there already":            loop("d3", "after", "checkpoint-5", "d", next),
		"cold, on a small disk":    loop("s", "after", "checkpoint-5", "s", this, "LAPSTRAKE_DISK_BUDGET=32M"),
		"cold, release":            loop("r", "after", "release", "r", this),
		"next, release":            loop("r2", "after", "release", "r", next),
	}
	want := map[string]counts{
		"cold, without the helper": {Built: 2, Executed: 13},
		"cold":                     {Built: 2, Executed: 13},
		"warm":                     {Built: 2, Executed: 4},
		"next":                     {Built: 2, Executed: 4},
		"there already":            {},
		"cold, on a small disk":    {Built: 2, Executed: 16, Pruned: true},
		"cold, release":            {Built: 2, Executed: 13},
		"next, release":            {Built: 2, Executed: 8},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
