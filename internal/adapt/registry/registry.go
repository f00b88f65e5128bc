// Package registry talks to OCI registries: it resolves bases, asks what is
// published, and applies publish operations.
//
// Requests are the cost of a fleet, so they are few, counted per host, and
// paced: each host is pinged once, a token serves until it ends, and what is
// known by digest is fetched once and kept. A request that fails in passing is
// sent again when the host's policy says so; only a "not found" answer means
// that something is missing.
package registry

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/traffic"
)

// DefaultConcurrency is the number of requests in flight per host when nothing
// else is asked for.
const DefaultConcurrency = 16

// The errors that callers tell apart.
var (
	// ErrNotFound says that a repository, manifest or blob does not exist.
	ErrNotFound = errors.New("not found")
	// ErrNoTagList says that a registry does not list tags: ask for each.
	ErrNoTagList = errors.New("the registry does not list tags")
	// ErrMountRefused says that a registry did not mount a blob, in strict mode.
	ErrMountRefused = errors.New("the registry did not mount the blob")
)

// Options are settings of a [Store], read by [New] only.
type Options struct {
	// Registries are settings per host; hosts without any have the defaults.
	Registries []fleet.Registry
	// Credentials finds what to log in with to a host, as it stands in
	// references, for pulling from or pushing to repo there; all empty means
	// anonymously. It may be called concurrently and often. Nil means always
	// anonymously.
	Credentials func(ctx context.Context, host, repo string, push bool) (username, password, identityToken, registryToken string, err error)
	// Facts is a folder for what is known by digest and never changes; it is
	// made when missing, and may be shared by several processes. Empty keeps
	// facts in memory.
	Facts string
	// Concurrency is the number of requests in flight per host, where a
	// registry's settings do not say otherwise; 0 means [DefaultConcurrency].
	Concurrency int
	// UserAgent is sent with every request; empty means "lapstrake".
	UserAgent string
	// StrictMounts makes a mount that a registry does not grant an error,
	// instead of a copy.
	StrictMounts bool
	// Limits makes the policy that paces and repeats the requests to a host,
	// of which at most concurrency may be in flight. Nil bounds the requests in
	// flight and repeats nothing.
	Limits func(host string, concurrency int) traffic.Policy
	// Outputs take the place of registries, by host, for what is published: it is
	// sent to them, and they are asked what is there. What bases are is asked of
	// the registries themselves all the same.
	Outputs map[string]Output
	// Dial opens connections; nil means the network.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Output is a server on this machine that takes the place of a registry. It
// speaks plain HTTP.
type Output struct {
	// Addr is host:port.
	Addr               string
	Username, Password string
}

// Store is a client of any number of registries. Its methods may be called
// concurrently. Their errors are of kind [diag.Infra] when a registry is to
// blame, [diag.File] when a reference is, and [diag.Interrupted] when the
// context ended; none holds a secret.
type Store struct {
	o        Options
	settings map[string]fleet.Registry
	roots    map[string]*x509.CertPool
	proxies  map[string]*url.URL
	base     *http.Transport
	facts    *facts
	copies   chan struct{} // one element for each copy in flight

	outputs map[string]*host // by the host whose place they take

	mu    sync.Mutex
	hosts map[string]*host

	resolving keyed[string]       // references by tag that were never resolved
	fetching  keyed[graph.Digest] // documents
	keying    keyed[graph.Digest] // manifests whose key is being read

	views views
	// sentKeys are the keys in labels of configs that were uploaded, by digest.
	sentKeys sync.Map
	count    counters
}

type counters struct {
	requests sync.Map // host -> *atomic.Int64
	retries  atomic.Int64
	pulled   atomic.Int64
	pushed   atomic.Int64
	mounted  atomic.Int64
	refused  atomic.Int64 // mounts
}

// New makes a store. It reads the certificate files and makes the facts folder,
// and sends nothing. A certificate file or proxy that cannot be used is an
// error of kind [diag.File].
func New(o Options) (*Store, error) {
	if o.UserAgent == "" {
		o.UserAgent = "lapstrake"
	}
	if o.Concurrency <= 0 {
		o.Concurrency = DefaultConcurrency
	}
	s := &Store{
		o:        o,
		settings: map[string]fleet.Registry{},
		roots:    map[string]*x509.CertPool{},
		proxies:  map[string]*url.URL{},
		hosts:    map[string]*host{},
		outputs:  map[string]*host{},
		base:     newTransport(o),
	}
	for name, out := range o.Outputs {
		s.outputs[canonicalHost(name)] = s.output(canonicalHost(name), out)
	}
	least := o.Concurrency
	for _, r := range o.Registries {
		if r.Concurrency > 0 {
			least = min(least, r.Concurrency)
		}
		if err := s.configure(r); err != nil {
			return nil, err
		}
	}
	// A copy holds a request to one host while it asks for one to another. With
	// fewer copies than requests allowed, one can always go on.
	s.copies = make(chan struct{}, max(1, least-1))
	var err error
	s.facts, err = openFacts(o.Facts)
	return s, err
}

// configure checks and keeps the settings of one host.
func (s *Store) configure(r fleet.Registry) error {
	name := canonicalHost(r.Host)
	s.settings[name] = r
	if r.CAFile != "" {
		pem, err := os.ReadFile(r.CAFile)
		if err != nil {
			return diag.Wrap(diag.File, "registry "+r.Host+": caFile", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return diag.Errorf(diag.File, "it must hold certificates in PEM form", "registry %s: caFile %s has no certificate", r.Host, r.CAFile)
		}
		s.roots[name] = pool
	}
	if r.Proxy != "" {
		// The error of a URL that does not parse shows the URL, and that may
		// hold a password.
		u, err := url.Parse(r.Proxy)
		if err != nil || u.Host == "" {
			return diag.Errorf(diag.File, "write it as http://host:port", "registry %s: proxy is not a URL", r.Host)
		}
		s.proxies[name] = u
	}
	return nil
}

func newTransport(o Options) *http.Transport {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           o.Dial,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true, // digests are over the bytes as stored
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   15 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	if t.DialContext == nil {
		t.DialContext = (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	return t
}

// Close drops idle connections. The store can be used afterwards.
func (s *Store) Close() {
	s.base.CloseIdleConnections()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hosts {
		h.client.CloseIdleConnections()
	}
}

// PlainHTTP reports whether the registry at host is spoken to without TLS: when
// its settings say so, or on loopback addresses without a certificate file.
func (s *Store) PlainHTTP(host string) bool {
	r := s.settings[canonicalHost(host)]
	return r.HTTP || r.CAFile == "" && loopback(host)
}

func loopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

// Pusher says where a daemon pushes what is published to repo: to which
// registry/repository, and whether that is spoken to without TLS.
func (s *Store) Pusher(repo string) (at string, plainHTTP bool) {
	if p, err := s.published(repo); err == nil && p.host.output != nil {
		return p.host.addr + "/" + p.repo, true
	}
	host, _, _ := strings.Cut(repo, "/")
	return repo, s.PlainHTTP(host)
}

// Totals says what was sent so far. Hosts counts every HTTP request by host as
// it stands in references, those for tokens and redirects under their own
// hosts, and those to [Options.Outputs] not at all. Mounted bytes are those that did not move.
func (s *Store) Totals() journal.RequestData {
	d := journal.RequestData{
		Hosts:         map[string]int64{},
		Retries:       s.count.retries.Load(),
		Pulled:        s.count.pulled.Load(),
		Pushed:        s.count.pushed.Load(),
		Mounted:       s.count.mounted.Load(),
		MountsRefused: s.count.refused.Load(),
	}
	s.count.requests.Range(func(k, v any) bool {
		d.Hosts[k.(string)] = v.(*atomic.Int64).Load()
		return true
	})
	return d
}

// sent counts one request.
func (c *counters) sent(host string) {
	n, ok := c.requests.Load(host)
	if !ok {
		n, _ = c.requests.LoadOrStore(host, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(1)
}

// views makes equal views share their bytes.
type views struct {
	mu    sync.Mutex
	known map[string]json.RawMessage
}
