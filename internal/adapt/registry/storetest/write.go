package storetest

import (
	"bytes"
	"errors"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

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
