package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/run/worker"
)

func (a *app) workerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "worker",
		Short: "Keep a daemon for several runs, list daemons, say what holds their disk, and release it",
		RunE: func(c *cobra.Command, _ []string) error {
			return c.Help()
		},
	}
	c.AddCommand(a.workerUpCommand(), a.workerListCommand(), a.workerUsageCommand(), a.workerReleaseCommand())
	c.Args = oneOf(c)
	return c
}

// oneOf refuses words that are no command of c.
func oneOf(c *cobra.Command) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var names []string
		for _, sub := range c.Commands() {
			names = append(names, sub.Name())
		}
		help := "`" + c.CommandPath() + " --help` lists the commands"
		if near := diag.Nearest(args[0], names); near != "" {
			help = "did you mean " + near + "?"
		}
		return diag.Errorf(diag.Usage, help, "unknown command %q", args[0])
	}
}

// workerState is the state folder of the embedded daemon.
func (a *app) workerState() (string, error) {
	state, err := a.stateDir()
	return filepath.Join(state, "worker"), err
}

const (
	// reachWithin is how long a daemon may take to say who it is.
	reachWithin = 10 * time.Second
	// stopWithin bounds the clean end of a daemon that a command started.
	stopWithin = 20 * time.Second
)

// reached is a daemon that a command talks to.
type reached struct {
	of     fleet.Worker
	client *buildkit.Client
	daemon *worker.Daemon // nil unless the command started it
	// holder is the process that runs the embedded daemon; nil when this one
	// does, or when the daemon is not ours.
	holder *worker.Holder
	root   string // the folder with its content; empty when that is elsewhere
}

// errNotRunning means that nobody runs the embedded daemon now.
var errNotRunning = errors.New("the embedded daemon is not running")

// reach connects to a daemon that runs, or returns errNotRunning.
func (w *workerFlags) reach(ctx context.Context, state string, of fleet.Worker) (*reached, error) {
	r := &reached{of: of}
	h, held, err := worker.Held(state)
	if err != nil && of.Address == "" {
		return nil, err
	}
	address := of.Address
	if address == "" {
		if !held {
			return nil, errNotRunning
		}
		address = h.Address
	}
	if held && address == h.Address {
		r.holder, r.root = &h, filepath.Join(state, "root")
	}
	dial, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	r.client, err = buildkit.Dial(dial, address, w.daemon(of).TLS())
	if err != nil && dial.Err() != nil && ctx.Err() == nil {
		err = diag.Errorf(diag.Infra, "is it stopped, or something between here and there?", "%s does not answer within %v", of.Title(), reachWithin)
	}
	if err != nil {
		return r, err
	}
	return r, nil
}

// open is reach, but starts the embedded daemon when it does not run.
func (w *workerFlags) open(ctx context.Context, state string, of fleet.Worker) (*reached, error) {
	r, err := w.reach(ctx, state, of)
	if !errors.Is(err, errNotRunning) {
		return r, err
	}
	d, err := worker.Start(ctx, worker.Options{State: state, Buildkitd: w.buildkitd, Runc: w.runc})
	if err != nil {
		return nil, err
	}
	r = &reached{of: of, daemon: d, root: d.Root()}
	if r.client, err = buildkit.Dial(ctx, d.Addr(), buildkit.Options{}); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// close lets go of the daemon, and ends it when the command started it.
func (r *reached) close() error {
	var errs []error
	if r.client != nil {
		errs = append(errs, r.client.Close())
	}
	if r.daemon != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		errs = append(errs, r.daemon.Stop(ctx))
	}
	return errors.Join(errs...)
}

// hasState tells whether there was ever an embedded daemon: if not, none is
// started only to say that it has nothing.
func hasState(state string) bool {
	_, err := os.Stat(filepath.Join(state, "root"))
	return err == nil
}
