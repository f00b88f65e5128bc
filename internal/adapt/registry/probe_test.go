package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// quirk is a registry's own way of answering; it reports whether it has.
type quirk func(w http.ResponseWriter, q *http.Request) bool

func answers(status int, text, method, part string) quirk {
	return func(w http.ResponseWriter, q *http.Request) bool {
		if q.Method != method || !strings.Contains(q.URL.RequestURI(), part) {
			return false
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
		return true
	}
}

func without(parameter string) quirk {
	return func(_ http.ResponseWriter, q *http.Request) bool {
		if v := q.URL.Query(); v.Has(parameter) && q.Method == http.MethodPost {
			q.URL.RawQuery = ""
		}
		return false
	}
}

// hush takes a header out of the answers to a method.
type hush struct {
	http.ResponseWriter
	name string
}

func (h hush) WriteHeader(code int) {
	h.Header().Del(h.name)
	h.ResponseWriter.WriteHeader(code)
}

func TestProbe(t *testing.T) {
	t.Parallel()
	const denied = `{"errors":[{"code":"DENIED","message":"no"}]}`
	all := []string{"reach", "login", "list", "push", "post", "chunks", "ranges", "mount", "oci", "digest", "retag", "delete"}
	both := []string{"the empty repository HOST/team/agent, if the registry keeps such", "the empty repository HOST/team/agent-doctor, if the registry keeps such"}
	for name, tt := range map[string]struct {
		auth  *localregistry.Auth
		quirk quirk
		wrap  func(http.Handler) http.Handler
		// lacks are the abilities that are not there, seen all that were tried.
		lacks, seen []string
		help        string // of the first one that lacks
		left        []string
		cannot      bool
	}{
		"everything":         {seen: all, left: both},
		"with tokens":        {auth: &localregistry.Auth{Users: map[string]string{userName: password}, Token: true}, seen: all, left: both},
		"with a password":    {auth: &localregistry.Auth{Users: map[string]string{userName: password}}, seen: all, left: both},
		"the wrong password": {auth: &localregistry.Auth{Users: map[string]string{userName: "other"}, Token: true}, lacks: []string{"login"}, seen: all[:2], help: "docker login", cannot: true},
		"pull only": {auth: &localregistry.Auth{Users: map[string]string{userName: password}, Token: true, Allow: func(_, _, action string) bool { return action == "pull" }},
			lacks: []string{"push"}, seen: all[:4], help: "docker login", cannot: true},
		"push to one repository": {auth: &localregistry.Auth{Users: map[string]string{userName: password}, Token: true, Allow: func(_, repo, _ string) bool { return repo == "team/agent" }},
			lacks: []string{"mount"}, seen: all, help: "one repository", left: both[:1]},
		"no deletion": {auth: &localregistry.Auth{Users: map[string]string{userName: password}, Token: true, Allow: func(_, _, action string) bool { return action != "delete" }},
			lacks: []string{"delete"}, seen: all, left: append([]string{"manifest HOST/team/agent@DIGEST", "manifest HOST/team/agent@DIGEST", "blob HOST/team/agent-doctor@DIGEST", "blob HOST/team/agent@DIGEST", "blob HOST/team/agent@DIGEST"}, both...)},
		"made first":        {quirk: answers(404, `{"errors":[{"code":"NAME_UNKNOWN"}]}`, "POST", "/v2/team/agent/blobs/uploads/"), lacks: []string{"push"}, seen: all[:4], help: "make the repository team/agent", cannot: true},
		"the other first":   {quirk: answers(404, `{"errors":[{"code":"NAME_UNKNOWN"}]}`, "POST", "/v2/team/agent-doctor/blobs/uploads/"), lacks: []string{"mount"}, seen: all, help: "one repository", left: both[:1]},
		"two requests":      {lacks: []string{"post"}, seen: all, help: "two are what", left: both},
		"one request":       {wrap: oneRequest, lacks: []string{"none of them"}, seen: all, left: both},
		"no pieces":         {quirk: answers(405, "", "PATCH", ""), lacks: []string{"chunks"}, seen: all, help: "sent whole", left: both},
		"mounts not done":   {quirk: without("mount"), lacks: []string{"mount"}, seen: all, help: "one repository", left: both},
		"mounts refused":    {quirk: answers(405, "", "POST", "mount="), lacks: []string{"mount"}, seen: all, left: both[:1]},
		"no list":           {quirk: answers(405, "", "GET", "tags/list"), lacks: []string{"list"}, seen: all},
		"immutable":         {wrap: func(h http.Handler) http.Handler { return immutable(h, refusal{409, denied}) }, lacks: []string{"retag"}, seen: all, help: "another tag", left: both},
		"Docker types only": {wrap: dockerOnly, lacks: []string{"oci"}, seen: all, help: "mediaTypes: docker", left: both},
		"no manifests":      {quirk: answers(400, denied, "PUT", "/manifests/"), lacks: []string{"oci"}, seen: append(append([]string{}, all[:9]...), "delete"), left: both, cannot: true},
		"no digest": {wrap: func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				h.ServeHTTP(hush{w, "Docker-Content-Digest"}, q)
			})
		}, lacks: []string{"digest"}, seen: all, left: both},
		"no ranges": {wrap: func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { q.Header.Del("Range"); h.ServeHTTP(w, q) })
		}, lacks: []string{"ranges"}, seen: all, left: both},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			digests := map[graph.Digest]bool{}
			r := local(t, localregistry.Options{Auth: tt.auth, Middleware: func(next http.Handler) http.Handler {
				if tt.wrap != nil {
					next = tt.wrap(next)
				}
				return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
					mu.Lock()
					if d := graph.Digest(q.URL.Query().Get("digest")); d != "" {
						digests[d] = true
					}
					mu.Unlock()
					w.Header().Set("X-RateLimit-Limit", "100;w=60")
					if tt.quirk == nil || !tt.quirk(w, q) {
						next.ServeHTTP(w, q)
					}
				})
			}})
			o := registry.Options{Facts: t.TempDir()}
			if tt.auth != nil {
				o.Credentials = login
			}
			s := client(t, o)
			p, err := s.Probe(t.Context(), r.Host()+"/team/agent")
			if err != nil {
				t.Fatal(err)
			}
			var seen, lacks, helps []string
			for _, a := range p.Abilities {
				seen = append(seen, a.Name)
				if a.Found == "" || strings.Contains(a.Found, password) {
					t.Errorf("%s: found %q", a.Name, a.Found)
				}
				if !a.OK {
					lacks, helps = append(lacks, a.Name), append(helps, a.Help)
				}
			}
			if d := cmp.Diff(tt.seen, seen); d != "" {
				t.Errorf("abilities (-want +got):\n%s", d)
			}
			if i := slices.Index(lacks, "post"); i >= 0 && name != "two requests" {
				// The reference implementation wants two.
				lacks, helps = slices.Delete(lacks, i, i+1), slices.Delete(helps, i, i+1)
			} else if i < 0 && name == "one request" {
				lacks = append(lacks, "none of them")
			}
			if d := cmp.Diff(append([]string{}, tt.lacks...), append([]string{}, lacks...)); d != "" {
				t.Errorf("what lacks (-want +got):\n%s%+v", d, p.Abilities)
			}
			if tt.help != "" && !strings.Contains(strings.Join(helps, "\n"), tt.help) {
				t.Errorf("help %q", helps)
			}
			if p.Can() == tt.cannot {
				t.Errorf("can publish: %t", p.Can())
			}
			left := []string{}
			for _, l := range p.Left {
				l = strings.ReplaceAll(l, r.Host(), "HOST")
				if i := strings.Index(l, "sha256:"); i >= 0 {
					l = l[:i] + "DIGEST"
				}
				left = append(left, l)
			}
			if d := cmp.Diff(append([]string{}, tt.left...), left); d != "" {
				t.Errorf("left (-want +got):\n%s", d)
			}
			if len(seen) == len(all) && (p.HeadSeconds == nil) != (len(lacks) > 0 && lacks[0] == "digest") {
				t.Errorf("time of a HEAD: %v", p.HeadSeconds)
			}
			if len(seen) > 2 && p.Limits["X-Ratelimit-Limit"] != "100;w=60" {
				t.Errorf("limits %v", p.Limits)
			}
			if name != "no deletion" {
				isGone(t, s, r.Host(), digests)
			}
		})
	}
}

