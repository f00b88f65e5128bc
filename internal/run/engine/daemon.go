package engine

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/adapt/creds"
	"github.com/lapstrake/lapstrake/internal/adapt/layout"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/decide/release"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/meter"
	"github.com/lapstrake/lapstrake/internal/run/worker"
)

// DaemonOptions say which daemon to use.
type DaemonOptions struct {
	// Address of a daemon, unix:// or tcp://; empty means the embedded one.
	Address string
	// Buildkitd and Runc are the embedded daemon's binaries; empty means those
	// beside the program, then those in PATH.
	Buildkitd, Runc string
	// CACert, Cert and Key are PEM files for a tcp:// daemon with TLS.
	CACert, Cert, Key string
	// Disk is what the daemon may use instead of the engine's Options.Disk.
	Disk fleet.Disk
}

// TLS is what dialing a tcp:// daemon needs.
func (o DaemonOptions) TLS() buildkit.Options {
	return buildkit.Options{CA: o.CACert, Cert: o.Cert, Key: o.Key}
}

// Daemon is the daemon of one run: started or reached when first needed, and
// let go by Close.
type Daemon struct {
	eng   *Engine
	state string
	opts  DaemonOptions

	mu       sync.Mutex
	embedded *worker.Daemon
	client   *buildkit.Client
	session  *buildkit.Session
}

// stopWithin bounds the clean end of the embedded daemon.
const stopWithin = 20 * time.Second

// NewDaemon prepares for Connect; it starts nothing.
func NewDaemon(e *Engine, state string, o DaemonOptions) *Daemon {
	return &Daemon{eng: e, state: state, opts: o}
}

// Connect starts or reaches the daemon and opens the one session that every
// solve of the run shares. A remote daemon cannot push to a registry on this
// machine's loopback address, nor to an output here: that is an error before
// anything runs.
func (d *Daemon) Connect(ctx context.Context) (*Worker, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.letGo(0); err != nil {
		d.eng.note(journal.Note, "", journal.NoteData{Level: "warning", Text: err.Error()})
	}
	addr := d.opts.Address
	if addr == "" {
		var err error
		d.embedded, err = worker.Start(ctx, worker.Options{State: filepath.Join(d.state, "worker"), Buildkitd: d.opts.Buildkitd, Runc: d.opts.Runc, Registries: d.eng.Fleet.Registries})
		if err != nil {
			return nil, err
		}
		addr = d.embedded.Addr()
	} else if err := d.reachesRegistries(addr); err != nil {
		return nil, err
	}
	var err error
	if d.client, err = buildkit.Dial(ctx, addr, d.opts.TLS()); err != nil {
		return nil, err
	}
	info, err := d.client.Info(ctx)
	if err != nil {
		return nil, err
	}
	locals := map[string]buildkit.Local{}
	for name, dir := range d.eng.Recipe.Locals() {
		locals[name] = buildkit.Local{Dir: dir}
	}
	d.session, err = d.client.Session(ctx, buildkit.SessionOptions{Locals: locals, Secrets: d.eng.Fleet.Secrets, SSH: d.eng.Fleet.SSH, Credentials: d.credentials()})
	if err != nil {
		return nil, err
	}
	client := d.client
	w := &Worker{Solver: d.session, Versions: map[string]string{"buildkit": info.Version}, Address: addr, Platforms: info.Platforms}
	w.Ping = func(ctx context.Context) error {
		_, err := client.Info(ctx)
		return err
	}
	if d.embedded != nil {
		if v := d.embedded.Version(); v != "" { // built from source, it does not know itself
			w.Versions["buildkit"] = v
		}
		w.Disk, w.Gone = disk{records{d.client}, d.embedded}, d.embedded.Died()
	} else if limit := cmp.Or(d.opts.Disk, d.eng.Opts.Disk).Bytes; limit > 0 {
		w.Disk = &distant{records: records{d.client}, limit: limit}
	}
	return w, nil
}

