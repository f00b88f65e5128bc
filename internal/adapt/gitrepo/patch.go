package gitrepo

import (
	"context"
	"os"
	"path/filepath"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Apply applies a patch, as git diff writes it, to the files in a folder that is
// no repository, whole or not at all. A patch that does not fit is an error of
// kind [diag.File].
func Apply(ctx context.Context, dir, patch string) error {
	c := command{args: []string{"apply", "--whitespace=nowarn", patch}, dir: dir, env: []string{"GIT_CEILING_DIRECTORIES=" + filepath.Dir(dir)}}
	if _, err := c.output(ctx); err != nil {
		if ctx.Err() != nil {
			return diag.Wrap(diag.Interrupted, "patch", ctx.Err())
		}
		return diag.Errorf(diag.File, "make it again from the commit that it is applied to", "the patch %s: %w", patch, err)
	}
	return nil
}

// Submodules lists the submodules of a commit's tree, by path, with the commits
// that they point to. Those of submodules are not among them.
func (r *Repo) Submodules(ctx context.Context, commit string) (map[string]string, error) {
	links, err := r.submodules(ctx, commit)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(links))
	for _, l := range links {
		out[l.path] = l.commit
	}
	return out, nil
}

// Attach makes a folder that holds the tree of a commit a work tree at that
// commit, so that git answers in it as it does in a clone. It borrows the objects
// of r, which must stay where it is.
func (r *Repo) Attach(ctx context.Context, dir, commit string) error {
	git := filepath.Join(dir, ".git")
	format := "sha1"
	if len(commit) == 64 {
		format = "sha256"
	}
	run := func(args ...string) error {
		_, err := command{args: args, dir: dir}.output(ctx)
		return wrap(ctx, "attach "+dir, err)
	}
	if err := run("init", "--quiet", "--template=", "--object-format="+format, dir); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(git, "objects", "info", "alternates"), []byte(r.objects+"\n"), 0o644); err != nil {
		return diag.Wrap(diag.Infra, "attach "+dir, err)
	}
	if err := run("update-ref", "--no-deref", "HEAD", commit); err != nil {
		return err
	}
	return run("read-tree", commit)
}
