// Package storetest holds what every client of registries must do, whatever
// registry it talks to: which answers it gives, and which requests they cost.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// The media types that images are written with.
const (
	OCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	OCIIndex       = "application/vnd.oci.image.index.v1+json"
	OCIConfig      = "application/vnd.oci.image.config.v1+json"
	OCILayer       = "application/vnd.oci.image.layer.v1.tar"
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerConfig   = "application/vnd.docker.container.image.v1+json"
	DockerLayer    = "application/vnd.docker.image.rootfs.diff.tar"
)

// Store is what is tested.
type Store interface {
	Resolve(ctx context.Context, ref, platform string) (*fact.Base, error)
	Cached(ref, platform string) (*fact.Base, bool)
	Config(ctx context.Context, ref, platform string) (graph.Digest, []byte, error)
	Stat(ctx context.Context, ref string) (fact.Tag, error)
	Tags(ctx context.Context, repo string) (map[string]bool, error)
	Manifest(ctx context.Context, repo string, d graph.Digest) ([]byte, string, error)
	Blob(ctx context.Context, repo string, d graph.Digest, limit int64) ([]byte, error)
	Apply(ctx context.Context, op plan.Op) (plan.Outcome, error)
	Totals() journal.RequestData
}

// World is what a test runs in: two registries that hold nothing.
type World struct {
	// New returns a store that keeps its facts in the folder. All stores may do
	// everything in both registries.
	New func(t *testing.T, facts string) Store
	// Host is the first registry, Other the second one.
	Host, Other string
	// Requests counts the requests to a registry since it started, by "METHOD
	// kind" as localregistry does; those for tokens and version checks do not
	// matter.
	Requests func(host string) map[string]int64
}

// Sum is the digest of data.
func Sum(data []byte) graph.Digest {
	return graph.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(data)))
}

// Image is a small image, as bytes.
type Image struct {
	Layers         [][]byte
	Config         []byte
	Manifest       []byte
	MediaType      string
	ConfigType     string
	LayerType      string
	Digest         graph.Digest
	ManifestObject map[string]any
}

// NewImage makes an image whose layers differ by seed. The key, if any, is an
// annotation, or a label with Docker's media types.
func NewImage(seed string, layers int, docker bool, key string) Image {
	im := Image{MediaType: OCIManifest, ConfigType: OCIConfig, LayerType: OCILayer}
	if docker {
		im.MediaType, im.ConfigType, im.LayerType = DockerManifest, DockerConfig, DockerLayer
	}
	var diffs []graph.Digest
	var descs []fact.Descriptor
	var history []map[string]any
	for i := range layers {
		l := bytes.Repeat([]byte(fmt.Sprintf("layer %d of %s\n", i, seed)), 500)
		im.Layers = append(im.Layers, l)
		diffs = append(diffs, Sum(l))
		descs = append(descs, fact.Descriptor{MediaType: im.LayerType, Digest: Sum(l), Size: int64(len(l))})
		history = append(history, map[string]any{"created": "2024-01-02T03:04:05Z", "created_by": fmt.Sprint("RUN ", i)})
	}
	config := map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh"}}
	if docker && key != "" {
		config["Labels"] = map[string]string{fact.KeyAnnotation: key}
	}
	im.Config = encode(map[string]any{
		"architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z", "config": config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs}, "history": history,
	})
	im.ManifestObject = map[string]any{
		"schemaVersion": 2, "mediaType": im.MediaType, "layers": descs,
		"config": fact.Descriptor{MediaType: im.ConfigType, Digest: Sum(im.Config), Size: int64(len(im.Config))},
	}
	if !docker && key != "" {
		im.ManifestObject["annotations"] = map[string]string{fact.KeyAnnotation: key}
	}
	im.Manifest = encode(im.ManifestObject)
	im.Digest = Sum(im.Manifest)
	return im
}

func encode(v any) []byte {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err)
	}
	return data
}

// Upload is the operation that sends data.
func Upload(repo, mediaType string, data []byte) plan.Op {
	return plan.Op{Kind: plan.OpUpload, Repo: repo, Digest: Sum(data), Size: int64(len(data)), MediaType: mediaType, Data: data}
}

// Put is the operation that sends a manifest.
func Put(repo, tag, mediaType string, data []byte) plan.Op {
	return plan.Op{Kind: plan.OpManifest, Repo: repo, Tag: tag, Digest: Sum(data), Size: int64(len(data)), MediaType: mediaType, Data: data}
}

