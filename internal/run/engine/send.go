package engine

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// send publishes the images that need no solve of their own: retags and
// appends. Base blobs are brought into the target repositories while the shared
// layers are still being made. It returns what needs a solve after all.
func (e *Engine) send(ctx context.Context, tasks []task) (solves []task) {
	for i := range tasks {
		if u := &tasks[i].unit; u.Action == plan.Append {
			e.layers(ctx, tasks[i])
		}
	}
	if len(tasks) > 0 {
		e.phase(journal.PhaseStarted, "publish")
		defer e.phase(journal.PhaseEnded, "publish")
	}
	ready := make(chan task, len(tasks))
	var wg sync.WaitGroup
	var mu sync.Mutex
	wg.Go(func() {
		defer close(ready)
		each(ctx, len(tasks), e.publishers(), func(i int) {
			e.gate.pass(ctx)
			if err := e.bringBase(ctx, tasks[i]); err != nil {
				e.fail(tasks[i], err, false)
				return
			}
			ready <- tasks[i]
		})
	})
	for range e.publishers() {
		wg.Go(func() {
			for t := range ready {
				if t, solve := e.sendOne(ctx, t); solve {
					mu.Lock()
					solves = append(solves, t)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return solves
}

func (e *Engine) bringBase(ctx context.Context, t task) error {
	if t.unit.Action != plan.Append {
		return nil
	}
	for _, repo := range publish.Repos(t.unit.Tags) {
		if err := e.bring(ctx, publish.BaseBlobs(e.Fleet.Output, repo, sourceOf(t.facts.Base), t.facts.Base.Layers)); err != nil {
			return err
		}
	}
	return nil
}

// sendOne publishes one image. When it is a retag of content that is gone, and only
// a solve can make it again, or is to be scanned, it returns the task for that.
func (e *Engine) sendOne(ctx context.Context, t task) (again task, solve bool) {
	if e.gate.pass(ctx); ctx.Err() != nil {
		return t, false
	}
	if t.unit.Action == plan.Skip {
		if err := t.joint.there(ctx, e); err != nil {
			e.fail(t, err, false)
		} else {
			e.skip(t)
		}
		return t, false
	}
	e.note(journal.UnitStarted, t.unit.Image, journal.UnitData{Action: string(t.unit.Action), Key: t.unit.Key})
	if t.unit.Action == plan.Retag {
		manifest, err := e.retag(ctx, t)
		if !errors.Is(err, registry.ErrNotFound) {
			return e.sent(ctx, t, manifest, false, err)
		}
		e.note(journal.Note, t.unit.Image, journal.NoteData{Level: "info", Text: t.unit.From + " is gone, " + t.unit.Image + " is made again"})
		if t, err = e.again(ctx, t); err != nil {
			e.fail(t, err, false)
			return t, false
		}
		if t.unit.Action == plan.Build {
			return t, true
		}
	}
	manifest, shared, err := e.appendOne(ctx, t)
	return e.sent(ctx, t, manifest, shared, err)
}

// sent ends the sending of a unit with what came of it, or with the task to scan it.
func (e *Engine) sent(ctx context.Context, t task, manifest publish.Object, shared bool, err error) (again task, solve bool) {
	if err == nil {
		t.there = &made{manifest: manifest}
		if t.unit.Scan {
			t.unit.Needs = nil
			e.note(journal.UnitPlaced, t.unit.Image, placed(t))
			return t, true
		}
		if t.joint != nil {
			err = t.joint.join(ctx, e, t)
		}
	}
	if err != nil {
		e.fail(t, err, shared)
	} else {
		e.done(t, manifest.Digest, "")
	}
	return t, false
}

// again plans an image anew whose content turned out not to exist.
func (e *Engine) again(ctx context.Context, t task) (task, error) {
	in := *e.input
	in.Options.Skip = planner.SkipNever
	scan := t.unit.Scan
	t.unit = planner.Decide(&in, t.facts)
	t.unit.Scan = scan
	return t, e.bringBase(ctx, t)
}

// done records an image whose every tag is there. The record need not be on the
// disk: it outlives this process, and after the death of the machine the
// registry itself says what is there.
func (e *Engine) done(t task, digest graph.Digest, temperature string) {
	e.note(journal.UnitPublished, t.unit.Image, journal.UnitData{Action: string(t.unit.Action), Key: t.unit.Key, Digest: digest, Tags: names(t, digest), Temperature: temperature})
}

// retag republishes a unit whose content its repository holds; of a part of an index
// it only reads it. When that is gone after all, the error is ErrNotFound.
func (e *Engine) retag(ctx context.Context, t task) (publish.Object, error) {
	if t.joint == nil {
		return e.republish(ctx, t.unit.From, t.unit.Tags, t.unit.Have)
	}
	return e.manifestAt(ctx, t.unit.From)
}

// manifestAt reads the manifest of a repository@digest.
func (e *Engine) manifestAt(ctx context.Context, from string) (publish.Object, error) {
	repo, digest := publish.Split(from)
	data, mediaType, err := e.Store.Manifest(ctx, repo, graph.Digest(digest))
	return publish.Object{MediaType: mediaType, Digest: graph.Digest(digest), Data: data}, err
}

// republish puts a manifest that a repository holds under those of the tags there
// that do not have it.
func (e *Engine) republish(ctx context.Context, from string, tags, have []string) (publish.Object, error) {
	manifest, err := e.manifestAt(ctx, from)
	if err != nil {
		return publish.Object{}, err
	}
	repo, _ := publish.Split(from)
	for _, tag := range tags {
		if slices.Contains(have, tag) {
			continue
		}
		op := publish.Put(repo, manifest)
		_, op.Tag = publish.Split(tag)
		if _, err := e.Store.Apply(ctx, op); err != nil {
			return publish.Object{}, err
		}
	}
	return manifest, nil
}

// appendOne lays the unit's layer set over its base. shared tells whether an
// error is that of the layer set.
func (e *Engine) appendOne(ctx context.Context, t task) (manifest publish.Object, shared bool, err error) {
	var set layerSet
	if f := e.layers(ctx, t); f != nil {
		if set, err = f.Get(ctx); err != nil {
			return manifest, true, err
		}
	}
	config, manifest, err := publish.Compose(publish.Image{Base: t.facts.Base, Variant: t.facts.Variant, Layers: set.layers, Output: e.Fleet.Output, Epoch: e.Fleet.Epoch, Key: t.unit.Key})
	if err != nil {
		return manifest, false, diag.Wrap(diag.Internal, "append "+t.unit.Image, err)
	}
	for _, repo := range publish.Repos(t.unit.Tags) {
		ops := append(publish.Blobs(repo, set.repo, set.layers.Descriptors), publish.Upload(repo, config))
		if err := e.bring(ctx, ops); err != nil {
			return manifest, false, err
		}
	}
	e.note(journal.UnitPut, t.unit.Image, journal.UnitData{Digest: manifest.Digest})
	return manifest, false, e.put(ctx, t, manifest, "")
}

// put makes the manifest of a unit what its tags name or, as a part of an index, puts
// it by digest where the index will be. The repository at has it by digest; "" is
// none.
func (e *Engine) put(ctx context.Context, t task, manifest publish.Object, at string) error {
	if t.joint == nil {
		return e.tag(ctx, t.unit.Tags, t.unit.Key, manifest)
	}
	for _, repo := range publish.Repos(t.unit.Tags) {
		if repo == at {
			continue
		}
		if _, err := e.Store.Apply(ctx, publish.Put(repo, manifest)); err != nil {
			return err
		}
	}
	return nil
}

// tag publishes a manifest under every tag, repository by repository.
func (e *Engine) tag(ctx context.Context, tags []string, key string, manifest publish.Object) error {
	for _, repo := range publish.Repos(tags) {
		for _, op := range publish.Manifests(repo, e.tagsIn(repo, tags, key), manifest) {
			if _, err := e.Store.Apply(ctx, op); err != nil {
				return err
			}
		}
	}
	return nil
}

// tagsIn are the tags in repo, the key tag first when it is wanted.
func (e *Engine) tagsIn(repo string, all []string, key string) []string {
	var tags []string
	if e.Fleet.Output.KeyTag {
		tags = append(tags, repo+":"+publish.KeyTag(key))
	}
	for _, tag := range all {
		if r, _ := publish.Split(tag); r == repo {
			tags = append(tags, tag)
		}
	}
	return tags
}

// layers returns the promise of the layer set of an appended unit, nil when it
// only sets the config. The first call for a set starts making it.
func (e *Engine) layers(ctx context.Context, t task) *future[layerSet] {
	if t.unit.Layers == "" {
		return nil
	}
	f := newFuture[layerSet]()
	if old, ok := e.sets.LoadOrStore(t.unit.Layers, f); ok {
		return old.(*future[layerSet])
	}
	repo := publish.Repos(t.unit.Tags)[0]
	e.background.Go(func() { f.Set(e.makeLayers(ctx, t.unit.Layers, t.facts.Variant, repo)) })
	return f
}

// makeLayers finds a layer set that an earlier run left in a registry, or makes
// it. Only "not found" means that it is gone, but a registry that is not the
// target may be gone as a whole.
func (e *Engine) makeLayers(ctx context.Context, id graph.Digest, v *graph.Variant, repo string) (layerSet, error) {
	if at, ok := e.Index.Layers(id); ok {
		set, err := e.readLayers(ctx, at.Repo, at.Digest)
		if err == nil || ctx.Err() != nil || publish.Host(at.Repo) == publish.Host(repo) && !errors.Is(err, registry.ErrNotFound) {
			return set, err
		}
		e.note(journal.Note, "", journal.NoteData{Level: "info", Text: "shared layers of an earlier run are gone and made again: " + err.Error()})
	}
	e.stations[0].ask(ctx) // a daemon starts while earlier runs are read
	built, err := e.schedule(ctx).layers(ctx, id, v, repo)
	if err != nil {
		return layerSet{}, err
	}
	set, err := e.readLayers(ctx, repo, built.Digest)
	if err != nil {
		return layerSet{}, err
	}
	data := journal.LayersData{Layers: id, Repo: repo, Digest: built.Digest}
	for _, d := range set.layers.Descriptors {
		data.Blobs = append(data.Blobs, d.Digest)
		data.Bytes += d.Size
	}
	return set, e.durable(journal.LayersReady, "", data)
}

func (e *Engine) readLayers(ctx context.Context, repo string, d graph.Digest) (layerSet, error) {
	manifest, _, err := e.Store.Manifest(ctx, repo, d)
	if err != nil {
		return layerSet{}, err
	}
	configDigest, err := publish.ConfigOf(manifest)
	if err != nil {
		return layerSet{}, diag.Wrap(diag.Infra, repo, err)
	}
	config, err := e.Store.Blob(ctx, repo, configDigest, 8<<20)
	if err != nil {
		return layerSet{}, err
	}
	layers, err := publish.ReadLayers(manifest, config)
	if err != nil {
		return layerSet{}, diag.Wrap(diag.Infra, repo, err)
	}
	return layerSet{layers, repo}, nil
}
