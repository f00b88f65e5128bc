package registry_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry/storetest"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// tlsServer serves a registry over TLS and returns its certificate as a file.
func tlsServer(t *testing.T, h http.Handler) (host, caFile string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(caFile, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(s.URL, "https://"), caFile
}

func TestTLS(t *testing.T) {
	front := &recorder{next: memory()}
	host, caFile := tlsServer(t, front)
	// A name that is no loopback address, and is in the certificate.
	_, port, _ := strings.Cut(host, ":")
	name := "example.com:" + port
	dial := dialTo(host)
	t.Run("with the certificate", func(t *testing.T) {
		s := client(t, registry.Options{Dial: dial, Registries: []fleet.Registry{{Host: name, CAFile: caFile}}})
		im := storetest.NewImage("im", 1, false, "v1:k")
		storetest.Apply(t, s, im.Ops(name+"/a/b", "1")...)
		if tag, err := s.Stat(t.Context(), name+"/a/b:1"); err != nil || tag.Key != "v1:k" {
			t.Errorf("%v, %v", tag, err)
		}
		if s.PlainHTTP(name) {
			t.Error("counts as plain HTTP")
		}
	})
	t.Run("without", func(t *testing.T) {
		s := client(t, registry.Options{Dial: dial})
		_, err := s.Stat(t.Context(), name+"/a/b:1")
		if diag.KindOf(err) != diag.Infra || !strings.Contains(diag.HelpOf(err), "caFile") {
			t.Errorf("error %v, help %q", err, diag.HelpOf(err))
		}
		if n := s.Totals().Hosts[name]; n != 1 {
			t.Errorf("%d attempts", n)
		}
	})
	t.Run("loopback with a certificate", func(t *testing.T) {
		s := client(t, registry.Options{Registries: []fleet.Registry{{Host: host, CAFile: caFile}}})
		if s.PlainHTTP(host) {
			t.Error("counts as plain HTTP")
		}
		if _, err := s.Stat(t.Context(), host+"/a/b:1"); err != nil {
			t.Error(err)
		}
	})
	t.Run("plain server", func(t *testing.T) {
		plain := httptest.NewServer(memory())
		defer plain.Close()
		s := client(t, registry.Options{Dial: dialTo(strings.TrimPrefix(plain.URL, "http://"))})
		_, err := s.Stat(t.Context(), "plain.example.com/a/b:1")
		if diag.KindOf(err) != diag.Infra || !strings.Contains(diag.HelpOf(err), "http: true") {
			t.Errorf("error %v, help %q", err, diag.HelpOf(err))
		}
	})
	t.Run("redirect out of TLS", func(t *testing.T) {
		away := &recorder{next: memory()}
		plain := httptest.NewServer(away)
		defer plain.Close()
		host, caFile := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path != "/v2/" {
				http.Redirect(w, q, plain.URL+q.URL.Path, http.StatusFound)
			}
		}))
		s := client(t, registry.Options{Registries: []fleet.Registry{{Host: host, CAFile: caFile}}})
		_, err := s.Blob(t.Context(), host+"/a/b", storetest.Sum(nil), 10)
		if err == nil || diag.KindOf(err) != diag.Infra || !strings.Contains(err.Error(), "https to http") || len(away.take()) != 0 {
			t.Errorf("error %v", err)
		}
	})
}

