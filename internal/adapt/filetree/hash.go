package filetree

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// digest computes the digest of a use.
func (t *Tree) digest(u graph.Use) (graph.Digest, error) {
	if err := t.scan(); err != nil {
		return "", err
	}
	list, err := t.selection(u)
	if err != nil {
		return "", err
	}
	if err := t.read(list); err != nil {
		return "", err
	}
	h := sha256.New()
	for _, s := range list {
		s.entry.write(h, s.name)
	}
	return graph.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), nil
}

// Entries lists what u selects by its path in the context, with 12 hex digits of
// a digest over the entry: what tells two versions of a file apart, for people
// who ask which files changed. Its errors are those of [Tree.Digest].
func (t *Tree) Entries(u graph.Use) (map[string]string, error) {
	if err := t.scan(); err != nil {
		return nil, err
	}
	list, err := t.selection(u)
	if err != nil {
		return nil, err
	}
	if err := t.read(list); err != nil {
		return nil, err
	}
	out := make(map[string]string, len(list))
	for _, s := range list {
		if s.entry.path == "" {
			continue
		}
		h := sha256.New()
		s.entry.write(h, "")
		out[s.entry.path] = hex.EncodeToString(h.Sum(nil)[:6])
	}
	return out, nil
}

// read makes sure that the content of every regular file in list is hashed.
func (t *Tree) read(list []selected) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(list)) {
		wg.Go(func() {
			buf := make([]byte, 128<<10)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(list) {
					return
				}
				t.content(list[i].entry, buf)
			}
		})
	}
	wg.Wait()
	for _, s := range list {
		if err := s.entry.content().err; err != nil {
			return unreadable(s.entry.path, err)
		}
	}
	return nil
}

// content is the entry whose sum says what e holds.
func (e *entry) content() *entry {
	if e.same != nil {
		return e.same
	}
	return e
}

// content hashes a regular file unless that was done.
func (t *Tree) content(e *entry, buf []byte) {
	e = e.content()
	if !e.mode().IsRegular() {
		return
	}
	e.once.Do(func() {
		t.readers <- struct{}{}
		defer func() { <-t.readers }()
		e.sum, e.err = sumFile(filepath.Join(t.root, filepath.FromSlash(e.path)), buf)
	})
}

// sumFile is the size, as 8 bytes, and the SHA-256 of a file.
func sumFile(name string, buf []byte) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	// Only the reader is wrapped: os.File's own WriteTo would bring a buffer of its own.
	n, err := io.CopyBuffer(h, struct{ io.Reader }{f}, buf)
	if err != nil {
		return nil, err
	}
	return h.Sum(binary.BigEndian.AppendUint64(nil, uint64(n))), nil
}

// write adds the entry to a digest under the name that the step sees. Every
// field has its length before it, so that no two lists run into one.
func (e *entry) write(h hash.Hash, name string) {
	mode := e.mode() &^ (os.ModeSocket | os.ModeIrregular)
	link := ""
	if mode&os.ModeSymlink != 0 {
		mode |= 0o777
		link = filepath.ToSlash(e.stat.Linkname)
	}
	var num [24]byte
	binary.BigEndian.PutUint32(num[:], uint32(mode))
	binary.BigEndian.PutUint64(num[4:], uint64(e.stat.Devmajor))
	binary.BigEndian.PutUint64(num[12:], uint64(e.stat.Devminor))
	field(h, []byte(name))
	field(h, num[:])
	field(h, []byte(link))
	field(h, e.content().sum)
	for _, k := range e.attributes() {
		field(h, []byte(k))
		field(h, e.stat.Xattrs[k])
	}
	field(h, nil)
}

// attributes are the names of the extended attributes that count: those that
// belong to the machine (SELinux labels, ACLs) do not.
func (e *entry) attributes() []string {
	var names []string
	for k := range e.stat.Xattrs {
		if k == "security.capability" || !strings.HasPrefix(k, "security.") && !strings.HasPrefix(k, "system.") {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	return names
}

func field(h hash.Hash, data []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(data)))
	h.Write(n[:])
	h.Write(data)
}
