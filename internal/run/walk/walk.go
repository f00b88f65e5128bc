// Package walk goes over the commits of a git repository and takes a fleet's
// fingerprint at each, without building and without checking anything out: a
// listing of the tree moves from commit to commit by what differs, and recipes
// and fleet files are read again only when they do.
package walk

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/filetree"
	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Options say what to walk over.
type Options struct {
	Repo *gitrepo.Repo
	// FleetPath is the fleet file's path in the repository, with slashes: it is
	// read at each commit. "" means that the fleet file stays the same, as Fixed
	// gives it, and that its recipe's source is the repository.
	FleetPath string
	// Fixed reads the fleet file that stays the same, with a commit for its source.
	Fixed func(resolve func(fleet.Source) (string, error)) (*fleet.Fleet, error)
	// Load says how fleet files are read; Resolve of it is not used.
	Load fleetfile.Options
	// FleetName is what people call the fleet file.
	FleetName string
	// Base tells what is known of a base without asking anybody, Image what is of
	// another image: its digest and its config. Nil, or false: a stand-in is used.
	Base  func(ref, platform string) (*fact.Base, bool)
	Image func(ref, platform string) (d graph.Digest, config []byte, ok bool)
	// StandIn makes the base of which nothing is known, for a platform; when nil
	// it has a minimal config.
	StandIn func(platform string) (*fact.Base, error)
}

// Stats count what a walk did.
type Stats struct {
	// Commits is the number of states that were taken, Changes that of the paths
	// that differed from one to the next.
	Commits, Changes int
	// Fleets is how often the fleet file was read, Conversions how often a recipe
	// was converted for a set of values, Blobs how many blobs were read.
	Fleets, Conversions, Blobs int
}

// Walker takes states of a fleet at commits. Close it to end its processes. It
// is not safe for concurrent use.
type Walker struct {
	opt Options
	// root stands for the top of the repository in the paths of a fleet file that
	// is read from it.
	root     string
	tree     *tree
	stats    Stats
	readings []*reading
	recipes  []*recipe
	bases    map[string]*fact.Base
	standIns map[string]*fact.Base // by platform
	disk     map[string]*filetree.Tree
	stoodIn  int
	notes    []string

	// The state that was taken last, and what it was taken from.
	last    *lineage.State
	current *recipe
	folders map[string]*folder
}

// New returns a walker that was nowhere yet.
func New(o Options) (*Walker, error) {
	root, err := filepath.Abs(".")
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "working folder", err)
	}
	w := &Walker{opt: o, root: root, bases: map[string]*fact.Base{}, standIns: map[string]*fact.Base{}, disk: map[string]*filetree.Tree{}}
	w.tree = &tree{
		objects: o.Repo.Objects(), differ: o.Repo.Differ(), stats: &w.stats,
		files: map[string]leaf{}, locks: map[string]string{}, contexts: map[string]*folder{},
	}
	return w, nil
}

// Close ends the walker's processes.
func (w *Walker) Close() {
	w.tree.objects.Close()
	w.tree.differ.Close()
}

// Stats tell what was done so far.
func (w *Walker) Stats() Stats { return w.stats }

// State goes to a commit and takes the fleet's state there; what is wrong with
// the fleet is part of it. Equal states one after the other are one.
func (w *Walker) State(ctx context.Context, c gitrepo.Commit) (*lineage.State, error) {
	w.stats.Commits++
	if err := w.tree.move(ctx, c); err != nil {
		return nil, err
	}
	s, err := w.state(ctx)
	if err != nil {
		return nil, err
	}
	s.Seal()
	if w.last != nil && w.last.Print == s.Print && w.last.Recipe == s.Recipe && w.last.Refs == s.Refs {
		return w.last, nil
	}
	w.last = s
	return s, nil
}

func (w *Walker) state(ctx context.Context) (*lineage.State, error) {
	w.current, w.folders = nil, nil
	r, err := w.reading(ctx)
	if err != nil {
		return nil, err
	}
	if len(r.problems) > 0 {
		return &lineage.State{Problems: r.problems}, nil
	}
	c, err := w.recipe(ctx, r)
	if err != nil {
		return nil, err
	}
	if len(c.problems) > 0 {
		return &lineage.State{Problems: c.problems}, nil
	}
	if c.prepared {
		w.note("prepare commands are not run: what they make is not seen")
	}
	w.current = c
	files, locks, problems, err := w.files(ctx, r, c)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return &lineage.State{Problems: problems}, nil
	}
	return &lineage.State{Recipe: c.made, Refs: r.refs, Files: files, Locks: locks}, nil
}

func (w *Walker) note(text string) {
	if !slices.Contains(w.notes, text) {
		w.notes = append(w.notes, text)
	}
}

// changedFiles are the paths that differ between two trees, as the steps of the
// state that was taken last see them.
type changedFiles struct {
	w     *Walker
	paths []string
}

// Read lists the changed files that a use sees.
func (c changedFiles) Read(u graph.Use) []string {
	f := c.w.folders[u.Context]
	if f == nil {
		return nil
	}
	var out []string
	for _, p := range c.paths {
		if rel, ok := strings.CutPrefix(p, f.prefix); ok && f.listing.Reads(u, rel) {
			out = append(out, p)
		}
	}
	return out
}

// Locks lists the changed lock files.
func (c changedFiles) Locks() []string {
	var out []string
	for _, p := range c.paths {
		if lineage.IsLock(p) {
			out = append(out, p)
		}
	}
	return out
}
