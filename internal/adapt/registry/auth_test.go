package registry_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry/storetest"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// One version check per host, one token per repository and purpose, and none
// where none is needed.
func TestTokens(t *testing.T) {
	users := map[string]string{userName: password}
	for _, tt := range []struct {
		name   string
		auth   *localregistry.Auth
		tokens int64
	}{
		{"anonymous", nil, 0},
		{"basic", &localregistry.Auth{Users: users}, 0},
		// One to publish the bases with for each of 10, one to look at each, one
		// to mount from each, which then serves for the rest.
		{"token", &localregistry.Auth{Users: users, Token: true}, 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := local(t, localregistry.Options{Auth: tt.auth})
			s := client(t, registry.Options{Credentials: login})
			target := r.Host() + "/agents"
			im := storetest.NewImage("im", 1, false, "v1:k")
			for i := range 10 {
				storetest.Apply(t, s, im.Ops(fmt.Sprintf("%s/base/%d", r.Host(), i), "1")...)
			}
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() {
					base := fmt.Sprintf("%s/base/%d", r.Host(), i)
					if _, err := s.Resolve(t.Context(), base+":1", "linux/amd64"); err != nil {
						t.Error(err)
					}
					for _, op := range []plan.Op{storetest.Bring(plan.OpMount, target, base, im.Layers[0]),
						storetest.Upload(target, storetest.OCIConfig, im.Config), storetest.Put(target, fmt.Sprint(i), im.MediaType, im.Manifest)} {
						if _, err := s.Apply(t.Context(), op); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			got := r.Requests()
			// What does not need a token by user and password is asked by GET, and
			// before any request with a body.
			if got["GET base"] != 1 || got["GET token"] != tt.tokens || got["POST token"] != 0 {
				t.Errorf("requests %v, want 1 base and %d tokens", got, tt.tokens)
			}
			var sum, counted int64
			for _, n := range got {
				sum += n
			}
			for _, n := range s.Totals().Hosts {
				counted += n
			}
			if sum != counted {
				t.Errorf("the registry saw %d requests, the store counts %d", sum, counted)
			}
		})
	}
}

// A token that is refused after it served is replaced, once for all who hold it.
func TestRevokedTokens(t *testing.T) {
	r := local(t, localregistry.Options{Auth: &localregistry.Auth{Users: map[string]string{userName: password}, Token: true}})
	s := client(t, registry.Options{Credentials: login})
	repo := r.Host() + "/a/b"
	im := storetest.NewImage("im", 1, false, "")
	storetest.Apply(t, s, im.Ops(repo, "1")...)
	if _, err := s.Stat(t.Context(), repo+":1"); err != nil {
		t.Fatal(err)
	}
	r.RevokeTokens()
	r.Reset()
	if _, err := s.Stat(t.Context(), repo+":1"); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(map[string]int64{"HEAD manifest": 2, "GET token": 1}, r.Requests()); d != "" {
		t.Errorf("requests for a look (-want +got):\n%s", d)
	}
	for _, op := range []plan.Op{storetest.Put(repo, "2", im.MediaType, im.Manifest), storetest.Upload(repo, storetest.OCILayer, []byte("other"))} {
		r.RevokeTokens()
		r.Reset()
		storetest.Apply(t, s, op)
		if n := r.Requests()["GET token"]; n != 1 {
			t.Errorf("%s: requests %v", op.Kind, r.Requests())
		}
	}
	other := r.Host() + "/c/d"
	storetest.Apply(t, s, storetest.Upload(other, storetest.OCILayer, []byte("x")))
	r.RevokeTokens()
	storetest.Apply(t, s, storetest.Bring(plan.OpCopy, other, repo, im.Layers[0]))
	if _, err := s.Blob(t.Context(), other, storetest.Sum(im.Layers[0]), 1<<20); err != nil {
		t.Error(err)
	}
	if n := s.Totals().Retries; n != 0 {
		t.Errorf("%d retries: a new token is none", n)
	}
}

// A token that ends while a blob is on its way costs another one, and a copy its
// second beginning.
func TestTokenEndsWithinUpload(t *testing.T) {
	for _, kind := range []plan.OpKind{plan.OpUpload, plan.OpCopy} {
		t.Run(string(kind), func(t *testing.T) {
			var r *localregistry.Registry
			var once sync.Once
			r = local(t, localregistry.Options{
				Auth: &localregistry.Auth{Users: map[string]string{userName: password}, Token: true},
				Middleware: func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
						if q.Method == http.MethodPut && strings.Contains(q.URL.Path, "/agents/blobs/uploads/") {
							once.Do(func() { r.RevokeTokens() })
						}
						next.ServeHTTP(w, q)
					})
				},
			})
			s := client(t, registry.Options{Credentials: login})
			im := storetest.NewImage("im", 1, false, "")
			base, target := r.Host()+"/base", r.Host()+"/agents"
			storetest.Apply(t, s, im.Ops(base, "1")...)
			op := storetest.Upload(target, storetest.OCILayer, im.Layers[0])
			want := map[string]int64{"POST upload": 1, "PUT upload": 2, "GET token": 2}
			if kind == plan.OpCopy {
				op = storetest.Bring(kind, target, base, im.Layers[0])
				if _, err := s.Blob(t.Context(), base, op.Digest, 1<<20); err != nil {
					t.Fatal(err)
				}
				// The source's token may or may not serve before the end.
				want = map[string]int64{"POST mount": 2, "PUT upload": 2}
			}
			r.Reset()
			storetest.Apply(t, s, op)
			got := r.Requests()
			if kind == plan.OpCopy {
				delete(got, "GET token")
				delete(got, "GET blob")
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("requests (-want +got):\n%s", d)
			}
			if _, err := s.Blob(t.Context(), target, op.Digest, 1<<20); err != nil {
				t.Error(err)
			}
		})
	}
}

