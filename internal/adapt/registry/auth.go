package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// pingMemory is how long the failure to reach a host answers for those who ask
// next: each would otherwise wait for a host that is not there.
const pingMemory = 10 * time.Second

// How many tokens in all one request may use up, and how many fresh ones a host
// may refuse in a row.
const (
	maxRenewals = 6
	maxStrikes  = 5
)

// grant is what a request must be allowed to do.
type grant struct {
	repo string // to pull from, and to push to when push
	push bool
	from string // to pull from too, for mounts
	// remove is to delete, too.
	remove bool
}

func (g grant) none() bool { return g.repo == "" }

func (g grant) scopes() []string {
	if !g.push {
		return []string{"repository:" + g.repo + ":pull"}
	}
	actions := "pull,push"
	if g.remove {
		actions += ",delete"
	}
	s := []string{"repository:" + g.repo + ":" + actions}
	if g.from != "" && g.from != g.repo {
		s = append(s, "repository:"+g.from+":pull")
	}
	return s
}

// key is what opens a host for one request.
type key struct {
	token *token // nil: basic
	user  string
	pass  string
}

func (k key) header() string {
	switch {
	case k.token != nil:
		return "Bearer " + k.token.value
	case k.user != "" || k.pass != "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(k.user+":"+k.pass))
	}
	return ""
}

func (k key) secrets() []string {
	s := []string{k.pass}
	if k.pass != "" {
		s = append(s, k.user+":"+k.pass)
	}
	if k.token != nil {
		s = append(s, k.token.value)
		s = append(s, k.token.from...)
	}
	return s
}

// token is a bearer token.
type token struct {
	value  string
	ends   time.Time   // zero: unknown
	from   []string    // the secrets that it was made from
	fixed  bool        // given by the user, so there is no other
	scopes []string    // that were asked for
	proven atomic.Bool // the host accepted it once
	struck bool        // the host refused it before; auth.mu is held
}

func (t *token) good() bool { return t != nil && (t.ends.IsZero() || time.Now().Before(t.ends)) }

// auth is how one host wants to be logged in to, and the tokens for it.
type auth struct {
	host *host

	busy keyed[grant] // tokens being fetched

	ping     lock
	asked    bool
	pingErr  error
	pingTime time.Time

	mu        sync.Mutex
	challenge *transport.Challenge
	tokens    map[grant]*token
	pushers   map[string]*token // the newest token that can push, by repository
	extra     map[grant][]string
	strikes   map[grant]int // fresh tokens refused since one was accepted
}

func newAuth(h *host) *auth {
	return &auth{
		host: h, challenge: &transport.Challenge{}, tokens: map[grant]*token{},
		pushers: map[string]*token{}, extra: map[grant][]string{}, strikes: map[grant]int{},
		ping: newLock(),
	}
}

// authorize finds what a request needs: nothing, a user and password, or a
// token, which is fetched unless one is at hand.
func (s *Store) authorize(ctx context.Context, h *host, g grant) (key, error) {
	if g.none() {
		return key{}, nil
	}
	if err := s.greet(ctx, h); err != nil {
		return key{}, err
	}
	h.auth.mu.Lock()
	scheme := strings.ToLower(h.auth.challenge.Scheme)
	h.auth.mu.Unlock()
	switch scheme {
	case "bearer":
		t, err := s.token(ctx, h, g)
		return key{token: t}, err
	case "":
		return key{}, nil
	}
	user, pass, _, registry, err := s.credentials(ctx, h, g)
	if registry != "" {
		return key{token: &token{value: registry, fixed: true}}, err
	}
	return key{user: user, pass: pass}, err
}

func (s *Store) credentials(ctx context.Context, h *host, g grant) (user, pass, identity, registry string, err error) {
	if h.output != nil {
		return h.output.Username, h.output.Password, "", "", nil
	}
	if s.o.Credentials == nil {
		return "", "", "", "", nil
	}
	return s.o.Credentials(ctx, h.name, g.repo, g.push)
}

