// Package planner decides what will be done for every image of a fleet, and
// says why: skip, retag, append, build or block.
//
// It is pure: the same input gives the same plan, byte for byte.
package planner

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"sort"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// SkipRule says when an image that exists is left alone.
type SkipRule string

// The skip rules.
const (
	SkipKey   SkipRule = "key"   // the tag holds the same content key
	SkipTag   SkipRule = "tag"   // the tag exists, whatever it holds
	SkipNever SkipRule = "never" // nothing is skipped or retagged
)

// Options are the user's choices.
type Options struct {
	// Skip is SkipKey when empty.
	Skip SkipRule
	// BuildAll makes every image a build, the safer strategy.
	BuildAll bool
}

// Facts is what is known about one image before it is made.
type Facts struct {
	Image fleet.Image
	// Platform is one of the fleet's; "" is its only one.
	Platform string
	// Base and Variant are nil when Problem says why.
	Base    *fact.Base
	Variant *graph.Variant
	Problem error
	// Content is a digest over the files that the image's steps copy; empty
	// when they copy none. Files are the digests of each step's own.
	Content graph.Digest
	Files   graph.Files
	// Tags is what the registry says of each of Image.Tags, in order. Empty
	// when it was not asked.
	Tags []fact.Tag
	// KeyTag is what it says of the key tag in the first tag's repository, which is
	// that of the index where there is one.
	KeyTag fact.Tag
}

// Input is everything that a plan depends on.
type Input struct {
	Fleet *fleet.Fleet
	// Images are in order; those of one image on several platforms follow each
	// other.
	Images []Facts
	// Known says where content with a key was published before: the
	// repository@digest in repo, or "".
	Known func(key, repo string) string
	// LayersKnown tells whether a layer set with this content is in a registry
	// already, so that no solve is needed for it.
	LayersKnown func(layers graph.Digest) bool
	// LookupRequests are the requests per host that were spent, or will be, on
	// finding out the facts.
	LookupRequests map[string]int64
	// Offline says that no registry was asked about anything; Assumed are the
	// images beside the bases that were never looked up, and that the recipe was
	// converted for all the same.
	Offline bool
	Assumed []string
	// Cache is the registry/repository that keeps results of shared steps for
	// other daemons; "" when there is none.
	Cache   string
	Options Options
}

// Make decides. It never fails: an image that cannot be made is blocked.
func Make(in Input) *plan.Plan {
	p := &plan.Plan{V: plan.Version, Fleet: in.Fleet.Name, Output: in.Fleet.Output.To, Cache: in.Cache, Scanner: in.Fleet.Output.SBOM, Units: make([]plan.Unit, len(in.Images)), Actions: map[plan.Action]int{}, Requests: map[string]int64{}}
	for host, n := range in.LookupRequests {
		p.Requests[host] += n
	}
	keys := keyers{}
	for i := range in.Images {
		p.Units[i] = decide(&in, &in.Images[i], keys)
	}
	if in.Fleet.Indexed() {
		p.Indexes = indexes(&in, p.Units)
	}
	for i := range p.Units {
		p.Actions[p.Units[i].Action]++
	}
	count(p, &in)
	return p
}

// Decide makes the unit of one image, before the others are known.
func Decide(in *Input, f *Facts) plan.Unit { return decide(in, f, keyers{}) }

// platform is what a unit is made for.
func (in *Input) platform(f *Facts) string { return cmp.Or(f.Platform, in.Fleet.Platform) }

// decide makes the unit of one image.
func decide(in *Input, f *Facts, all keyers) plan.Unit {
	platform := in.platform(f)
	keys := all.of(in.Fleet, platform)
	u := plan.Unit{Image: in.Fleet.Unit(f.Image.ID, platform), Platform: platform, Base: f.Image.Base, Tags: f.Image.Tags}
	if in.Fleet.Indexed() {
		u.Index = f.Image.ID
	}
	if f.Problem != nil {
		u.Action = plan.Block
		code := plan.Blocked
		if errors.Is(f.Problem, fact.ErrNotLookedUp) {
			code = plan.NotLookedUp
		}
		detail := f.Problem.Error()
		if help := diag.HelpOf(f.Problem); help != "" {
			detail += "; " + help
		}
		u.Why = []plan.Reason{{Code: code, Pos: f.Image.Pos, Detail: detail}}
		return u
	}
	u.BaseLayers, u.Variant = layersOf(f.Base), f.Variant.ID
	if f.Base.StandIn {
		u.Why = []plan.Reason{{Code: plan.StandIn, Detail: "the base was never looked up: the config that was given stands in"}}
	} else {
		u.BaseDigest, u.Key = f.Base.Digest, keys.image(f)
	}
	if found(in, f, &u) {
		return u
	}
	if why := mustBuild(in, f); len(why) > 0 {
		u.Action, u.Why = plan.Build, append(why, u.Why...)
	} else {
		u.Action = plan.Append
		u.Layers = keys.layers(f)
		u.Why = append([]plan.Reason{{Code: plan.AllShared, Detail: "every step over the base is shared or sets only the config"}}, u.Why...)
	}
	u.Needs = needs(f.Variant)
	return u
}

