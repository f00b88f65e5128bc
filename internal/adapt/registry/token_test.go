package registry_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// tokenServer is a registry whose tokens are plain: "t" and a number. It gives
// no more of them than there are.
type tokenServer struct {
	next      http.Handler
	life      int // seconds; 0: not said
	key       string
	mu        sync.Mutex
	tokens    int
	requests  []string
	forms     []string
	accepted  func(auth string) bool
	challenge string
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.URL.Path == "/token" {
		_ = q.ParseForm()
		s.tokens++
		s.requests = append(s.requests, q.Method+" "+strings.Join(q.Form["scope"], " "))
		s.forms = append(s.forms, q.PostForm.Encode())
		key := s.key
		if key == "" {
			key = "token"
		}
		fmt.Fprintf(w, `{%q: "t%d-secret"`, key, s.tokens)
		if s.life > 0 {
			fmt.Fprintf(w, `, "expires_in": %d`, s.life)
		}
		fmt.Fprint(w, "}")
		return
	}
	ok := strings.HasPrefix(q.Header.Get("Authorization"), "Bearer t")
	if s.accepted != nil {
		ok = s.accepted(q.Header.Get("Authorization"))
	}
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+remote+`/token",service="s"`+s.challenge)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.next.ServeHTTP(w, q)
}

// A token is not used after its time, so that no request is wasted on it.
func TestTokenEnds(t *testing.T) {
	for _, key := range []string{"token", "access_token"} {
		t.Run(key, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				ts := &tokenServer{next: w.back.next, life: 60, key: key}
				w.back.next = ts
				for range 20 {
					if _, err := w.store.Stat(t.Context(), remote+"/a/b:x"); err != nil {
						t.Fatal(err)
					}
					time.Sleep(10 * time.Second) // of the test's own time
				}
				if ts.tokens != 4 {
					t.Errorf("%d tokens in 200 s, each for 60 s and used for 54", ts.tokens)
				}
				heads := 0
				for _, s := range w.front.take() {
					if s.method == http.MethodHead {
						heads++
					}
				}
				if heads != 20 {
					t.Errorf("%d looks, want 20", heads)
				}
			})
		})
	}
}

// An identity token is exchanged, a registry token is used as it is.
func TestOtherTokens(t *testing.T) {
	for _, tt := range []struct {
		name, identity, registry string
		form                     string
		tokens                   int
	}{
		{"identity token", "refresh-me", "", "client_id=go-containerregistry&grant_type=refresh_token&refresh_token=refresh-me&scope=repository%3Aa%2Fb%3Apull&service=s", 1},
		{"registry token", "", "t-given", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				ts := &tokenServer{next: w.back.next}
				w.back.next = ts
				o := w.options
				o.Credentials = func(context.Context, string, string, bool) (string, string, string, string, error) {
					return "", "", tt.identity, tt.registry, nil
				}
				s := client(t, o)
				if _, err := s.Stat(t.Context(), remote+"/a/b:x"); err != nil {
					t.Fatal(err)
				}
				if ts.tokens != tt.tokens || tt.tokens > 0 && ts.forms[0] != tt.form {
					t.Errorf("%d tokens, forms %q", ts.tokens, ts.forms)
				}
			})
		})
	}
}

// A registry token that is refused is refused for good: there is no other.
func TestRegistryTokenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ts := &tokenServer{next: w.back.next, accepted: func(string) bool { return false }}
		w.back.next = ts
		o := w.options
		o.Credentials = func(context.Context, string, string, bool) (string, string, string, string, error) {
			return "", "", "", "given-secret", nil
		}
		_, err := client(t, o).Stat(t.Context(), remote+"/a/b:x")
		if diag.KindOf(err) != diag.Infra || err == nil || strings.Contains(err.Error(), "given") {
			t.Errorf("error %v", err)
		}
		if n := len(w.front.take()); n != 1 || ts.tokens != 0 {
			t.Errorf("%d requests, %d tokens", n, ts.tokens)
		}
	})
}

