// Package dockerfile turns a Dockerfile and what is known of a base into the
// graph of steps that BuildKit would run, without a daemon and without a
// network.
//
// The work is done by BuildKit's own front end, through a gateway client that
// answers from disk and from facts. An image's base is replaced by a
// placeholder, so that one conversion serves every base with the same config:
// the placeholder's source step is the only place where bases differ. Where a
// recipe lets the reference's text reach anything else, which is proved by
// converting for a second placeholder, each image is converted on its own.
package dockerfile

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/moby/buildkit/solver/pb"
)

// Options say what to convert and what to answer the front end.
type Options struct {
	Recipe fleet.Recipe
	// Name is what positions call the Dockerfile; its path when empty.
	Name string
	// ReadFile reads the Dockerfile and the ignore files by their absolute paths;
	// os.ReadFile when nil. A file that is not there is fs.ErrNotExist. It may be
	// called concurrently, and once per file.
	ReadFile func(path string) ([]byte, error)
	// Platform is OS/ARCH[/VARIANT] of the images; "linux/amd64" when empty.
	Platform string
	// BuildPlatform is the worker's own platform, as BUILDPLATFORM tells it to
	// recipes; "linux/amd64" when empty.
	BuildPlatform string
	// Epoch, when set, is SOURCE_DATE_EPOCH.
	Epoch *time.Time
	// Unique identifies the content of each local context by name, "context"
	// being the main one. It becomes part of the step that reads the context, so
	// that steps with equal digests read equal content. A missing name counts as
	// empty content; [graph.Variant] ids do not depend on it.
	Unique map[string]string
	// Images resolves the images that a recipe uses beside the base, for
	// Platform or BuildPlatform: the digest that a pull would be answered with,
	// and the config. It is called concurrently, and once per reference and
	// platform unless it fails. An error that carries a kind keeps it.
	Images func(ctx context.Context, ref, platform string) (graph.Digest, []byte, error)
}

// Recipe is a parsed Dockerfile. It is safe for concurrent use. The Dockerfile
// and the ignore files are read once: a Recipe is a snapshot of them.
type Recipe struct {
	opt   Options
	text  []byte
	notes diag.List
	// outline is the text by instruction.
	outline graph.Outline
	// verbatim is set when the base's reference may be taken apart by the
	// recipe, so that no placeholder can stand for it.
	verbatim bool
	// local is set when a stage declares an argument that holds the base's
	// reference, so that every view needs its own proof.
	local bool

	mu       sync.Mutex
	viewIDs  map[string]int
	slots    map[slotKey]*slot
	variants map[graph.Digest]*graph.Variant
	proved   bool

	files  memo[string, []byte]
	images *memo[imageKey, resolved]
}

// Open reads and parses the Dockerfile. Every problem that can be seen without
// a base is returned at once as a [diag.List]: [diag.RecipeSyntax] for what
// does not parse, [diag.RecipeConvert] for another front end, a missing target
// or a recipe that does not use the base, [diag.FleetNotFound] for a file that
// cannot be read.
func Open(opt Options) (*Recipe, error) { return open(opt, &memo[imageKey, resolved]{}) }

// For is the recipe for another platform. Images beside the base that both use are
// resolved once.
func (r *Recipe) For(platform string) (*Recipe, error) {
	opt := r.opt
	opt.Platform = platform
	return open(opt, r.images)
}

func open(opt Options, images *memo[imageKey, resolved]) (*Recipe, error) {
	if opt.Recipe.BaseArg == "" && opt.Recipe.BaseFrom == "" {
		opt.Recipe.BaseArg = "BASE_IMAGE"
	}
	if opt.Platform == "" {
		opt.Platform = "linux/amd64"
	}
	if opt.BuildPlatform == "" {
		opt.BuildPlatform = "linux/amd64"
	}
	file := opt.Recipe.Dockerfile
	if opt.Name == "" {
		opt.Name = file
	}
	if opt.ReadFile == nil {
		opt.ReadFile = os.ReadFile
	}
	text, err := opt.ReadFile(file)
	if err != nil {
		return nil, diag.List{{Code: diag.FleetNotFound, Pos: diag.Pos{File: opt.Name}, Message: "the Dockerfile cannot be read: " + cause(err), Help: "set recipe.dockerfile to the path of a Dockerfile"}}
	}
	r := &Recipe{opt: opt, text: text, viewIDs: map[string]int{}, slots: map[slotKey]*slot{}, variants: map[graph.Digest]*graph.Variant{}, images: images}
	// The front end reads the Dockerfile again for each conversion: it must
	// meet the same text.
	r.files.put(file, text)
	problems := r.Locate(r.inspect())
	r.notes = r.Locate(r.notes)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return r, nil
}

