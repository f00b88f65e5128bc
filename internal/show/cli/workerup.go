package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/worker"
)

func (a *app) workerUpCommand() *cobra.Command {
	var w workerFlags
	c := &cobra.Command{
		Use:   "up [FLEET]",
		Short: "Run the embedded daemon until interrupted, and print its address for --worker",
		Long:  "Run the embedded daemon until interrupted, and print its address for --worker. With FLEET it knows the registries of that fleet file.",
		Args:  atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.workerUp(c.Context(), &w, args)
		},
	}
	w.binaries(c)
	return c
}

func (a *app) workerUp(ctx context.Context, w *workerFlags, args []string) error {
	state, err := a.workerState()
	if err != nil {
		return err
	}
	opt := worker.Options{State: state, Buildkitd: w.buildkitd, Runc: w.runc, Shared: true}
	if len(args) > 0 {
		fl, err := a.loadFleet(ctx, args[0])
		if err != nil {
			return err
		}
		opt.Registries = fl.Registries
	}
	d, err := worker.Start(ctx, opt)
	if err != nil {
		return err
	}
	if err := a.sayUp(d); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-d.Died():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if err := d.Stop(stop); err != nil {
		return err
	}
	return d.Err()
}

// sayUp prints where the daemon is.
func (a *app) sayUp(d *worker.Daemon) error {
	var err error
	if a.json {
		err = json.NewEncoder(a.Out).Encode(map[string]any{"address": d.Addr(), "root": d.Root(), "pid": d.PID(), "version": d.Version()})
	} else {
		_, err = fmt.Fprintf(a.Out, "serving %s on %s\n", d.Root(), d.Addr())
	}
	return diag.Wrap(diag.Infra, "write", err)
}
