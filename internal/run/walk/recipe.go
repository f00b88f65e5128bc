package walk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/dockerfile"
	"github.com/lapstrake/lapstrake/internal/adapt/filetree"
	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// recipe is a conversion, with where its contexts are.
type recipe struct {
	key      string
	made     *lineage.Recipe
	problems diag.List
	// uses are the distinct uses of local files, by context.
	uses map[string][]graph.Use
	// prepared is true when commands make files that are not in the repository.
	prepared bool
}

// maxRecipes is how many conversions are kept, so that a change that is taken
// back costs nothing.
const maxRecipes = 32

// maxGroups is how many different sets of arguments and bases are converted for
// one recipe.
const maxGroups = 16

// where is a file or folder of a recipe: one of the tree, or one on the disk.
type where struct {
	path string
	disk bool
}

// where finds a file or folder of a recipe. Paths of a source are relative.
func (w *Walker) where(f *fleet.Fleet, p string) where {
	if f.Recipe.Source != nil && !filepath.IsAbs(p) {
		return where{path: path.Clean(p)}
	}
	if w.opt.FleetPath != "" {
		if rel, ok := w.inRepo(p); ok {
			return where{path: rel}
		}
	}
	return where{path: p, disk: true}
}

// read is a file by a name of its content; the name is "" when it is not there.
func (w *Walker) read(ctx context.Context, at where) (string, func() ([]byte, error), error) {
	if !at.disk {
		return w.tree.content(ctx, at.path)
	}
	data, err := os.ReadFile(at.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), func() ([]byte, error) { return data, nil }, diag.Wrap(diag.File, "read the Dockerfile", err)
}

// recipe is the conversion of the Dockerfile as of now, made once for equal
// Dockerfiles and equal values.
func (w *Walker) recipe(ctx context.Context, r *reading) (*recipe, error) {
	at := w.where(r.one, r.one.Recipe.Dockerfile)
	id, read, err := w.read(ctx, at)
	if err != nil {
		return nil, err
	}
	groups := w.group(r.one)
	twins := groups
	if r.moves {
		twins = w.group(r.two)
	}
	key, err := recipeKey(at.path+"@"+id, r, groups, twins)
	if err != nil {
		return nil, err
	}
	for i, known := range w.recipes {
		if known.key == key {
			w.recipes = append(slices.Delete(w.recipes, i, i+1), known)
			return known, nil
		}
	}
	c := &recipe{key: key, prepared: len(r.one.Prepare) > 0}
	if err := w.convert(ctx, c, r, at.path, read, groups, twins); err != nil && !errors.As(err, &c.problems) {
		return nil, err
	}
	if len(w.recipes) >= maxRecipes {
		w.recipes = slices.Delete(w.recipes, 0, 1)
	}
	w.recipes = append(w.recipes, c)
	return c, nil
}

func recipeKey(file string, r *reading, groups, twins []group) (string, error) {
	values := func(f *fleet.Fleet, groups []group) any {
		g := make([]any, len(groups))
		for i := range groups {
			g[i] = []any{groups[i].ids, groups[i].image.Args, groups[i].base.View}
		}
		rec := f.Recipe
		rec.Source = nil
		return []any{rec, f.Platform, f.Epoch, g, labels(f)}
	}
	data, err := json.Marshal([]any{file, values(r.one, groups), values(r.two, twins)})
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), diag.Wrap(diag.Internal, "recipe", err)
}

// labels are those of the images, by id.
func labels(f *fleet.Fleet) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, im := range f.Images {
		if len(im.Labels) > 0 {
			out[im.ID] = im.Labels
		}
	}
	return out
}

// group is images that a conversion cannot tell apart.
type group struct {
	ids   []string
	image fleet.Image
	base  *fact.Base
}

// group sorts the images of a fleet, as many groups as are converted.
func (w *Walker) group(f *fleet.Fleet) []group {
	var out []group
	at := map[string]int{}
	for _, im := range f.Images {
		base := w.base(im.Base, f.Platform)
		args, err := json.Marshal(im.Args)
		if err != nil {
			panic("walk: a map of texts is always JSON: " + err.Error())
		}
		key := string(args) + string(base.View)
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, group{image: fleet.Image{ID: im.ID, Base: im.Base, Args: im.Args}, base: base})
		}
		out[i].ids = append(out[i].ids, im.ID)
	}
	if len(out) > maxGroups {
		w.note(fmt.Sprintf("%d of %d different sets of arguments and bases are looked at", maxGroups, len(out)))
		out = out[:maxGroups]
	}
	return out
}

