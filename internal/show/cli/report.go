package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/archive"
	"github.com/lapstrake/lapstrake/internal/show/report"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) reportCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "report [[OLD-RUN] RUN | FOLDER]",
		Short: "Write a page about a run, two runs compared, or an experiment: one file that opens offline",
		Long: "Write a page about a run, two runs compared, or an experiment: one HTML file that holds all that it needs and opens offline.\n\n" +
			"RUN is the newest run by default, and is explained against the one before it as `lapstrake explain` does. FOLDER holds the results of an " +
			"experiment, or is the folder of a run, wherever that is. --json prints what the page shows instead.",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 2 {
				return diag.Errorf(diag.Usage, "`lapstrake runs` lists them", "report takes at most two runs")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.reported(c.Context(), args)
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.Out).Encode(p)
			}
			return a.writeReport(out, p)
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "report.html", "the `file` to write; - is the standard output")
	return c
}

// reported gathers the page that the arguments ask for.
func (a *app) reported(ctx context.Context, args []string) (*report.Page, error) {
	if len(args) == 1 && exists(filepath.Join(args[0], "experiment.json")) {
		r, _, err := a.labAnswer(ctx, nil, args[0], answer.Options{Show: text.Signed, Replay: replay(nil, args[0])})
		if err != nil {
			return nil, err
		}
		return report.OfLab(r), nil
	}
	state, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	var runs []archive.Run
	for _, word := range append(args, "")[:max(len(args), 1)] {
		run, err := runOf(state, word)
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	if len(runs) == 2 {
		return report.OfRuns(runs[0], runs[1])
	}
	before, ok, err := archive.Before(state, runs[0])
	if err != nil || !ok {
		return report.OfRun(runs[0], nil)
	}
	return report.OfRun(runs[0], &before)
}

// runOf is the run with an id, or in a folder; the newest one for "".
func runOf(state, word string) (archive.Run, error) {
	if word != "" && exists(filepath.Join(word, "journal.jsonl")) {
		return archive.At(word), nil
	}
	return archive.Find(state, word)
}

// writeReport writes a page to a file.
func (a *app) writeReport(out string, p *report.Page) error {
	var b bytes.Buffer
	if err := report.Render(&b, p); err != nil {
		return err
	}
	if out == "-" {
		_, err := a.Out.Write(b.Bytes())
		return err
	}
	if err := os.WriteFile(out, b.Bytes(), 0o644); err != nil {
		return diag.Errorf(diag.Usage, "name another file with -o", "report: %w", err)
	}
	fmt.Fprintf(a.Out, "%s: %s, %s\n", out, p.Title, text.Bytes(int64(b.Len())))
	return nil
}
