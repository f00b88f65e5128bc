package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/run/record"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// exitCode ends the program like the command that it ran. There is nothing to
// say about it: the command has.
type exitCode int

// Error names the code.
func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func (a *app) recordCommand() *cobra.Command {
	var o record.Options
	var disk string
	c := &cobra.Command{
		Use:   "record [flags] -- COMMAND [ARG...]",
		Short: "Run a build command that is not ours, unchanged, and record what its builds do",
		Long: "Run a build command that is not ours, unchanged, and record what its builds do: a loop around `docker buildx build`, bake,\n" +
			"buildctl. It gets a daemon of its own by BUILDKIT_HOST, and as the active buildx builder by BUILDX_CONFIG and BUILDX_BUILDER;\n" +
			"builders that exist by name lead there, too. Credentials are found where they are. What the daemon holds stays for the next\n" +
			"recording with the same folder.\n\n" +
			"The run is marked as observed; `lapstrake show` has its steps, phases, prunes and disk. Nothing is stopped, released or\n" +
			"changed: --disk-budget only notes when it was passed. Signals are passed on. The exit code is the command's, 128 and the\n" +
			"signal's number when one ended it; when the recording itself goes wrong, and the command does not, it is that of the table.",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return diag.Errorf(diag.Usage, "for example: lapstrake record -- ./build-images.sh", "what is to be recorded?")
			}
			o.Command = args
			return a.record(c, o, disk)
		},
	}
	fl := c.Flags()
	fl.SetInterspersed(false) // flags after the command are the command's
	fl.StringVar(&disk, "disk-budget", "", "note when the daemon holds more of its disk than this `size` (20G), a share (40%) or \"leave 10G free\" allow")
	fl.StringVar(&o.Worker, "worker-state", "", "`folder` for the state of the daemon (default: worker in the state folder)")
	fl.StringVar(&o.Buildkitd, "buildkitd", "", "`path` of the daemon's buildkitd (default: beside lapstrake, then $PATH)")
	fl.StringVar(&o.Runc, "runc", "", "`path` of the daemon's runc (default: beside lapstrake, then $PATH)")
	return c
}

// record runs the command, and then prints what became of its builds.
func (a *app) record(c *cobra.Command, o record.Options, disk string) (err error) {
	if disk != "" {
		if o.Disk, err = fleet.ParseDisk(disk); err != nil {
			return badFlag("disk-budget", disk, err)
		}
	}
	if o.State, err = a.stateDir(); err != nil {
		return err
	}
	if o.Worker != "" {
		if o.Worker, err = filepath.Abs(o.Worker); err != nil {
			return diag.Wrap(diag.Infra, "--worker-state", err)
		}
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	o.Stdin, o.Stdout, o.Stderr, o.Signals = a.In, a.Out, a.Err, signals
	if f, ok := a.In.(*os.File); ok {
		o.Terminal = term.IsTerminal(int(f.Fd()))
	}
	o.Versions = map[string]string{"lapstrake": Version}
	out, err := record.Run(c.Context(), o)
	if out.Summary != nil {
		if e := a.showRecorded(out); err == nil {
			err = e
		}
	}
	if out.Exit == 0 {
		return err
	}
	if err != nil {
		a.report(err)
	}
	return exitCode(out.Exit)
}

// showRecorded prints what became of the builds: beside the command's own
// errors, as its output is its own; as JSON behind its output.
func (a *app) showRecorded(out record.Outcome) error {
	if a.json {
		return json.NewEncoder(a.Out).Encode(out.Summary)
	}
	fmt.Fprintln(a.Err)
	if err := text.Summary(a.Err, out.Summary, page(a.Err)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.Err, "\nrecorded as run %s\n", out.Run)
	return err
}
