package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) runsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "runs",
		Short: "List runs, the newest first",
		Args:  atMost(0),
		RunE: func(c *cobra.Command, _ []string) error {
			state, err := a.stateDir()
			if err != nil {
				return err
			}
			infos, err := runlog.List(state)
			if err != nil {
				return err
			}
			rows := make([]text.Run, 0, len(infos))
			for _, info := range infos {
				row := text.Run{ID: info.ID, InUse: info.InUse}
				if s, err := readSummary(info.Dir); err == nil {
					row.Summary = s
				}
				rows = append(rows, row)
			}
			if a.json {
				return json.NewEncoder(a.Out).Encode(rows)
			}
			return text.Runs(a.Out, rows, page(a.Out))
		},
	}
}

// readSummary folds the journal of a run.
func readSummary(dir string) (*summary.Summary, error) {
	s := summary.New()
	for ev, err := range runlog.Read(dir) {
		if err != nil {
			return nil, err
		}
		summary.Fold(s, ev)
	}
	return s, nil
}

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [RUN]",
		Short: "Say what a run did, what it cost and what failed; the newest run by default",
		Args:  atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			state, err := a.stateDir()
			if err != nil {
				return err
			}
			info, err := findRun(state, append(args, "")[0])
			if err != nil {
				return err
			}
			s, err := readSummary(info.Dir)
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.Out).Encode(s)
			}
			return text.Show(a.Out, s, page(a.Out))
		},
	}
}
