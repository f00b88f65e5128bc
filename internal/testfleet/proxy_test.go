package testfleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
)

// backend answers with what it got, and counts.
type backend struct{ reached atomic.Int64 }

func (b *backend) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	b.reached.Add(1)
	body, _ := io.ReadAll(q.Body)
	w.Header().Set("X-Auth", q.Header.Get("Authorization"))
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, "%s %s %s", q.Method, q.URL.Path, body)
}

// front is a proxy on a port of its own, and its client.
type front struct {
	t     *testing.T
	proxy *FaultProxy
	url   string
	http  *http.Client
}

// newFront serves the proxy. Without connections kept alive, a client cannot
// repeat on its own what a reset cut off.
func newFront(t *testing.T, p *FaultProxy) *front {
	s := httptest.NewServer(p)
	tr := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(func() { p.Close(); tr.CloseIdleConnections(); s.Close() })
	return &front{t: t, proxy: p, url: s.URL, http: &http.Client{Transport: tr}}
}

// outcome is what a client got.
type outcome struct {
	Status int
	Body   string
	Reset  bool // before the head of the answer
	Cut    bool // after it
}

// do sends a request; the context is the test's unless given.
func (f *front) do(method, path, body string) (outcome, http.Header) {
	f.t.Helper()
	q, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer t")
	a, err := f.http.Do(q)
	if err != nil {
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EPIPE) {
			f.t.Errorf("%s %s: %v, want a reset", method, path, err)
		}
		return outcome{Reset: true}, nil
	}
	defer a.Body.Close()
	data, err := io.ReadAll(a.Body)
	return outcome{Status: a.StatusCode, Body: string(data), Cut: err != nil}, a.Header
}

func TestFaults(t *testing.T) {
	const plain = "PUT /v2/a/manifests/x hello"
	for name, c := range map[string]struct {
		rule    Rule
		want    outcome
		header  map[string]string
		reached int64
		status  int // recorded
	}{
		"429":              {rule: Rule{Status: 429}, want: outcome{Status: 429, Body: "injected"}, status: 429},
		"429 with wait":    {rule: Rule{Status: 429, RetryAfter: "7"}, want: outcome{Status: 429, Body: "injected"}, header: map[string]string{"Retry-After": "7"}, status: 429},
		"503":              {rule: Rule{Status: 503}, want: outcome{Status: 503, Body: "injected"}, status: 503},
		"reset before":     {rule: Rule{Fault: FaultResetBefore}, want: outcome{Reset: true}},
		"reset in upload":  {rule: Rule{Fault: FaultResetUpload, Bytes: 2}, want: outcome{Reset: true}},
		"reset after":      {rule: Rule{Fault: FaultResetAfter}, want: outcome{Reset: true}, reached: 1},
		"reset in answer":  {rule: Rule{Fault: FaultResetBody, Bytes: 5}, want: outcome{Status: 202, Body: plain[:5], Cut: true}, reached: 1, status: 202},
		"truncated":        {rule: Rule{Fault: FaultTruncate, Bytes: 5}, want: outcome{Status: 202, Body: plain[:5]}, reached: 1, status: 202},
		"truncated late":   {rule: Rule{Fault: FaultTruncate, Bytes: 5000}, want: outcome{Status: 202, Body: plain}, reached: 1, status: 202},
		"slow":             {rule: Rule{Fault: FaultSlow, Bytes: 4, Delay: time.Microsecond}, want: outcome{Status: 202, Body: plain}, reached: 1, status: 202},
		"no credentials":   {rule: Rule{Fault: FaultExpired}, want: outcome{Status: 202, Body: plain}, header: map[string]string{"X-Auth": ""}, reached: 1, status: 202},
		"other method":     {rule: Rule{Method: "GET", Status: 500}, want: outcome{Status: 202, Body: plain}, header: map[string]string{"X-Auth": "Bearer t"}, reached: 1, status: 202},
		"other path":       {rule: Rule{Path: "/blobs/", Status: 500}, want: outcome{Status: 202, Body: plain}, reached: 1, status: 202},
		"not before third": {rule: Rule{Skip: 2, Status: 500}, want: outcome{Status: 202, Body: plain}, reached: 1, status: 202},
	} {
		t.Run(name, func(t *testing.T) {
			b := &backend{}
			p := Faults(b, c.rule)
			f := newFront(t, p)
			got, header := f.do("PUT", "/v2/a/manifests/x", "hello")
			if strings.Contains(got.Body, "INJECTED") {
				got.Body = "injected"
			}
			if diff := cmp.Diff(c.want, got, cmp.FilterPath(func(p cmp.Path) bool {
				// What a reset lets through of the body depends on the kernel.
				return c.rule.Fault == FaultResetBody && p.String() == "Body"
			}, cmp.Comparer(strings.HasPrefix))); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			for k, v := range c.header {
				if got := header.Get(k); got != v {
					t.Errorf("%s: %q, want %q", k, got, v)
				}
			}
			if got := b.reached.Load(); got != c.reached {
				t.Errorf("reached the registry %d times, want %d", got, c.reached)
			}
			applied := 1
			rule := 0
			if strings.HasPrefix(name, "other") || strings.HasPrefix(name, "not") {
				applied, rule = 0, -1
			}
			want := []Record{{Method: "PUT", Path: "/v2/a/manifests/x", Status: c.status, Rule: rule, Reached: c.reached == 1}}
			if diff := cmp.Diff(want, p.Records()); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]int{applied}, p.Applied()); diff != "" {
				t.Errorf("applied (-want +got):\n%s", diff)
			}
		})
	}
}

