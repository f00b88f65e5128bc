package cli

import (
	"context"
	"encoding/json"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/decide/bisect"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/run/lab"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// bisectFlags are the flags of a bisection and of those that look at it.
type bisectFlags struct {
	lab         labFlags
	q           lab.Question
	temperature string
}

func (f *bisectFlags) register(c *cobra.Command) {
	f.lab.register(c)
	fl := c.Flags()
	fl.StringVar(&f.q.Factor, "factor", "", "the `factor` whose levels are searched, in the order of the lab file (default: the only one)")
	fl.StringVar(&f.q.Metric, "metric", "executed", "the `metric` that changed: one that repeats exactly")
	fl.StringVar(&f.temperature, "temperature", string(experiment.Cold), "`temperature` of the builds: cold, or bump for what each level costs after the one before it")
}

// question checks the flags against the experiment.
func (f *bisectFlags) question(e *experiment.Experiment) (lab.Question, error) {
	f.q.Temperature = experiment.Temperature(f.temperature)
	if f.q.Factor == "" && len(e.Factors) == 1 {
		f.q.Factor = e.Factors[0].Name
	}
	var names []string
	for _, x := range e.Factors {
		names = append(names, x.Name)
	}
	if _, ok := e.Factor(f.q.Factor); !ok {
		return f.q, badFlag("factor", f.q.Factor, diag.Errorf(diag.Usage, diag.Suggest(f.q.Factor, "there are", names), "the experiment has no such factor"))
	}
	return f.q, choice("temperature", f.temperature, string(experiment.Cold), string(experiment.Bump))
}

func (a *app) labBisectCommand() *cobra.Command {
	var f bisectFlags
	c := &cobra.Command{
		Use:   "bisect [LAB]",
		Short: "Find the levels of a factor at which a metric changed, by few builds",
		Long: "Find the levels of a factor at which a metric changed, by few builds.\n\n" +
			"Commits are checked first: none may come before the first one. Levels that make the same images are one, and nothing is built " +
			"for them. There may be several changes, also such that cancel each other; what was not looked at is listed. A culprit is " +
			"printed as confirmed when it and the level before it, built again, give the same. An interrupted search goes on.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.labBisect(c.Context(), &f, args)
		},
	}
	f.register(c)
	f.lab.running(c)
	c.AddCommand(a.labBisectLogCommand(), a.labBisectReplayCommand(), a.labBisectSkipCommand())
	return c
}

func (a *app) labBisect(ctx context.Context, f *bisectFlags, args []string) (err error) {
	l, e, source, err := a.openLab(ctx, &f.lab, args)
	if err != nil {
		return err
	}
	defer func() {
		if e := l.Close(); err == nil {
			err = e
		}
	}()
	q, err := f.question(e)
	if err != nil {
		return err
	}
	relate, err := relations(ctx, e, q.Factor, source)
	if err != nil {
		return err
	}
	search, err := l.Bisect(ctx, q, relate)
	if err != nil {
		return err
	}
	return a.showSearch(e, q, search)
}

// relations is how the commits of a factor lie to each other; nil when its levels
// are no commits.
func relations(ctx context.Context, e *experiment.Experiment, factor, source string) (func(a, b string) bisect.Relation, error) {
	f, _ := e.Factor(factor)
	if !f.Kind.Commit() {
		return nil, nil
	}
	repo, err := gitrepo.Open(ctx, sourceOf(f, source))
	if err != nil {
		return nil, err
	}
	known := map[[2]string]bisect.Relation{}
	for i := range f.Levels {
		for _, j := range []int{0, 1, i - 1} { // a search of bumps begins at the second
			if j < 0 || j >= i {
				continue
			}
			pair := [2]string{f.Levels[j].Value, f.Levels[i].Value}
			if known[pair], err = relation(ctx, repo, pair[0], pair[1]); err != nil {
				return nil, err
			}
		}
	}
	return func(a, b string) bisect.Relation { return known[[2]string{a, b}] }, nil
}

// showSearch prints what a search has found.
func (a *app) showSearch(e *experiment.Experiment, q lab.Question, s *bisect.Search) error {
	f, _ := e.Factor(q.Factor)
	v := text.Bisection{Factor: q.Factor, Metric: q.Metric, Temperature: string(q.Temperature), Names: map[string]string{}, Log: s.Log(), Result: s.Result()}
	for _, l := range f.Levels {
		v.Names[l.Value] = l.Name
	}
	var err error
	if a.json {
		err = json.NewEncoder(a.Out).Encode(v)
	} else {
		err = text.Bisect(a.Out, v, page(a.Out))
	}
	return diag.Wrap(diag.Infra, "write", err)
}

// searched reads the experiment and its folder without working in it.
func (a *app) searched(ctx context.Context, f *bisectFlags, args []string) (*experiment.Experiment, lab.Question, *bisect.Search, error) {
	e, _, _, err := a.readLab(ctx, args, nil)
	if err != nil {
		return nil, lab.Question{}, nil, err
	}
	q, err := f.question(e)
	if err != nil {
		return nil, q, nil, err
	}
	dir, err := a.labDir(&f.lab, e)
	if err != nil {
		return nil, q, nil, err
	}
	s, err := lab.ReadSearch(dir, q)
	if err == nil && len(s.Log()) == 0 {
		err = diag.Errorf(diag.Usage, "begin it with `lapstrake lab bisect`", "%s holds no such search", filepath.Base(dir))
	}
	return e, q, s, err
}

func (a *app) labBisectLogCommand() *cobra.Command {
	var f bisectFlags
	c := &cobra.Command{
		Use:   "log [LAB]",
		Short: "Print what a search asked and was told, one event a line",
		Args:  atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			_, _, s, err := a.searched(c.Context(), &f, args)
			if err != nil {
				return err
			}
			data, err := bisect.Encode(s.Log())
			if err == nil {
				_, err = a.Out.Write(data)
			}
			return diag.Wrap(diag.Infra, "write", err)
		},
	}
	f.register(c)
	return c
}

func (a *app) labBisectReplayCommand() *cobra.Command {
	var f bisectFlags
	c := &cobra.Command{
		Use:   "replay [LAB]",
		Short: "Say again what a search found, from its log, without building",
		Args:  atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, q, s, err := a.searched(c.Context(), &f, args)
			if err != nil {
				return err
			}
			return a.showSearch(e, q, s)
		},
	}
	f.register(c)
	return c
}

func (a *app) labBisectSkipCommand() *cobra.Command {
	var f bisectFlags
	var level, why string
	c := &cobra.Command{
		Use:   "skip [LAB]",
		Short: "Take a level out of a search: what it gave does not count",
		Args:  atMost(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			l, e, _, err := a.openLab(c.Context(), &f.lab, args)
			if err != nil {
				return err
			}
			defer func() {
				if e := l.Close(); err == nil {
					err = e
				}
			}()
			q, err := f.question(e)
			if err != nil {
				return err
			}
			x, _ := e.Factor(q.Factor)
			at, ok := x.Level(level)
			if !ok {
				return badFlag("level", level, diag.Errorf(diag.Usage, "name a level of the factor", "%s has no such level", q.Factor))
			}
			id := at.Name
			if x.Kind.Commit() {
				id = at.Value
			}
			return l.SkipProbe(q, id, why)
		},
	}
	f.register(c)
	c.Flags().StringVar(&level, "level", "", "the `level` to take out")
	c.Flags().StringVar(&why, "why", "", "the `reason`, for the log")
	return c
}
