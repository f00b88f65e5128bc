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
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
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

func publishByMount(s suite) {
	st := s.store()
	base, target := s.Host+"/base/one", s.Host+"/agents/app"
	im := NewImage("base", 1, false, "")
	Apply(s.T, st, im.Ops(base, "1")...)
	derived := NewImage("base", 1, false, "v1:abc")
	derived.Config = append(derived.Config, '\n')
	derived.ManifestObject["config"] = fact.Descriptor{MediaType: OCIConfig, Digest: Sum(derived.Config), Size: int64(len(derived.Config))}
	derived.Manifest = encode(derived.ManifestObject)
	before := st.Totals()
	s.costs("publish", map[string]int64{"POST mount": 1, "POST upload": 1, "PUT upload": 1, "PUT manifest": 1}, func() {
		out := Apply(s.T, st, Bring(plan.OpMount, target, base, im.Layers[0]),
			Upload(target, OCIConfig, derived.Config), Put(target, "x", OCIManifest, derived.Manifest))
		want := []plan.Outcome{{Did: plan.OpMount}, {Did: plan.OpUpload, Pushed: int64(len(derived.Config))}, {Did: plan.OpManifest, Pushed: int64(len(derived.Manifest))}}
		if d := cmp.Diff(want, out); d != "" {
			s.Errorf("outcomes (-want +got):\n%s", d)
		}
	})
	after := st.Totals()
	if got, want := after.Mounted-before.Mounted, int64(len(im.Layers[0])); got != want {
		s.Errorf("%d bytes mounted, want %d", got, want)
	}
	if got, want := after.Pushed-before.Pushed, int64(len(derived.Config)+len(derived.Manifest)); got != want {
		s.Errorf("%d bytes pushed, want %d", got, want)
	}
	if after.MountsRefused != 0 || after.Retries != 0 {
		s.Errorf("%d mounts refused, %d retries", after.MountsRefused, after.Retries)
	}
	s.costs("the next look", map[string]int64{"HEAD manifest": 1}, func() {
		got := s.look(st, target+":x")
		if d := cmp.Diff(fact.Tag{Exists: true, Digest: Sum(derived.Manifest), Key: "v1:abc"}, got); d != "" {
			s.Errorf("tag (-want +got):\n%s", d)
		}
	})
	data, mediaType, err := s.store().Manifest(s.Context(), target, Sum(derived.Manifest))
	if err != nil || mediaType != OCIManifest || !bytes.Equal(data, derived.Manifest) {
		s.Errorf("manifest came back as %s %q, error %v", mediaType, data, err)
	}
}

func upload(s suite) {
	st := s.store()
	repo := s.Host + "/a/b"
	for _, data := range [][]byte{[]byte("{}"), bytes.Repeat([]byte("x"), 3<<20)} {
		for range 2 {
			s.costs("upload", map[string]int64{"POST upload": 1, "PUT upload": 1}, func() {
				Apply(s.T, st, Upload(repo, OCILayer, data))
			})
		}
		if got := s.blob(st, repo, Sum(data), int64(len(data))); !bytes.Equal(got, data) {
			s.Errorf("%d bytes came back as %d others", len(data), len(got))
		}
	}
	bad := Upload(repo, OCILayer, []byte("abc"))
	bad.Digest = Sum([]byte("abd"))
	s.costs("what does not have its digest", nil, func() {
		_, err := st.Apply(s.Context(), bad)
		s.wantErr("wrong digest", err, diag.Internal, nil)
	})
}

