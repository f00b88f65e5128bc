package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/explain"
	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/run/archive"
	"github.com/lapstrake/lapstrake/internal/run/check"
	"github.com/lapstrake/lapstrake/internal/run/lab"
)

const resultsFlag = "`folder` of the experiment's results (default: lab in the state folder, by the experiment's name and digest)"

// results are the trials of an experiment that have ended, on disk.
type results struct {
	dir string
	e   *experiment.Experiment
	// lab is the folder that paths of the experiment are relative to; "" when the
	// lab file is not known.
	lab string
	// list has the trials of the experiment's cells.
	list trials.Results
}

// results reads a results folder. The experiment is that of the lab file that the
// arguments name, which may ask other things of the trials than when they ran, or
// else the one in the folder. Without a folder it is the lab file's.
func (a *app) results(ctx context.Context, dir string, args []string) (*results, error) {
	r := &results{dir: dir}
	if len(args) > 0 || dir == "" {
		e, lab, _, err := a.readLab(ctx, args, nil)
		if err != nil {
			return nil, err
		}
		r.e, r.lab = e, lab
		if dir == "" {
			if r.dir, err = a.labDir(&labFlags{}, e); err != nil {
				return nil, err
			}
		}
	}
	e, err := lab.ReadExperiment(r.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, diag.Errorf(diag.Usage, "run its trials with `lapstrake lab run`, or name their folder with --results", "there are no results in %s", r.dir)
	case err != nil:
		return nil, err
	case r.e == nil:
		if r.e = e; e.Check() != nil {
			return nil, diag.Wrap(diag.File, r.dir, e.Check())
		}
	case e.Digest() != r.e.Digest():
		return nil, diag.Errorf(diag.Usage, "run its trials, or leave out the lab file", "%s holds the trials of another experiment: what the lab file's trials do is not what these did", r.dir)
	}
	return r, r.read()
}

// answers are the trials, with what comes of the lab file's checks now.
func (r *results) answers(ctx context.Context) (*answer.Trials, error) {
	t := answer.New(r.e, r.list)
	if r.lab == "" {
		return t, nil
	}
	g, err := gate.New(r.e.Claims, gate.Names{})
	if err == nil {
		t.Checks, err = check.Run(ctx, r.lab, g.Checks(), check.Within)
	}
	return t, err
}

// read reads the trials. Those of searches belong to no cell of the experiment, and
// are left out. A trial of which nothing is left to judge it by does not count.
func (r *results) read() error {
	list, err := lab.ReadResults(r.dir)
	if err != nil {
		return err
	}
	for _, o := range list {
		if o.V != trials.OutcomeVersion || o.Experiment != r.e.Digest() {
			return diag.Errorf(diag.File, "remove it, or collect the trials again", "the trial %s in %s is of another experiment or version", o.ID, r.dir)
		}
		if o.Summary == nil && len(o.Faults) == 0 {
			o.Faults = []trials.Fault{{Code: trials.NoSummary, Detail: "its run has no summary"}}
		}
		if _, ok := r.e.Cell(o.Cell); ok {
			r.list = append(r.list, o)
		}
	}
	return nil
}

// facts are what the repositories of the experiment say; without the lab file it
// is not known where they are.
func (r *results) facts(ctx context.Context) (trials.Facts, error) {
	if r.lab != "" {
		return gitFacts(ctx, r.e, r.lab)
	}
	var facts trials.Facts
	for _, f := range r.e.Factors {
		if f.Kind.Commit() {
			facts.Unchecked = append(facts.Unchecked, "the commits of "+f.Name+": name the lab file")
		}
	}
	return facts, nil
}

// searches reads the searches for culprits.
func (r *results) searches() ([]answer.Strip, error) {
	questions, err := lab.Searches(r.dir)
	if err != nil {
		return nil, err
	}
	var out []answer.Strip
	for _, q := range questions {
		s, err := lab.ReadSearch(r.dir, q)
		if err != nil {
			return nil, err
		}
		names := map[string]string{}
		if f, ok := r.e.Factor(q.Factor); ok {
			for _, l := range f.Levels {
				names[l.Value] = l.Name
			}
		}
		if len(s.Log()) > 0 {
			out = append(out, answer.NewStrip(fmt.Sprintf("%s of %s over %s", q.Metric, q.Temperature, q.Factor), names, s))
		}
	}
	return out, nil
}

// misses explains the first trial that counts of every warm cell and bump against
// the build that left what it started from. Builds that kept no plan, such as those
// of another program, are left out.
func (r *results) misses(t *answer.Trials) ([]answer.Missed, error) {
	var out []answer.Missed
	for _, c := range r.e.Cells {
		from, counted := c.Setting, t.Counted(c.ID())
		if c.Control || c.Temperature == experiment.Cold || len(counted) == 0 {
			continue
		}
		if c.Temperature == experiment.Bump {
			from = c.Seed
		}
		seed, ok, err := lab.SeedRun(r.dir, from)
		if err != nil {
			return nil, err
		}
		run := lab.RunDir(r.dir, counted[0])
		if !ok || !archive.At(run).Comparable() || !archive.At(seed).Comparable() {
			continue
		}
		was, err := archive.At(seed).Explained()
		if err != nil {
			return nil, err
		}
		is, err := archive.At(run).Explained()
		if err != nil {
			return nil, err
		}
		if c.Temperature != experiment.WarmRemote {
			is.Continues(was)
		}
		if report := explain.Misses(is, was, ""); len(report.Misses) > 0 {
			out = append(out, answer.Missed{Cell: c.ID(), Trial: counted[0].ID, Report: report})
		}
	}
	return out, nil
}

// resultsFlagOf adds the flag that names a results folder.
func resultsFlagOf(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "results", "", resultsFlag)
}
