package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/run/engine"
)

// fleetFlags are the flags of every command that reads a fleet file.
type fleetFlags struct {
	only  []string
	limit int
	// selectFile, where and sample are as given; "" when not.
	selectFile, where, sample string
	profiles                  []string
	// args are NAME=VALUE.
	args      []string
	namespace string
	// output is as given; "" when not.
	output   string
	style    string
	force    bool
	skip     string
	strategy string
	bases    string
	strict   bool
	// cache is a registry/repository; "" when not given.
	cache string
	// offline and baseConfig, a path or "", are for commands that only plan.
	offline bool
	// ref, when set, is the commit to take the recipe from, whatever the file says.
	ref        string
	baseConfig string
	bake       bakeFlags
}

// newFleetFlags are the values of flags that are not given.
func newFleetFlags() fleetFlags {
	return fleetFlags{style: string(fleet.NamespacePath), skip: string(planner.SkipKey), strategy: "auto", bases: "check"}
}

// register adds every flag.
func (f *fleetFlags) register(c *cobra.Command) {
	f.selection(c)
	f.places(c)
	f.decisions(c)
}

// selection adds the flags that say which images.
func (f *fleetFlags) selection(c *cobra.Command) {
	fl := c.Flags()
	fl.StringSliceVar(&f.only, "only", nil, "only images with these `ids` or globs; may be repeated")
	fl.StringVar(&f.selectFile, "select-file", "", "only images that this `file` names, one id a line; adds to --only")
	fl.StringVar(&f.where, "where", "", "only images for which this `condition` holds, like 'eq .meta.repo \"django/django\"' or 'hasPrefix .id \"django\"'")
	if fl.Lookup("sample") == nil {
		fl.StringVar(&f.sample, "sample", "", "a random choice of `n[@seed]` images, the same whatever their order")
	}
	fl.StringSliceVar(&f.profiles, "profile", nil, "apply the `profile` of the fleet file after those that it applies itself; may be repeated")
	fl.StringArrayVar(&f.args, "build-arg", nil, "set a build argument of the recipe, `NAME=VALUE`, over that of the fleet file; an image's own wins; may be repeated")
	fl.IntVar(&f.limit, "limit", 0, "at most `n` images, in declared order; 0 means all")
	f.bake.register(c)
}

// places adds the flags that say where bases are looked up and images go.
func (f *fleetFlags) places(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.namespace, "namespace", f.namespace, "move every published reference, and the cache mounts, under this `name`")
	fl.StringVar(&f.style, "namespace-style", f.style, "`style` of the namespace: path (host/NS/repo:tag) or tag (host/repo:NS-tag)")
	fl.StringVar(&f.output, "output", "", "`place` that images go to, whatever the fleet file says: registry, those that their tags name; docker, the Docker daemon; or oci:FOLDER, an OCI image layout")
	fl.StringVar(&f.bases, "bases", f.bases, "`mode`: check asks the registry what each base's tag is now, cached trusts what it was when last asked")
}

// decisions adds the flags that say what is made and how.
func (f *fleetFlags) decisions(c *cobra.Command) {
	fl := c.Flags()
	fl.BoolVar(&f.force, "force", false, "make every image, also those that exist")
	fl.StringVar(&f.skip, "skip", f.skip, "`rule` that says what exists: key (the same content) or tag (any content)")
	fl.StringVar(&f.strategy, "strategy", f.strategy, "`strategy`: auto, or build for a solve for every image")
	fl.BoolVar(&f.strict, "strict-mounts", false, "fail when a registry refuses to mount a blob, instead of sending it")
}

// caching adds the flag that says where results of shared steps are kept.
func (f *fleetFlags) caching(c *cobra.Command) {
	c.Flags().StringVar(&f.cache, "cache", "", "`repository` that shared steps are exported to and looked up in (default: with several workers that of the first image, else none)")
}

// loadFleet reads a fleet file, as it is without any flags.
func (a *app) loadFleet(ctx context.Context, path string) (*fleet.Fleet, error) {
	if isBake(path) {
		return a.loadBake(ctx, path, bakeFlags{})
	}
	return fleetfile.Load(path, a.fleetOptions(ctx, false))
}

