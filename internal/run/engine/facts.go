package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sort"
	"strings"
	"sync"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// lookups is how many images are looked at at once; the registry's own limits
// bound the requests in flight.
const lookups = 64

// Gather finds out what a plan depends on: each distinct base once, the
// recipe's conversion for it, the content of the copied files, and what the
// registry holds under the images' tags. known, when not nil, is called
// concurrently as each image becomes known.
//
// A problem of one image is kept with it; an error is one of the whole fleet:
// a Dockerfile that no base can be converted for, or a cancelled context.
func (e *Engine) Gather(ctx context.Context, known func(*planner.Input, *planner.Facts)) (*planner.Input, error) {
	before := e.Store.Totals().Hosts
	in := &planner.Input{
		Fleet: e.Fleet, Options: e.Opts.Planner, Cache: e.cacheRepo(), Images: make([]planner.Facts, len(e.Fleet.Images)*len(e.Fleet.EachPlatform())),
		Known:       func(key, repo string) string { return e.Index.Image(key, repo) },
		LayersKnown: func(id graph.Digest) bool { _, ok := e.Index.Layers(id); return ok },
	}
	if e.Opts.Offline {
		in.Offline, in.Known = true, nil // what exists must be asked for
	}
	g := gatherer{e: e, in: in, platforms: e.Fleet.EachPlatform(), contents: map[*graph.Step]*future[content]{}}
	if err := g.listTags(ctx); err != nil {
		return nil, err
	}
	each(ctx, len(e.Fleet.Images), lookups, func(i int) {
		n := len(g.platforms)
		units := in.Images[i*n : (i+1)*n]
		g.units(ctx, e.Fleet.Images[i], units)
		for j := range units {
			if units[j].Problem == nil && known != nil {
				known(in, &units[j])
			}
		}
	})
	if ctx.Err() != nil {
		return nil, diag.Errorf(diag.Interrupted, "run the same command again", "resolve: %w", context.Cause(ctx))
	}
	in.Assumed = e.assumed.sorted()
	in.LookupRequests = map[string]int64{}
	for host, n := range e.Store.Totals().Hosts {
		if d := n - before[host]; d > 0 {
			in.LookupRequests[host] = d
		}
	}
	return in, g.common()
}

type gatherer struct {
	e         *Engine
	in        *planner.Input
	platforms []string
	tags      map[string]map[string]bool // repository -> tags that exist; nil when not listed
	mu        sync.Mutex
	contents  map[*graph.Step]*future[content] // by the first step: variants that differ in labels share their steps
	bases     sync.Map                         // baseAt -> *future[*fact.Base]
}

type baseAt struct{ ref, platform string }

// listTags asks each repository that holds several of the fleet's tags for its
// list: one request then tells of every tag that is absent.
func (g *gatherer) listTags(ctx context.Context) error {
	g.tags = map[string]map[string]bool{}
	if g.e.Opts.Planner.Skip == planner.SkipNever || g.e.Opts.Offline {
		return nil
	}
	wanted := map[string]int{}
	for _, im := range g.e.Fleet.Images {
		for _, t := range im.Tags {
			repo, _ := publish.Split(t)
			wanted[repo]++
		}
	}
	for repo, n := range wanted {
		if n < 2 {
			continue
		}
		tags, err := g.e.Store.Tags(ctx, repo)
		if errors.Is(err, registry.ErrNoTagList) {
			continue
		}
		if err != nil {
			return err
		}
		g.tags[repo] = tags
	}
	return nil
}

// units fills in the facts of one image on each platform. What the registry holds
// of it is asked once.
func (g *gatherer) units(ctx context.Context, im fleet.Image, units []planner.Facts) {
	known := 0
	for i := range units {
		f := &units[i]
		f.Image, f.Platform = im, g.platforms[i]
		if f.Problem = g.image(ctx, f); f.Problem == nil {
			known++
		}
	}
	if known == 0 {
		return
	}
	tags, keyTag, err := g.targets(ctx, im, func() string {
		if known < len(units) {
			return ""
		}
		return planner.Key(g.in, units)
	})
	for i := range units {
		f := &units[i]
		if f.Tags, f.KeyTag = tags, keyTag; f.Problem == nil {
			f.Problem = err
		}
	}
}

