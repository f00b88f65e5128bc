package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

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
	s.costs("first", map[string]int64{"GET manifest": 1, "GET blob": 1}, func() {
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

// statIndex: an index has a key and states those of its parts; a list of Docker's has
// neither, and its parts are read, once.
func statIndex(s suite) {
	repo := s.Host + "/a/parts"
	one, two := NewImage("one", 1, false, "v1:one"), NewImage("two", 1, false, "v1:two")
	dockerOne, dockerTwo := NewImage("one", 1, true, "v1:one"), NewImage("two", 1, true, "v1:two")
	st := s.store()
	put := func(tag, mediaType, key string, images ...Image) graph.Digest {
		var children []map[string]any
		for i, im := range images {
			Apply(s.T, st, im.Ops(repo, "")...)
			child := map[string]any{"mediaType": im.MediaType, "digest": im.Digest, "size": len(im.Manifest), "platform": map[string]any{"os": "linux", "architecture": []string{"amd64", "arm64"}[i]}}
			if mediaType == OCIIndex {
				child["annotations"] = map[string]string{fact.KeyAnnotation: []string{"v1:one", "v1:two"}[i]}
			}
			children = append(children, child)
		}
		doc := map[string]any{"schemaVersion": 2, "mediaType": mediaType, "manifests": children}
		if key != "" {
			doc["annotations"] = map[string]string{fact.KeyAnnotation: key}
		}
		data := encode(doc)
		Apply(s.T, st, Put(repo, tag, mediaType, data))
		return Sum(data)
	}
	const list = "application/vnd.docker.distribution.manifest.list.v2+json"
	oci, docker := put("oci", OCIIndex, "v1:whole", one, two), put("docker", list, "", dockerOne, dockerTwo)
	head := map[string]int64{"HEAD manifest": 1}
	for _, tt := range []struct {
		tag   string
		want  fact.Tag
		first map[string]int64
	}{
		{"oci", fact.Tag{Exists: true, Digest: oci, Key: "v1:whole", Parts: map[string]graph.Digest{"v1:one": one.Digest, "v1:two": two.Digest}}, map[string]int64{"HEAD manifest": 1, "GET manifest": 1}},
		{"docker", fact.Tag{Exists: true, Digest: docker, Parts: map[string]graph.Digest{"v1:one": dockerOne.Digest, "v1:two": dockerTwo.Digest}}, map[string]int64{"HEAD manifest": 1, "GET manifest": 3, "GET blob": 2}},
	} {
		check := func(st Store) func() {
			return func() {
				if d := cmp.Diff(tt.want, s.look(st, repo+":"+tt.tag)); d != "" {
					s.Errorf("%s (-want +got):\n%s", tt.tag, d)
				}
			}
		}
		stranger := s.store()
		s.costs(tt.tag+" for the first time", tt.first, check(stranger))
		s.costs(tt.tag+" again", head, check(stranger))
		s.costs(tt.tag+" by who sent it", head, check(st))
	}
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
		{"linux/amd64", "linux/amd64", map[string]int64{"GET manifest": 2, "GET blob": 1}},
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
	s.costs("20 at once", map[string]int64{"HEAD manifest": 19, "GET manifest": 1, "GET blob": 1}, func() {
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
