package localregistry

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd" // found by name
	"github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/crypto/bcrypt"
)

// Auth says who may do what.
type Auth struct {
	// Users are the passwords by user name.
	Users map[string]string
	// Token makes the registry ask for bearer tokens, which its own token
	// service at /token hands out for a user's name and password. Otherwise
	// every request carries them (HTTP basic authentication).
	Token bool
	// TokenLife is how long a token is valid; 0 means five minutes.
	TokenLife time.Duration
	// Anonymous lets everybody pull, with a token that names no user. It works
	// with Token only.
	Anonymous bool
	// Allow says whether the user may do the action ("pull", "push" or
	// "delete") in the repository. Nil allows users everything. It may be
	// called concurrently; anonymous pulls are not asked about.
	Allow func(user, repository, action string) bool
}

// The names that tokens carry.
const (
	issuer  = "lapstrake"
	service = "local-registry"
)

// authority checks credentials, in front of the registry and for it.
type authority struct {
	Auth
	host string
	dir  string // holds what the registry reads: password hashes or keys
	sign jose.Signer

	mu    sync.Mutex
	valid map[string]time.Time // tokens handed out, with their end
}

// newAuthority prepares the files from which the registry learns whom to trust.
func newAuthority(a Auth, root, host string) (*authority, error) {
	if a.TokenLife == 0 {
		a.TokenLife = 5 * time.Minute
	}
	dir, err := os.MkdirTemp(root, "auth-")
	if err != nil {
		return nil, err
	}
	u := &authority{Auth: a, host: host, dir: dir, valid: map[string]time.Time{}}
	if a.Token {
		err = u.writeKeys()
	} else {
		err = u.writePasswords()
	}
	if err != nil {
		return nil, errors.Join(err, u.close())
	}
	return u, nil
}

// writeKeys makes a signing key and leaves its public half for the registry.
func (u *authority) writeKeys() error {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	const id = "local"
	u.sign, err = jose.NewSigner(jose.SigningKey{
		Algorithm: jose.EdDSA,
		Key:       jose.JSONWebKey{Key: priv, KeyID: id},
	}, nil)
	if err != nil {
		return err
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: pub, KeyID: id, Algorithm: string(jose.EdDSA)}}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(u.dir, "keys"), set, 0o600)
}

// writePasswords writes the hashes. Their cost is the lowest there is: the
// registry computes one for each request.
func (u *authority) writePasswords() error {
	var b strings.Builder
	for name, pass := range u.Users {
		h, err := bcrypt.GenerateFromPassword([]byte(pass), bcrypt.MinCost)
		if err != nil {
			return fmt.Errorf("password of user %s: %w", name, err)
		}
		fmt.Fprintf(&b, "%s:%s\n", name, h)
	}
	return os.WriteFile(filepath.Join(u.dir, "passwords"), []byte(b.String()), 0o600)
}

// close removes the files.
func (u *authority) close() error { return os.RemoveAll(u.dir) }

// settings are the registry's part of the arrangement.
func (u *authority) settings() configuration.Auth {
	if !u.Token {
		return configuration.Auth{"htpasswd": configuration.Parameters{
			"realm": service,
			"path":  filepath.Join(u.dir, "passwords"),
		}}
	}
	return configuration.Auth{"token": configuration.Parameters{
		"realm":   u.realm(u.host),
		"issuer":  issuer,
		"service": service,
		"jwks":    filepath.Join(u.dir, "keys"),
	}}
}

// realm is the address of the token service as seen at a host.
func (u *authority) realm(host string) string { return "http://" + host + "/token" }

// realmWriter sends clients that came through a proxy back there for their
// token. Some refuse to go to another loopback address than the one they asked.
type realmWriter struct {
	http.ResponseWriter
	from, to string
}

