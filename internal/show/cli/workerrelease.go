package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/run/archive"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// freed is what a release came to. With Dry nothing was released: Records and
// Bytes then are what would be.
type freed struct {
	Worker  string `json:"worker"`
	Dry     bool   `json:"dry,omitempty"`
	Records int    `json:"records"`
	Bytes   int64  `json:"bytes"`
	// Left is what the daemon still holds, InUse how many of that a solve does.
	Left      int   `json:"left"`
	LeftBytes int64 `json:"leftBytes"`
	InUse     int   `json:"inUse"`
	// Disk is the file system afterwards; nil when it is not on this machine.
	Disk *diskSpace `json:"disk"`
}

// releaseFlags say what to release.
type releaseFlags struct {
	worker   workerFlags
	all, dry bool
}

func (a *app) workerReleaseCommand() *cobra.Command {
	var f releaseFlags
	c := &cobra.Command{
		Use:   "release",
		Short: "Release what earlier runs left on the embedded daemon and no run needs",
		Long: "Release what earlier runs left on the embedded daemon and no run needs: the bases of their images, what was made over them, images that were scanned, and copies of contexts. " +
			"Shared steps and cache mounts stay, and so does what is in use. $BUILDKIT_HOST is not looked at; a daemon elsewhere is released only when --worker names it.",
		Args: atMost(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.workerRelease(c.Context(), &f)
		},
	}
	f.worker.remote(c, "the embedded daemon")
	f.worker.binaries(c)
	c.Flags().BoolVar(&f.all, "all", false, "release everything that is not in use, shared steps and cache mounts included")
	c.Flags().BoolVar(&f.dry, "dry-run", false, "say what would be released")
	return c
}

func (a *app) workerRelease(ctx context.Context, f *releaseFlags) error {
	state, err := a.workerState()
	if err != nil {
		return err
	}
	// Only what is named is released: neither a fleet file nor the environment.
	workers := []fleet.Worker{{}}
	if f.worker.set("worker") {
		if workers, err = f.worker.list(nil); err != nil {
			return err
		}
	}
	bases, err := pulledByRuns(filepath.Dir(state))
	if err != nil {
		return err
	}
	var list []freed
	for _, of := range workers {
		out, err := f.release(ctx, state, of, bases)
		if err != nil {
			return err
		}
		list = append(list, out)
	}
	if a.json {
		return diag.Wrap(diag.Infra, "write", json.NewEncoder(a.Out).Encode(list))
	}
	for _, out := range list {
		a.showFreed(out)
	}
	return nil
}

// release releases on one daemon, which is started for it when it is ours and
// idle.
func (f *releaseFlags) release(ctx context.Context, state string, of fleet.Worker, bases map[graph.Digest]bool) (out freed, err error) {
	out = freed{Worker: of.Title(), Dry: f.dry}
	if of.Address == "" && !hasState(state) {
		return out, nil
	}
	r, err := f.worker.open(ctx, state, of)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	// Dry or not: what a run needs next is not known from outside.
	if err := r.mayRelease(); err != nil {
		return out, err
	}
	records, err := r.client.Records(ctx)
	if err != nil {
		return out, err
	}
	ids := worker.Left(records, bases)
	if f.all {
		ids = worker.Idle(records)
	}
	if err := out.carryOut(ctx, r, records, ids); err != nil {
		return out, err
	}
	if r.daemon != nil {
		err = r.daemon.Ballast()
	}
	out.Disk = r.space()
	return out, err
}

// mayRelease refuses a daemon that a run has for itself, or that is shared and
// was not named.
func (r *reached) mayRelease() error {
	if r.holder == nil || r.holder.Shared && r.of.Address != "" {
		return nil
	}
	help := "wait for it to end: it releases what it does not need by itself"
	if r.holder.Shared {
		help = "when no run uses it: lapstrake worker release --worker " + r.holder.Address
	}
	return diag.Errorf(diag.Infra, help, "release: the embedded daemon is in use by %s", r.holder)
}

// carryOut releases the records, or only counts them.
func (out *freed) carryOut(ctx context.Context, r *reached, records []buildkit.Record, ids []string) error {
	var gone []buildkit.Record
	var err error
	if out.Dry {
		gone = named(records, ids)
	} else if gone, err = r.client.Release(ctx, ids); err != nil {
		return err
	}
	all, went := worker.NewUsage(records), worker.NewUsage(gone)
	out.Records, out.Bytes = went.Records, went.Bytes
	out.Left, out.LeftBytes, out.InUse = all.Records-went.Records, all.Bytes-went.Bytes, all.InUse
	return nil
}

// named are the records with these ids.
func named(records []buildkit.Record, ids []string) []buildkit.Record {
	is := map[string]bool{}
	for _, id := range ids {
		is[id] = true
	}
	var out []buildkit.Record
	for _, r := range records {
		if is[r.ID] {
			out = append(out, r)
		}
	}
	return out
}

// pulledByRuns are the bases of all images that runs in the state folder planned, and
// the images that they scanned, without those of runs that are going on.
func pulledByRuns(state string) (map[graph.Digest]bool, error) {
	runs, err := archive.List(state)
	if err != nil {
		return nil, err
	}
	out, live := map[graph.Digest]bool{}, map[graph.Digest]bool{}
	for _, run := range runs {
		p, err := run.Planned()
		if err != nil {
			continue // it has no plan yet, and so no bases
		}
		var scanned map[string]summary.UnitState
		if p.Scans() > 0 {
			if s, err := run.Summary(); err == nil { // else its scans stay
				scanned = s.Units
			}
		}
		for _, u := range p.Units {
			pulled := []graph.Digest{u.BaseDigest}
			if u.Scan {
				pulled = append(pulled, scanned[u.Image].Digest)
			}
			for _, d := range pulled {
				if run.InUse {
					live[d] = true
				} else if d != "" {
					out[d] = true
				}
			}
		}
	}
	for d := range live {
		delete(out, d)
	}
	return out, nil
}

func (a *app) showFreed(out freed) {
	verb := "released"
	if out.Dry {
		verb = "would release"
	}
	fmt.Fprintf(a.Out, "%s: %s %s, %s; it holds %s, %s", out.Worker, verb, records(out.Records), text.Bytes(out.Bytes), records(out.Left), text.Bytes(out.LeftBytes))
	if out.InUse > 0 {
		fmt.Fprintf(a.Out, ", %d in use", out.InUse)
	}
	fmt.Fprintln(a.Out)
	if out.Disk != nil {
		fmt.Fprintf(a.Out, "its disk has %s free of %s\n", text.Bytes(out.Disk.Free), text.Bytes(out.Disk.Total))
	}
}
