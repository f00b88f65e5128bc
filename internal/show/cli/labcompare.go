package cli

import (
	"context"
	"encoding/json"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/attribute"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/show/gobench"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// render shows a value as JSON, or as text.
func (a *app) render(v any, show func(io.Writer, text.Options) error) error {
	err := error(nil)
	if a.json {
		err = json.NewEncoder(a.Out).Encode(v)
	} else {
		err = show(a.Out, page(a.Out))
	}
	return diag.Wrap(diag.Infra, "write", err)
}

// findMetrics looks names of metrics up.
func findMetrics(names []string) ([]metric.Metric, error) {
	var out []metric.Metric
	for _, n := range names {
		m, ok := metric.Find(n)
		if !ok {
			return nil, badFlag("metric", n, diag.Errorf(diag.Usage, diag.Suggest(n, "there are", metric.Names()), "there is no such metric"))
		}
		out = append(out, m)
	}
	return out, nil
}

func (a *app) labCompareCommand() *cobra.Command {
	var dir string
	var names []string
	c := &cobra.Command{
		Use:   "compare [[LAB] A B]",
		Short: "Say how the trials of cell B differ from those of cell A",
		Long: "Say how the trials of cell B differ from those of cell A, metric by metric: SAME, CHANGED, REGRESSED, IMPROVED, or UNKNOWN with " +
			"the trials that would settle it.\n\n" +
			"Without cells, every two cells of one temperature between which one factor differs are compared, in the metrics that the experiment " +
			"asks for. LAB is a lab file, or a folder with a lab.yaml; without it, the experiment that was run. Trials of unlike temperature, " +
			"concurrency, plan or daemon version are not compared: that ends with 2. Contaminated trials are shown, and do not count; then the " +
			"program exits with 9. It exits with 8 when a cell has no trial that counts.",
		Args: func(c *cobra.Command, args []string) error { return atMostNumber(c, args, 3) },
		RunE: func(c *cobra.Command, args []string) error {
			return a.labCompare(c.Context(), args, dir, names)
		},
	}
	resultsFlagOf(c, &dir)
	c.Flags().StringArrayVar(&names, "metric", nil, "compare only this `metric`; may be repeated")
	return c
}

// atMostNumber limits the arguments of a command that takes several.
func atMostNumber(c *cobra.Command, args []string, n int) error {
	if len(args) > n {
		return diag.Errorf(diag.Usage, "see `"+c.CommandPath()+" --help`", "%s takes %d arguments; what is %q?", c.CommandPath(), n, args[n])
	}
	return nil
}

func (a *app) labCompare(ctx context.Context, args []string, dir string, names []string) error {
	var cells []string
	if n := len(args); n >= 2 {
		args, cells = args[:n-2], args[n-2:]
	}
	metrics, err := findMetrics(names)
	if err != nil {
		return err
	}
	r, err := a.results(ctx, dir, args)
	if err != nil {
		return err
	}
	t := answer.New(r.e, r.list)
	v := text.Compared{Pairs: []*answer.Comparison{}, Warnings: t.Warnings}
	bad, evidence := t.Contaminated(cells...)
	v.Contaminated = bad
	var lacks error
	switch {
	case cells == nil:
		v.Pairs, v.Refused = t.Pairs(metrics...)
	default:
		c, err := t.Compare(cells[0], cells[1], metrics)
		if err != nil {
			return err
		}
		v.Pairs = append(v.Pairs, c)
		for _, s := range []answer.Side{c.A, c.B} {
			if len(s.Trials) == 0 {
				lacks = answer.Worst(lacks, diag.Errorf(diag.Undecided, "run its trials; `lapstrake lab report` says why some do not count", "no trial of %s counts", s.Cell))
			}
		}
	}
	if err := a.render(v, func(w io.Writer, o text.Options) error { return text.Comparisons(w, v, o) }); err != nil {
		return err
	}
	return answer.Worst(lacks, evidence)
}

func (a *app) labAttributeCommand() *cobra.Command {
	var dir, name, temperature string
	var factors []string
	c := &cobra.Command{
		Use:   "attribute [LAB]",
		Short: "Say which factors change a metric: one, several that add up, or a combination",
		Long: "Say which factors change a metric: one, several that add up, or a combination.\n\n" +
			"LAB is a lab file, or a folder with a lab.yaml; without it, the experiment that was run. The first level of each factor is old, " +
			"the one beside it that cells have is new; up to four factors are taken apart. A disk budget is held, unless --factor names it: where the experiment has a " +
			"cell with twice the disk, that says whether the disk makes it worse. Cells that lack are listed, and the program exits with 8; it exits with 9 " +
			"when trials of the cells are contaminated.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.labAttribute(c.Context(), args, dir, name, temperature, factors)
		},
	}
	resultsFlagOf(c, &dir)
	c.Flags().StringVar(&name, "metric", "", "the `metric` that changes")
	c.Flags().StringVar(&temperature, "temperature", "", "the cells of this `temperature` (default: cold, or the first that there is)")
	c.Flags().StringArrayVar(&factors, "factor", nil, "take this factor apart: `FACTOR`, or FACTOR=LEVEL for one of several new levels; may be repeated (default: all of which cells have two levels)")
	return c
}