// layersOf is a digest over a base's layers.
func layersOf(b *fact.Base) graph.Digest {
	h := sha256.New()
	for _, d := range b.DiffIDs {
		h.Write([]byte(d + "\n"))
	}
	return graph.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
}

// Basis is what a plan that was made of the input rests on.
func Basis(in *Input) *plan.Basis {
	b := &plan.Basis{V: plan.Version}
	for i := range in.Images {
		f := &in.Images[i]
		if f.Variant != nil && f.Problem == nil && b.Conversion(f.Variant.ID) == nil {
			b.Conversions = append(b.Conversions, plan.Conversion{ID: f.Variant.ID, Graph: f.Variant.Graph, Files: f.Files, Config: f.Variant.Config})
		}
	}
	return b
}

// found settles images whose content exists: skip and retag.
func found(in *Input, f *Facts, u *plan.Unit) bool {
	rule := in.Options.Skip
	if rule == SkipNever {
		return false
	}
	if u.Index != "" {
		return foundPart(in, f, u)
	}
	for i, t := range f.Tags {
		switch {
		case t.Exists && (t.Key == u.Key || rule == SkipTag):
			u.Have = append(u.Have, f.Image.Tags[i])
			if u.From == "" && t.Key == u.Key {
				repo, _ := publish.Split(f.Image.Tags[i])
				u.From = repo + "@" + string(t.Digest)
			}
		case t.Exists:
			u.Why = append(u.Why, replaced(f.Image.Tags[i], t, u.Key))
			if d := t.Parts[u.Key]; d != "" && u.From == "" { // an index that the image was a part of
				repo, _ := publish.Split(f.Image.Tags[i])
				u.From = repo + "@" + string(d)
			}
		}
	}
	if len(u.Have) == len(u.Tags) {
		u.Action = plan.Skip
		code, detail := plan.SameKey, "the tag holds this content"
		if rule == SkipTag {
			code, detail = plan.TagExists, "the tag exists, and its content was not asked for"
		}
		u.Why = []plan.Reason{{Code: code, Detail: detail}}
		return true
	}
	// A retag is a PUT of bytes that one repository holds: with tags in several
	// repositories the image goes the long way, which costs little.
	repos := publish.Repos(u.Tags)
	if len(repos) == 1 && u.From == "" {
		if f.KeyTag.Exists && f.KeyTag.Key == u.Key {
			u.From = repos[0] + "@" + string(f.KeyTag.Digest)
		} else if in.Known != nil {
			u.From = in.Known(u.Key, repos[0])
		}
	}
	if u.From == "" || len(repos) != 1 {
		u.From = ""
		return false
	}
	u.Action = plan.Retag
	u.Why = []plan.Reason{{Code: plan.SameContent, Detail: "this content was published as " + u.From}}
	return true
}

// replaced says why a tag that exists is made again.
func replaced(ref string, t fact.Tag, now string) plan.Reason {
	old := t.Key
	for key := range t.Parts {
		old = cmp.Or(old, key) // they have one version
	}
	if old == "" {
		return plan.Reason{Code: plan.TagForeign, Detail: ref + " exists and carries no content key"}
	}
	if ov, nv := keyVersion(old), keyVersion(now); ov != nv {
		return plan.Reason{Code: plan.KeyVersion, Detail: "the content key changed its version: " + ov + " -> " + nv}
	}
	return plan.Reason{Code: plan.ContentChanged, Detail: "the tag holds other content"}
}

// mustBuild says why an image needs a solve of its own; nil when it can be appended.
func mustBuild(in *Input, f *Facts) []plan.Reason {
	if f.Variant.Shared == nil {
		why := make([]plan.Reason, 0, len(f.Variant.Build))
		for _, b := range f.Variant.Build {
			why = append(why, plan.Reason{Code: b.Code, Pos: b.Pos, Detail: b.Detail})
		}
		if len(why) == 0 {
			why = append(why, plan.Reason{Code: plan.StepOnBase, Detail: "a step depends on the base"})
		}
		return why
	}
	layers := 0
	for _, h := range f.Base.History {
		if !h.EmptyLayer {
			layers++
		}
	}
	switch {
	case layers != len(f.Base.DiffIDs):
		return []plan.Reason{{Code: plan.BaseHistory, Detail: "the base's history does not name each of its layers; only a solve fills it in"}}
	case in.Options.BuildAll:
		return []plan.Reason{{Code: plan.StrategyBuild, Detail: "asked for by --strategy=build"}}
	}
	return nil
}

