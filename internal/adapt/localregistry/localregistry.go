// Package localregistry is an OCI registry inside the process: the reference
// implementation, serving a folder on a loopback address.
//
// It keeps blobs per repository, mounts them across repositories, deletes,
// and can ask for credentials or tokens, so what works against it works
// against a registry elsewhere. It counts the requests that reach it.
package localregistry

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Options say where and how a registry serves.
type Options struct {
	// Root is the folder that holds everything; it is made when missing. What a
	// stopped registry left there is served by the next one. A folder belongs
	// to one running registry at a time.
	Root string
	// Addr is host:port to listen on; the host must be a loopback address.
	// Empty means 127.0.0.1 and a free port.
	Addr string
	// Log receives a line for each thing that went wrong on the registry's side.
	// What clients do wrong is not among them. Nil discards them.
	Log io.Writer
	// Auth asks for credentials; nil lets everybody do everything.
	Auth *Auth
	// Middleware wraps the registry's handler, the token service included.
	// Requests that it answers itself are not counted. It must hand on the
	// request's context. Nil means none.
	Middleware func(http.Handler) http.Handler
	// Durable makes every answer wait until the disk has the data. Otherwise
	// what was pushed survives the end of the process, but perhaps not that of
	// the machine; pushes are several times faster.
	Durable bool
}

// Registry is a running registry. Its methods may be called concurrently.
type Registry struct {
	host   string
	app    *app
	auth   *authority // nil without Options.Auth
	server *http.Server
	lock   *os.File
	cancel context.CancelFunc
	served chan struct{} // closed when the accept loop is gone

	stop    sync.Once
	stopErr error

	active sync.WaitGroup

	mu     sync.Mutex
	counts map[string]int64
}

// Start opens the folder and begins to serve; when it returns, requests are
// answered. The context bounds the start alone: the registry runs until
// [Registry.Stop]. An address that is not loopback is an error of kind
// [diag.Usage]; a folder or port that is taken or cannot be used is [diag.Infra].
func Start(ctx context.Context, o Options) (*Registry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.Root == "" {
		return nil, diag.Errorf(diag.Usage, "name the folder that it keeps images in", "local registry: no folder given")
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "local registry", err)
	}
	lock, err := lockRoot(root)
	if err != nil {
		return nil, err
	}
	ln, err := listen(ctx, o.Addr)
	if err != nil {
		lock.Close()
		return nil, err
	}
	r := &Registry{
		host:   ln.Addr().String(),
		lock:   lock,
		served: make(chan struct{}),
		counts: map[string]int64{},
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel = cancel
	if err := r.assemble(base, root, o); err != nil {
		cancel()
		ln.Close()
		lock.Close()
		return nil, diag.Wrap(diag.Infra, "local registry "+root, err)
	}
	go func() {
		defer close(r.served)
		_ = r.server.Serve(ln) // always ErrServerClosed: only Stop ends it
	}()
	return r, nil
}

// assemble makes the chain of handlers: the caller's middleware, the token
// service, the counter, the registry.
func (r *Registry) assemble(base context.Context, root string, o Options) error {
	base, logs := withLog(base, o.Log)
	if o.Auth != nil {
		var err error
		if r.auth, err = newAuthority(*o.Auth, root, r.host); err != nil {
			return err
		}
	}
	var err error
	if r.app, err = newApp(base, root, r.auth, o.Durable); err != nil {
		return err
	}
	h := r.count(r.app)
	if r.auth != nil {
		h = r.auth.wrap(h, r.add)
	}
	if o.Middleware != nil {
		h = o.Middleware(h)
	}
	r.server = &http.Server{
		Handler:     r.track(h),
		ErrorLog:    logs,
		BaseContext: func(net.Listener) context.Context { return base },
	}
	return nil
}

// Host is where the registry listens, as it stands in references: "127.0.0.1:port".
func (r *Registry) Host() string { return r.host }

// Stop lets the requests in flight finish and ends the registry. When the
// context ends first, their connections are closed and their contexts
// cancelled, and the context's error is returned. Either way Stop waits until
// every goroutine of the registry is gone; a handler of
// [Options.Middleware] that ignores its request's context holds it up. Later
// calls return what the first one did.
func (r *Registry) Stop(ctx context.Context) error {
	r.stop.Do(func() {
		err := r.server.Shutdown(ctx)
		r.cancel()
		if err != nil {
			r.server.Close()
		}
		<-r.served
		r.active.Wait()
		err = errors.Join(err, r.app.close())
		if r.auth != nil {
			err = errors.Join(err, r.auth.close())
		}
		r.stopErr = errors.Join(err, r.lock.Close())
	})
	return r.stopErr
}

// Requests returns how many requests reached the registry since the start or
// the last [Registry.Reset], by "METHOD kind". The kinds are manifest, blob,
// upload, mount (a POST that asks for one, whether it was granted or not),
// tags, token, base (the version check) and other. Requests that were refused
// count as well. The map is the caller's.
func (r *Registry) Requests() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}

// Reset sets every count to zero.
func (r *Registry) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.counts)
}

// RevokeTokens makes every token that was handed out so far invalid: the next
// request with one is answered 401 with a challenge. Without token
// authentication it does nothing.
func (r *Registry) RevokeTokens() {
	if r.auth != nil {
		r.auth.revoke()
	}
}

// track keeps Stop waiting for the handlers that run. Shutdown waits as well,
// but not after its context ended.
func (r *Registry) track(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.active.Add(1)
		defer r.active.Done()
		h.ServeHTTP(w, q)
	})
}

// listen opens the port, and refuses what is not loopback: the registry has no
// encryption and, by default, no credentials.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, diag.Errorf(diag.Usage, "write it as host:port", "local registry: address %q: %w", addr, err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, diag.Errorf(diag.Usage, "use 127.0.0.1:"+port, "local registry: address %q is not loopback", addr)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, diag.Errorf(diag.Infra, "choose another port, or stop what uses this one", "local registry: %w", err)
	}
	return ln, nil
}

// lockRoot makes the folder and takes it for this registry: its cache of blob
// descriptors would be wrong about what another one deletes. The lock goes with
// the process, however it ends.
func lockRoot(root string) (*os.File, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, diag.Wrap(diag.Infra, "local registry", err)
	}
	f, err := os.OpenFile(filepath.Join(root, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "local registry", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, diag.Errorf(diag.Infra, "stop the other registry, or choose another folder",
				"local registry: folder %s is in use", root)
		}
		return nil, diag.Wrap(diag.Infra, "local registry: lock "+root, err)
	}
	return f, nil
}
