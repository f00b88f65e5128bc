package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
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
	observe    observeFlags
	jobs       int
	dry, fresh bool
	progress   string
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
	b.observe.register(c)
	c.Flags().IntVar(&b.jobs, "jobs", 0, "run `n` solves at once on one worker (default: jobs of the fleet file, else the number of cores, at least 2)")
	c.Flags().BoolVar(&b.dry, "dry-run", false, "stop at the plan")
	c.Flags().BoolVar(&b.fresh, "new-run", false, "start a new run instead of going on with an unfinished one")
	c.Flags().StringVar(&b.progress, "progress", progressAuto, "show progress by a `way`: the live view (tty), lines (plain), the journal's events (json), nothing (quiet); auto takes tty on a terminal")
	return c
}

// runBuild checks every flag before it starts a run.
func (a *app) runBuild(ctx context.Context, b *buildFlags, args []string) error {
	limits, err := b.limit.parse()
	mode, e := a.progressMode(b.progress)
	if err := errors.Join(atLeastZero("jobs", b.jobs), err, e); err != nil {
		return err
	}
	eng, state, err := a.open(ctx, &b.fleet, args)
	if err != nil {
		return err
	}
	defer eng.Close()
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
	watcher, err := a.observe(ctx, b.observe)
	if err != nil {
		return err
	}
	defer watcher.close()
	if note := limits.unmanaged(workers); note != "" {
		a.say("note: ", note)
	}
	run, err := engine.StartRecord(engine.RecordOptions{State: state, Fleet: eng.Fleet, Choices: b.fleet.choices(), Namespace: b.fleet.namespace, New: b.fresh, Versions: map[string]string{"lapstrake": Version}})
	if err != nil {
		return err
	}
	if err := watcher.watch(ctx, run); err != nil {
		return run.Finish(err)
	}
	if a.log != nil {
		mode = progressQuiet // the standard error is the log's
	}
	return a.build(ctx, eng, run, b.worker.daemons(eng, state, workers), mode)
}

// build carries a fleet out and prints what came of it.
func (a *app) build(ctx context.Context, eng *engine.Engine, run *engine.Record, workers daemons, mode string) error {
	eng.Run = run
	if run.Resumed && (a.log != nil || mode != progressJSON && mode != progressQuiet) {
		a.say("", "going on with run "+run.ID())
	}
	ctx, watched := a.watch(ctx, mode, eng)
	stop := sync.OnceFunc(watched.stop)
	defer stop() // also in a panic: a terminal is given back
	_, err := eng.Build(ctx, func(p *plan.Plan) error {
		return watched.plan(func(w io.Writer) error {
			if a.json {
				return nil
			}
			return text.Plan(w, p, page(a.Err))
		})
	})
	if e := workers.Close(); err == nil {
		err = e
	}
	err = run.Finish(err)
	stop()
	show := run.Summary(func(s *summary.Summary) error { return a.result(s) })
	if err == nil {
		err = show
	}
	return err
}

// result prints what came of a run, and tells a code host.
func (a *app) result(s *summary.Summary) error {
	if inActions() {
		// Paths are shown from the root of the checkout.
		if err := text.FailureAnnotations(a.Err, s, text.Options{Dir: os.Getenv("GITHUB_WORKSPACE")}); err != nil {
			return err
		}
	}
	if err := appendMarkdown(os.Getenv("GITHUB_STEP_SUMMARY"), s); err != nil {
		return err
	}
	if a.json {
		return json.NewEncoder(a.Out).Encode(s)
	}
	return text.Summary(a.Out, s, page(a.Out))
}

// appendMarkdown adds a run to the page of a job; "" is none.
func appendMarkdown(path string, s *summary.Summary) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return diag.Wrap(diag.Infra, "GITHUB_STEP_SUMMARY", err)
	}
	err = text.SummaryMarkdown(f, s, text.Options{Dir: os.Getenv("GITHUB_WORKSPACE")})
	return diag.Wrap(diag.Infra, "GITHUB_STEP_SUMMARY", errors.Join(err, f.Close()))
}
