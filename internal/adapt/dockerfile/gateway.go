package dockerfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/containerd/platforms"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// definitionLocal is the local name under which the Dockerfile's folder is
// read: one that no named context can have.
const definitionLocal = "lapstrake:recipe"

// gateway answers the front end from disk and from facts, as a daemon would.
// It serves one conversion.
type gateway struct {
	recipe *Recipe
	args   map[string]string // build arguments
	opts   map[string]string
	base   baseAnswer
	// asked is set when a reachable stage is built from the base.
	asked atomic.Bool
	// warnings are the linter's; they count only when the recipe asks that they
	// be errors. Stages are resolved concurrently, hence the lock.
	mu       sync.Mutex
	warnings diag.List
}

// lintError begins the error of a recipe with "check=error=true".
const lintError = "lint violation found"

// warn takes a remark of the linter.
func (g *gateway) warn(rule, _, url, text string, where []parser.Range) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.warnings.Add(diag.RecipeConvert, g.recipe.at(firstLine(where)), "see "+url, "%s: %s", rule, text)
}

// baseAnswer is what is said of the base image.
type baseAnswer struct {
	// arg is the value of the base argument.
	arg string
	// digest is empty when arg carries one.
	digest graph.Digest
	config []byte
}

// imageKey names an image that is not the base.
type imageKey struct{ ref, platform string }

// resolved is an image that is not the base.
type resolved struct {
	digest graph.Digest
	config []byte
}

// options are what a client would send with the build. A base that no argument
// holds is a named context in the place of what FROM names.
func (r *Recipe) options(base string, args map[string]string) map[string]string {
	opts := map[string]string{
		"filename":      filepath.Base(r.opt.Recipe.Dockerfile),
		"dockerfilekey": definitionLocal,
		"platform":      r.opt.Platform,
	}
	if r.opt.Recipe.Target != "" {
		opts["target"] = r.opt.Recipe.Target
	}
	if r.opt.Recipe.Network != "" {
		opts["force-network-mode"] = r.opt.Recipe.Network
	}
	for k, v := range args {
		opts["build-arg:"+k] = v
	}
	for name, at := range r.opt.Recipe.Contexts {
		key := strings.TrimSuffix(familiar(name), ":latest")
		if !filepath.IsAbs(at) {
			opts["context:"+key] = at
			continue
		}
		opts["context:"+key] = "local:" + name
		opts["sharedkey:localdir:"+key] = filepath.Base(at)
	}
	if from := r.opt.Recipe.BaseFrom; from != "" {
		if name, err := FromName(&r.outline, from, args, r.opt.Platform); err == nil {
			opts["context:"+strings.TrimSuffix(familiar(name), ":latest")] = "docker-image://" + base
		} // or else the front end says what is wrong
	}
	return opts
}

// buildArgs are the arguments of one conversion.
func (r *Recipe) buildArgs(base string, args map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range r.opt.Recipe.Args {
		out[k] = v
	}
	for k, v := range args {
		out[k] = v
	}
	if r.opt.Epoch != nil {
		out["SOURCE_DATE_EPOCH"] = strconv.FormatInt(r.opt.Epoch.Unix(), 10)
	}
	if r.opt.Recipe.BaseFrom == "" {
		out[r.opt.Recipe.BaseArg] = base
	}
	return out
}

// familiar is a reference as people write it.
func familiar(ref string) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/"), "library/")
}

// pinned is a full reference with its digest, in the form that the front end
// gives to source operations.
func pinned(ref string, d graph.Digest) string {
	name, _, found := strings.Cut(full(ref), "@")
	if !found && !strings.Contains(name[strings.LastIndex(name, "/")+1:], ":") {
		name += ":latest"
	}
	return name + "@" + string(d)
}

// full is a reference with its registry host, whichever way it was written.
func full(ref string) string {
	host, _, ok := strings.Cut(familiar(ref), "/")
	switch {
	case !ok:
		return "docker.io/library/" + familiar(ref)
	case host == "localhost" || strings.ContainsAny(host, ".:"):
		return ref
	}
	return "docker.io/" + familiar(ref)
}

// BuildOpts says what the daemon can do: everything that the front end knows.
func (g *gateway) BuildOpts() client.BuildOpts {
	opt := client.BuildOpts{Opts: g.opts, LLBCaps: pb.Caps.CapSet(pb.Caps.All()), Caps: gwpb.Caps.CapSet(gwpb.Caps.All())}
	if p, err := platforms.Parse(g.recipe.opt.BuildPlatform); err == nil {
		opt.Workers = []client.WorkerInfo{{Platforms: []ocispecs.Platform{platforms.Normalize(p)}}}
	}
	return opt
}

// Inputs are the results of other builds: there are none.
func (g *gateway) Inputs(context.Context) (map[string]llb.State, error) { return nil, nil }

// Warn drops warnings: the front end's linter has commands of its own.
func (g *gateway) Warn(context.Context, digest.Digest, string, client.WarnOpts) error { return nil }

// NewContainer is not needed by the Dockerfile front end.
func (g *gateway) NewContainer(context.Context, client.NewContainerRequest) (client.Container, error) {
	return nil, errors.New("no container without a daemon")
}

// ResolveSourceMetadata would ask a remote host for a date.
func (g *gateway) ResolveSourceMetadata(_ context.Context, op *pb.SourceOp, _ sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	return nil, fmt.Errorf("%s cannot be asked for its date while planning: set epoch in the fleet file", op.GetIdentifier())
}

