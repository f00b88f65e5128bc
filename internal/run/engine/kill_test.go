//go:build linux

package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// The fleets that are killed: their sizes, the solves at once, and the distance
// of the first journal events after which the first one is killed.
const (
	linkedImages = 24
	mixedImages  = 6
	killJobs     = 2
	eventStride  = 8
)

// killPoint is a moment at which a build is killed.
type killPoint struct {
	name   string
	recipe string // linked or mixed
	epoch  bool

	// The build kills itself after its nth event of that kind, any when empty.
	event journal.Kind
	n     int
	// Otherwise it is killed when so many requests to the repository are held:
	// those of the method whose path matches; REPO stands for the repository.
	method, path string
	after        bool
	waiting      int
	// alone keeps points apart whose held requests could be those of others.
	alone bool
}

// killPoints are all moments.
func killPoints() []killPoint {
	const put = "^/v2/REPO/manifests/[^:]+$"
	points := []killPoint{
		{name: "daemon pulls the builder", recipe: "linked", method: http.MethodGet, path: "^/v2/lapstrake/builder/blobs/", waiting: 1, alone: true},
		{name: "shared step runs", recipe: "linked", method: http.MethodGet, path: gatePath, waiting: 1, alone: true},
		{name: "daemon pulls a base", recipe: "mixed", method: http.MethodGet, path: "^/v2/swebench/.*/blobs/", waiting: 1, alone: true},
		{name: "steps on bases run", recipe: "mixed", method: http.MethodGet, path: gatePath, waiting: killJobs, alone: true},
		{name: "daemon pushes the layers", recipe: "linked", method: http.MethodPut, path: "^/v2/REPO/blobs/uploads/", waiting: 1},
		{name: "daemon pushed an image", recipe: "mixed", method: http.MethodPut, path: "^/v2/REPO/manifests/sha256:", after: true, waiting: killJobs},
		{name: "first tag of a build", recipe: "mixed", epoch: true, method: http.MethodPut, path: put, after: true, waiting: 1},
		{name: "tags of builds", recipe: "mixed", method: http.MethodPut, path: put, after: true, waiting: killJobs},
		{name: "image built", recipe: "mixed", epoch: true, event: journal.UnitBuilt, n: 2},
		{name: "image published", recipe: "mixed", event: journal.UnitPublished, n: 3},
		{name: "first tag", recipe: "linked", method: http.MethodPut, path: put, after: true, waiting: 1},
		{name: "half of the tags", recipe: "linked", epoch: true, method: http.MethodPut, path: put, after: true, waiting: linkedImages / 2},
		{name: "a late tag", recipe: "linked", method: http.MethodPut, path: "^/v2/REPO/manifests/" + strings.ToLower(testfleet.IDs(linkedImages)[linkedImages-1]) + "$", after: true, waiting: 1},
	}
	// The first events come before the layers are there, with readings of the
	// disk among them; those of an image's publishing are counted by their kind.
	for i := range 4 {
		n := 1 + i*eventStride
		points = append(points, killPoint{name: fmt.Sprintf("event %d", n), recipe: "linked", epoch: i%2 == 1, n: n})
	}
	for i, kind := range []journal.Kind{journal.UnitPut, journal.UnitPublished} {
		for j := range 4 {
			n := 1 + j*(linkedImages-1)/4 + i
			points = append(points, killPoint{name: fmt.Sprintf("%s %d", kind, n), recipe: "linked", epoch: j%2 == 1, event: kind, n: n})
		}
	}
	return points
}

// TestKill kills builds at every kind of moment with SIGKILL, runs the same
// command again, and compares what the registry saw with what a build that
// nobody disturbed leaves.
func TestKill(t *testing.T) {
	t.Parallel()
	r := newRange(t)
	points := killPoints()
	for _, p := range points {
		r.reference(p.recipe, p.epoch)
	}
	t.Run("points", func(t *testing.T) {
		for i, p := range points {
			t.Run(p.name, func(t *testing.T) {
				if !p.alone {
					t.Parallel()
				}
				r.kill(t, p, fmt.Sprintf("killed/p%d", i))
			})
		}
	})
	t.Logf("killed while %v", r.doing)
	if r.doing[solving] < 3 || r.doing[publishing] < 10 {
		t.Errorf("%d points, killed while %v: too few while solving or publishing", len(points), r.doing)
	}
}