func TestPlainHTTP(t *testing.T) {
	s := client(t, registry.Options{Registries: []fleet.Registry{{Host: "plain.example.com", HTTP: true}, {Host: "docker.io", HTTP: true}}})
	for host, want := range map[string]bool{
		"plain.example.com": true, "other.example.com": false, "docker.io": true, "index.docker.io": true,
		"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "127.1.2.3": true, "[::1]:5000": true, "10.0.0.1:5000": false, "localhost.example.com": false,
	} {
		if got := s.PlainHTTP(host); got != want {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
}

func TestNewErrors(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		o    registry.Options
		kind diag.Kind
		is   error
	}{
		{"no CA file", registry.Options{Registries: []fleet.Registry{{Host: "a", CAFile: filepath.Join(dir, "none")}}}, diag.File, fs.ErrNotExist},
		{"no certificate", registry.Options{Registries: []fleet.Registry{{Host: "a", CAFile: empty}}}, diag.File, nil},
		{"proxy is no URL", registry.Options{Registries: []fleet.Registry{{Host: "a", Proxy: "http://me:hunter2@[::1"}}}, diag.File, nil},
		{"proxy has no host", registry.Options{Registries: []fleet.Registry{{Host: "a", Proxy: "hunter2"}}}, diag.File, nil},
		{"facts below a file", registry.Options{Facts: filepath.Join(empty, "facts")}, diag.Infra, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := registry.New(tt.o)
			if err == nil || diag.KindOf(err) != tt.kind || tt.is != nil && !errors.Is(err, tt.is) {
				t.Fatalf("error %v of kind %v", err, diag.KindOf(err))
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v shows a password", err)
			}
		})
	}
}

// A proxy sees the requests to its registry, and to no other.
func TestProxy(t *testing.T) {
	r := &recorder{next: memory()}
	proxy := httptest.NewServer(r)
	defer proxy.Close()
	direct := &recorder{next: memory()}
	other := httptest.NewServer(direct)
	defer other.Close()
	otherHost := strings.TrimPrefix(other.URL, "http://")
	s := client(t, registry.Options{Registries: []fleet.Registry{{Host: "far.example.com", HTTP: true, Proxy: proxy.URL}}})
	for _, host := range []string{"far.example.com", otherHost} {
		if tag, err := s.Stat(t.Context(), host+"/a/b:1"); err != nil || tag.Exists {
			t.Errorf("%s: %v, %v", host, tag, err)
		}
	}
	if a, b := len(r.take()), len(direct.take()); a != 1 || b != 1 {
		t.Errorf("%d requests by the proxy, %d directly", a, b)
	}
}