// fleetOptions are what every reading of a fleet file needs.
func (a *app) fleetOptions(ctx context.Context, offline bool) fleetfile.Options {
	return fleetfile.Options{Rows: rows.Read, Resolve: func(s fleet.Source) (string, error) { return a.resolve(ctx, s, offline) }}
}

// resolve finds the commit of a recipe's source. Only for a repository that is
// elsewhere it needs the state folder.
func (a *app) resolve(ctx context.Context, s fleet.Source, offline bool) (string, error) {
	var mirrors gitrepo.Mirrors
	if fleet.IsGitURL(s.Git) {
		state, err := a.stateDir()
		if err != nil {
			return "", err
		}
		mirrors = engine.Mirrors(state, offline)
	}
	repo, err := mirrors.Open(ctx, s.Git, s.Ref)
	if err != nil {
		return "", err
	}
	return repo.Resolve(ctx, s.Ref)
}

// nobody adds the flags of commands that need not ask anybody.
func (f *fleetFlags) nobody(c *cobra.Command) {
	fl := c.Flags()
	fl.BoolVar(&f.offline, "offline", false, "send nothing to any registry or repository: what was learned earlier counts, and every image as missing")
	fl.StringVar(&f.baseConfig, "base-config", "", "with --offline: `file` with an image's config, or docker inspect's output, that stands in for bases never looked up")
}

// load reads the fleet file and applies the selection flags.
func (f *fleetFlags) load(ctx context.Context, a *app, args []string) (*fleet.Fleet, error) {
	path := "fleet.yaml"
	if len(args) > 0 {
		path = args[0]
	}
	fl, err := f.read(ctx, a, path)
	if err != nil {
		return nil, err
	}
	set, err := buildArgs(f.args)
	if err != nil {
		return nil, err
	}
	moved := fl.InNamespace(f.namespace, fleet.NamespaceStyle(f.style)).WithArgs(set)
	if f.output != "" {
		if moved.Output.To, err = fleet.ParseTo(f.output, absolute); err != nil {
			return nil, badFlag("output", f.output, err)
		}
	}
	return &moved, nil
}

// absolute makes a path of a flag absolute.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// buildArgs reads NAME=VALUE.
func buildArgs(flags []string) (map[string]string, error) {
	args := map[string]string{}
	for _, flag := range flags {
		name, value, ok := strings.Cut(flag, "=")
		if !ok || name == "" {
			return nil, badFlag("build-arg", flag, diag.Errorf(diag.Usage, "write NAME=VALUE", "it sets nothing"))
		}
		args[name] = value
	}
	return args, nil
}

// read reads a fleet file, or a bake or Compose file, with the selection flags.
func (f *fleetFlags) read(ctx context.Context, a *app, path string) (*fleet.Fleet, error) {
	if isBake(path) {
		return f.loadBake(ctx, a, path)
	}
	if f.bake.given() {
		return nil, diag.Errorf(diag.Usage, "name a bake or Compose file: docker-bake.hcl", "--file, --target and --set are for bake and Compose files, and %s is none", path)
	}
	o, err := f.reading(ctx, a)
	if err != nil {
		return nil, err
	}
	return fleetfile.Load(path, o)
}

// reading is how a fleet file is read with the selection flags.
func (f *fleetFlags) reading(ctx context.Context, a *app) (fleetfile.Options, error) {
	o := a.fleetOptions(ctx, f.offline)
	if f.ref != "" {
		o.Resolve = func(s fleet.Source) (string, error) {
			s.Ref = f.ref
			return a.resolve(ctx, s, f.offline)
		}
	}
	o.Profiles = f.profiles
	o.Where, o.Select.IDs, o.Select.Limit = f.where, f.only, f.limit
	if f.selectFile != "" {
		ids, err := readIDs("select-file", f.selectFile)
		if err != nil {
			return o, err
		}
		o.Select.IDs = append(o.Select.IDs, ids...)
	}
	if f.sample != "" {
		var err error
		if o.Select.Sample, err = fleet.ParseSample(f.sample); err != nil {
			return o, badFlag("sample", f.sample, err)
		}
	}
	return o, nil
}

