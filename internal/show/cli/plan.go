package cli

import (
	"encoding/json"
	"os"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) planCommand() *cobra.Command {
	var f fleetFlags
	var verbose bool
	var out string
	c := &cobra.Command{
		Use:   "plan [FLEET]",
		Short: "Say what would be done for every image, and why, without a daemon",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			eng, _, err := a.open(c.Context(), &f, args)
			if err != nil {
				return err
			}
			in, err := eng.Gather(c.Context(), nil)
			if err != nil {
				return err
			}
			p := planner.Make(*in)
			if out != "" {
				if err := writePlan(out, p); err != nil {
					return err
				}
			}
			return a.showPlan(p, verbose)
		},
	}
	f.register(c)
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "list every image")
	c.Flags().StringVarP(&out, "out", "o", "", "also write the plan as JSON to this file")
	return c
}

func writePlan(path string, p *plan.Plan) error {
	data, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return diag.Wrap(diag.Internal, "plan", err)
	}
	return diag.Wrap(diag.Infra, "write plan", os.WriteFile(path, append(data, '\n'), 0o644))
}

// showPlan prints a plan as text or as one line of JSON.
func (a *app) showPlan(p *plan.Plan, verbose bool) error {
	if a.json {
		return json.NewEncoder(a.Out).Encode(p)
	}
	o := page(a.Out)
	o.Verbose = verbose
	return text.Plan(a.Out, p, o)
}

// blocked is the error of a plan that leaves images out.
func blocked(p *plan.Plan) error {
	if n := p.Actions[plan.Block]; n > 0 {
		return diag.Errorf(diag.Step, "the plan says why", "%d of %d images are blocked", n, len(p.Units))
	}
	return nil
}
