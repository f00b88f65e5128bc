// Package delta compares the steps of one conversion of a recipe with those of
// another: which are the same, which changed and by what, which only inherit a
// change, and so which a solver will run again.
//
// It is the one comparison: of two fleet files, of two commits, of a plan with a
// recorded one, and of two runs.
package delta

import (
	"slices"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Side is one of the two conversions.
type Side struct {
	Graph *graph.Graph
	// Files are the digests of what its steps read from local contexts; a step
	// without any counts as reading nothing.
	Files graph.Files
	// Base identifies the base's content; it is compared when both sides have it.
	Base graph.Digest
}

// Status says how a step compares.
type Status string

// The statuses.
const (
	Same      Status = "same"      // it makes the same from the same
	Changed   Status = "changed"   // it does something else, or reads other files
	Inherited Status = "inherited" // it does the same with something that changed
	Added     Status = "added"     // nothing stands for it on the old side
	Gone      Status = "gone"      // nothing stands for it on the new side
)

// Cause is one thing about a step that changed. Old or New is empty when it was
// not there.
type Cause struct {
	Kind graph.FacetKind `json:"kind"`
	Name string          `json:"name,omitempty"`
	Old  string          `json:"old,omitempty"`
	New  string          `json:"new,omitempty"`
	// Pos is where the new value is declared, or the old one when there is no new;
	// the step's own place when it has none of its own.
	Pos diag.Pos `json:"pos,omitzero"`
}

// Step is a step of either side, or of both.
type Step struct {
	// Old and New are nil when the step is added or gone.
	Old, New *graph.Step
	Status   Status
	// Causes are what changed about a Changed step itself, that which says most
	// first; never empty then.
	Causes []Cause
	// From are the steps of the new side, Changed or Added, that an Inherited step
	// rests on, in their order.
	From []graph.Digest
	// Maybe is true when the step runs again only if files that it reads come out
	// different: a solver compares these, not the steps that made them.
	Maybe bool
}

// Runs tells whether a solver with the old side's results in its cache runs the
// step, for sure or maybe. Sources and arrangements of results do not run.
func (s *Step) Runs() bool {
	return s.New != nil && s.Status != Same && Works(s.New.Kind)
}

// Works tells whether steps of a kind do work: not those that only name or
// arrange what is there.
func Works(k graph.Kind) bool {
	return !k.Source() && k != graph.KindMerge && k != graph.KindDiff
}

// Compare pairs the steps of two sides. The result holds the new side's steps in
// their order, then those that are gone in theirs. Steps that do the same with
// the same are paired wherever they stand; others by their stage and text, and
// where the text changed, by their place between steps that are paired.
func Compare(old, now Side) []Step {
	c := comparison{old: old, now: now}
	c.prints()
	pairs := c.pairs()
	out := make([]Step, 0, len(now.Graph.Steps))
	byDigest := make(map[graph.Digest]*Step, len(now.Graph.Steps))
	for i := range now.Graph.Steps {
		s := Step{New: &now.Graph.Steps[i]}
		if j, ok := pairs[i]; ok {
			s.Old = &old.Graph.Steps[j]
		}
		c.settle(&s, byDigest)
		out = append(out, s)
		byDigest[s.New.Digest] = &out[len(out)-1]
	}
	used := map[int]bool{}
	for _, j := range pairs {
		used[j] = true
	}
	for j := range old.Graph.Steps {
		if !used[j] {
			out = append(out, Step{Old: &old.Graph.Steps[j], Status: Gone})
		}
	}
	return out
}

type comparison struct {
	old, now           Side
	oldPrint, nowPrint map[graph.Digest]graph.Digest
	known              map[graph.Digest]bool // fingerprints of the old side
}

// prints takes the fingerprints of both sides, with their bases when both have one.
func (c *comparison) prints() {
	ob, nb := c.old.Base, c.now.Base
	if ob == "" || nb == "" {
		ob, nb = "", ""
	}
	c.oldPrint, c.nowPrint = prints(c.old, ob), prints(c.now, nb)
	c.known = make(map[graph.Digest]bool, len(c.oldPrint))
	for _, p := range c.oldPrint {
		c.known[p] = true
	}
}

func prints(s Side, base graph.Digest) map[graph.Digest]graph.Digest {
	files := s.Files
	if base != "" {
		files = make(graph.Files, len(s.Files)+1)
		for d, f := range s.Files {
			files[d] = f
		}
		for _, st := range s.Graph.Steps {
			if isBase(&st) {
				files[st.Digest] = []graph.Digest{base}
			}
		}
	}
	return s.Graph.Fingerprints(files)
}

func isBase(s *graph.Step) bool { return s.Kind == graph.KindImage && s.BaseBound }

// settle decides what became of a paired or new step. before holds the steps
// that come before it.
func (c *comparison) settle(s *Step, before map[graph.Digest]*Step) {
	if c.known[c.nowPrint[s.New.Digest]] {
		s.Status = Same
		return
	}
	if s.Old == nil {
		s.Status = Added
		return
	}
	s.Maybe = true
	for _, in := range s.New.Inputs {
		from := before[in]
		if from == nil || from.Status == Same {
			continue
		}
		s.Status = Inherited
		if !slices.Contains(s.New.Reads, in) && !from.Maybe {
			s.Maybe = false
		}
		roots := from.From
		if from.Status != Inherited {
			roots = []graph.Digest{in}
		}
		for _, r := range roots {
			if !slices.Contains(s.From, r) {
				s.From = append(s.From, r)
			}
		}
	}
	s.Causes = c.causes(s)
	if s.Status == "" && len(s.Causes) == 0 {
		s.Causes = []Cause{c.input(s)}
	}
	if len(s.Causes) > 0 {
		s.Status, s.Maybe = Changed, false
	}
}

// input says which step a step now rests on instead of another one, when neither
// of the two changed.
func (c *comparison) input(s *Step) Cause {
	cause := Cause{Kind: graph.FacetInput, Pos: s.New.Pos}
	for i := range max(len(s.Old.Inputs), len(s.New.Inputs)) {
		var was, is graph.Digest
		if i < len(s.Old.Inputs) {
			was = s.Old.Inputs[i]
		}
		if i < len(s.New.Inputs) {
			is = s.New.Inputs[i]
		}
		if c.oldPrint[was] == c.nowPrint[is] {
			continue
		}
		if o := c.old.Graph.Step(was); o != nil {
			cause.Old = text(o)
		}
		if n := c.now.Graph.Step(is); n != nil {
			cause.New = text(n)
		}
		break
	}
	return cause
}

// causes lists what changed about a step itself.
func (c *comparison) causes(s *Step) []Cause {
	var out []Cause
	if isBase(s.New) && c.old.Base != c.now.Base && c.old.Base != "" && c.now.Base != "" {
		out = append(out, Cause{Kind: graph.FacetSource, Name: "base", Old: string(c.old.Base), New: string(c.now.Base), Pos: s.New.Pos})
	}
	if s.Old.Own != s.New.Own {
		told := facets(s.Old, s.New)
		if len(told) == 0 {
			told = []Cause{untold(s)}
		}
		out = append(out, c.declared(s, told)...)
	}
	return append(out, c.files(s)...)
}

// declared leaves out variables that come from the base, when that is another
// one: then the base is the cause.
func (c *comparison) declared(s *Step, causes []Cause) []Cause {
	if c.old.Base == c.now.Base || c.old.Base == "" || c.now.Base == "" {
		return causes
	}
	return slices.DeleteFunc(causes, func(x Cause) bool { return x.Kind == graph.FacetEnvironment && x.Pos == s.New.Pos })
}

// untold is the cause of a difference that no facet tells: the order of the
// variables, or an option that facets leave out.
func untold(s *Step) Cause {
	var was, is []string
	for _, f := range s.Old.Facets {
		was = append(was, f.Name)
	}
	for _, f := range s.New.Facets {
		is = append(is, f.Name)
	}
	if !slices.Equal(was, is) {
		return Cause{Kind: graph.FacetEnvironment, Name: "the order of the variables", Pos: s.New.Pos}
	}
	return Cause{Kind: graph.FacetOption, Pos: s.New.Pos}
}

type facetKey struct {
	kind graph.FacetKind
	name string
}

// facets compares what two steps do. Facets are in the order of blame, and a
// step may have several of one kind and name.
func facets(old, now *graph.Step) []Cause {
	was := map[facetKey][]graph.Facet{}
	for _, f := range old.Facets {
		was[facetKey{f.Kind, f.Name}] = append(was[facetKey{f.Kind, f.Name}], f)
	}
	var out []Cause
	for _, f := range now.Facets {
		k := facetKey{f.Kind, f.Name}
		switch rest := was[k]; {
		case len(rest) == 0:
			out = append(out, Cause{Kind: f.Kind, Name: f.Name, New: f.Value, Pos: place(f, now)})
		default:
			was[k] = rest[1:]
			if rest[0].Value != f.Value {
				out = append(out, Cause{Kind: f.Kind, Name: f.Name, Old: rest[0].Value, New: f.Value, Pos: place(f, now)})
			}
		}
	}
	for _, f := range old.Facets {
		k := facetKey{f.Kind, f.Name}
		if rest := was[k]; len(rest) > 0 && rest[0] == f {
			was[k] = rest[1:]
			out = append(out, Cause{Kind: f.Kind, Name: f.Name, Old: f.Value, Pos: place(f, old)})
		}
	}
	slices.SortStableFunc(out, func(a, b Cause) int { return graph.Blame(a.Kind) - graph.Blame(b.Kind) })
	return out
}

func place(f graph.Facet, s *graph.Step) diag.Pos {
	if f.Pos.Line > 0 {
		return f.Pos
	}
	return s.Pos
}

// files compares what two steps read from local contexts.
func (c *comparison) files(s *Step) []Cause {
	was, is := c.old.Files[s.Old.Digest], c.now.Files[s.New.Digest]
	var out []Cause
	for i := range max(len(was), len(is)) {
		var o, n graph.Digest
		if i < len(was) {
			o = was[i]
		}
		if i < len(is) {
			n = is[i]
		}
		if o == n {
			continue
		}
		cause := Cause{Kind: graph.FacetFiles, Old: string(o), New: string(n), Pos: s.New.Pos}
		switch {
		case i < len(s.New.Uses):
			cause.Name = s.New.Uses[i].String()
		case i < len(s.Old.Uses):
			cause.Name = s.Old.Uses[i].String()
		}
		out = append(out, cause)
	}
	return out
}
