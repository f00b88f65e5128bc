package engine

import (
	"context"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/evidence"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// job is a solve that pushes to repo by digest, written as the fleet's output asks.
func (e *Engine) job(definition []byte, repo string) plan.Job {
	at, plainHTTP := e.Store.Pusher(repo)
	return plan.Job{
		Definition:       definition,
		Repo:             at,
		HTTP:             plainHTTP,
		MediaTypes:       e.Fleet.Output.MediaTypes,
		Compression:      e.Fleet.Output.Compression,
		CompressionLevel: e.Fleet.Output.CompressionLevel,
		Epoch:            e.Fleet.Epoch,
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

// solveOne builds one image, unless it is there, scans it where that is asked for,
// and publishes its tags last. What is done of it is in the task, also when it fails,
// so that another attempt goes on from there. The solve ends with the context solve,
// publishing only with ctx: an image that is being published is not given up because
// its daemon is gone.
func (e *Engine) solveOne(ctx, solve context.Context, stop context.CancelCauseFunc, s *station, w *Worker, t *task) error {
	if t.there == nil {
		manifest, temperature, err := e.buildOne(ctx, solve, stop, s, w, *t)
		if err != nil {
			return err
		}
		t.there = &made{manifest, temperature}
		if t.unit.Scan {
			s.note(journal.UnitPlaced, t.unit.Image, placed(*t))
		}
	}
	if t.unit.Scan && t.sbom == nil {
		if err := e.scan(ctx, solve, stop, s, w, t); err != nil {
			return err
		}
	}
	if t.joint != nil {
		return t.joint.join(ctx, e, *t)
	}
	return nil
}

// buildOne builds one image and puts it by digest into its repositories or, when it
// is no part of an index, under its tags.
func (e *Engine) buildOne(ctx, solve context.Context, stop context.CancelCauseFunc, s *station, w *Worker, t task) (manifest publish.Object, temperature string, err error) {
	if err := w.runs(t.facts.Variant.Graph.Runs()); err != nil {
		return manifest, "", err
	}
	repos := publish.Repos(t.unit.Tags)
	source := sourceOf(t.facts.Base)
	if e.Fleet.Output.To == "" && publish.Host(source) == publish.Host(repos[0]) {
		// The daemon finds mounted blobs and neither pulls nor pushes them again.
		if err := e.bring(ctx, publish.Blobs(repos[0], source, t.facts.Base.Layers)); err != nil {
			return manifest, "", err
		}
	}
	job, steps, err := e.imageJob(t, repos[0])
	if err != nil {
		return manifest, "", err
	}
	job.Annotations = publish.Annotations(e.Fleet.Output, t.unit.Key)
	find := planned(t.facts.Variant, steps)
	warmth := evidence.Tally{Ran: e.steps.executed, Kind: func(d graph.Digest) graph.Kind {
		if step := find(d); step != nil {
			return step.Kind
		}
		return ""
	}}
	job.Cache = e.cacheOf(&t.facts.Variant.Graph, s.lacks(t.unit.Needs))
	log := e.solveSteps(s.name, t.unit.Image, find)
	log.limit(e.Opts.Deadlines.Step, stop)
	built, err := w.Solver.Solve(solve, job, func(r journal.StepRecord) {
		r = log.fetched(r)
		warmth.Add(r)
		log.record(r)
	})
	log.flush()
	if err != nil {
		return manifest, "", err
	}
	s.has(t.unit.Needs)
	e.note(journal.UnitBuilt, t.unit.Image, journal.UnitData{Digest: built.Digest, Key: t.unit.Key})
	if manifest, err = e.manifestAt(ctx, repos[0]+"@"+string(built.Digest)); err != nil {
		return manifest, "", err
	}
	for _, repo := range repos[1:] {
		if err := e.spread(ctx, repos[0], repo, manifest.Data); err != nil {
			return manifest, "", err
		}
	}
	return manifest, warmth.Temperature(), e.put(ctx, t, manifest, repos[0])
}

// runs refuses steps that run on platforms whose programs the worker cannot run.
// Steps that only move files need none of them.
func (w *Worker) runs(platforms []string) error {
	for _, p := range platforms {
		if len(w.Platforms) > 0 && !slices.Contains(w.Platforms, p) {
			_, arch, _ := strings.Cut(p, "/")
			return diag.Errorf(diag.Infra, "give it an emulator (docker run --privileged --rm tonistiigi/binfmt --install "+arch+", or Debian's qemu-user-static and binfmt-support) and start it again, use a worker for "+p+", or cross-build: FROM --platform=$BUILDPLATFORM",
				"worker %s runs programs for %s, and steps are for %s", w.Address, strings.Join(w.Platforms, ", "), p)
		}
	}
	return nil
}

// solveShared makes one shared step on a worker, and keeps it there.
func (e *Engine) solveShared(solve context.Context, stop context.CancelCauseFunc, s *station, w *Worker, v *graph.Variant, step graph.Digest) error {
	if err := w.runs(v.Graph.Runs(step)); err != nil {
		return err
	}
	definition, err := e.Recipe.Part(v, step)
	if err != nil {
		return err
	}
	job := plan.Job{Definition: definition, Epoch: e.Fleet.Epoch, Cache: e.cacheOf(&v.Graph, []graph.Digest{step})}
	if len(job.Cache.From) > 0 {
		job.Cache.To = job.Cache.From[0]
	}
	log := e.solveSteps(s.name, "", planned(v, nil))
	log.serves = step
	log.limit(e.Opts.Deadlines.Step, stop)
	_, err = w.Solver.Solve(solve, job, func(r journal.StepRecord) { log.record(log.fetched(r)) })
	log.flush()
	if err == nil && e.steps.executed(step) {
		// What was only found in a registry is fetched by the first image that
		// needs it, which must know where from.
		s.has([]graph.Digest{step})
	}
	return err
}

// solveLayers makes a layer set on a worker, which pushes it.
func (e *Engine) solveLayers(solve context.Context, stop context.CancelCauseFunc, s *station, w *Worker, id graph.Digest, l set) (plan.Built, error) {
	if err := w.runs(l.variant.Graph.Runs(l.variant.Shared.Inputs...)); err != nil {
		return plan.Built{}, err
	}
	log := e.solveSteps(s.name, "", planned(l.variant, nil))
	log.serves = id
	log.limit(e.Opts.Deadlines.Step, stop)
	built, err := w.Solver.Solve(solve, e.job(l.variant.Shared.Definition, l.repo), log.record)
	log.flush()
	return built, err
}

// cacheOf is where results of shared steps are found in a registry: one reference
// for each content, which files of a context that no step reads do not move. The
// zero value when there is none.
func (e *Engine) cacheOf(g *graph.Graph, steps []graph.Digest) plan.Cache {
	repo := e.cacheRepo()
	if repo == "" {
		return plan.Cache{}
	}
	c := plan.Cache{HTTP: e.Store.PlainHTTP(publish.Host(repo))}
	for _, d := range steps {
		print, _ := e.contents.Load(d)
		if ref := publish.CacheRef(repo, g.Step(d), print.(graph.Digest)); ref != "" {
			c.From = append(c.From, ref)
		}
	}
	if len(c.From) == 0 {
		return plan.Cache{}
	}
	return c
}

// cacheRepo is the repository for results of shared steps, "" when there is none.
func (e *Engine) cacheRepo() string {
	workers := len(e.Workers)
	if workers == 0 { // nothing is built
		workers = len(e.Fleet.Workers)
	}
	if e.Opts.Cache == "" && e.Fleet.Output.To == "" && workers > 1 {
		return publish.Repos(e.Fleet.Images[0].Tags)[0]
	}
	return e.Opts.Cache
}

// spread brings the blobs of a manifest from one repository into another.
func (e *Engine) spread(ctx context.Context, from, to string, manifest []byte) error {
	blobs, err := publish.BlobsOf(manifest)
	if err != nil {
		return diag.Wrap(diag.Infra, from, err)
	}
	return e.bring(ctx, publish.Blobs(to, from, blobs))
}
