package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/archive"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// diffOptions say how a comparison of plans is shown.
type diffOptions struct {
	markdown, verbose bool
}

// diffPlans compares what old names with the fleet now, or with what stands
// behind two dots in old.
func (a *app) diffPlans(ctx context.Context, f *fleetFlags, old string, args []string, o diffOptions) error {
	f.force = true // what is in the registry does not matter
	var was, now delta.Plan
	var err error
	if from, to, two := strings.Cut(old, ".."); two && from != "" && to != "" && !exists(old) {
		if now, err = a.side(ctx, f, to, args); err != nil {
			return err
		}
		old = from
	} else if now, _, err = a.planned(ctx, f, args); err != nil {
		return err
	}
	if was, err = a.side(ctx, f, old, args); err != nil {
		return err
	}
	state, err := a.stateDir()
	if err != nil {
		return err
	}
	fl, err := f.load(ctx, a, args)
	if err != nil {
		return err
	}
	steps, err := archive.Steps(state, fl.Name)
	if err != nil {
		return err
	}
	r := delta.Plans(was, now, steps.Took)
	exceeded := r.Exceeded(fl.Lint.Limits)
	if err := a.showDiff(r, exceeded, o); err != nil {
		return err
	}
	if len(exceeded) > 0 {
		return diag.Errorf(diag.Gate, "the steps above say why; the limits are in the fleet file's lint section", "the change goes beyond a limit: %s", strings.Join(exceeded, "; "))
	}
	return nil
}

func (a *app) showDiff(r *delta.Report, exceeded []string, o diffOptions) error {
	p := page(a.Out)
	p.Verbose = o.verbose
	switch {
	case a.json:
		return json.NewEncoder(a.Out).Encode(r)
	case o.markdown:
		return text.DiffMarkdown(a.Out, r, exceeded, p)
	}
	return text.Diff(a.Out, r, p)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// planned plans a fleet for a comparison.
func (a *app) planned(ctx context.Context, f *fleetFlags, args []string) (p delta.Plan, eng *engine.Engine, err error) {
	if eng, _, err = a.open(ctx, f, args); err != nil {
		return p, nil, err
	}
	in, err := eng.Gather(ctx, nil)
	if err != nil {
		return p, nil, err
	}
	p.Name, p.Plan = "now", planner.Make(*in)
	if len(args) > 0 {
		p.Name = args[0]
	}
	p.Basis, err = eng.Basis(in)
	return p, eng, err
}

// side is what a word names: a fleet file or folder that exists, a run, or a
// commit of the repository that the fleet's recipe is taken from, or lies in.
func (a *app) side(ctx context.Context, f *fleetFlags, word string, args []string) (delta.Plan, error) {
	if exists(word) {
		p, _, err := a.planned(ctx, f, []string{word})
		return p, err
	}
	fl, err := f.load(ctx, a, args)
	if err != nil {
		return delta.Plan{}, err
	}
	state, err := a.stateDir()
	if err != nil {
		return delta.Plan{}, err
	}
	run, ok, err := recorded(state, word, fl.Name)
	switch {
	case err != nil:
		return delta.Plan{}, err
	case ok:
		return run.Plan()
	case word == "last":
		return delta.Plan{}, diag.Errorf(diag.Usage, "build it first, or name a fleet file or a commit", "there is no run of fleet %s", fl.Name)
	}
	p, err := a.atRef(ctx, f, fl, state, word, args)
	p.Name = word
	return p, err
}

// recorded is the run that a word names: by its id, or as the last of the fleet.
func recorded(state, word, fleet string) (run archive.Run, ok bool, err error) {
	if word == "last" {
		return archive.Latest(state, fleet)
	}
	run, err = archive.Find(state, word)
	if diag.KindOf(err) == diag.Usage {
		return run, false, nil
	}
	return run, err == nil, err
}

// atRef plans a fleet as it was at a commit.
func (a *app) atRef(ctx context.Context, f *fleetFlags, fl *fleet.Fleet, state, ref string, args []string) (p delta.Plan, err error) {
	then := *f
	if isBake(fl.File) {
		return p, atCommits(fl.File, "there is no file or run "+ref+", and ")
	}
	if fl.Recipe.Source != nil {
		then.ref = ref
		p, _, err = a.planned(ctx, &then, args)
		return p, err
	}
	unknown := func(err error) error {
		return diag.Errorf(diag.Usage, "name a fleet file, a run (`lapstrake runs` lists them), last, or a commit", "there is no file, run or commit %s: %w", ref, err)
	}
	repo, err := gitrepo.Open(ctx, filepath.Dir(fl.File))
	if err != nil {
		return p, unknown(err)
	}
	commit, err := repo.Resolve(ctx, ref)
	if err != nil {
		return p, unknown(err)
	}
	dir, err := repo.Materialise(ctx, engine.Sources(state), commit, nil)
	if err != nil {
		return p, err
	}
	file, err := filepath.EvalSymlinks(fl.File)
	if err != nil {
		return p, diag.Wrap(diag.Infra, "fleet file", err)
	}
	rel, err := filepath.Rel(repo.WorkTree(), file)
	if err != nil {
		return p, diag.Wrap(diag.Infra, "fleet file", err)
	}
	if p, _, err = a.planned(ctx, &then, []string{filepath.Join(dir, rel)}); err != nil {
		return p, err
	}
	at := fleet.Source{Commit: commit}
	rename(p.Basis, func(file string) string {
		if inside, ok := strings.CutPrefix(file, dir+string(filepath.Separator)); ok {
			return at.At(filepath.ToSlash(inside))
		}
		return file
	})
	return p, nil
}

// rename gives files the names that people know them by. Graphs are shared with
// nobody else by then.
func rename(b *plan.Basis, name func(string) string) {
	for _, c := range b.Conversions {
		for i := range c.Graph.Steps {
			s := &c.Graph.Steps[i]
			s.Pos.File = name(s.Pos.File)
			for j := range s.Facets {
				s.Facets[j].Pos.File = name(s.Facets[j].Pos.File)
			}
		}
	}
}
