// Package lineage says what each of many commits changes about a fleet, from
// what the fleet is at each of them: which steps of every image, which shared
// steps, which copied files, which names; or nothing at all. Nothing was built
// for it.
package lineage

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Commit is what people are told of a commit.
type Commit struct {
	Hash string `json:"hash"`
	// Name is what it was asked for as, when that was a name of its own.
	Name    string    `json:"name,omitempty"`
	Date    time.Time `json:"date"`
	Subject string    `json:"subject"`
}

// Recipe is what a fleet's images are made with: one Dockerfile with one set of
// values. States whose recipes are the same pointer differ in files and names
// only.
type Recipe struct {
	// Groups are the images by the conversion that they share, at least one.
	Groups []Group
	// Args are the values of build arguments by name: what the Dockerfile gives
	// by itself and what the fleet file gives, whether a step sees them or not.
	Args map[string]string
	// Moving are the steps that run again at every commit, because a value that
	// they see is the commit's.
	Moving []Moving
	// MovingConfig is true when the images' configs are others at every commit.
	MovingConfig bool
	// Shared and PerImage are digests over what shared steps do, and over what
	// steps bound to a base do; Config over what images are beside their files.
	Shared, PerImage, Config graph.Digest
	// assigned is over which image is made how, when there is more than one way.
	assigned graph.Digest
}

// Group is the images of one conversion.
type Group struct {
	// Images are their ids, at least one.
	Images  []string
	Variant *graph.Variant
}

// Moving is a step that does something else at every commit.
type Moving struct {
	Change
	// Inherit are the steps that rest on it.
	Inherit Steps `json:"inherit"`
}

// Moves compares one conversion with that for another commit, all else equal:
// what differs runs again at every commit.
func Moves(one, two *graph.Graph, images int) []Moving {
	var out []Moving
	at := map[graph.Digest]int{}
	steps := delta.Compare(delta.Side{Graph: one}, delta.Side{Graph: two})
	for i := range steps {
		s := &steps[i]
		if s.Status != delta.Changed {
			continue
		}
		ch, ok := changed(s)
		if !ok || !delta.Works(ch.Kind) {
			continue
		}
		ch.Images = images
		at[s.New.Digest] = len(out)
		out = append(out, Moving{Change: ch})
	}
	for i := range steps {
		s := &steps[i]
		if s.Status != delta.Inherited || !s.Runs() {
			continue
		}
		for _, from := range s.From {
			if j, ok := at[from]; ok {
				out[j].Inherit.count(s.New)
			}
		}
	}
	return out
}

// Seal takes the digests of a recipe whose groups are complete. labels are those
// of the images. Groups that turn out equal count once.
func (r *Recipe) Seal(labels any) error {
	var shared, bound, config distinct
	var assigned []any
	for _, g := range r.Groups {
		all, own := g.Variant.Graph.Fingerprints(nil), perImage(&g.Variant.Graph)
		var here [2][]graph.Digest
		for _, s := range g.Variant.Graph.Steps {
			if s.BaseBound {
				here[0] = append(here[0], own[s.Digest])
			} else {
				here[1] = append(here[1], all[s.Digest])
			}
		}
		data, err := json.Marshal([]any{g.Variant.Config, g.Variant.History, g.Variant.Under})
		if err != nil {
			return diag.Wrap(diag.Internal, "image config", err)
		}
		kind := []int{bound.add(hashed(here[0])), shared.add(hashed(here[1])), config.add(hashed(string(data)))}
		assigned = append(assigned, []any{kind, g.Images})
	}
	r.PerImage, r.Shared, r.Config = hashed(bound), hashed(shared), hashed([]any{config, labels})
	if len(bound)+len(shared)+len(config) > 3 {
		r.assigned = hashed(assigned)
	}
	return nil
}

// distinct is digests in the order in which each came first.
type distinct []graph.Digest

// add returns the place of a digest.
func (d *distinct) add(x graph.Digest) int {
	if i := slices.Index(*d, x); i >= 0 {
		return i
	}
	*d = append(*d, x)
	return len(*d) - 1
}

// perImage gives each step that is bound to a base a digest over what it and its
// ancestors of that kind do, whatever shared steps make.
func perImage(g *graph.Graph) map[graph.Digest]graph.Digest {
	out := map[graph.Digest]graph.Digest{}
	for _, s := range g.Steps {
		if !s.BaseBound {
			continue
		}
		text := string(s.Own)
		for _, in := range s.Inputs {
			text += "\n" + string(out[in])
		}
		sum := sha256.Sum256([]byte(text))
		out[s.Digest] = digest(sum[:])
	}
	return out
}

