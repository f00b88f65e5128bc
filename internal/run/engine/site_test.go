//go:build linux

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// site is a registry whose troubles can be changed while it runs, with bases.
type site struct {
	t      *testing.T
	host   string
	reg    *localregistry.Registry
	ledger *ledger
	faults atomic.Pointer[testfleet.FaultProxy]
	bases  []testfleet.Base
}

// newSite starts a registry with n bases, which no other test has: the daemon
// that they share knows nothing of them.
func newSite(t *testing.T, n int) *site {
	t.Helper()
	s := &site{t: t}
	var err error
	s.reg, err = localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir(), Middleware: func(next http.Handler) http.Handler {
		s.ledger = &ledger{next: next}
		s.trouble()
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { s.faults.Load().ServeHTTP(w, q) })
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.trouble(); s.reg.Stop(context.Background()) })
	s.host = s.reg.Host()
	if n == 0 {
		return s
	}
	h := fnv.New64a()
	h.Write([]byte(t.Name()))
	set, err := testfleet.Bases(t.Context(), testfleet.Options{Host: s.host, N: n, Seed: int64(h.Sum64()), Scale: 0.05, Envs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.bases = set.Images
	return s
}

// trouble replaces the faults of the registry; without rules there are none.
func (s *site) trouble(rules ...testfleet.Rule) *testfleet.FaultProxy {
	p := testfleet.Faults(s.ledger, rules...)
	if old := s.faults.Swap(p); old != nil {
		old.Close()
	}
	return p
}

// recipe writes one of testfleet's recipes.
func (s *site) recipe(kind string) string {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), kind)
	if err := testfleet.Recipe(testfleet.RecipeOptions{Dir: dir, Kind: kind, Host: s.host, Files: 10}); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// dockerfile writes a recipe of its own; BUILDER stands for the builder's base,
