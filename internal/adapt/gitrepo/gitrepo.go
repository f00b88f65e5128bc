// Package gitrepo reads git repositories with the git command: what a ref means,
// files, trees and blobs at a commit, which commits lie between two, and what
// changed between trees. It also writes the tree of a commit into a folder, and
// keeps mirrors of repositories that are elsewhere.
//
// Repositories of the user are only read. Nothing that a repository or the
// user's configuration names is run: no hook, filter, monitor or pager, and no
// object is fetched by itself.
package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Repo is a repository. It is safe for concurrent use, and holds no process:
// [Objects] and [Differ] do.
type Repo struct {
	name    string // for messages
	dir     string // what git calls its directory, absolute
	objects string // the folder of its objects, absolute
	shallow bool
	// work is the top of the work tree, "" without one.
	work string
}

// Open opens the repository at path: a work tree or a folder inside one, a bare
// repository, or a git directory. A path without a repository is an error of
// kind [diag.File].
func Open(ctx context.Context, path string) (*Repo, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "git repository "+path, err)
	}
	if _, err := os.Stat(abs); err != nil {
		return nil, diag.Errorf(diag.File, "name a repository, or a folder inside one", "the git repository %s does not exist", path)
	}
	out, err := command{args: []string{"-C", abs, "rev-parse", "--path-format=absolute", "--git-dir", "--git-path", "objects",
		"--is-shallow-repository", "--is-inside-work-tree"}}.output(ctx)
	if err != nil {
		return nil, openError(ctx, path, err)
	}
	r := &Repo{name: path}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != 4 {
		return nil, diag.Errorf(diag.Infra, "a path with a line break cannot be used", "git repository %s: git says %q", path, lines)
	}
	r.dir, r.objects, r.shallow = lines[0], lines[1], lines[2] == "true"
	if lines[3] == "true" {
		top, err := command{args: []string{"-C", abs, "rev-parse", "--show-toplevel"}}.output(ctx)
		if err != nil {
			return nil, openError(ctx, path, err)
		}
		r.work = strings.TrimSuffix(string(top), "\n")
	}
	return r, nil
}

func openError(ctx context.Context, path string, err error) error {
	var failed *failedError
	if ctx.Err() == nil && errors.As(err, &failed) && strings.Contains(failed.stderr, "not a git repository") {
		return diag.Errorf(diag.File, "name a repository, or a folder inside one", "%s is not in a git repository", path)
	}
	return wrap(ctx, "git repository "+path, err)
}

// Name is what the repository was opened as, without credentials.
func (r *Repo) Name() string { return r.name }

// Dir is the repository's git directory, absolute: equal for every folder of a
// work tree.
func (r *Repo) Dir() string { return r.dir }

// WorkTree is the top folder of the work tree, absolute; "" without one.
func (r *Repo) WorkTree() string { return r.work }

// Shallow says that the history ends early, as with git clone --depth.
func (r *Repo) Shallow() bool { return r.shallow }

// command is a git command on the repository.
func (r *Repo) command(args ...string) command {
	return command{args: append([]string{"--git-dir=" + r.dir}, args...)}
}

// RefError says that a repository has no commit of a name.
type RefError struct {
	// Ref is the name, Repo the repository.
	Ref, Repo string
	// Near are names that may have been meant, the likeliest first; at most 3.
	Near []string
	// Shallow says that the repository holds only the end of its history.
	Shallow bool
}

// Error names the ref and the repository.
func (e *RefError) Error() string {
	s := fmt.Sprintf("the git repository %s has no branch, tag or commit %q", e.Repo, e.Ref)
	if e.Shallow {
		s += ", and is a shallow clone"
	}
	return s
}

func (e *RefError) help() string {
	switch {
	case len(e.Near) > 0:
		return "did you mean " + strings.Join(e.Near, ", or ") + "?"
	case e.Shallow:
		return "fetch all of it: git fetch --unshallow"
	}
	return "name a branch, a tag or a commit"
}

// Resolve is the full hash of the commit that a branch, a tag, a hash or the
// beginning of one, or another name that git knows stands for now. What is not
// there is a [*RefError] of kind [diag.File] with help.
func (r *Repo) Resolve(ctx context.Context, ref string) (string, error) {
	out, err := r.command("rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}").output(ctx)
	if hash := strings.TrimSuffix(string(out), "\n"); err == nil && isHash(hash) {
		return hash, nil
	}
	var failed *failedError
	if ctx.Err() != nil || !errors.As(err, &failed) {
		return "", wrap(ctx, "git repository "+r.name, err)
	}
	e := &RefError{Ref: ref, Repo: r.name, Shallow: r.shallow}
	if e.Near, err = r.near(ctx, ref); err != nil {
		return "", err
	}
	return "", &diag.Error{Kind: diag.File, Help: e.help(), Err: e}
}

// near lists the refs that may be meant by a name: the same on a remote, then
// the one that is spelled most alike.
func (r *Repo) near(ctx context.Context, ref string) ([]string, error) {
	out, err := r.command("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes").output(ctx)
	if err != nil {
		return nil, wrap(ctx, "git repository "+r.name, err)
	}
	names := strings.Fields(string(out))
	var near []string
	for _, n := range names {
		if strings.HasSuffix(n, "/"+ref) && len(near) < 3 {
			near = append(near, n)
		}
	}
	if n := diag.Nearest(ref, names); len(near) == 0 && n != "" {
		near = append(near, n)
	}
	return near, nil
}

// has tells whether the repository holds a commit.
func (r *Repo) has(ctx context.Context, hash string) (bool, error) {
	_, err := r.command("cat-file", "-e", hash+"^{commit}").output(ctx)
	var failed *failedError
	if errors.As(err, &failed) && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, wrap(ctx, "git repository "+r.name, err)
}

// ReadFile is the content of a file at a commit. The path is relative to the top
// of the tree, with slashes; symbolic links inside the tree are followed. A file
// that is not there is fs.ErrNotExist.
func (r *Repo) ReadFile(ctx context.Context, commit, path string) ([]byte, error) {
	o := r.Objects()
	defer o.Close()
	return o.File(ctx, commit, path)
}

// isHash tells whether s is a whole object name, of SHA-1 or SHA-256.
func isHash(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}
