package engine

import (
	"context"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// Mirrored is what became of one base.
type Mirrored struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Copied is false when the copy was there already.
	Copied bool `json:"copied"`
	// Error says why the base could not be copied; Err is the error itself.
	Error string `json:"error,omitempty"`
	Err   error  `json:"-"`
}

// Mirror copies every distinct base of the fleet to the prefix to, a
// registry[/path]: docker.io/a/b:c becomes PREFIX/a/b:c. Each unique blob is
// copied once per repository and mounted where the registry has it in another.
// What is there already is not sent again, so a mirror that was interrupted
// goes on. Of an index only the fleet's platform is copied; with several it becomes
// an index of these. The result is in declared order.
func (e *Engine) Mirror(ctx context.Context, to string) ([]Mirrored, error) {
	var out []Mirrored
	seen := map[string]bool{}
	for _, im := range e.Fleet.Images {
		if !seen[im.Base] {
			seen[im.Base] = true
			out = append(out, Mirrored{From: im.Base, To: mirrorRef(im.Base, to)})
		}
	}
	each(ctx, len(out), e.publishers(), func(i int) {
		r := &out[i]
		if r.Copied, r.Err = e.mirrorOne(ctx, r.From, r.To); r.Err != nil {
			r.Error = r.Err.Error()
		}
	})
	if ctx.Err() != nil {
		return out, diag.Errorf(diag.Interrupted, "run the same command again to go on", "mirror: %w", context.Cause(ctx))
	}
	return out, notCopied(out)
}

// notCopied is the error of a mirror that lacks some bases, nil when it has all.
func notCopied(results []Mirrored) error {
	n, worst, help := 0, diag.Step, ""
	for _, r := range results {
		if r.Err == nil {
			continue
		}
		if n++; n == 1 {
			help = diag.HelpOf(r.Err)
		}
		if k := diag.KindOf(r.Err); k != diag.File { // a wrong reference stops one base only
			worst = diag.Worst(worst, k)
		}
	}
	if n == 0 {
		return nil
	}
	return diag.Errorf(worst, help, "not copied: %d of %d bases", n, len(results))
}

// mirrorRef moves a reference under prefix. A digest is not a tag: it becomes
// the first 12 digits of itself.
func mirrorRef(ref, prefix string) string {
	repo, tag := publish.Split(ref)
	_, path, _ := strings.Cut(repo, "/")
	if _, hex, ok := strings.Cut(tag, ":"); ok {
		tag = "sha256-" + hex[:min(12, len(hex))]
	}
	return strings.TrimSuffix(prefix, "/") + "/" + path + ":" + tag
}

func (e *Engine) mirrorOne(ctx context.Context, from, to string) (copied bool, err error) {
	base, err := e.Store.Resolve(ctx, from, e.Fleet.Platform)
	if err != nil {
		return false, err
	}
	repo, tag := publish.Split(to)
	there, err := e.Store.Stat(ctx, to)
	if err != nil {
		return false, err
	}
	bases := []*fact.Base{base}
	for _, p := range e.Fleet.EachPlatform()[1:] {
		b, err := e.resolve(ctx, from, p, func() (*fact.Base, error) { return base, nil })
		if err != nil {
			return false, err
		}
		bases = append(bases, b)
	}
	if len(bases) == 1 && there.Digest == base.Manifest {
		e.mirrored(repo, bases)
		return false, nil
	}
	parts := make([]publish.Part, len(bases))
	for i, b := range bases {
		data, mediaType, err := e.Store.Manifest(ctx, sourceOf(b), b.Manifest)
		if err != nil {
			return false, err
		}
		parts[i] = publish.Part{Platform: e.Fleet.EachPlatform()[i], Manifest: publish.Object{MediaType: mediaType, Digest: b.Manifest, Data: data}}
	}
	top := parts[0].Manifest
	if len(parts) > 1 {
		if top, err = publish.Index(parts, fleet.Output{}, ""); err != nil {
			return false, diag.Wrap(diag.Internal, from, err)
		}
		if there.Digest == top.Digest {
			e.mirrored(repo, bases)
			return false, nil
		}
	}
	for _, p := range parts {
		if err := e.spread(ctx, sourceOf(base), repo, p.Manifest.Data); err != nil {
			return false, err
		}
		if len(parts) == 1 {
			break // its tag is all that it needs
		}
		if _, err := e.Store.Apply(ctx, publish.Put(repo, p.Manifest)); err != nil {
			return false, err
		}
	}
	op := publish.Put(repo, top)
	op.Tag = tag
	_, err = e.Store.Apply(ctx, op)
	return true, err
}

// mirrored notes where the layers of bases are already.
func (e *Engine) mirrored(repo string, bases []*fact.Base) {
	for _, b := range bases {
		for _, l := range b.Layers {
			e.held.Store(blobAt{publish.Host(repo), l.Digest}, repo)
		}
	}
}
