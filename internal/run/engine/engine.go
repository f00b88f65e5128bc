// Package engine carries out plans: it finds the facts that a plan needs, runs
// the plan's actions against a daemon and a registry, and writes what happened
// to the journal.
//
// Failure domains are the image, the shared step, the worker and the registry:
// one image's failure never stops another, a shared step's failure stops exactly
// the images that need it, and what ran on a worker that is lost is made again. When the context is cancelled nothing new starts, solves are
// cancelled in the daemon too, and the same command goes on later.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/adapt/creds"
	"github.com/lapstrake/lapstrake/internal/adapt/dockerfile"
	"github.com/lapstrake/lapstrake/internal/adapt/filetree"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/evidence"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/decide/release"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// Solver runs solves on one daemon.
//
// Solve may be called concurrently. It calls record from one goroutine, with
// whole vertices, and returns after the last call. Cancelling ctx cancels the
// solve in the daemon; the error then wraps ctx's cause. Errors carry a
// diag.Kind. Scan is the same for the scan of an image, and returns the in-toto
// statements that the scanner wrote.
type Solver interface {
	Solve(ctx context.Context, job plan.Job, record func(journal.StepRecord)) (plan.Built, error)
	Scan(ctx context.Context, scan plan.Scan, record func(journal.StepRecord)) ([][]byte, error)
}

// Disk is the daemon's storage.
//
// Release removes the records named, but those that are in use or have children,
// and returns the ids of those that went, also with an error. Space is that of the
// file system or, where that cannot be read, what the records take; it may be some
// seconds old unless it is to be fresh. Relieve gives up what was kept for the case
// that the file system is full, so that the daemon can work again, and Recover
// keeps it anew when there is room; both may be called at any time and any number
// of times.
type Disk interface {
	Records(ctx context.Context) ([]release.Record, error)
	Release(ctx context.Context, ids []string) (gone []string, err error)
	Space(fresh bool) (journal.DiskData, error)
	Relieve() error
	Recover() error
}

// Worker is a daemon that is ready.
type Worker struct {
	Solver Solver
	// Disk is nil when the daemon's storage is not ours to manage.
	Disk Disk
	// Versions and Address are recorded in the journal.
	Versions map[string]string
	Address  string
	// Platforms are those whose programs it can run; nil when it does not say.
	Platforms []string
	// Gone is closed when the daemon has ended; nil when that cannot be known.
	Gone <-chan struct{}
	// Ping asks whether the daemon answers; nil when it is not to be asked.
	Ping func(ctx context.Context) error
}

// Options are the user's choices for one run.
type Options struct {
	Planner planner.Options
	// CachedBases trusts what a tag resolved to earlier and sends no request for it.
	CachedBases bool
	// Offline sends nothing to anybody: what was learned earlier counts, and
	// every tag as missing. Only planning can do so.
	Offline bool
	// StandIn, when not nil, is what bases look like that nothing is known of
	// offline; without it their images are blocked.
	StandIn *fact.Base
	// Jobs is the most solves at once on one worker; 0 means the fleet's, else one
	// per core, at least 2.
	Jobs int
	// Publishers is the number of images that are published at once; 0 means 16.
	Publishers int
	// Disk is what each daemon may use of its disk; the zero value is no limit.
	Disk fleet.Disk
	// Cache is the registry/repository that shared steps are exported to and
	// looked up in, a tag for each content; empty means none with one worker,
	// and the first image's repository with several.
	Cache string
	// Deadlines say how long things may take before they are cancelled, in the
	// daemon too; zero means none.
	Deadlines fleet.Deadlines
}

// Engine makes the images of one fleet.
type Engine struct {
	Fleet *fleet.Fleet
	// Recipe is for the fleet's first platform.
	Recipe *dockerfile.Recipe
	// Trees are the local contexts by name, "context" for the main one.
	Trees map[string]*filetree.Tree
	Store *registry.Store
	// Keychain serves the daemon's session too.
	Keychain *creds.Keychain
	// Index is what earlier runs published; may be nil.
	Index *Index
	// Workers are the daemons to use, at least one. None is started or reached
	// before an image needs a solve.
	Workers []Connector
	// Run records what happens; nil while only planning.
	Run  *Record
	Opts Options

	state      string // folder
	version    string // of the program
	output     output
	recipe     dockerfile.Options // that Recipe was opened with
	recipes    map[string]*dockerfile.Recipe
	assumed    nameSet // images beside the bases that a stand-in was used for
	input      *planner.Input
	stations   []*station
	releases   releases
	watching   sync.WaitGroup // who watches workers, until over
	over       chan struct{}
	abort      context.CancelCauseFunc
	scheduling sync.Mutex // held while a schedule or a pause begins
	gate       gate
	driver     atomic.Pointer[driver]
	background sync.WaitGroup // whatever futures are made by
	blobs      once[blobAt]
	copies     once[blobAt] // blobs that came from another registry; repo is the host
	held       sync.Map     // blobAt of copies -> the repository that has it
	sets       sync.Map     // graph.Digest -> *future[layerSet]
	contents   sync.Map     // graph.Digest of a shared step -> its fingerprint
	steps      stepLog
	mu         sync.Mutex
	worst      diag.Kind
	failed     bool
}

