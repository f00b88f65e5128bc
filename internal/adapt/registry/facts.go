package registry

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// facts keeps what was learned from registries, in a folder or, without one, in
// memory: manifests and configs by digest, content keys by the manifest's
// digest, and what tags resolved to last. A file that is damaged counts as
// missing.
type facts struct {
	dir string
	mem sync.Map // path -> []byte, without a folder
}

func openFacts(dir string) (*facts, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, diag.Wrap(diag.Infra, "registry facts", err)
		}
	}
	return &facts{dir: dir}, nil
}

func (f *facts) read(path string) []byte {
	if f.dir == "" {
		if v, ok := f.mem.Load(path); ok {
			return v.([]byte)
		}
		return nil
	}
	full := filepath.Join(f.dir, path)
	data, err := os.ReadFile(full)
	if err != nil {
		return nil
	}
	now := time.Now()
	if st, err := os.Stat(full); err == nil && now.Sub(st.ModTime()) > noteUse {
		_ = os.Chtimes(full, now, now) // else it is only learned anew
	}
	return data
}

// noteUse is how old the note of a fact's last use may be, which is the time of
// its file.
const noteUse = 24 * time.Hour

// PruneFacts removes facts from the folder that [Options] names. drop is asked
// about each file, with when it was used last, within a day, and those for which it
// says yes are removed: they are learned again when they are needed. A folder that does not exist holds nothing. Stores
// may use the folder meanwhile.
func PruneFacts(dir string, drop func(path string, used time.Time) bool) error {
	var errs []error
	walk := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another process removed it
		}
		if err != nil {
			return err
		}
		if drop(path, info.ModTime()) {
			if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		return nil
	})
	if !errors.Is(walk, fs.ErrNotExist) {
		errs = append(errs, walk)
	}
	return diag.Wrap(diag.Infra, "prune "+dir, errors.Join(errs...))
}

// write replaces a file in one piece. It does not wait for the disk: what a
// power failure takes is found out by the reader and fetched again.
func (f *facts) write(path string, data []byte) error {
	if f.dir == "" {
		f.mem.Store(path, bytes.Clone(data))
		return nil
	}
	full := filepath.Join(f.dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return diag.Wrap(diag.Infra, "registry facts", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(full), ".new-")
	if err != nil {
		return diag.Wrap(diag.Infra, "registry facts", err)
	}
	_, err = tmp.Write(data)
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), full)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return diag.Wrap(diag.Infra, "registry facts", err)
}

// content returns what has the digest, nil when it is not at hand.
func (f *facts) content(d graph.Digest) []byte {
	data := f.read(shard("content", d))
	if data == nil || verify(d, data) != nil {
		return nil
	}
	return data
}

// keep stores content whose digest was verified.
func (f *facts) keep(d graph.Digest, data []byte) error { return f.write(shard("content", d), data) }

// key returns the content key that a manifest carries; ok is false when that is
// not known.
func (f *facts) key(manifest graph.Digest) (key string, ok bool) {
	line, whole := strings.CutSuffix(string(f.read(shard("key", manifest))), "\n")
	key, named := strings.CutPrefix(line, "key ")
	return key, whole && named
}

func (f *facts) setKey(manifest graph.Digest, key string) error {
	if old, ok := f.key(manifest); ok && old == key {
		return nil
	}
	return f.write(shard("key", manifest), []byte("key "+key+"\n"))
}

// tagFact is what a tag resolved to.
type tagFact struct {
	Ref    string       `json:"ref"`
	Digest graph.Digest `json:"digest"`
}

func tagPath(ref string) string {
	sum := sha256.Sum256([]byte(ref))
	name := hex.EncodeToString(sum[:16])
	return filepath.Join("tag", name[:2], name)
}

// tag returns what a reference by tag resolved to last, "" when unknown.
func (f *facts) tag(ref string) graph.Digest {
	var t tagFact
	if json.Unmarshal(f.read(tagPath(ref)), &t) != nil || t.Ref != ref || !valid(t.Digest) {
		return ""
	}
	return t.Digest
}

func (f *facts) setTag(ref string, d graph.Digest) error {
	if f.tag(ref) == d {
		return nil
	}
	data, err := json.Marshal(tagFact{ref, d})
	if err != nil {
		return diag.Wrap(diag.Internal, "registry facts", err)
	}
	return f.write(tagPath(ref), data)
}

// shard is a path for a digest, spread over folders.
func shard(kind string, d graph.Digest) string {
	algorithm, sum, _ := strings.Cut(string(d), ":")
	return filepath.Join(kind, algorithm, sum[:2], sum)
}

// hasher returns the hash of a digest's algorithm; ok is false when the digest
// is not one.
func hasher(d graph.Digest) (hash.Hash, bool) {
	algorithm, sum, _ := strings.Cut(string(d), ":")
	var h hash.Hash
	switch algorithm {
	case "sha256":
		h = sha256.New()
	case "sha512":
		h = sha512.New()
	default:
		return nil, false
	}
	if len(sum) != 2*h.Size() || strings.Trim(sum, "0123456789abcdef") != "" {
		return nil, false
	}
	return h, true
}

func valid(d graph.Digest) bool {
	_, ok := hasher(d)
	return ok
}

// digestError says that content is not what its digest says.
type digestError struct{ want, got graph.Digest }

// Error names both digests.
func (e digestError) Error() string {
	return "content has digest " + string(e.got) + ", not " + string(e.want)
}

func sumOf(d graph.Digest, h hash.Hash) graph.Digest {
	algorithm, _, _ := strings.Cut(string(d), ":")
	return graph.Digest(algorithm + ":" + hex.EncodeToString(h.Sum(nil)))
}

// verify compares data with its digest.
func verify(d graph.Digest, data []byte) error {
	h, ok := hasher(d)
	if !ok {
		return diag.Errorf(diag.Infra, notARegistry, "digest %q is not valid", string(d))
	}
	h.Write(data)
	if got := sumOf(d, h); got != d {
		return digestError{d, got}
	}
	return nil
}

// digestOf is the digest of data.
func digestOf(data []byte) graph.Digest {
	sum := sha256.Sum256(data)
	return graph.Digest("sha256:" + hex.EncodeToString(sum[:]))
}
