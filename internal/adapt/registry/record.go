package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// A record is what a digest means as a base for a platform, ready for use: a
// plan of ten thousand images reads as many, and to parse their manifests and
// configs each time would take longer than to plan. It is made from those
// documents and can be thrown away.
//
// It is a line with the version, the SHA-256 of the rest, and the rest: strings
// with their length before them, and numbers, both in varint form.
const recordVersion = "lapstrake base 1\n"

var errRecord = errors.New("record is damaged")

func recordPath(d graph.Digest, p platform) string {
	name := strings.TrimSuffix(p.OS+"-"+p.Architecture+"-"+p.Variant, "-")
	return filepath.Join(shard("base", d), name)
}

// record returns the base that d means for p, when that is at hand.
func (s *Store) record(ref string, d graph.Digest, p platform) *fact.Base {
	if !p.plain() {
		return nil
	}
	b, err := decodeBase(s.facts.read(recordPath(d, p)))
	if err != nil || b.Digest != d {
		return nil
	}
	b.Ref, b.View = ref, s.views.same(b.View)
	return b
}

// keepRecord writes the record of a base, and returns the base as the record
// will give it back.
func (s *Store) keepRecord(b *fact.Base, p platform) (*fact.Base, error) {
	data := encodeBase(b)
	again, err := decodeBase(data)
	if err != nil {
		return nil, err
	}
	again.Ref, again.View = b.Ref, b.View
	if !p.plain() {
		return again, nil
	}
	return again, s.facts.write(recordPath(b.Digest, p), data)
}

// plain reports whether the platform's name can be that of a file.
func (p platform) plain() bool {
	return strings.Trim(p.OS+p.Architecture+p.Variant, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

func encodeBase(b *fact.Base) []byte {
	var w recordWriter
	w.text(string(b.Digest), string(b.Manifest), string(b.ConfigDigest), string(b.View))
	w.number(len(b.Layers))
	for _, l := range b.Layers {
		w.text(l.MediaType, string(l.Digest))
		w.b = binary.AppendVarint(w.b, l.Size)
		w.number(len(l.Annotations))
		for _, k := range slices.Sorted(maps.Keys(l.Annotations)) {
			w.text(k, l.Annotations[k])
		}
	}
	w.number(len(b.DiffIDs))
	for _, d := range b.DiffIDs {
		w.text(string(d))
	}
	w.number(len(b.History))
	for _, h := range b.History {
		created := ""
		if h.Created != nil {
			created = h.Created.Format(time.RFC3339Nano)
		}
		empty := ""
		if h.EmptyLayer {
			empty = "empty"
		}
		w.text(created, h.CreatedBy, h.Author, h.Comment, empty)
	}
	sum := sha256.Sum256(w.b)
	return slices.Concat([]byte(recordVersion), sum[:], w.b)
}

func decodeBase(data []byte) (*fact.Base, error) {
	rest, ok := bytes.CutPrefix(data, []byte(recordVersion))
	if !ok || len(rest) < sha256.Size {
		return nil, errRecord
	}
	r := recordReader{b: rest[sha256.Size:]}
	if sum := sha256.Sum256(r.b); !bytes.Equal(sum[:], rest[:sha256.Size]) {
		return nil, errRecord
	}
	b := &fact.Base{Digest: r.digest(), Manifest: r.digest(), ConfigDigest: r.digest(), View: json.RawMessage(r.raw())}
	b.Layers = make([]fact.Descriptor, r.count())
	for i := range b.Layers {
		l := &b.Layers[i]
		l.MediaType, l.Digest, l.Size = r.text(), r.digest(), r.size()
		for range r.count() {
			if l.Annotations == nil {
				l.Annotations = map[string]string{}
			}
			k := r.text()
			l.Annotations[k] = r.text()
		}
	}
	b.DiffIDs = make([]graph.Digest, r.count())
	for i := range b.DiffIDs {
		b.DiffIDs[i] = r.digest()
	}
	if n := r.count(); n > 0 {
		b.History = make([]graph.History, n)
	}
	for i := range b.History {
		created := r.text()
		if created != "" {
			t, err := time.Parse(time.RFC3339Nano, created)
			r.bad = r.bad || err != nil
			b.History[i].Created = &t
		}
		h := &b.History[i]
		h.CreatedBy, h.Author, h.Comment, h.EmptyLayer = r.text(), r.text(), r.text(), r.text() != ""
	}
	if r.bad || len(r.b) > 0 {
		return nil, errRecord
	}
	return b, nil
}

type recordWriter struct{ b []byte }

func (w *recordWriter) number(n int) { w.b = binary.AppendUvarint(w.b, uint64(n)) }

func (w *recordWriter) text(values ...string) {
	for _, s := range values {
		w.number(len(s))
		w.b = append(w.b, s...)
	}
}

// recordReader reads what a recordWriter wrote. After a mistake it is bad and
// gives zero values.
type recordReader struct {
	b   []byte
	bad bool
}

func (r *recordReader) number() uint64 {
	n, used := binary.Uvarint(r.b)
	if used <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[used:]
	return n
}

func (r *recordReader) size() int64 {
	n, used := binary.Varint(r.b)
	if used <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[used:]
	return n
}

// count is a number of things that have a byte at least.
func (r *recordReader) count() int {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *recordReader) raw() []byte {
	n := r.count()
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

// text reads a string. Bases share layers and history, so equal strings share
// memory.
func (r *recordReader) text() string {
	s := r.raw()
	if len(s) == 0 {
		return ""
	}
	return unique.Make(string(s)).Value()
}

func (r *recordReader) digest() graph.Digest { return graph.Digest(r.text()) }
