package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry/storetest"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// When the source breaks off, a copy asks for the rest only, if it can.
func TestCopyResumes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ranges bool
		pulled func(size, cut int64) int64
	}{
		{"with ranges", true, func(size, cut int64) int64 { return size }},
		{"without", false, func(size, cut int64) int64 { return size + cut + cut + 10 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const cut = 1000
				w := newWorld(t, testfleet.Rule{Method: "GET", Path: "/blobs/", Times: 1, Fault: testfleet.FaultResetBody, Bytes: cut},
					testfleet.Rule{Method: "GET", Path: "/blobs/", Times: 1, Fault: testfleet.FaultResetBody, Bytes: cut + 10})
				inner := separate(w.back.next)
				w.back.next = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
					if !tt.ranges {
						q.Header.Del("Range")
					}
					inner.ServeHTTP(rw, q)
				})
				im := storetest.NewImage("im", 1, false, "")
				storetest.Apply(t, w.direct(), im.Ops(remote+"/base/one", "1")...)
				size := int64(len(im.Layers[0]))
				out := storetest.Apply(t, w.store, storetest.Bring(plan.OpCopy, remote+"/a/b", remote+"/base/one", im.Layers[0]))[0]
				if d := cmp.Diff(plan.Outcome{Did: plan.OpCopy, Pulled: tt.pulled(size, cut), Pushed: size}, out); d != "" {
					t.Errorf("outcome (-want +got):\n%s", d)
				}
				var ranges []string
				puts := 0
				for _, s := range w.front.take() {
					if s.method == http.MethodGet {
						ranges = append(ranges, s.rang)
					}
					if s.method == http.MethodPut {
						puts++
						if !bytes.Equal(s.body, im.Layers[0]) {
							t.Error("the upload is not the blob")
						}
					}
				}
				second := fmt.Sprintf("bytes=%d-%d", 2*cut+10, size-1)
				if !tt.ranges {
					second = fmt.Sprintf("bytes=%d-%d", cut+10, size-1)
				}
				if d := cmp.Diff([]string{"", fmt.Sprintf("bytes=1000-%d", size-1), second}, ranges); d != "" || puts != 1 {
					t.Errorf("%d uploads; ranges (-want +got):\n%s", puts, d)
				}
			})
		})
	}
}

// A mount that is not granted becomes a copy in the session that the registry
// opened, or an error in strict mode. A registry with room for one request at a
// time is no trap.
func TestMountRefused(t *testing.T) {
	refuse := func(next http.Handler, status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Query().Get("mount") != "" {
				if status != 0 {
					w.WriteHeader(status)
					return
				}
				q.URL.RawQuery = ""
			}
			if q.Method == http.MethodHead && strings.Contains(q.URL.Path, "/a/b/blobs/") {
				w.WriteHeader(http.StatusNotFound) // the registry in memory has one store of blobs
				return
			}
			next.ServeHTTP(w, q)
		})
	}
	for _, tt := range []struct {
		name        string
		status      int // 0: a session
		concurrency int
		strict      bool
		requests    []string
	}{
		{"session", 0, 0, false, []string{"POST", "GET", "PUT"}},
		{"one at a time", 0, 1, false, []string{"POST", "GET", "PUT"}},
		{"forbidden", 403, 0, false, []string{"POST", "POST"}},
		{"bad request", 400, 0, false, []string{"POST", "POST", "POST", "GET", "PUT"}},
		{"not allowed", 405, 0, false, []string{"POST", "HEAD", "POST", "GET", "PUT"}},
		{"not implemented", 501, 0, false, []string{"POST", "HEAD", "POST", "GET", "PUT"}},
		{"strict", 0, 0, true, []string{"POST"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				im := storetest.NewImage("im", 1, false, "")
				storetest.Apply(t, w.direct(), im.Ops(remote+"/base/one", "1")...)
				w.back.next = refuse(w.back.next, tt.status)
				o := w.options
				o.StrictMounts, o.Concurrency = tt.strict, tt.concurrency
				s := client(t, o)
				out, err := s.Apply(t.Context(), storetest.Bring(plan.OpMount, remote+"/a/b", remote+"/base/one", im.Layers[0]))
				var got []string
				for _, r := range w.front.take() {
					got = append(got, r.method)
				}
				if n := len(got); n >= 3 && tt.concurrency != 1 && got[n-1] == "GET" {
					// Reading begins when the upload has its turn; which one arrives
					// first is open.
					got[n-2], got[n-1] = "GET", "PUT"
				}
				if d := cmp.Diff(tt.requests, got); d != "" {
					t.Errorf("requests (-want +got):\n%s", d)
				}
				switch {
				case tt.strict:
					if !errors.Is(err, registry.ErrMountRefused) || diag.KindOf(err) != diag.Infra {
						t.Errorf("error %v", err)
					}
				case tt.status == 403:
					if err == nil || !strings.Contains(diag.HelpOf(err), "push") {
						t.Errorf("error %v, help %q", err, diag.HelpOf(err))
					}
				case err != nil || out.Did != plan.OpCopy:
					t.Errorf("outcome %v, error %v", out, err)
				}
				if n := s.Totals().MountsRefused; n != 1 {
					t.Errorf("%d mounts refused", n)
				}
			})
		})
	}
}