// image fills in the facts of one image on one platform, but for what the registry
// holds of it; the error is the unit's own problem.
func (g *gatherer) image(ctx context.Context, f *planner.Facts) error {
	var err error
	if f.Base, err = g.base(ctx, f.Image.Base, f.Platform); err != nil {
		return err
	}
	if err := g.isFor(f); err != nil {
		return err
	}
	if f.Variant, err = g.e.recipes[f.Platform].Variant(ctx, f.Base, f.Image); err != nil {
		return err
	}
	read, err := g.content(ctx, f.Variant)
	f.Content, f.Files = read.all, read.files
	return err
}

// isFor refuses to make an image for one of several platforms on a base that is for
// another: a base that is no index is found for each.
func (g *gatherer) isFor(f *planner.Facts) error {
	var is struct{ OS, Architecture string }
	if len(g.platforms) == 1 || f.Base.StandIn || json.Unmarshal(f.Base.View, &is) != nil {
		return nil
	}
	if at := is.OS + "/" + is.Architecture; at != f.Platform && !strings.HasPrefix(f.Platform, at+"/") {
		return diag.Errorf(diag.File, "use a base that is an index with "+f.Platform+", or leave that out of platforms", "the base is an image for %s, not for %s", at, f.Platform)
	}
	return nil
}

// base resolves a reference once for a platform, however many images name it.
func (g *gatherer) base(ctx context.Context, ref, platform string) (*fact.Base, error) {
	f := newFuture[*fact.Base]()
	if old, ok := g.bases.LoadOrStore(baseAt{ref, platform}, f); ok {
		return old.(*future[*fact.Base]).Get(ctx)
	}
	f.Set(g.resolve(ctx, ref, platform))
	return f.val, f.err
}

// resolve finds a base. What its tag means is asked for the first platform only.
func (g *gatherer) resolve(ctx context.Context, ref, platform string) (*fact.Base, error) {
	if g.e.Opts.Offline {
		return g.e.offlineBase(ref, platform)
	}
	if g.e.Opts.CachedBases {
		if b, ok := g.e.Store.Cached(ref, platform); ok {
			return b, nil
		}
	}
	return g.e.resolve(ctx, ref, platform, func() (*fact.Base, error) { return g.base(ctx, ref, g.platforms[0]) })
}

// resolve asks the registry for a base on a platform of the fleet, by the digest
// that first says when that is not the first one.
func (e *Engine) resolve(ctx context.Context, ref, platform string, first func() (*fact.Base, error)) (*fact.Base, error) {
	if platform == e.Fleet.Platform {
		return e.Store.Resolve(ctx, ref, platform)
	}
	b, err := first()
	if err != nil { // the first platform may be what it lacks
		return e.Store.Resolve(ctx, ref, platform)
	}
	repo, _ := publish.Split(ref)
	if b, err = e.Store.Resolve(ctx, repo+"@"+string(b.Digest), platform); err != nil {
		return nil, err
	}
	is := *b
	is.Ref = ref
	return &is, nil
}

// content is what the steps of a variant read from local contexts.
type content struct {
	all   graph.Digest // "" when they read nothing
	files graph.Files
}

// content digests the files that a variant's steps copy, once per graph.
func (g *gatherer) content(ctx context.Context, v *graph.Variant) (content, error) {
	key := &v.Graph.Steps[0]
	g.mu.Lock()
	f, ok := g.contents[key]
	if !ok {
		f = newFuture[content]()
		g.contents[key] = f
	}
	g.mu.Unlock()
	if ok {
		return f.Get(ctx)
	}
	f.Set(g.e.digestUses(v))
	return f.val, f.err
}

