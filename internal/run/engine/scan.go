package engine

import (
	"context"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// placed is where the manifest of a unit is that is yet to be scanned.
func placed(t task) journal.UnitData {
	digest := t.there.manifest.Digest
	return journal.UnitData{Key: t.unit.Key, Digest: digest, Tags: names(t, digest)}
}

// scan lists what is in a unit's image, which its first repository has.
func (e *Engine) scan(ctx, solve context.Context, stop context.CancelCauseFunc, s *station, w *Worker, t *task) (err error) {
	repo, manifest := publish.Repos(t.unit.Tags)[0], t.there.manifest.Digest
	if t.pulled == nil {
		if t.pulled, err = e.pulledAs(ctx, repo, t.there.manifest); err != nil {
			return err
		}
	}
	e.releases.scans(t.pulled)
	at, _ := e.Store.Pusher(repo)
	log := e.solveSteps(s.name, t.unit.Image, func(graph.Digest) *graph.Step { return nil })
	log.all = true
	log.limit(e.Opts.Deadlines.Step, stop)
	scanned, err := w.Solver.Scan(solve, plan.Scan{Image: at + "@" + string(manifest), Platform: t.unit.Platform, Scanner: e.Fleet.Output.SBOM}, log.record)
	log.flush()
	if err != nil {
		return err
	}
	if len(scanned) == 0 {
		return diag.Errorf(diag.Step, "use a scanner that follows BuildKit's protocol for SBOM scanners (output.sbom)", "the scanner wrote nothing of %s", t.unit.Image)
	}
	sboms := make([]publish.Statement, len(scanned))
	for i, data := range scanned {
		if sboms[i], err = publish.SBOM(t.facts.Image.ID, manifest, data); err != nil {
			return err
		}
	}
	t.sbom = sboms
	return nil
}

// pulledAs is an image as the base that the worker pulls it as.
func (e *Engine) pulledAs(ctx context.Context, repo string, manifest publish.Object) (*fact.Base, error) {
	digest, err := publish.ConfigOf(manifest.Data)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, repo, err)
	}
	config, err := e.Store.Blob(ctx, repo, digest, 8<<20)
	if err != nil {
		return nil, err
	}
	image, err := publish.Pulled(repo, manifest.Digest, manifest.Data, config)
	return image, diag.Wrap(diag.Infra, repo, err)
}
