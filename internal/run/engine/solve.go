package engine

import (
	"context"
	"errors"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/decide/evidence"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// job is a solve that pushes to repo by digest, written as the fleet's output asks.
func (e *Engine) job(definition []byte, repo string) plan.Job {
	return plan.Job{
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
	job.BaseConfig, err = publish.BaseConfig(t.facts.Base, t.facts.Variant)
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
	built, err := e.attempts(ctx, w, job, steplog, func(r journal.StepRecord) { warmth.Add(r); steplog.record(r) })
	if err != nil {
		return err
	}
	e.note(journal.UnitBuilt, t.unit.Image, journal.UnitData{Digest: built.Digest, Key: t.unit.Key})
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

// How often a solve is tried, and the pause before the second time; the next
// ones are twice as long each.
const (
	solveAttempts = 3
	solvePause    = time.Second
)

// attempts runs a solve, and runs it again when it failed in passing: the daemon
// tries hardly again what a registry did not answer, and has kept what is done.
func (e *Engine) attempts(ctx context.Context, w *Worker, job plan.Job, log *solveSteps, record func(journal.StepRecord)) (plan.Built, error) {
	for n := 0; ; n++ {
		built, err := w.Solver.Solve(ctx, job, record)
		log.flush()
		if err == nil || n+1 == solveAttempts || !passing(err) {
			return built, err
		}
		e.note(journal.Note, log.image, journal.NoteData{Level: "warning", Text: "tried again: " + err.Error()})
		select {
		case <-time.After(solvePause << n):
		case <-ctx.Done():
			return built, diag.Wrap(diag.Interrupted, "solve", context.Cause(ctx))
		}
	}
}

// passing tells whether a solve failed for a reason that may go away by itself:
// one of the infrastructure that nothing is known to be done about.
func passing(err error) bool {
	return diag.KindOf(err) == diag.Infra && diag.HelpOf(err) == "" && !errors.Is(err, buildkit.ErrLost) && !errors.Is(err, buildkit.ErrNoSpace)
}

// spread brings the blobs of a manifest from one repository into another.
func (e *Engine) spread(ctx context.Context, from, to string, manifest []byte) error {
	blobs, err := publish.BlobsOf(manifest)
	if err != nil {
		return diag.Wrap(diag.Infra, from, err)
	}
	return e.bring(ctx, publish.Blobs(to, from, blobs))
}
