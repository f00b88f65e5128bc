// Package layout is an OCI image layout, a folder, that can be served as a
// registry.
//
// Everything else publishes to registries, so a layout is a registry that nobody
// runs: [Serve] lets it answer for the hosts that an image's tags name. Blobs are
// shared by all repositories, so a mount is granted whenever the blob is there.
//
// A manifest that was accepted under a tag is in index.json, with all that it
// names, when the answer is sent: the end of the process, at any time, leaves a
// layout that every reader takes, with exactly the images that were published.
// The index is one file, though, and writing it anew for each of N tags would
// write N² entries. Tags that arrive while it is written therefore share the next
// writing: each still waits for its own, and N tags of P publishers cost N/P.
package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

const (
	// nameAnnotation is where containerd, Docker and BuildKit keep an image's full name.
	nameAnnotation = "io.containerd.image.name"
	// repoAnnotation is the repository of a manifest that has no tag.
	repoAnnotation = "dev.lapstrake.repository"
	// uploadPrefix begins the names of files that are not whole yet.
	uploadPrefix = ".upload-"
)

// separators are what the specification lets stand between the letters of a
// reference's name as "--" only, and some readers take no other for a name.
var separators = regexp.MustCompile("[-._]{2,}")

const notALayout = "name an OCI image layout, or a folder that is empty or not there yet"

// Layout is an OCI image layout. Its methods may be called concurrently.
type Layout struct {
	dir  string
	lock atomic.Pointer[os.File] // nil while nothing may be written

	mirror Mirror // nil when images go no further

	mu      sync.Mutex
	frame   map[string]json.RawMessage // what else index.json holds
	entries []entry                    // ordered by key
	others  []json.RawMessage          // elements of the index that are not named as ours are
	version int64                      // counts changes

	writing sync.Mutex
	written int64 // the version that is on the disk
}

// entry is a manifest that the index names: by a tag, or by its digest in a
// repository.
type entry struct {
	repo, tag string
	desc      specs.Descriptor
	raw       json.RawMessage
}

// key is the entry's place in the index, and what no other entry has.
func (e entry) key() string { return key(e.repo, e.tag, e.desc.Digest) }

func key(repo, tag string, d digest.Digest) string {
	if tag == "" {
		return repo + "@" + string(d)
	}
	return repo + ":" + tag
}

// Open reads a layout. One that is not there yet is empty, and not made; a folder
// that holds something else is an error of kind [diag.File].
func Open(dir string) (*Layout, error) {
	l := &Layout{dir: dir}
	return l, l.read()
}

// read takes in what the folder holds.
func (l *Layout) read() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frame, l.entries, l.others = map[string]json.RawMessage{}, nil, nil
	if there, err := l.check(); !there || err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(l.dir, specs.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) { // it was made and never written to
		return nil
	}
	if err != nil {
		return diag.Wrap(diag.Infra, "read the layout", err)
	}
	var elements []json.RawMessage
	err = json.Unmarshal(data, &l.frame)
	if err == nil && l.frame["manifests"] != nil {
		err = json.Unmarshal(l.frame["manifests"], &elements)
	}
	delete(l.frame, "manifests")
	for _, raw := range elements {
		var e entry
		if err == nil {
			err = json.Unmarshal(raw, &e.desc)
		}
		if e.repo, e.tag = nameOf(e.desc.Annotations); e.repo == "" {
			l.others = append(l.others, raw)
			continue
		}
		e.raw = raw
		l.set(e)
	}
	return diag.Wrap(diag.File, filepath.Join(l.dir, specs.ImageIndexFile), err)
}

