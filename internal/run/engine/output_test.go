//go:build linux

package engine_test

import (
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// held is what a layout holds, read by another program's reader of layouts, which
// checks every digest: the manifests of images by name, and how many have none.
type held struct {
	images  map[string]string
	unnamed int
}

func readLayout(t *testing.T, dir string) held {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	h := held{images: map[string]string{}}
	used := map[string]bool{}
	for _, d := range m.Manifests {
		if name := d.Annotations["io.containerd.image.name"]; name != "" {
			h.images[name] = d.Digest.String()
		} else {
			h.unnamed++
		}
		im, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := im.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		used[d.Digest.Hex], used[config.Hex] = true, true
		layers, err := im.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			used[sound(t, l).Hex] = true
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, f := range files {
		have = append(have, filepath.Base(f))
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(used)), have); d != "" {
		t.Errorf("blobs (-used +there):\n%s", d)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("half done: %v", left)
	}
	return h
}

// sound reads a layer and returns what it is, which must be what it is called.
func sound(t *testing.T, l v1.Layer) v1.Hash {
	t.Helper()
	want, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, _, err := v1.SHA256(io.Reader(r))
	if err != nil || got != want {
		t.Errorf("layer %s is %s, error %v", want, got, err)
	}
	return want
}

// into is a fleet whose images go to a layout.
func into(f *fleet.Fleet, dir string) *fleet.Fleet {
	g := *f
	g.Output = fleet.Output{To: "oci:" + dir, MediaTypes: "oci", Compression: "gzip"}
	return &g
}

// reads fails the test when anything but reading was asked of the registry.
func (r result) reads(t *testing.T) {
	t.Helper()
	for what, n := range r.requests {
		if method, _, _ := strings.Cut(what, " "); method != "GET" && method != "HEAD" {
			t.Errorf("%d times %s at the registry", n, what)
		}
	}
}

// readBuilder is the most that the daemon asks for the image that a shared step
// reads: its manifest twice, its config and its layer.
const readBuilder = 4

// TestLayout builds into a layout what its tags say is in the registry that the
// bases are in, and compares that with the same in the registry.
func TestLayout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		recipe string
		images int
		action plan.Action
	}{{"linked", 24, plan.Append}, {"mixed", 4, plan.Build}} {
		t.Run(tt.recipe, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.images)
			recipe, dir := w.recipe(tt.recipe), filepath.Join(t.TempDir(), "out")
			f := w.fleet(recipe, "agents")
			to := into(f, dir)

			cold := w.build(t.Context(), to, engine.Options{})
			if cold.err != nil || cold.plan.Actions[tt.action] != tt.images || cold.sum.Built != tt.images || cold.plan.Output != to.Output.To {
				t.Fatalf("cold: %v, %v, failures %s", cold.err, cold.plan.Actions, failures(cold.sum))
			}
			cold.reads(t)
			first := readLayout(t, dir)
			if len(first.images) != tt.images {
				t.Errorf("%d images are named", len(first.images))
			}
			for id, u := range cold.units {
				if got := first.images[u.Tags[0]]; got != string(u.Digest) {
					t.Errorf("%s: %s is %q, and %s was published", id, u.Tags[0], got, u.Digest)
				}
			}
			// The daemon's own, of a build, are not among those of the summary.
			if n := cold.sum.Requests[w.host]; n > cold.total() || tt.action == plan.Append && n < cold.total()-readBuilder {
				t.Errorf("the summary has %d requests, the registry %d: %v", n, cold.total(), cold.requests)
			}

			warm := w.build(t.Context(), to, engine.Options{})
			if warm.err != nil || warm.plan.Actions[plan.Skip] != tt.images || warm.solves != 0 {
				t.Errorf("warm: %v, %v, %d daemons", warm.err, warm.plan.Actions, warm.solves)
			}
			// One is for the image that a shared step reads.
			if d := cmp.Diff(map[string]int64{"GET base": 1, "HEAD manifest": int64(tt.images) + 1}, warm.requests); d != "" {
				t.Errorf("warm requests (-want +got):\n%s", d)
			}

			if tt.recipe == "linked" {
				inRegistry := w.build(t.Context(), f, engine.Options{})
				if inRegistry.err != nil || inRegistry.plan.Actions[plan.Append] != tt.images {
					t.Fatalf("in a registry: %v, %v", inRegistry.err, inRegistry.plan.Actions)
				}
				for id, u := range inRegistry.units {
					if got := first.images[u.Tags[0]]; got != string(u.Digest) {
						t.Errorf("%s: %s in the registry, %s in the layout", id, u.Digest, got)
					}
				}
			}

			if err := testfleet.Change(recipe); err != nil {
				t.Fatal(err)
			}
			changed := w.build(t.Context(), to, engine.Options{})
			if changed.err != nil || changed.plan.Actions[tt.action] != tt.images {
				t.Errorf("changed: %v, %v", changed.err, changed.plan.Actions)
			}
			changed.reads(t)
			second := readLayout(t, dir)
			for name, d := range second.images {
				if d == first.images[name] || len(second.images) != tt.images {
					t.Errorf("%s is still %s", name, d)
				}
			}
		})
	}
}

