package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/run/engine"
)

func (a *app) verifyCommand() *cobra.Command {
	f := newFleetFlags()
	var w workerFlags
	var sample int
	var level string
	c := &cobra.Command{
		Use:   "verify [FLEET]",
		Short: "Build a sample of the appended images in full and compare them with what is published",
		Args:  atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(choice("level", level, "digest", "content"), atLeastZero("sample", sample)); err != nil {
				return err
			}
			eng, state, err := a.open(c.Context(), &f, args)
			if err != nil {
				return err
			}
			defer eng.Close()
			workers, err := w.list(eng.Fleet.Workers)
			if err != nil {
				return err
			}
			// Records are compared that one daemon made.
			daemon := w.daemons(eng, state, workers[:1])
			results, err := eng.Verify(c.Context(), sample, level == "content")
			if showErr := a.showVerified(results); showErr != nil {
				err = errors.Join(err, showErr)
			}
			return errors.Join(err, daemon.Close())
		},
	}
	c.Flags().IntVar(&sample, "sample", 20, "compare `n` images, spread evenly over the fleet; 0 means all")
	f.selection(c) // its own sample is of another kind
	f.places(c)
	w.register(c)
	c.Flags().StringVar(&level, "level", "digest", "`level`: digest (the same layer digests and config bytes) or content (times in the config may differ)")
	return c
}

func (a *app) showVerified(results []engine.Verified) error {
	if a.json {
		return json.NewEncoder(a.Out).Encode(results)
	}
	count := map[engine.VerifyState]int{}
	for _, v := range results {
		count[v.State]++
		if v.Difference != "" && v.State != engine.VerifyEqual {
			fmt.Fprintf(a.Out, "%s: %s\n", v.Image, v.Difference)
		}
	}
	built := count[engine.VerifyBuilt]
	if compared := len(results) - built; compared > 0 || built == 0 {
		fmt.Fprintf(a.Out, "%d of %d images are what a full build makes\n", count[engine.VerifyEqual], compared)
	} else {
		fmt.Fprintln(a.Out, "nothing to compare: no image of the sample is appended")
	}
	if built > 0 {
		fmt.Fprintf(a.Out, "%d of %d images are made by a full build and were not compared\n", built, len(results))
	}
	return nil
}
