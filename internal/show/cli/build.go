package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// buildFlags are the flags of a build.
type buildFlags struct {
	fleet      fleetFlags
	worker     workerFlags
	limit      limitFlags
	jobs       int
	dry, fresh bool
}

func (a *app) buildCommand() *cobra.Command {
	b := buildFlags{fleet: newFleetFlags()}
	c := &cobra.Command{
		Use:   "build [FLEET]",
		Short: "Make and publish every image that is not there yet",
		Long:  "Make and publish every image that is not there yet. After an interruption, the same command goes on where it stopped.",
		Args:  atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.runBuild(c.Context(), &b, args)
		},
	}
	b.fleet.register(c)
	b.fleet.caching(c)
	b.worker.register(c)
	b.limit.register(c)
	c.Flags().IntVar(&b.jobs, "jobs", 0, "run `n` solves at once on one worker (default: jobs of the fleet file, else the number of cores, at least 2)")
	c.Flags().BoolVar(&b.dry, "dry-run", false, "stop at the plan")
	c.Flags().BoolVar(&b.fresh, "new-run", false, "start a new run instead of going on with an unfinished one")
	return c
}

// runBuild checks every flag before it starts a run.
func (a *app) runBuild(ctx context.Context, b *buildFlags, args []string) error {
	limits, err := b.limit.parse()
	if err := errors.Join(atLeastZero("jobs", b.jobs), err); err != nil {
		return err
	}
	eng, state, err := a.open(ctx, &b.fleet, args)
	if err != nil {
		return err
	}
	workers, err := b.worker.list(eng.Fleet.Workers)
	if err != nil {
		return err
	}
	if limits.disk != (fleet.Disk{}) {
		for i := range workers {
			workers[i].Disk = fleet.Disk{} // the flag wins
		}
	}
	limits = limits.or(eng.Fleet)
	eng.Opts.Jobs, eng.Opts.Disk, eng.Opts.Deadlines = b.jobs, limits.disk, limits.deadlines
	if b.dry {
		return a.planOnly(ctx, eng, planOptions{})
	}
	if note := limits.unmanaged(workers); note != "" {
		fmt.Fprintln(a.Err, "note: "+note)
	}
	run, err := engine.StartRecord(engine.RecordOptions{State: state, Fleet: eng.Fleet, Choices: b.fleet.choices(), Namespace: b.fleet.namespace, New: b.fresh, Versions: map[string]string{"lapstrake": Version}})
	if err != nil {
		return err
	}
	return a.build(ctx, eng, run, b.worker.daemons(eng, state, workers))
}

// build carries a fleet out and prints what came of it.
func (a *app) build(ctx context.Context, eng *engine.Engine, run *engine.Record, workers daemons) error {
	eng.Run = run
	if run.Resumed {
		fmt.Fprintf(a.Err, "going on with run %s\n", run.ID())
	}
	stop := a.progress(run)
	_, err := eng.Build(ctx, func(p *plan.Plan) error {
		if a.json {
			return nil
		}
		return text.Plan(a.Err, p, page(a.Err))
	})
	stop()
	if e := workers.Close(); err == nil {
		err = e
	}
	err = run.Finish(err)
	show := run.Summary(func(s *summary.Summary) error {
		if a.json {
			return json.NewEncoder(a.Out).Encode(s)
		}
		return text.Summary(a.Out, s, page(a.Out))
	})
	if err == nil {
		err = show
	}
	return err
}