// dockerOnly refuses OCI's media types.
func dockerOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodPut && strings.Contains(q.Header.Get("Content-Type"), "oci") {
			w.WriteHeader(http.StatusUnsupportedMediaType)
			return
		}
		next.ServeHTTP(w, q)
	})
}

// oneRequest takes a blob with the request that opens an upload.
func oneRequest(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		d := q.URL.Query().Get("digest")
		if q.Method != http.MethodPost || d == "" {
			next.ServeHTTP(w, q)
			return
		}
		opened := httptest.NewRecorder()
		next.ServeHTTP(opened, httptest.NewRequestWithContext(q.Context(), http.MethodPost, q.URL.Path, nil))
		put := httptest.NewRequestWithContext(q.Context(), http.MethodPut, opened.Header().Get("Location")+"&digest="+d, q.Body)
		put.Header = q.Header
		next.ServeHTTP(w, put)
	})
}

// isGone holds that neither tags nor blobs are left.
func isGone(t *testing.T, s *registry.Store, host string, digests map[graph.Digest]bool) {
	t.Helper()
	for _, repo := range []string{"/team/agent", "/team/agent-doctor"} {
		if tags, err := s.Tags(t.Context(), host+repo); len(tags) != 0 {
			t.Errorf("%s has tags %v, %v", repo, tags, err)
		}
		for d := range digests {
			if _, err := s.Blob(t.Context(), host+repo, d, 1<<20); err == nil {
				t.Errorf("%s still has %s", repo, d)
			}
		}
	}
}