// ResolveImageConfig answers for the base from facts and for other images
// through Options.Images. The reference comes back with its digest, so that
// named contexts are pinned as well.
func (g *gateway) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	if opt.OCILayoutOpt != nil {
		return "", "", nil, errors.New("oci-layout contexts need a session: push the image and use docker-image://")
	}
	platform, err := g.platform(ref, opt)
	if err != nil {
		return "", "", nil, err
	}
	if g.isBase(ref) {
		g.asked.Store(true)
		d := g.base.digest
		if _, after, ok := strings.Cut(ref, "@"); ok {
			d = graph.Digest(after)
		}
		return pinned(ref, d), digest.Digest(d), g.base.config, nil
	}
	img, err := g.recipe.images.get(imageKey{ref, platform}, func() (resolved, error) {
		if g.recipe.opt.Images == nil {
			return resolved{}, fmt.Errorf("%s: images other than the base are not resolved here", ref)
		}
		d, config, err := g.recipe.opt.Images(ctx, ref, platform)
		return resolved{d, config}, err
	})
	if err != nil {
		return "", "", nil, err
	}
	return pinned(ref, img.digest), digest.Digest(img.digest), img.config, nil
}

// isBase compares references in one form: a recipe that rebuilds the base's
// reference from its parts still means the base.
func (g *gateway) isBase(ref string) bool {
	return strings.TrimSuffix(familiar(ref), ":latest") == strings.TrimSuffix(familiar(g.base.arg), ":latest")
}

// platform is what an image is asked for: the platform of the recipe's images,
// or that of the worker, for a stage that cross-builds. The facts are about no
// others, and about the base for the first only.
func (g *gateway) platform(ref string, opt sourceresolver.Opt) (string, error) {
	target, build := g.recipe.opt.Platform, g.recipe.opt.BuildPlatform
	if opt.ImageOpt == nil || opt.ImageOpt.Platform == nil {
		return target, nil
	}
	got := platforms.FormatAll(platforms.Normalize(*opt.ImageOpt.Platform))
	for _, p := range []string{target, build} {
		want, err := platforms.Parse(p)
		if err != nil {
			return "", err
		}
		if got == platforms.FormatAll(platforms.Normalize(want)) && (p == target || !g.isBase(ref)) {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s is asked for on %s: images of a fleet's recipe are for the fleet's platform, %s, or of stages for the worker's, %s", ref, got, target, build)
}

// Solve answers requests for one local folder, which is all that the front end
// asks for before it converts.
func (g *gateway) Solve(_ context.Context, req client.SolveRequest) (*client.Result, error) {
	for _, raw := range req.Definition.GetDef() {
		var o pb.Op
		if err := o.Unmarshal(raw); err != nil {
			return nil, err
		}
		name, ok := localName(&o)
		if !ok {
			continue
		}
		dir, ok := g.folder(name)
		if !ok {
			return nil, fmt.Errorf("no local folder %q", name)
		}
		res := client.NewResult()
		res.SetRef(&folder{recipe: g.recipe, dir: dir})
		return res, nil
	}
	return nil, errors.New("only local files can be read while planning")
}

func (g *gateway) folder(name string) (string, bool) {
	if name == definitionLocal {
		return filepath.Dir(g.recipe.opt.Recipe.Dockerfile), true
	}
	dir, ok := g.recipe.Locals()[name]
	return dir, ok
}

// folder is a local folder as the result of a solve.
type folder struct {
	recipe *Recipe
	dir    string
}

// ReadFile reads a file through the recipe's snapshot.
func (f *folder) ReadFile(_ context.Context, req client.ReadRequest) ([]byte, error) {
	name := filepath.Join(f.dir, filepath.FromSlash(path.Join("/", req.Filename)))
	data, err := f.recipe.files.get(name, func() ([]byte, error) {
		data, err := f.recipe.opt.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // remembered as missing
		}
		if data == nil {
			data = []byte{}
		}
		return data, err
	})
	if err != nil {
		return nil, diag.Wrap(diag.File, "read "+name, err)
	}
	if data == nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	if r := req.Range; r != nil && r.Length > 0 && len(data) > r.Length {
		data = data[:r.Length]
	}
	return data, nil
}

// StatFile tells a file's size.
func (f *folder) StatFile(ctx context.Context, req client.StatRequest) (*fstypes.Stat, error) {
	data, err := f.ReadFile(ctx, client.ReadRequest{Filename: req.Path})
	if err != nil {
		return nil, err
	}
	return &fstypes.Stat{Path: req.Path, Size: int64(len(data))}, nil
}

// ToState is not needed before a conversion.
func (f *folder) ToState() (llb.State, error) {
	return llb.State{}, errors.New("a local folder has no state")
}

// Evaluate does nothing: a folder is there.
func (f *folder) Evaluate(context.Context) error { return nil }

// ReadDir is not needed before a conversion.
func (f *folder) ReadDir(context.Context, client.ReadDirRequest) ([]*fstypes.Stat, error) {
	return nil, errors.New("a local folder is not listed")
}

// baseMark is the history that the front end sees of a base, so that results
// which are built on the base can be told from those which only read from it.
const baseMark = "FROM " + reserved

// frontConfig is a base's config for the front end: its view, a mark in place of
// its history, and one layer in place of its own. Without any layer the front
// end takes a base for scratch.
func frontConfig(view json.RawMessage, scratch bool) ([]byte, error) {
	config := map[string]json.RawMessage{}
	if err := json.Unmarshal(view, &config); err != nil {
		return nil, err
	}
	rootfs := `{"type":"layers","diff_ids":["sha256:` + strings.Repeat("0", 64) + `"]}`
	if scratch {
		rootfs = `{"type":"layers","diff_ids":[]}`
	}
	config["rootfs"] = json.RawMessage(rootfs)
	config["history"] = json.RawMessage(`[{"created_by":"` + baseMark + `","empty_layer":true}]`)
	return json.Marshal(config)
}
