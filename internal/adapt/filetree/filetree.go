// Package filetree says what a build context really holds: the files that are
// left after .dockerignore, and digests over the parts that steps copy.
//
// A digest depends on what BuildKit's content hash depends on: names, types,
// modes, link targets, extended attributes and content. It does not depend on
// modification times, nor on owners, because contexts are sent as owned by
// root.
package filetree

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// Tree is one local context. The folder is listed once, when a digest is first
// asked for, and each file is read at most once: a Tree is a snapshot that is
// taken lazily, and later changes of the folder may or may not be seen. It is
// safe for concurrent use.
type Tree struct {
	root     string
	excludes []string

	scan    func() error
	entries []*entry
	index   map[string]int

	readers chan struct{}

	mu      sync.Mutex
	digests map[string]func() (graph.Digest, error)
}

// entry is a file, folder or link of the context.
type entry struct {
	// path is relative to the root, slash-separated, without a leading slash.
	path string
	stat *types.Stat
	// end is the index after the entry's last descendant.
	end int
	// same is the entry that holds the content of a hard link.
	same *entry

	once sync.Once
	sum  []byte
	err  error
}

// Open reads the ignore file of a context. Root is an absolute folder;
// dockerfile is the absolute path of the Dockerfile, or empty for a named
// context. A file named like the Dockerfile with ".dockerignore" after it wins
// over the .dockerignore of root, even when it is empty.
//
// A bad pattern is a [diag.List] with [diag.IgnoreSyntax], every one at once;
// a root that is no folder is one with [diag.FleetNotFound].
func Open(root, dockerfile string) (*Tree, error) {
	if fi, err := os.Stat(root); err != nil || !fi.IsDir() {
		return nil, diag.List{{Code: diag.FleetNotFound, Pos: diag.Pos{File: root}, Message: "the context is not a folder that can be read"}}
	}
	excludes, err := readIgnore(root, dockerfile)
	if err != nil {
		return nil, err
	}
	t := &Tree{
		root:     root,
		excludes: excludes,
		readers:  make(chan struct{}, runtime.GOMAXPROCS(0)),
		digests:  map[string]func() (graph.Digest, error){},
	}
	t.scan = sync.OnceValue(t.list)
	return t, nil
}

// Root is the folder as it was given to [Open].
func (t *Tree) Root() string { return t.root }

// Excludes are the ignore file's patterns as the front end passes them to the
// daemon; nil when there are none. The caller must not change them.
func (t *Tree) Excludes() []string { return t.excludes }

// Digest is a digest over the files that u selects after .dockerignore. Equal
// digests of equal uses mean that the step sees the same files. A path that
// selects nothing, and must select something, is a [diag.List] with
// [diag.RecipeSource] and no position: the caller knows where the step stands.
//
// Equal uses are computed once; a failure is kept like a result.
func (t *Tree) Digest(u graph.Use) (graph.Digest, error) {
	u.Context = ""
	key, err := json.Marshal(u)
	if err != nil {
		return "", diag.Wrap(diag.Internal, "digest of context files", err)
	}
	return t.once(string(key), func() (graph.Digest, error) { return t.digest(u) })
}

// All is a digest over everything that .dockerignore leaves: the identity of
// the context on any machine.
func (t *Tree) All() (graph.Digest, error) {
	return t.Digest(graph.Use{Paths: []string{"."}})
}

// once runs compute for the first caller of key; the others wait for it.
func (t *Tree) once(key string, compute func() (graph.Digest, error)) (graph.Digest, error) {
	t.mu.Lock()
	f, ok := t.digests[key]
	if !ok {
		f = sync.OnceValues(compute)
		t.digests[key] = f
	}
	t.mu.Unlock()
	return f()
}

// list walks the folder through the ignore patterns, exactly as the client's
// session does when the daemon asks for the context.
func (t *Tree) list() error {
	dir, err := fsutil.NewFS(t.root)
	if err == nil && len(t.excludes) > 0 {
		dir, err = fsutil.NewFilterFS(dir, &fsutil.FilterOpt{ExcludePatterns: t.excludes})
	}
	if err != nil {
		return unreadable(t.root, err)
	}
	t.index = map[string]int{}
	err = dir.Walk(context.Background(), "/", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := fi.Sys().(*types.Stat)
		if !ok {
			return errors.New("no file status for " + path)
		}
		t.add(filepath.ToSlash(path), st)
		return nil
	})
	if err != nil {
		return unreadable(t.root, err)
	}
	t.nest()
	return nil
}

// add appends an entry in walk order: parents before children.
func (t *Tree) add(path string, st *types.Stat) {
	e := &entry{path: path, stat: st}
	// The walk reports a second name of an inode as a link to the first. The
	// first name may have been ignored; then this one stands for itself.
	if st.Linkname != "" && os.FileMode(st.Mode)&os.ModeSymlink == 0 {
		if i, ok := t.index[filepath.ToSlash(st.Linkname)]; ok {
			e.same = t.entries[i]
		}
	}
	t.index[path] = len(t.entries)
	t.entries = append(t.entries, e)
}

// nest fills in where each entry's descendants end.
func (t *Tree) nest() {
	var open []*entry
	for i, e := range t.entries {
		for len(open) > 0 && !strings.HasPrefix(e.path, open[len(open)-1].path+"/") {
			open[len(open)-1].end = i
			open = open[:len(open)-1]
		}
		open = append(open, e)
	}
	for _, e := range open {
		e.end = len(t.entries)
	}
}

func (e *entry) mode() os.FileMode { return os.FileMode(e.stat.Mode) }

func unreadable(path string, err error) error {
	return &diag.Error{Kind: diag.File, Op: "read context " + path, Help: "make it readable, or leave it out with .dockerignore", Err: err}
}
