package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry/storetest"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// operation is something that a store does, with what must be true before and
// after it.
type operation struct {
	name    string
	methods []string // the requests that can go wrong, with a part of the path
	do      func(ctx context.Context, w *world) error
	check   func(t *testing.T, w *world)
}

func operations() []operation {
	im := storetest.NewImage("im", 2, false, "v1:key")
	repo, base := remote+"/a/b", remote+"/base/one"
	apply := func(op plan.Op) func(context.Context, *world) error {
		return func(ctx context.Context, w *world) error {
			_, err := w.store.Apply(ctx, op)
			return err
		}
	}
	hasLayer := func(t *testing.T, w *world) {
		data, err := w.direct().Blob(t.Context(), repo, storetest.Sum(im.Layers[0]), 1<<20)
		if err != nil || !bytes.Equal(data, im.Layers[0]) {
			t.Errorf("the layer is not there: %v", err)
		}
	}
	resolve := func(ctx context.Context, w *world) error {
		b, err := w.store.Resolve(ctx, base+":1", "linux/amd64")
		if err == nil && b.Digest != im.Digest {
			return errors.New("wrong base")
		}
		return err
	}
	return []operation{
		{name: "resolve", methods: []string{"GET /manifests/", "GET /blobs/"}, do: resolve},
		{
			name: "resolve again", methods: []string{"HEAD /manifests/"},
			do: func(ctx context.Context, w *world) error {
				if err := resolve(ctx, w); err != nil {
					return fmt.Errorf("the first time: %w", err)
				}
				return resolve(ctx, w)
			},
		},
		{
			name: "stat", methods: []string{"HEAD /manifests/", "GET /manifests/"},
			do: func(ctx context.Context, w *world) error {
				tag, err := w.store.Stat(ctx, base+":1")
				if err == nil && tag.Key != "v1:key" {
					return fmt.Errorf("tag is %v", tag)
				}
				return err
			},
		},
		{
			name: "tags", methods: []string{"GET /tags/"},
			do: func(ctx context.Context, w *world) error {
				tags, err := w.store.Tags(ctx, base)
				if err == nil && !tags["1"] {
					return fmt.Errorf("tags are %v", tags)
				}
				return err
			},
		},
		{
			name: "upload", methods: []string{"POST /uploads/", "PUT /uploads/"},
			do:    apply(storetest.Upload(repo, storetest.OCILayer, im.Layers[0])),
			check: hasLayer,
		},
		{
			name: "mount", methods: []string{"POST /uploads/"},
			do:    apply(storetest.Bring(plan.OpMount, repo, base, im.Layers[0])),
			check: hasLayer,
		},
		{
			name: "copy", methods: []string{"GET /blobs/", "POST /uploads/", "PUT /uploads/"},
			do:    apply(storetest.Bring(plan.OpCopy, repo, remote+"/base/one", im.Layers[0])),
			check: hasLayer,
		},
		{
			name: "manifest", methods: []string{"PUT /manifests/"},
			do: apply(storetest.Put(base, "2", storetest.OCIManifest, im.Manifest)),
			check: func(t *testing.T, w *world) {
				if tag, err := w.direct().Stat(t.Context(), base+":2"); err != nil || tag.Digest != im.Digest {
					t.Errorf("tag is %v, %v", tag, err)
				}
			},
		},
	}
}

// separate makes the registry in memory, which has one store of blobs for all
// repositories, look as if nothing was there to mount or to skip.
func separate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if v := q.URL.Query(); v.Get("mount") != "" && v.Get("from") != "base/one" {
			q.URL.RawQuery = ""
		}
		next.ServeHTTP(w, q)
	})
}

// Every operation survives every passing fault of every of its requests, and
// leaves what it should.
func TestPassingFaults(t *testing.T) {
	faults := map[string]testfleet.Rule{
		"500":                   {Fault: testfleet.FaultStatus, Status: 500},
		"502":                   {Fault: testfleet.FaultStatus, Status: 502},
		"503":                   {Fault: testfleet.FaultStatus, Status: 503},
		"429":                   {Fault: testfleet.FaultStatus, Status: 429},
		"429 with Retry-After":  {Fault: testfleet.FaultStatus, Status: 429, RetryAfter: "60"},
		"reset before":          {Fault: testfleet.FaultResetBefore},
		"reset after":           {Fault: testfleet.FaultResetAfter},
		"reset within the body": {Fault: testfleet.FaultResetBody, Bytes: 10},
		"truncated":             {Fault: testfleet.FaultTruncate, Bytes: 10},
	}
	for _, op := range operations() {
		for _, method := range op.methods {
			for name, rule := range faults {
				verb, part, _ := strings.Cut(method, " ")
				if verb != http.MethodGet && (name == "truncated" || name == "reset within the body") {
					continue // there is no body
				}
				if part == "/tags/" && name == "truncated" {
					continue // nothing tells: a list has no digest
				}
				t.Run(op.name+"/"+method+"/"+name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						rule.Method, rule.Path, rule.Times = verb, part, 2
						w := newWorld(t, rule)
						w.back.next = separate(w.back.next)
						storetest.Apply(t, w.direct(), storetest.NewImage("im", 2, false, "v1:key").Ops(remote+"/base/one", "1")...)
						if err := op.do(t.Context(), w); err != nil {
							t.Fatal(err)
						}
						if got := w.faults.Applied()[0]; got != 2 {
							t.Errorf("the fault happened %d times", got)
						}
						// Go's transport repeats what it can when a connection that was
						// used before breaks, without asking us.
						if got := w.store.Totals().Retries; got != 2 && !(strings.HasPrefix(name, "reset") && got == 1) {
							t.Errorf("%d retries", got)
						}
						if op.check != nil {
							op.check(t, w)
						}
					})
				})
			}
		}
	}
}

