package layout

import (
	"context"
	"io/fs"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Mirror is what the images of a layout go on to, under their tags. Its methods
// are called concurrently.
type Mirror interface {
	// Has tells whether an image is there under its full name. It may go by the
	// digest of the manifest or of the config.
	Has(ref string, ids ...digest.Digest) bool
	// Load makes an image be there under its full name, when it returns no error.
	// It may be there already. All blobs are in the layout, of which layout is the root.
	Load(ctx context.Context, ref string, manifest specs.Descriptor, layout fs.FS) error
	// Remove takes the name from the image that is there.
	Remove(ctx context.Context, ref string) error
}

// SetMirror lets a tag exist only while m has its image too: what is published
// goes on to m before the answer is sent. It is called before the layout is served.
func (l *Layout) SetMirror(m Mirror) { l.mirror = m }

// mirrored tells whether the mirror, if there is one, has a tag's image.
func (l *Layout) mirrored(repo, tag string, desc specs.Descriptor) bool {
	if l.mirror == nil {
		return true
	}
	ids := []digest.Digest{desc.Digest}
	if p, err := l.parts(desc.Digest); err == nil && p.Config != nil {
		ids = append(ids, p.Config.Digest)
	}
	return l.mirror.Has(key(repo, tag, ""), ids...)
}

// load sends a tag's image on to the mirror.
func (l *Layout) load(ctx context.Context, repo, tag string, desc specs.Descriptor) error {
	if l.mirror == nil || tag == "" {
		return nil
	}
	return l.mirror.Load(ctx, key(repo, tag, ""), desc, os.DirFS(l.dir))
}

// unload takes all tags of an image from the mirror.
func (l *Layout) unload(ctx context.Context, repo string, d digest.Digest) error {
	if l.mirror == nil {
		return nil
	}
	for _, e := range l.named() {
		if e.repo != repo || e.desc.Digest != d || !l.mirrored(repo, e.tag, e.desc) {
			continue
		}
		if err := l.mirror.Remove(ctx, e.key()); err != nil {
			return err
		}
	}
	return nil
}

// forget takes the tags whose images the mirror has no more.
func (l *Layout) forget() error {
	gone := map[string]bool{}
	for _, e := range l.named() {
		if !l.mirrored(e.repo, e.tag, e.desc) {
			gone[e.key()] = true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return l.change(func() {
		l.entries = slices.DeleteFunc(l.entries, func(e entry) bool { return gone[e.key()] })
	})
}

// named are the entries that have a tag.
func (l *Layout) named() (out []entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.tag != "" {
			out = append(out, e)
		}
	}
	return out
}