// readIDs reads the ids of a flag's file: one a line, or rows with the field id.
func readIDs(flag, path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, diag.Errorf(diag.Usage, "name a file of ids", "--%s: %w", flag, err)
	}
	list, err := rows.Read(path, "", text)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, r := range list {
		id, ok := r.Fields["id"].(string)
		if !ok || id == "" {
			return nil, diag.List{{Code: diag.RowField, Pos: r.Pos, Help: "a list of ids has one a line, or rows with the field id", Message: "the row has no id"}}.WithSource(path, text)
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, diag.Errorf(diag.Usage, "without the flag all images are meant", "--%s: %s names no images", flag, path)
	}
	return ids, nil
}

func validNamespace(ns string) bool {
	for i, r := range ns {
		letter := r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
		if !letter && (r != '-' && r != '_' || i == 0 || i == len(ns)-1) {
			return false
		}
	}
	return ns != ""
}

// check finds values that no flag takes, before anything is read.
func (f *fleetFlags) check() error {
	if f.baseConfig != "" && !f.offline {
		return diag.Errorf(diag.Usage, "add --offline, or leave it out: the registry says what each base is", "--base-config is for --offline")
	}
	if f.namespace != "" && !validNamespace(f.namespace) {
		return diag.Errorf(diag.Usage, "lower-case letters and digits, with - and _ between them", "--namespace=%s is not a name", f.namespace)
	}
	return errors.Join(
		checkCache(f.cache),
		choice("skip", f.skip, string(planner.SkipKey), string(planner.SkipTag)),
		choice("strategy", f.strategy, "auto", "build"),
		choice("bases", f.bases, "check", "cached"),
		choice("namespace-style", f.style, string(fleet.NamespacePath), string(fleet.NamespaceTag)),
		atLeastZero("limit", f.limit),
	)
}

// choice checks the value of a flag that takes a few words.
func choice(flag, value string, words ...string) error {
	if slices.Contains(words, value) {
		return nil
	}
	help := "it takes " + strings.Join(words, " or ")
	if near := diag.Nearest(value, words); near != "" {
		help = "did you mean " + near + "?"
	}
	return diag.Errorf(diag.Usage, help, "--%s=%s is not known", flag, value)
}

// atLeastZero checks the value of a flag that takes a number of things.
func atLeastZero(flag string, n int) error {
	if n >= 0 {
		return nil
	}
	return diag.Errorf(diag.Usage, "0 means no limit of its own", "--%s=%d is negative", flag, n)
}

// options are the engine's options that the flags ask for.
func (f *fleetFlags) options() engine.Options {
	o := engine.Options{CachedBases: f.bases == "cached", Offline: f.offline, Cache: f.cache}
	o.Planner = planner.Options{Skip: planner.SkipRule(f.skip), BuildAll: f.strategy == "build"}
	if f.force {
		o.Planner.Skip = planner.SkipNever
	}
	return o
}

// standIn reads the file of --base-config; nil without one.
func (f *fleetFlags) standIn(platform string) (*fact.Base, error) {
	if f.baseConfig == "" {
		return nil, nil
	}
	text, err := os.ReadFile(f.baseConfig)
	if err != nil {
		return nil, diag.Errorf(diag.Usage, "name a file with an image's config", "--base-config: %w", err)
	}
	return registry.ReadStandIn(f.baseConfig, text, platform)
}

// open prepares everything that planning needs: prepare commands are run, the
// contexts are opened, the recipe is parsed.
func (a *app) open(ctx context.Context, f *fleetFlags, args []string) (*engine.Engine, string, error) {
	if err := f.check(); err != nil {
		return nil, "", err
	}
	fl, err := f.load(ctx, a, args)
	if err != nil {
		return nil, "", err
	}
	state, err := a.stateDir()
	if err != nil {
		return nil, "", err
	}
	options := f.options()
	if options.StandIn, err = f.standIn(fl.Platform); err != nil {
		return nil, "", err
	}
	eng, err := engine.Open(ctx, engine.Setup{Fleet: fl, State: state, Options: options, StrictMounts: f.strict, UserAgent: "lapstrake/" + Version, Version: Version})
	return eng, state, err
}

// choices are the flags that make it another run of the same fleet.
func (f *fleetFlags) choices() string {
	text := fmt.Sprintf("force=%t skip=%s strategy=%s", f.force, f.skip, f.strategy)
	if len(f.args) > 0 {
		text += fmt.Sprintf(" build-arg=%q", f.args)
	}
	return text
}
