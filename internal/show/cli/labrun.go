package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/run/lab"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// labFlags are the flags of commands that work in an experiment's folder.
type labFlags struct {
	dir      string
	cells    []string
	parallel int
	// buildkitd and runc are paths; "" means as for the embedded daemon.
	buildkitd, runc string
}

func (f *labFlags) register(c *cobra.Command) {
	c.Flags().StringVarP(&f.dir, "out", "o", "", "`folder` of the experiment's results (default: lab in the state folder, by the experiment's name and digest)")
}

// running adds the flags of commands that run trials.
func (f *labFlags) running(c *cobra.Command) {
	fl := c.Flags()
	fl.IntVar(&f.parallel, "parallel", 0, "run `n` trials at once where no time is asked for (default: half the number of cores, at least 1)")
	fl.StringVar(&f.buildkitd, "buildkitd", "", "`path` of the daemons' buildkitd (default: beside lapstrake, then $PATH)")
	fl.StringVar(&f.runc, "runc", "", "`path` of the daemons' runc (default: beside lapstrake, then $PATH)")
}

// labDir is the folder of an experiment.
func (a *app) labDir(f *labFlags, e *experiment.Experiment) (string, error) {
	if f.dir != "" {
		dir, err := filepath.Abs(f.dir)
		return dir, diag.Wrap(diag.Infra, "-o", err)
	}
	state, err := a.stateDir()
	if err != nil {
		return "", err
	}
	digest := string(e.Digest())
	return filepath.Join(state, "lab", e.Name+"-"+digest[len("sha256:"):len("sha256:")+12]), nil
}

// openLab opens the folder of the experiment that the arguments name.
func (a *app) openLab(ctx context.Context, f *labFlags, args []string) (*lab.Lab, *experiment.Experiment, string, error) {
	if err := atLeastZero("parallel", f.parallel); err != nil {
		return nil, nil, "", err
	}
	e, dir, _, err := a.readLab(ctx, args, nil)
	if err != nil {
		return nil, nil, "", err
	}
	o := lab.Options{Experiment: e, Parallel: f.parallel, Buildkitd: f.buildkitd, Runc: f.runc, Told: a.labNews}
	if o.Parallel == 0 {
		o.Parallel = max(1, runtime.NumCPU()/2)
	}
	if o.Source, err = filepath.Abs(dir); err != nil {
		return nil, nil, "", diag.Wrap(diag.Infra, "lab", err)
	}
	if o.Dir, err = a.labDir(f, e); err != nil {
		return nil, nil, "", err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, "", diag.Wrap(diag.Infra, "lab", err)
	}
	o.Program = []string{self}
	o.LoadFleet = func(ctx context.Context, path string) (*fleet.Fleet, error) { return a.loadFleet(ctx, path) }
	l, err := lab.Open(ctx, o)
	return l, e, dir, err
}

// labNews says on the error output what begins and ends.
func (a *app) labNews(n lab.News) {
	line := fmt.Sprintf("%s %s", n.What, n.Name)
	switch {
	case !n.Ended:
		line += " …"
	case n.Outcome == nil:
		line += fmt.Sprintf(" is there after %s", text.Duration(n.Took))
	case len(n.Outcome.Faults) > 0:
		line += " does not count: " + n.Outcome.Faults[0].Detail
	default:
		line += fmt.Sprintf(" took %s", text.Duration(n.Took))
		if n.Outcome.Exit != 0 {
			line += fmt.Sprintf(", and its build ended with exit code %d", n.Outcome.Exit)
		}
	}
	fmt.Fprintln(a.Err, line)
}

func (a *app) labRunCommand() *cobra.Command {
	var f labFlags
	c := &cobra.Command{
		Use:   "run [LAB]",
		Short: "Run the trials of an experiment that have not been run",
		Long: "Run the trials of an experiment that have not been run.\n\n" +
			"Every trial has a daemon, a folder and names in the registry of its own, and is judged by what was seen of it: one that was not " +
			"apart from all others does not count, and the exit code is then 9. After an interruption, the same command goes on. With --cell " +
			"it runs a part of the experiment, on any machine; `lapstrake lab collect` puts the parts together.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.labRun(c.Context(), &f, args)
		},
	}
	f.register(c)
	f.running(c)
	c.Flags().StringSliceVar(&f.cells, "cell", nil, "run only the trials of this `cell`; may be repeated")
	return c
}

