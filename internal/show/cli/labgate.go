package cli

import (
	"context"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/run/check"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) labGateCommand() *cobra.Command {
	var runs []string
	var name, dir string
	c := &cobra.Command{
		Use:   "gate [LAB]",
		Short: "Judge the claims of an experiment by its trials, or by recorded runs",
		Long: "Judge the claims of an experiment by its trials, or by recorded runs.\n\n" +
			"LAB is a lab file, or a folder with a lab.yaml; without it, that of the working folder. A claim is PASS, FAIL, UNKNOWN, which is " +
			"never a pass, or INVALID, when a run is not what its cell says. Checks are run. The program exits with 0 when all pass or are " +
			"waived, else with 9 for INVALID, 7 for FAIL, 8 for UNKNOWN, the first that applies. With --results, LAB may be left out for the " +
			"experiment that was run, and then checks are not; contaminated trials do not count, and when a cell that a claim speaks of has " +
			"one the program exits with 9.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			if dir != "" {
				return a.labGateResults(c.Context(), args, runs, name, dir)
			}
			return a.labGate(c.Context(), args, runs, name)
		},
	}
	c.Flags().StringArrayVar(&runs, "run", nil, runFlag)
	resultsFlagOf(c, &dir)
	c.Flags().StringVar(&name, "gate", "", "judge only the claims of the gate `name` (default: all claims)")
	return c
}

func (a *app) labGate(ctx context.Context, args, flags []string, name string) error {
	e, dir, runs, err := a.readLab(ctx, args, flags)
	if err != nil {
		return err
	}
	claims, err := judged(e, name)
	if err != nil {
		return err
	}
	g, err := gate.New(claims, gate.Names{})
	if err != nil {
		return err
	}
	checks, err := check.Run(ctx, dir, g.Checks(), check.Within)
	if err != nil {
		return err
	}
	evidence, warnings := trials.Evidence(e, runs)
	report := g.With(checks).Judge(evidence, time.Now())
	v := text.Verdicts{Gate: name, Findings: report.Findings, Warnings: warnings, Runs: slices.Sorted(maps.Keys(runs))}
	return answer.Worst(a.showVerdicts(e, v), report.Err())
}

// labGateResults judges the claims by the trials of a results folder.
func (a *app) labGateResults(ctx context.Context, args, flags []string, name, dir string) error {
	if len(flags) > 0 {
		return badFlag("run", flags[0], diag.Errorf(diag.Usage, "give one of --run and --results", "the trials are in %s", dir))
	}
	r, err := a.results(ctx, dir, args)
	if err != nil {
		return err
	}
	claims, err := judged(r.e, name)
	if err != nil {
		return err
	}
	t, err := r.answers(ctx)
	if err != nil {
		return err
	}
	report, bad, verdict := t.Judge(claims, time.Now())
	if report.Findings == nil {
		return verdict
	}
	v := text.Verdicts{Gate: name, Findings: report.Findings, Warnings: t.Warnings, Contaminated: bad, Runs: slices.Sorted(maps.Keys(r.list.Runs()))}
	return answer.Worst(a.showVerdicts(r.e, v), verdict)
}

// judged are the claims of a gate; all of them with the name "".
func judged(e *experiment.Experiment, name string) ([]experiment.Claim, error) {
	claims, ok := e.Judged(name)
	if !ok {
		var names []string
		for _, g := range e.Gates {
			names = append(names, g.Name)
		}
		return nil, badFlag("gate", name, diag.Errorf(diag.Usage, diag.Suggest(name, "there are", names), "the experiment has no such gate"))
	}
	return claims, nil
}

// showVerdicts prints what came of claims, beside what was predicted.
func (a *app) showVerdicts(e *experiment.Experiment, v text.Verdicts) error {
	v.Predicted = map[string]bool{}
	for _, p := range e.Predictions {
		v.Predicted[p.Claim] = p.Holds
	}
	return a.render(v, func(w io.Writer, o text.Options) error { return text.Gate(w, v, o) })
}

// showLabPlan prints a plan of trials.
func (a *app) showLabPlan(p *trials.Plan) error {
	return a.render(p, func(w io.Writer, o text.Options) error { return text.LabPlan(w, p, o) })
}
