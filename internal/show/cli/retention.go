package cli

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/run/archive"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) retentionCommand() *cobra.Command {
	f := newFleetFlags()
	remove := false
	c := &cobra.Command{
		Use:   "retention [FLEET]",
		Short: "List images that earlier runs published and the fleet file no longer names",
		Long: "List images that earlier runs published and the fleet file no longer names, with their tags and key tags, and images whose tags name something else now. " +
			"Only repositories that the fleet publishes to are looked at, and only what runs of this fleet file, in the same namespace and recorded in the state folder, published. " +
			"What another fleet or namespace of the state folder published, or a tag that is not the fleet's names, or an index refers to, is kept.\n\n" +
			"With --delete the images are deleted. A registry deletes an image with all its tags, so a superseded tag of an image that is in use stays.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.retention(c.Context(), &f, args, remove)
		},
	}
	fl := c.Flags()
	f.places(c)
	f.bake.register(c)
	fl.StringSliceVar(&f.profiles, "profile", nil, "apply the `profile` of the fleet file after those that it applies itself; may be repeated")
	fl.StringArrayVar(&f.args, "build-arg", nil, "set a build argument of the recipe, `NAME=VALUE`, as the build does; may be repeated")
	fl.BoolVar(&remove, "delete", false, "delete them")
	return c
}

// retention lists, or deletes, what is superseded.
func (a *app) retention(ctx context.Context, f *fleetFlags, args []string, remove bool) error {
	eng, state, err := a.open(ctx, f, args)
	if err != nil {
		return err
	}
	defer eng.Close()
	past, others, err := archive.Published(state, eng.Fleet.File, f.namespace, eng.Fleet.Output.To)
	if err != nil {
		return err
	}
	items, err := eng.Superseded(ctx, past, others)
	if err != nil {
		return err
	}
	if remove {
		items, err = eng.Delete(ctx, items)
	}
	if a.json {
		return errors.Join(err, json.NewEncoder(a.Out).Encode(items))
	}
	return errors.Join(err, text.Superseded(a.Out, items, remove, page(a.Out)))
}