// cause is err without the path, which the position carries.
func cause(err error) string {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// Locals are the folders that a solve's session must offer, by local name:
// "context" and the named contexts that are folders.
func (r *Recipe) Locals() map[string]string {
	out := map[string]string{"context": r.opt.Recipe.Context}
	for name, at := range r.opt.Recipe.Contexts {
		if filepath.IsAbs(at) {
			out[name] = at
		}
	}
	return out
}

// Variant is the conversion for one image. Images whose bases have the same
// view, and whose own arguments are the same, share one *Variant; so do images
// whose conversions turn out equal. Labels of the image do not cost a
// conversion.
//
// What the Dockerfile cannot do on this base is a [diag.List] of
// [diag.RecipeConvert]; it is kept, so that asking again costs nothing. A
// failure of Options.Images keeps its kind and is not kept.
func (r *Recipe) Variant(ctx context.Context, base *fact.Base, image fleet.Image) (*graph.Variant, error) {
	key := r.key(base, image)
	c, err := r.conversion(ctx, key, base, image)
	if err != nil {
		return nil, err
	}
	return r.labelled(c, image.Labels)
}

// Definition is the operation graph of v for one image, ready to be submitted:
// the placeholder is replaced by the base's reference and digest. The map leads
// from each operation's digest, as the daemon will report it, to the digest of
// the same step in v.Graph; shared steps have the same digest in both.
func (r *Recipe) Definition(v *graph.Variant, base *fact.Base, image fleet.Image) ([]byte, map[graph.Digest]graph.Digest, error) {
	p, err := parseProgram(v.Definition)
	if err != nil {
		return nil, nil, diag.Wrap(diag.Internal, "definition of "+image.ID, err)
	}
	ref := pinned(base.Ref, base.Digest)
	spliced, renamed, err := p.rewrite(replaceImage(placeholder, ref))
	if err != nil {
		return nil, nil, diag.Wrap(diag.Internal, "definition of "+image.ID, err)
	}
	spliced.rename(r.baseName(), ref)
	data, err := spliced.marshal()
	if err != nil {
		return nil, nil, diag.Wrap(diag.Internal, "definition of "+image.ID, err)
	}
	steps := make(map[graph.Digest]graph.Digest, len(renamed))
	for _, o := range p.steps() {
		is := graph.Digest(renamed[o.digest])
		if _, ok := steps[is]; !ok {
			steps[is] = graph.Digest(o.digest)
		}
	}
	return data, steps, nil
}

// Part is the operation graph that makes one shared step of v and nothing else.
// Its steps have the digests that they have in v.Graph.
func (r *Recipe) Part(v *graph.Variant, step graph.Digest) ([]byte, error) {
	p, err := parseProgram(v.Definition)
	if err != nil {
		return nil, diag.Wrap(diag.Internal, "definition of step "+step.Short(), err)
	}
	var result *pb.Input
	for _, o := range p.steps() {
		for _, in := range o.op.Inputs {
			if in.Digest == string(step) && (result == nil || in.Index < result.Index) {
				result = in
			}
		}
	}
	if result == nil {
		return nil, diag.Errorf(diag.Internal, "", "no step uses %s", step.Short())
	}
	part, err := p.part([]*pb.Input{result})
	if err != nil {
		return nil, diag.Wrap(diag.Internal, "definition of step "+step.Short(), err)
	}
	return part.marshal()
}

// baseName is how the base appears in the names of steps.
func (r *Recipe) baseName() string { return "${" + r.opt.Recipe.BaseArg + r.opt.Recipe.BaseFrom + "}" }

// labels are the recipe's and the image's, the image's winning.
func (r *Recipe) labels(image map[string]string) map[string]string {
	out := make(map[string]string, len(r.opt.Recipe.Labels)+len(image))
	for k, v := range r.opt.Recipe.Labels {
		out[k] = v
	}
	for k, v := range image {
		out[k] = v
	}
	return out
}

// labelled gives a conversion's variant the labels, made once per set of labels.
func (r *Recipe) labelled(c *conversion, image map[string]string) (*graph.Variant, error) {
	key := ""
	if len(image) > 0 {
		data, err := json.Marshal(image)
		if err != nil {
			return nil, diag.Wrap(diag.Internal, "labels", err)
		}
		key = string(data)
	}
	return c.labelled.get(key, func() (*graph.Variant, error) {
		v, err := c.variant(r.labels(image))
		if err != nil {
			return nil, diag.Wrap(diag.Internal, "image config", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if same, ok := r.variants[v.ID]; ok {
			return same, nil
		}
		r.variants[v.ID] = v
		return v, nil
	})
}
