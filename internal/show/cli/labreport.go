package cli

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) labReportCommand() *cobra.Command {
	var dir, key string
	var markdown, verbose bool
	c := &cobra.Command{
		Use:   "report [LAB]",
		Short: "Say what an experiment tells: verdict, causes, cells, searches, gates, and what they rest on",
		Long: "Say what an experiment tells: verdict, causes, cells, searches, gates, and what they rest on.\n\n" +
			"LAB is a lab file, or a folder with a lab.yaml, whose claims are judged; without it, the experiment that was run. The program exits with 0 " +
			"when all claims pass or are waived and every trial counts, else with 9 when a trial is contaminated or a claim rests on nothing " +
			"valid, 7 when a claim fails, 8 when one is open, the first that applies.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.labReport(c.Context(), args, dir, key, markdown, verbose)
		},
	}
	resultsFlagOf(c, &dir)
	c.Flags().StringVar(&key, "metric", "", "show this `metric` of every cell (default: the first that the experiment asks for)")
	c.Flags().BoolVar(&markdown, "markdown", false, "print Markdown")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "leave nothing out")
	return c
}

func (a *app) labReport(ctx context.Context, args []string, dir, key string, markdown, verbose bool) error {
	o := answer.Options{Show: text.Signed, Replay: replay(args, dir)}
	if key != "" {
		metrics, err := findMetrics([]string{key})
		if err != nil {
			return err
		}
		o.Key = metrics[0]
	}
	report, verdict, err := a.labAnswer(ctx, args, dir, o)
	if err != nil {
		return err
	}
	err = a.render(report, func(w io.Writer, p text.Options) error {
		p.Verbose = verbose
		if markdown {
			return text.LabMarkdown(w, report, p)
		}
		return text.LabReport(w, report, p)
	})
	if err != nil {
		return err
	}
	return verdict
}

// labAnswer is everything that an experiment says now, and its verdict. The options'
// other fields are filled in from its results.
func (a *app) labAnswer(ctx context.Context, args []string, dir string, o answer.Options) (report *answer.Report, verdict, err error) {
	o.Now = time.Now()
	r, err := a.results(ctx, dir, args)
	if err != nil {
		return nil, nil, err
	}
	if o.Facts, err = r.facts(ctx); err != nil {
		return nil, nil, err
	}
	if o.Searches, err = r.searches(); err != nil {
		return nil, nil, err
	}
	t, err := r.answers(ctx)
	if err != nil {
		return nil, nil, err
	}
	if o.Misses, err = r.misses(t); err != nil {
		return nil, nil, err
	}
	report, verdict = t.Report(o)
	return report, verdict, nil
}

// replay is the command that shows a report again.
func replay(args []string, dir string) string {
	words := append([]string{"lapstrake", "lab", "report"}, args...)
	return strings.Join(append(words, "--results", dir), " ")
}