// Bring is the operation that brings a layer from another repository.
func Bring(kind plan.OpKind, repo, from string, layer []byte) plan.Op {
	return plan.Op{Kind: kind, Repo: repo, From: from, Digest: Sum(layer), Size: int64(len(layer)), MediaType: OCILayer}
}

// Ops are the operations that publish the image from its bytes.
func (im Image) Ops(repo, tag string) []plan.Op {
	var ops []plan.Op
	for _, l := range im.Layers {
		ops = append(ops, Upload(repo, im.LayerType, l))
	}
	return append(ops, Upload(repo, im.ConfigType, im.Config), Put(repo, tag, im.MediaType, im.Manifest))
}

// Apply carries out operations that must succeed, in order.
func Apply(t *testing.T, s Store, ops ...plan.Op) []plan.Outcome {
	t.Helper()
	var out []plan.Outcome
	for _, op := range ops {
		o, err := s.Apply(t.Context(), op)
		if err != nil {
			t.Fatalf("%s %s to %s: %v", op.Kind, op.Digest.Short(), op.Repo, err)
		}
		out = append(out, o)
	}
	return out
}

// suite is one run of the tests.
type suite struct {
	*testing.T
	World
}

// Run runs the suite; world makes a new world for each test.
func Run(t *testing.T, world func(t *testing.T) World) {
	for _, tt := range []struct {
		name string
		f    func(suite)
	}{
		{"publish by mount", publishByMount},
		{"upload", upload},
		{"manifests", manifests},
		{"copy", copyBlobs},
		{"mount of what is not there", mountMissing},
		{"stat", stat},
		{"stat with Docker media types", statDocker},
		{"stat of an index", statIndex},
		{"tags", tags},
		{"resolve by tag", resolveTag},
		{"resolve by digest", resolveDigest},
		{"resolve an index", resolveIndex},
		{"resolve what is not there", resolveMissing},
		{"resolve at once", resolveAtOnce},
		{"equal views", equalViews},
		{"cached", cached},
		{"manifest and blob", read},
		{"cancelled", cancelled},
		{"bad references", badReferences},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.f(suite{t, world(t)}) })
	}
}

// store returns a store with facts of its own.
func (s suite) store() Store { return s.New(s.T, s.TempDir()) }

// costs runs f and compares the requests that the first registry got.
func (s suite) costs(what string, want map[string]int64, f func()) {
	s.Helper()
	s.costsAt(s.Host, what, want, f)
}

func (s suite) costsAt(host, what string, want map[string]int64, f func()) {
	s.Helper()
	before := s.Requests(host)
	f()
	got := map[string]int64{}
	for k, n := range s.Requests(host) {
		if d := n - before[k]; d > 0 && !strings.HasSuffix(k, " token") && k != "GET base" {
			got[k] = d
		}
	}
	if want == nil {
		want = map[string]int64{}
	}
	if d := cmp.Diff(want, got); d != "" {
		s.Errorf("%s: requests (-want +got):\n%s", what, d)
	}
}

// look, resolve, blob and list are calls that must succeed.
func (s suite) look(st Store, ref string) fact.Tag {
	s.Helper()
	t, err := st.Stat(s.Context(), ref)
	if err != nil {
		s.Fatal(err)
	}
	return t
}

func (s suite) resolve(st Store, ref, platform string) *fact.Base {
	s.Helper()
	b, err := st.Resolve(s.Context(), ref, platform)
	if err != nil {
		s.Fatal(err)
	}
	return b
}

func (s suite) blob(st Store, repo string, d graph.Digest, limit int64) []byte {
	s.Helper()
	data, err := st.Blob(s.Context(), repo, d, limit)
	if err != nil {
		s.Fatal(err)
	}
	return data
}

func (s suite) list(st Store, repo string) map[string]bool {
	s.Helper()
	t, err := st.Tags(s.Context(), repo)
	if err != nil {
		s.Fatal(err)
	}
	return t
}

// wantErr asks for an error of a kind, and that it is another one unless nil.
func (s suite) wantErr(what string, err error, kind diag.Kind, is error) {
	s.Helper()
	switch {
	case err == nil:
		s.Errorf("%s: no error", what)
	case diag.KindOf(err) != kind:
		s.Errorf("%s: error of kind %v, want %v: %v", what, diag.KindOf(err), kind, err)
	case is != nil && !errors.Is(err, is):
		s.Errorf("%s: error %v is not %v", what, err, is)
	}
}