// Mirrors are asked first, for pulls only; one that lacks something is passed
// over, one that fails is left alone.
func TestMirrors(t *testing.T) {
	im := storetest.NewImage("im", 1, false, "v1:k")
	const mirror, second = "mirror.example.com:80", "second.example.com:80"
	for _, tt := range []struct {
		name string
		// mirror and second hold the image, or not, or fail.
		has    bool
		status int
		lies   bool
		prefix string
		// requests to the first mirror and to the origin
		mirror, origin []string
	}{
		{name: "has it", has: true, mirror: []string{"GET m", "GET b", "GET b"}, origin: []string{"HEAD m", "POST u", "PUT u"}},
		{name: "has it below a path", has: true, prefix: "/cache/hub", mirror: []string{"GET m", "GET b", "GET b"}, origin: []string{"HEAD m", "POST u", "PUT u"}},
		{name: "lacks it", mirror: []string{"GET m", "GET b", "GET b"}, origin: []string{"GET m", "GET b", "HEAD m", "POST u", "GET b", "PUT u"}},
		{name: "forbids it", status: 403, mirror: []string{"GET m"}, origin: []string{"GET m", "GET b", "HEAD m", "POST u", "GET b", "PUT u"}},
		{name: "spoils blobs", has: true, lies: true, mirror: []string{"GET m", "GET b"}, origin: []string{"GET b", "HEAD m", "POST u", "GET b", "PUT u"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				storetest.Apply(t, w.direct(), im.Ops(remote+"/base/one", "1")...)
				store := memory()
				back := &recorder{next: http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
					switch {
					case tt.status != 0 && q.URL.Path != "/v2/":
						rw.WriteHeader(tt.status)
					case tt.lies && strings.Contains(q.URL.Path, "/blobs/"):
						_, _ = rw.Write([]byte("wrong"))
					default:
						store.ServeHTTP(rw, q)
					}
				})}
				w.net.serve(mirror, back)
				if tt.has {
					o := w.options
					n := newNetwork(t)
					n.serve(mirror, store)
					o.Dial, o.Registries = n.dial, []fleet.Registry{{Host: mirror, HTTP: true}}
					storetest.Apply(t, client(t, o), im.Ops(mirror+tt.prefix+"/base/one", "1")...)
				}
				w.back.next = separate(w.back.next)
				o := w.options
				o.Registries = []fleet.Registry{{Host: remote, HTTP: true, Mirrors: []string{mirror + tt.prefix}}, {Host: mirror, HTTP: true}}
				s := client(t, o)
				if b, err := s.Resolve(t.Context(), remote+"/base/one:1", "linux/amd64"); err != nil || b.Digest != im.Digest {
					t.Fatal(err)
				}
				if tag, err := s.Stat(t.Context(), remote+"/base/one:1"); err != nil || !tag.Exists {
					t.Fatal(tag, err)
				}
				op := storetest.Bring(plan.OpCopy, remote+"/a/b", remote+"/base/one", im.Layers[0])
				if out, err := s.Apply(t.Context(), op); err != nil || out.Did != plan.OpCopy {
					t.Fatal(out, err)
				}
				short := func(log []sent, prefix string) []string {
					var out []string
					for _, r := range log {
						if !strings.HasPrefix(r.path, "/v2"+prefix+"/") {
							t.Errorf("path %s", r.path)
						}
						line := r.method + " " + map[bool]string{true: "m", false: "b"}[strings.Contains(r.path, "/manifests/")]
						if strings.Contains(r.path, "/uploads/") {
							line = r.method + " u"
						}
						// Repetitions of one request count once; which of a copy's two
						// directions comes first is open.
						if len(out) > 0 && out[len(out)-1] == line && tt.lies {
							continue
						}
						out = append(out, line)
					}
					for i := range out {
						if i > 0 && out[i-1] == "PUT u" && out[i] == "GET b" {
							out[i-1], out[i] = out[i], out[i-1]
						}
					}
					return out
				}
				if d := cmp.Diff(tt.mirror, short(back.take(), tt.prefix)); d != "" {
					t.Errorf("requests to the mirror (-want +got):\n%s", d)
				}
				if d := cmp.Diff(tt.origin, short(w.front.take(), "")); d != "" {
					t.Errorf("requests to the origin (-want +got):\n%s", d)
				}
			})
		})
	}
}

// A blob that a mirror spoilt on its way through a copy comes from the origin.
func TestMirrorSpoilsCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mirror = "mirror.example.com:80"
		im := storetest.NewImage("im", 1, false, "")
		w := newWorld(t)
		storetest.Apply(t, w.direct(), im.Ops(remote+"/base/one", "1")...)
		w.back.next = separate(w.back.next)
		w.net.serve(mirror, http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
			if q.URL.Path != "/v2/" {
				_, _ = rw.Write(bytes.Repeat([]byte("y"), len(im.Layers[0])))
			}
		}))
		o := w.options
		o.Registries = []fleet.Registry{{Host: remote, HTTP: true, Mirrors: []string{mirror}}, {Host: mirror, HTTP: true}}
		s := client(t, o)
		out, err := s.Apply(t.Context(), storetest.Bring(plan.OpCopy, remote+"/a/b", remote+"/base/one", im.Layers[0]))
		if err != nil || out.Did != plan.OpCopy || out.Pulled != 2*int64(len(im.Layers[0])) {
			t.Errorf("outcome %v, error %v", out, err)
		}
		data, err := w.direct().Blob(t.Context(), remote+"/a/b", storetest.Sum(im.Layers[0]), 1<<20)
		if err != nil || !bytes.Equal(data, im.Layers[0]) {
			t.Errorf("blob: %v", err)
		}
	})
}

