package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// workspace is the sources of a setting as its trials read them: a copy of the
// lab file's folder in which every source of a factor is the wanted commit, with
// its submodules and patches.
type workspace struct {
	// Dir is where trials run: the copy of the lab file's folder. It is not kept,
	// as the folder of results may move.
	dir string
	// Tree is a digest over every file of it, its mode and what it holds.
	Tree graph.Digest `json:"tree"`
	// Commits are what sources and their submodules were taken at, by their paths.
	Commits map[string]string `json:"commits"`
	// git is a digest over what git knows in it, apart from files and objects.
	git graph.Digest
}

// workspace makes the workspace of a setting, or finds it made.
func (l *Lab) workspace(ctx context.Context, name string, levels experiment.Levels) (*workspace, error) {
	base := filepath.Join(l.o.Dir, "workspaces", folder(name))
	w := &workspace{Commits: map[string]string{}}
	err := readJSON(base+".json", w)
	if errors.Is(err, fs.ErrNotExist) {
		err = l.makeWorkspace(ctx, w, base, levels)
	}
	if err != nil {
		return nil, err
	}
	w.dir = base
	if l.registry != nil {
		err = l.attach(ctx, w)
	}
	return w, err
}

// attach lets git answer in the sources, for a command: the sources may have moved
// since, so it is done each time.
func (l *Lab) attach(ctx context.Context, w *workspace) error {
	for path, commit := range w.Commits {
		repo, err := gitrepo.Open(ctx, filepath.Join(l.o.Source, path))
		if err == nil {
			err = repo.Attach(ctx, filepath.Join(w.dir, path), commit)
		}
		if err != nil {
			return err
		}
	}
	var err error
	w.git, err = w.known()
	return err
}

// known is a digest over what git knows in the workspace: a trial that changes it
// has made other inputs for those after it.
func (w *workspace) known() (graph.Digest, error) {
	all := map[string]graph.Digest{}
	for path := range w.Commits {
		d, err := treeDigest(filepath.Join(w.dir, path, ".git"), func(rel string) bool {
			switch rel {
			case "objects", "logs", "index", "COMMIT_EDITMSG":
				return true
			}
			return false
		})
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // a fleet's has none
		}
		if err != nil {
			return "", err
		}
		all[path] = d
	}
	return digestOf(all), nil
}