// A probe is kept in the facts folder, and may be made as often as one likes.
func TestProbeIsKept(t *testing.T) {
	t.Parallel()
	r := local(t, localregistry.Options{})
	dir := t.TempDir()
	s := client(t, registry.Options{Facts: dir})
	for i := range 2 {
		p, err := s.Probe(t.Context(), r.Host()+"/team/agent")
		if err != nil || !p.Can() {
			t.Fatalf("%v: %+v", err, p)
		}
		// With tags it is known that there is a repository.
		if len(p.Left) != 2-i {
			t.Errorf("probe %d left %v", i, p.Left)
		}
		if want := s.Totals().Hosts[r.Host()]; i == 0 && p.Requests != want {
			t.Errorf("%d requests, not %d", p.Requests, want)
		}
		data, err := os.ReadFile(filepath.Join(dir, "probe", strings.ReplaceAll(r.Host(), ":", "_")+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var kept registry.Probed
		if err := json.Unmarshal(data, &kept); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(*p, kept); d != "" {
			t.Errorf("kept (-want +got):\n%s", d)
		}
	}
}

// What was pushed goes, even when the probe is interrupted.
func TestProbeInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var mu sync.Mutex
	digests := map[graph.Digest]bool{}
	r := local(t, localregistry.Options{Middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			mu.Lock()
			if d := graph.Digest(q.URL.Query().Get("digest")); d != "" {
				digests[d] = true
			}
			mu.Unlock()
			if q.Method == http.MethodHead {
				cancel(errors.New("that is enough"))
			}
			next.ServeHTTP(w, q)
		})
	}})
	s := client(t, registry.Options{})
	_, err := s.Probe(ctx, r.Host()+"/team/agent")
	if diag.KindOf(err) != diag.Interrupted || !strings.Contains(fmt.Sprint(err), "that is enough") {
		t.Errorf("ended with %v", err)
	}
	isGone(t, s, r.Host(), digests)
}

func TestProbeWithoutRegistry(t *testing.T) {
	t.Parallel()
	s := client(t, registry.Options{Limits: nil})
	p, err := s.Probe(t.Context(), "127.0.0.1:1/team/agent")
	if err != nil || p.Can() || len(p.Abilities) != 1 || p.Abilities[0].Help == "" || len(p.Left) != 0 {
		t.Errorf("%v: %+v", err, p)
	}
	if _, err := s.Probe(t.Context(), "Not A Reference"); diag.KindOf(err) != diag.File {
		t.Errorf("%v", err)
	}
}