// convert fills in what a recipe comes to.
func (w *Walker) convert(ctx context.Context, c *recipe, r *reading, name string, read func() ([]byte, error), groups, twins []group) error {
	one, outline, err := w.variants(ctx, r.one, name, read, groups)
	if err != nil {
		return err
	}
	made := &lineage.Recipe{Args: arguments(outline, r.one)}
	c.uses = map[string][]graph.Use{}
	for i, g := range groups {
		made.Groups = append(made.Groups, lineage.Group{Images: g.ids, Variant: one[i]})
		for _, s := range one[i].Graph.Steps {
			for _, u := range s.Uses {
				c.uses[u.Context] = append(c.uses[u.Context], u)
			}
		}
	}
	if r.moves && len(twins) == len(groups) {
		two, _, err := w.variants(ctx, r.two, name, read, twins)
		if err != nil {
			return err
		}
		seen := map[*graph.Variant]bool{}
		for i := range one {
			if !seen[one[i]] {
				seen[one[i]] = true
				made.Moving = append(made.Moving, lineage.Moves(&one[i].Graph, &two[i].Graph, len(groups[i].ids))...)
			}
			made.MovingConfig = made.MovingConfig || string(one[i].Config) != string(two[i].Config)
		}
		made.Moving = oncePerStep(made.Moving)
		made.MovingConfig = made.MovingConfig || fmt.Sprint(labels(r.one)) != fmt.Sprint(labels(r.two))
	}
	for i := range made.Groups {
		made.Groups[i].Variant = shown(made.Groups[i].Variant)
	}
	c.made = made
	return made.Seal(labels(r.one))
}

// oncePerStep joins what several conversions say of the same step, and says
// "the commit" for the placeholder.
func oncePerStep(list []lineage.Moving) []lineage.Moving {
	var out []lineage.Moving
	at := map[string]int{}
	for _, m := range list {
		for i := range m.Causes {
			m.Causes[i].Old, m.Causes[i].New = "", commitText(m.Causes[i].Old)
		}
		key := fmt.Sprint(m.Step, m.Pos)
		if i, ok := at[key]; ok {
			out[i].Images += m.Images
			continue
		}
		at[key] = len(out)
		out = append(out, m)
	}
	return out
}

// shown is a conversion in which people read "the commit" for the placeholder.
func shown(v *graph.Variant) *graph.Variant {
	out := *v
	out.Definition, out.Shared = nil, nil // not needed any more
	out.Graph.Steps = slices.Clone(v.Graph.Steps)
	for i := range out.Graph.Steps {
		s := &out.Graph.Steps[i]
		s.Facets = slices.Clone(s.Facets)
		for j := range s.Facets {
			s.Facets[j].Value = commitText(s.Facets[j].Value)
		}
	}
	return &out
}

// variants converts the recipe for each group.
func (w *Walker) variants(ctx context.Context, f *fleet.Fleet, name string, read func() ([]byte, error), groups []group) ([]*graph.Variant, *graph.Outline, error) {
	w.stats.Conversions++
	rec := f.Recipe
	rec.Source = nil
	// Where the files are does not matter, only that the Dockerfile is found.
	const top = "/"
	rec.Context, rec.Dockerfile = top, filepath.Join(top, "recipe", path.Base(name))
	opened, err := dockerfile.Open(dockerfile.Options{
		Recipe: rec, Name: name, Platform: f.Platform, Epoch: f.Epoch,
		ReadFile: func(p string) ([]byte, error) {
			// What is ignored is up to the listing, and changes no step.
			if p != rec.Dockerfile || read == nil {
				return nil, fs.ErrNotExist
			}
			return read()
		},
		Images: func(_ context.Context, ref, platform string) (graph.Digest, []byte, error) {
			return w.image(ref, platform)
		},
	})
	if err != nil {
		return nil, nil, err
	}
	var out []*graph.Variant
	for _, g := range groups {
		v, err := opened.Variant(ctx, g.base, g.image)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, v)
	}
	return out, opened.Outline(), nil
}

