package registry_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/lapstrake/lapstrake/internal/adapt/registry/storetest"
)

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
