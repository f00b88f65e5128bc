//go:build linux

package engine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(suicideEnv); spec != "" {
		os.Exit(suicideMain(spec))
	}
	// Tests wait for most of their time: for daemons, registries and pauses.
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	os.Exit(workertest.Main(m))
}

// world is a registry with bases, and a state folder; the daemon is the one
// that the test binary shares.
type world struct {
	t     *testing.T
	host  string
	reg   *localregistry.Registry
	proxy *testfleet.FaultProxy
	bases []testfleet.Base
	state string
	// platforms, when set, are what the daemon is taken to run programs for.
	platforms []string
	// see, when set, is called with every event of a run.
	see func(journal.Event)
}

// newWorld makes n bases on a registry of its own, behind a fault proxy with
// no faults yet.
func newWorld(t *testing.T, n int) *world {
	t.Helper()
	return newWorldOf(t, testfleet.Options{N: n})
}

// newWorldOf is newWorld with bases of other forms.
func newWorldOf(t *testing.T, o testfleet.Options) *world {
	t.Helper()
	w := &world{t: t, state: t.TempDir()}
	var err error
	w.reg, err = localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir(), Middleware: func(next http.Handler) http.Handler {
		w.proxy = testfleet.Faults(next)
		return w.proxy
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.proxy.Close(); w.reg.Stop(context.Background()) })
	w.host = w.reg.Host()
	o.Host, o.Seed, o.Scale, o.Envs = w.host, 1, 0.05, true
	set, err := testfleet.Bases(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	w.bases = set.Images
	return w
}

// recipe writes a recipe of testfleet and returns its folder.
func (w *world) recipe(kind string) string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), kind)
	if err := testfleet.Recipe(testfleet.RecipeOptions{Dir: dir, Kind: kind, Host: w.host, Files: 40}); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// dockerfile writes a context of its own with a Dockerfile and files.
func (w *world) dockerfile(text string, files map[string]string) string {
	w.t.Helper()
	dir := w.t.TempDir()
	files["Dockerfile"] = text
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	return dir
}

// fleet is one image on every base of the world, all in one repository.
func (w *world) fleet(dir, repo string) *fleet.Fleet {
	f := &fleet.Fleet{Name: repo, File: filepath.Join(dir, "fleet.yaml"), Platform: "linux/amd64",
		Recipe: fleet.Recipe{Dockerfile: filepath.Join(dir, "Dockerfile"), Context: dir, BaseArg: "BASE_IMAGE"}}
	for _, b := range w.bases {
		f.Images = append(f.Images, fleet.Image{ID: b.ID, Base: b.Ref, Tags: []string{fmt.Sprintf("%s/%s:%s", w.host, repo, strings.ToLower(b.ID))}})
	}
	return f
}

// result is what one command did.
type result struct {
	plan     *plan.Plan
	err      error
	units    map[string]summary.UnitState
	sum      summary.Summary
	requests map[string]int64 // as the registry counted them
	solves   int
}

// build runs the whole of a build command on the daemon that the tests share.
func (w *world) build(ctx context.Context, f *fleet.Fleet, opts engine.Options) (r result) {
	w.t.Helper()
	w.reg.Reset()
	solves := 0
	r, _ = w.command(ctx, f, opts, func(e *engine.Engine) []*engine.Daemon {
		d := engine.NewDaemon(e, w.state, engine.DaemonOptions{Address: workertest.Start(w.t).Addr()})
		e.Workers = connectors(func(ctx context.Context) (*engine.Worker, error) {
			solves++
			l, err := d.Connect(ctx)
			if err == nil && w.platforms != nil {
				l.Platforms = w.platforms
			}
			return l, err
		})
		return []*engine.Daemon{d}
	})
	r.solves, r.requests = solves, w.reg.Requests()
	return r
}

// command runs a build command with the daemons that use gives to its engine,
// and returns the run's folder too.
func (w *world) command(ctx context.Context, f *fleet.Fleet, opts engine.Options, use func(*engine.Engine) []*engine.Daemon) (r result, dir string) {
	w.t.Helper()
	e, err := engine.Open(ctx, engine.Setup{Fleet: f, State: w.state, Options: opts, UserAgent: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	defer e.Close()
	if e.Run, err = engine.StartRecord(engine.RecordOptions{State: w.state, Fleet: f}); err != nil {
		w.t.Fatal(err)
	}
	if w.see != nil {
		e.Run.Watch(w.see)
	}
	daemons := use(e)
	r.plan, r.err = e.Build(ctx, nil)
	for _, d := range daemons {
		r.err = errors.Join(r.err, d.Close())
	}
	e.Run.Finish(r.err)
	e.Run.Summary(func(s *summary.Summary) error { r.sum, r.units = *s, s.Units; return nil })
	return r, e.Run.Dir()
}

// total is the number of requests that the registry saw.
func (r result) total() (n int64) {
	for _, c := range r.requests {
		n += c
	}
	return n
}

// digestOf is the digest that a tag has in the registry, "" when absent.
func (w *world) digestOf(ref string) string {
	w.t.Helper()
	repo, tag := publish.Split(ref)
	_, path, _ := strings.Cut(repo, "/")
	req, _ := http.NewRequestWithContext(w.t.Context(), http.MethodHead, fmt.Sprintf("http://%s/v2/%s/manifests/%s", w.host, path, tag), nil)
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.Header.Get("Docker-Content-Digest")
}

// connectors is one worker that connect reaches.
func connectors(connect func(context.Context) (*engine.Worker, error)) []engine.Connector {
	return []engine.Connector{{Name: "worker", Connect: connect}}
}
