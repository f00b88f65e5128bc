// Package graph holds the steps of one image as they are known before anything
// runs.
//
// A step has two names. Its [Digest] is its identity: equal digests do the same
// work. Its [Key] is stable over changes of the recipe's source, so that a step
// can be found again in another commit.
package graph

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Digest is an algorithm:hex content digest.
type Digest string

// Short is the first 12 hex digits, for people.
func (d Digest) Short() string {
	s := string(d)
	for i := range s {
		if s[i] == ':' {
			s = s[i+1:]
			break
		}
	}
	if len(s) > 12 {
		s = s[:12]
	}
	return s
}

// Kind is what a step does.
type Kind string

// The kinds of step.
const (
	KindImage Kind = "image" // a base or other image is pulled
	KindLocal Kind = "local" // files from the client
	KindGit   Kind = "git"
	KindHTTP  Kind = "http"
	KindExec  Kind = "exec"  // RUN
	KindFile  Kind = "file"  // COPY, ADD, WORKDIR
	KindMerge Kind = "merge" // COPY --link on a base
	KindDiff  Kind = "diff"
	KindOther Kind = "other"
)

// Source tells whether a step of the kind reads something from outside the
// graph. A solver looks sources up in every solve, whatever its cache holds.
func (k Kind) Source() bool {
	return k == KindImage || k == KindLocal || k == KindGit || k == KindHTTP
}

// Key is a step's name that stays the same while other steps change.
type Key struct {
	Stage   string `json:"stage"`
	Ordinal int    `json:"ordinal"` // position within the stage, from 1
	Text    string `json:"text"`    // normalised instruction
}

// Step is one operation.
type Step struct {
	Key    Key    `json:"key"`
	Digest Digest `json:"digest"`
	Kind   Kind   `json:"kind"`
	// Name is what BuildKit shows.
	Name   string   `json:"name"`
	Inputs []Digest `json:"inputs,omitempty"`
	// Reads are those of the Inputs of which only the files that the step reads
	// count: it is cached as long as these are equal, whatever made them.
	Reads []Digest `json:"reads,omitempty"`
	// Own is a digest over what the step does itself, whatever its inputs are and
	// whatever local contexts hold.
	Own Digest   `json:"own,omitempty"`
	Pos diag.Pos `json:"pos"`
	// Facets tell people what the step does, in the order of their kinds.
	Facets []Facet `json:"facets,omitempty"`
	// BaseBound is true when the base image is among the step's ancestors, or
	// is the step itself.
	BaseBound bool `json:"baseBound,omitempty"`
	// Source is what a source step reads: an image reference with digest, a
	// local name, a URL.
	Source string `json:"source,omitempty"`
	// Uses are the files of local contexts that the step reads.
	Uses []Use `json:"uses,omitempty"`
	// Secrets and SSH are the ids that the step mounts.
	Secrets []string `json:"secrets,omitempty"`
	SSH     []string `json:"ssh,omitempty"`
}

// Use is a part of a local context that a step reads.
type Use struct {
	// Context is the local's name, "context" for the main one.
	Context string `json:"context"`
	// Paths are slash-separated, relative to the context, with wildcards when
	// Wildcard; "." is everything.
	Paths    []string `json:"paths"`
	Wildcard bool     `json:"wildcard,omitempty"`
	// Include, when set, narrows each path to what matches one of these patterns,
	// in .dockerignore syntax and relative to the path: COPY --parents.
	Include []string `json:"include,omitempty"`
	// Exclude are patterns in .dockerignore syntax, relative to each path, that
	// the step leaves out.
	Exclude []string `json:"exclude,omitempty"`
}

// String is the use as people write it: the paths, with the context when that is
// not the main one.
func (u Use) String() string {
	s := strings.Join(u.Paths, " ")
	if u.Context != "context" {
		s = u.Context + ": " + s
	}
	return s
}

// Graph is the steps of one image, inputs before users. The last step is the
// result.
type Graph struct {
	Steps []Step `json:"steps"`
}

// Step finds a step by its digest; nil when there is none.
func (g *Graph) Step(d Digest) *Step {
	for i := range g.Steps {
		if g.Steps[i].Digest == d {
			return &g.Steps[i]
		}
	}
	return nil
}

// Count returns the number of steps that do work on their own: shared ones and
// those bound to the base. Source steps count, merges do not.
func (g *Graph) Count() (shared, baseBound int) {
	for _, s := range g.Steps {
		switch {
		case s.Kind == KindMerge:
		case s.BaseBound:
			baseBound++
		default:
			shared++
		}
	}
	return shared, baseBound
}

// Taken lists the shared steps whose results the steps on the base take in, each
// once, in the order in which they are taken.
func (g *Graph) Taken() []Digest {
	bound := make(map[Digest]bool, len(g.Steps))
	for _, s := range g.Steps {
		bound[s.Digest] = s.BaseBound
	}
	var out []Digest
	seen := map[Digest]bool{}
	for _, s := range g.Steps {
		if !s.BaseBound {
			continue
		}
		for _, d := range s.Inputs {
			if b, ok := bound[d]; ok && !b && !seen[d] {
				seen[d] = true
				out = append(out, d)
			}
		}
	}
	return out
}

// History is one entry of an image config's history. Created is nil until the
// layer's time is known.
type History struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Author     string     `json:"author,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// Variant is the conversion of a recipe for one view of a base: the base's
// config without its layers, history and time. Every image whose base has that
// view, and whose arguments are the same, shares the Variant.
type Variant struct {
	// ID is a digest over everything below but positions: two variants with
	// equal ids make equal images from equal bases.
	ID Digest `json:"id"`
	// Graph's base step carries a placeholder for the base's reference.
	Graph Graph `json:"graph"`
	// Config is the image config as the front end made it, without "rootfs",
	// "history" and "created": a JSON object.
	Config json.RawMessage `json:"config"`
	// History is what the recipe adds after the base's history; all of it when
	// Under is set.
	History []History `json:"history"`
	// Under is the config of the image that the result is built on when that is
	// not the base, from which it then only takes files: {} for the empty image.
	// Nil in all other cases.
	Under json.RawMessage `json:"under,omitempty"`
	// Shared is the set of layers over the base when the image can be appended;
	// nil when it must be built.
	Shared *LayerSet `json:"shared,omitempty"`
	// Build says why the image must be built; empty when Shared is set.
	Build []Blocker `json:"build,omitempty"`
	// Definition is the opaque operation graph with the placeholder base. Only
	// the package that made it reads it.
	Definition []byte `json:"-"`
	// Notes are remarks about the conversion, such as a front end that was not used.
	Notes []diag.Problem `json:"notes,omitempty"`
}

// LayerSet is an ordered set of shared results that are laid over a base.
type LayerSet struct {
	// ID is a digest over the inputs in order, and of the platform: equal ids
	// make equal layers on the same daemon.
	ID Digest `json:"id"`
	// Inputs are the steps whose results are the layers, in order; the same
	// step twice is the same layer twice. Empty means config only.
	Inputs []Digest `json:"inputs"`
	// Definition is the opaque graph whose result holds exactly these layers;
	// nil when Inputs is empty.
	Definition []byte `json:"-"`
}

// Blocker says why an image cannot be appended.
type Blocker struct {
	Code string   `json:"code"`
	Pos  diag.Pos `json:"pos"`
	// Step is the digest of the step in question, "" when it is the whole image.
	Step   Digest `json:"step,omitempty"`
	Detail string `json:"detail"`
}
