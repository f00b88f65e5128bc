package cli

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/run/engine"
)

// workerFlags say which daemons to use.
type workerFlags struct {
	addresses       []string
	buildkitd, runc string
	ca, cert, key   string
	set             func(name string) bool // tells whether a flag was given
}

// register adds every flag.
func (w *workerFlags) register(c *cobra.Command) {
	w.remote(c, "workers of the fleet file, else $BUILDKIT_HOST, else the embedded daemon")
	w.binaries(c)
}

// remote adds the flags that say where daemons are; standard says which are used
// when none is given.
func (w *workerFlags) remote(c *cobra.Command, standard string) {
	fl := c.Flags()
	w.set = fl.Changed
	fl.StringArrayVar(&w.addresses, "worker", nil, "`address` of a BuildKit daemon, or embedded; may be repeated (default: "+standard+")")
	fl.StringVar(&w.ca, "tlscacert", "", "`file` with the CA certificate of tcp:// daemons")
	fl.StringVar(&w.cert, "tlscert", "", "`file` with the client certificate for tcp:// daemons")
	fl.StringVar(&w.key, "tlskey", "", "`file` with the client key for tcp:// daemons")
}

// binaries adds the flags of the embedded daemon alone.
func (w *workerFlags) binaries(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&w.buildkitd, "buildkitd", "", "`path` of the embedded daemon's buildkitd (default: beside lapstrake, then $PATH)")
	fl.StringVar(&w.runc, "runc", "", "`path` of the embedded daemon's runc (default: beside lapstrake, then $PATH)")
}

// list says which daemons to use, at least one: those of the flag, else those of
// the fleet file, else that of the environment, else the embedded one. An
// address that is given as empty means the embedded daemon. The files for TLS
// are used where the fleet file names none.
func (w *workerFlags) list(file []fleet.Worker) ([]fleet.Worker, error) {
	var out []fleet.Worker
	seen := map[string]bool{}
	add := func(from, s string) error {
		address, err := fleet.ParseAddress(s)
		if err == nil && seen[address] {
			err = diag.Errorf(diag.Usage, "name each daemon once", "%s is given twice", fleet.Worker{Address: address}.Title())
		}
		if err != nil {
			return diag.Errorf(diag.Usage, diag.HelpOf(err), "%s: %w", from, err)
		}
		seen[address] = true
		out = append(out, fleet.Worker{Address: address})
		return nil
	}
	host := os.Getenv("BUILDKIT_HOST")
	switch {
	case w.set("worker"):
		for _, s := range w.addresses {
			if err := add("--worker", s); err != nil {
				return nil, err
			}
		}
	case len(file) > 0:
		out = append(out, file...)
	default:
		if err := add("BUILDKIT_HOST", host); err != nil {
			return nil, err
		}
	}
	for i := range out {
		if o := &out[i]; strings.HasPrefix(o.Address, "tcp://") && o.CA+o.Cert+o.Key == "" {
			o.CA, o.Cert, o.Key = w.ca, w.cert, w.key
		}
	}
	return out, nil
}

// daemon says how to reach one of them.
func (w *workerFlags) daemon(of fleet.Worker) engine.DaemonOptions {
	return engine.DaemonOptions{
		Address: of.Address, Buildkitd: w.buildkitd, Runc: w.runc,
		CACert: of.CA, Cert: of.Cert, Key: of.Key, Disk: of.Disk,
	}
}

// daemons are the workers of one command.
type daemons []*engine.Daemon

// daemons prepares every worker for an engine; it starts and reaches none.
func (w *workerFlags) daemons(eng *engine.Engine, state string, of []fleet.Worker) daemons {
	var out daemons
	for _, o := range of {
		d := engine.NewDaemon(eng, state, w.daemon(o))
		eng.Workers = append(eng.Workers, engine.Connector{Name: o.Title(), Disk: o.Disk, Connect: d.Connect})
		out = append(out, d)
	}
	return out
}

// Close lets go of all.
func (ds daemons) Close() error {
	var errs []error
	for _, d := range ds {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}