// greet asks a host once how it wants to be logged in to.
func (s *Store) greet(ctx context.Context, h *host) error {
	a := h.auth
	done, err := a.ping.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	if a.asked {
		return nil
	}
	if a.pingErr != nil && time.Since(a.pingTime) < pingMemory {
		return a.pingErr
	}
	url := place{host: h}.url("", "")
	url.Path = "/v2/"
	err = s.do(ctx, call{
		what: "reach " + h.name, host: h, method: http.MethodGet, url: url,
		read: func(resp *http.Response) error {
			if resp.StatusCode == http.StatusUnauthorized {
				a.learn(resp.StatusCode, resp.Header)
			}
			return nil
		},
	})
	if ctx.Err() == nil {
		a.asked, a.pingErr, a.pingTime = err == nil, err, time.Now()
	}
	return err
}

// learn takes a challenge from an answer. It reports whether it is new.
func (a *auth) learn(status int, header http.Header) bool {
	c, ok := parseChallenge(a.host, status, header)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !ok || c.Scheme == "" || a.challenge.Scheme != "" {
		return false
	}
	a.challenge = c
	return true
}

// parseChallenge has the library read the answer to a ping.
func parseChallenge(h *host, status int, header http.Header) (*transport.Challenge, bool) {
	reg, err := name.NewRegistry(h.addr)
	if err != nil {
		return nil, false
	}
	c, err := transport.Ping(context.Background(), reg, replay{h.scheme, status, header})
	return c, err == nil
}

// replay answers every request with the same answer.
type replay struct {
	scheme string
	status int
	header http.Header
}

// RoundTrip answers.
func (r replay) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Scheme = r.scheme
	return &http.Response{StatusCode: r.status, Header: r.header, Body: http.NoBody, Request: req}, nil
}

// token returns a token that grants g.
func (s *Store) token(ctx context.Context, h *host, g grant) (*token, error) {
	a := h.auth
	a.mu.Lock()
	if t := a.held(g); t != nil {
		a.mu.Unlock()
		return t, nil
	}
	a.mu.Unlock()
	done, err := a.busy.enter(ctx, g)
	if err != nil {
		return nil, err
	}
	defer done()
	a.mu.Lock()
	t, challenge, extra := a.held(g), a.challenge, a.extra[g]
	a.mu.Unlock()
	if t != nil {
		return t, nil
	}
	t, err = s.exchange(ctx, h, g, challenge, extra)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens[g] = t
	if g.push {
		a.pushers[g.repo] = t
	}
	return t, nil
}

// held finds a token that grants g. The lock is held.
func (a *auth) held(g grant) *token {
	if t := a.tokens[g]; t.good() {
		return t
	}
	// A token for a mount can do everything else in its repository.
	if t := a.pushers[g.repo]; g.push && g.from == "" && t.good() {
		return t
	}
	return nil
}

// renew handles an answer that credentials are missing or not enough. It
// reports whether another attempt makes sense: the host says for the first time
// how to log in, or what a token lacks, or the token must have ended, because
// the host took it before or because its time is over. A fresh token may be
// refused in passing; that is believed a few times in a row.
func (a *auth) renew(g grant, k key, header http.Header) bool {
	if a.learn(http.StatusUnauthorized, header) {
		return true
	}
	if k.token == nil || k.token.fixed {
		return false
	}
	var scope, reason string
	if c, ok := parseChallenge(a.host, http.StatusUnauthorized, header); ok {
		scope, reason = c.Parameters["scope"], c.Parameters["error"]
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tokens[g] == k.token {
		delete(a.tokens, g)
	}
	if a.pushers[g.repo] == k.token {
		delete(a.pushers, g.repo)
	}
	if scope != "" && !covers(k.token.scopes, scope) {
		a.extra[g] = append(a.extra[g], strings.Fields(scope)...)
		return true
	}
	if k.token.proven.Load() || !k.token.good() {
		return true
	}
	if !k.token.struck { // by many requests at once
		k.token.struck = true
		a.strikes[g]++
	}
	return reason != "insufficient_scope" && a.strikes[g] <= maxStrikes
}

// proved notes that the host accepted a token.
func (a *auth) proved(g grant, t *token) {
	if t == nil || t.proven.Swap(true) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.strikes, g)
}