// What a build was doing when it was killed, as its journal tells.
const (
	beginning  = "beginning"
	solving    = "solving"
	publishing = "publishing"
	ending     = "ending"
)

// doingAt says what the last event leaves a build doing.
func doingAt(s *summary.Summary, events []journal.Event) string {
	at := beginning
	for _, e := range events {
		switch e.Kind {
		case journal.PhaseStarted:
			var d journal.PhaseData
			if e.Decode(&d) == nil && d.Phase == "shared" && at == beginning {
				at = solving
			}
		case journal.UnitStarted:
			var d journal.UnitData
			if e.Decode(&d) == nil && d.Action == "build" && at == beginning {
				at = solving
			}
		case journal.LayersReady, journal.UnitBuilt:
			at = publishing
		}
	}
	if s.Images > 0 && s.Built == s.Images {
		return ending
	}
	return at
}

// shootingRange is what all points share: a registry with bases, and recipes.
type shootingRange struct {
	t       *testing.T
	dir     string
	host    string
	proxy   *testfleet.FaultProxy
	ledger  *ledger
	bases   map[string]testfleet.Base // by the tag of the image on it
	program string                    // of the build command
	bin     string

	mu         sync.Mutex
	recipes    map[string]string
	references map[string]map[string]*published
	doing      map[string]int // points by what was being done
}

func newRange(t *testing.T) *shootingRange {
	t.Helper()
	return newRangeOf(t, testfleet.Options{N: linkedImages})
}

// newRangeOf is newRange with other bases.
func newRangeOf(t *testing.T, o testfleet.Options) *shootingRange {
	t.Helper()
	opt := workertest.Options(t)
	r := &shootingRange{t: t, dir: t.TempDir(), bin: filepath.Dir(opt.Buildkitd), bases: map[string]testfleet.Base{},
		recipes: map[string]string{}, references: map[string]map[string]*published{}, doing: map[string]int{}}
	reg, err := localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir(), Middleware: func(next http.Handler) http.Handler {
		r.ledger = &ledger{next: next}
		r.proxy = testfleet.Faults(r.ledger)
		return r.proxy
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.proxy.Close(); reg.Stop(context.Background()) })
	r.host = reg.Host()
	o.Host, o.Seed, o.Scale, o.Envs = r.host, 1, 0.05, true
	set, err := testfleet.Bases(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range set.Images {
		r.bases[strings.ToLower(b.ID)] = b
	}
	r.program = filepath.Join(r.dir, "lapstrake")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", r.program, "./cmd/lapstrake")
	build.Dir = workertest.Root(t)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

// recipe is the folder of a recipe. A step of it, one on each base when it is
// the mixed one, asks the registry's host for something, so that it can be held
// while it runs.
func (r *shootingRange) recipe(t *testing.T, kind string) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if dir := r.recipes[kind]; dir != "" {
		return dir
	}
	dir := filepath.Join(r.dir, kind)
	if err := testfleet.Recipe(testfleet.RecipeOptions{Dir: dir, Kind: kind, Host: r.host, Files: 40}); err != nil {
		t.Fatal(err)
	}
	before := "RUN sh /src/build.sh"
	if kind == "mixed" {
		before = "RUN set -e;"
	}
	edit(t, filepath.Join(dir, "Dockerfile"), before, fmt.Sprintf("RUN wget -q -O /dev/null http://%s%s\n%s", r.host, gatePath, before))
	r.recipes[kind] = dir
	return dir
}

// edit replaces the one occurrence of a text in a file.
func edit(t *testing.T, file, before, now string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), before); n != 1 {
		t.Fatalf("%s has %q %d times", file, before, n)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), before, now, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fleetFile writes the fleet file of a point.
