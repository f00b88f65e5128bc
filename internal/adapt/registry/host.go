package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// host is one registry, mirror, or token server.
type host struct {
	name   string // as it stands in references
	addr   string // where its API is
	scheme string
	output *Output
	width  int // requests in flight
	client *http.Client
	gate   *gate
	auth   *auth
	down   atomic.Bool // of a mirror: it failed, and is left alone
	// mountless says that the registry knows no mounts: it is not asked again.
	mountless atomic.Bool
}

// canonicalHost gives Docker Hub's several names one.
func canonicalHost(host string) string {
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return host
}

// host returns the state of a host, made on first use.
func (s *Store) host(hostname string) *host {
	hostname = canonicalHost(hostname)
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.hosts[hostname]; h != nil {
		return h
	}
	h := &host{name: hostname, addr: hostname, scheme: "https", width: s.o.Concurrency}
	if hostname == "docker.io" {
		h.addr = "registry-1.docker.io"
	}
	if s.PlainHTTP(hostname) {
		h.scheme = "http"
	}
	if n := s.settings[hostname].Concurrency; n > 0 {
		h.width = n
	}
	s.equip(h, s.transport(hostname))
	s.hosts[hostname] = h
	return h
}

// output makes the state of what takes a host's place.
func (s *Store) output(hostname string, o Output) *host {
	h := &host{name: hostname, addr: o.Addr, scheme: "http", output: &o, width: s.o.Concurrency}
	s.equip(h, s.base)
	return h
}

// equip gives a host what requests to it need.
func (s *Store) equip(h *host, inner *http.Transport) {
	h.client = &http.Client{Transport: &courier{store: s, host: h, inner: inner}, CheckRedirect: checkRedirect}
	h.gate = newGate(s.policy(h.name, h.width), &s.count.retries)
	h.auth = newAuth(h)
}

// transport is the shared one, unless the host needs its own certificates or
// proxy.
func (s *Store) transport(hostname string) *http.Transport {
	roots, proxy := s.roots[hostname], s.proxies[hostname]
	if roots == nil && proxy == nil {
		return s.base
	}
	t := s.base.Clone()
	if roots != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	if proxy != nil {
		t.Proxy = http.ProxyURL(proxy)
	}
	return t
}

// checkRedirect follows redirects, but not out of encryption.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("too many redirects")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errInsecureRedirect
	}
	return nil
}

var errInsecureRedirect = errors.New("redirected from https to http")

// courier carries every request to the network: it counts them and their
// bytes, and keeps credentials from other hosts than the one they are for.
type courier struct {
	store *Store
	host  *host
	inner *http.Transport
}

// RoundTrip sends one request.
func (c *courier) RoundTrip(in *http.Request) (*http.Response, error) {
	req := in.Clone(in.Context())
	if req.URL.Host == c.host.addr {
		// Behind a proxy that ends TLS, registries give locations as http.
		req.URL.Scheme = c.host.scheme
		if c.host.output == nil {
			c.store.count.sent(c.host.name)
		}
	} else {
		req.Header.Del("Authorization")
		c.store.count.sent(canonicalHost(req.URL.Host))
	}
	req.Header.Set("User-Agent", c.store.o.UserAgent)
	beat := heartbeat(in.Context())
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &meter{req.Body, &c.store.count.pushed, beat}
		if get := req.GetBody; get != nil {
			req.GetBody = func() (io.ReadCloser, error) {
				b, err := get()
				return &meter{b, &c.store.count.pushed, beat}, err
			}
		}
	}
	resp, err := c.inner.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	beat()
	resp.Body = &meter{resp.Body, &c.store.count.pulled, beat}
	return resp, nil
}

// CloseIdleConnections makes http.Client's method of that name reach the
// transport.
func (c *courier) CloseIdleConnections() { c.inner.CloseIdleConnections() }