func digest(sum []byte) graph.Digest { return graph.Digest("sha256:" + hex.EncodeToString(sum)) }

func hashed(v any) graph.Digest {
	data, err := json.Marshal(v)
	if err != nil {
		panic("lineage: maps and lists of texts are always JSON: " + err.Error())
	}
	sum := sha256.Sum256(data)
	return digest(sum[:])
}

// Refs are the names that a fleet reads and writes. A part that is the commit's
// is the same at all commits.
type Refs struct {
	// File is the fleet file as people know it.
	File string
	// Text is the fleet file, for the place of a change.
	Text string
	// Images are in declared order.
	Images []fleet.Image
	// Moving is the number of references that are new at every commit.
	Moving int
	Digest graph.Digest
}

// NewRefs are the names of images.
func NewRefs(file, text string, images []fleet.Image) *Refs {
	var all [][]string
	for _, im := range images {
		all = append(all, append([]string{im.ID, im.Base}, im.Tags...))
	}
	return &Refs{File: file, Text: text, Images: images, Digest: hashed(all)}
}

// Tags is the number of references that are published.
func (r *Refs) Tags() int {
	n := 0
	for _, im := range r.Images {
		n += len(im.Tags)
	}
	return n
}

// State is a fleet at a commit. It is not changed any more once it was sealed.
type State struct {
	// Problems are why the fleet cannot be planned there; nothing else is set then.
	Problems diag.List
	// Last is the last state before it without Problems, when it has some.
	Last   *State
	Recipe *Recipe
	Refs   *Refs
	// Files are what the steps of each group read from local contexts.
	Files []graph.Files
	// Locks are the lock files that steps read: a name of their content by path.
	Locks map[string]string
	// Print is what [State.Seal] made of it.
	Print Fingerprint
}

// Fingerprint is a fleet at a commit, in digests. Equal digests are equal things;
// what differs in Arguments alone makes the same images.
type Fingerprint struct {
	// ID is over all but Arguments.
	ID graph.Digest `json:"id"`
	// PerImage is over what the steps that are bound to a base do.
	PerImage graph.Digest `json:"perImage,omitempty"`
	// Shared is over what shared steps do.
	Shared graph.Digest `json:"shared,omitempty"`
	// Content is over the files that steps read from contexts; Locks over the
	// lock files among them.
	Content graph.Digest `json:"content,omitempty"`
	Locks   graph.Digest `json:"locks,omitempty"`
	// Config is over the images' configs.
	Config graph.Digest `json:"config,omitempty"`
	// Refs is over the images' ids, bases and tags.
	Refs graph.Digest `json:"refs,omitempty"`
	// Arguments is over the values of build arguments, also of those that no step sees.
	Arguments graph.Digest `json:"arguments,omitempty"`
}

// Seal takes the state's fingerprint.
func (s *State) Seal() {
	if len(s.Problems) > 0 {
		var text []string
		for _, p := range s.Problems {
			text = append(text, p.Error())
		}
		s.Print = Fingerprint{ID: hashed(text)}
		return
	}
	var files distinct
	for i, g := range s.Recipe.Groups {
		var here [][]graph.Digest
		for _, st := range g.Variant.Graph.Steps {
			here = append(here, s.Files[i][st.Digest])
		}
		files.add(hashed(here))
	}
	p := Fingerprint{
		PerImage: s.Recipe.PerImage, Shared: s.Recipe.Shared, Config: s.Recipe.Config, Refs: s.Refs.Digest,
		Content: hashed(files), Locks: hashed(s.Locks), Arguments: hashed(s.Recipe.Args),
	}
	p.ID = hashed([]graph.Digest{p.PerImage, p.Shared, p.Content, p.Config, p.Refs, s.Recipe.assigned})
	s.Print = p
}

// IsLock tells whether a path is, by its name, a file in which a package manager
// keeps the versions that it chose.
func IsLock(p string) bool {
	name := path.Base(p)
	if strings.HasSuffix(name, ".txt") && (strings.HasPrefix(name, "requirements") || strings.HasPrefix(name, "constraints")) {
		return true
	}
	return slices.Contains([]string{
		"package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb", "deno.lock",
		"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pixi.lock", "conda-lock.yml", "pylock.toml",
		"go.sum", "Cargo.lock", "Gemfile.lock", "composer.lock", "mix.lock", "gradle.lockfile", "flake.lock",
	}, name)
}