// WriteHeader puts the right address into a challenge.
func (w *realmWriter) WriteHeader(status int) {
	if c := w.Header().Get("WWW-Authenticate"); c != "" {
		w.Header().Set("WWW-Authenticate", strings.Replace(c, w.from, w.to, 1))
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap gives a ResponseController what is below.
func (w *realmWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// wrap serves tokens and turns away what the registry itself would let pass.
// The function add counts.
func (u *authority) wrap(h http.Handler, add func(string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch {
		case u.Token && q.URL.Path == "/token":
			add(q.Method + " token")
			u.serveToken(w, q)
		case u.Token:
			u.dropStale(q)
			h.ServeHTTP(&realmWriter{ResponseWriter: w, from: u.realm(u.host), to: u.realm(q.Host)}, q)
		default:
			if n, denied := u.denied(q); denied {
				add(q.Method + " " + KindOf(q))
				refuse(w, http.StatusForbidden, "DENIED", "not allowed to "+n.action+" "+n.repo)
				return
			}
			h.ServeHTTP(w, q)
		}
	})
}

// dropStale takes away a token that this authority no longer stands by, so that
// the registry answers as it does to a stranger. The registry itself would
// honour a token for a minute after its end, and never hears of revocation.
func (u *authority) dropStale(q *http.Request) {
	kind, raw, ok := strings.Cut(q.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(kind, "bearer") {
		return
	}
	u.mu.Lock()
	end, known := u.valid[raw]
	u.mu.Unlock()
	if !known || !time.Now().Before(end) {
		q.Header.Del("Authorization")
	}
}

// revoke forgets every token.
func (u *authority) revoke() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.valid)
}

// need is one permission that a request asks for.
type need struct{ repo, action string }

// needs lists what a request requires beyond a known user.
func needs(q *http.Request) []need {
	repo, _ := route(q.URL.Path)
	if repo == "" {
		return nil
	}
	switch q.Method {
	case http.MethodGet, http.MethodHead:
		return []need{{repo, "pull"}}
	case http.MethodDelete:
		return []need{{repo, "delete"}}
	}
	ns := []need{{repo, "push"}}
	if from := q.URL.Query().Get("from"); from != "" {
		ns = append(ns, need{from, "pull"})
	}
	return ns
}

// denied finds a permission that the request's user, known by the right
// password, does not have. Strangers are left to the registry.
func (u *authority) denied(q *http.Request) (need, bool) {
	user, pass, ok := q.BasicAuth()
	if u.Allow == nil || !ok || !u.knows(user, pass) {
		return need{}, false
	}
	for _, n := range needs(q) {
		if !u.Allow(user, n.repo, n.action) {
			return n, true
		}
	}
	return need{}, false
}

// knows reports whether the password is the user's.
func (u *authority) knows(user, pass string) bool {
	want, ok := u.Users[user]
	return ok && subtle.ConstantTimeCompare([]byte(want), []byte(pass)) == 1
}

// serveToken answers GET with HTTP basic authentication and POST with a form.
// As registries do, it hands out a token for as much of the scope as the user
// may have, be it nothing.
func (u *authority) serveToken(w http.ResponseWriter, q *http.Request) {
	if err := q.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, "UNSUPPORTED", "form does not parse")
		return
	}
	user, pass, given := q.BasicAuth()
	if q.Method == http.MethodPost {
		user, pass, given = q.PostForm.Get("username"), q.PostForm.Get("password"), q.PostForm.Get("grant_type") == "password"
	}
	if given && !u.knows(user, pass) || !given && !u.Anonymous {
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "wrong user name or password")
		return
	}
	raw, err := u.issue(user, u.grant(user, q.Form["scope"]))
	if err != nil {
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "token was not made")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"token": raw, "access_token": raw,
		"expires_in": int(u.TokenLife.Seconds()),
		"issued_at":  time.Now().UTC().Format(time.RFC3339),
	})
}

// grant cuts the scopes, each "repository:NAME:ACTION,ACTION" or several of
// them with spaces between, down to what the user may do.
func (u *authority) grant(user string, scopes []string) []*token.ResourceActions {
	var out []*token.ResourceActions
	for _, s := range strings.Fields(strings.Join(scopes, " ")) {
		kind, rest, _ := strings.Cut(s, ":")
		i := strings.LastIndex(rest, ":")
		if i < 0 {
			continue
		}
		repo := rest[:i]
		actions := slices.DeleteFunc(strings.Split(rest[i+1:], ","), func(action string) bool {
			return !u.may(user, kind, repo, action)
		})
		out = append(out, &token.ResourceActions{Type: kind, Name: repo, Actions: actions})
	}
	return out
}

// may reports whether the user, "" for everybody, may do the action.
func (u *authority) may(user, kind, repo, action string) bool {
	switch {
	case user == "":
		return u.Anonymous && kind == "repository" && action == "pull"
	case u.Allow == nil || kind != "repository":
		return true
	}
	return u.Allow(user, repo, action)
}

// issue makes a token and remembers it.
func (u *authority) issue(user string, access []*token.ResourceActions) (string, error) {
	now := time.Now()
	end := now.Add(u.TokenLife)
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails
	raw, err := jwt.Signed(u.sign).Claims(token.ClaimSet{
		Issuer: issuer, Subject: user, Audience: token.AudienceList{service},
		Expiration: end.Unix() + 1, NotBefore: now.Unix(), IssuedAt: now.Unix(),
		JWTID: hex.EncodeToString(id), Access: access,
	}).Serialize()
	if err != nil {
		return "", err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for t, e := range u.valid {
		if now.After(e) {
			delete(u.valid, t)
		}
	}
	u.valid[raw] = end
	return raw, nil
}

// refuse answers with an error in the registry's format.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"errors": []map[string]string{{"code": code, "message": message}},
	})
}
