package engine

import (
	"context"
	"maps"
	"os"

	"github.com/lapstrake/lapstrake/internal/adapt/dockerfile"
	"github.com/lapstrake/lapstrake/internal/decide/lint"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
)

// Mended is a Dockerfile with findings mended.
type Mended struct {
	// Text is the Dockerfile's text, as it was when nothing could be mended.
	Text string
	// Proofs are of what was mended, in the order in which it was.
	Proofs []lint.Proof
	// Refused are findings that a change of the text seemed to mend, with what else
	// it would have changed.
	Refused []Refusal
}

// Refusal is a finding that is not mended.
type Refusal struct {
	Finding lint.Finding
	Why     error
}

// Mend mends findings one after the other. Each change is tried on every image
// of the fleet and kept only when nothing differs but what it is for.
func (e *Engine) Mend(ctx context.Context, in lint.Input) (Mended, error) {
	out := Mended{Text: in.Texts[e.recipe.Name]}
	refused := map[string]bool{} // by the text that it would have made
	for again := true; again; {
		again = false
		for _, f := range lint.Check(in) {
			text, ok := lint.Mend(in, f)
			if !ok || refused[text] {
				continue
			}
			next, err := e.rewritten(ctx, in, text)
			if ctx.Err() != nil {
				return out, context.Cause(ctx)
			}
			var proof lint.Proof
			if err == nil {
				proof, err = lint.Prove(in, next, f)
			}
			if err != nil {
				refused[text] = true
				out.Refused = append(out.Refused, Refusal{f, err})
				continue
			}
			in, again = next, true
			out.Text, out.Proofs = text, append(out.Proofs, proof)
			break
		}
	}
	return out, nil
}

// DockerfileName is what positions call the fleet's Dockerfile.
func (e *Engine) DockerfileName() string { return e.recipe.Name }

// rewritten is the input that a fleet gives with another text of its Dockerfile.
func (e *Engine) rewritten(ctx context.Context, in lint.Input, text string) (lint.Input, error) {
	opt := e.recipe
	read, file := opt.ReadFile, opt.Recipe.Dockerfile
	if read == nil {
		read = os.ReadFile
	}
	opt.ReadFile = func(path string) ([]byte, error) {
		if path == file {
			return []byte(text), nil
		}
		return read(path)
	}
	r, err := dockerfile.Open(opt)
	if err != nil {
		return in, err
	}
	recipes := map[string]*dockerfile.Recipe{e.Fleet.Platform: r}
	for _, p := range e.Fleet.EachPlatform()[1:] {
		if recipes[p], err = r.For(p); err != nil {
			return in, err
		}
	}
	in.Outline, in.Texts = r.Outline(), maps.Clone(in.Texts)
	in.Texts[e.recipe.Name] = text
	images := make([]planner.Facts, len(in.Images))
	for i, f := range in.Images {
		if f.Base != nil && f.Problem == nil {
			f.Variant, f.Problem = recipes[f.Platform].Variant(ctx, f.Base, f.Image)
		}
		images[i] = f
	}
	in.Images = images
	return in, nil
}