func (a *app) labRun(ctx context.Context, f *labFlags, args []string) (err error) {
	l, e, source, err := a.openLab(ctx, f, args)
	if err != nil {
		return err
	}
	defer func() {
		if e := l.Close(); err == nil {
			err = e
		}
	}()
	if err := knownCells(e, f.cells); err != nil {
		return err
	}
	p, err := a.planTrials(ctx, l, e, source)
	if err != nil {
		return err
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(a.Err, "%s: warning: %s [%s]\n", w.Pos, w.Message, w.Code)
	}
	if err := p.Refusals.Err(); err != nil {
		return err
	}
	if err := l.Run(ctx, p, f.cells); err != nil {
		return err
	}
	dir, err := a.labDir(f, e)
	if err != nil {
		return err
	}
	results, err := lab.ReadResults(dir)
	if err != nil {
		return err
	}
	return a.labRan(dir, results)
}

// planTrials plans with all that can be known: the repositories are asked, and
// every setting is planned.
func (a *app) planTrials(ctx context.Context, l *lab.Lab, e *experiment.Experiment, source string) (*trials.Plan, error) {
	facts, err := gitFacts(ctx, e, source)
	if err != nil {
		return nil, err
	}
	prints := map[string]graph.Digest{}
	for _, c := range e.Cells {
		if _, ok := prints[c.Setting]; ok {
			continue
		}
		if prints[c.Setting], err = l.Fingerprint(ctx, c.Setting); err != nil {
			return nil, err
		}
	}
	facts.Fingerprint = func(setting string) (graph.Digest, bool) {
		d, ok := prints[setting]
		return d, ok
	}
	return trials.Make(e, facts), nil
}

// knownCells checks the cells of a flag.
func knownCells(e *experiment.Experiment, asked []string) error {
	var ids []string
	for _, c := range e.Cells {
		ids = append(ids, c.ID())
	}
	for _, id := range asked {
		if _, ok := e.Cell(id); !ok {
			return badFlag("cell", id, diag.Errorf(diag.Usage, diag.Suggest(id, "there are", ids), "the experiment has no cell %s", id))
		}
	}
	return nil
}

// labRan says what the trials came to; an error of kind diag.Evidence when one
// does not count.
func (a *app) labRan(dir string, results trials.Results) error {
	bad := results.Contaminated()
	var err error
	if a.json {
		err = json.NewEncoder(a.Out).Encode(struct {
			Dir          string         `json:"dir"`
			Trials       trials.Results `json:"trials"`
			Contaminated int            `json:"contaminated"`
		}{dir, results, len(bad)})
	} else {
		_, err = fmt.Fprintf(a.Out, "%d trials in %s\n", len(results)-len(bad), dir)
		for _, o := range bad {
			for _, f := range o.Faults {
				fmt.Fprintf(a.Out, "  %s does not count: %s (%s)\n", o.ID, f.Detail, f.Code)
			}
		}
	}
	if err != nil {
		return diag.Wrap(diag.Infra, "write", err)
	}
	if len(bad) > 0 {
		return diag.Errorf(diag.Evidence, "remove their folders to run them again", "%d of %d trials do not count", len(bad), len(results))
	}
	return nil
}

func (a *app) labCollectCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "collect DIR...",
		Short: "Put together the trials of an experiment that ran in several places",
		Long:  "Put together the trials of an experiment that ran in several places. Folders of another experiment are refused; a trial that is there already is not taken twice.",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 || out == "" {
				return diag.Errorf(diag.Usage, "for example: lapstrake lab collect host-a host-b -o all", "lab collect takes folders and -o")
			}
			n, err := lab.Collect(out, args)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Out, "%d trials taken into %s\n", n, out)
			return diag.Wrap(diag.Infra, "write", err)
		},
	}
	c.Flags().StringVarP(&out, "out", "o", "", "`folder` that gets them")
	return c
}

func (a *app) labCleanCommand() *cobra.Command {
	var f labFlags
	var all bool
	c := &cobra.Command{
		Use:   "clean [LAB]",
		Short: "Delete what an experiment wrote in the registry, and its states; --all its results, too",
		Args:  atMost(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			l, _, _, err := a.openLab(c.Context(), &f, args)
			if err != nil {
				return err
			}
			defer func() {
				if e := l.Close(); err == nil {
					err = e
				}
			}()
			return l.Clean(c.Context(), all)
		},
	}
	f.register(c)
	c.Flags().BoolVar(&all, "all", false, "delete the results, too")
	return c
}