func manifests(s suite) {
	st := s.store()
	repo := s.Host + "/a/b"
	im := NewImage("m", 2, false, "v1:k")
	ops := im.Ops(repo, "")
	Apply(s.T, st, ops...)
	put := ops[len(ops)-1]
	for _, tag := range []string{"", "x", "x", "y"} {
		put.Tag = tag
		s.costs("tag "+tag, map[string]int64{"PUT manifest": 1}, func() { Apply(s.T, st, put) })
	}
	for _, ref := range []string{repo + ":x", repo + ":y", repo + "@" + string(im.Digest)} {
		if got := s.look(st, ref); got.Digest != im.Digest || !got.Exists {
			s.Errorf("%s is %v", ref, got)
		}
	}
	put.Tag, put.MediaType = "untyped", ""
	Apply(s.T, st, put)
	if got := s.look(st, repo+":untyped"); got.Digest != im.Digest {
		s.Errorf("a manifest without a type is %v", got)
	}
	missing := NewImage("never sent", 1, false, "")
	_, err := st.Apply(s.Context(), Put(repo, "z", OCIManifest, missing.Manifest))
	s.wantErr("manifest without its blobs", err, diag.Infra, nil)
	if got := s.look(st, repo+":z"); got.Exists {
		s.Error("a refused manifest is there")
	}
}

func copyBlobs(s suite) {
	st := s.store()
	from, to := s.Other+"/base/one", s.Host+"/agents/app"
	im := NewImage("base", 2, false, "")
	Apply(s.T, st, im.Ops(from, "1")...)
	op := Bring(plan.OpCopy, to, from, im.Layers[0])
	s.costsAt(s.Other, "at the source", map[string]int64{"GET blob": 1}, func() {
		s.costs("at the target", map[string]int64{"POST mount": 1, "PUT upload": 1}, func() {
			out := Apply(s.T, st, op)[0]
			n := int64(len(im.Layers[0]))
			if d := cmp.Diff(plan.Outcome{Did: plan.OpCopy, Pulled: n, Pushed: n}, out); d != "" {
				s.Errorf("outcome (-want +got):\n%s", d)
			}
		})
	})
	s.costsAt(s.Other, "again, at the source", nil, func() {
		s.costs("again, at the target", map[string]int64{"POST mount": 1}, func() {
			if out := Apply(s.T, st, op)[0]; out != (plan.Outcome{}) {
				s.Errorf("again: %v", out)
			}
		})
	})
	if got := s.blob(st, to, op.Digest, 1<<20); !bytes.Equal(got, im.Layers[0]) {
		s.Error("the copy differs")
	}
	missing := Bring(plan.OpCopy, to, from, []byte("nobody has this"))
	_, err := st.Apply(s.Context(), missing)
	s.wantErr("copy of what is not there", err, diag.Infra, registry.ErrNotFound)
	if _, err := st.Blob(s.Context(), to, missing.Digest, 100); !errors.Is(err, registry.ErrNotFound) {
		s.Errorf("what was not copied: %v", err)
	}
}

func mountMissing(s suite) {
	st := s.store()
	from, to := s.Host+"/base/one", s.Host+"/agents/app"
	im := NewImage("base", 1, false, "")
	Apply(s.T, st, im.Ops(from, "1")...)
	_, err := st.Apply(s.Context(), Bring(plan.OpMount, to, from, []byte("nobody has this")))
	s.wantErr("mount", err, diag.Infra, registry.ErrNotFound)
	if n := st.Totals().MountsRefused; n != 1 {
		s.Errorf("%d mounts refused", n)
	}
}

