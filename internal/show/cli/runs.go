package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/run/archive"
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
			runs, err := archive.List(state)
			if err != nil {
				return err
			}
			rows := make([]text.Run, 0, len(runs))
			for _, run := range runs {
				row := text.Run{ID: run.ID, InUse: run.InUse}
				if s, err := run.Summary(); err == nil {
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

func (a *app) showCommand() *cobra.Command {
	var markdown bool
	c := &cobra.Command{
		Use:   "show [RUN]",
		Short: "Say what a run did, what it cost and what failed; the newest run by default",
		Args:  atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			state, err := a.stateDir()
			if err != nil {
				return err
			}
			run, err := archive.Find(state, append(args, "")[0])
			if err != nil {
				return err
			}
			s, err := run.Summary()
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.Out).Encode(s)
			}
			if markdown {
				return text.SummaryMarkdown(a.Out, s, page(a.Out))
			}
			return text.Show(a.Out, s, page(a.Out))
		},
	}
	c.Flags().BoolVar(&markdown, "markdown", false, "print what came of it as a comment for a pull request")
	return c
}
