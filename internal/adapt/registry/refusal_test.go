package registry_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry/storetest"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// refusal is an answer that a registry gives to a manifest.
type refusal struct {
	status int
	body   string
}

// immutable refuses manifests for tags that exist.
func immutable(next http.Handler, r refusal) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodPut && strings.Contains(q.URL.Path, "/manifests/") && !strings.Contains(q.URL.Path, ":") {
			seen := &exists{}
			head := httptest.NewRequestWithContext(q.Context(), http.MethodHead, q.URL.Path, nil)
			head.Header.Set("Accept", storetest.OCIManifest)
			next.ServeHTTP(seen, head)
			if seen.code == 0 || seen.code == http.StatusOK {
				w.WriteHeader(r.status)
				_, _ = w.Write([]byte(r.body))
				return
			}
		}
		next.ServeHTTP(w, q)
	})
}

// exists is an answer of which only the status counts.
type exists struct{ code int }

func (e *exists) Header() http.Header         { return http.Header{} }
func (e *exists) Write(p []byte) (int, error) { return len(p), nil }
func (e *exists) WriteHeader(code int)        { e.code = code }

// A tag that cannot be changed is no trouble when it has the manifest already,
// and otherwise the error says what it has.
func TestImmutableTags(t *testing.T) {
	says := func(code, message string) string {
		return fmt.Sprintf(`{"errors":[{"code":%q,"message":%q}]}`, code, message)
	}
	for name, tt := range map[string]struct {
		refusal
		same, names bool
	}{
		"tag invalid":            {refusal{400, says("TAG_INVALID", "The image tag already exists and cannot be overwritten because the tag is immutable")}, true, true},
		"conflict":               {refusal{409, ""}, true, true},
		"precondition":           {refusal{412, says("PRECONDITION", "configured as immutable")}, true, true},
		"method not allowed":     {refusal{405, says("DENIED", "locked")}, true, true},
		"forbidden by a rule":    {refusal{403, says("DENIED", "protected tag")}, true, true},
		"forbidden":              {refusal{403, says("DENIED", "no push for you")}, true, false},
		"about the content":      {refusal{400, says("MANIFEST_INVALID", "no")}, false, false},
		"unauthorized":           {refusal{401, ""}, false, false},
		"too large":              {refusal{413, ""}, false, false},
		"a blob is not there":    {refusal{404, says("MANIFEST_BLOB_UNKNOWN", "no")}, false, false},
		"unprocessable, no text": {refusal{422, "<html>"}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				one, other := storetest.NewImage("one", 1, false, "v1:one"), storetest.NewImage("other", 1, false, "v1:other")
				storetest.Apply(t, w.direct(), one.Ops(remote+"/a/b", "1")...)
				w.back.next = immutable(w.back.next, tt.refusal)
				out, err := w.store.Apply(t.Context(), storetest.Put(remote+"/a/b", "1", storetest.OCIManifest, one.Manifest))
				if tt.same != (err == nil) || tt.same && out.Did != "" {
					t.Errorf("the same manifest: %v, %v", out, err)
				}
				n := 1
				if tt.same {
					n++
				}
				if got := len(w.front.take()); got != n {
					t.Errorf("the same manifest: %d requests, want %d", got, n)
				}
				_, err = w.store.Apply(t.Context(), storetest.Put(remote+"/a/b", "1", storetest.OCIManifest, other.Manifest))
				if err == nil || diag.KindOf(err) != diag.Infra {
					t.Fatalf("another manifest: %v", err)
				}
				named := strings.Contains(err.Error(), string(one.Digest)) && strings.Contains(err.Error(), string(other.Digest))
				if named != tt.names || tt.names && !strings.Contains(diag.HelpOf(err), "another tag") {
					t.Errorf("another manifest: %v (%s)", err, diag.HelpOf(err))
				}
				if _, err := w.store.Apply(t.Context(), storetest.Put(remote+"/a/b", "2", storetest.OCIManifest, one.Manifest)); err != nil {
					t.Errorf("a new tag: %v", err)
				}
			})
		})
	}
}

