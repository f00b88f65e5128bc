package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/decide/evidence"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/decide/release"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// job is a solve that pushes to repo by digest, written as the fleet's output asks.
func (e *Engine) job(definition []byte, repo string) plan.Job {
	return plan.Job{
		ID:          rand.Text(),
		Definition:  definition,
		Repo:        repo,
		HTTP:        e.Store.PlainHTTP(publish.Host(repo)),
		MediaTypes:  e.Fleet.Output.MediaTypes,
		Compression: e.Fleet.Output.Compression,
		Epoch:       e.Fleet.Epoch,
	}
}

// imageJob is the solve of one whole image, pushed to repo by digest. The map
// leads from the digests of its steps to those of the variant's.
func (e *Engine) imageJob(t task, repo string) (plan.Job, map[graph.Digest]graph.Digest, error) {
	definition, steps, err := e.Recipe.Definition(t.facts.Variant, t.facts.Base, t.facts.Image)
	if err != nil {
		return plan.Job{}, nil, err
	}
	job := e.job(definition, repo)
	if job.Config, err = publish.SolveConfig(t.facts.Base, t.facts.Variant, e.Fleet.Output, t.unit.Key); err != nil {
		return job, nil, diag.Wrap(diag.Internal, "config of "+t.unit.Image, err)
	}
	job.BaseConfig, err = publish.BaseConfig(t.facts.Base)
	return job, steps, diag.Wrap(diag.Internal, "config of "+t.unit.Base, err)
}

// solve makes the images that need a solve of their own, a fixed number at
// once, and releases what each leaves on the daemon when it is published.
func (e *Engine) solve(ctx context.Context, tasks []task) {
	if len(tasks) == 0 {
		return
	}
	w, err := e.connect(ctx).Get(ctx)
	if err != nil {
		for _, t := range tasks {
			e.fail(t, err, true)
		}
		return
	}
	r := e.releaser(ctx, w, tasks)
	each(ctx, len(tasks), e.jobs(), func(i int) {
		t := tasks[i]
		e.note(journal.UnitStarted, t.unit.Image, journal.UnitData{Action: string(t.unit.Action), Key: t.unit.Key})
		if err := e.solveOne(ctx, w, t); err != nil {
			e.fail(t, err, failedShared(t.facts.Variant, err))
		}
		r.finished(t.facts.Base)
	})
	r.close()
}

// solveOne builds one image, pushes it by digest and publishes its tags last.
func (e *Engine) solveOne(ctx context.Context, w *Worker, t task) error {
	repos := publish.Repos(t.unit.Tags)
	source := sourceOf(t.facts.Base)
	if publish.Host(source) == publish.Host(repos[0]) {
		// The daemon finds mounted blobs and neither pulls nor pushes them again.
		if err := e.bring(ctx, publish.Blobs(repos[0], source, t.facts.Base.Layers)); err != nil {
			return err
		}
	}
	job, steps, err := e.imageJob(t, repos[0])
	if err != nil {
		return err
	}
	job.Annotations = publish.Annotations(e.Fleet.Output, t.unit.Key)
	find := planned(t.facts.Variant, steps)
	warmth := evidence.Tally{Ran: e.steps.executed, Kind: func(d graph.Digest) graph.Kind {
		if step := find(d); step != nil {
			return step.Kind
		}
		return ""
	}}
	steplog := e.solveSteps(t.unit.Image, find)
	built, err := w.Solver.Solve(ctx, job, func(r journal.StepRecord) { warmth.Add(r); steplog.record(r) })
	steplog.flush()
	if err != nil {
		return err
	}
	e.durable(journal.UnitBuilt, t.unit.Image, journal.UnitData{Digest: built.Digest, Key: t.unit.Key})
	data, mediaType, err := e.Store.Manifest(ctx, repos[0], built.Digest)
	if err != nil {
		return err
	}
	for _, repo := range repos[1:] {
		if err := e.spread(ctx, repos[0], repo, data); err != nil {
			return err
		}
	}
	if err := e.tag(ctx, t, publish.Object{MediaType: mediaType, Digest: built.Digest, Data: data}); err != nil {
		return err
	}
	e.done(t, built.Digest, warmth.Temperature())
	return nil
}

// spread brings the blobs of a manifest from one repository into another.
func (e *Engine) spread(ctx context.Context, from, to string, manifest []byte) error {
	blobs, err := publish.BlobsOf(manifest)
	if err != nil {
		return diag.Wrap(diag.Infra, from, err)
	}
	return e.bring(ctx, publish.Blobs(to, from, blobs))
}

// stepLog turns the daemon's reports into journal events, each execution once:
// a vertex that several solves wait for is reported to all of them.
type stepLog struct {
	mu   sync.Mutex
	seen map[execution]bool
	ran  map[graph.Digest]bool
}

type execution struct {
	digest  graph.Digest
	started int64
}

// first tells whether r is the first report of its execution that is complete.
func (l *stepLog) first(r journal.StepRecord) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen, l.ran = map[execution]bool{}, map[graph.Digest]bool{}
	}
	if !r.Cached {
		l.ran[r.Digest] = true
	}
	x := execution{r.Digest, r.Started.UnixNano()}
	if l.seen[x] {
		return false
	}
	l.seen[x] = true
	return true
}

// executed tells whether this run executed a step earlier.
func (l *stepLog) executed(d graph.Digest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ran[d]
}

// failedShared tells whether err is that of a step that does not descend from
// the base. Such a step has the same digest in the variant and in every solve.
func failedShared(v *graph.Variant, err error) bool {
	var step *buildkit.StepError
	if !errors.As(err, &step) {
		return false
	}
	for _, s := range v.Graph.Steps {
		if s.Digest == step.Step {
			return !s.BaseBound
		}
	}
	return false
}

