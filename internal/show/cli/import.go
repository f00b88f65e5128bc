package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/record"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) importCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import MANIFEST...",
		Short: "Take manifests that another pipeline wrote about its builds as runs of the past",
		Long: "Take manifests that another pipeline wrote about its builds as runs of the past: each manifest.jsonl of OpenHands/benchmarks, of\n" +
			"any age, becomes a run that is marked as observed and imported. `lapstrake runs`, `show`, `images` and `report` work on it, and\n" +
			"say what is not known: there are no steps, no digests and no bytes, and nothing attests what the file says.\n\n" +
			"A run has the time of its first build, and an image the name of its base. The same manifest is not imported twice. When a\n" +
			"file is wrong, nothing is imported.",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return diag.Errorf(diag.Usage, "for example: lapstrake import builds/*/manifest.jsonl", "what is to be imported?")
			}
			state, err := a.stateDir()
			if err != nil {
				return err
			}
			runs, err := record.Import(state, args)
			if err != nil {
				return err
			}
			return a.showImported(runs)
		},
	}
}

// showImported says what became of each file, in their order.
func (a *app) showImported(runs []record.Outcome) error {
	if a.json {
		var out struct {
			Runs []*summary.Summary `json:"runs"`
		}
		for _, r := range runs {
			out.Runs = append(out.Runs, r.Summary)
		}
		return json.NewEncoder(a.Out).Encode(out)
	}
	for _, r := range runs {
		s := r.Summary
		if _, err := fmt.Fprintf(a.Out, "%s  %s built, %s skipped, %s failed, of %s\n", r.Run,
			text.Count(int64(s.Built)), text.Count(int64(s.Skipped)), text.Count(int64(s.Failed)), s.Imported); err != nil {
			return err
		}
	}
	return nil
}