// spoilt lets the next lab make the workspace again.
func (w *workspace) spoilt() error {
	err := os.Remove(w.dir + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return diag.Wrap(diag.Infra, "workspace", err)
}

// content is a digest over every file of the workspace, its mode and what it holds.
func (w *workspace) content() (graph.Digest, error) {
	return treeDigest(w.dir, func(rel string) bool {
		_, attached := w.Commits[filepath.Dir(rel)]
		return attached && filepath.Base(rel) == ".git"
	})
}

func (l *Lab) makeWorkspace(ctx context.Context, w *workspace, base string, levels experiment.Levels) error {
	if err := os.RemoveAll(base); err != nil {
		return diag.Wrap(diag.Infra, "workspace", err)
	}
	w.dir = base
	sources := map[string]bool{}
	for _, f := range l.o.Experiment.Factors {
		if f.Source != "" {
			sources[filepath.Clean(f.Source)] = true
		}
	}
	if !sources["."] { // else all of it is a commit's
		if err := l.copySource(base, sources); err != nil {
			return err
		}
	}
	for _, s := range slices.Sorted(maps.Keys(sources)) {
		if err := l.checkout(ctx, w, base, s, levels); err != nil {
			return err
		}
	}
	var err error
	if w.Tree, err = w.content(); err != nil {
		return err
	}
	return writeJSON(base+".json", w)
}

// copySource copies the lab file's folder without the sources of factors, git's
// own folders and the results.
func (l *Lab) copySource(to string, without map[string]bool) error {
	err := copyTree(l.o.Source, to, func(rel, abs string) bool {
		return without[rel] || filepath.Base(rel) == ".git" || abs == l.o.Dir
	})
	return diag.Wrap(diag.Infra, "workspace", err)
}

// checkout puts a source into the workspace as the levels want it.
func (l *Lab) checkout(ctx context.Context, w *workspace, base, source string, levels experiment.Levels) error {
	at := filepath.Join(l.o.Source, source)
	if !filepath.IsLocal(source) {
		return diag.Errorf(diag.File, "clone it into the folder of the lab file", "the source %s is not in the folder of the lab file", source)
	}
	repo, err := gitrepo.Open(ctx, at)
	if err != nil {
		return err
	}
	if top, err := filepath.EvalSymlinks(at); err == nil && repo.WorkTree() != "" && repo.WorkTree() != top {
		return diag.Errorf(diag.File, "name the top folder of the repository", "the source %s is a folder inside the git repository %s", source, repo.WorkTree())
	}
	commit, pinned, patches, err := l.wants(source, levels)
	if err != nil {
		return err
	}
	if commit == "" {
		commit = "HEAD"
	}
	if commit, err = repo.Resolve(ctx, commit); err != nil {
		return err
	}
	w.Commits[source] = commit
	links, err := repo.Submodules(ctx, commit)
	if err != nil {
		return err
	}
	for path, hash := range links {
		w.Commits[filepath.Join(source, path)] = hash
	}
	tree, err := l.materialise(ctx, repo, at, commit)
	if err != nil {
		return err
	}
	to := filepath.Join(base, source)
	if err := os.RemoveAll(to); err != nil { // a source may lie in another one
		return diag.Wrap(diag.Infra, "workspace", err)
	}
	if err := copyTree(tree, to, nil); err != nil {
		return diag.Wrap(diag.Infra, "workspace", err)
	}
	for path, hash := range pinned {
		if err := l.pin(ctx, w, filepath.Join(at, path), filepath.Join(to, path), filepath.Join(source, path), hash); err != nil {
			return err
		}
	}
	for _, p := range patches {
		if err := gitrepo.Apply(ctx, to, filepath.Join(l.o.Source, p)); err != nil {
			return err
		}
	}
	return nil
}

// wants is what the levels say of a source: its commit, the commits of its
// submodules, and patches in the order of the factors.
func (l *Lab) wants(source string, levels experiment.Levels) (commit string, pinned map[string]string, patches []string, err error) {
	pinned = map[string]string{}
	for _, f := range l.o.Experiment.Factors {
		if f.Source == "" || filepath.Clean(f.Source) != source {
			continue
		}
		level, ok := f.Level(levels[f.Name])
		if !ok {
			return "", nil, nil, diag.Errorf(diag.Internal, "", "factor %s has no level %q", f.Name, levels[f.Name])
		}
		switch f.Kind {
		case experiment.Ref:
			commit = level.Value
		case experiment.Submodule:
			pinned[f.Target] = level.Value
		case experiment.Patch:
			if level.Value != "" {
				patches = append(patches, level.Value)
			}
		}
	}
	return commit, pinned, patches, nil
}

// materialise writes a commit with its submodules, which are looked for where a
// clone has them. The folder is shared and not to be changed.
func (l *Lab) materialise(ctx context.Context, repo *gitrepo.Repo, at, commit string) (string, error) {
	links, err := repo.Submodules(ctx, commit)
	if err != nil {
		return "", err
	}
	given := map[string]string{}
	for path := range links {
		given[path] = filepath.Join(at, path)
	}
	return repo.Materialise(ctx, filepath.Join(l.o.Dir, "sources"), commit, given)
}

// pin puts another commit of a submodule in its place.
func (l *Lab) pin(ctx context.Context, w *workspace, at, to, name, hash string) error {
	repo, err := gitrepo.Open(ctx, at)
	if err != nil {
		return err
	}
	commit, err := repo.Resolve(ctx, hash)
	if err != nil {
		return err
	}
	w.Commits[name] = commit
	tree, err := l.materialise(ctx, repo, at, commit)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return diag.Wrap(diag.Infra, "workspace", err)
	}
	return diag.Wrap(diag.Infra, "workspace", copyTree(tree, to, nil))
}

// copyTree copies folders, files and links with their modes and times. Skip, when
// not nil, is asked with the path relative to from and the absolute one.
func copyTree(from, to string, skip func(rel, abs string) bool) error {
	var dirs []string
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if skip != nil && rel != "." && skip(rel, path) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			dirs = append(dirs, rel)
		}
		return copyEntry(path, filepath.Join(to, rel), d)
	})
	// A folder's time moves with what is put into it, so it is set last.
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		var fi fs.FileInfo
		if fi, err = os.Stat(filepath.Join(from, dirs[i])); err == nil {
			err = os.Chtimes(filepath.Join(to, dirs[i]), fi.ModTime(), fi.ModTime())
		}
	}
	return err
}

func copyEntry(from, to string, d fs.DirEntry) error {
	fi, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case d.IsDir():
		return os.MkdirAll(to, fi.Mode().Perm()|0o700)
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case !fi.Mode().IsRegular():
		return nil // sockets and the like are no sources
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fi.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Chtimes(to, fi.ModTime(), fi.ModTime())
	}
	return err
}

// treeDigest is a digest over every entry below dir that is not skipped: path, mode,
// and content or target. Skip is asked with the path relative to dir.
func treeDigest(dir string, skip func(rel string) bool) (graph.Digest, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if skip(rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		fmt.Fprintf(h, "%q %s %d\n", rel, fi.Mode(), fi.Size()*sizeCounts(fi))
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			fmt.Fprintf(h, "%q\n", target)
			return err
		case fi.Mode().IsRegular():
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(h, f)
			return err
		}
		return nil
	})
	return graph.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), diag.Wrap(diag.Infra, "workspace", err)
}

// sizeCounts is 1 for entries whose size is their content's: that of a folder is
// the file system's affair.
func sizeCounts(fi fs.FileInfo) int64 {
	if fi.IsDir() {
		return 0
	}
	return 1
}