// meter counts the bytes of a body, and tells the watchdog of each read.
type meter struct {
	io.ReadCloser
	n    *atomic.Int64
	beat func()
}

// Read reads from the body.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.n.Add(int64(n))
	m.beat()
	return n, err
}

type beatKey struct{}

// heartbeat returns the function that tells the watchdog of an attempt that
// there is progress.
func heartbeat(ctx context.Context) func() {
	if f, ok := ctx.Value(beatKey{}).(func()); ok {
		return f
	}
	return func() {}
}

// place is a repository of a host.
type place struct {
	host *host
	repo string // without the host
}

// String is the repository as it stands in references.
func (p place) String() string { return p.host.name + "/" + p.repo }

// url is that of something in the repository's API.
func (p place) url(kind, rest string) *url.URL {
	return &url.URL{Scheme: p.host.scheme, Host: p.host.addr, Path: "/v2/" + p.repo + "/" + kind + "/" + rest}
}

// place finds a repository by registry/repository.
func (s *Store) place(repo string) (place, error) {
	r, err := name.NewRepository(repo)
	if err != nil {
		return place{}, badReference(repo)
	}
	return place{s.host(r.RegistryStr()), r.RepositoryStr()}, nil
}

// published finds a repository that is published to, which may be an output's.
func (s *Store) published(repo string) (place, error) {
	p, err := s.place(repo)
	if err != nil {
		return place{}, err
	}
	return s.instead(p), nil
}

// instead is the place that publishing to p goes to.
func (s *Store) instead(p place) place {
	if h := s.outputs[p.host.name]; h != nil {
		p.host = h
	}
	return p
}

// target is a parsed reference: a place and a tag or digest, one of them empty.
type target struct {
	place
	tag    string
	digest string
}

// String is the reference.
func (t target) String() string {
	if t.digest != "" {
		return t.place.String() + "@" + t.digest
	}
	return t.place.String() + ":" + t.tag
}

// id is the tag or digest, as the API wants it.
func (t target) id() string {
	if t.digest != "" {
		return t.digest
	}
	return t.tag
}

func (s *Store) target(ref string) (target, error) {
	// With both, the digest decides; the tag is a remark.
	if before, digest, ok := strings.Cut(ref, "@"); ok {
		d, err := name.NewDigest(ref)
		if err != nil {
			return target{}, badReference(ref)
		}
		_ = before
		return target{place: place{s.host(d.Context().RegistryStr()), d.Context().RepositoryStr()}, digest: digest}, nil
	}
	t, err := name.NewTag(ref)
	if err != nil {
		return target{}, badReference(ref)
	}
	return target{place: place{s.host(t.Context().RegistryStr()), t.Context().RepositoryStr()}, tag: t.TagStr()}, nil
}

func badReference(ref string) error {
	return diag.Errorf(diag.File, "write it as host/repository:tag or host/repository@sha256:…", "image reference %q is not valid", ref)
}

// mirrors are the places to try before at, for pulls.
func (s *Store) mirrors(at place) []place {
	var out []place
	for _, m := range s.settings[at.host.name].Mirrors {
		addr, prefix, _ := strings.Cut(strings.TrimSuffix(m, "/"), "/")
		repo := at.repo
		if prefix != "" {
			repo = prefix + "/" + repo
		}
		if h := s.host(addr); !h.down.Load() {
			out = append(out, place{h, repo})
		}
	}
	return out
}

// pull runs f for the place's mirrors in turn, then for the place itself, until
// one succeeds. A mirror that fails other than by not having it is left alone
// from then on. The error is that of the place itself.
func (s *Store) pull(ctx context.Context, at place, f func(place) error) error {
	for _, m := range s.mirrors(at) {
		err := f(m)
		if err == nil || ctx.Err() != nil || errors.Is(err, errAbandoned) {
			return err
		}
		if !errors.Is(err, ErrNotFound) {
			m.host.down.Store(true)
		}
	}
	return f(at)
}
