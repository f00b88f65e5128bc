package cli

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) labGateCommand() *cobra.Command {
	var runs []string
	var name string
	c := &cobra.Command{
		Use:   "gate [LAB]",
		Short: "Judge the claims of an experiment by recorded runs",
		Long: "Judge the claims of an experiment by recorded runs.\n\n" +
			"LAB is a lab file, or a folder with a lab.yaml; without it, that of the working folder. A claim is PASS, FAIL, UNKNOWN, which is " +
			"never a pass, or INVALID, when a run is not what its cell says. The program exits with 0 when all pass or are waived, else " +
			"with 9 for INVALID, 7 for FAIL, 8 for UNKNOWN, the first that applies.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.labGate(args, runs, name)
		},
	}
	c.Flags().StringArrayVar(&runs, "run", nil, runFlag)
	c.Flags().StringVar(&name, "gate", "", "judge only the claims of the gate `name` (default: all claims)")
	return c
}

func (a *app) labGate(args, flags []string, name string) error {
	e, _, runs, err := a.readLab(args, flags)
	if err != nil {
		return err
	}
	claims, ok := e.Judged(name)
	if !ok {
		var names []string
		for _, g := range e.Gates {
			names = append(names, g.Name)
		}
		return badFlag("gate", name, diag.Errorf(diag.Usage, diag.Suggest(name, "there are", names), "the experiment has no such gate"))
	}
	g, err := gate.New(claims, gate.Names{})
	if err != nil {
		return err
	}
	evidence, warnings := trials.Evidence(e, runs)
	report := g.Judge(evidence, time.Now())
	v := text.Verdicts{Gate: name, Findings: report.Findings, Predicted: map[string]bool{}, Warnings: warnings, Runs: slices.Sorted(maps.Keys(runs))}
	for _, p := range e.Predictions {
		v.Predicted[p.Claim] = p.Holds
	}
	if a.json {
		err = json.NewEncoder(a.Out).Encode(v)
	} else {
		err = text.Gate(a.Out, v, page(a.Out))
	}
	if err != nil {
		return diag.Wrap(diag.Infra, "write", err)
	}
	return report.Err()
}

// showLabPlan prints a plan of trials.
func (a *app) showLabPlan(p *trials.Plan) error {
	var err error
	if a.json {
		err = json.NewEncoder(a.Out).Encode(p)
	} else {
		err = text.LabPlan(a.Out, p, page(a.Out))
	}
	return diag.Wrap(diag.Infra, "write", err)
}