// HOST for the registry.
func (s *site) dockerfile(text string) string {
	s.t.Helper()
	dir := s.t.TempDir()
	text = strings.NewReplacer("BUILDER", testfleet.Builder(s.host), "HOST", s.host).Replace(text)
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// fleet is one image on every base of the site, in one repository of its registry.
func (s *site) fleet(dir, repo string) *fleet.Fleet {
	f := &fleet.Fleet{Name: repo, File: filepath.Join(dir, "fleet.yaml"), Platform: "linux/amd64",
		Recipe: fleet.Recipe{Dockerfile: filepath.Join(dir, "Dockerfile"), Context: dir, BaseArg: "BASE_IMAGE"}}
	for _, b := range s.bases {
		f.Images = append(f.Images, fleet.Image{ID: b.ID, Base: b.Ref, Tags: []string{fmt.Sprintf("%s/%s:%s", s.host, repo, strings.ToLower(b.ID))}})
	}
	return f
}

// outcome is what one command did.
type outcome struct {
	plan *plan.Plan
	// err is the end of the command, also when the run did not begin.
	err error
	// sum is that of the whole run, earlier starts included.
	sum summary.Summary
	// run is the folder of the run.
	run string
	// requests are those that the registry counted during the command.
	requests map[string]int64
	daemons  int
}

// command is a build command on a site.
type command struct {
	fleet   *fleet.Fleet
	state   string
	options engine.Options
	choices string
}

// counting returns a function that says what the registry has counted since.
func (s *site) counting() func() map[string]int64 {
	before := s.reg.Requests()
	return func() map[string]int64 {
		out := map[string]int64{}
		for k, n := range s.reg.Requests() {
			if n -= before[k]; n > 0 {
				out[k] = n
			}
		}
		return out
	}
}

// build runs a build command with the daemon that the tests share.
func (s *site) build(ctx context.Context, c command) (o outcome) {
	s.t.Helper()
	counted := s.counting()
	defer func() { o.requests = counted() }()
	e, err := engine.Open(ctx, engine.Setup{Fleet: c.fleet, State: c.state, Options: c.options, UserAgent: "test"})
	if err != nil {
		o.err = err
		return o
	}
	defer e.Close()
	e.Run, o.err = engine.StartRecord(engine.RecordOptions{State: c.state, Fleet: c.fleet, Choices: c.choices})
	if o.err != nil {
		return o
	}
	o.run = e.Run.Dir()
	daemon := engine.NewDaemon(e, c.state, engine.DaemonOptions{Address: workertest.Start(s.t).Addr()})
	e.Workers = connectors(func(ctx context.Context) (*engine.Worker, error) {
		o.daemons++
		return daemon.Connect(ctx)
	})
	o.plan, err = e.Build(ctx, nil)
	err = errors.Join(err, daemon.Close())
	o.err = e.Run.Finish(err)
	e.Run.Summary(func(sum *summary.Summary) error { o.sum = *sum; return nil })
	return o
}

// done fails the test when the command did not end well with that many images
// made by each action.
func (o outcome) done(t *testing.T, actions map[plan.Action]int) {
	t.Helper()
	if o.err != nil {
		t.Fatalf("%v; failures %s", o.err, failures(o.sum))
	}
	n := 0
	for a, want := range actions {
		n += want
		if got := o.plan.Actions[a]; got != want {
			t.Errorf("%s of %d images, not %d: %v", a, got, want, o.plan.Actions)
		}
	}
	if o.sum.Images != n || o.sum.Pending != 0 || o.sum.Failed != 0 {
		t.Errorf("%d images, %d pending, %d failed; failures %s", o.sum.Images, o.sum.Pending, o.sum.Failed, failures(o.sum))
	}
}

// failures renders what a summary says of failed images.
func failures(s summary.Summary) string {
	var b strings.Builder
	for _, f := range s.Failures {
		fmt.Fprintf(&b, "\n%v: %s: %s (%s)\n%s", f.Images, f.Kind, f.Cause, f.Help, f.Log)
	}
	return b.String()
}

// kind fails the test when the command did not end with an error of that kind.
func (o outcome) kind(t *testing.T, want diag.Kind) {
	t.Helper()
	if o.err == nil || diag.KindOf(o.err) != want {
		t.Errorf("ended with %v, which is not of kind %s", o.err, want)
	}
	if o.run != "" && (o.sum.Exit == nil || *o.sum.Exit != want.ExitCode()) {
		t.Errorf("the summary's exit is %v, not %d", o.sum.Exit, want.ExitCode())
	}
}

// total is the number of requests that the registry counted.
func (o outcome) total() (n int64) {
	for _, c := range o.requests {
		n += c
	}
	return n
}

// predicted compares the plan's requests with those that the registry counted.
// The tolerance is a tenth and half a dozen. A plan may also count too much for
// images that are built: layers that steps make on different bases can turn out
// equal, and need not be sent again; the mixed recipe has three such steps, and
// each layer is two requests.
func (o outcome) predicted(t *testing.T, host string) {
	t.Helper()
	want, got := o.plan.Requests[host], o.total()
	t.Logf("requests to %s: planned %d, counted %d: %v", host, want, got, o.requests)
	more := want/10 + 6
	less := more + 2*3*max(0, int64(o.plan.Actions[plan.Build]-1))
	if got > want+more || got < want-less {
		t.Errorf("requests to %s: planned %d, the registry counted %d: %v", host, want, got, o.requests)
	}
}

// eventsOf reads the journal of a run.
func eventsOf(t *testing.T, dir string) []journal.Event {
	t.Helper()
	var out []journal.Event
	for e, err := range runlog.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// tagsOf lists the tags that were stored in a repository, sorted.
func (s *site) tagsOf(repo string) []string {
	return slices.Sorted(maps.Keys(s.ledger.tags(repo)))
}

// onlyOne fails the test when a tag of the repositories ever had two contents.
func (s *site) onlyOne(t *testing.T, repos ...string) {
	t.Helper()
	for _, repo := range repos {
		for tag, had := range s.ledger.tags(repo) {
			if len(had) != 1 {
				t.Errorf("%s:%s had several contents: %v", repo, tag, had)
			}
		}
	}
}

// pathOf is the repository of a reference without the host.
func pathOf(ref string) string {
	repo, _ := publish.Split(ref)
	_, path, _ := strings.Cut(repo, "/")
	return path
}
