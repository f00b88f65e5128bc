package engine

import (
	"context"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
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
// goes on. Of an index only the fleet's platform is copied. The result is in
// declared order.
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
	if there.Exists && there.Digest == base.Manifest {
		for _, l := range base.Layers {
			e.held.Store(blobAt{publish.Host(repo), l.Digest}, repo)
		}
		return false, nil
	}
	source := sourceOf(base)
	manifest, mediaType, err := e.Store.Manifest(ctx, source, base.Manifest)
	if err != nil {
		return false, err
	}
	blobs, err := publish.BlobsOf(manifest)
	if err != nil {
		return false, diag.Wrap(diag.Infra, from, err)
	}
	if err := e.bring(ctx, publish.Blobs(repo, source, blobs)); err != nil {
		return false, err
	}
	_, err = e.Store.Apply(ctx, plan.Op{Kind: plan.OpManifest, Repo: repo, Tag: tag, Digest: base.Manifest, Size: int64(len(manifest)), MediaType: mediaType, Data: manifest})
	return true, err
}
