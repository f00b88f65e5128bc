package cli

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/run/engine"
)

// workerFlags say which daemon to use.
type workerFlags struct {
	given engine.DaemonOptions
	set   func(name string) bool // tells whether a flag was given
}

func (w *workerFlags) register(c *cobra.Command) {
	fl := c.Flags()
	w.set = fl.Changed
	fl.StringVar(&w.given.Address, "worker", "", "`address` of a BuildKit daemon, unix:// or tcp:// (default: $BUILDKIT_HOST, else the embedded daemon)")
	fl.StringVar(&w.given.Buildkitd, "buildkitd", "", "`path` of the embedded daemon's buildkitd (default: beside lapstrake, then $PATH)")
	fl.StringVar(&w.given.Runc, "runc", "", "`path` of the embedded daemon's runc (default: beside lapstrake, then $PATH)")
	fl.StringVar(&w.given.CACert, "tlscacert", "", "`file` with the CA certificate of a tcp:// daemon")
	fl.StringVar(&w.given.Cert, "tlscert", "", "`file` with the client certificate for a tcp:// daemon")
	fl.StringVar(&w.given.Key, "tlskey", "", "`file` with the client key for a tcp:// daemon")
}

// options are what the flags and the environment say. An address that is given
// as empty means the embedded daemon, whatever the environment says.
func (w *workerFlags) options() engine.DaemonOptions {
	o := w.given
	if !w.set("worker") {
		o.Address = os.Getenv("BUILDKIT_HOST")
	}
	return o
}
