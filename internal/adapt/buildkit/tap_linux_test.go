package buildkit_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/tonistiigi/fsutil"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// tap opens a second address of a daemon of the test's own. What passed is read
// after the tap was closed.
func tap(t *testing.T) (c *buildkit.Client, addr string, closed func() (began int, ended []buildkit.Prune)) {
	t.Helper()
	c = dialTo(t, workertest.New(t, worker.Options{}).Addr())
	socket := filepath.Join(t.TempDir(), "s")
	var mu sync.Mutex
	var began int
	var ended []buildkit.Prune
	tap, err := c.Tap(socket, func() func(buildkit.Prune) {
		mu.Lock()
		defer mu.Unlock()
		began++
		return func(p buildkit.Prune) {
			mu.Lock()
			defer mu.Unlock()
			ended = append(ended, p)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	end := func() {
		once.Do(func() {
			if err := tap.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(end)
	return c, "unix://" + socket, func() (int, []buildkit.Prune) { end(); return began, ended }
}

// Sessions, solves, exports, errors and cancellations pass.
func TestTapPasses(t *testing.T) {
	t.Parallel()
	_, addr, closed := tap(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // several messages
	dirs := folder(t, map[string]string{"big": string(big)})

	out := t.TempDir()
	c, err := client.New(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	files, err := fsutil.NewFS(dirs["context"].Dir)
	if err != nil {
		t.Fatal(err)
	}
	def, err := copied(llb.Scratch(), "/big", "/copy").Marshal(t.Context(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Solve(t.Context(), def, client.SolveOpt{
		LocalMounts: map[string]fsutil.FS{"context": files},
		Exports:     []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: out}},
	}, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(out, "copy")); err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d bytes came back: %v", len(got), err)
	}

	tapped := dialTo(t, addr)
	recs, err := solve(t, tapped, buildkit.SessionOptions{Locals: dirs}, sh(box(), "echo why; exit 7"))
	var step *buildkit.StepError
	if !errors.As(err, &step) || step.ExitCode != 7 || diag.KindOf(err) != diag.Step || recs.log.String() != "why\n" {
		t.Errorf("a step that fails: %v, printed %q", err, recs.log.String())
	}

	ctx, cancel := context.WithCancel(t.Context())
	gave := make(chan error, 1)
	go func() { gave <- foreign(ctx, t, addr, "left", sh(box(), "sleep 3459"), dirs) }()
	testfleet.Await(t, "the step runs", func() bool { return len(testfleet.Processes("3459")) > 0 })
	cancel()
	if err := <-gave; err == nil {
		t.Error("a cancelled solve succeeded")
	}
	testfleet.Await(t, "the step is stopped", func() bool { return len(testfleet.Processes("3459")) == 0 })
	if began, ended := closed(); began != 0 || len(ended) != 0 {
		t.Errorf("%d prunes began, %+v ended", began, ended)
	}
}

func TestTapSeesPrunes(t *testing.T) {
	t.Parallel()
	direct, addr, closed := tap(t)
	dirs := folder(t, nil)
	if err := foreign(t.Context(), t, addr, "image", sh(box(), "echo x > /file"), dirs); err != nil {
		t.Fatal(err)
	}
	before, err := direct.Records(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 { // the second finds nothing
		if err := c.Prune(t.Context(), nil, client.PruneAll); err != nil {
			t.Fatal(err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Prune(gone, nil, client.PruneAll); err == nil {
		t.Error("a cancelled prune succeeded")
	}
	began, ended := closed()
	if began != len(ended) || len(ended) < 2 {
		t.Fatalf("%d prunes began, %+v ended", began, ended)
	}
	ids := func(records []buildkit.Record) (out []string) {
		for _, r := range records {
			out = append(out, r.ID)
		}
		slices.Sort(out)
		return out
	}
	first := ended[0]
	if d := cmp.Diff(ids(before), ids(first.Records)); d != "" || len(before) == 0 || first.Err != nil || !first.Ended.After(first.Began) {
		t.Errorf("%v\n%s", first.Err, d)
	}
	for _, r := range first.Records {
		i := slices.IndexFunc(before, func(b buildkit.Record) bool { return b.ID == r.ID })
		if i >= 0 && (r.Bytes != before[i].Bytes || r.Description != before[i].Description) {
			t.Errorf("%+v was %+v", r, before[i])
		}
	}
	if len(ended[1].Records) != 0 || ended[1].Err != nil {
		t.Errorf("%+v", ended[1])
	}
}
