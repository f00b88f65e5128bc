package localregistry

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

func TestStartRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	inUse := t.TempDir()
	start(t, Options{Root: inUse})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    Options
		kind diag.Kind
		text string
	}{
		"no folder":       {Options{}, diag.Usage, "no folder"},
		"folder in use":   {Options{Root: inUse}, diag.Infra, "is in use"},
		"not a folder":    {Options{Root: file}, diag.Infra, "not a directory"},
		"port in use":     {Options{Root: t.TempDir(), Addr: taken.Addr().String()}, diag.Infra, "address already in use"},
		"every interface": {Options{Root: t.TempDir(), Addr: "0.0.0.0:0"}, diag.Usage, "not loopback"},
		"empty host":      {Options{Root: t.TempDir(), Addr: ":5000"}, diag.Usage, "not loopback"},
		"other host":      {Options{Root: t.TempDir(), Addr: "192.0.2.1:5000"}, diag.Usage, "not loopback"},
		"no port":         {Options{Root: t.TempDir(), Addr: "127.0.0.1"}, diag.Usage, "missing port"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Start(context.Background(), c.o)
			if err == nil {
				r.Stop(context.Background())
				t.Fatal("started")
			}
			if diag.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error of kind %s: %v; want %s with %q", diag.KindOf(err), err, c.kind, c.text)
			}
		})
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Start(ended, Options{Root: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

// A start that failed must not keep the folder.
func TestStartAgainAfterFailure(t *testing.T) {
	root := t.TempDir()
	if _, err := Start(context.Background(), Options{Root: root, Addr: "192.0.2.1:1"}); err == nil {
		t.Fatal("started")
	}
	start(t, Options{Root: root, Addr: "localhost:0"})
}

func TestServes(t *testing.T) {
	for name, o := range map[string]Options{"quick": {}, "durable": {Durable: true}} {
		t.Run(name, func(t *testing.T) {
			r := start(t, o)
			c := newClient(t, r)
			for _, mediaType := range []string{ociManifest, dockerManifest} {
				r.Reset()
				digest, layer := c.image("a/one", "v1", mediaType)
				a, data := c.do("GET", "/v2/a/one/manifests/v1", "", nil)
				if got := a.Header.Get("Docker-Content-Digest"); got != digest || digestOf(data) != digest {
					t.Errorf("digest %s of content %s, want %s", got, digestOf(data), digest)
				}
				if got := a.Header.Get("Content-Type"); got != mediaType {
					t.Errorf("media type %s, want %s", got, mediaType)
				}
				if got := c.want(200, "GET", "/v2/a/one/blobs/"+layer); string(got) != "layer of a/one" {
					t.Errorf("layer holds %q", got)
				}
				c.want(404, "HEAD", "/v2/a/one/manifests/v2")
				c.want(200, "GET", "/v2/")
				if got := string(c.want(200, "GET", "/v2/a/one/tags/list")); !strings.Contains(got, `"v1"`) {
					t.Errorf("tags: %s", got)
				}
				want := map[string]int64{
					"POST upload": 2, "PUT upload": 2, "PUT manifest": 1, "GET manifest": 1,
					"GET blob": 1, "HEAD manifest": 1, "GET base": 1, "GET tags": 1,
				}
				if diff := cmp.Diff(want, r.Requests()); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestManifestNeedsItsBlobs(t *testing.T) {
	c := newClient(t, start(t, Options{}))
	body := []byte(`{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":{"mediaType":"application/vnd.oci.image.config.v1+json",` +
		`"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":2},"layers":[]}`)
	if a, _ := c.do("PUT", "/v2/a/manifests/x", ociManifest, body); a.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d, want 400", a.StatusCode)
	}
}

func TestMount(t *testing.T) {
	r := start(t, Options{})
	c := newClient(t, r)
	layer := c.push("from/here", []byte("content"))
	c.want(404, "HEAD", "/v2/to/there/blobs/"+layer) // blobs belong to a repository
	r.Reset()
	c.want(201, "POST", "/v2/to/there/blobs/uploads/?mount="+layer+"&from=from/here")
	c.want(200, "HEAD", "/v2/to/there/blobs/"+layer)
	c.want(202, "POST", "/v2/to/other/blobs/uploads/?mount="+layer+"&from=no/such")
	want := map[string]int64{"POST mount": 2, "HEAD blob": 1}
	if diff := cmp.Diff(want, r.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// The cache of descriptors must not remember what was deleted, nor what was
// found missing.
func TestDelete(t *testing.T) {
	c := newClient(t, start(t, Options{}))
	digest, layer := c.image("a/one", "v1", ociManifest)
	c.want(201, "POST", "/v2/a/two/blobs/uploads/?mount="+layer+"&from=a/one")
	c.want(200, "HEAD", "/v2/a/one/blobs/"+layer)
	c.want(202, "DELETE", "/v2/a/one/manifests/"+digest)
	c.want(404, "HEAD", "/v2/a/one/manifests/v1")
	c.want(404, "HEAD", "/v2/a/one/manifests/"+digest)
	c.want(202, "DELETE", "/v2/a/one/blobs/"+layer)
	c.want(404, "HEAD", "/v2/a/one/blobs/"+layer)
	c.want(404, "GET", "/v2/a/one/blobs/"+layer)
	c.want(200, "GET", "/v2/a/two/blobs/"+layer) // the other repository's stays
	if again, _ := c.image("a/one", "v1", ociManifest); again != digest {
		t.Fatalf("digest %s, then %s", digest, again)
	}
	c.want(200, "HEAD", "/v2/a/one/manifests/v1")
	c.want(200, "HEAD", "/v2/a/one/blobs/"+layer)
}

func TestRestartKeepsContent(t *testing.T) {
	root := t.TempDir()
	first, err := Start(context.Background(), Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	digest, layer := newClient(t, first).image("a/one", "v1", ociManifest)
	for range 2 { // the second call has nothing to do
		if err := first.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	c := newClient(t, start(t, Options{Root: root}))
	if got := digestOf(c.want(200, "GET", "/v2/a/one/manifests/v1")); got != digest {
		t.Errorf("digest %s, want %s", got, digest)
	}
	c.want(200, "HEAD", "/v2/a/one/blobs/"+layer)
}

func TestConcurrentPushes(t *testing.T) {
	r := start(t, Options{})
	c := newClient(t, r)
	layer := c.push("a/all", []byte("shared"))
	r.Reset()
	const n = 64
	var wg sync.WaitGroup
	statuses := make([]int, n)
	for i := range n {
		wg.Go(func() { // the same link, written by all
			a, err := c.http.Post("http://"+c.host+"/v2/a/to/blobs/uploads/?mount="+layer+"&from=a/all", "", nil)
			if err == nil {
				a.Body.Close()
				statuses[i] = a.StatusCode
			}
		})
	}
	wg.Wait()
	for i, s := range statuses {
		if s != http.StatusCreated {
			t.Errorf("mount %d: status %d", i, s)
		}
	}
	if got := r.Requests()["POST mount"]; got != n {
		t.Errorf("%d mounts counted, want %d", got, n)
	}
}

func TestMiddlewareSeesEverythingAndIsNotCounted(t *testing.T) {
	r := start(t, Options{Middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.Method == "GET" {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			next.ServeHTTP(w, q)
		})
	}})
	c := newClient(t, r)
	c.want(http.StatusTeapot, "GET", "/v2/")
	c.want(200, "HEAD", "/v2/")
	if diff := cmp.Diff(map[string]int64{"HEAD base": 1}, r.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	r.Requests()["HEAD base"] = 7 // a copy
	if got := r.Requests()["HEAD base"]; got != 1 {
		t.Errorf("count became %d", got)
	}
}

// Stop waits for requests, and when its time is up cancels them.
func TestStopEndsHeldRequests(t *testing.T) {
	arrived := make(chan struct{})
	cancelled := make(chan struct{})
	r, err := Start(context.Background(), Options{Root: t.TempDir(), Middleware: func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			close(arrived)
			<-q.Context().Done()
			close(cancelled)
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		tr := &http.Transport{DisableKeepAlives: true}
		a, err := (&http.Client{Transport: tr}).Get("http://" + r.Host() + "/v2/")
		if err == nil {
			a.Body.Close()
		}
		answered <- err
	}()
	<-arrived
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("stop: %v, want the context's error", err)
	}
	select {
	case <-cancelled:
	default:
		t.Error("stop returned before the handler")
	}
	if err := <-answered; err == nil {
		t.Error("the held request got an answer")
	}
}

// What the library logs goes to Options.Log, and what clients do wrong nowhere.
func TestLog(t *testing.T) {
	var global, own lockedBuffer
	std := logrus.StandardLogger()
	was, level := std.Out, std.GetLevel()
	std.SetOutput(&global)
	std.SetLevel(logrus.TraceLevel)
	t.Cleanup(func() { std.SetOutput(was); std.SetLevel(level) })

	const secret = "correct-horse"
	root := t.TempDir()
	r := start(t, Options{Root: root, Log: &own, Auth: &Auth{Users: map[string]string{"ann": secret}}})
	c := newClient(t, r)
	c.want(401, "GET", "/v2/")
	c.auth = func(q *http.Request) { q.SetBasicAuth("ann", "wrong") }
	c.want(401, "GET", "/v2/")
	c.auth = func(q *http.Request) { q.SetBasicAuth("ann", secret) }
	c.image("a/one", "v1", ociManifest)
	c.want(404, "GET", "/v2/a/one/manifests/v2")
	c.want(400, "GET", "/v2/a/one/blobs/sha256:zz")
	if got := own.String(); got != "" {
		t.Errorf("logged without need: %s", got)
	}

	// A file where a folder should be is the registry's own fault.
	if err := os.WriteFile(filepath.Join(root, "docker", "registry", "v2", "repositories", "bad"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.want(500, "POST", "/v2/bad/repo/blobs/uploads/")
	if got := own.String(); !strings.Contains(got, "not a directory") {
		t.Errorf("log has no cause: %q", got)
	}
	if strings.Contains(own.String(), secret) {
		t.Error("log has the password")
	}
	if got := global.String(); got != "" {
		t.Errorf("the process's logger got: %s", got)
	}
}

func TestStopLeavesNoGoroutine(t *testing.T) {
	for _, auth := range []*Auth{nil, {Users: map[string]string{"a": "b"}}, {Token: true, Anonymous: true}} {
		r, err := Start(context.Background(), Options{Root: t.TempDir(), Auth: auth, Log: &lockedBuffer{}})
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, r)
		c.do("GET", "/v2/", "", nil)
		if auth == nil {
			c.image("a/one", "v1", ociManifest)
		}
		c.transport.CloseIdleConnections()
		if err := r.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	// A connection's goroutine may have a few instructions left after Stop.
	var left string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); runtime.Gosched() {
		if left = ours(); left == "" {
			return
		}
	}
	t.Errorf("goroutines left:\n%s", left)
}

// ours returns the stacks of goroutines that a registry started.
func ours() string {
	var b bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	var out []string
	for _, g := range strings.Split(b.String(), "\n\n") {
		for _, mark := range []string{"localregistry.Start", "distribution/", "go-events", "(*conn).serve", "redis"} {
			if strings.Contains(g, mark) {
				out = append(out, g)
				break
			}
		}
	}
	return strings.Join(out, "\n\n")
}

// lockedBuffer is a buffer for two writers.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