// covers reports whether scopes allow everything that wanted, a list with
// spaces between, asks for.
func covers(scopes []string, wanted string) bool {
	have := map[string]bool{}
	each := func(scope string, f func(string)) {
		i := max(0, strings.LastIndexByte(scope, ':'))
		for action := range strings.SplitSeq(scope[i:], ",") {
			f(scope[:i] + ":" + strings.TrimPrefix(action, ":"))
		}
	}
	for _, s := range scopes {
		each(s, func(one string) { have[one] = true })
	}
	all := true
	for _, s := range strings.Fields(wanted) {
		each(s, func(one string) { all = all && have[one] })
	}
	return all
}

// exchange fetches a token.
func (s *Store) exchange(ctx context.Context, h *host, g grant, challenge *transport.Challenge, extra []string) (*token, error) {
	user, pass, identity, registry, err := s.credentials(ctx, h, g)
	if err != nil {
		return nil, err
	}
	if registry != "" {
		return &token{value: registry, fixed: true}, nil
	}
	reg, err := tokenServer(h, challenge)
	if err != nil {
		return nil, badReference(h.addr)
	}
	login := authn.Anonymous
	if user != "" || pass != "" || identity != "" {
		login = authn.FromConfig(authn.AuthConfig{Username: user, Password: pass, IdentityToken: identity})
	}
	scopes := append(g.scopes(), extra...)
	asked := time.Now()
	t := &tokenTransport{store: s, to: h}
	got, err := transport.Exchange(ctx, reg, login, t, scopes, challenge)
	c := call{what: "log in to " + h.name, host: h, grant: g}
	if err != nil {
		return nil, c.fail(ctx, scrub(t.reason(err), pass, identity))
	}
	return newToken(got, scopes, asked, pass, identity), nil
}

// newToken takes over what a token server gave.
func newToken(got *transport.Token, scopes []string, asked time.Time, secrets ...string) *token {
	t := &token{value: got.Token, scopes: scopes}
	if got.AccessToken != "" {
		t.value = got.AccessToken
	}
	for _, secret := range secrets {
		if secret != "" {
			t.from = append(t.from, secret)
		}
	}
	if got.ExpiresIn > 0 {
		// The last tenth is for clocks and for requests that wait their turn.
		t.ends = asked.Add(time.Duration(got.ExpiresIn) * time.Second * 9 / 10)
	}
	return t
}

// tokenServer is the registry in whose name a token is asked for. The library
// refuses to send credentials to a private address other than the registry's
// own; another port of the same machine is its own as well.
func tokenServer(h *host, challenge *transport.Challenge) (name.Registry, error) {
	addr := h.addr
	if realm, err := url.Parse(challenge.Parameters["realm"]); err == nil {
		if here := (&url.URL{Host: h.addr}); realm.Hostname() == here.Hostname() {
			addr = realm.Host
		}
	}
	return name.NewRegistry(addr)
}

// tokenTransport sends requests for tokens, paced and repeated like others. It
// follows no redirects: its user checks them.
type tokenTransport struct {
	store *Store
	to    *host // the registry
	used  bool
}

// reason says why there is no token. The library's own text may quote what the
// token server sent, which may be a secret.
func (t *tokenTransport) reason(err error) error {
	var known *diag.Error
	var refused *transport.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &refused):
		e := &statusError{status: refused.StatusCode}
		e.read(refused)
		return e
	case !t.used:
		return errors.New("the registry names a token server that cannot be trusted with credentials")
	}
	return errors.New("the token server's answer holds no token")
}

// RoundTrip sends one request and reads the whole answer.
func (t *tokenTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.used = true
	h := t.to
	if req.URL.Host != h.addr {
		h = t.store.host(req.URL.Host)
	}
	c := call{
		what: "log in to " + t.to.name, host: h, method: req.Method, url: req.URL, direct: true,
		header: req.Header.Clone,
	}
	if req.Body != nil {
		data, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		c.size = int64(len(data))
		c.body = func() io.Reader { return bytes.NewReader(data) }
	}
	var out *http.Response
	c.read = func(resp *http.Response) error {
		var data []byte
		if err := keep(&data, 1<<20)(resp); err != nil {
			return err
		}
		if resp.StatusCode == http.StatusOK && len(data) > 0 && !json.Valid(data) {
			return io.ErrUnexpectedEOF // it broke off
		}
		out = &http.Response{StatusCode: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(data)), Request: req}
		return nil
	}
	err := t.store.do(req.Context(), c)
	return out, err
}