// needs lists the shared steps that an image's own work waits for.
func needs(v *graph.Variant) []graph.Digest {
	var out []graph.Digest
	if v.Shared != nil {
		seen := map[graph.Digest]bool{}
		for _, d := range v.Shared.Inputs {
			if !seen[d] {
				seen[d] = true
				out = append(out, d)
			}
		}
		return out
	}
	return v.Graph.Taken()
}

// count fills in the plan's figures.
func count(p *plan.Plan, in *Input) {
	c := counter{plan: p, in: in, costs: newCosts(p, in), steps: map[graph.Digest]bool{}, kinds: map[kindOf]int{}}
	for i := range p.Units {
		c.unit(&p.Units[i], &in.Images[i])
	}
	for i := range p.Indexes {
		c.costs.index(&p.Indexes[i])
	}
	sort.SliceStable(p.Kinds, func(i, j int) bool { return p.Kinds[i].Images > p.Kinds[j].Images })
	p.Warnings = slices.Concat(warnings(in), tooManyLayers(p, in), emulated(p, in), offline(in))
}

type kindOf struct {
	variant graph.Digest
	action  plan.Action
}

type counter struct {
	plan  *plan.Plan
	in    *Input
	costs costs
	steps map[graph.Digest]bool
	kinds map[kindOf]int
	// scanner tells that a unit was scanned before.
	scanner bool
}

func (c *counter) unit(u *plan.Unit, f *Facts) {
	if f.Variant == nil || f.Problem != nil {
		return
	}
	c.kind(u, f.Variant)
	c.costs.unit(u, f)
	if u.Action == plan.Append || u.Action == plan.Build {
		c.executions(u, f.Variant)
	}
	if u.Scan {
		c.scanned(u, f.Variant)
	}
}

// scanned counts the scan of a unit: its image and the scanner, which is the same
// for all, are read, and the scanner runs.
func (c *counter) scanned(u *plan.Unit, v *graph.Variant) {
	n := int64(1)
	if u.Action != plan.Build || v.Shared != nil { // else its files are there
		n++
	}
	if !c.scanner {
		c.scanner = true
		n++
	}
	c.plan.Executions.Planned += n
	c.plan.Executions.Naive += n
}

// executions counts the unit's steps: shared ones once in the plan, and none
// when the layer set they make is at hand.
func (c *counter) executions(u *plan.Unit, v *graph.Variant) {
	known := u.Action == plan.Append && c.in.LayersKnown != nil && c.in.LayersKnown(u.Layers)
	for _, s := range v.Graph.Steps {
		if s.Kind == graph.KindMerge {
			continue
		}
		c.plan.Executions.Naive++
		switch {
		case s.BaseBound && u.Action == plan.Build:
			c.plan.Executions.Planned++
		case !s.BaseBound && !known && !c.steps[s.Digest]:
			c.steps[s.Digest] = true
			c.plan.Executions.Planned++
		}
	}
}

func (c *counter) kind(u *plan.Unit, v *graph.Variant) {
	k := kindOf{u.Variant, u.Action}
	i, ok := c.kinds[k]
	if !ok {
		i = len(c.plan.Kinds)
		c.kinds[k] = i
		shared, bound := v.Graph.Count()
		kind := plan.Kind{Variant: u.Variant, Action: u.Action, Shared: shared, BaseBound: bound}
		for _, s := range v.Graph.Steps {
			if s.BaseBound && (s.Kind == graph.KindExec || s.Kind == graph.KindFile) {
				kind.Top = append(kind.Top, s.Name)
			}
		}
		c.plan.Kinds = append(c.plan.Kinds, kind)
	}
	c.plan.Kinds[i].Images++
}

// warnings gathers the variants' notes, each once.
func warnings(in *Input) []plan.Reason {
	var out []plan.Reason
	seen := map[diag.Problem]bool{}
	done := map[*graph.Variant]bool{}
	for i := range in.Images {
		v := in.Images[i].Variant
		if v == nil || done[v] {
			continue
		}
		done[v] = true
		for _, n := range v.Notes {
			if !seen[n] {
				seen[n] = true
				detail := n.Message
				if n.Help != "" {
					detail += "; " + n.Help
				}
				out = append(out, plan.Reason{Code: string(n.Code), Pos: n.Pos, Detail: detail})
			}
		}
	}
	return out
}
