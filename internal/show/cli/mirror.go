package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/model/diag"
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
			if to == "" {
				return diag.Errorf(diag.Usage, "for example --to registry.example.com/mirror", "no --to: where are the bases copied to?")
			}
			eng, _, err := a.open(c.Context(), &f, args)
			if err != nil {
				return err
			}
			results, err := eng.Mirror(c.Context(), to)
			copied, there := 0, 0
			for _, r := range results {
				switch {
				case r.Copied:
					copied++
				case r.Err == nil:
					there++
				}
				if r.Err != nil && !a.json {
					fmt.Fprintln(a.Err, r.Err) // it names the reference
				}
			}
			if a.json {
				return errors.Join(err, json.NewEncoder(a.Out).Encode(results))
			}
			fmt.Fprintf(a.Out, "%d bases: %d copied, %d there already, %d not copied\n", len(results), copied, there, len(results)-copied-there)
			return err
		},
	}
	f.register(c)
	c.Flags().StringVar(&to, "to", "", "registry and path to copy to")
	return c
}