func (r *shootingRange) fleetFile(t *testing.T, recipe string, epoch bool, repo string) string {
	t.Helper()
	dir := r.recipe(t, recipe)
	n := linkedImages
	if recipe == "mixed" {
		n = mixedImages
	}
	var b strings.Builder
	fmt.Fprintf(&b, "name: killed\njobs: %d\nrecipe: {context: %q}\n", killJobs, dir)
	if epoch {
		b.WriteString("epoch: 2025-01-02T00:00:00Z\n")
	}
	b.WriteString("images:\n  ids:\n")
	for _, id := range testfleet.IDs(linkedImages)[:n] {
		fmt.Fprintf(&b, "    - %s\n", id)
	}
	fmt.Fprintf(&b, "  base: %q\n", r.host+"/swebench/sweb.eval.x86_64.{{swebench .id}}:latest")
	fmt.Fprintf(&b, "  tag: %q\n", r.host+"/"+repo+":{{lower .id}}")
	path := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// published is what is under a tag.
type published struct {
	digest, key string
	layers      []string
}

// reference makes a fleet without disturbance and returns its images by tag.
func (r *shootingRange) reference(recipe string, epoch bool) map[string]*published {
	r.t.Helper()
	name := fmt.Sprintf("%s epoch=%t", recipe, epoch)
	r.mu.Lock()
	known := r.references[name]
	r.mu.Unlock()
	if known != nil {
		return known
	}
	repo := fmt.Sprintf("whole/r%d", len(r.references))
	b := r.start(r.t, killPoint{}, r.fleetFile(r.t, recipe, epoch, repo), r.t.TempDir())
	if err := b.wait(); err != nil {
		r.t.Fatalf("reference %s: %v\n%s", name, err, b.output())
	}
	known = r.published(r.t, repo)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.references[name] = known
	return known
}

// published reads every tag that was ever stored in a repository.
func (r *shootingRange) published(t *testing.T, repo string) map[string]*published {
	t.Helper()
	out := map[string]*published{}
	for tag := range r.ledger.tags(repo) {
		out[tag] = r.image(t, repo, tag)
	}
	return out
}

// image reads what is under a tag now.
func (r *shootingRange) image(t *testing.T, repo, tag string) *published {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/v2/%s/manifests/%s", r.host, repo, tag), nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var m struct {
		Layers      []fact.Descriptor
		Annotations map[string]string
	}
	if err := json.NewDecoder(a.Body).Decode(&m); err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%s:%s: %s: %v", repo, tag, a.Status, err)
	}
	p := &published{digest: a.Header.Get("Docker-Content-Digest"), key: m.Annotations[fact.KeyAnnotation]}
	for _, l := range m.Layers {
		p.layers = append(p.layers, string(l.Digest))
	}
	return p
}

// running is a build in a process of its own.
type running struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan struct{}
	err  error
}

// start runs the build command. When the point is one of an event the command
// is this test binary, which kills itself there; otherwise it is the program.
func (r *shootingRange) start(t *testing.T, p killPoint, fleetFile, state string) *running {
	t.Helper()
	b := &running{done: make(chan struct{})}
	if p.n == 0 {
		b.cmd = exec.Command(r.program, "build", "--json", "--state", state, "--buildkitd", filepath.Join(r.bin, "buildkitd"), "--runc", filepath.Join(r.bin, "runc"), fleetFile)
	} else {
		spec, err := json.Marshal(suicide{Fleet: fleetFile, State: state, Bin: r.bin, Event: p.event, N: p.n})
		if err != nil {
			t.Fatal(err)
		}
		b.cmd = exec.Command(os.Args[0])
		b.cmd.Env = append(os.Environ(), suicideEnv+"="+string(spec))
	}
	b.cmd.Stdout, b.cmd.Stderr = &b.out, &b.out
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		b.err = b.cmd.Wait()
		close(b.done)
	}()
	t.Cleanup(func() { b.cmd.Process.Kill(); <-b.done })
	return b
}