func (a *app) labAttribute(ctx context.Context, args []string, dir, name, temperature string, factors []string) error {
	metrics, err := findMetrics([]string{name})
	if err != nil {
		return err
	}
	r, err := a.results(ctx, dir, args)
	if err != nil {
		return err
	}
	q := answer.Question{Metric: metrics[0], New: experiment.Levels{}, Show: func(v float64) string { return text.Signed(metrics[0].Unit, v) }}
	if q.Temperature, err = temperatureOf(r.e, temperature); err != nil {
		return err
	}
	for _, f := range factors {
		factor, level, _ := strings.Cut(f, "=")
		q.New[factor] = level
	}
	t := answer.New(r.e, r.list)
	got, err := t.Attribute(q)
	if err != nil {
		return err
	}
	bad, evidence := t.Contaminated(got.Asked...)
	v := text.Attributed{Attribution: got, Contaminated: bad}
	if err := a.render(v, func(w io.Writer, o text.Options) error { return text.Attribution(w, v, o) }); err != nil {
		return err
	}
	var open error
	if got.Verdict == attribute.Open || got.Verdict == attribute.Unknown {
		open = diag.Errorf(diag.Undecided, "run the trials that it says are lacking", "what changes %s is not told yet", got.Metric)
	}
	return answer.Worst(open, evidence)
}

// temperatureOf is a temperature of the experiment's cells: the one that is named,
// or the first.
func temperatureOf(e *experiment.Experiment, name string) (experiment.Temperature, error) {
	var there []string
	for _, t := range experiment.Temperatures() {
		for _, c := range e.Cells {
			if c.Temperature == t && !c.Control {
				if name == "" || name == string(t) {
					return t, nil
				}
				there = append(there, string(t))
				break
			}
		}
	}
	return "", badFlag("temperature", name, diag.Errorf(diag.Usage, diag.Suggest(name, "there are", there), "the experiment has no such cells"))
}

func (a *app) labExportCommand() *cobra.Command {
	var dir string
	var bench bool
	c := &cobra.Command{
		Use:   "export [LAB]",
		Short: "Write the trials for other programs",
		Long: "Write the trials for other programs: with --bench in the format of Go's benchmarks, for benchstat.\n\n" +
			"LAB is a lab file, or a folder with a lab.yaml; without it, the experiment that was run. Contaminated trials are left out, and the " +
			"program then exits with 9.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			if !bench {
				return diag.Errorf(diag.Usage, "pass --bench", "no format is named")
			}
			r, err := a.results(c.Context(), dir, args)
			if err != nil {
				return err
			}
			t := answer.New(r.e, r.list)
			if err := gobench.Write(a.Out, t); err != nil {
				return diag.Wrap(diag.Infra, "write", err)
			}
			_, evidence := t.Contaminated()
			return evidence
		},
	}
	resultsFlagOf(c, &dir)
	c.Flags().BoolVar(&bench, "bench", false, "the format of Go's benchmarks")
	return c
}
