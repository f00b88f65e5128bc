// Package buildkit talks to a BuildKit daemon: it solves graphs, reports what
// the solver did, and lists and releases the daemon's records.
//
// It is the only package that knows BuildKit's client. Errors carry a
// diag.Kind: a step that failed is diag.Step and a [*StepError]; a lost daemon
// ([ErrLost]), a full disk ([ErrNoSpace]) and a registry that refuses are
// diag.Infra; a context that ended is diag.Interrupted and errors.Is finds the
// context's error in it.
package buildkit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Client is a connection to one daemon. It is safe for concurrent use.
type Client struct {
	addr string
	bk   *client.Client
}

// Close ends the connection. Solves that still run fail with [ErrLost].
func (c *Client) Close() error { return c.bk.Close() }

// Info is what a daemon says of itself.
type Info struct {
	// Version is the daemon's release, such as "v0.34.2". Daemons that were
	// built from source say "v0.0.0+unknown".
	Version string
	// Revision is the source commit, often empty.
	Revision string
	// Platforms are what the default worker builds, its native one first, as
	// OS/ARCH[/VARIANT].
	Platforms []string
	// Labels are the worker's own, by BuildKit's long names.
	Labels map[string]string
	// Snapshotter, Executor, Network and Hostname are read from Labels; empty
	// when the daemon does not say.
	Snapshotter, Executor, Network, Hostname string
	// GC is the worker's collection policy; empty means that nothing is
	// collected by itself.
	GC []GCRule
}

// GCRule is one rule of a daemon's garbage collection. Sizes are bytes; 0 means
// no limit.
type GCRule struct {
	All                                   bool
	Filters                               []string
	KeepFor                               time.Duration
	ReservedSpace, MaxUsedSpace, MinSpace int64
}

// String renders the rule in one line, for doctor.
func (r GCRule) String() string {
	var s []string
	add := func(name string, n int64) {
		if n != 0 {
			s = append(s, fmt.Sprintf("%s %d", name, n))
		}
	}
	if r.All {
		s = append(s, "all")
	}
	if len(r.Filters) > 0 {
		s = append(s, strings.Join(r.Filters, " or "))
	}
	if r.KeepFor != 0 {
		s = append(s, "older than "+r.KeepFor.String())
	}
	add("reserved", r.ReservedSpace)
	add("max used", r.MaxUsedSpace)
	add("min free", r.MinSpace)
	return strings.Join(s, ", ")
}

// The labels that a BuildKit worker carries.
const (
	labelSnapshotter = "org.mobyproject.buildkit.worker.snapshotter"
	labelExecutor    = "org.mobyproject.buildkit.worker.executor"
	labelNetwork     = "org.mobyproject.buildkit.worker.network"
	labelHostname    = "org.mobyproject.buildkit.worker.hostname"
)

// Info asks the daemon for its version and its default worker.
func (c *Client) Info(ctx context.Context) (Info, error) {
	op := "ask the daemon at " + c.addr
	v, err := c.bk.Info(ctx)
	if err != nil {
		return Info{}, classify(ctx, op, err)
	}
	ws, err := c.bk.ListWorkers(ctx)
	if err != nil {
		return Info{}, classify(ctx, op, err)
	}
	if len(ws) == 0 {
		return Info{}, diag.Errorf(diag.Infra, "enable the oci or the containerd worker in buildkitd.toml", "%s: it has no worker", op)
	}
	w := ws[0]
	in := Info{
		Version: v.BuildkitVersion.Version, Revision: v.BuildkitVersion.Revision, Labels: w.Labels,
		Snapshotter: w.Labels[labelSnapshotter], Executor: w.Labels[labelExecutor],
		Network: w.Labels[labelNetwork], Hostname: w.Labels[labelHostname],
	}
	for _, p := range w.Platforms {
		in.Platforms = append(in.Platforms, platforms.Format(p))
	}
	for _, p := range w.GCPolicy {
		in.GC = append(in.GC, GCRule{
			All: p.All, Filters: p.Filter, KeepFor: p.KeepDuration,
			ReservedSpace: p.ReservedSpace, MaxUsedSpace: p.MaxUsedSpace, MinSpace: p.MinFreeSpace,
		})
	}
	return in, nil
}