// What is wrong for good ends an operation, with as few requests as possible.
func TestLastingFaults(t *testing.T) {
	for _, tt := range []struct {
		name     string
		rule     testfleet.Rule
		requests int
		help     string
	}{
		{"500", testfleet.Rule{Status: 500}, 8, ""},
		{"reset", testfleet.Rule{Fault: testfleet.FaultResetBefore}, 8, "can be reached"},
		{"401", testfleet.Rule{Status: 401}, 1, "docker login " + remote},
		{"403", testfleet.Rule{Status: 403}, 1, "docker login " + remote},
		{"400", testfleet.Rule{Status: 400}, 1, ""},
		{"hours to wait", testfleet.Rule{Status: 429, RetryAfter: "21600"}, 1, "mirror"},
	} {
		for _, op := range operations() {
			verb, part, _ := strings.Cut(op.methods[0], " ")
			if tt.name == "400" && op.name != "manifest" && op.name != "upload" {
				continue // others have a second way
			}
			want := tt.requests
			if op.name == "mount" && tt.rule.Status/100 == 4 && tt.rule.Status != 429 {
				continue // becomes a copy, tested elsewhere
			}
			t.Run(tt.name+"/"+op.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tt.rule.Method, tt.rule.Path = verb, part
					w := newWorld(t, tt.rule)
					w.back.next = separate(w.back.next)
					storetest.Apply(t, w.direct(), storetest.NewImage("im", 2, false, "v1:key").Ops(remote+"/base/one", "1")...)
					err := op.do(t.Context(), w)
					if diag.KindOf(err) != diag.Infra || err == nil {
						t.Fatalf("error %v of kind %v", err, diag.KindOf(err))
					}
					if !strings.Contains(diag.HelpOf(err), tt.help) {
						t.Errorf("help %q lacks %q", diag.HelpOf(err), tt.help)
					}
					if errors.Is(err, registry.ErrNotFound) {
						t.Errorf("%v counts as not found", err)
					}
					// One more where Go's transport repeats a request by itself.
					if got := w.faults.Applied()[0]; got != want && !(tt.name == "reset" && got == want+1) {
						t.Errorf("%d requests, want %d: %v", got, want, err)
					}
				})
			})
		}
	}
}

// Nobody sends anything to a host that asked for a pause, whatever it is about.
func TestRetryAfterIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testfleet.Rule{Method: "HEAD", Skip: 3, Times: 4, Status: 429, RetryAfter: "45"})
		var mu sync.Mutex
		var times []time.Time // of refusals
		w.faults.After = func(r testfleet.Record) {
			if r.Status == http.StatusTooManyRequests {
				mu.Lock()
				times = append(times, time.Now())
				mu.Unlock()
			}
		}
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				if _, err := w.store.Stat(t.Context(), fmt.Sprintf("%s/r%d:x", remote, i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		log := w.front.take()
		refused := map[time.Time]bool{}
		for _, at := range times {
			refused[at] = true
		}
		for _, r := range log {
			for at := range refused {
				if r.at.After(at) && r.at.Before(at.Add(45*time.Second)) {
					t.Errorf("a request was sent %v after a refusal", r.at.Sub(at))
				}
			}
		}
		if len(log) != 44 || len(times) != 4 {
			t.Errorf("%d requests, %d refused", len(log), len(times))
		}
	})
}

