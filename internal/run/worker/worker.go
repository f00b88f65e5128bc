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
	"strconv"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
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
	// Shared says that others may use the daemon by its address while it runs.
	// A second Start on the folder still fails, and then names the address.
	Shared bool
}

// Daemon is a running daemon. It is safe for concurrent use.
type Daemon struct {
	addr, root, log, version string
	pid                      int
	died                     chan struct{}
	err                      error // read after died
	stop                     func(context.Context) error
	ballast                  *ballast
	place                    os.FileInfo // of the root when the daemon began to answer
}

// Start starts a daemon and returns when it answers. ctx bounds the start only.
// It keeps a ballast beside the daemon's root, see [Daemon.FreeBallast], and on
// a file system that is all but full it gives that back before anything else.
// When another process has a daemon on the same folder the error names that
// process. Errors are of kind diag.Infra, with the end of the daemon's log when
// it started and failed.
func Start(ctx context.Context, opt Options) (*Daemon, error) { return start(ctx, opt) }

// Addr is the daemon's address, unix:// and a path.
func (d *Daemon) Addr() string { return d.addr }

// Root is the folder whose file system the daemon fills.
func (d *Daemon) Root() string { return d.root }

// Gone tells that the root is no more what it was when the daemon began: it was
// moved or deleted, or its file system unmounted. The daemon itself may not
// notice, and what the file system at that path says is not its own. The error is
// of kind diag.Infra; nil when all is as it was.
func (d *Daemon) Gone() error {
	now, err := os.Stat(d.root)
	if err == nil && os.SameFile(now, d.place) {
		return nil
	}
	return diag.Errorf(diag.Infra, "leave the state folder in its place, and its file system mounted, while a run goes on", "the embedded daemon's folder %s is not there any more", d.root)
}

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

// Alive asks the daemon for its version over a new connection. It returns nil
// when the daemon answers within 5 seconds and before ctx ends. A daemon that
// ended or is silent is of kind diag.Infra; only a ctx that ended first is
// diag.Interrupted.
func (d *Daemon) Alive(ctx context.Context) error {
	const op = "ask the embedded daemon"
	ask, cancel := context.WithTimeout(ctx, aliveWait)
	defer cancel()
	c, err := buildkit.Dial(ask, d.addr, buildkit.Options{})
	if err == nil {
		return c.Close()
	}
	select {
	case <-d.died:
		if d.err != nil {
			return d.err
		}
		return diag.Errorf(diag.Infra, "run the same command again", "%s: it was stopped", op)
	default:
	}
	if ask.Err() != nil && ctx.Err() == nil {
		return diag.Errorf(diag.Infra, "see "+d.log, "%s: pid %d is silent for %v", op, d.pid, aliveWait)
	}
	return err
}

// aliveWait is how long a daemon may take to say its version: it does so from
// memory, so a longer silence is not load.
const aliveWait = 5 * time.Second

// Stop asks the daemon to end, waits for 3 seconds or until ctx ends, and then
// kills it with everything that its steps started. Close sessions before: the
// daemon waits for them. It leaves no process, mount or control group, and ends
// within 6 seconds whatever the daemon does: processes that the kernel has not
// ended by then are an error, and are waited for by the next Start on the
// folder. Calling it again, also at the same time, waits for the first call and
// returns its result.
func (d *Daemon) Stop(ctx context.Context) error { return d.stop(ctx) }

// FreeBallast deletes the ballast and returns how many bytes that gave back; 0
// when there was none. The ballast is a file of at most 48 MiB and 3 % of the
// file system that only takes room: on a full disk a daemon can neither release
// records nor be started again, as both write to its database. So free it
// before the first release there. It works with 0 bytes free and may be called
// again, also at the same time.
func (d *Daemon) FreeBallast() (int64, error) { return d.ballast.free() }

// LacksBallast is what making the ballast again would take of the disk, in bytes.
func (d *Daemon) LacksBallast() int64 { return d.ballast.lacks() }

// Ballast makes the ballast again when it is not there and at least twice its
// size is free. Less room is no error: call it again after the next release.
func (d *Daemon) Ballast() error { return d.ballast.make() }

// Holder is the process that has a daemon on a state folder.
type Holder struct {
	// PID is the process's id, and Command its program with the leading words of
	// its arguments, such as "lapstrake build". Both are as that process saw
	// them; 0 and empty when it did not say.
	PID     int    `json:"pid,omitempty"`
	Command string `json:"command,omitempty"`
	// Address is the daemon's, which may not answer yet.
	Address string `json:"address,omitempty"`
	// Shared is what [Options] said.
	Shared bool `json:"shared,omitempty"`
}

// String names the holder in messages.
func (h Holder) String() string {
	s := "another process"
	if h.PID != 0 {
		s = "pid " + strconv.Itoa(h.PID)
	}
	if h.Command != "" {
		s += " (" + h.Command + ")"
	}
	return s
}

// Held says who has a daemon on a state folder; ok is false when nobody has. It
// changes nothing, also when the folder does not exist.
func Held(state string) (h Holder, ok bool, err error) { return held(state) }

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