// Rules count what they select, and the first that applies decides.
func TestRulesCount(t *testing.T) {
	p := Faults(&backend{},
		Rule{Method: "HEAD", Skip: 1, Times: 2, Status: 503},
		Rule{Method: "HEAD", Times: 1, Status: 429},
		Rule{Path: `[?&]mount=`, Status: 404})
	f := newFront(t, p)
	var got []int
	for range 6 {
		o, _ := f.do("HEAD", "/v2/a/manifests/x", "")
		got = append(got, o.Status)
	}
	o, _ := f.do("POST", "/v2/a/blobs/uploads/?mount=sha256:1&from=b", "")
	got = append(got, o.Status)
	if diff := cmp.Diff([]int{429, 503, 503, 202, 202, 202, 404}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{2, 1, 1}, p.Applied()); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
}

// The share of failures follows the seed, whatever the order of requests.
func TestChance(t *testing.T) {
	count := func(seed int64, chance float64, n int) int {
		p := Faults(&backend{}, Rule{Chance: chance, Seed: seed, Status: 500})
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/v2/", http.NoBody))
			})
		}
		wg.Wait()
		return p.Applied()[0]
	}
	for seed := range int64(5) {
		a, b := count(seed, 0.3, 1000), count(seed, 0.3, 1000)
		if a != b {
			t.Errorf("seed %d: %d, then %d", seed, a, b)
		}
		if a < 240 || a > 360 {
			t.Errorf("seed %d: %d of 1000, want about 300", seed, a)
		}
	}
	if got := count(1, 1, 100); got != 100 {
		t.Errorf("chance 1: %d of 100", got)
	}
}

func TestHold(t *testing.T) {
	for name, after := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			b := &backend{}
			p := Faults(b)
			f := newFront(t, p)
			h := p.Hold("PUT", "/manifests/", after)
			got := make(chan outcome, 2)
			for range 2 {
				go func() { o, _ := f.do("PUT", "/v2/a/manifests/x", "m"); got <- o }()
			}
			if err := h.Wait(context.Background(), 2); err != nil {
				t.Fatal(err)
			}
			if o, _ := f.do("GET", "/v2/", ""); o.Status != 202 {
				t.Errorf("another request was held: %+v", o)
			}
			want := int64(1)
			if after {
				want = 3
			}
			if n := b.reached.Load(); n != want || h.Waiting() != 2 {
				t.Errorf("reached %d, waiting %d; want %d and 2", n, h.Waiting(), want)
			}
			h.Release()
			h.Release()
			for range 2 {
				if o := <-got; o.Status != 202 || o.Body != "PUT /v2/a/manifests/x m" {
					t.Errorf("after release: %+v", o)
				}
			}
			if o, _ := f.do("PUT", "/v2/a/manifests/x", "m"); o.Status != 202 {
				t.Errorf("held after release: %+v", o)
			}
		})
	}
}

// A client that dies while it is held has sent its request, or not, according
// to the side on which it was held.
func TestHoldAndClientGone(t *testing.T) {
	for name, after := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			b := &backend{}
			p := Faults(b)
			done := make(chan Record, 1)
			p.After = func(r Record) { done <- r }
			f := newFront(t, p)
			h := p.Hold("PUT", "", after)
			ctx, cancel := context.WithCancel(context.Background())
			failed := make(chan error, 1)
			go func() {
				q, _ := http.NewRequestWithContext(ctx, "PUT", f.url+"/v2/a/manifests/x", bytes.NewReader(make([]byte, 1<<16)))
				_, err := f.http.Do(q)
				failed <- err
			}()
			if err := h.Wait(context.Background(), 1); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Errorf("client: %v", err)
			}
			want := Record{Method: "PUT", Path: "/v2/a/manifests/x", Rule: -1, Reached: after}
			if diff := cmp.Diff(want, <-done); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
			if got := b.reached.Load() == 1; got != after {
				t.Errorf("reached the registry: %v", got)
			}
		})
	}
}