func (b *running) wait() error {
	<-b.done
	return b.err
}

// output is what an ended build printed.
func (b *running) output() string {
	<-b.done
	return b.out.String()
}

// killed tells whether the process ended by SIGKILL.
func (b *running) killed() bool {
	<-b.done
	s, ok := b.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && s.Signaled() && s.Signal() == syscall.SIGKILL
}

// kill runs a build until the point and again to its end.
func (r *shootingRange) kill(t *testing.T, p killPoint, repo string) {
	file, state := r.fleetFile(t, p.recipe, p.epoch, repo), t.TempDir()
	r.untilKilled(t, p, repo, file, state)
	awaitNothing(t, state)
	before, events := readRun(t, state)
	sent := len(r.ledger.stored(repo, 0))
	r.mu.Lock()
	r.doing[doingAt(before, events)]++
	r.mu.Unlock()

	if p.n > 0 {
		p.n = never
	}
	b := r.start(t, p, file, state)
	if err := b.wait(); err != nil {
		t.Fatalf("again: %v\n%s", err, b.output())
	}
	awaitNothing(t, state)
	after, all := readRun(t, state)
	r.checkSummary(t, before, after)
	r.checkRegistry(t, p, repo)
	r.checkNothingTwice(t, repo, before, all[len(events):], sent)
}

// never is the number of an event that no build reaches.
const never = 1 << 30

// untilKilled runs a build until it is dead.
func (r *shootingRange) untilKilled(t *testing.T, p killPoint, repo, file, state string) {
	t.Helper()
	if p.n > 0 {
		if b := r.start(t, p, file, state); !b.killed() {
			t.Fatalf("the build was not killed: %v\n%s", b.err, b.output())
		}
		return
	}
	held := r.proxy.Hold(p.method, strings.ReplaceAll(p.path, "REPO", repo), p.after)
	defer held.Release()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := r.start(t, p, file, state)
	go func() { <-b.done; cancel() }()
	if err := held.Wait(ctx, p.waiting); err != nil {
		t.Fatalf("the build ended before %d requests were held: %v\n%s", p.waiting, b.err, b.output())
	}
	b.cmd.Process.Kill()
	if !b.killed() {
		t.Fatalf("the build was not killed: %v\n%s", b.err, b.output())
	}
}

// readRun reads the one run of a state folder: its summary and its events.
func readRun(t *testing.T, state string) (*summary.Summary, []journal.Event) {
	t.Helper()
	runs, err := runlog.List(state)
	if err != nil || len(runs) != 1 {
		t.Fatalf("%d runs: %v", len(runs), err)
	}
	sum := summary.New()
	var events []journal.Event
	for e, err := range runlog.Read(runs[0].Dir) {
		if err != nil {
			t.Fatalf("journal: %v", err)
		}
		summary.Fold(sum, e)
		events = append(events, e)
	}
	return sum, events
}

// checkSummary compares the summaries before and after the second start.
func (r *shootingRange) checkSummary(t *testing.T, before, after *summary.Summary) {
	t.Helper()
	if after.Starts != before.Starts+1 {
		t.Errorf("the run was started %d times, then %d times", before.Starts, after.Starts)
	}
	if after.Exit == nil || *after.Exit != 0 || after.Failed != 0 || after.Pending != 0 || after.Ignored != 0 {
		t.Errorf("the end: exit %v, failed %d, pending %d, ignored %d, failures %+v", after.Exit, after.Failed, after.Pending, after.Ignored, after.Failures)
	}
	if got := after.Built + after.Skipped + after.Retagged; got != after.Images || len(after.Units) != after.Images {
		t.Errorf("built %d, skipped %d and retagged %d of %d images, %d known", after.Built, after.Skipped, after.Retagged, after.Images, len(after.Units))
	}
}

