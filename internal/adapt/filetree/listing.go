package filetree

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/tonistiigi/fsutil/types"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// File is a file, a link or something opaque in a [Listing].
type File struct {
	// Mode is the type and the permissions. With fs.ModeIrregular it is a folder
	// that nobody can look into: who reads a part of it reads the whole.
	Mode fs.FileMode
	// Link is where a symbolic link leads.
	Link string
	// Content names what a file holds: equal names, equal content.
	Content string
}

// Listing is a context that is not on the disk: its files are put and removed
// one by one, as from one commit to the next, and what that costs depends on
// what changed. Folders are there while something is in them, as in git. It is
// not safe for concurrent use.
type Listing struct {
	name    string
	exclude *patternmatcher.PatternMatcher
	nodes   map[string]*node
	uses    map[string]*tracked
	// links counts the times that a link came or went: what paths lead through.
	links   int
	linked  map[string]bool
	version int
	// whole is the context as a Tree, as of a version.
	whole   *Tree
	wholeAt int
}

// node is an entry of a listing. The root is that of "".
type node struct {
	entry *entry
	// children counts what is in a folder, shown what of it the ignore file leaves.
	children, shown int
	matched         patternmatcher.MatchInfo
	ignored         bool
	present         bool
}

// NewListing is an empty context that problems call by a name.
func NewListing(name string) *Listing {
	l := &Listing{name: name, uses: map[string]*tracked{}, linked: map[string]bool{}}
	l.clear()
	return l
}

func (l *Listing) clear() {
	l.nodes = map[string]*node{"": {present: true}}
}

// Ignore sets the text of the ignore file, whose name is for positions; an empty
// text ignores nothing. A bad pattern is a [diag.List] with [diag.IgnoreSyntax].
func (l *Listing) Ignore(name string, text []byte) error {
	patterns, err := parseIgnore(name, text)
	if err != nil {
		return err
	}
	before := l.nodes
	l.exclude = nil
	if len(patterns) > 0 {
		if l.exclude, err = patternmatcher.New(patterns); err != nil {
			return diag.List{{Code: diag.IgnoreSyntax, Pos: diag.Pos{File: name}, Message: err.Error()}}
		}
	}
	l.uses, l.linked = map[string]*tracked{}, map[string]bool{}
	l.clear()
	for p, n := range before {
		if n.entry != nil && !n.entry.mode().IsDir() {
			l.add(p, n.entry)
		}
	}
	return nil
}

// Put adds a file, or replaces the one of the same path. The path is relative to
// the context, clean and with slashes. A folder of that name must have been
// emptied before.
func (l *Listing) Put(p string, f File) {
	l.Remove(p)
	l.add(p, newEntry(p, f))
}

func newEntry(p string, f File) *entry {
	return &entry{path: p, stat: &types.Stat{Path: p, Mode: uint32(f.Mode), Linkname: f.Link}, sum: []byte(f.Content)}
}

// add makes a node, and the folders above it.
func (l *Listing) add(p string, e *entry) *node {
	above := parent(p)
	up := l.nodes[above]
	if up == nil {
		up = l.add(above, newEntry(above, File{Mode: fs.ModeDir | 0o755}))
	}
	up.children++
	n := &node{entry: e}
	n.ignored, n.matched = l.ignores(p, up.matched)
	l.nodes[p] = n
	if !n.ignored {
		l.show(p, n, true)
	}
	return n
}

// Remove takes a file out of the listing, and the folders that it leaves empty.
// One that is not there is no error.
func (l *Listing) Remove(p string) {
	n := l.nodes[p]
	if n == nil || n.entry == nil || n.children > 0 {
		return
	}
	if n.present {
		l.show(p, n, false)
	}
	delete(l.nodes, p)
	above := parent(p)
	up := l.nodes[above]
	if up.children--; up.children == 0 && above != "" {
		l.Remove(above)
	}
}

// show makes an entry appear or disappear. A folder that is ignored is there as
// long as something in it is.
func (l *Listing) show(p string, n *node, now bool) {
	n.present = now
	l.version++
	if n.entry.mode()&os.ModeSymlink != 0 {
		l.links++
		if now {
			l.linked[p] = true
		} else {
			delete(l.linked, p)
		}
	}
	for _, u := range l.uses {
		u.change(p, n.entry, now)
	}
	above := parent(p)
	up := l.nodes[above]
	if now {
		up.shown++
	} else {
		up.shown--
	}
	if above == "" || !up.ignored {
		return
	}
	if inside := up.shown > 0; inside != up.present {
		l.show(above, up, inside)
	}
}

func parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return ""
}

// ignores matches a path, given what the patterns said of its folder. A pattern
// that cannot be matched was refused before.
func (l *Listing) ignores(p string, up patternmatcher.MatchInfo) (bool, patternmatcher.MatchInfo) {
	if l.exclude == nil {
		return false, up
	}
	ignored, info, err := l.exclude.MatchesUsingParentResults(p, up)
	return ignored && err == nil, info
}

// Reads tells whether a use sees the file at a path, whether it is there now or
// was before the last change.
func (l *Listing) Reads(u graph.Use, p string) bool {
	t, err := l.tracked(u)
	if err != nil {
		return false // it reads nothing
	}
	if !t.simple {
		return t.seen[p] || t.saw[p]
	}
	if l.hidden(p) {
		return false
	}
	for i := range t.paths {
		if _, ok := t.paths[i].selects(p, true); ok {
			return true
		}
	}
	return false
}

// hidden tells whether the ignore file leaves a path out.
func (l *Listing) hidden(p string) bool {
	var info patternmatcher.MatchInfo
	ignored := false
	for i := range len(p) + 1 {
		if i == len(p) || p[i] == '/' {
			ignored, info = l.ignores(p[:i], info)
		}
	}
	return ignored
}

// Digest is a digest over the files that u selects after the ignore file. Like
// that of [Tree.Digest] it is equal exactly when the step sees the same files,
// and has the same problems; the two are not comparable.
//
// A use that was asked for is kept up to date until the ignore file changes.
func (l *Listing) Digest(u graph.Use) (graph.Digest, error) {
	t, err := l.tracked(u)
	if err != nil {
		return "", err
	}
	if t.simple && !t.found(l) {
		_, err := l.tree().selection(u)
		if err == nil {
			err = diag.Errorf(diag.Internal, "", "%s: %q selects nothing", l.name, u.Paths)
		}
		return "", err
	}
	return t.total.digest(), nil
}

// tracked is a use as of now.
func (l *Listing) tracked(u graph.Use) (*tracked, error) {
	u.Context = ""
	key, err := useKey(u)
	if err != nil {
		return nil, err
	}
	t := l.uses[key]
	if t != nil && t.links == l.links && (t.simple || t.version == l.version) {
		return t, nil
	}
	now, err := l.track(u)
	if err != nil {
		return nil, err
	}
	if t != nil {
		now.saw = t.seen
	}
	l.uses[key] = now
	return now, nil
}

// Keep drops the uses that keep refuses, which then cost nothing any more.
func (l *Listing) Keep(uses []graph.Use) {
	wanted := map[string]bool{}
	for _, u := range uses {
		u.Context = ""
		if key, err := useKey(u); err == nil {
			wanted[key] = true
		}
	}
	for key := range l.uses {
		if !wanted[key] {
			delete(l.uses, key)
		}
	}
}

// track takes a use from the beginning.
func (l *Listing) track(u graph.Use) (*tracked, error) {
	t := newTracked(u)
	t.links, t.version = l.links, l.version
	t.simple = t.plain && !t.throughLinks(l)
	if t.simple {
		for p, n := range l.nodes {
			if n.present && n.entry != nil {
				t.change(p, n.entry, true)
			}
		}
		return t, nil
	}
	t.seen = map[string]bool{}
	tree := l.tree()
	for i, p := range u.Paths {
		one := u
		one.Paths = []string{p}
		list, err := tree.selection(one)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			t.total.add(s.entry, i, s.name, true)
			t.seen[s.entry.path] = true
		}
	}
	return t, nil
}

// tree is the context as a Tree, which is not on the disk.
func (l *Listing) tree() *Tree {
	if l.whole != nil && l.wholeAt == l.version {
		return l.whole
	}
	var entries []*entry
	for _, n := range l.nodes {
		if n.present && n.entry != nil {
			entries = append(entries, n.entry)
		}
	}
	slices.SortFunc(entries, func(a, b *entry) int { return slices.Compare(strings.Split(a.path, "/"), strings.Split(b.path, "/")) })
	t := &Tree{root: l.name, entries: entries, index: make(map[string]int, len(entries))}
	for i, e := range entries {
		t.index[e.path] = i
	}
	t.nest()
	l.whole, l.wholeAt = t, l.version
	return t
}

// clean is a path of a use as entries have theirs; "" is the root.
func clean(p string) string { return strings.TrimPrefix(path.Join("/", p), "/") }