// The answer to a manifest that arrived may be lost; it is sent again, and
// refused because of itself.
func TestImmutableTagAfterLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testfleet.Rule{Method: "PUT", Path: "/manifests/", Times: 1, Fault: testfleet.FaultResetAfter})
		w.back.next = immutable(w.back.next, refusal{status: 409})
		im := storetest.NewImage("im", 1, false, "v1:key")
		storetest.Apply(t, w.store, im.Ops(remote+"/a/b", "1")...)
		if tag, err := w.direct().Stat(t.Context(), remote+"/a/b:1"); err != nil || tag.Digest != im.Digest {
			t.Errorf("the tag is %v, %v", tag, err)
		}
	})
}

// A registry that makes no repositories says so in many words; the help says
// what to do in a few.
func TestRepositoryMustBeMade(t *testing.T) {
	for _, body := range []string{`{"errors":[{"code":"NAME_UNKNOWN","message":"The repository does not exist in the registry"}]}`, ""} {
		for _, op := range []plan.Op{
			storetest.Upload(remote+"/team/agent", storetest.OCILayer, []byte("x")),
			storetest.Bring(plan.OpMount, remote+"/team/agent", remote+"/base/one", []byte("x")),
			storetest.Bring(plan.OpCopy, remote+"/team/agent", remote+"/base/one", []byte("x")),
			storetest.Put(remote+"/team/agent", "1", storetest.OCIManifest, storetest.NewImage("im", 1, false, "").Manifest),
		} {
			t.Run(fmt.Sprintf("%s %t", op.Kind, body == ""), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.back.next = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
						if q.URL.Path != "/v2/" {
							w.WriteHeader(http.StatusNotFound)
							_, _ = w.Write([]byte(body))
						}
					})
					_, err := w.store.Apply(t.Context(), op)
					if help := diag.HelpOf(err); err == nil || diag.KindOf(err) != diag.Infra || !strings.Contains(help, "make the repository team/agent at "+remote) {
						t.Errorf("%v (%s)", err, help)
					}
					if n := len(w.front.take()); n > 3 {
						t.Errorf("%d requests", n)
					}
				})
			})
		}
	}
}

// A registry that knows no mounts is asked for one once; a blob that is there
// is not sent again.
func TestMountless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		inner, there := w.back.next, map[string]bool{}
		w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
			switch {
			case q.URL.Query().Get("mount") != "":
				rw.WriteHeader(http.StatusMethodNotAllowed)
				return
			case q.Method == http.MethodHead && strings.Contains(q.URL.Path, "/blobs/") && !there[q.URL.Path]:
				rw.WriteHeader(http.StatusNotFound)
				return
			case q.Method == http.MethodPut:
				there["/v2/a/b/blobs/"+q.URL.Query().Get("digest")] = true
			}
			inner.ServeHTTP(rw, q)
		})
		im := storetest.NewImage("im", 3, false, "")
		storetest.Apply(t, w.direct(), im.Ops(remote+"/base/one", "1")...)
		clear(there)
		w.front.take()
		for range 2 {
			for _, layer := range im.Layers {
				storetest.Apply(t, w.store, storetest.Bring(plan.OpMount, remote+"/a/b", remote+"/base/one", layer))
			}
		}
		got := map[string]int{}
		for _, r := range w.front.take() {
			got[r.method]++
		}
		if d := cmp.Diff(map[string]int{"POST": 4, "HEAD": 6, "GET": 3, "PUT": 3}, got); d != "" {
			t.Errorf("requests (-want +got):\n%s", d)
		}
		if n := w.store.Totals().MountsRefused; n != 6 {
			t.Errorf("%d mounts count as refused", n)
		}
		for _, layer := range im.Layers {
			if data, err := w.direct().Blob(t.Context(), remote+"/a/b", storetest.Sum(layer), 1<<20); err != nil || !bytes.Equal(data, layer) {
				t.Errorf("a layer is not there: %v", err)
			}
		}
	})
	// Strict mode does not find another way.
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testfleet.Rule{Method: "POST", Path: "mount=", Status: 405})
		o := w.options
		o.StrictMounts = true
		s := client(t, o)
		for range 2 {
			if _, err := s.Apply(t.Context(), storetest.Bring(plan.OpMount, remote+"/a/b", remote+"/base/one", []byte("x"))); err == nil || !strings.Contains(err.Error(), registry.ErrMountRefused.Error()) {
				t.Errorf("%v", err)
			}
		}
		if n := len(w.front.take()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}
