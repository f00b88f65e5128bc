// Package cli is the program: a function from arguments and streams to an exit
// code. A command is options, flags and one call.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// Streams are the program's input and outputs.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Version is the program's version, set at link time for releases.
var Version = "dev"

// app is what every command shares.
type app struct {
	Streams
	state string
	json  bool
	// log takes what else is text on Err; nil unless a command's flags ask for it.
	log *slog.Logger
	// noted are the bake files whose notes were shown.
	noted map[string]bool
}

// Main runs the program and returns its exit code; see diag.Kind. A panic is
// our own fault, and exits with that code instead of Go's 2.
func Main(args []string, s Streams) (code int) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(s.Err, "lapstrake: internal error: %v\n\n%s", r, debug.Stack())
			code = diag.Internal.ExitCode()
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{Streams: s}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit exitCode
	if errors.As(err, &exit) {
		return int(exit)
	}
	a.report(err)
	return diag.KindOf(err).ExitCode()
}

// report prints an error: problems with their lines, anything else with its help.
func (a *app) report(err error) {
	if a.log != nil {
		kind := diag.KindOf(err)
		a.log.Error(err.Error(), "kind", kind.String(), "exit", kind.ExitCode(), "help", diag.HelpOf(err))
		return
	}
	var l diag.List
	var p diag.Problem
	if errors.As(err, &p) {
		l = diag.List{p}
	}
	if errors.As(err, &l); len(l) > 0 {
		if inActions() {
			_ = text.ProblemAnnotations(a.Err, l, text.Options{Dir: os.Getenv("GITHUB_WORKSPACE")}) // they are printed below, too
		}
		text.Problems(a.Err, withLines(l), page(a.Err))
		return
	}
	fmt.Fprintln(a.Err, "lapstrake: "+err.Error())
	if help := diag.HelpOf(err); help != "" {
		fmt.Fprintln(a.Err, "help: "+help)
	}
}

// withLines adds the lines of files that problems point to, where they lack.
func withLines(l diag.List) diag.List {
	for _, p := range l {
		if p.Source != "" || p.Pos.Line == 0 {
			continue
		}
		if data, err := os.ReadFile(p.Pos.File); err == nil {
			l = l.WithSource(p.Pos.File, data)
		}
	}
	return l
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "lapstrake",
		Short:         "Build fleets of container images: one recipe on many bases",
		Long:          "Build fleets of container images: one recipe on many bases, at the cost of the distinct work.\n\n" + exitCodes(),
		Version:       Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(c *cobra.Command, _ []string) error {
			return c.Help()
		},
	}
	root.PersistentFlags().StringVar(&a.state, "state", "", "`folder` for facts, runs and the embedded daemon (default: lapstrake in $XDG_STATE_HOME)")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON; the last line is the result")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return diag.Errorf(diag.Usage, "see `"+c.CommandPath()+" --help`", "%w", err)
	})
	root.AddCommand(a.initCommand(), a.planCommand(), a.lintCommand(), a.buildCommand(), a.verifyCommand(), a.historyCommand(), a.mirrorCommand(), a.runsCommand(), a.showCommand(), a.reportCommand(), a.imagesCommand(), a.retentionCommand(), a.explainCommand(), a.diffCommand(), a.recordCommand(), a.importCommand(), a.labCommand(), a.pruneCommand(), a.doctorCommand(), a.workerCommand(), a.registryCommand(), a.completionCommand())
	a.complete(root)
	root.Args = oneOf(root)
	return root
}

// atMost limits the arguments of a command.
func atMost(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		takes := "no arguments"
		if n == 1 {
			takes = "one argument"
		}
		return diag.Errorf(diag.Usage, "see `"+c.CommandPath()+" --help`", "%s takes %s; what is %q?", c.CommandPath(), takes, args[n])
	}
}

// exitCodes renders the one table of exit codes for help.
func exitCodes() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n    0  done\n")
	for _, k := range diag.Kinds() {
		fmt.Fprintf(&b, "  %3d  %s\n", k.ExitCode(), k.Describe())
	}
	return strings.TrimRight(b.String(), "\n")
}

// stateDir is the state folder, created.
func (a *app) stateDir() (string, error) {
	dir := a.state
	if dir == "" {
		base := os.Getenv("XDG_STATE_HOME")
		if base == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", diag.Errorf(diag.Usage, "pass --state DIR", "state folder: %w", err)
			}
			base = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(base, "lapstrake")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", diag.Wrap(diag.Infra, "state folder", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", diag.Errorf(diag.Infra, "pass --state DIR with a folder that can be written", "state folder: %w", err)
	}
	return dir, nil
}

// page says how text is laid out on w: as wide as its terminal and in colour
// there (unless NO_COLOR is set), $COLUMNS or 100 wide elsewhere. Paths in the
// working folder are shown without it.
func page(w io.Writer) text.Options {
	o := text.Options{Width: 100}
	if dir, err := os.Getwd(); err == nil {
		o.Dir = dir
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		o.Width = n
	}
	f, ok := w.(*os.File)
	if !ok {
		return o
	}
	if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
		o.Width, o.Color = n, os.Getenv("NO_COLOR") == ""
	}
	return o
}