// When a challenge names a scope that was not asked for, it is asked for.
func TestChallengeScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ts := &tokenServer{next: w.back.next, challenge: `,scope="repository:a/b:pull,inspect"`}
		ts.accepted = func(auth string) bool { return auth == "Bearer t2-secret" }
		w.back.next = ts
		if _, err := w.store.Stat(t.Context(), remote+"/a/b:x"); err != nil {
			t.Fatal(err)
		}
		want := []string{"GET repository:a/b:pull", "GET repository:a/b:pull repository:a/b:pull,inspect"}
		if d := cmp.Diff(want, ts.requests); d != "" {
			t.Errorf("token requests (-want +got):\n%s", d)
		}
	})
	for _, tt := range []struct {
		name, challenge string
		tokens          []int // after each look
	}{
		// Another token may do, but not for ever.
		{"in vain", `,scope="repository:a/b:pull"`, []int{6, 7}},
		{"not allowed", `,scope="repository:a/b:pull",error="insufficient_scope"`, []int{1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				ts := &tokenServer{next: w.back.next, challenge: tt.challenge, accepted: func(string) bool { return false }}
				w.back.next = ts
				for _, want := range tt.tokens {
					if _, err := w.store.Stat(t.Context(), remote+"/a/b:x"); diag.KindOf(err) != diag.Infra || err == nil {
						t.Errorf("error %v", err)
					}
					if ts.tokens != want {
						t.Errorf("%d tokens, want %d", ts.tokens, want)
					}
				}
			})
		})
	}
}

// A fresh token that is refused in passing costs another one.
func TestFreshTokenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ts := &tokenServer{next: w.back.next, accepted: func(auth string) bool { return auth == "Bearer t2-secret" }}
		w.back.next = ts
		for i := range 2 {
			if _, err := w.store.Stat(t.Context(), remote+"/a/b:x"); err != nil || ts.tokens != 2 {
				t.Fatalf("look %d: %d tokens, %v", i, ts.tokens, err)
			}
		}
	})
}

// A token server may be anywhere, but a private address is trusted only when it
// is the registry's own, and plain HTTP only when the registry speaks it.
func TestWhereTokensAreAskedFor(t *testing.T) {
	for _, tt := range []struct {
		name, host, realm string
		ok                bool
	}{
		{"same", "registry.example.com:80", "http://registry.example.com:80/token", true},
		{"elsewhere", "registry.example.com:80", "http://auth.example.com:80/token", true},
		{"same machine, other port", "10.1.2.3:80", "http://10.1.2.3:81/token", true},
		{"other private address", "registry.example.com:80", "http://169.254.169.254:80/token", false},
		{"no URL", "registry.example.com:80", "file:///etc/passwd", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				back := memory()
				h := http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
					switch {
					case q.URL.Path == "/token":
						fmt.Fprint(rw, `{"token":"t1"}`)
					case q.Header.Get("Authorization") != "Bearer t1":
						rw.Header().Set("WWW-Authenticate", `Bearer realm="`+tt.realm+`",service="s"`)
						rw.WriteHeader(http.StatusUnauthorized)
					default:
						back.ServeHTTP(rw, q)
					}
				})
				n.serve(tt.host, h)
				server := &recorder{next: h}
				for _, addr := range []string{"auth.example.com:80", "10.1.2.3:81", "169.254.169.254:80"} {
					n.serve(addr, server)
				}
				o := registry.Options{Dial: n.dial, Credentials: login}
				for _, host := range []string{tt.host, "auth.example.com:80", "10.1.2.3:81", "169.254.169.254:80"} {
					o.Registries = append(o.Registries, fleet.Registry{Host: host, HTTP: true})
				}
				_, err := client(t, o).Stat(t.Context(), tt.host+"/a/b:x")
				if (err == nil) != tt.ok {
					t.Errorf("error %v", err)
				}
				if !tt.ok && (!strings.Contains(err.Error(), "cannot be trusted") || len(server.take()) != 0) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

// Token servers fail like registries do.
func TestTokenServerFails(t *testing.T) {
	for name, fail := range map[string]http.HandlerFunc{
		"too many": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"token": "t1-se`)) },
		"error":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				ts := &tokenServer{next: w.back.next}
				var failed atomic.Int32
				w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
					if q.URL.Path == "/token" && failed.Add(1) <= 2 {
						fail(rw, q)
						return
					}
					ts.ServeHTTP(rw, q)
				})
				if _, err := w.store.Stat(t.Context(), remote+"/a/b:x"); err != nil {
					t.Fatal(err)
				}
				if n := w.store.Totals().Retries; n != 2 {
					t.Errorf("%d retries", n)
				}
			})
		})
	}
}

// What a token server sends instead of a token may be a secret.
func TestTokenServerTalksNonsense(t *testing.T) {
	for _, answer := range []string{`{"refresh_token": "hunter2"}`, `{"token": hunter2`, ``, `[]`} {
		t.Run(answer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				ts := &tokenServer{next: w.back.next}
				w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
					if q.URL.Path == "/token" {
						fmt.Fprint(rw, answer)
						return
					}
					ts.ServeHTTP(rw, q)
				})
				_, err := w.store.Stat(t.Context(), remote+"/a/b:x")
				if err == nil || diag.KindOf(err) != diag.Infra || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}