// planned finds the variant's step for a digest that the daemon reports; nil
// for a vertex that was not planned. steps is what Recipe.Definition gave.
func planned(v *graph.Variant, steps map[graph.Digest]graph.Digest) func(graph.Digest) *graph.Step {
	known := make(map[graph.Digest]*graph.Step, len(v.Graph.Steps))
	for i := range v.Graph.Steps {
		known[v.Graph.Steps[i].Digest] = &v.Graph.Steps[i]
	}
	return func(d graph.Digest) *graph.Step {
		if as, ok := steps[d]; ok {
			d = as
		}
		return known[d]
	}
}

// solveSteps writes the steps of one solve to the journal. The daemon may start
// and complete a vertex several times, first to look it up and then to run it,
// so a step is written once, when the solve has ended.
type solveSteps struct {
	e     *Engine
	image string // empty for a solve that serves many
	find  func(graph.Digest) *graph.Step
	order []graph.Digest
	last  map[graph.Digest]journal.StepRecord
}

func (e *Engine) solveSteps(image string, find func(graph.Digest) *graph.Step) *solveSteps {
	return &solveSteps{e: e, image: image, find: find, last: map[graph.Digest]journal.StepRecord{}}
}

// record takes a report; output of steps is kept at once.
func (s *solveSteps) record(r journal.StepRecord) {
	if len(r.Log) > 0 && s.e.Run != nil {
		s.e.Run.WriteLog(s.image, r.Name, r.Log)
	}
	r.Log = nil
	if _, ok := s.last[r.Digest]; !ok {
		s.order = append(s.order, r.Digest)
	}
	s.last[r.Digest] = r
}

// flush writes what completed, each execution once however many solves saw it.
func (s *solveSteps) flush() {
	for _, d := range s.order {
		r := s.last[d]
		if r.Completed.IsZero() && r.Error == "" || !s.e.steps.first(r) {
			continue
		}
		data := journal.StepData{Name: r.Name, Cached: r.Cached, Error: r.Error, Pulled: r.Pulled, Shared: s.image == ""}
		if !r.Started.IsZero() && !r.Completed.IsZero() {
			data.Took = r.Completed.Sub(r.Started)
		}
		ev := event(journal.StepDone, s.image, nil)
		ev.Step = r.Digest
		if step := s.find(r.Digest); step != nil {
			ev.Step, data.Kind, data.Shared = step.Digest, step.Kind, !step.BaseBound
		}
		ev.Data = encode(data)
		if s.e.Run != nil {
			s.e.Run.Append(ev)
		}
	}
}

// releaser gives back what published images left on the daemon, in batches and
// beside the solves.
type releaser struct {
	e        *Engine
	w        *Worker
	before   map[string]bool
	bases    map[graph.Digest]int // images still to come, by base
	byDigest map[graph.Digest]*fact.Base
	todo     chan *fact.Base
	wg       sync.WaitGroup
}

func (e *Engine) releaser(ctx context.Context, w *Worker, tasks []task) *releaser {
	r := &releaser{e: e, w: w, before: map[string]bool{}, bases: map[graph.Digest]int{}, byDigest: map[graph.Digest]*fact.Base{}, todo: make(chan *fact.Base, len(tasks))}
	for _, t := range tasks {
		r.bases[t.facts.Base.Digest]++
		r.byDigest[t.facts.Base.Digest] = t.facts.Base
	}
	if w.Disk == nil {
		return r
	}
	records, err := w.Disk.Records(ctx)
	if err != nil {
		e.note(journal.Note, "", journal.NoteData{Level: "warning", Text: "nothing is released: " + err.Error()})
		r.w = &Worker{}
		return r
	}
	for _, rec := range records {
		r.before[rec.ID] = true
	}
	r.wg.Go(func() { r.run(ctx) })
	return r
}

// finished says that an image on base needs the daemon no more.
func (r *releaser) finished(base *fact.Base) {
	if r.w.Disk != nil {
		r.todo <- base
	}
}

// close waits for the last release.
func (r *releaser) close() {
	close(r.todo)
	r.wg.Wait()
}

func (r *releaser) run(ctx context.Context) {
	var done []*fact.Base
	for base := range r.todo {
		r.bases[base.Digest]--
		for more := true; more; {
			select {
			case b, ok := <-r.todo:
				if more = ok; ok {
					r.bases[b.Digest]--
				}
			default:
				more = false
			}
		}
		done = done[:0]
		var live []*fact.Base
		for d, n := range r.bases {
			if n > 0 {
				live = append(live, r.byDigest[d])
			} else {
				done = append(done, r.byDigest[d])
			}
		}
		r.release(ctx, done, live)
	}
}

func (r *releaser) release(ctx context.Context, done, live []*fact.Base) {
	if len(done) == 0 || ctx.Err() != nil {
		return
	}
	start := time.Now()
	records, err := r.w.Disk.Records(ctx)
	if err != nil {
		return // the next image tries again; what stays is only disk
	}
	ids := release.Dead(records, r.before, done, live)
	if len(ids) == 0 {
		return
	}
	n, bytes, err := r.w.Disk.Release(ctx, ids)
	if err != nil && ctx.Err() == nil {
		r.e.note(journal.Note, "", journal.NoteData{Level: "warning", Text: "release: " + err.Error()})
	}
	if n > 0 {
		r.e.note(journal.Released, "", journal.ReleaseData{Records: n, Bytes: bytes, Took: time.Since(start)})
	}
}