type blobAt struct {
	repo string
	blob graph.Digest
}

// layerSet is a layer set in the repository that a solve pushed it to.
type layerSet struct {
	layers publish.Layers
	repo   string
}

// task is one image with everything that carrying out its unit needs.
type task struct {
	unit  plan.Unit
	facts *planner.Facts
	joint *joint // nil when the unit is the whole image
	// there is what was made of the unit, nil as long as nothing was; pulled is its
	// image as the worker pulls it for a scan, and sbom what that said.
	there  *made
	pulled *fact.Base
	sbom   []publish.Statement
}

// made is a unit's manifest, which its repositories have by digest.
type made struct {
	manifest    publish.Object
	temperature string // of a solve
}

// Build plans the fleet and carries the plan out. The plan is returned as soon
// as it is known, also with an error. The error's kind decides the exit code;
// images that failed make it diag.Step or what failed them.
func (e *Engine) Build(ctx context.Context, planned func(*plan.Plan) error) (*plan.Plan, error) {
	if err := e.output.lock(); err != nil {
		return nil, err
	}
	ctx, end := e.begin(ctx)
	defer end()
	e.phase(journal.PhaseStarted, "resolve")
	in, err := e.Gather(ctx, func(in *planner.Input, f *planner.Facts) { e.foresee(ctx, in, f) })
	e.phase(journal.PhaseEnded, "resolve")
	if err != nil {
		e.background.Wait()
		return nil, err
	}
	e.input = in
	e.phase(journal.PhaseStarted, "plan")
	p := planner.Make(*in)
	e.phase(journal.PhaseEnded, "plan")
	if err := e.recordPlan(p, in); err != nil {
		return p, err
	}
	if planned != nil {
		if err := planned(p); err != nil {
			e.background.Wait()
			return p, err
		}
	}
	if err := e.carryOut(ctx, tasksOf(p, in)); err != nil {
		return p, err
	}
	return p, e.sweep()
}

// begin makes the run's context, which the time limit ends, and a journal that
// cannot be written, and the stations. end must be called when nothing runs any more.
func (e *Engine) begin(ctx context.Context) (run context.Context, end func()) {
	stop := func() {}
	if limit := e.Opts.Deadlines.Run; limit > 0 {
		ctx, stop = context.WithTimeoutCause(ctx, limit, fmt.Errorf("the time limit of %s is reached", limit))
	}
	ctx, e.abort = context.WithCancelCause(ctx)
	e.over = make(chan struct{})
	e.stations = nil
	for _, c := range e.Workers {
		e.stations = append(e.stations, &station{e: e, name: c.Name, disk: c.Disk, connect: c.Connect})
	}
	if e.Run != nil {
		e.releases.keep = e.Run.firstRecords
	}
	return ctx, func() {
		e.endSchedule()
		e.finish()
		e.watching.Wait()
		e.abort(nil)
		stop()
	}
}

// finish says that no worker is needed any more.
func (e *Engine) finish() {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.over:
	default:
		close(e.over)
	}
}

// foresee starts the daemons, and the shared layers of appends, as soon as one
// image is known to need them, while others are still being resolved.
func (e *Engine) foresee(ctx context.Context, in *planner.Input, f *planner.Facts) {
	u := planner.Decide(in, f)
	switch {
	case u.Action == plan.Build:
		for _, s := range e.stations {
			s.ask(ctx)
		}
	case u.Action == plan.Append && u.Layers != "" && !in.LayersKnown(u.Layers):
		e.layers(ctx, task{unit: u, facts: f})
	}
}

