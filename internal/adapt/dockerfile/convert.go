package dockerfile

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerui"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/pkg/errors"
)

// reserved is the host that placeholders are on: a name that can never exist.
const reserved = "lapstrake.invalid"

// placeholder stands for the base, other for the base in the proof that the
// reference's text reaches nothing else. They differ in every part.
const (
	placeholder = reserved + "/base:latest@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	other       = reserved + ":1/proof/image:v2@sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
)

// conversion is a recipe converted for one view and one set of arguments.
type conversion struct {
	recipe *Recipe
	prog   *program
	image  dockerspec.DockerOCIImage
	// under is what the result is built on: the base, or nil for the empty image.
	under *dockerspec.DockerOCIImage
	// essence is a digest over what the operations do.
	essence graph.Digest
	// names leads from digests to those that the essence is made of.
	names map[string]string
	// args are what the build gives.
	args map[string]string
	// leaks is set when the base's reference reached more than its own step.
	leaks bool

	shape    memo[string, *graph.Variant]
	labelled memo[string, *graph.Variant]
}

// key is what the conversion of one image depends on.
func (r *Recipe) key(base *fact.Base, image fleet.Image) slotKey {
	k := slotKey{scratch: scratch(base), args: r.argsKey(image.Args)}
	r.mu.Lock()
	defer r.mu.Unlock()
	id, ok := r.viewIDs[string(base.View)]
	if !ok {
		id = len(r.viewIDs)
		r.viewIDs[string(base.View)] = id
	}
	k.view = id
	return k
}

// argsKey is a text that is equal for equal arguments of an image's own.
func (r *Recipe) argsKey(args map[string]string) string {
	if len(args) == 0 {
		return ""
	}
	args = maps.Clone(args)
	delete(args, r.opt.Recipe.BaseArg)
	data, err := json.Marshal(args)
	if err != nil {
		panic("dockerfile: a map of strings is always JSON: " + err.Error())
	}
	return string(data)
}

// scratch tells whether the front end would take the base for an empty image.
func scratch(base *fact.Base) bool {
	if len(base.DiffIDs) > 0 {
		return false
	}
	for _, h := range base.History {
		if !h.EmptyLayer {
			return false
		}
	}
	return true
}

// conversion finds or makes the conversion for an image: one per view unless
// the reference leaks, else one per reference.
func (r *Recipe) conversion(ctx context.Context, k slotKey, base *fact.Base, image fleet.Image) (*conversion, error) {
	config, err := frontConfig(base.View, k.scratch)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "config of base "+base.Ref, err)
	}
	if !r.verbatim {
		c, err := r.slot(k).do(ctx, func() (*conversion, error) { return r.shared(ctx, config, image.Args) })
		if err != nil || !c.leaks {
			return c, err
		}
	}
	k.base = base.Ref
	return r.slot(k).do(ctx, func() (*conversion, error) {
		return r.convert(ctx, baseAnswer{arg: base.Ref, digest: base.Digest, config: config}, image.Args)
	})
}

// shared converts for the placeholder, and proves that any other reference
// would have given the same.
func (r *Recipe) shared(ctx context.Context, config []byte, args map[string]string) (*conversion, error) {
	c, err := r.convert(ctx, baseAnswer{arg: placeholder, config: config}, args)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	proved := r.proved && !r.local && !strings.Contains(string(config), `"OnBuild"`)
	r.mu.Unlock()
	if proved {
		return c, nil
	}
	proof, err := r.convert(ctx, baseAnswer{arg: other, config: config}, args)
	if err != nil {
		// The placeholder was fine and another reference is not: its text matters.
		if ctx.Err() != nil || diag.KindOf(err) != diag.File {
			return nil, err
		}
		c.leaks = true
		return c, nil
	}
	a, err := c.variant(nil)
	if err != nil {
		return nil, diag.Wrap(diag.Internal, "image config", err)
	}
	b, err := proof.variant(nil)
	if err != nil {
		return nil, diag.Wrap(diag.Internal, "image config", err)
	}
	c.leaks = a.ID != b.ID
	r.mu.Lock()
	r.proved = r.proved || !c.leaks
	r.mu.Unlock()
	return c, nil
}

// convert runs the front end once.
func (r *Recipe) convert(ctx context.Context, base baseAnswer, args map[string]string) (*conversion, error) {
	all := r.buildArgs(base.arg, args)
	g := &gateway{recipe: r, args: all, opts: r.options(base.arg, all), base: base}
	res, err := g.run(ctx)
	if err != nil && strings.HasPrefix(err.Error(), lintError) {
		return nil, r.Locate(g.warnings).Err()
	}
	if err != nil {
		return nil, r.problem(err, base)
	}
	if !g.asked.Load() {
		return nil, r.unused()
	}
	if err := r.epochAsPlanned(res); err != nil {
		return nil, err
	}
	def, err := res.State.Marshal(ctx)
	if err != nil {
		return nil, r.problem(err, base)
	}
	p, err := newProgram(def.ToPB())
	if err != nil {
		return nil, diag.Wrap(diag.Internal, "definition", err)
	}
	if p.result() == nil {
		return nil, r.located(diag.RecipeConvert, 0, "", "the recipe makes an image without any file")
	}
	c, err := r.settled(p, res, base)
	if err == nil {
		c.args = g.args
	}
	return c, err
}

