package walk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/filetree"
	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// tree is the listing of one commit, which moves from commit to commit by what
// differs between them.
type tree struct {
	objects *gitrepo.Objects
	differ  *gitrepo.Differ
	stats   *Stats

	// commit and hash are where the listing is: a commit and its tree.
	commit, hash string
	// changes are what the last move was.
	changes []gitrepo.Change
	files   map[string]leaf
	locks   map[string]string // lock files of the whole tree: their blobs
	// contexts follow the listing.
	contexts map[string]*folder
}

type leaf struct {
	mode gitrepo.Mode
	hash string
}

// folder is a folder of the tree that is a context.
type folder struct {
	prefix  string // "" or with a slash at its end
	listing *filetree.Listing
	// ignore identifies the ignore file that counts; problem is what is wrong with it.
	ignore  string
	problem diag.List
}

// move takes the listing to another commit.
func (t *tree) move(ctx context.Context, c gitrepo.Commit) error {
	changes, err := t.differ.Changes(ctx, t.hash, c.Tree)
	if err != nil {
		return err
	}
	t.stats.Changes += len(changes)
	t.changes = changes
	// What goes comes first: a file may stand where a folder was.
	for _, ch := range changes {
		if ch.New == gitrepo.None {
			t.remove(ch.Path)
		}
	}
	for _, ch := range changes {
		if ch.New != gitrepo.None {
			if err := t.put(ctx, ch.Path, leaf{ch.New, ch.NewHash}); err != nil {
				return err
			}
		}
	}
	t.commit, t.hash = c.Hash, c.Tree
	return nil
}

func (t *tree) remove(p string) {
	delete(t.files, p)
	delete(t.locks, p)
	for _, f := range t.contexts {
		if rel, ok := strings.CutPrefix(p, f.prefix); ok {
			f.listing.Remove(rel)
		}
	}
}

func (t *tree) put(ctx context.Context, p string, l leaf) error {
	t.files[p] = l
	if lineage.IsLock(p) {
		t.locks[p] = l.hash
	}
	for _, f := range t.contexts {
		rel, ok := strings.CutPrefix(p, f.prefix)
		if !ok {
			continue
		}
		file, err := t.file(ctx, l)
		if err != nil {
			return err
		}
		f.listing.Put(rel, file)
	}
	return nil
}

// file is an entry as a context holds it.
func (t *tree) file(ctx context.Context, l leaf) (filetree.File, error) {
	switch l.mode {
	case gitrepo.Link:
		to, err := t.blob(ctx, l.hash)
		return filetree.File{Mode: fs.ModeSymlink | 0o777, Link: string(to)}, err
	case gitrepo.Submodule:
		return filetree.File{Mode: fs.ModeIrregular, Content: l.hash}, nil
	case gitrepo.Executable:
		return filetree.File{Mode: 0o755, Content: l.hash}, nil
	}
	return filetree.File{Mode: 0o644, Content: l.hash}, nil
}

func (t *tree) blob(ctx context.Context, hash string) ([]byte, error) {
	t.stats.Blobs++
	return t.objects.Blob(ctx, hash)
}

// content is a file of the commit: a name of what it holds, which is "" when it
// is not there, and a function that reads it.
func (t *tree) content(ctx context.Context, p string) (id string, read func() ([]byte, error), err error) {
	if l, ok := t.files[p]; ok && (l.mode == gitrepo.File || l.mode == gitrepo.Executable) {
		return l.hash, func() ([]byte, error) { return t.blob(ctx, l.hash) }, nil
	}
	if !t.linked(p) {
		return "", nil, nil
	}
	t.stats.Blobs++
	data, err := t.objects.File(ctx, t.commit, p)
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return "", nil, nil
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), func() ([]byte, error) { return data, nil }, err
}

// linked tells whether a link is on the way to a path.
func (t *tree) linked(p string) bool {
	for ; p != "." && p != "/" && p != ""; p = path.Dir(p) {
		if l, ok := t.files[p]; ok {
			return l.mode == gitrepo.Link
		}
	}
	return false
}

// maxContexts is how many folders are followed at once; a fleet has one or a few.
const maxContexts = 8

// context is a folder of the tree as a context, with the ignore file that counts
// as of now. dockerfile is "" for a named context.
func (t *tree) context(ctx context.Context, dir, dockerfile string) (*folder, error) {
	f, err := t.follow(ctx, dir, dockerfile)
	if err != nil {
		return nil, err
	}
	names := []string{f.prefix + ".dockerignore"}
	if dockerfile != "" {
		names = []string{dockerfile + ".dockerignore", names[0]}
	}
	for _, name := range names {
		id, read, err := t.content(ctx, name)
		if err != nil {
			return nil, err
		}
		if id == "" {
			continue
		}
		return f, f.ignores(name, id, read)
	}
	return f, f.ignores("", "", func() ([]byte, error) { return nil, nil })
}

// ignores sets the ignore file, unless it is the one that counted before.
func (f *folder) ignores(name, id string, read func() ([]byte, error)) error {
	if f.ignore == name+"@"+id {
		return nil
	}
	text, err := read()
	if err != nil {
		return err
	}
	f.problem = nil
	if err := f.listing.Ignore(name, text); err != nil && !errors.As(err, &f.problem) {
		return err
	}
	f.ignore = name + "@" + id
	return nil
}

// follow finds or makes the listing of a folder.
func (t *tree) follow(ctx context.Context, dir, dockerfile string) (*folder, error) {
	key := dir + "\x00" + dockerfile
	if f, ok := t.contexts[key]; ok {
		return f, nil
	}
	if len(t.contexts) >= maxContexts {
		clear(t.contexts)
	}
	f := &folder{ignore: "@", listing: filetree.NewListing(dir)}
	if dir != "." {
		f.prefix = dir + "/"
	}
	for p, l := range t.files {
		if rel, ok := strings.CutPrefix(p, f.prefix); ok {
			file, err := t.file(ctx, l)
			if err != nil {
				return nil, err
			}
			f.listing.Put(rel, file)
		}
	}
	t.contexts[key] = f
	return f, nil
}
