package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) buildCommand() *cobra.Command {
	f := newFleetFlags()
	var w workerFlags
	var jobs int
	var dry, fresh bool
	c := &cobra.Command{
		Use:   "build [FLEET]",
		Short: "Make and publish every image that is not there yet",
		Long:  "Make and publish every image that is not there yet. After an interruption, the same command goes on where it stopped.",
		Args:  atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := atLeastZero("jobs", jobs); err != nil {
				return err
			}
			eng, state, err := a.open(c.Context(), &f, args)
			if err != nil {
				return err
			}
			eng.Opts.Jobs = jobs
			if dry {
				return a.planOnly(c.Context(), eng, planOptions{})
			}
			run, err := engine.StartRecord(engine.RecordOptions{State: state, Fleet: eng.Fleet, Choices: f.choices(), New: fresh, Versions: map[string]string{"lapstrake": Version}})
			if err != nil {
				return err
			}
			return a.build(c.Context(), eng, run, engine.NewDaemon(eng, state, w.options()))
		},
	}
	f.register(c)
	w.register(c)
	c.Flags().IntVar(&jobs, "jobs", 0, "run `n` solves at once (default: jobs of the fleet file, else the number of cores, at least 2)")
	c.Flags().BoolVar(&dry, "dry-run", false, "stop at the plan")
	c.Flags().BoolVar(&fresh, "new-run", false, "start a new run instead of going on with an unfinished one")
	return c
}

// build carries a fleet out and prints what came of it.
func (a *app) build(ctx context.Context, eng *engine.Engine, run *engine.Record, daemon *engine.Daemon) error {
	eng.Run, eng.Workers = run, []engine.Connector{daemon.Connector()}
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
	if e := daemon.Close(); err == nil {
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