// run is what the front end's own build function does before it solves.
func (g *gateway) run(ctx context.Context) (*dockerfile2llb.Result, error) {
	bc, err := dockerui.NewClient(g)
	if err != nil {
		return nil, err
	}
	src, err := bc.ReadEntrypoint(ctx, "Dockerfile")
	if err != nil {
		return nil, err
	}
	opt := dockerfile2llb.ConvertOpt{Config: bc.Config, Client: bc, SourceMap: src.SourceMap, MetaResolver: g}
	// Without a receiver the linter does nothing, which is also the only way in
	// which it is safe while stages are resolved concurrently.
	if g.recipe.lintErrors() {
		opt.Warn = g.warn
	}
	if len(bc.TargetPlatforms) != 1 {
		return nil, errors.Errorf("%d platforms: a fleet has one", len(bc.TargetPlatforms))
	}
	p := platforms.Normalize(bc.TargetPlatforms[0])
	opt.TargetPlatform = &p
	return dockerfile2llb.Dockerfile2LLB(ctx, src.Data, opt)
}

// epochAsPlanned refuses an epoch that the recipe sets: the exporter would not
// know of it.
func (r *Recipe) epochAsPlanned(res *dockerfile2llb.Result) error {
	if res.Epoch == nil || r.opt.Epoch != nil && res.Epoch.Unix() == r.opt.Epoch.Unix() {
		return nil
	}
	return r.located(diag.RecipeConvert, 0, "set epoch in the fleet file instead", "the recipe sets SOURCE_DATE_EPOCH")
}

// settled brings a conversion into the form that depends on nothing but its
// inputs: the placeholder as the base, contexts identified by their content.
func (r *Recipe) settled(p *program, res *dockerfile2llb.Result, base baseAnswer) (*conversion, error) {
	ref := base.arg
	if base.digest != "" {
		ref = pinned(base.arg, base.digest)
	}
	p, _, err := p.rewrite(replaceImage(ref, placeholder))
	if err == nil {
		p, _, err = p.rewrite(setUnique(r.opt.Unique))
	}
	if err != nil {
		return nil, diag.Wrap(diag.Internal, "definition", err)
	}
	p.settle()
	p.rename(ref, r.baseName())
	core, names, err := p.rewrite(essence)
	if err != nil {
		return nil, diag.Wrap(diag.Internal, "definition", err)
	}
	c := &conversion{recipe: r, prog: p, image: *res.Image, under: res.BaseImage, names: names, essence: graph.Digest(core.ops[len(core.ops)-1].digest)}
	return c, nil
}

// variant is the conversion as data, with the labels laid over those that the
// recipe sets itself. All but the config and the id is made once.
func (c *conversion) variant(labels map[string]string) (*graph.Variant, error) {
	shape, err := c.shape.get("", c.outline)
	if err != nil {
		return nil, err
	}
	config, err := c.config(labels)
	if err != nil {
		return nil, err
	}
	v := *shape
	v.Config = config
	id, err := json.Marshal(map[string]any{"definition": c.essence, "config": config, "history": v.History})
	if err != nil {
		return nil, err
	}
	v.ID = graph.Digest(sum(id))
	return &v, nil
}

// outline is the variant without its config.
func (c *conversion) outline() (*graph.Variant, error) {
	v := &graph.Variant{}
	var err error
	if v.History, v.Under, err = c.history(); err != nil {
		return nil, err
	}
	if v.Definition, err = c.prog.marshal(); err != nil {
		return nil, err
	}
	if v.Graph, err = c.recipe.graph(c.prog, c.args); err != nil {
		return nil, err
	}
	v.Notes = slices.Concat(c.recipe.notes, c.recipe.unpinned(c.prog, v.Graph))
	v.Shared, v.Build, err = c.layers(v)
	return v, err
}

// config is the image config as the front end would write it with these labels,
// without what depends on layers and time. Values keep their bytes: the
// exporter sorts only the top level.
func (c *conversion) config(labels map[string]string) (json.RawMessage, error) {
	img := c.image
	if len(labels) > 0 {
		all := maps.Clone(img.Config.Labels)
		if all == nil {
			all = make(map[string]string, len(labels))
		}
		maps.Copy(all, labels)
		img.Config.Labels = all
	}
	img.RootFS.DiffIDs, img.History = nil, nil
	data, err := json.Marshal(img)
	if err != nil {
		return nil, err
	}
	top := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &top); err != nil {
		return nil, err
	}
	for _, k := range []string{"rootfs", "history", "created"} {
		delete(top, k)
	}
	return json.Marshal(top)
}

// history is what the recipe adds to the base's history, of which the front end
// was given only a mark. Without the mark the result is built on something else,
// whose config is returned too.
func (c *conversion) history() (added []graph.History, under json.RawMessage, err error) {
	entries := c.image.History
	if len(entries) > 0 && entries[0].CreatedBy == baseMark {
		entries = entries[1:]
	} else if c.under == nil {
		under = json.RawMessage("{}")
	} else if under, err = json.Marshal(c.under); err != nil {
		return nil, nil, err
	}
	added = make([]graph.History, 0, len(entries))
	for _, h := range entries {
		added = append(added, graph.History{Created: h.Created, CreatedBy: h.CreatedBy, Author: h.Author, Comment: h.Comment, EmptyLayer: h.EmptyLayer})
	}
	return added, under, nil
}