// reachesRegistries refuses a remote daemon for registries on our own loopback.
func (d *Daemon) reachesRegistries(addr string) error {
	u, err := url.Parse(addr)
	if err != nil {
		return diag.Errorf(diag.Usage, "for example unix:///run/buildkit/buildkitd.sock or tcp://host:1234", "--worker: %w", err)
	}
	if u.Scheme == "unix" || isLoopback(u.Hostname()) {
		return nil
	}
	if to := d.eng.Fleet.Output.To; to != "" {
		return diag.Errorf(diag.Usage, "use a worker on this machine, or a registry", "worker %s cannot reach %s, which is on this machine", addr, to)
	}
	for _, im := range d.eng.Fleet.Images {
		for _, ref := range append([]string{im.Base}, im.Tags...) {
			if host := publish.Host(ref); isLoopback(hostname(host)) {
				return diag.Errorf(diag.Usage, "use a registry that the daemon can reach by the same name", "worker %s cannot reach %s, which is this machine's own loopback", addr, host)
			}
		}
	}
	return nil
}

// credentials serves the daemon from the same keychain as our own client. The
// daemon asks by host only: where the fleet publishes to, the login is that for
// pushing, elsewhere that for pulling.
func (d *Daemon) credentials() func(ctx context.Context, host string) (string, string, error) {
	push := map[string]bool{}
	for _, im := range d.eng.Fleet.Images {
		for _, t := range im.Tags {
			push[publish.Host(t)] = true
		}
	}
	return func(ctx context.Context, host string) (string, string, error) {
		if out := d.eng.output; out.serves(host) {
			return layout.User, out.server.Password(), nil
		}
		purpose := creds.Pull
		if push[host] {
			purpose = creds.Push
		}
		c, err := d.eng.Keychain.Lookup(ctx, host, "", purpose)
		if err == nil && c.IdentityToken != "" {
			return "", c.IdentityToken, nil
		}
		return c.Username, c.Password, err
	}
}

// Close ends the session and, when it is ours, the daemon. It may be called
// when Connect was not.
func (d *Daemon) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.letGo(stopWithin)
}

// letGo ends what an earlier Connect made; a daemon of ours gets that long to end
// by itself. The lock must be held.
func (d *Daemon) letGo(within time.Duration) error {
	var errs []error
	if d.session != nil {
		errs = append(errs, d.session.Close())
	}
	if d.client != nil {
		errs = append(errs, d.client.Close())
	}
	if d.embedded != nil {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		errs = append(errs, d.embedded.Stop(ctx))
	}
	d.session, d.client, d.embedded = nil, nil, nil
	return errors.Join(errs...)
}

// records are what a daemon keeps, with half of what [Disk] asks for.
type records struct{ client *buildkit.Client }

// Records implements [Disk].
func (d records) Records(ctx context.Context) ([]release.Record, error) {
	records, err := d.client.Records(ctx)
	out := make([]release.Record, len(records))
	for i, r := range records {
		out[i] = release.Record{ID: r.ID, Parents: r.Parents, Description: r.Description, Type: r.Type, Bytes: r.Bytes, InUse: r.InUse}
	}
	return out, err
}

// Release implements [Disk].
func (d records) Release(ctx context.Context, ids []string) ([]string, error) {
	records, err := d.client.Release(ctx, ids)
	gone := make([]string, len(records))
	for i, r := range records {
		gone[i] = r.ID
	}
	return gone, err
}

// disk is the embedded daemon's storage.
type disk struct {
	records
	daemon *worker.Daemon
}

// Space implements [Disk]. What the ballast lacks is not free: it was given up for
// the daemon's own work, and not for images.
func (d disk) Space(bool) (journal.DiskData, error) {
	if err := d.daemon.Gone(); err != nil {
		return journal.DiskData{}, err
	}
	r, err := meter.Read(d.daemon.Root())
	r.Free = max(0, r.Free-d.daemon.LacksBallast())
	return r, err
}

// Relieve implements [Disk].
func (d disk) Relieve() error {
	_, err := d.daemon.FreeBallast()
	return err
}

// Recover implements [Disk].
func (d disk) Recover() error { return d.daemon.Ballast() }

// Connector is the daemon as one of an engine's workers.
func (d *Daemon) Connector() Connector {
	name := d.opts.Address
	if name == "" {
		name = "embedded"
	}
	return Connector{Name: name, Disk: d.opts.Disk, Connect: d.Connect}
}

// isLoopback tells whether host names the machine that it is used on.
func isLoopback(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// hostname is a registry host without its port.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}