func (e *Engine) recordPlan(p *plan.Plan, in *planner.Input) error {
	if e.Run == nil {
		return nil
	}
	data, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return diag.Wrap(diag.Internal, "plan", err)
	}
	if err := e.Run.WriteFile(runlog.PlanFile, data); err != nil {
		return err
	}
	if err := e.recordBasis(in); err != nil {
		return err
	}
	actions := map[string]int{}
	for a, n := range p.Actions {
		actions[string(a)] = n
	}
	return e.note(journal.Planned, "", journal.PlannedData{Images: len(p.Units), Actions: actions, StepsDistinct: p.Executions.Planned, BaseBytes: baseBytes(p, in)})
}

func (e *Engine) recordBasis(in *planner.Input) error {
	b, err := e.Basis(in)
	if err != nil {
		return err
	}
	data, err := json.Marshal(b)
	if err != nil {
		return diag.Wrap(diag.Internal, "basis of the plan", err)
	}
	return e.Run.WriteFile(runlog.BasisFile, []byte(e.Run.Redactor().String(string(data))))
}

// baseBytes sums the distinct base layers that solves will pull.
func baseBytes(p *plan.Plan, in *planner.Input) int64 {
	var sum int64
	seen := map[graph.Digest]bool{}
	for i, u := range p.Units {
		if u.Action != plan.Build && !u.Scan {
			continue
		}
		for _, l := range in.Images[i].Base.Layers {
			if !seen[l.Digest] {
				seen[l.Digest] = true
				sum += l.Size
			}
		}
	}
	return sum
}

// carryOut runs the tasks of one plan to their end.
func (e *Engine) carryOut(ctx context.Context, tasks []task) error {
	var solves, sends []task
	for _, t := range tasks {
		if e.published(&t) {
			continue
		}
		switch t.unit.Action {
		case plan.Skip:
			if t.joint != nil && t.joint.index.Action != plan.Block {
				sends = append(sends, t)
			} else {
				e.skip(t)
			}
		case plan.Block:
			e.fail(t, t.facts.Problem, false)
		case plan.Build:
			solves = append(solves, t)
		default:
			sends = append(sends, t)
		}
	}
	e.phase(journal.PhaseStarted, "images")
	e.solve(ctx, solves)
	e.solve(ctx, e.send(ctx, sends))
	e.endSchedule()
	e.finish()
	e.background.Wait()
	e.phase(journal.PhaseEnded, "images")
	e.totals()
	return e.verdict(ctx)
}

// published tells whether an earlier start of this run made the image. It is
// asked only when the registry is not: then the journal alone knows. A unit whose
// index is not there yet is taken as that start left it.
func (e *Engine) published(t *task) bool {
	if e.Opts.Planner.Skip != planner.SkipNever || e.Run == nil || !e.Run.Resumed {
		return false
	}
	s, ok := e.Run.State(t.unit.Image)
	if !ok || s.State != summary.Published && s.State != summary.Placed || s.Key != t.unit.Key {
		return false
	}
	if s.State == summary.Published && (t.joint == nil || e.Run.published(t.joint.index)) {
		return true
	}
	t.unit.Action, t.unit.From = plan.Retag, s.Tags[0]
	return false
}

// skip records an image that exists.
func (e *Engine) skip(t task) {
	_, digest := publish.Split(t.unit.From)
	e.note(journal.UnitSkipped, t.unit.Image, journal.UnitData{Action: string(t.unit.Action), Key: t.unit.Key, Digest: graph.Digest(digest), Tags: names(t, graph.Digest(digest)), Temperature: evidence.Skipped})
}

// fail records that an image failed and why; shared says that what failed
// serves other images too.
func (e *Engine) fail(t task, err error, shared bool) {
	kind := diag.KindOf(err)
	if kind == diag.Interrupted {
		return // not failed: it goes on later
	}
	e.mu.Lock()
	if e.failed {
		e.worst = diag.Worst(e.worst, kind)
	} else {
		e.failed, e.worst = true, kind
	}
	e.mu.Unlock()
	data := e.failData(err)
	data.Shared = shared
	e.note(journal.UnitFailed, t.unit.Image, data)
}

// failData is what the journal says of an error.
func (e *Engine) failData(err error) journal.FailData {
	data := journal.FailData{Kind: diag.KindOf(err).String(), Cause: err.Error(), Help: diag.HelpOf(err)}
	var step *buildkit.StepError
	if errors.As(err, &step) {
		data.Step, data.Pos, data.Log = step.Name, e.placed(step.Pos), step.Log
	}
	return data
}

