package engine

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/run/prune"
)

// Mirrors is where a state folder keeps the git repositories of sources that
// are elsewhere.
func Mirrors(state string, offline bool) gitrepo.Mirrors {
	return gitrepo.Mirrors{Dir: filepath.Join(state, prune.Mirrors), Offline: offline}
}

// Sources is where a state folder keeps the commits that sources were taken from.
func Sources(state string) string { return filepath.Join(state, prune.Sources) }

// place is where the files of a recipe are, and what people call them.
type place struct {
	// recipe has absolute paths.
	recipe fleet.Recipe
	// dir is the folder that the source was written to, "" without one.
	dir string
	// source is nil for a recipe on the disk.
	source *fleet.Source
}

// place writes the source of the recipe into the state folder, where it stays
// for other runs.
func (e *Engine) place(ctx context.Context) (place, error) {
	p := place{recipe: e.Fleet.Recipe, source: e.Fleet.Recipe.Source}
	s := p.source
	if s == nil {
		return p, nil
	}
	repo, err := Mirrors(e.state, e.Opts.Offline).Open(ctx, s.Git, s.Commit)
	if err == nil {
		p.dir, err = repo.Materialise(ctx, Sources(e.state), s.Commit, s.Submodules)
	}
	if err != nil && diag.KindOf(err) == diag.File {
		var l diag.List
		l.Add(diag.FleetSource, s.Pos, diag.HelpOf(err), "%v", err)
		return p, l.Err()
	}
	if err != nil {
		return p, err
	}
	p.recipe.Context = filepath.Join(p.dir, filepath.FromSlash(p.recipe.Context))
	p.recipe.Dockerfile = filepath.Join(p.dir, filepath.FromSlash(p.recipe.Dockerfile))
	return p, nil
}

// shown is what people call a file: one of the source by its path there and the
// commit.
func (p place) shown(file string) string {
	if p.source == nil {
		return file
	}
	rel, ok := strings.CutPrefix(file, p.dir+string(filepath.Separator))
	if !ok {
		return file
	}
	return p.source.At(filepath.ToSlash(rel))
}

// show renames the files of problems to what people call them.
func (p place) show(l diag.List) diag.List {
	for i := range l {
		l[i].Pos.File = p.shown(l[i].Pos.File)
	}
	return l
}
