package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// maxManifest is the largest manifest that is accepted, in bytes.
const maxManifest = 16 << 20

// errDigest says that content is not what its digest says.
var errDigest = errors.New("the content does not have the digest")

// path is where a blob is; the digest must be valid.
func (l *Layout) path(d digest.Digest) string {
	return filepath.Join(l.dir, specs.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// size is a blob's size in bytes; -1 when it is not there.
func (l *Layout) size(d digest.Digest) int64 {
	if d.Validate() != nil {
		return -1
	}
	st, err := os.Stat(l.path(d))
	if err != nil || !st.Mode().IsRegular() {
		return -1
	}
	return st.Size()
}

// receive adds r to an upload and, when that has the digest, makes it a blob. The
// file is closed, and gone unless it is a blob.
func (l *Layout) receive(upload *os.File, d digest.Digest, r io.Reader) error {
	sum := d.Verifier()
	_, err := io.Copy(sum, upload) // what came before, and on to its end
	if err == nil {
		_, err = io.Copy(io.MultiWriter(upload, sum), r)
	}
	if err == nil && !sum.Verified() {
		err = errDigest
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(l.path(d)), 0o755)
	}
	return l.settle(upload, l.path(d), err)
}

// parts are the blobs and manifests that a manifest or an index names.
type parts struct {
	MediaType string             `json:"mediaType"`
	Config    *specs.Descriptor  `json:"config"`
	Layers    []specs.Descriptor `json:"layers"`
	Manifests []specs.Descriptor `json:"manifests"`
}

// parse reads a manifest or an index.
func parse(data []byte) (parts, error) {
	var p parts
	err := json.Unmarshal(data, &p)
	if err == nil && p.Config == nil && p.Manifests == nil {
		err = errors.New("it is neither an image's manifest nor an index")
	}
	return p, err
}

// mediaType is what a document says that it is, else what its sender says, else
// what its form says.
func (p parts) mediaType(sent string) string {
	switch {
	case p.MediaType != "":
		return p.MediaType
	case isIndex(sent) || isManifest(sent):
		return sent
	case p.Manifests != nil:
		return specs.MediaTypeImageIndex
	}
	return specs.MediaTypeImageManifest
}

// all lists them in order.
func (p parts) all() []specs.Descriptor {
	var out []specs.Descriptor
	if p.Config != nil {
		out = append(out, *p.Config)
	}
	return append(append(out, p.Layers...), p.Manifests...)
}

// parts reads a manifest of the layout.
func (l *Layout) parts(d digest.Digest) (parts, error) {
	if err := d.Validate(); err != nil {
		return parts{}, err
	}
	data, err := os.ReadFile(l.path(d))
	if err != nil {
		return parts{}, err
	}
	return parse(data)
}

// complete returns an error when a manifest names a blob that is not there as it
// says. Layers that have a source of their own need not be.
func (l *Layout) complete(p parts) error {
	for _, d := range p.all() {
		switch got := l.size(d.Digest); {
		case got == d.Size || got < 0 && len(d.URLs) > 0:
		case got < 0:
			return fmt.Errorf("%s is not there", d.Digest)
		default:
			return fmt.Errorf("%s has %d bytes, not %d", d.Digest, got, d.Size)
		}
	}
	return nil
}

func isIndex(mediaType string) bool {
	return mediaType == specs.MediaTypeImageIndex || mediaType == "application/vnd.docker.distribution.manifest.list.v2+json"
}

func isManifest(mediaType string) bool {
	return mediaType == specs.MediaTypeImageManifest || mediaType == "application/vnd.docker.distribution.manifest.v2+json"
}

// Sweep removes what no image has any more, and returns how many bytes that were:
// manifests without a name that hold a layer which no named image has, and then
// every blob that the index does not lead to. Manifests without a name whose
// layers are in use stay, as they cost nothing and save the next run from making
// these layers again. Tags whose images a mirror lost go first. A layout in which something is of a kind that is not known
// is left as it is. Nothing may be written meanwhile.
func (l *Layout) Sweep() (removed int64, err error) {
	if err := l.forget(); err != nil {
		return 0, diag.Wrap(diag.Infra, "sweep the layout", err)
	}
	l.mu.Lock()
	entries, others := slices.Clone(l.entries), l.others
	l.mu.Unlock()
	used := map[digest.Digest]bool{}
	for _, raw := range others {
		var d specs.Descriptor
		if json.Unmarshal(raw, &d) != nil || !l.mark(d, used) {
			return 0, nil
		}
	}
	for _, e := range entries {
		if e.tag != "" && !l.mark(e.desc, used) {
			return 0, nil
		}
	}
	for _, e := range entries {
		if e.tag != "" {
			continue
		}
		if p, err := l.parts(e.desc.Digest); err == nil && !isIndex(e.desc.MediaType) && within(p.Layers, used) {
			l.mark(e.desc, used)
			continue
		}
		if err := l.remove(e.repo, e.desc.Digest); err != nil {
			return 0, diag.Wrap(diag.Infra, "sweep the layout", err)
		}
	}
	err = filepath.WalkDir(filepath.Join(l.dir, specs.ImageBlobsDir), func(path string, f fs.DirEntry, err error) error {
		if err != nil || !f.Type().IsRegular() {
			return err
		}
		d := digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(path))), f.Name())
		if used[d] || d.Validate() != nil {
			return nil
		}
		info, err := f.Info()
		if err == nil {
			err = os.Remove(path)
		}
		if err == nil {
			removed += info.Size()
		}
		return err
	})
	return removed, diag.Wrap(diag.Infra, "sweep the layout", err)
}

// within tells whether all layers are used.
func within(layers []specs.Descriptor, used map[digest.Digest]bool) bool {
	for _, d := range layers {
		if !used[d.Digest] {
			return false
		}
	}
	return true
}

// mark adds what a descriptor leads to. It returns false when it meets something
// that it cannot follow.
func (l *Layout) mark(d specs.Descriptor, used map[digest.Digest]bool) bool {
	if used[d.Digest] {
		return true
	}
	used[d.Digest] = true
	if !isIndex(d.MediaType) && !isManifest(d.MediaType) {
		return false
	}
	p, err := l.parts(d.Digest)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	if p.Config != nil {
		used[p.Config.Digest] = true
	}
	for _, layer := range p.Layers {
		used[layer.Digest] = true
	}
	for _, m := range p.Manifests {
		if !l.mark(m, used) {
			return false
		}
	}
	return true
}