// A registry token is sent to a registry that asks for a password too.
func TestRegistryTokenForBasic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		inner := w.back.next
		w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
			if q.Header.Get("Authorization") != "Bearer given" {
				rw.Header().Set("WWW-Authenticate", `Basic realm="r"`)
				rw.WriteHeader(http.StatusUnauthorized)
				return
			}
			inner.ServeHTTP(rw, q)
		})
		o := w.options
		o.Credentials = func(context.Context, string, string, bool) (string, string, string, string, error) {
			return "", "", "", "given", nil
		}
		if _, err := client(t, o).Stat(t.Context(), remote+"/a/b:x"); err != nil {
			t.Error(err)
		}
	})
}

func TestWrongPassword(t *testing.T) {
	for _, tt := range []struct {
		name  string
		token bool
	}{{"basic", false}, {"token", true}} {
		t.Run(tt.name, func(t *testing.T) {
			r := local(t, localregistry.Options{Auth: &localregistry.Auth{Users: map[string]string{userName: password}, Token: tt.token}})
			wrong := func(context.Context, string, string, bool) (string, string, string, string, error) {
				return userName, "wr0ng", "", "", nil
			}
			s := client(t, registry.Options{Credentials: wrong})
			im := storetest.NewImage("im", 1, false, "")
			_, pull := s.Resolve(t.Context(), r.Host()+"/a/b:1", "linux/amd64")
			_, stat := s.Stat(t.Context(), r.Host()+"/a/b:1")
			_, tags := s.Tags(t.Context(), r.Host()+"/a/b")
			_, push := s.Apply(t.Context(), storetest.Upload(r.Host()+"/a/b", storetest.OCILayer, im.Layers[0]))
			for verb, err := range map[string]error{"pull": pull, "pull ": stat, "pull  ": tags, "push": push} {
				if err == nil || diag.KindOf(err) != diag.Infra {
					t.Errorf("%s: error %v of kind %v", verb, err, diag.KindOf(err))
				}
				help := diag.HelpOf(err)
				if !strings.Contains(help, "docker login "+r.Host()) || !strings.Contains(help, strings.TrimSpace(verb)+" under registries") {
					t.Errorf("%s: help %q", verb, help)
				}
				if errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrNoTagList) {
					t.Errorf("%s: %v counts as an answer", verb, err)
				}
				if strings.Contains(err.Error()+help, "wr0ng") {
					t.Errorf("%s: %v shows the password", verb, err)
				}
			}
			if n := s.Totals().Retries; n != 0 {
				t.Errorf("%d retries", n)
			}
		})
	}
}