func TestHoldWaitEnds(t *testing.T) {
	p := Faults(&backend{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Hold("", "", false).Wait(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
}

func TestHooks(t *testing.T) {
	p := Faults(&backend{}, Rule{Path: "/b", Status: 500})
	var before, after []string
	p.Before = func(q *http.Request) { before = append(before, q.URL.Path) }
	p.After = func(r Record) { after = append(after, fmt.Sprint(r.Path, r.Status)) }
	f := newFront(t, p)
	f.do("GET", "/a", "")
	f.do("GET", "/b", "")
	if diff := cmp.Diff([][]string{{"/a", "/b"}, {"/a202", "/b500"}}, [][]string{before, after}); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
}

// A real client pushes through the proxy to a registry that asks for tokens;
// the faults that it survives do not change what arrives.
func TestProxyBeforeRegistry(t *testing.T) {
	r := registry(t, localregistry.Options{Auth: &localregistry.Auth{Users: map[string]string{"u": "p"}, Token: true}})
	p := Proxy(r.Host(),
		Rule{Method: "GET", Path: "/manifests/", Times: 1, Status: 503},
		Rule{Method: "HEAD", Times: 1, Status: 502})
	f := newFront(t, p)
	img, err := random.Image(1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(f.url, "http://")
	ref, err := name.ParseReference(host + "/some/where:1")
	if err != nil {
		t.Fatal(err)
	}
	// The default transport keeps connections for ever.
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	opts := []remote.Option{
		remote.WithTransport(tr), remote.WithAuth(&authn.Basic{Username: "u", Password: "p"}),
		remote.WithRetryBackoff(remote.Backoff{Duration: time.Microsecond, Steps: 3}),
	}
	if err := remote.Write(ref, img, opts...); err != nil {
		t.Fatal(err)
	}
	back, err := remote.Image(ref, opts...)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := img.Digest()
	if got, _ := back.Digest(); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if diff := cmp.Diff([]int{1, 1}, p.Applied()); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	// What the proxy passed on is what the registry counted.
	passed := int64(0)
	for _, rec := range p.Records() {
		if rec.Reached {
			passed++
		}
	}
	counted := int64(0)
	for _, n := range r.Requests() {
		counted += n
	}
	if passed != counted {
		t.Errorf("passed on %d, counted %d: %v", passed, counted, r.Requests())
	}
}

// A token that ends in the middle is answered with the registry's challenge.
func TestExpiredBeforeRegistry(t *testing.T) {
	r := registry(t, localregistry.Options{Auth: &localregistry.Auth{Users: map[string]string{"u": "p"}}})
	f := newFront(t, Proxy(r.Host(), Rule{Fault: FaultExpired, Times: 1}))
	for _, want := range []int{401, 200} {
		q, err := http.NewRequest("GET", f.url+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.SetBasicAuth("u", "p")
		a, err := f.http.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != want {
			t.Errorf("status %d, want %d", a.StatusCode, want)
		}
		if want == 401 && a.Header.Get("WWW-Authenticate") == "" {
			t.Error("no challenge")
		}
	}
}

func TestProxyWithoutRegistry(t *testing.T) {
	f := newFront(t, Proxy("127.0.0.1:1"))
	if o, _ := f.do("GET", "/v2/", ""); o.Status != http.StatusBadGateway {
		t.Errorf("%+v, want status 502", o)
	}
}

// A registry that knows no mounts opens an upload when it is asked for one.
func TestNoMountBeforeRegistry(t *testing.T) {
	r := registry(t, localregistry.Options{})
	layer := "layer"
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(layer)))
	f := newFront(t, Proxy(r.Host(), Rule{Fault: FaultNoMount, Skip: 3, Times: 1}))
	opened, header := f.do("POST", "/v2/from/blobs/uploads/", "")
	if opened.Status != 202 {
		t.Fatalf("%+v", opened)
	}
	if o, _ := f.do("PUT", header.Get("Location")+"&digest="+sum, layer); o.Status != 201 {
		t.Fatalf("%+v", o)
	}
	mount := "/v2/to%d/blobs/uploads/?mount=" + sum + "&from=from"
	for i, want := range []int{201, 202, 201} {
		if o, _ := f.do("POST", fmt.Sprintf(mount, i), ""); o.Status != want {
			t.Errorf("mount %d: status %d, want %d", i, o.Status, want)
		}
	}
}