// Only "not found" means that something is not there.
func TestStatAnswers(t *testing.T) {
	im := storetest.NewImage("im", 1, false, "v1:k")
	document := func(code string) string { return `{"errors":[{"code":"` + code + `","message":"m"}]}` }
	for _, tt := range []struct {
		name   string
		head   int
		get    int
		body   string
		exists bool
		fails  bool
	}{
		{name: "200", head: 200, get: 200, exists: true},
		{name: "404", head: 404},
		{name: "401", head: 401, fails: true},
		{name: "403", head: 403, fails: true},
		{name: "410", head: 410, fails: true},
		{name: "429", head: 429, fails: true},
		{name: "500", head: 500, fails: true},
		{name: "502", head: 502, fails: true},
		{name: "503", head: 503, fails: true},
		{name: "HEAD not allowed", head: 405, get: 200, exists: true},
		{name: "HEAD not allowed, unknown", head: 405, get: 404, body: document("MANIFEST_UNKNOWN")},
		{name: "bad request, name unknown", head: 400, get: 400, body: document("NAME_UNKNOWN")},
		{name: "bad request", head: 400, get: 400, body: document("TAG_INVALID"), fails: true},
		{name: "HEAD not allowed, forbidden", head: 405, get: 403, body: document("DENIED"), fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
					status := tt.get
					if q.Method == http.MethodHead {
						status = tt.head
					}
					switch {
					case q.URL.Path == "/v2/":
					case status == 200:
						// Without saying the digest.
						rw.Header().Set("Content-Type", im.MediaType)
						_, _ = rw.Write(im.Manifest)
					default:
						rw.WriteHeader(status)
						_, _ = rw.Write([]byte(tt.body))
					}
				})
				tag, err := w.store.Stat(t.Context(), remote+"/a/b:1")
				if (err != nil) != tt.fails || tag.Exists != tt.exists {
					t.Fatalf("%v, error %v", tag, err)
				}
				if tt.fails && diag.KindOf(err) != diag.Infra {
					t.Errorf("kind %v", diag.KindOf(err))
				}
				if want := (fact.Tag{Exists: true, Digest: im.Digest, Key: "v1:k"}); tt.exists && !cmp.Equal(tag, want) {
					t.Errorf("tag %v", tag)
				}
			})
		})
	}
}

func TestTagPages(t *testing.T) {
	for _, tt := range []struct {
		name string
		link func(page int) string // of the page that follows; "" ends
		want int                   // tags; -1: an error
	}{
		{"one page", func(int) string { return "" }, 2},
		{"relative", func(n int) string { return fmt.Sprintf(`</v2/a/b/tags/list?n=2&last=%d>; rel="next"`, n) }, 6},
		{"absolute", func(n int) string {
			return fmt.Sprintf(`<http://%s/v2/a/b/tags/list?n=2&last=%d>; rel="next"`, remote, n)
		}, 6},
		{"query only", func(n int) string { return fmt.Sprintf(`<?last=%d>; rel=next`, n) }, 6},
		{"in circles", func(int) string { return `</v2/a/b/tags/list>; rel="next"` }, -1},
		{"to another host", func(int) string { return `<http://evil.example.com/v2/a/b/tags/list>; rel="next"` }, -1},
		{"nonsense", func(int) string { return `tags` }, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
					if q.URL.Path == "/v2/" {
						return
					}
					page := 0
					_, _ = fmt.Sscan(q.URL.Query().Get("last"), &page)
					page++
					if link := tt.link(page); link != "" && (page < 3 || tt.want < 0) {
						rw.Header().Set("Link", link)
					}
					fmt.Fprintf(rw, `{"name":"a/b","tags":["t%d","u%d"]}`, page, page)
				})
				tags, err := w.store.Tags(t.Context(), remote+"/a/b")
				if tt.want < 0 {
					if err == nil || diag.KindOf(err) != diag.Infra {
						t.Errorf("tags %v, error %v", tags, err)
					}
					return
				}
				if err != nil || len(tags) != tt.want {
					t.Errorf("tags %v, error %v", tags, err)
				}
			})
		})
	}
}

func TestTagAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		is     error
		none   bool
	}{
		{name: "null", status: 200, body: `{"tags":null}`, none: true},
		{name: "unknown", status: 404, body: `{"errors":[{"code":"NAME_UNKNOWN"}]}`, none: true},
		{name: "not allowed", status: 405, is: registry.ErrNoTagList},
		{name: "not implemented", status: 501, is: registry.ErrNoTagList},
		{name: "unsupported", status: 403, body: `{"errors":[{"code":"UNSUPPORTED"}]}`, is: registry.ErrNoTagList},
		{name: "forbidden", status: 403},
		{name: "failing", status: 500},
		{name: "no JSON", status: 200, body: `<html>`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
					if q.URL.Path != "/v2/" {
						rw.WriteHeader(tt.status)
						_, _ = rw.Write([]byte(tt.body))
					}
				})
				tags, err := w.store.Tags(t.Context(), remote+"/a/b")
				if tt.none {
					if err != nil || tags == nil || len(tags) != 0 {
						t.Errorf("tags %v, error %v", tags, err)
					}
					return
				}
				if err == nil || diag.KindOf(err) != diag.Infra || errors.Is(err, registry.ErrNoTagList) != (tt.is != nil) {
					t.Errorf("error %v of kind %v", err, diag.KindOf(err))
				}
			})
		})
	}
}

// A registry that says it stored something else did not publish.
func TestOtherDigestStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		im := storetest.NewImage("im", 1, false, "")
		w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
			rw.Header().Set("Docker-Content-Digest", string(storetest.Sum([]byte("x"))))
			rw.WriteHeader(map[bool]int{true: 201, false: 200}[q.Method == http.MethodPut])
		})
		_, err := w.store.Apply(t.Context(), storetest.Put(remote+"/a/b", "1", im.MediaType, im.Manifest))
		if err == nil || diag.KindOf(err) != diag.Infra {
			t.Errorf("error %v", err)
		}
		if n := len(w.front.take()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// A challenge that comes late is heeded: some registries answer the version
// check without one.
func TestLateChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		inner := w.back.next
		w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
			user, pass, _ := q.BasicAuth()
			switch {
			case q.URL.Path == "/v2/":
				rw.WriteHeader(http.StatusNotFound)
			case user != userName || pass != password:
				rw.Header().Set("WWW-Authenticate", `Basic realm="r"`)
				rw.WriteHeader(http.StatusUnauthorized)
			default:
				inner.ServeHTTP(rw, q)
			}
		})
		o := w.options
		o.Credentials = login
		s := client(t, o)
		for range 3 {
			if tag, err := s.Stat(t.Context(), remote+"/a/b:1"); err != nil || tag.Exists {
				t.Errorf("%v, %v", tag, err)
			}
		}
		if n := len(w.front.take()); n != 4 {
			t.Errorf("%d requests, want one more than looks", n)
		}
	})
}

// Damaged facts are fetched again, whatever happened to them.
func TestDamagedFacts(t *testing.T) {
	r := &recorder{next: memory()}
	server := httptest.NewServer(r)
	defer server.Close()
	repo := strings.TrimPrefix(server.URL, "http://") + "/a/b"
	im := storetest.NewImage("im", 1, false, "v1:k")
	storetest.Apply(t, client(t, registry.Options{}), im.Ops(repo, "1")...)
	for _, damage := range []struct {
		name string
		f    func(path string) error
	}{
		{"emptied", func(p string) error { return os.Truncate(p, 0) }},
		{"cut", func(p string) error { return os.Truncate(p, 3) }},
		{"overwritten", func(p string) error { return os.WriteFile(p, []byte(`{"schemaVersion":2}`), 0o600) }},
		{"gone", os.Remove},
	} {
		t.Run(damage.name, func(t *testing.T) {
			dir := t.TempDir()
			look := func() (*fact.Base, fact.Tag) {
				s := client(t, registry.Options{Facts: dir})
				b, err := s.Resolve(t.Context(), repo+":1", "linux/amd64")
				if err != nil {
					t.Fatal(err)
				}
				tag, err := s.Stat(t.Context(), repo+":1")
				if err != nil {
					t.Fatal(err)
				}
				return b, tag
			}
			b1, t1 := look()
			n := 0
			err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					n++
					return damage.f(p)
				}
				return err
			})
			if err != nil || n != 5 {
				t.Fatalf("%d facts, error %v; want manifest, config, record, key and tag", n, err)
			}
			if _, ok := client(t, registry.Options{Facts: dir}).Cached(repo+":1", "linux/amd64"); ok {
				t.Error("damaged facts are believed")
			}
			r.take()
			b2, t2 := look()
			if d := cmp.Diff(b1, b2) + cmp.Diff(t1, t2); d != "" {
				t.Errorf("before and after:\n%s", d)
			}
			got := map[string]int{}
			for _, s := range r.take() {
				got[s.method]++
			}
			if d := cmp.Diff(map[string]int{"HEAD": 1, "GET": 2}, got); d != "" {
				t.Errorf("requests (-want +got):\n%s", d)
			}
		})
	}
}

