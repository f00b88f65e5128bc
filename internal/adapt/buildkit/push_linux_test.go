package buildkit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/buildkit/client/llb"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
)

// serve starts a registry on a loopback port and returns its host.
func serve(t *testing.T, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	h := http.Handler(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func fetch(t *testing.T, repo string, built plan.Built) v1.Image {
	t.Helper()
	ref, err := name.NewDigest(repo+"@"+string(built.Digest), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

const config = `{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin","A=b"],"User":"10001","Entrypoint":["/x"],"Labels":{"k":"v"},"Healthcheck":{"Test":["CMD","true"]}},"custom":{"kept":true}}`

func TestPush(t *testing.T) {
	epoch := time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	tests := []struct {
		name         string
		job          plan.Job
		media, layer types.MediaType
	}{
		{"default", plan.Job{}, types.OCIManifestSchema1, types.OCILayer},
		{"http", plan.Job{HTTP: true}, types.OCIManifestSchema1, types.OCILayer},
		{"docker", plan.Job{MediaTypes: "docker", Compression: "gzip"}, types.DockerManifestSchema2, types.DockerLayer},
		{"level", plan.Job{MediaTypes: "oci", Compression: "zstd", CompressionLevel: 19}, types.OCIManifestSchema1, types.OCILayerZStd},
		{"zstd", plan.Job{MediaTypes: "oci", Compression: "zstd"}, types.OCIManifestSchema1, types.OCILayerZStd},
		{"annotations", plan.Job{Annotations: map[string]string{"dev.lapstrake.key": "v1:00", "x": "a b=c,d"}}, types.OCIManifestSchema1, types.OCILayer},
		{"epoch", plan.Job{Epoch: &epoch}, types.OCIManifestSchema1, types.OCILayer},
	}
	c := dial(t)
	host := serve(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, c, buildkit.SessionOptions{Locals: folder(t, map[string]string{"f": t.Name()})})
			job := tt.job
			job.Config, job.Repo = []byte(config), host+"/a/"+tt.name
			job.Definition = marshal(t, copied(llb.Scratch(), "/f", "/f"))
			built, err := s.Solve(t.Context(), job, new(records).add)
			if err != nil {
				t.Fatal(err)
			}
			img := fetch(t, job.Repo, built)
			m, err := img.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			if m.MediaType != tt.media || len(m.Layers) != 1 || m.Layers[0].MediaType != tt.layer {
				t.Errorf("media types %s, layers %+v", m.MediaType, m.Layers)
			}
			if d := cmp.Diff(job.Annotations, m.Annotations); d != "" {
				t.Errorf("annotations (-want +got):\n%s", d)
			}
			checkConfig(t, img, job.Epoch)
			repo, _ := name.NewRepository(job.Repo, name.Insecure)
			if tags, err := remote.List(repo); err != nil || len(tags) > 0 {
				t.Errorf("tags %q, %v: nothing may be pushed under a tag", tags, err)
			}
		})
	}
}

// checkConfig compares the exported config with the given one: every field is
// kept, and layers, history and time are added.
func checkConfig(t *testing.T, img v1.Image, epoch *time.Time) {
	t.Helper()
	raw, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	json.Unmarshal([]byte(config), &want)
	json.Unmarshal(raw, &got)
	if epoch != nil && got["created"] != epoch.Format(time.RFC3339) {
		t.Errorf("created %v, want %v", got["created"], epoch)
	}
	for _, added := range []string{"rootfs", "history", "created"} {
		if got[added] == nil {
			t.Errorf("the config has no %s", added)
		}
		delete(got, added)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("config (-want +got):\n%s", d)
	}
}

func TestEpochMakesEqualDigestsOnTwoDaemons(t *testing.T) {
	epoch := time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	host := serve(t, nil)
	digests := map[string]bool{}
	locals := folder(t, map[string]string{"f": "x"})
	for _, d := range []*worker.Daemon{workertest.Start(t), workertest.New(t, worker.Options{})} {
		s := open(t, dialTo(t, d.Addr()), buildkit.SessionOptions{Locals: locals})
		job := plan.Job{Config: []byte(config), Repo: host + "/a/b", Epoch: &epoch,
			Definition: marshal(t, sh(copied(box(), "/f", "/f"), "echo hi > /made"))}
		built, err := s.Solve(t.Context(), job, new(records).add)
		if err != nil {
			t.Fatal(err)
		}
		digests[string(built.Digest)] = true
	}
	if len(digests) != 1 {
		t.Errorf("digests %v", digests)
	}
}

func TestPulledBytes(t *testing.T) {
	host := serve(t, nil)
	maker := open(t, dial(t), buildkit.SessionOptions{Locals: folder(t, map[string]string{"f": t.Name()})})
	job := plan.Job{Config: []byte(config), Repo: host + "/base", Definition: marshal(t, copied(box(), "/f", "/f"))}
	built, err := maker.Solve(t.Context(), job, new(records).add)
	if err != nil {
		t.Fatal(err)
	}
	m, err := fetch(t, job.Repo, built).Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	for _, l := range m.Layers {
		want += l.Size
	}
	base := llb.Image(job.Repo + "@" + string(built.Digest))
	d := workertest.New(t, worker.Options{})
	c := dialTo(t, d.Addr())
	for i, tt := range []struct {
		name string
		want int64
	}{{"cold", want}, {"warm", 0}} {
		recs, err := solve(t, c, buildkit.SessionOptions{}, sh(base, fmt.Sprintf("echo %d", i)))
		if err != nil {
			t.Fatal(err)
		}
		if got := recs.pulled(); got != tt.want {
			t.Errorf("%s: pulled %d bytes, want %d\n%s", tt.name, got, tt.want, recs)
		}
	}
}

func TestCredentials(t *testing.T) {
	const user, password = "me", "not-to-be-seen"
	host := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	d := workertest.New(t, worker.Options{})
	c := dialTo(t, d.Addr())
	var asked atomic.Int64
	with := func(p string) func(context.Context, string) (string, string, error) {
		return func(_ context.Context, h string) (string, string, error) {
			if asked.Add(1); h != host {
				return "", "", fmt.Errorf("asked for %s", h)
			}
			return user, p, nil
		}
	}
	tests := []struct {
		name  string
		creds func(context.Context, string) (string, string, error)
		ok    bool
	}{
		{"none", nil, false},
		{"wrong", with(password + "-wrong"), false},
		{"broken", func(context.Context, string) (string, string, error) { return "", "", fmt.Errorf("helper broke") }, false},
		{"right", with(password), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, c, buildkit.SessionOptions{Locals: folder(t, nil), Credentials: tt.creds})
			job := plan.Job{Config: []byte(config), Repo: host + "/" + tt.name, Definition: marshal(t, box())}
			recs := &records{}
			_, err := s.Solve(t.Context(), job, recs.add)
			if (err == nil) != tt.ok || err != nil && diag.KindOf(err) != diag.Infra {
				t.Errorf("kind %v of %v", diag.KindOf(err), err)
			}
			if (tt.name == "none" || tt.name == "wrong") && diag.HelpOf(err) == "" {
				t.Errorf("no help with %v", err)
			}
			if strings.Contains(fmt.Sprint(err)+recs.String(), password) {
				t.Errorf("the password is in an error or record: %v", err)
			}
		})
	}
	if asked.Load() == 0 {
		t.Error("nobody asked for credentials")
	}
}