// digestUses digests every use of local files. A path that is not there is a
// problem at the step's position.
func (e *Engine) digestUses(v *graph.Variant) (content, error) {
	h := sha256.New()
	c := content{files: graph.Files{}}
	var problems diag.List
	for _, s := range v.Graph.Steps {
		for _, u := range s.Uses {
			tree, ok := e.Trees[u.Context]
			if !ok {
				return c, diag.Errorf(diag.Internal, "", "%s: no context %q", s.Name, u.Context)
			}
			d, err := tree.Digest(u)
			var l diag.List
			if errors.As(err, &l) {
				for _, p := range l {
					p.Pos = s.Pos
					problems = append(problems, p)
				}
				continue
			}
			if err != nil {
				return c, err
			}
			c.files[s.Digest] = append(c.files[s.Digest], d)
			fmt.Fprintf(h, "%s %s\n", u.Context, d)
		}
	}
	if err := e.Recipe.Locate(problems).Err(); err != nil {
		return c, err
	}
	if len(c.files) > 0 {
		c.all = graph.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
	}
	return c, nil
}

// Basis is what a plan made of the input rests on, with a listing of the files
// that steps read.
func (e *Engine) Basis(in *planner.Input) (*plan.Basis, error) {
	b := planner.Basis(in)
	b.Listing, b.Folders = plan.Listing{}, map[string]string{}
	for name, tree := range e.Trees {
		b.Folders[name] = tree.Root()
	}
	for _, c := range b.Conversions {
		for _, s := range c.Graph.Steps {
			for _, u := range s.Uses {
				if err := e.list(b.Listing, u); err != nil {
					return nil, err
				}
			}
		}
	}
	return b, nil
}

// list adds what a use selects to a listing.
func (e *Engine) list(to plan.Listing, u graph.Use) error {
	tree, ok := e.Trees[u.Context]
	if !ok {
		return nil
	}
	entries, err := tree.Entries(u)
	if err != nil {
		return err
	}
	if to[u.Context] == nil {
		to[u.Context] = map[string]string{}
	}
	maps.Copy(to[u.Context], entries)
	return nil
}

// targets asks what the registry holds under an image's tags and, when one of them
// is missing and key says one, under its key tag.
func (g *gatherer) targets(ctx context.Context, im fleet.Image, key func() string) (tags []fact.Tag, keyTag fact.Tag, err error) {
	rule := g.e.Opts.Planner.Skip
	if rule == planner.SkipNever || g.e.Opts.Offline {
		return nil, keyTag, nil
	}
	tags = make([]fact.Tag, len(im.Tags))
	missing := false
	for i, ref := range im.Tags {
		if tags[i], err = g.stat(ctx, ref, rule == planner.SkipTag); err != nil {
			return tags, keyTag, err
		}
		missing = missing || !tags[i].Exists
	}
	if !missing || !g.e.Fleet.Output.KeyTag {
		return tags, keyTag, nil
	}
	if k := key(); k != "" {
		repo, _ := publish.Split(im.Tags[0])
		keyTag, err = g.stat(ctx, repo+":"+publish.KeyTag(k), false)
	}
	return tags, keyTag, err
}

// stat asks about one tag, unless the repository's list has told already.
func (g *gatherer) stat(ctx context.Context, ref string, existence bool) (fact.Tag, error) {
	repo, tag := publish.Split(ref)
	if list := g.tags[repo]; list != nil {
		if !list[tag] {
			return fact.Tag{}, nil
		}
		if existence {
			return fact.Tag{Exists: true}, nil
		}
	}
	return g.e.Store.Stat(ctx, ref)
}

// common is the error of the whole fleet: the problems that every image has,
// when they are the recipe's.
func (g *gatherer) common() error {
	seen := map[diag.Problem]bool{}
	var list diag.List
	for i := range g.in.Images {
		var l diag.List
		if err := g.in.Images[i].Problem; err == nil || !errors.As(err, &l) {
			return nil
		}
		for _, p := range l {
			if !seen[p] {
				seen[p] = true
				list = append(list, p)
			}
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Message < list[j].Message })
	return list.Err()
}

// sourceOf is the repository that a base's layers are taken from.
func sourceOf(b *fact.Base) string {
	repo, _ := publish.Split(b.Ref)
	return repo
}
