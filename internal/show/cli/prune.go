package cli

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/prune"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) pruneCommand() *cobra.Command {
	age := "30d"
	var o prune.Options
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove what the state folder holds and nothing used for a time",
		Long: "Remove what the state folder holds and nothing used for a time: commits that recipes were taken from (sources), clones of " +
			"repositories (git), and what registries told (facts). They come back when they are needed. What was not used for 30 days goes " +
			"by itself, at most once a day. With --runs recorded runs go too, and do not come back. What a run that goes on may need stays.",
		Args: atMost(0),
		RunE: func(c *cobra.Command, _ []string) error {
			unused, err := parseAge(age)
			if err != nil {
				return badFlag("unused-for", age, err)
			}
			state, err := a.stateDir()
			if err != nil {
				return err
			}
			o.Before = time.Now().Add(-unused)
			list, err := prune.Prune(state, o)
			if a.json {
				return errors.Join(err, json.NewEncoder(a.Out).Encode(list))
			}
			return errors.Join(err, text.Pruned(a.Out, list, o.Dry, page(a.Out)))
		},
	}
	c.Flags().StringVar(&age, "unused-for", age, "`time` like 12h or 30d, at least an hour")
	c.Flags().BoolVar(&o.Runs, "runs", false, "recorded runs, too")
	c.Flags().BoolVar(&o.Dry, "dry-run", false, "say what would be removed")
	return c
}

// maxDays keeps a number of days within what a duration holds.
const maxDays = 36_500

// parseAge reads a time as Go writes it, or a whole number of days: 30d.
func parseAge(s string) (time.Duration, error) {
	const help = "write a time like 12h or 30d"
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		if n, err = strconv.Atoi(days); err == nil && n > maxDays {
			n = maxDays
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	switch {
	case err != nil:
		return 0, diag.Errorf(diag.Usage, help, "this is not a time")
	case d < prune.Least:
		return 0, diag.Errorf(diag.Usage, help, "what was used within the hour may be in use")
	}
	return d, nil
}
