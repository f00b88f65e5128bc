package delta

import (
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// CacheRef is where the result of a shared step is kept for other daemons.
type CacheRef struct {
	Step *graph.Step
	Ref  string
}

// CacheRefs lists where repo keeps the results that one conversion takes in. Files
// are what its steps read from local contexts.
func CacheRefs(repo string, g *graph.Graph, files graph.Files) []CacheRef {
	var out []CacheRef
	prints := g.Fingerprints(files)
	for _, d := range g.Taken() {
		s := g.Step(d)
		if ref := publish.CacheRef(repo, s, prints[d]); ref != "" {
			out = append(out, CacheRef{s, ref})
		}
	}
	return out
}

// Kept lists the references that a build of a plan keeps results under, each
// once; none without a cache repository.
func Kept(p *plan.Plan, b *plan.Basis) []string {
	if p.Cache == "" {
		return nil
	}
	var out []string
	seen := map[string]bool{}
	for i := range b.Conversions {
		c := &b.Conversions[i]
		for _, r := range CacheRefs(p.Cache, &c.Graph, c.Files) {
			if !seen[r.Ref] {
				seen[r.Ref] = true
				out = append(out, r.Ref)
			}
		}
	}
	return out
}

// cacheRefs compares where two plans keep results, by what the steps are called. A
// plan without a cache repository is taken to have the other's.
func (f *fleets) cacheRefs() Move {
	m := Move{What: "cache refs"}
	repo, now := f.old.Plan.Cache, f.now.Plan.Cache
	if repo == "" || now == "" {
		repo, now = now+repo, now+repo
	}
	was := map[string]CacheRef{}
	for _, c := range f.old.Basis.Conversions {
		for _, r := range CacheRefs(repo, &c.Graph, c.Files) {
			was[called(r.Step)] = r
		}
	}
	seen := map[string]bool{}
	for _, c := range f.now.Basis.Conversions {
		for _, r := range CacheRefs(now, &c.Graph, c.Files) {
			name := called(r.Step)
			if o, ok := was[name]; ok && !seen[name] {
				_, a := publish.Split(o.Ref)
				_, b := publish.Split(r.Ref)
				m.add(o.Ref, r.Ref, o.Ref == r.Ref, a == b)
			}
			seen[name] = true
		}
	}
	return m
}

// called is what a step is called, whatever its place in its stage.
func called(s *graph.Step) string { return s.Key.Stage + "\n" + text(s) }