// check tells whether there is a layout, and refuses what is none.
func (l *Layout) check() (there bool, err error) {
	data, err := os.ReadFile(filepath.Join(l.dir, specs.ImageLayoutFile))
	if err == nil {
		var mark specs.ImageLayout
		if json.Unmarshal(data, &mark) != nil || mark.Version != specs.ImageLayoutVersion {
			return false, diag.Errorf(diag.File, "version "+specs.ImageLayoutVersion+" can be written", "%s: not a layout of a version that is known", filepath.Join(l.dir, specs.ImageLayoutFile))
		}
		return true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return false, diag.Wrap(diag.Infra, "read the layout", err)
	}
	files, err := os.ReadDir(l.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, diag.Errorf(diag.File, notALayout, "%s is not a folder", l.dir)
	case len(files) > 0:
		return false, diag.Errorf(diag.File, notALayout, "%s is not empty, and no OCI image layout", l.dir)
	}
	return false, nil
}

// nameOf is what an element of the index is called: a repository with its host,
// and a tag, which is empty when it is known there by its digest only.
func nameOf(annotations map[string]string) (repo, tag string) {
	if repo := annotations[repoAnnotation]; repo != "" {
		return repo, ""
	}
	for _, name := range []string{annotations[nameAnnotation], annotations[specs.AnnotationRefName]} {
		slash, colon := strings.IndexByte(name, '/'), strings.LastIndexByte(name, ':')
		if slash > 0 && colon > slash && !strings.ContainsAny(name[colon:], "/@") && !strings.Contains(name, "@") {
			return name[:colon], name[colon+1:]
		}
	}
	return "", ""
}

// Lock makes the folder, unless it is there, and takes it for this process's
// life; the kernel lets go when the process ends however it ends. Only then the
// layout can be written to. What an earlier process left half done is removed.
func (l *Layout) Lock() error {
	if l.lock.Load() != nil {
		return nil
	}
	mark := filepath.Join(l.dir, specs.ImageLayoutFile)
	there, err := l.check()
	if err == nil {
		err = os.MkdirAll(filepath.Join(l.dir, specs.ImageBlobsDir, string(digest.SHA256)), 0o755)
	}
	if err == nil && !there {
		err = l.replace(specs.ImageLayoutFile, []byte(`{"imageLayoutVersion":"`+specs.ImageLayoutVersion+`"}`))
	}
	if err != nil {
		return diag.Wrap(diag.Infra, "write the layout", err)
	}
	f, err := os.Open(mark)
	if err != nil {
		return diag.Wrap(diag.Infra, "lock the layout", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return diag.Errorf(diag.Infra, "wait for it to end", "the layout %s is being written to by another run", l.dir)
		}
		return diag.Wrap(diag.Infra, "lock the layout", err)
	}
	l.lock.Store(f)
	left, err := filepath.Glob(filepath.Join(l.dir, uploadPrefix+"*"))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return diag.Wrap(diag.Infra, "write the layout", err)
	}
	return l.read()
}

// Close lets go of the folder, which cannot be written to any more.
func (l *Layout) Close() error {
	f := l.lock.Swap(nil)
	if f == nil {
		return nil
	}
	return diag.Wrap(diag.Infra, "unlock the layout", f.Close())
}

// set puts an entry into its place. The mutex must be held.
func (l *Layout) set(e entry) {
	i, found := l.find(e.key())
	if found {
		l.entries[i] = e
		return
	}
	l.entries = slices.Insert(l.entries, i, e)
}

// find is where an entry is, or belongs.
func (l *Layout) find(key string) (int, bool) {
	return slices.BinarySearchFunc(l.entries, key, func(e entry, key string) int { return strings.Compare(e.key(), key) })
}

// tags lists the tags of a repository in order; ok is false when there is no such
// repository.
func (l *Layout) tags(repo string) (tags []string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tags = []string{}
	for _, e := range l.entries {
		if e.repo != repo {
			continue
		}
		if ok = true; e.tag != "" {
			tags = append(tags, e.tag)
		}
	}
	return tags, ok
}

