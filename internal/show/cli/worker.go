package cli

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/run/engine"
)

// workerFlags say which daemon to use.
type workerFlags struct{ engine.DaemonOptions }

func (w *workerFlags) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&w.Address, "worker", os.Getenv("BUILDKIT_HOST"), "address of a BuildKit daemon, unix:// or tcp:// (default: the embedded daemon)")
	fl.StringVar(&w.Buildkitd, "buildkitd", "", "buildkitd of the embedded daemon (default: beside lapstrake, then $PATH)")
	fl.StringVar(&w.Runc, "runc", "", "runc of the embedded daemon (default: beside lapstrake, then $PATH)")
	fl.StringVar(&w.CACert, "tlscacert", "", "CA certificate of a tcp:// daemon")
	fl.StringVar(&w.Cert, "tlscert", "", "client certificate for a tcp:// daemon")
	fl.StringVar(&w.Key, "tlskey", "", "client key for a tcp:// daemon")
}
