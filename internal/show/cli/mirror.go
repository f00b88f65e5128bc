package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) mirrorCommand() *cobra.Command {
	var f fleetFlags
	var to string
	c := &cobra.Command{
		Use:   "mirror [FLEET] --to REGISTRY[/PATH]",
		Short: "Copy the fleet's bases to another registry ahead of a build",
		Long: "Copy the fleet's bases to another registry ahead of a build: docker.io/a/b:c becomes REGISTRY/PATH/a/b:c.\n" +
			"What is there already is not sent again, so the same command goes on after an interruption.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			eng, _, err := a.open(c.Context(), &f, args)
			if err != nil {
				return err
			}
			results, err := eng.Mirror(c.Context(), to)
			copied := 0
			for _, r := range results {
				if r.Copied {
					copied++
				}
				if r.Err != nil && !a.json {
					fmt.Fprintf(a.Err, "%s: %v\n", r.From, r.Err)
				}
			}
			if a.json {
				return errors.Join(err, json.NewEncoder(a.Out).Encode(results))
			}
			fmt.Fprintf(a.Out, "%d bases, %d copied\n", len(results), copied)
			return err
		},
	}
	f.register(c)
	c.Flags().StringVar(&to, "to", "", "registry and path to copy to")
	c.MarkFlagRequired("to")
	return c
}
