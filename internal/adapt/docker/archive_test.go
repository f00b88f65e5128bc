package docker

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// twice is an image that has one of its layers twice.
func twice(t *testing.T) v1.Image {
	t.Helper()
	im, err := random.Image(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := im.Layers()
	if err == nil {
		im, err = mutate.AppendLayers(im, layers[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// inLayout writes an image into a layout and returns its manifest's descriptor.
func inLayout(t *testing.T, dir string, im v1.Image) specs.Descriptor {
	t.Helper()
	to, err := layout.FromPath(dir)
	if err != nil {
		to, err = layout.Write(dir, empty.Index)
	}
	if err == nil {
		err = to.AppendImage(im)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := im.Digest()
	if err != nil {
		t.Fatal(err)
	}
	mediaType, err := im.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	size, err := im.Size()
	if err != nil {
		t.Fatal(err)
	}
	return specs.Descriptor{MediaType: string(mediaType), Digest: digest.Digest(d.String()), Size: size}
}

// TestArchiveIsRead reads what is written as an archive of docker save, and as a
// layout, with another program's readers.
func TestArchiveIsRead(t *testing.T) {
	t.Parallel()
	dir, want := t.TempDir(), twice(t)
	im, err := read("docker.io/library/agent:one", inLayout(t, dir, want), os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := im.archive(&b); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("agent:one")
	if err != nil {
		t.Fatal(err)
	}
	got, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, &tag)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "as docker save writes it", got, want)

	out := t.TempDir()
	unpack(t, &b, out)
	index, err := layout.ImageIndexFromPath(out)
	if err != nil {
		t.Fatal(err)
	}
	got, err = index.Image(v1.Hash{Algorithm: "sha256", Hex: im.desc.Digest.Encoded()})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "as a layout", got, want)
}

// same compares two images with all their layers.
func same(t *testing.T, as string, got, want v1.Image) {
	t.Helper()
	describe := func(im v1.Image) (out []string) {
		config, err := im.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		layers, err := im.Layers()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, config.String())
		for _, l := range layers {
			r, err := l.Compressed()
			if err != nil {
				t.Fatal(err)
			}
			sum, _, err := v1.SHA256(r)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, sum.String())
		}
		return out
	}
	if d := cmp.Diff(describe(want), describe(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", as, d)
	}
}

// unpack writes the files of an archive, each of which must be there once.
func unpack(t *testing.T, r io.Reader, dir string) {
	t.Helper()
	files := fstest.MapFS{}
	each(t, r, func(h *tar.Header, data []byte) {
		if files[h.Name] != nil {
			t.Fatalf("%s is there twice", h.Name)
		}
		files[h.Name] = &fstest.MapFile{Data: data, Mode: 0o644}
	})
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
}

// each calls see with the files of an archive, in order.
func each(t *testing.T, r io.Reader, see func(h *tar.Header, data []byte)) {
	t.Helper()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		see(h, data)
	}
}

// put adds a blob to a layout.
func put(layout fstest.MapFS, mediaType, text string) specs.Descriptor {
	d := specs.Descriptor{MediaType: mediaType, Digest: digest.FromString(text), Size: int64(len(text))}
	layout[blob(d.Digest)] = &fstest.MapFile{Data: []byte(text)}
	return d
}

// small is an image whose bytes no compressor decides.
func small(t *testing.T) (fstest.MapFS, specs.Descriptor) {
	t.Helper()
	files := fstest.MapFS{}
	m := specs.Manifest{MediaType: specs.MediaTypeImageManifest, Config: put(files, specs.MediaTypeImageConfig, "{}")}
	m.SchemaVersion = 2
	for _, l := range []string{"one", "two", "one"} {
		m.Layers = append(m.Layers, put(files, specs.MediaTypeImageLayerGzip, l))
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return files, put(files, m.MediaType, string(data))
}

func TestArchive(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, ref := range []string{"registry.test:5000/agents:django__django-1", "docker.io/library/agent:One"} {
		files, desc := small(t)
		im, err := read(ref, desc, files)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := im.archive(&b); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out, "#", ref)
		each(t, &b, func(h *tar.Header, data []byte) {
			fmt.Fprintf(&out, "%v %d %s\n%s\n", h.FileInfo().Mode(), h.Size, h.Name, data)
		})
	}
	golden.Text(t, "testdata/archive.txt", out.String())
}

// TestNotAnImage is about what cannot be sent.
func TestNotAnImage(t *testing.T) {
	t.Parallel()
	files, desc := small(t)
	index := put(files, specs.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[]}`)
	for _, tt := range []struct {
		name, ref string
		desc      specs.Descriptor
	}{{"an index", "agent:one", index}, {"no tag", "agent", desc}, {"no name", "Agent:one", desc}, {"no manifest", "agent:one", specs.Descriptor{Digest: digest.FromString("none")}}} {
		if _, err := read(tt.ref, tt.desc, files); err == nil || diag.KindOf(err) != diag.Infra {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
	delete(files, blob(digest.FromString("two")))
	im, err := read("agent:one", desc, files)
	if err != nil {
		t.Fatal(err)
	}
	if err := im.archive(io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a blob is not there: error %v", err)
	}
	files[blob(digest.FromString("two"))] = &fstest.MapFile{Data: []byte("tw")}
	if err := im.archive(io.Discard); err == nil {
		t.Error("a blob is cut: no error")
	}
}