// checkRegistry compares the registry with that of an undisturbed build.
func (r *shootingRange) checkRegistry(t *testing.T, p killPoint, repo string) {
	t.Helper()
	want, got := r.reference(p.recipe, p.epoch), r.published(t, repo)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Fatalf("tags (-want +got):\n%s", diff)
	}
	for tag, digests := range r.ledger.tags(repo) {
		if len(digests) != 1 {
			t.Errorf("%s had several contents: %v", tag, digests)
		}
	}
	top := map[string]bool{}
	for tag, im := range got {
		ref, base := want[tag], r.bases[tag].Layers
		if im.key == "" || im.key != ref.key {
			t.Errorf("%s: key %q, not %q", tag, im.key, ref.key)
		}
		if p.epoch && im.digest != ref.digest {
			t.Errorf("%s: digest %s, not %s as without a kill", tag, im.digest, ref.digest)
		}
		if len(im.layers) != len(ref.layers) || !slices.Equal(im.layers[:len(base)], base) {
			t.Errorf("%s: layers %v, over a base with %v", tag, im.layers, base)
			continue
		}
		top[strings.Join(im.layers[len(base):], " ")] = true
	}
	if p.recipe == "linked" && len(top) != 1 {
		t.Errorf("the shared layers are %d different ones: %v", len(top), top)
	}
}

// checkNothingTwice looks at what the second start did for images whose
// publication the first one had recorded: nothing.
func (r *shootingRange) checkNothingTwice(t *testing.T, repo string, before *summary.Summary, again []journal.Event, sent int) {
	t.Helper()
	done := map[string]bool{} // by tag
	for id, u := range before.Units {
		if u.State == summary.Published {
			done[strings.ToLower(id)] = true
		}
	}
	for _, e := range again {
		if done[strings.ToLower(e.Unit)] && e.Kind != journal.UnitSkipped {
			t.Errorf("%s was published, and then %s", e.Unit, e.Kind)
		}
	}
	for _, e := range r.ledger.stored(repo, sent) {
		if e.tagged() && done[e.Ref] {
			t.Errorf("%s was published, and then sent again as %s", e.Ref, e.Digest)
		}
	}
}

// suicideEnv makes this test binary a build that kills itself.
const suicideEnv = "LAPSTRAKE_TEST_SUICIDE"

// suicide says what to build and when to end.
type suicide struct {
	Fleet, State, Bin string
	Event             journal.Kind
	N                 int
}

// suicideMain is the build command with a hook that kills the process after the
// nth event that it wrote. It must not be an exit: nothing may be put in order.
func suicideMain(spec string) int {
	var s suicide
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		panic(err)
	}
	err := s.build(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return diag.KindOf(err).ExitCode()
	}
	return 0
}

func (s *suicide) build(ctx context.Context) error {
	f, err := fleetfile.Load(s.Fleet, fleetfile.Options{Rows: rows.Read})
	if err != nil {
		return err
	}
	e, err := engine.Open(ctx, engine.Setup{Fleet: f, State: s.State, UserAgent: "test"})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	seen := 0
	e.Run, err = engine.StartRecord(engine.RecordOptions{State: s.State, Fleet: f, AfterAppend: func(seq int64) {
		if s.Event != "" && s.kindOf(seq) != s.Event {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen == s.N {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		return err
	}
	daemon := engine.NewDaemon(e, s.State, engine.DaemonOptions{Buildkitd: filepath.Join(s.Bin, "buildkitd"), Runc: filepath.Join(s.Bin, "runc")})
	e.Workers = []engine.Connector{daemon.Connector()}
	_, err = e.Build(ctx, nil)
	return e.Run.Finish(errors.Join(err, daemon.Close()))
}

// kindOf reads the kind of an event that was written.
func (s *suicide) kindOf(seq int64) journal.Kind {
	runs, err := runlog.List(s.State)
	if err != nil || len(runs) != 1 {
		panic(fmt.Sprintf("%d runs: %v", len(runs), err))
	}
	for e, err := range runlog.Read(runs[0].Dir) {
		if err != nil {
			panic(err)
		}
		if e.Seq == seq {
			return e.Kind
		}
	}
	panic(fmt.Sprintf("no event %d", seq))
}
