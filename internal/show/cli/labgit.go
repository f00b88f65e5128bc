package cli

import (
	"context"
	"maps"
	"path/filepath"
	"slices"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/decide/bisect"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// gitFacts asks the repositories of an experiment what its commits are and how
// they lie to the baselines. What they do not know is listed as unchecked; the
// error is that of an interruption.
func gitFacts(ctx context.Context, e *experiment.Experiment, dir string) (trials.Facts, error) {
	type key struct{ factor, a, b string }
	commits, relations := map[key]string{}, map[key]bisect.Relation{}
	facts := trials.Facts{
		Commit: func(f experiment.Factor, l experiment.Level) (string, bool) {
			c, ok := commits[key{f.Name, l.Value, ""}]
			return c, ok
		},
		Relate: func(f experiment.Factor, a, b string) (bisect.Relation, bool) {
			r, ok := relations[key{f.Name, a, b}]
			return r, ok
		},
	}
	for _, f := range e.Factors {
		if !f.Kind.Commit() {
			continue
		}
		repo, err := gitrepo.Open(ctx, sourceOf(f, dir))
		if err != nil {
			facts.Unchecked = append(facts.Unchecked, "the commits of "+f.Name+": "+err.Error())
			continue
		}
		base := ""
		for i, l := range f.Levels {
			hash, err := repo.Resolve(ctx, l.Value)
			var r bisect.Relation
			if err == nil && i > 0 && base != "" {
				r, err = relation(ctx, repo, base, hash)
			}
			if err != nil {
				facts.Unchecked = append(facts.Unchecked, "the level "+l.Name+" of "+f.Name+": "+err.Error())
				continue
			}
			if commits[key{f.Name, l.Value, ""}] = hash; i == 0 {
				base = hash
			} else if base != "" {
				relations[key{f.Name, base, hash}] = r
			}
		}
	}
	return facts, ctx.Err()
}

// sourceOf is the folder of the repository that a factor's commits are in.
func sourceOf(f experiment.Factor, dir string) string {
	path := f.Source
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if f.Kind == experiment.Submodule {
		path = filepath.Join(path, f.Target)
	}
	return path
}

// relation tells how commit b lies to commit a.
func relation(ctx context.Context, repo *gitrepo.Repo, a, b string) (r bisect.Relation, err error) {
	if r.Ahead, err = repo.Distance(ctx, a, b); err == nil {
		r.Behind, err = repo.Distance(ctx, b, a)
	}
	return r, err
}

// splitBumps takes factors of commits apart that move a submodule with the code,
// as far as the repositories can be read. The error is that of an interruption.
func splitBumps(ctx context.Context, e *experiment.Experiment, dir string) (*experiment.Experiment, error) {
	for _, f := range e.Factors {
		if f.Kind != experiment.Ref {
			continue
		}
		repo, err := gitrepo.Open(ctx, sourceOf(f, dir))
		if err != nil {
			continue // the plan says what could not be read
		}
		pointers := map[string]map[string]string{} // by path and level
		for _, l := range f.Levels {
			commit, err := repo.Resolve(ctx, l.Value)
			if err != nil {
				continue
			}
			links, err := repo.Submodules(ctx, commit)
			if err != nil {
				continue
			}
			for path, hash := range links {
				if pointers[path] == nil {
					pointers[path] = map[string]string{}
				}
				pointers[path][l.Name] = hash
			}
		}
		for _, path := range slices.Sorted(maps.Keys(pointers)) {
			e = e.Split(f.Name, path, pointers[path])
		}
	}
	return e, ctx.Err()
}
