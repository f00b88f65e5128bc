package filetree

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"math/bits"
	"path"
	"strconv"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// tracked is what a use selects from a listing, as a sum that follows the
// listing's changes.
type tracked struct {
	paths []tracedPath
	// plain says that each entry tells by its own path whether it is selected;
	// simple that no link is on the way either.
	plain, simple bool
	// links and version are those of the listing when the sum was made anew.
	links, version int
	total          sum256
	// seen are the paths that a use selects which is not simple, saw those of the
	// time before.
	seen, saw map[string]bool
}

// tracedPath is one path of a use.
type tracedPath struct {
	index          int
	fixed, pattern string
	// depth is the number of components of the pattern.
	depth int
	wild  bool
	// count is the number of entries that are selected.
	count int
}

func newTracked(u graph.Use) *tracked {
	t := &tracked{plain: len(u.Include) == 0 && len(u.Exclude) == 0}
	for i, p := range u.Paths {
		at := tracedPath{index: i, fixed: clean(p)}
		if u.Wildcard {
			at.fixed, at.pattern = splitWild(at.fixed)
			at.wild = at.pattern != ""
			at.depth = strings.Count(at.pattern, "/") + 1
			// A class may match a slash, and an escape may hide one.
			t.plain = t.plain && !strings.ContainsAny(p, `[\`)
		}
		t.paths = append(t.paths, at)
	}
	return t
}

// throughLinks tells whether a path leads through a link of the listing.
func (t *tracked) throughLinks(l *Listing) bool {
	for link := range l.linked {
		for i := range t.paths {
			at := &t.paths[i]
			if at.fixed == link || strings.HasPrefix(at.fixed, link+"/") {
				return true
			}
			if rel, ok := below(link, at.fixed); ok && at.wild && strings.Count(rel, "/") < at.depth && at.leads(rel) {
				return true
			}
		}
	}
	return false
}

// leads tells whether a relative path matches the beginning of the pattern.
func (at *tracedPath) leads(rel string) bool {
	n := strings.Count(rel, "/") + 1
	parts := strings.SplitN(at.pattern, "/", n+1)
	ok, err := path.Match(strings.Join(parts[:n], "/"), rel)
	return ok && err == nil
}

// below is p relative to a folder, when it lies in it.
func below(p, folder string) (string, bool) {
	if folder == "" {
		return p, true
	}
	return strings.CutPrefix(p, folder+"/")
}

// selects tells whether the path selects an entry, and under which name. A path
// that leads into an opaque entry selects it.
func (at *tracedPath) selects(p string, opaque bool) (string, bool) {
	if opaque && strings.HasPrefix(at.fixed, p+"/") {
		return "\x00", true
	}
	if !at.wild {
		if p == at.fixed {
			return "", true
		}
		return below(p, at.fixed)
	}
	rel, ok := below(p, at.fixed)
	if !ok {
		return "", false
	}
	parts := strings.SplitN(rel, "/", at.depth+1)
	if len(parts) < at.depth {
		return "", false
	}
	ok, err := path.Match(at.pattern, strings.Join(parts[:at.depth], "/"))
	return rel, ok && err == nil
}

// change follows an entry that came or went.
func (t *tracked) change(p string, e *entry, now bool) {
	if !t.simple {
		return
	}
	for i := range t.paths {
		at := &t.paths[i]
		name, ok := at.selects(p, isOpaque(e))
		if !ok {
			continue
		}
		t.total.add(e, at.index, name, now)
		if now {
			at.count++
		} else {
			at.count--
		}
	}
}

func isOpaque(e *entry) bool { return e.mode()&fs.ModeIrregular != 0 }

// found tells whether every path that must select something does.
func (t *tracked) found(l *Listing) bool {
	for _, at := range t.paths {
		if n := l.nodes[at.fixed]; at.count == 0 && (n == nil || !n.present) {
			return false
		}
	}
	return true
}

// sum256 is a sum of hashes modulo 2^256: a digest of a set to which one entry
// can be added, and from which it can be taken (AdHash; Bellare and Micciancio,
// Eurocrypt 1997). It resists accidents, not an attacker who chooses files.
type sum256 [4]uint64

// add adds an entry, or takes it away again.
func (s *sum256) add(e *entry, index int, name string, now bool) {
	h := sha256.New()
	field(h, []byte(strconv.Itoa(index)))
	e.write(h, name)
	var b [sha256.Size]byte
	h.Sum(b[:0])
	var carry uint64
	for i := range s {
		word := binary.LittleEndian.Uint64(b[8*i:])
		if now {
			s[i], carry = bits.Add64(s[i], word, carry)
		} else {
			s[i], carry = bits.Sub64(s[i], word, carry)
		}
	}
}

func (s *sum256) digest() graph.Digest {
	var b [sha256.Size]byte
	for i, word := range s {
		binary.LittleEndian.PutUint64(b[8*i:], word)
	}
	return graph.Digest("sha256:" + hex.EncodeToString(b[:]))
}

// useKey is equal for uses that select the same.
func useKey(u graph.Use) (string, error) {
	key, err := json.Marshal(u)
	return string(key), diag.Wrap(diag.Internal, "digest of context files", err)
}