// After a refusal for hours nothing is sent to the host, and the error says until
// when.
func TestRefusedForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testfleet.Rule{Method: "HEAD", Times: 1, Status: 429, RetryAfter: "21600"})
		until := time.Now().Add(6 * time.Hour).UTC().Format(time.RFC3339)
		for i := range 3 {
			_, err := w.store.Stat(t.Context(), remote+"/a/b:x")
			if err == nil || diag.KindOf(err) != diag.Infra || !strings.Contains(diag.HelpOf(err), "mirror") {
				t.Fatalf("look %d: error %v, help %q", i, err, diag.HelpOf(err))
			}
			if i > 0 && !strings.Contains(err.Error(), until) {
				t.Errorf("look %d: error %v does not name %s", i, err, until)
			}
		}
		if n := len(w.front.take()); n != 1 {
			t.Errorf("%d requests", n)
		}
		time.Sleep(6 * time.Hour) // of the test's own time
		if tag, err := w.store.Stat(t.Context(), remote+"/a/b:x"); err != nil || tag.Exists {
			t.Errorf("afterwards: %v, %v", tag, err)
		}
	})
}

// Sources that cannot go on in the middle, or send too much, or too little.
func TestStrangeSources(t *testing.T) {
	layer := storetest.NewImage("im", 1, false, "").Layers[0]
	for _, tt := range []struct {
		name string
		blob func(w http.ResponseWriter, q *http.Request, n int) // the nth answer, from 1
		ok   bool
	}{
		{"416 for ranges", func(w http.ResponseWriter, q *http.Request, n int) {
			switch {
			case n == 1:
				w.Header().Set("Content-Length", fmt.Sprint(len(layer)))
				_, _ = w.Write(layer[:100])
				panic(http.ErrAbortHandler)
			case q.Header.Get("Range") != "":
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			default:
				_, _ = w.Write(layer)
			}
		}, true},
		{"too much", func(w http.ResponseWriter, _ *http.Request, _ int) {
			_, _ = w.Write(layer)
			_, _ = w.Write([]byte("more"))
		}, false},
		{"always too little", func(w http.ResponseWriter, _ *http.Request, _ int) { _, _ = w.Write(layer[:100]) }, true},
		{"nothing", func(http.ResponseWriter, *http.Request, int) {}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const source = "source.example.com:80"
				w := newWorld(t)
				n := 0
				w.net.serve(source, http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
					if q.URL.Path == "/v2/" {
						return
					}
					n++
					if tt.name == "always too little" && q.Header.Get("Range") != "" {
						var from int
						_, _ = fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-", &from)
						rw.WriteHeader(http.StatusPartialContent)
						_, _ = rw.Write(layer[from:min(len(layer), from+1500)])
						return
					}
					tt.blob(rw, q, n)
				}))
				o := w.options
				o.Registries = append(o.Registries, fleet.Registry{Host: source, HTTP: true})
				s := client(t, o)
				out, err := s.Apply(t.Context(), storetest.Bring(plan.OpCopy, remote+"/a/b", source+"/base", layer))
				if tt.ok != (err == nil) || tt.ok && out.Did != plan.OpCopy {
					t.Fatalf("outcome %v, error %v", out, err)
				}
				data, err := w.direct().Blob(t.Context(), remote+"/a/b", storetest.Sum(layer), 1<<20)
				if tt.ok && err != nil || err == nil && !bytes.Equal(data, layer) {
					t.Errorf("in the target: %v", err)
				}
			})
		})
	}
}

func TestManifestIsSentAgainAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testfleet.Rule{Method: "PUT", Path: "/manifests/", Times: 3, Fault: testfleet.FaultResetAfter})
		im := storetest.NewImage("im", 1, false, "v1:key")
		storetest.Apply(t, w.store, im.Ops(remote+"/a/b", "1")...)
		n := 0
		for _, s := range w.front.take() {
			if s.method == http.MethodPut && strings.Contains(s.path, "/manifests/") {
				n++
				if !bytes.Equal(s.body, im.Manifest) || s.path != "/v2/a/b/manifests/1" {
					t.Errorf("attempt %d: %s %q", n, s.path, s.body)
				}
			}
		}
		if n != 4 {
			t.Errorf("%d attempts, want 4", n)
		}
	})
}

// A registry that never answers does not hold anybody for ever.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		began := time.Now()
		w.back.next = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path != "/v2/" {
				<-q.Context().Done()
			}
		})
		_, err := w.store.Stat(t.Context(), remote+"/a/b:x")
		if diag.KindOf(err) != diag.Infra || err == nil {
			t.Fatalf("error %v", err)
		}
		if took := time.Since(began); took > 5*time.Minute {
			t.Errorf("took %v", took)
		}
	})
}

// A slow answer is an answer.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testfleet.Rule{Method: "GET", Path: "/blobs/", Fault: testfleet.FaultSlow, Bytes: 500, Delay: 50 * time.Second})
		im := storetest.NewImage("im", 1, false, "")
		storetest.Apply(t, w.direct(), im.Ops(remote+"/a/b", "1")...)
		data, err := w.store.Blob(t.Context(), remote+"/a/b", storetest.Sum(im.Layers[0]), 1<<20)
		if err != nil || !bytes.Equal(data, im.Layers[0]) {
			t.Fatal(err)
		}
		if n := w.store.Totals().Retries; n != 0 {
			t.Errorf("%d retries", n)
		}
	})
}

