package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/engine"
)

func (a *app) verifyCommand() *cobra.Command {
	var f fleetFlags
	var w workerFlags
	var sample int
	var level string
	c := &cobra.Command{
		Use:   "verify [FLEET]",
		Short: "Build a sample of the fleet in full and compare it with what is published",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if level != "digest" && level != "content" {
				return diag.Errorf(diag.Usage, "digest or content", "--level: %q", level)
			}
			eng, state, err := a.open(c.Context(), &f, args)
			if err != nil {
				return err
			}
			daemon := engine.NewDaemon(eng, state, w.DaemonOptions)
			eng.Connect = daemon.Connect
			results, err := eng.Verify(c.Context(), sample, level == "content")
			if showErr := a.showVerified(results); showErr != nil {
				err = errors.Join(err, showErr)
			}
			return errors.Join(err, daemon.Close())
		},
	}
	f.register(c)
	w.register(c)
	c.Flags().IntVar(&sample, "sample", 20, "how many images, spread evenly; 0 means all")
	c.Flags().StringVar(&level, "level", "digest", "digest: same layer digests and same config bytes; content: times in the config may differ")
	return c
}

func (a *app) showVerified(results []engine.Verified) error {
	if a.json {
		return json.NewEncoder(a.Out).Encode(results)
	}
	equal := 0
	for _, v := range results {
		switch {
		case v.Equal:
			equal++
		case v.Err != nil:
			fmt.Fprintf(a.Out, "%s: %v\n", v.Image, v.Err)
		default:
			fmt.Fprintf(a.Out, "%s: %s\n", v.Image, v.Difference)
		}
	}
	_, err := fmt.Fprintf(a.Out, "%d of %d images are what a full build makes\n", equal, len(results))
	return err
}
