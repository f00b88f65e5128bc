package testfleet

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// asJSON compares got, as JSON, with a file.
func asJSON(t *testing.T, file string, got any) {
	t.Helper()
	data, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, '\n')
	golden.Text(t, filepath.Join("testdata", file), string(data))
}

// registry runs a registry until the test's end.
func registry(t *testing.T, o localregistry.Options) *localregistry.Registry {
	t.Helper()
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	r, err := localregistry.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(context.Background()); err != nil {
			t.Error("stop:", err)
		}
	})
	return r
}

// small are bases that are the same on every machine, and quick to make.
func small(host string, n int) Options {
	return Options{Host: host, N: n, Seed: 1, Scale: 0.01, Envs: true, Bare: true, Arch: "amd64"}
}

// bases pushes bases.
func bases(t *testing.T, o Options) *Set {
	t.Helper()
	s, err := Bases(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// image reads an image back as clients do.
func image(t *testing.T, ref string, o ...remote.Option) v1.Image {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(r, o...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// without replaces the registry's port, which changes from run to run.
func without(host string, s *Set) *Set {
	out := &Set{Builder: strings.Replace(s.Builder, host, "HOST", 1)}
	for _, b := range s.Images {
		b.Ref = strings.Replace(b.Ref, host, "HOST", 1)
		out.Images = append(out.Images, b)
	}
	return out
}

func TestDigestsRepeat(t *testing.T) {
	first, second := registry(t, localregistry.Options{}), registry(t, localregistry.Options{})
	o := small(first.Host(), 12)
	o.Docker, o.Index, o.Zstd = 1, 1, 1
	a := without(first.Host(), bases(t, o))
	asJSON(t, "bases.json", a)

	o.Host, o.Jobs = second.Host(), 1
	if diff := cmp.Diff(a, without(second.Host(), bases(t, o))); diff != "" {
		t.Errorf("another registry, one at a time (-first +second):\n%s", diff)
	}
	o.Seed = 2
	for i, b := range bases(t, o).Images {
		if b.Digest == a.Images[i].Digest {
			t.Errorf("%s: seed 2 gives the digest of seed 1", b.ID)
		}
	}
}

// An image does not depend on the company in which it is made.
func TestImagesAreIndependent(t *testing.T) {
	r := registry(t, localregistry.Options{})
	all := map[string]string{}
	for _, b := range bases(t, small(r.Host(), 20)).Images {
		all[b.ID] = b.Digest
	}
	r.Reset()
	for _, b := range bases(t, small(r.Host(), 5)).Images {
		if all[b.ID] != b.Digest {
			t.Errorf("%s: %s among twenty, %s among five", b.ID, all[b.ID], b.Digest)
		}
	}
	if got := r.Requests()["PUT manifest"]; got != 0 {
		t.Errorf("%d manifests sent again", got)
	}
}

// Layers are shared as they are meant to be, and nothing is sent twice.
func TestSharingAndRequests(t *testing.T) {
	for name, c := range map[string]struct {
		n       int
		noEnvs  bool
		envs    int
		layers  int
		mounts  int64
		uploads int64
	}{
		// The builder's config and the system's layer are two uploads, every
		// image's config and own layer two more.
		"100 with environments": {n: 100, envs: 52, layers: 1 + 52 + 100, mounts: 2 * 100, uploads: 2 + 52 + 2*100},
		"40 without":            {n: 40, noEnvs: true, layers: 1 + 40, mounts: 40, uploads: 2 + 2*40},
	} {
		t.Run(name, func(t *testing.T) {
			r := registry(t, localregistry.Options{})
			o := small(r.Host(), c.n)
			o.Envs, o.Scale = !c.noEnvs, 0.001
			s := bases(t, o)
			envs := map[string]bool{}
			for _, b := range s.Images {
				if b.Env != "" {
					envs[b.Env] = true
				}
			}
			if len(envs) != c.envs || len(s.Layers()) != c.layers {
				t.Errorf("%d environments and %d layers, want %d and %d", len(envs), len(s.Layers()), c.envs, c.layers)
			}
			n := int64(c.n)
			want := map[string]int64{
				"HEAD manifest": n + 1, "PUT manifest": n + 1, "POST mount": c.mounts,
				"POST upload": c.uploads, "PUT upload": c.uploads,
			}
			if diff := cmp.Diff(want, r.Requests()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

// Every form of image is whole, by a client's own reckoning.
func TestForms(t *testing.T) {
	r := registry(t, localregistry.Options{})
	o := small(r.Host(), 4)
	o.Docker, o.Index, o.Zstd = 1, 1, 1
	s := bases(t, o)
	top := []types.MediaType{types.DockerManifestSchema2, types.OCIImageIndex, types.OCIManifestSchema1, types.OCIManifestSchema1}
	own := []types.MediaType{types.DockerLayer, types.OCILayer, types.OCILayerZStd, types.OCILayer}
	for i, b := range s.Images {
		ref, err := name.ParseReference(b.Ref)
		if err != nil {
			t.Fatal(err)
		}
		d, err := remote.Get(ref)
		if err != nil {
			t.Fatal(err)
		}
		if d.MediaType != top[i] || d.Digest.String() != b.Digest {
			t.Errorf("%s: %s %s, want %s %s", b.ID, d.MediaType, d.Digest, top[i], b.Digest)
		}
		img := image(t, b.Ref)
		if i == 2 {
			checkZstd(t, img)
		} else if err := validate.Image(img); err != nil {
			t.Errorf("%s: %v", b.ID, err)
		}
		if got, _ := img.Digest(); got.String() != b.Manifest {
			t.Errorf("%s: manifest %s, want %s", b.ID, got, b.Manifest)
		}
		layers, err := img.Layers()
		if err != nil || len(layers) != 3 {
			t.Fatalf("%s: %d layers: %v", b.ID, len(layers), err)
		}
		if got, _ := layers[2].MediaType(); got != own[i] {
			t.Errorf("%s: layer of type %s, want %s", b.ID, got, own[i])
		}
		if i == 1 {
			other := image(t, b.Ref, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "arm64"}))
			if c, err := other.ConfigFile(); err != nil || c.Architecture != "arm64" {
				t.Errorf("second platform: %+v, %v", c, err)
			}
		}
	}
}

// checkZstd does for the last layer what the validation of images, which knows
// gzip only, does for the others.
func checkZstd(t *testing.T, img v1.Image) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	rc, err := layers[len(layers)-1].Compressed() // checks the blob's digest
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	d, err := zstd.NewReader(rc)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	data, err := io.ReadAll(d)
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if want := c.RootFS.DiffIDs[len(layers)-1].String(); digestOf(data) != want {
		t.Errorf("zstd layer holds %s, want %s", digestOf(data), want)
	}
}

func TestConfig(t *testing.T) {
	r := registry(t, localregistry.Options{})
	s := bases(t, small(r.Host(), 6))
	views := map[string]string{}
	for _, b := range s.Images {
		c, err := image(t, b.Ref).ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if c.OS != "linux" || c.Architecture != "amd64" || c.Config.WorkingDir != "/testbed" || c.Created.Time != birth() {
			t.Errorf("%s: %s/%s in %s of %s", b.ID, c.OS, c.Architecture, c.Config.WorkingDir, c.Created)
		}
		if len(c.RootFS.DiffIDs) != 3 || len(c.History) != 4 {
			t.Errorf("%s: %d diff ids and %d history entries", b.ID, len(c.RootFS.DiffIDs), len(c.History))
		}
		full := 0
		for _, h := range c.History {
			if h.Created.IsZero() {
				t.Errorf("%s: history without a time: %+v", b.ID, h)
			}
			if !h.EmptyLayer {
				full++
			}
		}
		if full != 3 {
			t.Errorf("%s: history has %d layers", b.ID, full)
		}
		env := strings.Join(c.Config.Env, " ")
		if !strings.Contains(env, "PATH=/opt/env/"+b.Env+"/bin:") {
			t.Errorf("%s: environment %q", b.ID, env)
		}
		if was, ok := views[b.Env]; ok && was != env {
			t.Errorf("environment %s has two views: %q and %q", b.Env, was, env)
		}
		views[b.Env] = env
	}
}

// The system can run a recipe's steps.
func TestBusyboxSystem(t *testing.T) {
	if _, _, err := busybox(); err != nil {
		t.Fatalf("%v: apt-get install busybox-static", err)
	}
	r := registry(t, localregistry.Options{})
	o := small(r.Host(), 1)
	o.Bare = false
	s := bases(t, o)
	got := entries(t, image(t, s.Images[0].Ref))
	for name, want := range map[string]byte{
		"bin/busybox": tar.TypeReg, "bin/sh": tar.TypeSymlink, "usr/sbin/adduser": tar.TypeReg, "etc/passwd": tar.TypeReg,
		"tmp": tar.TypeDir, "testbed/instance": tar.TypeReg,
	} {
		if h, ok := got[name]; !ok || h.Typeflag != want {
			t.Errorf("%s: %c there %v, want %c", name, h.Typeflag, ok, want)
		}
	}
	if h := got["tmp"]; h.Mode != 0o1777 {
		t.Errorf("tmp has mode %o", h.Mode)
	}
	if builder := entries(t, image(t, s.Builder)); builder["bin/sh"].Name == "" || builder["testbed/instance"].Name != "" {
		t.Error("the builder's base is not the system alone")
	}
}

func TestSystemFromTree(t *testing.T) {
	tree := t.TempDir()
	for name, text := range map[string]string{"etc/os-release": "ID=tree\n", "bin/sh": "#!"} {
		if err := write(filepath.Join(tree, name), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sh", filepath.Join(tree, "bin/bash")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(tree, "bin/sh"), 0o755|fs.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	r := registry(t, localregistry.Options{})
	o := small(r.Host(), 1)
	o.OSTree = tree
	s := bases(t, o)
	got := entries(t, image(t, s.Images[0].Ref))
	if h := got["bin/bash"]; h.Typeflag != tar.TypeSymlink || h.Linkname != "sh" {
		t.Errorf("bin/bash: %+v", h)
	}
	if h := got["bin/sh"]; h.Mode&0o7777 != 0o4755 || !h.ModTime.Equal(birth()) {
		t.Errorf("bin/sh: mode %o of %s", h.Mode, h.ModTime)
	}
	if _, ok := got["bin/busybox"]; ok {
		t.Error("busybox in a system of its own")
	}
	o.OSTree = t.TempDir()
	if _, err := Bases(context.Background(), o); err == nil {
		t.Error("empty tree accepted")
	}
	o.OSTree = filepath.Join(tree, "missing")
	if _, err := Bases(context.Background(), o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing tree: %v", err)
	}
}

// entries is the merged tree of an image.
func entries(t *testing.T, img v1.Image) map[string]tar.Header {
	t.Helper()
	rc := mutate.Extract(img)
	defer rc.Close()
	out := map[string]tar.Header{}
	for r := tar.NewReader(rc); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(h.Name, "/")] = *h
	}
}

func TestBasesRefuse(t *testing.T) {
	r := registry(t, localregistry.Options{})
	for name, c := range map[string]struct {
		change func(*Options)
		text   string
	}{
		"no host":        {func(o *Options) { o.Host = "" }, "no registry host"},
		"negative scale": {func(o *Options) { o.Scale = -1 }, "negative"},
		"too many forms": {func(o *Options) { o.N, o.Docker, o.Zstd = 3, 2, 2 }, "4 images of other forms"},
		"same id twice":  {func(o *Options) { o.IDs = []string{"a__b-1", "a__b-2", "a__b-1"} }, "1 ids occur more than once"},
		"bad name":       {func(o *Options) { o.IDs = []string{"a b"} }, "a b"},
		"nobody there":   {func(o *Options) { o.Host = "127.0.0.1:1" }, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			o := small(r.Host(), 2)
			c.change(&o)
			if _, err := Bases(context.Background(), o); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %q", err, c.text)
			}
		})
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Bases(ended, small(r.Host(), 2)); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

func TestIDs(t *testing.T) {
	asJSON(t, "ids.json", map[string]any{"first": IDs(12), "made up": IDs(503)[500:], "refs": []string{
		Ref("host:1", "django__django-11099"), Ref("host:1", "psf__requests-1142"), Builder("host:1"),
	}})
	all := IDs(500)
	if !slices.Equal(all, strings.Fields(verified)) {
		t.Error("500 ids are not the list")
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 2000).Draw(t, "n")
		m := rapid.IntRange(0, n).Draw(t, "m")
		large, smaller := IDs(n), IDs(m)
		in := map[string]bool{}
		for _, id := range large {
			in[id] = true
		}
		if len(large) != n || len(in) != n {
			t.Fatalf("%d ids of which %d differ, want %d", len(large), len(in), n)
		}
		for _, id := range smaller {
			if !in[id] {
				t.Fatalf("%s is among %d but not among %d", id, m, n)
			}
		}
	})
}

func TestEnvironments(t *testing.T) {
	got := environments(IDs(500))
	count := map[string]int{}
	repos := map[string]string{}
	for id, env := range got {
		count[env]++
		repo, _ := splitID(id)
		if was, ok := repos[env]; ok && was != repo {
			t.Errorf("environment %s is of %s and of %s", env, was, repo)
		}
		repos[env] = repo
	}
	if len(count) != 62 {
		t.Errorf("%d environments, want 62", len(count))
	}
	for env, n := range count {
		if n > perEnvironment {
			t.Errorf("environment %s has %d instances", env, n)
		}
	}
	more := environments(IDs(2000))
	for id, env := range got {
		if more[id] != env {
			t.Errorf("%s is in %s among 500 and in %s among 2000", id, env, more[id])
		}
	}
	if n := len(slices.Compact(slices.Sorted(values(more)))); n != 62 {
		t.Errorf("2000 instances have %d environments, want the same 62", n)
	}
	if env := environments([]string{"x", "Org__Repo-7"}); env["x"] != "x-1.0" || env["Org__Repo-7"] != "repo-1.0" {
		t.Errorf("strangers: %v", env)
	}
}

// values yields a map's values.
func values(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}
