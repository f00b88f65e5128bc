package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/adapt/labfile"
	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/run/archive"
)

func (a *app) labCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lab",
		Short: "Answer questions about builds: what got slower, since when, because of what",
		RunE: func(c *cobra.Command, _ []string) error {
			return c.Help()
		},
	}
	c.Args = oneOf(c)
	c.AddCommand(a.labPlanCommand(), a.labRunCommand(), a.labBisectCommand(), a.labCollectCommand(), a.labCleanCommand(),
		a.labReportCommand(), a.labGateCommand(), a.labCompareCommand(), a.labAttributeCommand(), a.labExportCommand())
	return c
}

// readLab reads the lab file that the arguments name, and the runs of its cells.
// Commits that move a submodule with their code are taken apart.
func (a *app) readLab(ctx context.Context, args, runs []string) (e *experiment.Experiment, dir string, of trials.Runs, err error) {
	path := "."
	if len(args) > 0 {
		path = args[0]
	}
	dir = path
	if st, err := os.Stat(path); err == nil && !st.IsDir() {
		dir = filepath.Dir(path)
	}
	e, err = labfile.Load(path, labfile.Language{Metrics: metric.Names(), Check: checkClaims})
	if err != nil {
		return nil, "", nil, err
	}
	if e, err = splitBumps(ctx, e, dir); err != nil {
		return nil, "", nil, err
	}
	of, err = a.runsOf(e, runs)
	return e, dir, of, err
}

// checkClaims is what is wrong with claims over cells.
func checkClaims(claims []experiment.Claim, cells []string) diag.List {
	_, err := gate.New(claims, gate.Names{Metrics: trials.Claimable(), Cells: cells})
	var l diag.List
	errors.As(err, &l)
	return l
}

// runsOf reads CELL=RUN,RUN… into runs of cells.
func (a *app) runsOf(e *experiment.Experiment, flags []string) (trials.Runs, error) {
	var cells []string
	for _, c := range e.Cells {
		cells = append(cells, c.ID())
	}
	out := trials.Runs{}
	for _, flag := range flags {
		cell, words, err := sideOf(flag)
		if err != nil {
			return nil, badFlag("run", flag, err)
		}
		if _, ok := e.Cell(cell); !ok {
			return nil, badFlag("run", flag, diag.Errorf(diag.Usage, diag.Suggest(cell, "there are", cells), "the experiment has no cell %s", cell))
		}
		for _, word := range words {
			r, err := a.recordedRun(word)
			if err != nil {
				return nil, err
			}
			out[cell] = append(out[cell], r)
		}
	}
	return out, nil
}

// sideOf takes NAME=RUN,RUN… apart. A name may have "=" in it.
func sideOf(s string) (name string, runs []string, err error) {
	i := strings.LastIndexByte(s, '=')
	if i > 0 {
		name = s[:i]
		runs = strings.Split(s[i+1:], ",")
	}
	for _, r := range runs {
		if r == "" {
			i = -1
		}
	}
	if i <= 0 {
		return "", nil, diag.Errorf(diag.Usage, "write NAME=RUN, or NAME=RUN,RUN for several", "it names no run")
	}
	return name, runs, nil
}

// recordedRun is the run that a word names: a summary.json, a run's folder, or
// the id of a run in the state folder.
func (a *app) recordedRun(word string) (trials.Run, error) {
	st, err := os.Stat(word)
	switch {
	case err == nil && !st.IsDir():
		s, err := archive.ReadSummary(word)
		if err != nil {
			return trials.Run{}, err
		}
		id := s.Run
		if id == "" {
			id = word
		}
		return trials.Run{ID: id, Summary: s}, nil
	case err == nil:
		run := archive.At(word)
		s, err := run.Summary()
		return trials.Run{ID: run.ID, Summary: s}, err
	}
	state, err := a.stateDir()
	if err != nil {
		return trials.Run{}, err
	}
	run, err := archive.Find(state, word)
	if diag.KindOf(err) == diag.Usage {
		return trials.Run{}, diag.Errorf(diag.Usage, "name a run (`lapstrake runs` lists them) or its summary.json", "there is no file and no run %s", word)
	}
	if err != nil {
		return trials.Run{}, err
	}
	s, err := run.Summary()
	return trials.Run{ID: run.ID, Summary: s}, err
}

// expectation is what runs of cells lead to expect: the mean time and the highest
// peak of those that were not cut short. A control takes what the cell does.
func expectation(runs trials.Runs) func(experiment.Cell) (trials.Expectation, bool) {
	return func(c experiment.Cell) (trials.Expectation, bool) {
		list := runs[c.ID()]
		if c.Control && len(list) == 0 {
			c.Control = false
			list = runs[c.ID()]
		}
		var x trials.Expectation
		n := 0
		for _, r := range list {
			if s := r.Summary; s.WallSeconds != nil && !metric.Cut(s) {
				n++
				x.Time += time.Duration(*s.WallSeconds * float64(time.Second))
				if s.DiskPeakBytes != nil && *s.DiskPeakBytes > x.Peak {
					x.Peak, x.Budget = *s.DiskPeakBytes, 0
					if s.DiskBudgetBytes != nil {
						x.Budget = *s.DiskBudgetBytes
					}
				}
			}
		}
		if n == 0 {
			return x, false
		}
		x.Time /= time.Duration(n)
		return x, true
	}
}

const runFlag = "what a cell took: `CELL=RUN`, or CELL=RUN,RUN for several; a RUN is the id of a run, its folder or a summary.json; may be repeated"

func (a *app) labPlanCommand() *cobra.Command {
	var runs []string
	c := &cobra.Command{
		Use:   "plan [LAB]",
		Short: "Say which trials an experiment needs, what they can show, and what is wrong with the question",
		Long: "Say which trials an experiment needs, what they can show, and what is wrong with the question.\n\n" +
			"LAB is a lab file, or a folder with a lab.yaml; without it, that of the working folder. Nothing is run. What stands in the way " +
			"of an answer is a problem, and the program exits with 4.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.labPlan(c.Context(), args, runs)
		},
	}
	c.Flags().StringArrayVar(&runs, "run", nil, runFlag)
	return c
}

func (a *app) labPlan(ctx context.Context, args, flags []string) error {
	e, dir, runs, err := a.readLab(ctx, args, flags)
	if err != nil {
		return err
	}
	facts, err := gitFacts(ctx, e, dir)
	if err != nil {
		return err
	}
	facts.Expect = expectation(runs)
	p := trials.Make(e, facts)
	if err := a.showLabPlan(p); err != nil {
		return err
	}
	return p.Refusals.Err()
}