func TestCredentialsFail(t *testing.T) {
	r := local(t, localregistry.Options{Auth: &localregistry.Auth{Users: map[string]string{userName: password}}})
	want := diag.Errorf(diag.Usage, "set it", "no variable")
	s := client(t, registry.Options{Credentials: func(context.Context, string, string, bool) (string, string, string, string, error) {
		return "", "", "", "", want
	}})
	if _, err := s.Stat(t.Context(), r.Host()+"/a/b:1"); !errors.Is(err, want) || diag.KindOf(err) != diag.Usage {
		t.Errorf("error %v of kind %v", err, diag.KindOf(err))
	}
}

// Pulling and pushing may need different users. Who may push to the target but
// not read the source mounts nothing, and copies with the other user's rights.
func TestPullAndPushUsers(t *testing.T) {
	for _, token := range []bool{false, true} {
		t.Run(fmt.Sprintf("token %v", token), func(t *testing.T) {
			r := local(t, localregistry.Options{Auth: &localregistry.Auth{
				Users: map[string]string{"admin": "a", "reader": "r", "writer": "w"}, Token: token,
				Allow: func(user, repo, action string) bool {
					switch user {
					case "reader":
						return action == "pull" && strings.HasPrefix(repo, "base/")
					case "writer":
						return strings.HasPrefix(repo, "agents/")
					}
					return true
				},
			}})
			im := storetest.NewImage("im", 1, false, "")
			base, target := r.Host()+"/base/one", r.Host()+"/agents/app"
			admin := client(t, registry.Options{Credentials: func(context.Context, string, string, bool) (string, string, string, string, error) {
				return "admin", "a", "", "", nil
			}})
			storetest.Apply(t, admin, im.Ops(base, "1")...)
			s := client(t, registry.Options{Credentials: func(_ context.Context, _, _ string, push bool) (string, string, string, string, error) {
				if push {
					return "writer", "w", "", "", nil
				}
				return "reader", "r", "", "", nil
			}})
			if _, err := s.Resolve(t.Context(), base+":1", "linux/amd64"); err != nil {
				t.Fatal(err)
			}
			out, err := s.Apply(t.Context(), storetest.Bring(plan.OpMount, target, base, im.Layers[0]))
			if err != nil || out.Did != plan.OpCopy || s.Totals().MountsRefused != 1 {
				t.Errorf("mount became %v, error %v, %d refused", out, err, s.Totals().MountsRefused)
			}
			_, err = s.Apply(t.Context(), storetest.Upload(base, storetest.OCILayer, []byte("x")))
			if diag.KindOf(err) != diag.Infra || !strings.Contains(diag.HelpOf(err), "push under registries") {
				t.Errorf("push where only pulling is allowed: %v, help %q", err, diag.HelpOf(err))
			}
		})
	}
}

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

// A registry that echoes what it was sent does not make us show it.
func TestEchoedSecrets(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte(userName + ":" + password))
	for _, tt := range []struct {
		name   string
		status int
	}{{"refused", 403}, {"failed", 500}, {"unauthorized", 401}, {"bad", 400}} {
		for _, scheme := range []string{"Basic", "Bearer"} {
			t.Run(tt.name+"/"+scheme, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
						switch {
						case q.URL.Path == "/token":
							fmt.Fprint(rw, `{"token":"t1-secret"}`)
						case q.Header.Get("Authorization") == "":
							rw.Header().Set("WWW-Authenticate", scheme+` realm="http://`+remote+`/token",service="s"`)
							rw.WriteHeader(http.StatusUnauthorized)
						default:
							rw.WriteHeader(tt.status)
							_, pass, _ := q.BasicAuth()
							fmt.Fprintf(rw, `{"errors":[{"code":"DENIED","message":"you sent %s, that is %s, to %s"}]}`, q.Header.Get("Authorization"), pass, q.URL.Path)
						}
					})
					o := w.options
					o.Credentials = login
					s := client(t, o)
					_, stat := s.Tags(t.Context(), remote+"/a/b")
					_, push := s.Apply(t.Context(), storetest.Upload(remote+"/a/b", storetest.OCILayer, []byte("x")))
					for _, err := range []error{stat, push} {
						if err == nil {
							t.Fatal("no error")
						}
						for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
							for _, secret := range []string{password, basic, "t1-secret"} {
								if strings.Contains(text, secret) {
									t.Errorf("%s shows %s", text, secret)
								}
							}
						}
						if !strings.Contains(err.Error(), fmt.Sprint(tt.status)) || !strings.Contains(err.Error(), "(hidden)") {
							t.Errorf("error %v says too little", err)
						}
					}
				})
			})
		}
	}
}