// manifest finds a manifest by its tag or digest in a repository: one that the
// index names there, or that an index which it names there holds.
func (l *Layout) manifest(repo, reference string) (specs.Descriptor, bool) {
	l.mu.Lock()
	var indexes []digest.Digest
	for _, e := range l.entries {
		if e.repo != repo {
			continue
		}
		if e.tag == reference || string(e.desc.Digest) == reference {
			l.mu.Unlock()
			return e.desc, true
		}
		if isIndex(e.desc.MediaType) {
			indexes = append(indexes, e.desc.Digest)
		}
	}
	l.mu.Unlock()
	for _, d := range indexes {
		parts, err := l.parts(d)
		if err != nil {
			continue // it is not there, and neither is what it holds
		}
		for _, m := range parts.Manifests {
			if string(m.Digest) == reference {
				return m, true
			}
		}
	}
	return specs.Descriptor{}, false
}

// publish names a manifest, by its digest when tag is empty, and returns when
// that is on the disk. A manifest that gets a tag needs no other name.
func (l *Layout) publish(repo, tag string, desc specs.Descriptor) error {
	name := map[string]string{repoAnnotation: repo}
	if tag != "" {
		// The tag alone would not tell repositories apart.
		full := repo + ":" + tag
		name = map[string]string{nameAnnotation: full, specs.AnnotationRefName: separators.ReplaceAllLiteralString(full, "--")}
	}
	e := entry{repo: repo, tag: tag, desc: specs.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, Annotations: name}}
	var err error
	if e.raw, err = json.Marshal(e.desc); err != nil {
		return err
	}
	return l.change(func() {
		if tag == "" && slices.ContainsFunc(l.entries, func(o entry) bool { return o.repo == repo && o.desc.Digest == desc.Digest }) {
			return
		}
		l.set(e)
		if i, found := l.find(key(repo, "", desc.Digest)); found && tag != "" {
			l.entries = slices.Delete(l.entries, i, i+1)
		}
	})
}

// remove takes every name of a manifest in a repository.
func (l *Layout) remove(repo string, d digest.Digest) error {
	return l.change(func() {
		l.entries = slices.DeleteFunc(l.entries, func(e entry) bool { return e.repo == repo && e.desc.Digest == d })
	})
}

// change changes the index and returns when the change is on the disk. Of those
// that come while the index is being written, the first writes for all.
func (l *Layout) change(what func()) error {
	l.mu.Lock()
	what()
	l.version++
	mine := l.version
	l.mu.Unlock()

	l.writing.Lock()
	defer l.writing.Unlock()
	if l.written >= mine {
		return nil
	}
	l.mu.Lock()
	now := l.version
	data, err := l.encode()
	l.mu.Unlock()
	if err == nil {
		err = l.replace(specs.ImageIndexFile, data)
	}
	if err == nil {
		l.written = now
	}
	return err
}

// encode is index.json: an element a line. The mutex must be held.
func (l *Layout) encode() ([]byte, error) {
	frame := maps.Clone(l.frame)
	frame["schemaVersion"] = json.RawMessage("2")
	frame["mediaType"] = json.RawMessage(`"` + specs.MediaTypeImageIndex + `"`)
	head, err := json.Marshal(frame)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Write(head[:len(head)-1])
	b.WriteString(`,"manifests":[`)
	comma := "\n"
	add := func(raw json.RawMessage) {
		b.WriteString(comma)
		b.Write(raw)
		comma = ",\n"
	}
	for _, raw := range l.others {
		add(raw)
	}
	for _, e := range l.entries {
		add(e.raw)
	}
	b.WriteString("\n]}\n")
	return b.Bytes(), nil
}

// replace writes a file of the layout in one step.
func (l *Layout) replace(name string, data []byte) error {
	f, err := os.CreateTemp(l.dir, uploadPrefix)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return l.settle(f, filepath.Join(l.dir, name), err)
}

// settle ends the writing of a file: it is on the disk and at its place then, or
// gone.
func (l *Layout) settle(f *os.File, path string, err error) error {
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
