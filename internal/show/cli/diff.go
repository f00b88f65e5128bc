package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// diffOptions say how a comparison of plans is shown.
type diffOptions struct {
	markdown, verbose bool
}

// diffPlans compares what old names with the fleet now: a run, or another fleet file.
func (a *app) diffPlans(ctx context.Context, f *fleetFlags, old string, args []string, o diffOptions) error {
	f.force = true // what is in the registry does not matter
	now, eng, state, err := a.planned(ctx, f, args)
	if err != nil {
		return err
	}
	was, err := a.side(ctx, f, state, old, eng.Fleet.Name)
	if err != nil {
		return err
	}
	r := delta.Plans(was, now, took(state))
	switch {
	case a.json:
		return json.NewEncoder(a.Out).Encode(r)
	case o.markdown:
		return text.DiffMarkdown(a.Out, r, nil, page(a.Out))
	}
	p := page(a.Out)
	p.Verbose = o.verbose
	return text.Diff(a.Out, r, p)
}

// planned plans a fleet for a comparison.
func (a *app) planned(ctx context.Context, f *fleetFlags, args []string) (p delta.Plan, eng *engine.Engine, state string, err error) {
	if eng, state, err = a.open(ctx, f, args); err != nil {
		return p, nil, "", err
	}
	in, err := eng.Gather(ctx, nil)
	if err != nil {
		return p, nil, "", err
	}
	p.Name, p.Plan = "now", planner.Make(*in)
	if len(args) > 0 {
		p.Name = args[0]
	}
	p.Basis, err = eng.Basis(in)
	return p, eng, state, err
}

// side is what a word names: a fleet file or folder that exists, or a run.
func (a *app) side(ctx context.Context, f *fleetFlags, state, word, fleetName string) (delta.Plan, error) {
	if _, err := os.Stat(word); err == nil {
		p, _, _, err := a.planned(ctx, f, []string{word})
		return p, err
	}
	info, ok, err := runlog.Latest(state, func(i runlog.Info) bool {
		return i.ID == word || word == "last" && strings.HasPrefix(i.Fleet, fleetName+"@") && hasBasis(i.Dir)
	})
	if err != nil {
		return delta.Plan{}, err
	}
	if !ok {
		return delta.Plan{}, diag.Errorf(diag.Usage, "name a fleet file, a run (`lapstrake runs` lists them), or last", "there is no file and no run %s", word)
	}
	return recorded(info)
}

func hasBasis(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, runlog.BasisFile))
	return err == nil
}

// recorded is the plan of a run and what it rested on.
func recorded(info runlog.Info) (delta.Plan, error) {
	p := delta.Plan{Name: "run " + info.ID, Plan: &plan.Plan{}, Basis: &plan.Basis{}}
	err := errors.Join(readJSON(filepath.Join(info.Dir, runlog.PlanFile), p.Plan), readJSON(filepath.Join(info.Dir, runlog.BasisFile), p.Basis))
	if errors.Is(err, fs.ErrNotExist) {
		return p, diag.Errorf(diag.Usage, "name a run that planned its images with this version or a later one", "run %s kept no plan that could be compared", info.ID)
	}
	return p, err
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return diag.Wrap(diag.Infra, "read run", err)
	}
	return diag.Wrap(diag.Infra, "read "+path, json.Unmarshal(data, into))
}

// recentSteps is how many earlier runs tell what steps take.
const recentSteps = 5

// took tells what steps took in the newest runs that executed them.
func took(state string) delta.Took {
	type key struct {
		name   string
		shared bool
	}
	known := map[key]float64{}
	runs, err := runlog.List(state)
	if err != nil {
		return nil
	}
	for _, r := range runs[:min(len(runs), recentSteps)] {
		var s summary.Summary
		if readJSON(filepath.Join(r.Dir, "summary.json"), &s) != nil {
			continue
		}
		for _, st := range s.Steps {
			if _, ok := known[key{st.Name, st.Shared}]; !ok && st.Executed > 0 {
				known[key{st.Name, st.Shared}] = st.TotalSeconds / float64(st.Executed)
			}
		}
	}
	return func(name string, shared bool) (float64, bool) {
		s, ok := known[key{name, shared}]
		return s, ok
	}
}
