//go:build linux

package engine_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// TestLife follows one fleet from nothing: cold, warm, changed, moved.
func TestLife(t *testing.T) {
	t.Parallel()
	const n = 30
	w := newWorld(t, n)
	dir := w.recipe("linked")
	f := w.fleet(dir, "agents")

	cold := w.build(t.Context(), f, engine.Options{})
	if cold.err != nil || cold.sum.Built != n || cold.sum.Strategies["append"] != n {
		t.Fatalf("cold: %v, built %d by %v of %d", cold.err, cold.sum.Built, cold.sum.Strategies, n)
	}
	t.Logf("cold requests %v", cold.requests)

	warm := w.build(t.Context(), f, engine.Options{})
	if warm.err != nil || warm.sum.Skipped != n || warm.solves != 0 {
		t.Fatalf("warm: %v, skipped %d, daemons %d", warm.err, warm.sum.Skipped, warm.solves)
	}
	if got := warm.total(); got > 2*n+3 { // each base, each tag; the builder's base, the list of tags, one ping
		t.Errorf("warm: %d requests for %d images: %v", got, n, warm.requests)
	}

	if err := testfleet.ChangeNothing(dir); err != nil {
		t.Fatal(err)
	}
	for i := range f.Images {
		f.Images[i].Tags[0] += "-next"
	}
	moved := w.build(t.Context(), f, engine.Options{})
	if diff := cmp.Diff(map[plan.Action]int{plan.Retag: n}, moved.plan.Actions); diff != "" || moved.err != nil || moved.solves != 0 {
		t.Fatalf("moved: %v, daemons %d, actions (-want +got):\n%s", moved.err, moved.solves, diff)
	}
	if moved.requests["POST upload"]+moved.requests["PUT upload"] != 0 {
		t.Errorf("moved: blobs were uploaded: %v", moved.requests)
	}

	if err := testfleet.Change(dir); err != nil {
		t.Fatal(err)
	}
	changed := w.build(t.Context(), f, engine.Options{})
	if diff := cmp.Diff(map[plan.Action]int{plan.Append: n}, changed.plan.Actions); diff != "" || changed.err != nil {
		t.Fatalf("changed: %v, actions (-want +got):\n%s", changed.err, diff)
	}
	if got := changed.requests["PUT manifest"]; got != n+1 {
		t.Errorf("changed: %d manifests sent for %d images and one layer set: %v", got, n, changed.requests)
	}
}

// TestMixed builds images that must run steps on their bases.
func TestMixed(t *testing.T) {
	t.Parallel()
	const n = 6
	w := newWorld(t, n)
	dir := w.recipe("mixed")
	// No other test may have run these steps on the daemon.
	edit(t, filepath.Join(dir, "Dockerfile"), "RUN adduser", "RUN : mixed; adduser")
	r := w.build(t.Context(), w.fleet(dir, "mixed"), engine.Options{Jobs: 3})
	if r.err != nil || r.sum.Strategies["build"] != n {
		t.Fatalf("%v, %v, failures %+v", r.err, r.sum.Strategies, r.sum.Failures)
	}
	for _, s := range r.sum.Steps {
		if s.Kind == graph.KindExec && !s.Shared && s.Executed != n {
			t.Errorf("%s: executed %d times for %d images", s.Name, s.Executed, n)
		}
	}
	// Also of the sources that every solve looks up again. Other tests may have made
	// shared steps on the same daemon.
	if *r.sum.StepsExecuted > *r.sum.StepsDistinct {
		t.Errorf("%d steps were planned, and %d executed", *r.sum.StepsDistinct, *r.sum.StepsExecuted)
	}
	again := w.build(t.Context(), w.fleet(dir, "mixed"), engine.Options{})
	if again.sum.Skipped != n || again.solves != 0 {
		t.Errorf("again: skipped %d, daemons %d", again.sum.Skipped, again.solves)
	}
}
