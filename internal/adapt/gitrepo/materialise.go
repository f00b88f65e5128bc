package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// SubmoduleError says that a tree has a submodule that no repository is given
// for, or that one is given for a submodule that it does not have.
type SubmoduleError struct {
	// Path is where the submodule is in the tree.
	Path string
	// Commit is the one that the tree names; "" when it has no submodule there.
	Commit string
}

// Error names the submodule.
func (e *SubmoduleError) Error() string {
	if e.Commit == "" {
		return fmt.Sprintf("there is no submodule at %s", e.Path)
	}
	return fmt.Sprintf("%s is a submodule, at commit %s", e.Path, fleet.ShortCommit(e.Commit))
}

// Materialise writes the tree of a commit, by its full hash, into the folder
// DIR/COMMIT and returns that folder. Submodules come from the repositories that
// are given for their paths; without one they are a [*SubmoduleError] of kind
// [diag.File]. A path that is given and is no submodule is one, too.
//
// Files are what a fresh clone has without any configuration: line ends follow
// the tree's own .gitattributes, filters such as LFS do not run, so that their
// pointers stay. Modes are 0755 and 0644 whatever the umask, and every time is
// that of the commit, so that the same commit makes the same layers. The work
// tree and the index of the repository are not touched.
//
// The folder appears whole or not at all, also with several processes; one that
// is there is taken for what it was made as. Nobody may change it.
func (r *Repo) Materialise(ctx context.Context, dir, commit string, submodules map[string]string) (string, error) {
	final := filepath.Join(dir, commit)
	if _, err := os.Stat(final); err == nil {
		touch(final)
		return final, nil
	}
	op := "write commit " + fleet.ShortCommit(commit) + " of " + r.name
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", diag.Wrap(diag.Infra, op, err)
	}
	tmp, err := os.MkdirTemp(dir, tempPrefix)
	if err != nil {
		return "", diag.Wrap(diag.Infra, op, err)
	}
	defer os.RemoveAll(tmp)
	w := writer{git: filepath.Join(tmp, "git"), given: submodules, used: map[string]bool{}}
	tree := filepath.Join(tmp, "tree")
	if err := w.write(ctx, r, commit, tree, ""); err != nil {
		return "", wrap(ctx, op, err)
	}
	if err := w.unused(); err != nil {
		return "", err
	}
	// Another process may have been faster; what it made is the same.
	if err := os.Rename(tree, final); err != nil && !isDir(final) {
		return "", diag.Wrap(diag.Infra, op, err)
	}
	touch(final)
	return final, nil
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// writer writes one tree with its submodules.
type writer struct {
	git   string            // folder for a git directory without any configuration
	given map[string]string // repositories by the path of a submodule
	used  map[string]bool
}

// write writes the tree of a commit to a folder that does not exist; at is where
// that is in the whole tree, with a slash behind it unless it is the top.
func (w *writer) write(ctx context.Context, r *Repo, commit, dir, at string) error {
	info, err := r.Commit(ctx, commit)
	if err != nil {
		return err
	}
	links, err := r.submodules(ctx, commit)
	if err != nil {
		return err
	}
	for _, l := range links {
		if w.given[at+l.path] == "" {
			return &diag.Error{Kind: diag.File, Help: fmt.Sprintf("name a local repository for it: submodules: {%s: PATH}", at+l.path), Err: &SubmoduleError{at + l.path, l.commit}}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := w.checkout(ctx, r, commit, dir); err != nil {
		return err
	}
	if err := settle(dir, info.Committed); err != nil {
		return err
	}
	for _, l := range links {
		if err := w.submodule(ctx, l, dir, at); err != nil {
			return err
		}
	}
	return nil
}

// submodule writes a submodule in its place.
func (w *writer) submodule(ctx context.Context, l link, dir, at string) error {
	path := at + l.path
	w.used[path] = true
	sub, err := Open(ctx, w.given[path])
	if err != nil {
		return err
	}
	commit, err := sub.Resolve(ctx, l.commit)
	if err != nil {
		return fmt.Errorf("submodule %s: %w", path, err)
	}
	return w.write(ctx, sub, commit, filepath.Join(dir, filepath.FromSlash(l.path)), path+"/")
}

// unused reports a repository that is given for a submodule that is not there.
func (w *writer) unused() error {
	for _, path := range slices.Sorted(maps.Keys(w.given)) {
		if w.used[path] {
			continue
		}
		help := "remove it: the tree has no submodules"
		if near := diag.Nearest(path, slices.Sorted(maps.Keys(w.used))); near != "" {
			help = "did you mean " + near + "?"
		} else if len(w.used) > 0 {
			help = "the submodules are " + strings.Join(slices.Sorted(maps.Keys(w.used)), ", ")
		}
		return &diag.Error{Kind: diag.File, Help: help, Err: &SubmoduleError{Path: path}}
	}
	return nil
}

// checkout writes a tree without its submodules. It works in a git directory of
// its own, which only borrows the repository's objects: no configuration,
// attribute or filter of the repository counts.
func (w *writer) checkout(ctx context.Context, r *Repo, commit, dir string) error {
	if err := os.RemoveAll(w.git); err != nil {
		return err
	}
	format := "sha1"
	if len(commit) == 64 {
		format = "sha256"
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--template=", "--object-format=" + format, w.git},
		{"--git-dir=" + w.git, "read-tree", commit},
		{"--git-dir=" + w.git, "-c", "core.bare=false", "--work-tree=" + dir, "checkout-index", "--all", "--force"},
	} {
		c := command{args: args, dir: dir}
		if args[0] != "init" {
			c.env = []string{"GIT_OBJECT_DIRECTORY=" + r.objects}
		}
		if _, err := c.output(ctx); err != nil {
			return err
		}
	}
	return nil
}

// settle gives everything in a folder the modes and the time that it has on
// every machine.
func settle(dir string, at time.Time) error {
	ts, err := unix.TimeToTimespec(at)
	if err != nil {
		return err
	}
	times := []unix.Timespec{ts, ts}
	var dirs []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			dirs = append(dirs, path)
			return os.Chmod(path, 0o755)
		case d.Type()&fs.ModeSymlink == 0:
			if err := chmodFile(path, d); err != nil {
				return err
			}
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW)
	})
	for _, d := range slices.Backward(dirs) {
		err = errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, d, times, 0))
	}
	return err
}

func chmodFile(path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	return os.Chmod(path, mode)
}
