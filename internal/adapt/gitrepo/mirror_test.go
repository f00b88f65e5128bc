package gitrepo_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// serve serves a repository over HTTP and counts the requests. With a password
// it asks for that.
func serve(t *testing.T, dir, password string) (url string, requests *atomic.Int64) {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	h := &cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"}, Stderr: io.Discard}
	requests = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if _, given, _ := r.BasicAuth(); password != "" && given != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "http://", "http://user:"+password+"@", 1), requests
}

func TestMirror(t *testing.T) {
	r := newRepo(t)
	one := r.commit("one", map[string]string{"a": "1"})
	const password = "hunter2"
	url, requests := serve(t, r.dir, password)
	url += "/.git"
	m := gitrepo.Mirrors{Dir: filepath.Join(t.TempDir(), "git")}
	offline := gitrepo.Mirrors{Dir: m.Dir, Offline: true}
	if _, err := offline.Open(t.Context(), url, "main"); diag.KindOf(err) != diag.Infra || diag.HelpOf(err) != "leave out --offline once" {
		t.Errorf("%v", err)
	}
	resolve := func(m gitrepo.Mirrors, ref, want string, asks bool) {
		t.Helper()
		before := requests.Load()
		g, err := m.Open(t.Context(), url, ref)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := g.Resolve(t.Context(), ref); err != nil || got != want {
			t.Errorf("%s is %s, %v", ref, got, err)
		}
		if asked := requests.Load() > before; asked != asks {
			t.Errorf("%s: asked %t", ref, asked)
		}
	}
	resolve(m, "main", one, true)
	two := r.commit("two", map[string]string{"a": "2"})
	r.git("tag", "v2")
	resolve(offline, "main", one, false)
	resolve(m, one, one, false)
	resolve(m, two, two, true)
	resolve(m, "main", two, true)
	resolve(m, "v2", two, true)
	// A branch that is rewritten and one that is gone.
	r.git("branch", "other")
	r.git("reset", "-q", "--hard", one)
	resolve(m, "main", one, true)
	resolve(m, "other", two, true)
	r.git("branch", "-D", "other")
	g, err := m.Open(t.Context(), url, "other")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Resolve(t.Context(), "other"); diag.KindOf(err) != diag.File {
		t.Errorf("%v", err)
	}
	// A commit that no branch leads to is fetched by its hash.
	r.git("config", "uploadpack.allowAnySHA1InWant", "true")
	r.commit("lost", nil)
	lost := r.git("rev-parse", "HEAD")
	r.git("reset", "-q", "--hard", one)
	resolve(m, lost, lost, true)
	if dir, err := g.Materialise(t.Context(), t.TempDir(), two, nil); err != nil {
		t.Error(dir, err)
	}

	// The password is in no file and no message.
	if strings.Contains(g.Name(), password) || !strings.Contains(g.Name(), "***@127.0.0.1") {
		t.Errorf("it is called %s", g.Name())
	}
	err = filepath.WalkDir(m.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), password) {
			t.Errorf("%s holds the password", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	wrong := strings.Replace(url, password, "swordfish", 1)
	_, err = m.Open(t.Context(), wrong, "main")
	if diag.KindOf(err) != diag.Infra || diag.HelpOf(err) == "" || strings.Contains(fmt.Sprint(err), "swordfish") {
		t.Errorf("%v", err)
	}
	gone := strings.Replace(url, "/.git", "/nothing?token=swordfish", 1)
	_, err = m.Open(t.Context(), gone, "main")
	if diag.KindOf(err) != diag.Infra || strings.Contains(fmt.Sprint(err), "swordfish") || strings.Contains(fmt.Sprint(err), password) {
		t.Errorf("%v", err)
	}
}

// TestMirrorFile fetches by file://, from several openers at once.
func TestMirrorFile(t *testing.T) {
	r := newRepo(t)
	c := r.commit("one", nil)
	m := gitrepo.Mirrors{Dir: t.TempDir()}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			g, err := m.Open(t.Context(), "file://"+r.dir, "main")
			if err == nil {
				_, err = g.Resolve(t.Context(), c)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	g, err := m.Open(t.Context(), r.dir, "main")
	if err != nil || g.WorkTree() != r.dir {
		t.Errorf("a path is not opened in place: %v", err)
	}
}

// TestMirrorRunsNothing refuses addresses that are programs.
func TestMirrorRunsNothing(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	m := gitrepo.Mirrors{Dir: t.TempDir()}
	for _, url := range []string{"ext::sh -c touch% " + trace, "fd::17", "ssh://-oProxyCommand=x/y"} {
		_, err := m.Open(t.Context(), url, "main")
		if diag.KindOf(err) != diag.Infra {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := os.Stat(trace); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a program ran")
	}
}
