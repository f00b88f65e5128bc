package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/decide/limit"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/model/traffic"
	"crypto/sha256"
)

func sum(b []byte) graph.Digest { return graph.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(b))) }

func TestSmoke(t *testing.T) {
	for _, auth := range []*localregistry.Auth{nil, {Users: map[string]string{"u": "passw"}}, {Users: map[string]string{"u": "passw"}, Token: true}} {
		r, err := localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir(), Auth: auth})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Stop(context.Background())
		s, err := registry.New(registry.Options{Facts: t.TempDir(),
			Credentials: func(context.Context, string, string, bool) (string, string, string, string, error) {
				return "u", "passw", "", "", nil
			},
			Limits: func(_ string, n int) traffic.Policy { return limit.New(limit.Options{Concurrency: n, Random: rand.Float64}) }})
		if err != nil {
			t.Fatal(err)
		}
		layer := make([]byte, 1<<20)
		config := []byte(`{"architecture":"amd64","os":"linux","config":{"Env":["A=b"]},"rootfs":{"type":"layers","diff_ids":["` + string(sum(layer)) + `"]},"history":[{"created":"2020-01-01T00:00:00Z"}]}`)
		manifest, _ := json.MarshalIndent(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
			"config":      fact.Descriptor{MediaType: "application/vnd.oci.image.config.v1+json", Digest: sum(config), Size: int64(len(config))},
			"layers":      []fact.Descriptor{{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: sum(layer), Size: int64(len(layer))}},
			"annotations": map[string]string{fact.KeyAnnotation: "v1:abc"}}, "", " ")
		h := r.Host()
		apply := func(op plan.Op) {
			t.Helper()
			if op.Data != nil {
				op.Digest, op.Size = sum(op.Data), int64(len(op.Data))
			}
			out, err := s.Apply(t.Context(), op)
			t.Log(op.Kind, out, err, r.Requests())
			r.Reset()
			if err != nil {
				t.Error(err)
			}
		}
		apply(plan.Op{Kind: plan.OpUpload, Repo: h + "/a/b", Data: layer})
		apply(plan.Op{Kind: plan.OpUpload, Repo: h + "/a/b", Data: config})
		apply(plan.Op{Kind: plan.OpManifest, Repo: h + "/a/b", Data: manifest, Tag: "x", MediaType: "application/vnd.oci.image.manifest.v1+json"})
		apply(plan.Op{Kind: plan.OpMount, Repo: h + "/c/d", From: h + "/a/b", Digest: sum(layer), Size: 1 << 20})
		apply(plan.Op{Kind: plan.OpCopy, Repo: h + "/e/f", From: h + "/a/b", Digest: sum(layer), Size: 1 << 20})
		apply(plan.Op{Kind: plan.OpCopy, Repo: h + "/e/f", From: h + "/a/b", Digest: sum(layer), Size: 1 << 20})
		b, err := s.Resolve(t.Context(), h+"/a/b:x", "linux/amd64")
		t.Log(b, err, r.Requests())
		b, ok := s.Cached(h+"/a/b:x", "linux/amd64")
		t.Log(b, ok)
		r.Reset()
		tag, err := s.Stat(t.Context(), h+"/a/b:x")
		t.Log(tag, err, r.Requests())
		tag, err = s.Stat(t.Context(), h+"/a/bq:x")
		t.Log(tag, err)
		tags, err := s.Tags(t.Context(), h+"/a/b")
		t.Log(tags, err)
		_, _, err = s.Manifest(t.Context(), h+"/a/b", sum(layer))
		t.Log(err)
		t.Log(s.Totals())
	}
}
