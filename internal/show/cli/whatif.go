package cli

import (
	"context"
	"encoding/json"
	"runtime"

	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/whatif"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/archive"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// whatIf prints what a plan would take otherwise. The workers are taken to be
// like this machine.
func (a *app) whatIf(ctx context.Context, eng *engine.Engine, p *plan.Plan, in *planner.Input, o planOptions) error {
	history, err := archive.History(ctx, o.state, eng.Fleet.Name)
	if err != nil {
		return err
	}
	cores := runtime.NumCPU()
	jobs := eng.Fleet.Jobs
	if jobs == 0 {
		jobs = max(2, cores)
	}
	input := whatif.Load(p, in, history, whatif.Options{Workers: max(1, len(eng.Fleet.Workers)), Cores: cores, Jobs: jobs})
	curve := whatif.Make(input, *o.query)
	if a.json {
		return json.NewEncoder(a.Out).Encode(curve)
	}
	return text.WhatIf(a.Out, curve, page(a.Out))
}