func stat(s suite) {
	facts := s.TempDir()
	repo := s.Host + "/a/b"
	im, bare := NewImage("keyed", 1, false, "v1:key"), NewImage("bare", 1, false, "")
	st := s.store()
	Apply(s.T, st, im.Ops(repo, "keyed")...)
	Apply(s.T, st, bare.Ops(repo, "bare")...)
	for _, tt := range []struct {
		ref  string
		want fact.Tag
	}{
		{repo + ":keyed", fact.Tag{Exists: true, Digest: im.Digest, Key: "v1:key"}},
		{repo + ":bare", fact.Tag{Exists: true, Digest: bare.Digest}},
		{repo + ":none", fact.Tag{}},
		{s.Host + "/no/such:tag", fact.Tag{}},
		{repo + "@" + string(im.Digest), fact.Tag{Exists: true, Digest: im.Digest, Key: "v1:key"}},
		{repo + "@" + string(Sum([]byte("x"))), fact.Tag{}},
	} {
		check := func(st Store) func() {
			return func() {
				got, err := st.Stat(s.Context(), tt.ref)
				if d := cmp.Diff(tt.want, got); err != nil || d != "" {
					s.Errorf("%s: error %v (-want +got):\n%s", tt.ref, err, d)
				}
			}
		}
		first := map[string]int64{"HEAD manifest": 1}
		if tt.want.Exists && !strings.Contains(tt.ref, "@") {
			first["GET manifest"] = 1
		}
		stranger := s.New(s.T, facts)
		s.costs(tt.ref+" for the first time", first, check(stranger))
		s.costs(tt.ref+" again", map[string]int64{"HEAD manifest": 1}, check(stranger))
		s.costs(tt.ref+" by another process", map[string]int64{"HEAD manifest": 1}, check(s.New(s.T, facts)))
	}
}

func statDocker(s suite) {
	repo := s.Host + "/a/b"
	im, bare := NewImage("keyed", 1, true, "v1:key"), NewImage("bare", 1, true, "")
	st := s.store()
	Apply(s.T, st, im.Ops(repo, "keyed")...)
	Apply(s.T, st, bare.Ops(repo, "bare")...)
	s.costs("what was sent", map[string]int64{"HEAD manifest": 1}, func() {
		if got := s.look(st, repo+":keyed"); got.Key != "v1:key" {
			s.Errorf("key %q", got.Key)
		}
	})
	stranger := s.store()
	for _, tt := range []struct{ tag, key string }{{"keyed", "v1:key"}, {"bare", ""}} {
		s.costs(tt.tag, map[string]int64{"HEAD manifest": 1, "GET manifest": 1, "GET blob": 1}, func() {
			if got := s.look(stranger, repo+":"+tt.tag); got.Key != tt.key {
				s.Errorf("%s: key %q", tt.tag, got.Key)
			}
		})
		s.costs(tt.tag+" again", map[string]int64{"HEAD manifest": 1}, func() {
			s.look(stranger, repo+":"+tt.tag)
		})
	}
}

func tags(s suite) {
	st := s.store()
	repo := s.Host + "/a/b"
	none := s.list(st, repo)
	if none == nil || len(none) != 0 {
		s.Errorf("tags of what does not exist: %v", none)
	}
	im := NewImage("m", 1, false, "")
	ops := im.Ops(repo, "t0")
	Apply(s.T, st, ops...)
	want := map[string]bool{"t0": true}
	put := ops[len(ops)-1]
	for _, tag := range []string{"a", "z", "latest"} {
		put.Tag = tag
		want[tag] = true
		Apply(s.T, st, put)
	}
	s.costs("list", map[string]int64{"GET tags": 1}, func() {
		if d := cmp.Diff(want, s.list(st, repo)); d != "" {
			s.Errorf("tags (-want +got):\n%s", d)
		}
	})
}