// What bases may be and may not be.
func TestStrangeBases(t *testing.T) {
	config := `{"architecture":"amd64","os":"linux","rootfs":{"diff_ids":[]}}`
	for _, tt := range []struct {
		name, manifest, config string
		kind                   diag.Kind
		want                   string
	}{
		{"schema 1", `{"schemaVersion":1,"name":"a/b","fsLayers":[]}`, config, diag.Infra, "schema 1"},
		{"no JSON", `<html>`, config, diag.Infra, "not JSON"},
		{"neither", `{"schemaVersion":2}`, config, diag.Infra, "neither"},
		{"bad layer", `{"schemaVersion":2,"config":%s,"layers":[{"digest":"sha256:../../etc","size":1}]}`, config, diag.Infra, "layer with digest"},
		{"negative size", `{"schemaVersion":2,"config":%s,"layers":[{"digest":"` + string(storetest.Sum(nil)) + `","size":-1}]}`, config, diag.Infra, "size -1"},
		{"more layers than config says", `{"schemaVersion":2,"config":%s,"layers":[{"digest":"` + string(storetest.Sum(nil)) + `","size":1}]}`, config, diag.Infra, "config lists 0 layers, manifest 1"},
		{"config is a list", `{"schemaVersion":2,"config":%s,"layers":[]}`, `[]`, diag.Infra, "not a JSON object"},
		{"history is text", `{"schemaVersion":2,"config":%s,"layers":[]}`, `{"history":"x"}`, diag.Infra, "history"},
		{"index of nothing", `{"schemaVersion":2,"manifests":[]}`, config, diag.File, "no image for linux/amd64"},
		{"no layers", `{"schemaVersion":2,"config":%s,"layers":[]}`, config, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				manifest := tt.manifest
				if strings.Contains(manifest, "%s") {
					manifest = fmt.Sprintf(manifest, fmt.Sprintf(`{"digest":%q,"size":%d}`, storetest.Sum([]byte(tt.config)), len(tt.config)))
				}
				w := newWorld(t)
				w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
					switch {
					case strings.Contains(q.URL.Path, "/manifests/"):
						_, _ = rw.Write([]byte(manifest))
					case strings.Contains(q.URL.Path, "/blobs/"):
						_, _ = rw.Write([]byte(tt.config))
					}
				})
				b, err := w.store.Resolve(t.Context(), remote+"/a/b:1", "linux/amd64")
				if tt.want == "" {
					if err != nil || len(b.Layers) != 0 {
						t.Errorf("base %v, error %v", b, err)
					}
					return
				}
				if err == nil || diag.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), remote+"/a/b:1") {
					t.Errorf("error %v of kind %v", err, diag.KindOf(err))
				}
				if _, err := w.store.Stat(t.Context(), remote+"/a/b:1"); err != nil {
					t.Errorf("what is no image has no key: %v", err)
				}
			})
		})
	}
}

// dialTo connects to one address, whatever is asked for.
func dialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
}
