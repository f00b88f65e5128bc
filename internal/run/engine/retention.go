package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/decide/retention"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Superseded lists what the fleet's past publications left in the repositories
// that it publishes to, and that it needs no more; see package retention. The
// fleet is planned, so that its key tags are known, and every tag of its
// repositories is asked about. Images that are gone are not listed.
func (e *Engine) Superseded(ctx context.Context, past, others []retention.Publication) ([]retention.Item, error) {
	in, err := e.Gather(ctx, nil)
	if err != nil {
		return nil, err
	}
	q := retention.Input{Named: map[string]bool{}, KeysKnown: true, Past: past, Others: others}
	var repos []string
	name := func(tags []string, key string) {
		for _, tag := range tags {
			q.Named[tag] = true
		}
		for _, repo := range publish.Repos(tags) {
			if !slices.Contains(repos, repo) {
				repos = append(repos, repo)
			}
			if key == "" {
				q.KeysKnown = false
				continue
			}
			q.Named[repo+":"+publish.KeyTag(key)] = true
		}
	}
	p := planner.Make(*in)
	for _, u := range p.Units {
		name(u.Tags, u.Key)
	}
	for _, x := range p.Indexes {
		name(x.Tags, x.Key)
	}
	for _, repo := range repos {
		r, err := e.look(ctx, repo)
		if err != nil {
			return nil, err
		}
		q.Now = append(q.Now, r)
	}
	return e.present(ctx, retention.Decide(q))
}

// look reads what a repository's tags name, and what indexes among that hold.
func (e *Engine) look(ctx context.Context, repo string) (retention.Repository, error) {
	r := retention.Repository{Name: repo, Tags: map[string]graph.Digest{}, Held: map[graph.Digest]bool{}}
	list, err := e.Store.Tags(ctx, repo)
	if err != nil {
		return r, err
	}
	var tags []string
	for tag := range list {
		tags = append(tags, tag)
	}
	var mu sync.Mutex
	err = e.all(ctx, len(tags), func(i int) error {
		t, err := e.Store.Stat(ctx, repo+":"+tags[i])
		mu.Lock()
		defer mu.Unlock()
		if err == nil && t.Exists {
			r.Tags[tags[i]] = t.Digest
		}
		return err
	})
	if err != nil {
		return r, err
	}
	var digests []graph.Digest
	for _, d := range r.Tags {
		digests = append(digests, d)
	}
	slices.Sort(digests)
	digests = slices.Compact(digests)
	err = e.all(ctx, len(digests), func(i int) error {
		data, _, err := e.Store.Manifest(ctx, repo, digests[i])
		if errors.Is(err, registry.ErrNotFound) {
			return nil
		}
		var index struct{ Manifests []fact.Descriptor }
		if err != nil || json.Unmarshal(data, &index) != nil { // whatever it is, it is no index
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, m := range index.Manifests {
			r.Held[m.Digest] = true
		}
		return nil
	})
	return r, err
}

// present leaves out the images that are gone. What has a tag was just seen.
func (e *Engine) present(ctx context.Context, items []retention.Item) ([]retention.Item, error) {
	gone := make([]bool, len(items))
	err := e.all(ctx, len(items), func(i int) error {
		if len(items[i].Tags) > 0 {
			return nil
		}
		t, err := e.Store.Stat(ctx, items[i].Repo+"@"+string(items[i].Digest))
		gone[i] = !t.Exists
		return err
	})
	out := []retention.Item{}
	for i := range items {
		if !gone[i] {
			out = append(out, items[i])
		}
	}
	return out, err
}

// all calls work for every index below n, some at once, and returns the first error,
// or says that ctx ended first.
func (e *Engine) all(ctx context.Context, n int, work func(i int) error) error {
	errs := make([]error, n)
	each(ctx, n, lookups, func(i int) { errs[i] = work(i) })
	if ctx.Err() != nil {
		return diag.Errorf(diag.Interrupted, "run the same command again", "retention: %w", context.Cause(ctx))
	}
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

// Delete deletes superseded images, with all their tags, and returns those that
// went, also with an error. One that is kept is left, and so are its tags: a
// registry deletes an image as a whole.
func (e *Engine) Delete(ctx context.Context, items []retention.Item) ([]retention.Item, error) {
	deleted := []retention.Item{}
	if err := e.output.lock(); err != nil {
		return deleted, err
	}
	for _, i := range items {
		if i.Kept != "" {
			continue
		}
		if err := e.Store.Delete(ctx, i.Repo, i.Digest); err != nil {
			return deleted, err
		}
		deleted = append(deleted, i)
	}
	return deleted, e.sweep()
}