func resolveTag(s suite) {
	facts := s.TempDir()
	repo := s.Host + "/base/one"
	im := NewImage("base", 3, false, "")
	Apply(s.T, s.store(), im.Ops(repo, "1")...)
	st := s.New(s.T, facts)
	var b *fact.Base
	s.costs("first", map[string]int64{"HEAD manifest": 1, "GET manifest": 1, "GET blob": 1}, func() {
		b = s.resolve(st, repo+":1", "linux/amd64")
	})
	want := &fact.Base{
		Ref: repo + ":1", Digest: im.Digest, Manifest: im.Digest, ConfigDigest: Sum(im.Config),
		View: json.RawMessage(`{"architecture":"amd64","config":{"Cmd":["sh"],"Env":["PATH=/bin"]},"os":"linux"}`),
	}
	for i, l := range im.Layers {
		want.Layers = append(want.Layers, fact.Descriptor{MediaType: OCILayer, Digest: Sum(l), Size: int64(len(l))})
		want.DiffIDs = append(want.DiffIDs, Sum(l))
		want.History = append(want.History, graph.History{Created: b.History[i].Created, CreatedBy: fmt.Sprint("RUN ", i)})
	}
	if d := cmp.Diff(want, b); d != "" {
		s.Errorf("base (-want +got):\n%s", d)
	}
	if got := b.History[0].Created.UTC().Format("2006-01-02T15:04:05Z"); got != "2024-01-02T03:04:05Z" {
		s.Errorf("history begins at %s", got)
	}
	for _, st := range []Store{st, s.New(s.T, facts)} {
		s.costs("again", map[string]int64{"HEAD manifest": 1}, func() {
			again := s.resolve(st, repo+":1", "linux/amd64")
			if d := cmp.Diff(b, again); d != "" {
				s.Errorf("again (-first +now):\n%s", d)
			}
		})
	}
	s.costs("config", map[string]int64{"HEAD manifest": 1}, func() {
		d, config, err := st.Config(s.Context(), repo+":1", "linux/amd64")
		if err != nil || d != im.Digest || !bytes.Equal(config, im.Config) {
			s.Errorf("config %s %q, error %v", d, config, err)
		}
	})
	moved := NewImage("moved", 1, false, "")
	Apply(s.T, s.store(), moved.Ops(repo, "1")...)
	s.costs("a tag that moved", map[string]int64{"HEAD manifest": 1, "GET manifest": 1, "GET blob": 1}, func() {
		if got := s.resolve(st, repo+":1", "linux/amd64"); got.Digest != moved.Digest {
			s.Errorf("resolved to %s", got.Digest)
		}
	})
}

func resolveDigest(s suite) {
	repo := s.Host + "/base/one"
	im := NewImage("base", 1, false, "")
	Apply(s.T, s.store(), im.Ops(repo, "1")...)
	st := s.store()
	ref := repo + ":other@" + string(im.Digest)
	s.costs("first", map[string]int64{"GET manifest": 1, "GET blob": 1}, func() {
		if b := s.resolve(st, ref, "linux/amd64"); b.Ref != ref || b.Digest != im.Digest {
			s.Errorf("base %v", b)
		}
	})
	s.costs("again", nil, func() { s.resolve(st, ref, "linux/amd64") })
}

// index publishes an index of images for platforms.
func (s suite) index(st Store, repo, tag string, images map[string]Image) graph.Digest {
	var children []map[string]any
	for _, p := range []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "unknown/unknown"} {
		im, ok := images[p]
		if !ok {
			continue
		}
		Apply(s.T, st, im.Ops(repo, "")...)
		parts := strings.SplitN(p+"/", "/", 3)
		platform := map[string]any{"os": parts[0], "architecture": parts[1]}
		if v := strings.TrimSuffix(parts[2], "/"); v != "" {
			platform["variant"] = v
		}
		children = append(children, map[string]any{"mediaType": im.MediaType, "digest": im.Digest, "size": len(im.Manifest), "platform": platform})
	}
	data := encode(map[string]any{"schemaVersion": 2, "mediaType": OCIIndex, "manifests": children})
	Apply(s.T, st, Put(repo, tag, OCIIndex, data))
	return Sum(data)
}