// kills are when a build is killed.
var kills = []struct {
	name  string
	event journal.Kind
	n     int
}{{"when the layers are there", journal.LayersReady, 1}, {"half way", journal.UnitPublished, 4}}

// TestLayoutKilled kills builds into a layout and runs the same command again.
func TestLayoutKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 8)
	for _, k := range kills {
		t.Run(k.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			w.killed(t, "oci:"+dir, k.event, k.n)
			if h := readLayout(t, dir); len(h.images) != len(w.bases) {
				t.Errorf("%d images are named", len(h.images))
			}
		})
	}
}

// killed kills a build into an output at the nth event, and runs the same command
// again.
func (w *world) killed(t *testing.T, to string, event journal.Kind, n int) {
	t.Helper()
	state, recipe := t.TempDir(), w.recipe("linked")
	text := "name: killed\nrecipe: {dockerfile: Dockerfile}\noutput: {to: \"" + to + "\"}\nimages:\n"
	for _, im := range w.fleet(recipe, "killed").Images {
		text += "  - {ids: [" + im.ID + "], base: \"" + im.Base + "\", tag: \"" + im.Tags[0] + "\"}\n"
	}
	path := filepath.Join(recipe, "fleet.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(suicide{Fleet: path, State: state, Bin: filepath.Dir(workertest.Options(t).Buildkitd), Event: event, N: n})
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), suicideEnv+"="+string(spec))
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("%v: %s", err, out)
	}
	before := summaryOf(t, state)

	f, err := fleetfile.Load(path, fleetfile.Options{Rows: rows.Read})
	if err != nil {
		t.Fatal(err)
	}
	resumed := *w
	resumed.t, resumed.state = t, state
	r := resumed.build(t.Context(), f, engine.Options{})
	if r.err != nil || r.sum.Starts != 2 {
		t.Fatalf("resumed: %v, %d starts", r.err, r.sum.Starts)
	}
	if done := before.Built; r.plan.Actions[plan.Skip] < done || done < n-1 && event == journal.UnitPublished {
		t.Errorf("%d images were published before, %v are left", done, r.plan.Actions)
	}
}

// summaryOf folds the only run of a state folder.
func summaryOf(t *testing.T, state string) *summary.Summary {
	t.Helper()
	runs, err := runlog.List(state)
	if err != nil || len(runs) != 1 {
		t.Fatalf("%d runs, error %v", len(runs), err)
	}
	s := summary.New()
	for _, e := range eventsOf(t, runs[0].Dir) {
		summary.Fold(s, e)
	}
	return s
}

// TestLayoutOutOfReach refuses a worker that cannot push to a folder of this
// machine, before anything runs on it.
func TestLayoutOutOfReach(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	f := into(w.fleet(w.recipe("linked"), "agents"), t.TempDir())
	e, err := engine.Open(t.Context(), engine.Setup{Fleet: f, State: w.state})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	_, err = engine.NewDaemon(e, w.state, engine.DaemonOptions{Address: "tcp://192.0.2.1:1234"}).Connect(t.Context())
	if err == nil || diag.KindOf(err) != diag.Usage || !strings.Contains(err.Error(), f.Output.To) {
		t.Errorf("error %v", err)
	}
}