// placed is a place in the recipe with the path of its file: a daemon knows the
// name that it has in its folder.
func (e *Engine) placed(p diag.Pos) diag.Pos {
	if d := e.Fleet.Recipe.Dockerfile; p.File != "" && strings.HasSuffix("/"+d, "/"+p.File) {
		p.File = d
	}
	return p
}

// verdict is the error that the run as a whole ends with.
func (e *Engine) verdict(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx.Err() != nil {
		return diag.Errorf(diag.Interrupted, "run the same command again to go on", "stopped: %w", context.Cause(ctx))
	}
	if !e.failed {
		return nil
	}
	kind := e.worst
	if kind == diag.File {
		kind = diag.Step // the other images are done; some failed
	}
	return diag.Errorf(kind, "see `lapstrake show` for each image; the same command tries the failed ones again", "some images failed")
}

// totals records how many requests and bytes the run cost.
func (e *Engine) totals() { e.note(journal.Requests, "", e.Store.Totals()) }

func (e *Engine) phase(kind journal.Kind, name string) {
	e.note(kind, "", journal.PhaseData{Phase: name})
}

// note appends an event that may be lost in a crash; durable appends one that
// must not be.
func (e *Engine) note(kind journal.Kind, unit string, data any) error {
	return e.append(event(kind, unit, data))
}

func (e *Engine) durable(kind journal.Kind, unit string, data any) error {
	if e.Run == nil {
		return nil
	}
	return e.write(e.Run.AppendDurable, event(kind, unit, data))
}

func (e *Engine) append(ev journal.Event) error {
	if e.Run == nil {
		return nil
	}
	return e.write(e.Run.Append, ev)
}

// write writes an event. The journal may be on the disk that a daemon fills: then
// what was kept for that case is given up and the event written once more. A
// journal that cannot be written ends the run, as nothing would know what happens
// in it.
func (e *Engine) write(append func(journal.Event) error, ev journal.Event) error {
	err := append(ev)
	if err == nil {
		return nil
	}
	for _, s := range e.stations {
		e.relieve(s)
	}
	if err = append(ev); err != nil && e.abort != nil {
		e.abort(err)
	}
	return err
}

// relieve lets a worker's disk breathe when it is full.
func (e *Engine) relieve(s *station) {
	if l := s.now(); l != nil && l.Disk != nil {
		_ = l.Disk.Relieve() // what follows fails for the same reason, and says so
	}
}

func event(kind journal.Kind, unit string, data any) journal.Event {
	return journal.Event{Kind: kind, Unit: unit, Data: encode(data)}
}

func encode(data any) json.RawMessage {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(fmt.Sprintf("engine: journal data is plain: %v", err))
	}
	return raw
}

func (e *Engine) jobs() int {
	for _, n := range []int{e.Opts.Jobs, e.Fleet.Jobs} {
		if n > 0 {
			return n
		}
	}
	return max(2, runtime.NumCPU())
}

func (e *Engine) publishers() int {
	if e.Opts.Publishers > 0 {
		return e.Opts.Publishers
	}
	return 16
}

// bring applies blob operations, each blob once per repository, and once per
// registry when it comes from another one.
func (e *Engine) bring(ctx context.Context, ops []plan.Op) error {
	for _, op := range ops {
		apply := e.apply
		if op.Kind == plan.OpCopy {
			apply = e.copyOnce
		}
		if err := apply(ctx, op); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) apply(ctx context.Context, op plan.Op) error {
	return e.blobs.Do(ctx, blobAt{op.Repo, op.Digest}, func() error {
		_, err := e.Store.Apply(ctx, op)
		return err
	})
}

// copyOnce brings a blob from another registry to the first repository that
// needs it, and from there to the others.
func (e *Engine) copyOnce(ctx context.Context, op plan.Op) error {
	at := blobAt{publish.Host(op.Repo), op.Digest}
	err := e.copies.Do(ctx, at, func() error {
		if _, ok := e.held.Load(at); ok {
			return nil
		}
		err := e.apply(ctx, op)
		if err == nil {
			e.held.Store(at, op.Repo)
		}
		return err
	})
	if err != nil {
		return err
	}
	from, _ := e.held.Load(at)
	if from == op.Repo {
		return nil
	}
	op.Kind, op.From = plan.OpMount, from.(string)
	return e.apply(ctx, op)
}