func resolveIndex(s suite) {
	repo := s.Host + "/base/many"
	st := s.store()
	images := map[string]Image{
		"linux/amd64": NewImage("amd", 1, false, ""), "linux/arm64": NewImage("arm64", 2, false, ""),
		"linux/arm/v7": NewImage("arm", 1, false, ""), "unknown/unknown": NewImage("attestation", 1, false, ""),
	}
	digest := s.index(st, repo, "1", images)
	stranger := s.store()
	for _, tt := range []struct {
		platform, image string
		requests        map[string]int64
	}{
		{"linux/amd64", "linux/amd64", map[string]int64{"HEAD manifest": 1, "GET manifest": 2, "GET blob": 1}},
		{"linux/arm64/v8", "linux/arm64", map[string]int64{"HEAD manifest": 1, "GET manifest": 1, "GET blob": 1}},
		{"linux/arm", "linux/arm/v7", map[string]int64{"HEAD manifest": 1, "GET manifest": 1, "GET blob": 1}},
		{"linux/amd64/v3", "linux/amd64", map[string]int64{"HEAD manifest": 1}},
	} {
		s.costs(tt.platform, tt.requests, func() {
			b := s.resolve(stranger, repo+":1", tt.platform)
			if im := images[tt.image]; b.Digest != digest || b.Manifest != im.Digest || len(b.Layers) != len(im.Layers) {
				s.Errorf("%s: digest %s, manifest %s", tt.platform, b.Digest, b.Manifest)
			}
		})
	}
	_, err := stranger.Resolve(s.Context(), repo+":1", "linux/riscv64")
	s.wantErr("platform that is not there", err, diag.File, nil)
	if help := diag.HelpOf(err); !strings.Contains(help, "linux/arm/v7") || strings.Contains(help, "unknown") {
		s.Errorf("help %q does not list the platforms", help)
	}
	if got := s.look(stranger, repo+":1"); got.Digest != digest || got.Key != "" {
		s.Errorf("tag %v", got)
	}
}

func resolveMissing(s suite) {
	st := s.store()
	im := NewImage("base", 1, false, "")
	Apply(s.T, st, im.Ops(s.Host+"/base/one", "1")...)
	for _, ref := range []string{"/base/one:2", "/base/two:1", "/base/one@" + string(Sum([]byte("x")))} {
		_, err := st.Resolve(s.Context(), s.Host+ref, "linux/amd64")
		s.wantErr(ref, err, diag.File, registry.ErrNotFound)
		if !strings.Contains(err.Error(), s.Host+ref) || diag.HelpOf(err) == "" {
			s.Errorf("error %v, help %q", err, diag.HelpOf(err))
		}
	}
}

