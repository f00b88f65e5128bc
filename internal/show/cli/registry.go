package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
)

func (a *app) registryCommand() *cobra.Command {
	var addr, root string
	c := &cobra.Command{
		Use:   "registry",
		Short: "Serve the embedded registry on this machine's loopback address until interrupted",
		Args:  atMost(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if root == "" {
				state, err := a.stateDir()
				if err != nil {
					return err
				}
				root = filepath.Join(state, "registry")
			}
			r, err := localregistry.Start(c.Context(), localregistry.Options{Root: root, Addr: addr})
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "serving %s on %s\n", root, r.Host())
			<-c.Context().Done()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return r.Stop(ctx)
		},
	}
	c.Flags().StringVar(&addr, "addr", "127.0.0.1:5000", "loopback `address` to listen on")
	c.Flags().StringVar(&root, "root", "", "`folder` for the content (default: registry in the state folder)")
	return c
}
