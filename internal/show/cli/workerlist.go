package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// workerRow is one daemon in the list. What is not known is absent.
type workerRow struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"`
	// State is answers, silent, or idle for an embedded daemon that nobody runs.
	State     string         `json:"state"`
	Version   string         `json:"version,omitempty"`
	Platforms []string       `json:"platforms,omitempty"`
	Records   *int           `json:"records,omitempty"`
	Bytes     *int64         `json:"bytes,omitempty"`
	Holder    *worker.Holder `json:"holder,omitempty"`
	Error     string         `json:"error,omitempty"`
	help      string
}

const (
	stateAnswers = "answers"
	stateSilent  = "silent"
	stateIdle    = "idle"
)

func (a *app) workerListCommand() *cobra.Command {
	var w workerFlags
	c := &cobra.Command{
		Use:   "list [FLEET]",
		Short: "List the daemons that a build would use: whether they answer, what they are and hold",
		Args:  atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.workerList(c.Context(), &w, args)
		},
	}
	w.remote(c, "workers of the fleet file, else $BUILDKIT_HOST, else the embedded daemon")
	return c
}

func (a *app) workerList(ctx context.Context, w *workerFlags, args []string) error {
	state, err := a.workerState()
	if err != nil {
		return err
	}
	var file []fleet.Worker
	if len(args) > 0 {
		fl, err := a.loadFleet(ctx, args[0])
		if err != nil {
			return err
		}
		file = fl.Workers
	}
	workers, err := w.list(file)
	if err != nil {
		return err
	}
	list := make([]workerRow, len(workers))
	var all sync.WaitGroup
	for i, of := range workers {
		all.Go(func() { list[i] = w.row(ctx, state, of) })
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return diag.Wrap(diag.Interrupted, "list daemons", err)
	}
	if err := a.showWorkers(list); err != nil {
		return diag.Wrap(diag.Infra, "write", err)
	}
	for _, r := range list {
		if r.State == stateSilent {
			return diag.Errorf(diag.Infra, r.help, "%s does not answer", r.Name)
		}
	}
	return nil
}

// row asks one daemon.
func (w *workerFlags) row(ctx context.Context, state string, of fleet.Worker) workerRow {
	out := workerRow{Name: of.Title(), Address: of.Address, State: stateSilent}
	r, err := w.reach(ctx, state, of)
	if errors.Is(err, errNotRunning) {
		out.State = stateIdle
		return out
	}
	if r != nil && r.holder != nil {
		out.Holder, out.Address = r.holder, r.holder.Address
	}
	if err == nil {
		defer r.close()
		err = out.ask(ctx, r)
	}
	if err != nil {
		out.Error, out.help = err.Error(), diag.HelpOf(err)
	}
	return out
}

// ask fills in what the daemon says.
func (row *workerRow) ask(ctx context.Context, r *reached) error {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	info, err := r.client.Info(ctx)
	if err != nil {
		return err
	}
	row.State, row.Version, row.Platforms = stateAnswers, info.Version, info.Platforms
	records, err := r.client.Records(ctx)
	if err != nil {
		return err
	}
	u := worker.NewUsage(records)
	row.Records, row.Bytes = &u.Records, &u.Bytes
	return nil
}

func (a *app) showWorkers(list []workerRow) error {
	if a.json {
		return json.NewEncoder(a.Out).Encode(list)
	}
	t := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "worker\tstate\tversion\trecords\tsize\tbuilds")
	for _, r := range list {
		records, size := "-", "-"
		if r.Records != nil {
			records, size = fmt.Sprint(*r.Records), text.Bytes(*r.Bytes)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.State, or(r.Version), records, size, or(strings.Join(r.Platforms, " ")))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range list {
		if r.Holder != nil {
			fmt.Fprintf(a.Out, "%s: in use by %s, at %s\n", r.Name, r.Holder, r.Address)
		}
		if r.Error != "" {
			fmt.Fprintln(a.Out, r.Error) // names the daemon by itself
		}
	}
	return nil
}

// or is s, or a dash for nothing.
func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
