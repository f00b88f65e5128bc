package docker

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// nameAnnotation is where containerd finds an image's full name.
const nameAnnotation = "io.containerd.image.name"

// image is an image of a layout that is to have a name.
type image struct {
	layout   fs.FS
	full     reference.NamedTagged
	name     string // as Docker shows it
	desc     specs.Descriptor
	manifest specs.Manifest
}

// read reads an image's manifest.
func read(ref string, desc specs.Descriptor, layout fs.FS) (*image, error) {
	full, err := parse(ref)
	if err != nil {
		return nil, err
	}
	im := &image{layout: layout, full: full, name: reference.FamiliarString(full), desc: desc}
	data, err := fs.ReadFile(layout, blob(desc.Digest))
	if err == nil {
		err = json.Unmarshal(data, &im.manifest)
	}
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "read the manifest of "+ref, err)
	}
	if im.manifest.Config.Digest == "" {
		return nil, diag.Errorf(diag.Infra, "publish it to a registry, or to oci:FOLDER", "%s is an image index, which docker does not load", ref)
	}
	return im, nil
}

// ids are what the daemon may call it.
func (im *image) ids() []digest.Digest {
	return []digest.Digest{im.manifest.Config.Digest, im.desc.Digest}
}

// blob is a blob's path in a layout.
func blob(d digest.Digest) string {
	return path.Join(specs.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// saved is an element of manifest.json, as docker save writes it.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// archive writes the image as docker load reads it: an OCI image layout for
// daemons that know these, which also is what docker save has always written,
// with the layers compressed as they are.
func (im *image) archive(to io.Writer) error {
	w := tar.NewWriter(to)
	old := saved{Config: blob(im.manifest.Config.Digest), RepoTags: []string{im.name}}
	blobs := []specs.Descriptor{im.desc, im.manifest.Config}
	for _, l := range im.manifest.Layers {
		old.Layers = append(old.Layers, blob(l.Digest))
		blobs = append(blobs, l)
	}
	named := specs.Descriptor{MediaType: im.desc.MediaType, Digest: im.desc.Digest, Size: im.desc.Size,
		Annotations: map[string]string{nameAnnotation: im.full.String(), specs.AnnotationRefName: im.full.Tag()}}
	index := specs.Index{MediaType: specs.MediaTypeImageIndex, Manifests: []specs.Descriptor{named}}
	index.SchemaVersion = 2
	for _, f := range []struct {
		name string
		doc  any
	}{{specs.ImageLayoutFile, specs.ImageLayout{Version: specs.ImageLayoutVersion}}, {specs.ImageIndexFile, index}, {"manifest.json", []saved{old}}} {
		data, err := json.Marshal(f.doc)
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(data))})
		}
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			return err
		}
	}
	written := map[digest.Digest]bool{}
	for _, b := range blobs {
		if written[b.Digest] {
			continue
		}
		written[b.Digest] = true
		if err := im.add(w, b); err != nil {
			return err
		}
	}
	return w.Close()
}

// add writes a blob.
func (im *image) add(w *tar.Writer, b specs.Descriptor) error {
	f, err := im.layout.Open(blob(b.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.WriteHeader(&tar.Header{Name: blob(b.Digest), Mode: 0o644, Size: b.Size}); err != nil {
		return err
	}
	if _, err := io.CopyN(w, f, b.Size); err != nil {
		return fmt.Errorf("%s: %w", b.Digest, err)
	}
	return nil
}
