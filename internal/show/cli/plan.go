package cli

import (
	"context"
	"encoding/json"
	"os"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/whatif"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) planCommand() *cobra.Command {
	f := newFleetFlags()
	var o planOptions
	var what, old string
	var markdown bool
	c := &cobra.Command{
		Use:   "plan [FLEET]",
		Short: "Say what would be done for every image, and why, without a daemon",
		Long: "Say what would be done for every image, and why, without a daemon.\n\n" +
			"With --offline nobody is asked: bases are what they were when they were last looked up, and every image counts as\n" +
			"missing. What bases look like that were never looked up is told by --base-config; without it their images are blocked.\n" +
			"The plan says which images rest on that.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("what-if") {
				q, err := whatif.Parse(what)
				if err != nil {
					return badFlag("what-if", what, err)
				}
				o.query = &q
			}
			if old != "" {
				return a.diffPlans(c.Context(), &f, old, args, diffOptions{markdown, o.verbose})
			}
			eng, state, err := a.open(c.Context(), &f, args)
			if err != nil {
				return err
			}
			defer eng.Close()
			o.state = state
			return a.planOnly(c.Context(), eng, o)
		},
	}
	f.register(c)
	f.caching(c)
	f.nobody(c)
	c.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "list every image")
	c.Flags().StringVarP(&o.out, "out", "o", "", "also write the plan as JSON to this `file`")
	c.Flags().StringVar(&old, "diff", "", "say what is different from `old`: another fleet file, a run, or last for the newest run of the fleet")
	c.Flags().BoolVar(&markdown, "markdown", false, "with --diff: print a comment for a pull request")
	c.Flags().StringVar(&what, "what-if", "", "say what the images to build would take with other `settings`, like disk=20G..200G,jobs=1..8, and the smallest budget that does")
	return c
}

type planOptions struct {
	verbose bool
	out     string // path; empty means nowhere
	// query, when not nil, is answered instead of showing the plan, by what the
	// runs in the state folder tell.
	query *whatif.Query
	state string
}

// planOnly prints a plan and does nothing else.
func (a *app) planOnly(ctx context.Context, eng *engine.Engine, o planOptions) error {
	in, err := eng.Gather(ctx, nil)
	if err != nil {
		return err
	}
	p := planner.Make(*in)
	if o.out != "" {
		if err := writePlan(o.out, p); err != nil {
			return err
		}
	}
	show := func() error { return a.showPlan(p, o.verbose) }
	if o.query != nil {
		show = func() error { return a.whatIf(ctx, eng, p, in, o) }
	}
	if err := show(); err != nil {
		return err
	}
	return blocked(in)
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

// blocked is the error of a plan that leaves images out, nil when it does not.
func blocked(in *planner.Input) error {
	n, worst := 0, diag.Step
	for i := range in.Images {
		err := in.Images[i].Problem
		if err == nil {
			continue
		}
		n++
		if k := diag.KindOf(err); k != diag.File { // a wrong file stops its images only
			worst = diag.Worst(worst, k)
		}
	}
	if n == 0 {
		return nil
	}
	return diag.Errorf(worst, "the plan says why; a build makes the others", "cannot be made: %d of %d images", n, len(in.Images))
}
