package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/run/prune"
	"github.com/lapstrake/lapstrake/internal/run/walk"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// historyOptions are the flags of history.
type historyOptions struct {
	span     string
	refs     []string
	baseline string
	repo     string
	verbose  bool
}

func (a *app) historyCommand() *cobra.Command {
	f := newFleetFlags()
	f.offline = true
	var o historyOptions
	c := &cobra.Command{
		Use:   "history [FLEET]",
		Short: "Say what each commit changes about every image, without building",
		Long: "Say what each commit changes about every image, without building, checking anything out, a daemon or a network.\n\n" +
			"The commits are those of the repository that holds the fleet file, which is read at each of them, as its instance lists are. " +
			"If the recipe.source of the fleet file is another repository, they are that one's, and the fleet file stays as it is. " +
			"With --repo, FLEET is a path in that repository, which may be a bare one.\n\n" +
			"Commits that change the steps of every image come first. Commits that are named in an order that is none are compared all the same; the exit code is 4.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			path := fleetfile.FileName
			if len(args) > 0 {
				path = args[0]
			}
			return a.history(c.Context(), path, &f, o)
		},
	}
	f.selection(c)
	fl := c.Flags()
	fl.StringVar(&f.baseConfig, "base-config", "", "`file` with an image's config, or docker inspect's output, that stands in for bases never looked up")
	fl.StringVar(&o.span, "range", "", "the `commits` of A..B: those that B has and A has not")
	fl.StringSliceVar(&o.refs, "refs", nil, "these `commits`, each compared with the one before it")
	fl.StringVar(&o.baseline, "baseline", "", "the `commit` that the first of --refs is compared with, and that all of them must come after")
	fl.StringVar(&o.repo, "repo", "", "the `folder` of the repository; FLEET is a path in it")
	fl.BoolVarP(&o.verbose, "verbose", "v", false, "list inert commits, too")
	return c
}

func (o *historyOptions) check() error {
	const help = "see `lapstrake history --help`"
	from, to, ok := strings.Cut(o.span, "..")
	switch {
	case (o.span == "") == (len(o.refs) == 0):
		return diag.Errorf(diag.Usage, help, "say which commits: either --range A..B or --refs A,B,C")
	case o.span != "" && o.baseline != "":
		return diag.Errorf(diag.Usage, "the baseline of a range is its beginning", "--baseline goes with --refs")
	case o.span != "" && (!ok || from == "" || to == "" || strings.HasPrefix(to, ".")):
		return diag.Errorf(diag.Usage, "write A..B, where A and B are branches, tags or commits", "--range=%s is no range", o.span)
	}
	return nil
}

// history prints what the commits change.
func (a *app) history(ctx context.Context, path string, f *fleetFlags, o historyOptions) error {
	if err := f.check(); err != nil {
		return err
	}
	if o.repo == "" && isBake(path) {
		return atCommits(path, "")
	}
	if f.bake.given() {
		return diag.Errorf(diag.Usage, "`lapstrake init` writes a fleet file from a bake file", "--file, --target and --set are for bake and Compose files")
	}
	w, done, err := a.walker(ctx, path, f, o)
	if err != nil {
		return err
	}
	defer done()
	var report *lineage.Report
	if o.span != "" {
		from, to, _ := strings.Cut(o.span, "..")
		report, err = w.Range(ctx, "--range", from, to)
	} else {
		report, err = w.Refs(ctx, "--refs", o.baseline, o.refs)
	}
	if err != nil {
		return err
	}
	if a.json {
		err = json.NewEncoder(a.Out).Encode(report)
	} else {
		p := page(a.Out)
		p.Verbose = o.verbose
		err = text.History(a.Out, report, p)
	}
	if err != nil {
		return err
	}
	return walk.Err(report)
}

