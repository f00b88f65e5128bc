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

// Attach makes a folder that holds the tree of a commit, by its full hash, a work
// tree at that commit, so that git answers in it as in a clone: HEAD is the commit,
// on no branch, its history is there, and so are the tags in that. What was
// attached before is replaced.
//
// Objects are borrowed from r, which must stay where it is; nothing that git writes
// in the folder gets there, and there is no remote. Submodules are work trees once
// they are attached, too.
func (r *Repo) Attach(ctx context.Context, dir, commit string) error {
	op := "attach " + dir
	git := filepath.Join(dir, ".git")
	if err := os.RemoveAll(git); err != nil {
		return diag.Wrap(diag.Infra, op, err)
	}
	format := "sha1"
	if len(commit) == 64 {
		format = "sha256"
	}
	tags, err := r.command("for-each-ref", "--merged="+commit, "--format=create %(refname) %(objectname)", "refs/tags").output(ctx)
	if err != nil {
		return wrap(ctx, op, err)
	}
	in := func(stdin []byte, args ...string) error {
		_, err := command{args: args, dir: dir, stdin: stdin}.output(ctx)
		return wrap(ctx, op, err)
	}
	if err := in(nil, "init", "--quiet", "--template=", "--initial-branch=main", "--object-format="+format, dir); err != nil {
		return err
	}
	if err := r.lend(git); err != nil {
		return diag.Wrap(diag.Infra, op, err)
	}
	if err := in(tags, "update-ref", "--stdin"); err != nil {
		return err
	}
	if err := in(nil, "update-ref", "--no-deref", "HEAD", commit); err != nil {
		return err
	}
	if err := in(nil, "config", "submodule.active", "."); err != nil {
		return err
	}
	return in(nil, "read-tree", commit)
}

// lend gives a git directory the objects of r, and where its history ends early.
func (r *Repo) lend(git string) error {
	info := filepath.Join(git, "objects", "info")
	err := os.MkdirAll(info, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(info, "alternates"), []byte(r.objects+"\n"), 0o644)
	}
	if err != nil || !r.shallow {
		return err
	}
	ends, err := os.ReadFile(filepath.Join(filepath.Dir(r.objects), "shallow"))
	if err == nil {
		err = os.WriteFile(filepath.Join(git, "shallow"), ends, 0o644)
	}
	return err
}
