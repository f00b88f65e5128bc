package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/decide/explain"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/archive"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) explainCommand() *cobra.Command {
	var against string
	var verbose, layers bool
	c := &cobra.Command{
		Use:   "explain [RUN [IMAGE | STEP]]",
		Short: "Say for every step that a run executed why it was not cached",
		Long: "Say for every step that a run executed why it was not cached: what changed since an earlier run of the fleet, where, and what " +
			"inherits it; or why the result was not there although nothing had changed. IMAGE is an id; STEP is a part of a step's name.",
		Args: atMost(2),
		RunE: func(c *cobra.Command, args []string) error {
			state, err := a.stateDir()
			if err != nil {
				return err
			}
			now, ref, err := explained(state, args, against)
			if err != nil {
				return err
			}
			image, step := which(now, args)
			if layers {
				return a.growth(c.Context(), state, now, ref, image)
			}
			r := explain.Misses(now, ref, image)
			r.Only(step)
			if a.json {
				return json.NewEncoder(a.Out).Encode(r)
			}
			o := page(a.Out)
			o.Verbose = verbose
			return text.Explain(a.Out, r, origins(c.Context(), now), o)
		},
	}
	c.Flags().StringVar(&against, "against", "", "compare with this `run` (default: the newest earlier run of the same fleet)")
	c.Flags().BoolVar(&layers, "layers", false, "for an IMAGE: say instead in which folders its own layers grew or shrank")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "list every step")
	return c
}

// growth says in which folders the layers of an image are not as large as those
// of the earlier run. Layers that both images have are not read.
func (a *app) growth(ctx context.Context, state string, now, ref *explain.Run, image string) error {
	if image == "" {
		return diag.Errorf(diag.Usage, "lapstrake explain RUN IMAGE --layers", "--layers is for one image")
	}
	if ref == nil {
		return diag.Errorf(diag.Usage, "name one with --against", "there is no earlier run of the fleet to compare with")
	}
	store, err := openStore(state, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	was, err := a.layersOf(ctx, store, state, ref.ID, image)
	if err != nil {
		return err
	}
	is, err := a.layersOf(ctx, store, state, now.ID, image)
	if err != nil {
		return err
	}
	old, err := was.files(ctx, store, is)
	if err != nil {
		return err
	}
	files, err := is.files(ctx, store, was)
	if err != nil {
		return err
	}
	g := explain.Grown(old, files)
	if a.json {
		return json.NewEncoder(a.Out).Encode(g)
	}
	return text.Growth(a.Out, image, g, page(a.Out))
}

// published is an image as a run published it.
type published struct {
	repo   string
	layers []graph.Digest
}

func (a *app) layersOf(ctx context.Context, store *registry.Store, state, run, image string) (p published, err error) {
	s, err := came(state, run)
	if err != nil {
		return p, err
	}
	u := s.Units[image]
	if u.Digest == "" || len(u.Tags) == 0 {
		return p, diag.Errorf(diag.Usage, "name an image that both runs published", "run %s published no image %s", run, image)
	}
	p.repo, _ = publish.Split(u.Tags[0])
	manifest, _, err := store.Manifest(ctx, p.repo, u.Digest)
	if err != nil {
		return p, err
	}
	blobs, err := publish.BlobsOf(manifest)
	if err != nil {
		return p, diag.Wrap(diag.Infra, "image "+image, err)
	}
	for _, b := range blobs[:len(blobs)-1] { // the config comes last
		p.layers = append(p.layers, b.Digest)
	}
	return p, nil
}

// files are those of the layers that other does not have.
func (p published) files(ctx context.Context, store *registry.Store, other published) (map[string]int64, error) {
	out := map[string]int64{}
	for _, d := range p.layers {
		if slices.Contains(other.layers, d) {
			continue
		}
		files, err := store.LayerFiles(ctx, p.repo, d)
		if err != nil {
			return nil, err
		}
		for f, n := range files {
			out[f] = n // what an upper layer replaces counts once
		}
	}
	return out, nil
}

// explained reads the run that is asked about and the one it is compared with,
// nil when there is none.
func explained(state string, args []string, against string) (now, ref *explain.Run, err error) {
	run, err := archive.Find(state, append(args, "")[0])
	if err != nil {
		return nil, nil, err
	}
	if now, err = run.Explained(); err != nil {
		return nil, nil, err
	}
	other, ok := archive.Run{}, true
	if against != "" {
		other, err = archive.Find(state, against)
	} else {
		other, ok, err = archive.Before(state, run)
	}
	if err != nil || !ok {
		return now, nil, err
	}
	ref, err = other.Explained()
	return now, ref, err
}

// which tells whether the second argument is an image or a step.
func which(r *explain.Run, args []string) (image, step string) {
	if len(args) < 2 {
		return "", ""
	}
	for _, u := range r.Plan.Units {
		if u.Image == args[1] || u.Index == args[1] {
			return args[1], ""
		}
	}
	return "", args[1]
}

// origins tells which commit a cause comes from, where git knows its file: of
// local files the last that changed the first of them, of all else the one that
// the line comes from. Of a file that was written since the run nothing is told:
// its lines may be others.
func origins(ctx context.Context, run *explain.Run) text.Origin {
	repos := map[string]*gitrepo.Repo{}
	return func(m explain.Miss, cause int) string {
		at, line := m.Causes[cause].Pos.File, m.Causes[cause].Pos.Line
		if m.Causes[cause].Kind == graph.FacetFiles {
			at, line = changedFile(m, run.Basis), 0
		}
		if !filepath.IsAbs(at) {
			return ""
		}
		if st, err := os.Stat(at); err != nil || st.ModTime().After(run.Started) {
			return ""
		}
		dir := filepath.Dir(at)
		repo, ok := repos[dir]
		if !ok {
			repo, _ = gitrepo.Open(ctx, dir) // without git nothing is known
			repos[dir] = repo
		}
		if repo == nil {
			return ""
		}
		c, ok, err := repo.LastChange(ctx, at)
		if line > 0 {
			c, ok, err = repo.Blame(ctx, at, line)
		}
		if err != nil || !ok {
			return ""
		}
		return c.Hash[:12] + " " + c.Committed.Format("2006-01-02") + " " + c.Subject
	}
}

// changedFile is the first changed file of a miss, "" when it is not known.
func changedFile(m explain.Miss, b *plan.Basis) string {
	if len(m.Files) == 0 {
		return ""
	}
	for name, root := range b.Folders {
		if _, ok := b.Listing[name][m.Files[0]]; ok {
			return filepath.Join(root, filepath.FromSlash(m.Files[0]))
		}
	}
	return ""
}

func (a *app) diffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff OLD-RUN NEW-RUN",
		Short: "Split what two runs differ in, wall time, disk and bytes, into causes that add up",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return diag.Errorf(diag.Usage, "`lapstrake runs` lists them", "diff takes two runs")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			state, err := a.stateDir()
			if err != nil {
				return err
			}
			d, err := differ(state, args[0], args[1])
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.Out).Encode(d)
			}
			return text.Difference(a.Out, d, page(a.Out))
		},
	}
}

func differ(state, old, now string) (*explain.Difference, error) {
	was, err := came(state, old)
	if err != nil {
		return nil, err
	}
	is, err := came(state, now)
	if err != nil {
		return nil, err
	}
	return explain.Compare(was, is), nil
}

// came is what the run with an id came to.
func came(state, id string) (*summary.Summary, error) {
	run, err := archive.Find(state, id)
	if err != nil {
		return nil, err
	}
	return run.Summary()
}