// The context's end is seen in a pause, while a request is under way, and while
// waiting for a turn.
func TestCancel(t *testing.T) {
	for _, tt := range []struct {
		name string
		rule testfleet.Rule
	}{
		{"pause", testfleet.Rule{Method: "HEAD", Status: 429, RetryAfter: "300"}},
		{"request", testfleet.Rule{Method: "HEAD", Fault: testfleet.FaultSlow, Bytes: 1, Delay: 50 * time.Second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, tt.rule)
				if tt.name == "request" {
					w.front.next = http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() })
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				var wg sync.WaitGroup
				for range 30 {
					wg.Go(func() {
						_, err := w.store.Stat(ctx, remote+"/a/b:x")
						if diag.KindOf(err) != diag.Interrupted || !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("error %v", err)
						}
					})
				}
				began := time.Now()
				wg.Wait()
				if took := time.Since(began); took != 20*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestConcurrencyIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*registry.Options)
		want int
	}{
		{"default", func(*registry.Options) {}, registry.DefaultConcurrency},
		{"of the store", func(o *registry.Options) { o.Concurrency = 5 }, 5},
		{"of the host", func(o *registry.Options) { o.Concurrency = 5; o.Registries[0].Concurrency = 3 }, 3},
		{"without a policy", func(o *registry.Options) { o.Limits = nil; o.Concurrency = 4 }, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				inner := w.back.next
				w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
					time.Sleep(time.Second) // of the test's own time
					inner.ServeHTTP(rw, q)
				})
				o := w.options
				tt.set(&o)
				s, err := registry.New(o)
				if tt.name != "without a policy" {
					o.Limits = limits
					s, err = registry.New(o)
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(s.Close)
				var wg sync.WaitGroup
				for i := range 50 {
					wg.Go(func() {
						if _, err := s.Stat(t.Context(), fmt.Sprintf("%s/r%d:x", remote, i)); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if w.front.most != tt.want {
					t.Errorf("%d requests at once, want %d", w.front.most, tt.want)
				}
			})
		})
	}
}

// A dead host fails everybody soon.
func TestDeadHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		s := client(t, registry.Options{Dial: n.dial})
		began := time.Now()
		var wg sync.WaitGroup
		work := make(chan int)
		for range 16 {
			wg.Go(func() {
				for i := range work {
					_, err := s.Stat(t.Context(), fmt.Sprintf("dead.example.com/r%d:x", i))
					if diag.KindOf(err) != diag.Infra || !errors.Is(err, errUnreachable) {
						t.Errorf("error %v", err)
					}
				}
			})
		}
		for i := range 500 {
			work <- i
		}
		close(work)
		wg.Wait()
		if took := time.Since(began); took > time.Minute {
			t.Errorf("took %v", took)
		}
		if n := s.Totals().Hosts["dead.example.com"]; n > 20 {
			t.Errorf("%d attempts", n)
		}
	})
}

// A content that is not what its digest says is never believed.
func TestWrongContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		im := storetest.NewImage("im", 1, false, "")
		storetest.Apply(t, w.direct(), im.Ops(remote+"/base/one", "1")...)
		good := separate(w.back.next)
		var lies atomic.Bool
		lies.Store(true)
		w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
			if lies.Load() && q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/") {
				_, _ = rw.Write(bytes.Repeat([]byte("y"), len(im.Layers[0])))
				return
			}
			good.ServeHTTP(rw, q)
		})
		d := storetest.Sum(im.Layers[0])
		if _, err := w.store.Blob(t.Context(), remote+"/base/one", d, 1<<20); err == nil || diag.KindOf(err) != diag.Infra {
			t.Errorf("blob: %v", err)
		}
		if _, err := w.store.Resolve(t.Context(), remote+"/base/one:1", "linux/amd64"); err == nil || diag.KindOf(err) != diag.Infra {
			t.Errorf("resolve: %v", err)
		}
		if _, ok := w.store.Cached(remote+"/base/one:1", "linux/amd64"); ok {
			t.Error("the wrong config was kept")
		}
		w.front.take()
		_, err := w.store.Apply(t.Context(), storetest.Bring(plan.OpCopy, remote+"/a/b", remote+"/base/one", im.Layers[0]))
		if err == nil || diag.KindOf(err) != diag.Infra || !strings.Contains(err.Error(), "digest") {
			t.Errorf("copy: %v", err)
		}
		lies.Store(false)
		if _, err := w.store.Blob(t.Context(), remote+"/a/b", storetest.Sum(bytes.Repeat([]byte("y"), len(im.Layers[0]))), 1<<20); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("the wrong blob: %v", err)
		}
	})
}