func resolveAtOnce(s suite) {
	repo := s.Host + "/base/one"
	im := NewImage("base", 1, false, "")
	Apply(s.T, s.store(), im.Ops(repo, "1")...)
	st := s.store()
	s.costs("20 at once", map[string]int64{"HEAD manifest": 20, "GET manifest": 1, "GET blob": 1}, func() {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := st.Resolve(s.Context(), repo+":1", "linux/amd64"); err != nil {
					s.Error(err)
				}
			})
		}
		wg.Wait()
	})
	s.costs("20 looks at once", map[string]int64{"HEAD manifest": 20}, func() {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := st.Stat(s.Context(), repo+":1"); err != nil {
					s.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func equalViews(s suite) {
	st := s.store()
	var views []json.RawMessage
	for _, seed := range []string{"a", "b"} {
		repo := s.Host + "/base/" + seed
		Apply(s.T, st, NewImage(seed, 1, false, "").Ops(repo, "1")...)
		views = append(views, s.resolve(st, repo+":1", "linux/amd64").View)
	}
	if &views[0][0] != &views[1][0] {
		s.Errorf("equal views do not share bytes:\n%s\n%s", views[0], views[1])
	}
}

func cached(s suite) {
	facts := s.TempDir()
	repo := s.Host + "/base/one"
	im := NewImage("base", 1, false, "")
	Apply(s.T, s.store(), im.Ops(repo, "1")...)
	st := s.New(s.T, facts)
	refs := []string{repo + ":1", repo + "@" + string(im.Digest)}
	s.costs("before", nil, func() {
		for _, ref := range refs {
			if b, ok := st.Cached(ref, "linux/amd64"); ok {
				s.Errorf("%s is known: %v", ref, b)
			}
		}
	})
	want := s.resolve(st, repo+":1", "linux/amd64")
	s.costs("after", nil, func() {
		for _, st := range []Store{st, s.New(s.T, facts)} {
			for _, ref := range refs {
				b, ok := st.Cached(ref, "linux/amd64")
				if !ok {
					s.Fatalf("%s is not known", ref)
				}
				b.Ref = want.Ref
				if d := cmp.Diff(want, b); d != "" {
					s.Errorf("%s (-resolved +cached):\n%s", ref, d)
				}
			}
		}
		if _, ok := st.Cached(repo+":2", "linux/amd64"); ok {
			s.Error("a tag that was never resolved is known")
		}
	})
}

func read(s suite) {
	st := s.store()
	repo := s.Host + "/a/b"
	im := NewImage("m", 1, false, "")
	Apply(s.T, st, im.Ops(repo, "1")...)
	s.costs("manifest, each time", map[string]int64{"GET manifest": 2}, func() {
		for range 2 {
			data, mediaType, err := st.Manifest(s.Context(), repo, im.Digest)
			if err != nil || mediaType != OCIManifest || !bytes.Equal(data, im.Manifest) {
				s.Errorf("manifest %s %q, error %v", mediaType, data, err)
			}
		}
	})
	_, _, err := st.Manifest(s.Context(), repo, Sum([]byte("x")))
	s.wantErr("manifest that is not there", err, diag.Infra, registry.ErrNotFound)
	_, _, err = st.Manifest(s.Context(), s.Host+"/no/such", im.Digest)
	s.wantErr("repository that is not there", err, diag.Infra, registry.ErrNotFound)
	_, err = st.Blob(s.Context(), repo, Sum([]byte("x")), 10)
	s.wantErr("blob that is not there", err, diag.Infra, registry.ErrNotFound)
	_, err = st.Blob(s.Context(), repo, Sum(im.Config), int64(len(im.Config))-1)
	s.wantErr("blob over its limit", err, diag.Infra, nil)
}

func cancelled(s suite) {
	st := s.store()
	ctx, cancel := context.WithCancelCause(s.Context())
	cause := errors.New("out of time")
	cancel(cause)
	repo := s.Host + "/a/b"
	im := NewImage("m", 1, false, "")
	s.costs("cancelled", nil, func() {
		_, err := st.Resolve(ctx, repo+":1", "linux/amd64")
		s.wantErr("resolve", err, diag.Interrupted, context.Canceled)
		s.wantErr("resolve", err, diag.Interrupted, cause)
		_, err = st.Stat(ctx, repo+":1")
		s.wantErr("stat", err, diag.Interrupted, context.Canceled)
		_, err = st.Tags(ctx, repo)
		s.wantErr("tags", err, diag.Interrupted, context.Canceled)
		for _, op := range append(im.Ops(repo, "1"), Bring(plan.OpMount, repo, s.Host+"/c", im.Layers[0]), Bring(plan.OpCopy, repo, s.Other+"/c", im.Layers[0])) {
			_, err = st.Apply(ctx, op)
			s.wantErr(string(op.Kind), err, diag.Interrupted, context.Canceled)
		}
	})
}

func badReferences(s suite) {
	st := s.store()
	for _, ref := range []string{"", "UPPER/case:x", s.Host + "/a b:x", s.Host + "/a@sha256:12", s.Host + "/a:" + strings.Repeat("x", 200)} {
		_, err := st.Resolve(s.Context(), ref, "linux/amd64")
		s.wantErr("resolve "+ref, err, diag.File, nil)
		_, err = st.Stat(s.Context(), ref)
		s.wantErr("stat "+ref, err, diag.File, nil)
		if _, ok := st.Cached(ref, "linux/amd64"); ok {
			s.Errorf("%q is known", ref)
		}
	}
	for _, p := range []string{"", "linux", "linux/", "a/b/c/d"} {
		_, err := st.Resolve(s.Context(), s.Host+"/a:x", p)
		s.wantErr("platform "+p, err, diag.File, nil)
	}
	_, err := st.Apply(s.Context(), plan.Op{Kind: "other", Repo: s.Host + "/a", Digest: Sum(nil)})
	s.wantErr("operation", err, diag.Internal, nil)
}