// Credentials do not follow a redirect or a location to another host.
func TestCredentialsStayAtHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cdn = "registry.example.com:6000" // another port is another host
		w := newWorld(t)
		im := storetest.NewImage("im", 1, false, "")
		storetest.Apply(t, w.direct(), im.Ops(remote+"/a/b", "1")...)
		inner := w.back.next
		away := &recorder{next: inner}
		w.net.serve(cdn, away)
		w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
			_, _, ok := q.BasicAuth()
			switch {
			case !ok:
				rw.Header().Set("WWW-Authenticate", `Basic realm="r"`)
				rw.WriteHeader(http.StatusUnauthorized)
			case q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/"):
				http.Redirect(rw, q, "http://"+cdn+q.URL.Path+"?signature=xyz", http.StatusTemporaryRedirect)
			case q.Method == http.MethodPost:
				rec := &located{ResponseWriter: rw, to: "http://" + cdn}
				inner.ServeHTTP(rec, q)
			default:
				inner.ServeHTTP(rw, q)
			}
		})
		o := w.options
		o.Credentials = login
		s := client(t, o)
		data, err := s.Blob(t.Context(), remote+"/a/b", storetest.Sum(im.Layers[0]), 1<<20)
		if err != nil || len(data) != len(im.Layers[0]) {
			t.Fatal(err)
		}
		storetest.Apply(t, s, storetest.Upload(remote+"/a/b", storetest.OCILayer, []byte("new")))
		log := away.take()
		if len(log) != 2 {
			t.Errorf("%d requests to the other host", len(log))
		}
		for _, r := range log {
			if r.auth != "" {
				t.Errorf("%s %s carries credentials", r.method, r.path)
			}
		}
		if got := s.Totals().Hosts; got[cdn] != 2 || got[remote] != 3 {
			t.Errorf("counted %v", got)
		}
	})
}

// located makes locations absolute.
type located struct {
	http.ResponseWriter
	to string
}

func (l *located) WriteHeader(status int) {
	if loc := l.Header().Get("Location"); strings.HasPrefix(loc, "/") {
		l.Header().Set("Location", l.to+loc+"?_state=signed")
	}
	l.ResponseWriter.WriteHeader(status)
}

// An error does not show the signature in a location.
func TestSignaturesStayHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cdn = "storage.example.com:80"
		w := newWorld(t)
		inner := w.back.next
		w.net.serve(cdn, http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) { panic(http.ErrAbortHandler) }))
		w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
			inner.ServeHTTP(&located{ResponseWriter: rw, to: "http://" + cdn}, q)
		})
		_, err := w.store.Apply(t.Context(), storetest.Upload(remote+"/a/b", storetest.OCILayer, []byte("new")))
		if err == nil || strings.Contains(err.Error(), "signed") {
			t.Errorf("error %v", err)
		}
	})
}

// Docker Hub has one name in references and others for its API and tokens.
func TestDockerHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		front := &recorder{next: memory()}
		n.serve("registry-1.docker.io:80", front)
		s := client(t, registry.Options{Dial: n.dial, Registries: []fleet.Registry{{Host: "docker.io", HTTP: true}}})
		for _, ref := range []string{"docker.io/library/debian:12", "docker.io/debian:12", "index.docker.io/library/debian:12", "debian:12", "debian"} {
			if tag, err := s.Stat(t.Context(), ref); err != nil || tag.Exists {
				t.Errorf("%s: %v, %v", ref, tag, err)
			}
		}
		var paths []string
		for _, r := range front.take() {
			paths = append(paths, r.path)
		}
		slices.Sort(paths)
		if d := cmp.Diff([]string{"/v2/library/debian/manifests/12", "/v2/library/debian/manifests/latest"}, slices.Compact(paths)); d != "" {
			t.Errorf("paths (-want +got):\n%s", d)
		}
		if got := s.Totals().Hosts; len(got) != 1 || got["docker.io"] != 6 {
			t.Errorf("counted %v", got)
		}
	})
}
