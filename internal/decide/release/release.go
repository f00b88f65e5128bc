// Package release decides which records of a daemon are dead.
//
// A record is dead when it descends from the base of an image that is
// published, no image that is still to come needs it, and this run made it. So is
// what a scanner left, which was read when its solve ended.
// Everything else stays: shared steps, cache mounts, what other builds left,
// and layers that a later base starts with.
package release

import (
	"maps"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Record is one usage record of a daemon.
type Record struct {
	ID          string
	Parents     []string
	Description string
	// Type is the daemon's name for what the record is.
	Type  string
	Bytes int64
	InUse bool
}

// Victims are the records to release.
type Victims struct {
	// IDs are in an order in which children come before their parents.
	IDs []string
	// Layers are those of the IDs that are layers of bases, with the bytes that
	// each takes in a registry.
	Layers map[string]int64
}

// Scanned begins the description of what a scanner left: where BuildKit's protocol for
// SBOM scanners has it written to.
const Scanned = "mount /run/out/ from exec "

// Dead returns the records to release. before holds the ids that existed when the run started; done and live are the
// bases of images that are published and of those still to come.
//
// A base's topmost record is found by its description, "pulled from
// REF@DIGEST"; a layer that several bases have is described by the first one
// pulled, so every other decision rests on the parent graph: the layers of a
// done base are walked from the top, and the walk stops at the first layer that
// a live base also starts with.
func Dead(records []Record, before map[string]bool, done, live []*fact.Base) Victims {
	g := newForest(records)
	wanted := prefixes(live)
	victims := map[string]bool{}
	layers := map[string]int64{} // records of base layers -> compressed bytes
	var below []string           // candidates, each base's from the top down
	for _, base := range done {
		for _, top := range g.pulled[base.Digest] {
			below = append(below, g.markTop(top, base, wanted, victims, layers)...)
		}
	}
	for _, id := range g.order {
		if strings.HasPrefix(g.byID[id].Description, Scanned) {
			victims[id] = true
		}
	}
	g.spreadDown(victims)
	for more := true; more; {
		more = false
		for _, id := range below {
			if !victims[id] && g.childless(id, victims) {
				victims[id], more = true, true
			}
		}
	}
	g.keep(victims, before)
	maps.DeleteFunc(layers, func(id string, _ int64) bool { return !victims[id] })
	return Victims{IDs: g.leavesFirst(victims), Layers: layers}
}

// prefixes holds every chain of layers that a live base starts with.
func prefixes(live []*fact.Base) map[string]bool {
	out := map[string]bool{}
	for _, b := range live {
		chain := ""
		for _, l := range b.DiffIDs {
			chain += string(l) + " "
			out[chain] = true
		}
	}
	return out
}

type forest struct {
	order    []string
	byID     map[string]Record
	children map[string][]string
	pulled   map[graph.Digest][]string // base digest -> records described by it
}

func newForest(records []Record) *forest {
	g := &forest{byID: map[string]Record{}, children: map[string][]string{}, pulled: map[graph.Digest][]string{}}
	for _, r := range records {
		g.order = append(g.order, r.ID)
		g.byID[r.ID] = r
		for _, p := range r.Parents {
			g.children[p] = append(g.children[p], r.ID)
		}
		if ref, ok := strings.CutPrefix(r.Description, "pulled from "); ok {
			if _, d, ok := strings.Cut(ref, "@"); ok {
				g.pulled[graph.Digest(d)] = append(g.pulled[graph.Digest(d)], r.ID)
			}
		}
	}
	return g
}

// depth is the number of records from id down to its root, itself included; 0
// when the chain forks, as that of a merge does.
func (g *forest) depth(id string) int {
	n := 0
	for id != "" {
		r, ok := g.byID[id]
		if !ok || len(r.Parents) > 1 {
			return 0
		}
		n++
		if len(r.Parents) == 0 {
			break
		}
		id = r.Parents[0]
	}
	return n
}

// markTop marks the topmost layer of base, unless a wanted chain starts with it,
// and returns the layers below it that no wanted chain starts with. What a base's
// steps made descends from its top; a lower layer may also carry what others made,
// such as a shared step whose image starts with it.
func (g *forest) markTop(top string, base *fact.Base, wanted, victims map[string]bool, layers map[string]int64) (below []string) {
	n := g.depth(top)
	if n == 0 || n > len(base.DiffIDs) {
		return nil
	}
	chains := make([]string, 0, n)
	chain := ""
	for _, d := range base.DiffIDs[:n] {
		chain += string(d) + " "
		chains = append(chains, chain)
	}
	for id := top; n > 0 && !wanted[chains[n-1]]; n-- {
		if n <= len(base.Layers) {
			layers[id] = base.Layers[n-1].Size
		}
		if id == top && n == len(base.DiffIDs) {
			victims[id] = true
		} else {
			below = append(below, id)
		}
		parents := g.byID[id].Parents
		if len(parents) == 0 {
			return below
		}
		id = parents[0]
	}
	return below
}

// childless tells whether everything that descends from a record is a victim.
func (g *forest) childless(id string, victims map[string]bool) bool {
	for _, c := range g.children[id] {
		if !victims[c] {
			return false
		}
	}
	return true
}

// spreadDown adds every descendant of a victim.
func (g *forest) spreadDown(victims map[string]bool) {
	var queue []string
	for id := range victims {
		queue = append(queue, id)
	}
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		for _, c := range g.children[id] {
			if !victims[c] {
				victims[c] = true
				queue = append(queue, c)
			}
		}
	}
}

// keep takes back what is in use or older than the run, with its ancestors: a
// record cannot go before its children.
func (g *forest) keep(victims, before map[string]bool) {
	var save func(id string)
	save = func(id string) {
		if !victims[id] {
			return
		}
		delete(victims, id)
		for _, p := range g.byID[id].Parents {
			save(p)
		}
	}
	for _, id := range g.order {
		if victims[id] && (g.byID[id].InUse || before[id]) {
			save(id)
		}
	}
}

func (g *forest) leavesFirst(victims map[string]bool) []string {
	var out []string
	seen := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if seen[id] || !victims[id] {
			return
		}
		seen[id] = true
		for _, c := range g.children[id] {
			visit(c)
		}
		out = append(out, id)
	}
	for _, id := range g.order {
		visit(id)
	}
	return out
}
