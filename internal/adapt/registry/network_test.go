package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// network is one in memory, so that time can be that of the test.
type network struct {
	t     *testing.T
	mu    sync.Mutex
	hosts map[string]*pipes
}

func newNetwork(t *testing.T) *network { return &network{t: t, hosts: map[string]*pipes{}} }

// serve answers for an address, host:port.
func (n *network) serve(addr string, h http.Handler) {
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	n.hosts[addr] = p
	n.mu.Unlock()
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(p)
	}()
	n.t.Cleanup(func() {
		server.Close()
		<-ended
	})
}

var errUnreachable = errors.New("no such machine")

func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	p := n.hosts[addr]
	n.mu.Unlock()
	if p == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errUnreachable}
	}
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.done:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errUnreachable}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pipes is a listener.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// memory is a registry in memory, in which no time passes.
func memory() http.Handler { return ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))) }

// sent is a request as a registry got it.
type sent struct {
	method, path, query, auth, rang string
	body                            []byte
	at                              time.Time
}

// recorder keeps the requests that pass through it.
type recorder struct {
	next http.Handler
	mu   sync.Mutex
	log  []sent
	now  int // requests being answered
	most int
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	q.Body = io.NopCloser(bytes.NewReader(body))
	r.mu.Lock()
	r.log = append(r.log, sent{q.Method, q.URL.Path, q.URL.RawQuery, q.Header.Get("Authorization"), q.Header.Get("Range"), body, time.Now()})
	r.now++
	r.most = max(r.most, r.now)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.now--
		r.mu.Unlock()
	}()
	r.next.ServeHTTP(w, q)
}

// take returns the requests since the last call, without version checks.
func (r *recorder) take() []sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []sent
	for _, s := range r.log {
		if s.path != "/v2/" {
			out = append(out, s)
		}
	}
	r.log = nil
	return out
}

// world is a registry that may misbehave, and a client of it, in one network.
type world struct {
	t       *testing.T
	net     *network
	front   *recorder // what reached the faults
	back    *recorder // what reached the registry
	faults  *testfleet.FaultProxy
	store   *registry.Store
	options registry.Options
}

// remote is the host of a world's registry, which speaks plain HTTP.
const remote = "registry.example.com:5000"

func newWorld(t *testing.T, rules ...testfleet.Rule) *world {
	w := &world{t: t, net: newNetwork(t), back: &recorder{next: memory()}}
	w.faults = testfleet.Faults(w.back, rules...)
	w.front = &recorder{next: w.faults}
	w.net.serve(remote, w.front)
	w.options = registry.Options{Registries: []fleet.Registry{{Host: remote, HTTP: true}}, Dial: w.net.dial}
	w.store = client(t, w.options)
	return w
}

// direct is a client that no fault can meet.
func (w *world) direct() *registry.Store {
	w.t.Helper()
	n := newNetwork(w.t)
	n.serve(remote, w.back.next)
	o := w.options
	o.Dial = n.dial
	return client(w.t, o)
}
