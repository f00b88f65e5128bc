package registry_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

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