// arguments are the values that build arguments have, seen by a step or not.
func arguments(o *graph.Outline, f *fleet.Fleet) map[string]string {
	out := map[string]string{}
	for _, in := range o.Instructions {
		for _, v := range in.Declares {
			if in.Word == "ARG" && v.Value != nil {
				out[v.Name] = *v.Value
			}
		}
	}
	for k, v := range f.Recipe.Args {
		out[k] = commitText(v)
	}
	for k, v := range f.Images[0].Args {
		out[k] = commitText(v)
	}
	delete(out, f.Recipe.BaseArg)
	return out
}

// files digests what the steps of each group read, and names the lock files
// among it.
func (w *Walker) files(ctx context.Context, r *reading, c *recipe) (files []graph.Files, locks map[string]string, problems diag.List, err error) {
	d := digests{w: w, ctx: ctx, fleet: r.one, recipe: c, folders: map[string]*folder{}}
	for _, g := range c.made.Groups {
		f := graph.Files{}
		for _, s := range g.Variant.Graph.Steps {
			for _, u := range s.Uses {
				sum, err := d.use(u, s.Pos)
				if err != nil {
					return nil, nil, nil, err
				}
				f[s.Digest] = append(f[s.Digest], sum)
			}
		}
		files = append(files, f)
	}
	for name, f := range d.folders {
		f.listing.Keep(c.uses[name])
	}
	w.folders = d.folders
	return files, d.locks(), slices.Compact(d.problems), nil
}

// digests reads contexts for one state.
type digests struct {
	w        *Walker
	ctx      context.Context
	fleet    *fleet.Fleet
	recipe   *recipe
	folders  map[string]*folder // by context; those of the tree only
	problems diag.List
}

// use digests one use. What it does not find is a problem, unless a command
// might have made it.
func (d *digests) use(u graph.Use, pos diag.Pos) (graph.Digest, error) {
	var sum graph.Digest
	var err error
	if at := d.place(u.Context); at.disk {
		sum, err = d.w.onDisk(at.path, u)
	} else {
		var f *folder
		if f, err = d.folder(u.Context, at.path); err != nil {
			return "", err
		}
		if err = f.problem.Err(); err == nil {
			sum, err = f.listing.Digest(u)
		}
	}
	var l diag.List
	if !errors.As(err, &l) {
		return sum, err
	}
	if d.recipe.prepared {
		return "", nil
	}
	for _, p := range l {
		if p.Pos.File == "" {
			p.Pos = pos
		}
		d.problems = append(d.problems, p)
	}
	return "", nil
}

func (d *digests) place(name string) where {
	if name == "context" {
		return d.w.where(d.fleet, d.fleet.Recipe.Context)
	}
	return d.w.where(d.fleet, d.fleet.Recipe.Contexts[name])
}

func (d *digests) folder(name, dir string) (*folder, error) {
	if f, ok := d.folders[name]; ok {
		return f, nil
	}
	file := ""
	if at := d.w.where(d.fleet, d.fleet.Recipe.Dockerfile); name == "context" && !at.disk {
		file = at.path
	}
	f, err := d.w.tree.context(d.ctx, dir, file)
	if err == nil {
		d.folders[name] = f
	}
	return f, err
}

// locks are the lock files that some step reads.
func (d *digests) locks() map[string]string {
	out := map[string]string{}
	for p, hash := range d.w.tree.locks {
		if d.w.reads(d.folders, d.recipe, p) {
			out[p] = hash
		}
	}
	return out
}

// reads tells whether some step reads a file of the tree.
func (w *Walker) reads(folders map[string]*folder, c *recipe, p string) bool {
	for name, f := range folders {
		rel, ok := strings.CutPrefix(p, f.prefix)
		if ok && slices.ContainsFunc(c.uses[name], func(u graph.Use) bool { return f.listing.Reads(u, rel) }) {
			return true
		}
	}
	return false
}

// onDisk digests a use of a folder that is in no repository, once.
func (w *Walker) onDisk(root string, u graph.Use) (graph.Digest, error) {
	t, ok := w.disk[root]
	if !ok {
		var err error
		if t, err = filetree.Open(root, ""); err != nil {
			return "", err
		}
		w.disk[root] = t
	}
	return t.Digest(u)
}
