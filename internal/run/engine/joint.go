package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"sync"

	"github.com/lapstrake/lapstrake/internal/adapt/dockerfile"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// joint is an image that is published as an index. It gathers the units and
// publishes the index when the last one is in its place: before that no tag
// changes, and a unit that fails leaves the tags as they are. What becomes of the
// index is told with that last unit.
type joint struct {
	index plan.Index

	mu    sync.Mutex
	parts map[string]task // those in their place, by unit
	found func() error    // what came of an index that exists
}

// tasksOf are the units of a plan, with those of one index joined.
func tasksOf(p *plan.Plan, in *planner.Input) []task {
	joints := map[string]*joint{}
	tasks := make([]task, len(p.Units))
	for i, u := range p.Units {
		tasks[i] = task{unit: u, facts: &in.Images[i]}
		if u.Index == "" {
			continue
		}
		if joints[u.Index] == nil {
			joints[u.Index] = &joint{index: *p.Index(u.Index), parts: map[string]task{}}
		}
		tasks[i].joint = joints[u.Index]
	}
	return tasks
}

// names is what a unit with a digest is published under: its tags or, as a part of
// an index, the digest.
func names(t task, digest graph.Digest) []string {
	if t.joint == nil {
		return t.unit.Tags
	}
	if digest == "" {
		return nil
	}
	var out []string
	for _, repo := range publish.Repos(t.unit.Tags) {
		out = append(out, repo+"@"+string(digest))
	}
	return out
}

// join takes a unit whose manifest is in every repository by its digest.
// With the last one it publishes what attests them, where that is asked for, and then
// the index; its error is that of this.
func (j *joint) join(ctx context.Context, e *Engine, t task) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.parts[t.unit.Image] = t
	if len(j.parts) < len(j.index.Units) {
		return nil
	}
	parts := make([]publish.Part, len(j.index.Units))
	attested := make([]graph.Digest, 0, len(parts))
	for i, unit := range j.index.Units {
		is := j.parts[unit]
		parts[i] = publish.Part{Platform: is.unit.Platform, Key: is.unit.Key, Manifest: is.there.manifest}
		if !e.Fleet.Output.Attested() {
			continue
		}
		var err error
		if parts[i].Attestation, err = e.attest(ctx, is); err != nil {
			return err
		}
		attested = append(attested, parts[i].Attestation.Digest)
	}
	index, err := publish.Index(parts, e.Fleet.Output, j.index.Key)
	if err != nil {
		return diag.Wrap(diag.Internal, "index of "+j.index.Image, err)
	}
	if err := e.tag(ctx, j.index.Tags, j.index.Key, index); err != nil {
		return err
	}
	j.parts = nil // SBOMs are large
	return j.ready(e, index.Digest, attested)
}

// attest puts what is said of a unit where its index will be.
func (e *Engine) attest(ctx context.Context, is task) (publish.Object, error) {
	statements := is.sbom
	if e.Fleet.Output.Provenance {
		made, err := publish.Provenance(e.madeOf(is))
		if err != nil {
			return publish.Object{}, diag.Wrap(diag.Internal, "", err)
		}
		statements = append([]publish.Statement{made}, statements...)
	}
	blobs, manifest, err := publish.Attest(statements)
	if err != nil {
		return publish.Object{}, diag.Wrap(diag.Internal, "", err)
	}
	for _, repo := range publish.Repos(is.unit.Tags) {
		var ops []plan.Op
		for _, b := range blobs {
			ops = append(ops, publish.Upload(repo, b))
		}
		if err := e.bring(ctx, ops); err != nil {
			return publish.Object{}, err
		}
		if _, err := e.Store.Apply(ctx, publish.Put(repo, manifest)); err != nil {
			return publish.Object{}, err
		}
	}
	return manifest, nil
}

// madeOf is what a unit was made from. The way of the Dockerfile is that in its
// repository or from the fleet file: where these are on this machine concerns nobody.
func (e *Engine) madeOf(is task) publish.Made {
	recipe := e.Fleet.Recipe
	name := recipe.Dockerfile
	if recipe.Source == nil {
		rel, err := filepath.Rel(filepath.Dir(e.Fleet.File), name)
		if err != nil || !filepath.IsLocal(rel) {
			rel = filepath.Base(name)
		}
		name = filepath.ToSlash(rel)
	}
	text := sha256.Sum256(e.Recipe.Text())
	args := map[string]string{}
	for _, all := range []map[string]string{recipe.Args, is.facts.Image.Args} {
		for k, v := range all {
			if e.Run != nil {
				v = e.Run.Redactor().String(v)
			}
			args[k] = v
		}
	}
	delete(args, recipe.BaseArg)
	versions := map[string]string{}
	for program, v := range map[string]string{"lapstrake": e.version, "buildkit-dockerfile": dockerfile.FrontEnd()} {
		if v != "" {
			versions[program] = v
		}
	}
	return publish.Made{
		Image: is.facts.Image.ID, Platform: is.unit.Platform, Key: is.unit.Key, Manifest: is.there.manifest.Digest,
		Base: is.facts.Base, Variant: is.facts.Variant, Content: is.facts.Content,
		Dockerfile: name, Text: graph.Digest("sha256:" + hex.EncodeToString(text[:])), Recipe: recipe, Args: args, Epoch: e.Fleet.Epoch, Versions: versions,
	}
}

// ready records an index whose every tag is there.
func (j *joint) ready(e *Engine, digest graph.Digest, attested []graph.Digest) error {
	return e.note(journal.IndexReady, j.index.Image, journal.UnitData{Action: string(j.index.Action), Key: j.index.Key, Digest: digest, Tags: j.index.Tags, Attested: attested})
}

// there records an index that exists, once for all of its units, after it was put
// under those tags that lack it.
func (j *joint) there(ctx context.Context, e *Engine) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.found == nil {
		j.found = sync.OnceValue(func() error {
			_, ref := publish.Split(j.index.From)
			if j.index.Action == plan.Retag {
				if _, err := e.republish(ctx, j.index.From, j.index.Tags, j.index.Have); err != nil {
					return err
				}
			}
			if ref == "" { // only that the tags exist was asked for
				return nil
			}
			return j.ready(e, graph.Digest(ref), nil)
		})
	}
	return j.found()
}