// Many copies in both directions between two registries do not wait for each
// other, with few requests allowed.
func TestCopiesBothWays(t *testing.T) {
	for _, width := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				hosts := []string{"one.example.com:80", "two.example.com:80"}
				o := registry.Options{Dial: n.dial, Concurrency: width}
				var recorders []*recorder
				for _, h := range hosts {
					r := &recorder{next: memory()}
					recorders = append(recorders, r)
					n.serve(h, r)
					o.Registries = append(o.Registries, fleet.Registry{Host: h, HTTP: true})
				}
				s := client(t, o)
				var ops []plan.Op
				for i, h := range hosts {
					for j := range 20 {
						im := storetest.NewImage(fmt.Sprint(h, j), 1, false, "")
						storetest.Apply(t, s, storetest.Upload(h+"/base/one", storetest.OCILayer, im.Layers[0]))
						ops = append(ops, storetest.Bring(plan.OpCopy, hosts[1-i]+"/copy", h+"/base/one", im.Layers[0]))
					}
				}
				var wg sync.WaitGroup
				for _, op := range ops {
					wg.Go(func() {
						if out, err := s.Apply(t.Context(), op); err != nil || out.Did != plan.OpCopy {
							t.Errorf("outcome %v, error %v", out, err)
						}
					})
				}
				wg.Wait()
				for i, r := range recorders {
					if r.most > width {
						t.Errorf("%d requests at once at %s", r.most, hosts[i])
					}
				}
			})
		})
	}
}

// An upload whose session breaks begins anew.
func TestUploadSessionLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testfleet.Rule{Method: "PUT", Path: "/uploads/", Times: 2, Status: 404},
			testfleet.Rule{Method: "PUT", Path: "/uploads/", Times: 1, Fault: testfleet.FaultResetUpload, Bytes: 100})
		data := bytes.Repeat([]byte("x"), 5000)
		storetest.Apply(t, w.store, storetest.Upload(remote+"/a/b", storetest.OCILayer, data))
		got := map[string]int{}
		for _, s := range w.front.take() {
			got[s.method]++
		}
		if d := cmp.Diff(map[string]int{"POST": 4, "PUT": 4}, got); d != "" {
			t.Errorf("requests (-want +got):\n%s", d)
		}
	})
	t.Run("for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, testfleet.Rule{Method: "PUT", Path: "/uploads/", Status: 404})
			_, err := w.store.Apply(t.Context(), storetest.Upload(remote+"/a/b", storetest.OCILayer, []byte("x")))
			if diag.KindOf(err) != diag.Infra || err == nil {
				t.Errorf("error %v of kind %v", err, diag.KindOf(err))
			}
			if n := w.faults.Applied()[0]; n != 6 {
				t.Errorf("%d attempts", n)
			}
		})
	})
}
