package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// VerifyState is what came of comparing one image.
type VerifyState string

// The states. Only differs and failed make a verification fail.
const (
	// VerifyEqual: layer digests and config are those of a full build.
	VerifyEqual VerifyState = "equal"
	// VerifyBuilt: the image is made by a full build itself, so there is nothing
	// to compare it with. Steps that run on a base do not repeat to the byte.
	VerifyBuilt VerifyState = "built"
	// VerifyDiffers: what is published is not what a full build makes.
	VerifyDiffers VerifyState = "differs"
	// VerifyFailed: the comparison could not be made.
	VerifyFailed VerifyState = "failed"
)

// Verified is the comparison of one published image with a full build of it.
type Verified struct {
	Image string      `json:"image"`
	Tag   string      `json:"tag"`
	State VerifyState `json:"state"`
	// Difference says what the first difference is, "times" when only times
	// differ; of a failed comparison why it failed.
	Difference string `json:"difference,omitempty"`
	// Err is the failure, nil otherwise.
	Err error `json:"-"`
}

// onlyTimes is the difference of images that differ in nothing but times.
const onlyTimes = "times"

// Verify builds up to sample images of the fleet in full, each with a solve of
// its own, and compares what came out with what is published; a sample of 0
// means all. The images are spread evenly over the fleet, and the results are in
// its order. Images that are made by a full build anyway are not built again;
// when there are no others, no daemon is started. The builds are pushed by
// digest only, so no tag changes.
//
// Equality can be expected from the daemon that made the shared layers while it
// still has them, or anywhere with an epoch; with lenient, times in the config
// may differ. The error is of kind [diag.Gate] when an image differs, and of the
// failure's kind when comparisons failed.
func (e *Engine) Verify(ctx context.Context, sample int, lenient bool) ([]Verified, error) {
	if err := e.output.lock(); err != nil {
		return nil, err
	}
	ctx, end := e.begin(ctx)
	defer end()
	e.Opts.Planner = planner.Options{Skip: planner.SkipNever}
	e.Fleet.Images = spreadOver(e.Fleet.Images, sample)
	in, err := e.Gather(ctx, nil)
	if err != nil {
		return nil, err
	}
	p := planner.Make(*in)
	out := make([]Verified, len(p.Units))
	each(ctx, len(out), e.jobs(), func(i int) {
		out[i] = e.verify(ctx, task{unit: p.Units[i], facts: &in.Images[i]}, lenient)
	})
	e.background.Wait()
	if ctx.Err() != nil {
		return out, diag.Errorf(diag.Interrupted, "run the same command again", "verify: %w", context.Cause(ctx))
	}
	if err := e.sweep(); err != nil {
		return out, err
	}
	return out, verifyVerdict(out)
}

// verifyVerdict is the error that the results amount to.
func verifyVerdict(results []Verified) error {
	compared, differ, failed := 0, 0, 0
	kind := diag.Gate
	for _, v := range results {
		switch v.State {
		case VerifyDiffers:
			differ++
		case VerifyFailed:
			failed++
			if k := diag.KindOf(v.Err); k != diag.File { // one bad image, not a bad command
				kind = diag.Worst(kind, k)
			}
		}
		if v.State != VerifyBuilt {
			compared++
		}
	}
	switch {
	case differ > 0:
		return diag.Errorf(kind, "the list says what differs", "%d of %d images are not what a full build makes", differ+failed, compared)
	case failed > 0:
		return diag.Errorf(kind, "the list says why", "%d of %d images could not be compared", failed, compared)
	}
	return nil
}

// verify compares one image.
func (e *Engine) verify(ctx context.Context, t task, lenient bool) Verified {
	v := Verified{Image: t.unit.Image, Tag: t.unit.Tags[0]}
	v.Err = t.facts.Problem
	if v.Err == nil && t.unit.Action == plan.Build {
		v.State = VerifyBuilt
		return v
	}
	if v.Err == nil {
		v.Difference, v.Err = e.verifyOne(ctx, t)
	}
	switch {
	case v.Err != nil:
		v.State, v.Difference = VerifyFailed, v.Err.Error()
	case v.Difference == "" || lenient && v.Difference == onlyTimes:
		v.State = VerifyEqual
	default:
		v.State = VerifyDiffers
	}
	return v
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
func (e *Engine) verifyOne(ctx context.Context, t task) (string, error) {
	repo := publish.Repos(t.unit.Tags)[0]
	tag, err := e.Store.Stat(ctx, t.unit.Tags[0])
	if err != nil {
		return "", err
	}
	at := tag.Holds(t.unit.Key)
	switch {
	case !tag.Exists:
		return "not published", nil
	case at == "" && (tag.Key != "" || t.unit.Index != ""):
		return "published from other inputs than the fleet has now", nil
	case at == "":
		at = tag.Digest // something without a key, to be compared all the same
	}
	published, err := e.content(ctx, repo, at)
	if err != nil {
		return "", err
	}
	job, _, err := e.imageJob(t, repo)
	if err != nil {
		return "", err
	}
	w, err := e.stations[0].get(ctx)
	if err != nil {
		return "", err
	}
	built, err := w.Solver.Solve(ctx, job, func(journal.StepRecord) {})
	if err != nil {
		return "", err
	}
	full, err := e.content(ctx, repo, built.Digest)
	if err == nil && e.Fleet.Output.To != "" && built.Digest != tag.Digest {
		err = e.Store.Delete(ctx, repo, built.Digest) // nobody else tidies there
	}
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
	names := slices.Collect(maps.Keys(x))
	for n := range y {
		if _, ok := x[n]; !ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	times := false
	for _, n := range names {
		if bytes.Equal(x[n], y[n]) {
			continue
		}
		if n == "created" || n == "history" && bytes.Equal(timeless(x[n]), timeless(y[n])) {
			times = true
			continue
		}
		return fmt.Sprintf("config field %q: %s, a full build has %s", n, clip(x[n]), clip(y[n]))
	}
	if !times {
		return "the configs differ in bytes only"
	}
	return onlyTimes
}

// timeless is a history without its times; fields that nobody knows stay.
func timeless(history json.RawMessage) []byte {
	var h []map[string]json.RawMessage
	if json.Unmarshal(history, &h) != nil {
		return history
	}
	for _, entry := range h {
		delete(entry, "created")
	}
	out, err := json.Marshal(h)
	if err != nil {
		return history
	}
	return out
}

// clip is a value for people: not too long, and visible when it is missing.
func clip(b []byte) string {
	if b == nil {
		return "nothing"
	}
	if len(b) > 200 {
		return string(b[:200]) + "…"
	}
	return string(b)
}
