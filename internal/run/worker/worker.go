// Package worker runs the embedded daemon: a BuildKit of this program's own,
// with a state folder, a control group and namespaces of its own.
//
// The daemon ends with the program: [Daemon.Stop] ends it and everything that
// its steps started; when the program is killed the kernel does the same; and
// what even that leaves is cleared before the next start on the same folder.
// Nothing outside the state folder stays, and while the daemon runs nothing but
// a short socket path when the folder's own is too long for the kernel.
package worker

import (
	"context"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// Options configure the embedded daemon.
type Options struct {
	// State is the folder that holds everything the daemon keeps; it is made
	// when it does not exist. Required. One daemon per folder.
	State string
	// Buildkitd and Runc are the binaries. Empty means: beside this program's
	// executable, then by PATH (for runc also as buildkit-runc).
	Buildkitd, Runc string
	// Registries holds the settings of registries that differ from the default.
	// The daemon has one proxy for all: those that differ are an error.
	Registries []fleet.Registry
	// Log is the file that the daemon's output goes to; empty means
	// buildkitd.log in State. It is emptied at each start.
	Log string
	// Platforms limits what the daemon says it builds, as OS/ARCH[/VARIANT];
	// empty means what the machine runs, emulation included.
	Platforms []string
	// RegistryConnections is the number of connections per registry; 0 means 16.
	RegistryConnections int
	// History is the number of solves that the daemon remembers after their
	// end; 0 means that it keeps no history. What it remembers takes disk that
	// its records do not tell of.
	History int
	// AllowInsecure lets recipes run steps without confinement
	// (RUN --security=insecure). Steps may always use the host's network.
	AllowInsecure bool
}

// Daemon is a running daemon. It is safe for concurrent use.
type Daemon struct {
	addr, root, log, version string
	pid                      int
	died                     chan struct{}
	err                      error // read after died
	stop                     func(context.Context) error
}

// Start starts a daemon and returns when it answers. ctx bounds the start only.
// When another process has a daemon on the same folder the error names that
// process. Errors are of kind diag.Infra, with the end of the daemon's log when
// it started and failed.
func Start(ctx context.Context, opt Options) (*Daemon, error) { return start(ctx, opt) }

// Addr is the daemon's address, unix:// and a path.
func (d *Daemon) Addr() string { return d.addr }

// Root is the folder whose file system the daemon fills.
func (d *Daemon) Root() string { return d.root }

// Log is the path of the daemon's log.
func (d *Daemon) Log() string { return d.log }

// PID is the daemon's process id.
func (d *Daemon) PID() int { return d.pid }

// Version is the daemon's release, read from its binary; empty when it does not
// say. A daemon that was built from source knows only that way.
func (d *Daemon) Version() string { return d.version }

// Died is closed when the daemon has ended for whatever reason, and none of its
// steps' processes is left.
func (d *Daemon) Died() <-chan struct{} { return d.died }

// Err says why the daemon ended, and is nil while it runs and when it was
// stopped.
func (d *Daemon) Err() error {
	select {
	case <-d.died:
		return d.err
	default:
		return nil
	}
}

// Stop asks the daemon to end, waits for 3 seconds or until ctx ends, and then
// kills it with everything that its steps started. Close sessions before: the
// daemon waits for them. It leaves no process, mount
// or control group. Calling it again, also at the same time, waits for the
// first call and returns its result.
func (d *Daemon) Stop(ctx context.Context) error { return d.stop(ctx) }

// binary finds the first of names: given, beside the executable, by PATH.
func binary(given string, names ...string) (string, error) {
	if given != "" {
		path, err := filepath.Abs(given)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return "", diag.Errorf(diag.Infra, "give the path of a "+names[0]+" that exists, or none to let it be found", "find %s: %w", names[0], err)
		}
		return path, nil
	}
	if self, err := os.Executable(); err == nil {
		for _, n := range names {
			path := filepath.Join(filepath.Dir(self), n)
			if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
				return path, nil
			}
		}
	}
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", diag.Errorf(diag.Infra, "run make, or put "+names[0]+" beside lapstrake or into PATH; or use --worker with a daemon that runs elsewhere",
		"find %s: it is neither beside the program nor in PATH", names[0])
}

// moduleVersion reads the version of the module that a Go binary was built from.
func moduleVersion(path string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil || info.Main.Version == "(devel)" {
		return ""
	}
	return info.Main.Version
}
