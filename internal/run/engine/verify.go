package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Verified is the comparison of one published image with a full build of it.
type Verified struct {
	Image string `json:"image"`
	Tag   string `json:"tag"`
	// Equal is true when layer digests and config are byte-identical.
	Equal bool `json:"equal"`
	// Difference says what the first difference is; "times" when only times differ.
	Difference string `json:"difference,omitempty"`
	Err        error  `json:"-"`
}

// onlyTimes is the difference of images that differ in nothing but times.
const onlyTimes = "times"

// Verify builds up to sample images of the fleet in full, each with a solve of
// its own, and compares what came out with what is published. The images are
// spread evenly over the fleet. The builds are pushed by digest only, so no tag
// changes. Equality can be expected from the daemon that made the shared layers
// while it still has them, or anywhere with an epoch; with lenient, times in the
// config may differ.
func (e *Engine) Verify(ctx context.Context, sample int, lenient bool) ([]Verified, error) {
	e.Opts.Planner = planner.Options{Skip: planner.SkipNever}
	e.Fleet.Images = spreadOver(e.Fleet.Images, sample)
	in, err := e.Gather(ctx, nil)
	if err != nil {
		return nil, err
	}
	w, err := e.connect(ctx).Get(ctx)
	if err != nil {
		return nil, err
	}
	p := planner.Make(*in)
	out := make([]Verified, len(p.Units))
	each(ctx, len(out), e.jobs(), func(i int) {
		t := task{p.Units[i], &in.Images[i]}
		out[i] = Verified{Image: t.unit.Image, Tag: t.unit.Tags[0]}
		if t.facts.Problem != nil {
			out[i].Err = t.facts.Problem
			return
		}
		out[i].Difference, out[i].Err = e.verifyOne(ctx, w, t)
		out[i].Equal = out[i].Err == nil && (out[i].Difference == "" || lenient && out[i].Difference == onlyTimes)
	})
	if ctx.Err() != nil {
		return out, diag.Errorf(diag.Interrupted, "", "verify: %w", context.Cause(ctx))
	}
	bad := 0
	for _, v := range out {
		if !v.Equal {
			bad++
		}
	}
	if bad > 0 {
		return out, diag.Errorf(diag.Gate, "the list says what differs", "%d of %d images are not what a full build makes", bad, len(out))
	}
	return out, nil
}

// spreadOver picks n of items, evenly.
func spreadOver[T any](items []T, n int) []T {
	if n <= 0 || n >= len(items) {
		return items
	}
	out := make([]T, n)
	for i := range out {
		out[i] = items[i*len(items)/n]
	}
	return out
}

// verifyOne returns the difference, "" when there is none.
func (e *Engine) verifyOne(ctx context.Context, w *Worker, t task) (string, error) {
	repo := publish.Repos(t.unit.Tags)[0]
	tag, err := e.Store.Stat(ctx, t.unit.Tags[0])
	if err != nil {
		return "", err
	}
	if !tag.Exists {
		return "not published", nil
	}
	published, err := e.content(ctx, repo, tag.Digest)
	if err != nil {
		return "", err
	}
	job, _, err := e.imageJob(t, repo)
	if err != nil {
		return "", err
	}
	built, err := w.Solver.Solve(ctx, job, func(journal.StepRecord) {})
	if err != nil {
		return "", err
	}
	full, err := e.content(ctx, repo, built.Digest)
	if err != nil {
		return "", err
	}
	return published.difference(full), nil
}

// imageContent is what two images are compared by.
type imageContent struct {
	layers []graph.Digest
	config []byte
}

func (e *Engine) content(ctx context.Context, repo string, d graph.Digest) (imageContent, error) {
	manifest, _, err := e.Store.Manifest(ctx, repo, d)
	if err != nil {
		return imageContent{}, err
	}
	blobs, err := publish.BlobsOf(manifest)
	if err != nil {
		return imageContent{}, diag.Wrap(diag.Infra, repo, err)
	}
	var c imageContent
	for _, b := range blobs[:len(blobs)-1] {
		c.layers = append(c.layers, b.Digest)
	}
	c.config, err = e.Store.Blob(ctx, repo, blobs[len(blobs)-1].Digest, 8<<20)
	return c, err
}

func (c imageContent) difference(full imageContent) string {
	if len(c.layers) != len(full.layers) {
		return fmt.Sprintf("%d layers, a full build has %d", len(c.layers), len(full.layers))
	}
	for i := range c.layers {
		if c.layers[i] != full.layers[i] {
			return fmt.Sprintf("layer %d of %d: %s, a full build has %s", i+1, len(c.layers), c.layers[i].Short(), full.layers[i].Short())
		}
	}
	if bytes.Equal(c.config, full.config) {
		return ""
	}
	return configDifference(c.config, full.config)
}

// configDifference names the first field that differs, "times" when nothing
// but times do.
func configDifference(a, b []byte) string {
	var x, y map[string]json.RawMessage
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return "config is not JSON"
	}
	names := []string{}
	for n := range x {
		names = append(names, n)
	}
	for n := range y {
		if _, ok := x[n]; !ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		if n == "created" || bytes.Equal(x[n], y[n]) {
			continue
		}
		if n == "history" && bytes.Equal(timeless(x[n]), timeless(y[n])) {
			continue
		}
		return fmt.Sprintf("config field %q: %s, a full build has %s", n, clip(x[n]), clip(y[n]))
	}
	return onlyTimes
}

func timeless(history json.RawMessage) []byte {
	var h []graph.History
	if json.Unmarshal(history, &h) != nil {
		return history
	}
	for i := range h {
		h[i].Created = nil
	}
	out, err := json.Marshal(h)
	if err != nil {
		return history
	}
	return out
}

func clip(b []byte) string {
	if len(b) > 200 {
		return string(b[:200]) + "…"
	}
	return string(b)
}
