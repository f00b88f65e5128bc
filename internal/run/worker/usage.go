package worker

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/decide/release"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Usage says what holds a daemon's disk. Every record counts once in Types, and
// once in either Bases or Steps. Sizes are bytes.
type Usage struct {
	Records int   `json:"records"`
	Bytes   int64 `json:"bytes"`
	// InUse are those that a solve holds now.
	InUse      int   `json:"inUse"`
	InUseBytes int64 `json:"inUseBytes"`
	// Types are BuildKit's record types, Bases the images that layers were
	// pulled from, and Steps what made the other records, by what the daemon
	// calls it. The largest come first.
	Types []Share `json:"types"`
	Bases []Share `json:"bases"`
	Steps []Share `json:"steps"`
}

// Share is a part of a daemon's records.
type Share struct {
	Name    string `json:"name"`
	Records int    `json:"records"`
	Bytes   int64  `json:"bytes"`
}

// NewUsage adds records up. A layer that several images have counts for the one
// that was pulled first.
func NewUsage(records []buildkit.Record) Usage {
	u := Usage{}
	types, bases, steps := shares{}, shares{}, shares{}
	for _, r := range records {
		u.Records++
		u.Bytes += r.Bytes
		if r.InUse {
			u.InUse++
			u.InUseBytes += r.Bytes
		}
		types.add(r.Type, r.Bytes)
		if ref, ok := strings.CutPrefix(r.Description, pulledFrom); ok {
			bases.add(ref, r.Bytes)
		} else {
			steps.add(stepName(r.Description), r.Bytes)
		}
	}
	u.Types, u.Bases, u.Steps = types.sorted(), bases.sorted(), steps.sorted()
	return u
}

// stepName is what a step is called. The daemon calls the result of a RUN after
// the place where it was mounted.
func stepName(description string) string {
	command, ok := strings.CutPrefix(description, "mount / from exec ")
	if !ok {
		return description
	}
	return "RUN " + strings.TrimPrefix(command, "/bin/sh -c ")
}

// pulledFrom begins the description of an image's layer, which goes on with
// REF@DIGEST.
const pulledFrom = "pulled from "

type shares map[string]Share

func (s shares) add(name string, bytes int64) {
	sh := s[name]
	s[name] = Share{Name: name, Records: sh.Records + 1, Bytes: sh.Bytes + bytes}
}

func (s shares) sorted() []Share {
	out := slices.AppendSeq([]Share{}, maps.Values(s)) // never nil: JSON says []
	slices.SortFunc(out, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Name, b.Name))
	})
	return out
}

// Idle returns the ids of all records that no solve holds and none that is held
// rests on, children before their parents.
func Idle(records []buildkit.Record) []string {
	f := newFamily(records)
	all := map[string]bool{}
	for _, r := range records {
		all[r.ID] = true
	}
	return f.release(all)
}

// Left returns the ids of what runs over these bases left behind, children
// before their parents: what was made over a base, layers of bases that nothing
// else rests on, copies of local folders, and what scanners wrote. Images that were
// scanned are bases here. Steps that do not descend from a base, the images that
// they rest on, cache mounts and what is in use stay.
//
// A base is known by its digest in the description of its layers. When another
// image with the same top layer was pulled before it, that one's digest counts.
func Left(records []buildkit.Record, bases map[graph.Digest]bool) []string {
	f := newFamily(records)
	dead := map[string]bool{}
	for _, r := range records {
		switch {
		case r.Type == typeLocal, strings.HasPrefix(r.Description, release.Scanned):
			dead[r.ID] = true
		case bases[pulled(r)] && f.isTop(r):
			f.markDown(r.ID, dead)
		}
	}
	for id := range dead {
		if f.byID[id].Type == typeMount {
			delete(dead, id)
		}
	}
	f.markUp(dead, bases)
	return f.release(dead)
}

// The types of records that are treated apart.
const (
	typeLocal = "source.local"
	typeMount = "exec.cachemount"
)

// pulled is the digest of the image that a layer was pulled from; empty for
// other records.
func pulled(r buildkit.Record) graph.Digest {
	ref, ok := strings.CutPrefix(r.Description, pulledFrom)
	if !ok {
		return ""
	}
	_, digest, _ := strings.Cut(ref, "@")
	return graph.Digest(digest)
}

// family is the graph of a daemon's records.
type family struct {
	records  []buildkit.Record
	byID     map[string]buildkit.Record
	children map[string][]string
}

func newFamily(records []buildkit.Record) *family {
	f := &family{records: records, byID: map[string]buildkit.Record{}, children: map[string][]string{}}
	for _, r := range records {
		f.byID[r.ID] = r
		for _, p := range r.Parents {
			f.children[p] = append(f.children[p], r.ID)
		}
	}
	return f
}

// isTop tells whether no layer of the same image lies over r.
func (f *family) isTop(r buildkit.Record) bool {
	return !slices.ContainsFunc(f.children[r.ID], func(id string) bool { return pulled(f.byID[id]) == pulled(r) })
}

// markDown marks a record and all that descends from it.
func (f *family) markDown(id string, marked map[string]bool) {
	if marked[id] {
		return
	}
	marked[id] = true
	for _, c := range f.children[id] {
		f.markDown(c, marked)
	}
}

// markUp marks layers of the bases as long as there is one with nothing over it
// that stays.
func (f *family) markUp(marked map[string]bool, bases map[graph.Digest]bool) {
	var up func(id string)
	up = func(id string) {
		for _, p := range f.byID[id].Parents {
			stays := func(c string) bool { return !marked[c] }
			if !marked[p] && bases[pulled(f.byID[p])] && !slices.ContainsFunc(f.children[p], stays) {
				marked[p] = true
				up(p)
			}
		}
	}
	for _, r := range f.records {
		if marked[r.ID] {
			up(r.ID)
		}
	}
}

// release takes back from what is marked all that a record rests on that is in
// use or not marked, and puts the rest into an order in which it can go.
func (f *family) release(marked map[string]bool) []string {
	var keep func(id string)
	keep = func(id string) {
		delete(marked, id)
		for _, p := range f.byID[id].Parents {
			if marked[p] {
				keep(p)
			}
		}
	}
	for _, r := range f.records {
		if r.InUse || !marked[r.ID] {
			keep(r.ID)
		}
	}
	var out []string
	var visit func(id string)
	visit = func(id string) {
		if !marked[id] {
			return
		}
		delete(marked, id)
		for _, c := range f.children[id] {
			visit(c)
		}
		out = append(out, id)
	}
	for _, r := range f.records {
		visit(r.ID)
	}
	return out
}