// walker finds the repository, and what is known of bases.
func (a *app) walker(ctx context.Context, path string, f *fleetFlags, o historyOptions) (*walk.Walker, func(), error) {
	state, err := a.stateDir()
	if err != nil {
		return nil, nil, err
	}
	opt := walk.Options{}
	if opt.Load, err = f.reading(ctx, a); err != nil {
		return nil, nil, err
	}
	if f.baseConfig != "" {
		opt.StandIn = f.standIn
	}
	if err := a.repository(ctx, &opt, path, state, o); err != nil {
		return nil, nil, err
	}
	store, err := registry.New(registry.Options{Facts: filepath.Join(state, prune.Facts)})
	if err != nil {
		return nil, nil, err
	}
	opt.Base, opt.Image = store.Cached, store.CachedConfig
	w, err := walk.New(opt)
	if err != nil {
		store.Close()
		return nil, nil, err
	}
	return w, func() { w.Close(); store.Close() }, nil
}

// repository finds out which repository is walked, and whether the fleet file
// is part of it.
func (a *app) repository(ctx context.Context, opt *walk.Options, path, state string, o historyOptions) error {
	var err error
	if o.repo != "" {
		if opt.Repo, err = gitrepo.Open(ctx, o.repo); err != nil {
			return err
		}
		opt.FleetPath = filepath.ToSlash(filepath.Clean(path))
		opt.FleetName = opt.FleetPath
		if !filepath.IsLocal(path) {
			return diag.Errorf(diag.Usage, "write it relative to the top of the repository", "%s is not a path in the repository", path)
		}
		return nil
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, fleetfile.FileName)
	}
	// Which commit it is does not matter yet, and what is not committed not at all.
	load := opt.Load
	var source *fleet.Source
	load.Resolve = func(s fleet.Source) (string, error) {
		source = &s
		return strings.Repeat("0", 40), nil
	}
	if _, err := fleetfile.Load(path, load); err != nil && source == nil && diag.KindOf(err) != diag.File {
		return err
	}
	opt.FleetName = path
	if source == nil {
		return inWorkTree(ctx, opt, path)
	}
	if held, err := a.holdsItself(ctx, path, source, o); held || err != nil {
		if err != nil {
			return err
		}
		return inWorkTree(ctx, opt, path)
	}
	opt.Fixed = func(resolve func(fleet.Source) (string, error)) (*fleet.Fleet, error) {
		o := opt.Load
		o.Resolve = resolve
		return fleetfile.Load(path, o)
	}
	opt.Repo, err = engine.Mirrors(state, true).Open(ctx, source.Git, source.Ref)
	if fleet.IsGitURL(source.Git) && err != nil {
		return diag.Errorf(diag.KindOf(err), "plan the fleet once, which fetches it, or name a clone", "%w", err)
	}
	return err
}

// holdsItself tells whether the source of a fleet file is the repository that
// the file is part of, at the last of the commits.
func (a *app) holdsItself(ctx context.Context, path string, source *fleet.Source, o historyOptions) (bool, error) {
	var here walk.Options
	if fleet.IsGitURL(source.Git) || inWorkTree(ctx, &here, path) != nil {
		return false, nil
	}
	there, err := gitrepo.Open(ctx, source.Git)
	if err != nil || there.Dir() != here.Repo.Dir() {
		return false, err
	}
	_, last, ok := strings.Cut(o.span, "..")
	if !ok {
		last = o.refs[len(o.refs)-1]
	}
	commit, err := there.Resolve(ctx, last)
	if err != nil {
		return false, err
	}
	_, err = there.ReadFile(ctx, commit, here.FleetPath)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// inWorkTree finds a fleet file's place in the repository that holds it.
func inWorkTree(ctx context.Context, opt *walk.Options, path string) error {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return diag.Errorf(diag.File, "with --repo, FLEET is a path in the repository", "the folder of %s cannot be read: %w", path, err)
	}
	if opt.Repo, err = gitrepo.Open(ctx, dir); err != nil {
		return err
	}
	rel, err := filepath.Rel(opt.Repo.WorkTree(), filepath.Join(dir, filepath.Base(path)))
	if opt.Repo.WorkTree() == "" || err != nil || !filepath.IsLocal(rel) {
		return diag.Errorf(diag.Usage, "name the repository with --repo; FLEET is then a path in it", "%s is not in a work tree", path)
	}
	opt.FleetPath = filepath.ToSlash(rel)
	opt.FleetName = opt.FleetPath
	return nil
}
