package testfleet

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// birth is the time of everything: files, layers, configs.
func birth() time.Time { return time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC) }

// blob is content with its digest.
type blob struct {
	data   []byte // nil once it is pushed and others only refer to it
	size   int64  // counts when data is nil
	digest string
	diffID string // of a layer: the digest before compression
	zstd   bool
}

// newBlob digests data.
func newBlob(data []byte) blob { return blob{data: data, digest: digestOf(data)} }

// digestOf is the sha256 digest.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// noise returns a stream of bytes that depends on its arguments only.
func noise(seed int64, name string) *rand.ChaCha8 {
	return rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%d %s", seed, name)))
}

// filler is n bytes that compress to about half.
func filler(seed int64, name string, n int64) []byte {
	raw := make([]byte, n/2+1)
	_, _ = noise(seed, name).Read(raw) // never fails
	return []byte(hex.EncodeToString(raw))[:n]
}

// layer is the file tree of one image layer in the making. Folders come before
// what is in them; the caller adds them.
type layer struct {
	buf bytes.Buffer
	tar *tar.Writer
	err error // the first; sticky
}

// newLayer returns an empty layer.
func newLayer() *layer {
	l := &layer{}
	l.tar = tar.NewWriter(&l.buf)
	return l
}

// dirHeader is a folder with a mode of its own.
func dirHeader(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}
}

// add writes one entry.
func (l *layer) add(h tar.Header, data []byte) {
	if l.err != nil {
		return
	}
	h.Size = int64(len(data))
	if h.ModTime.IsZero() {
		h.ModTime = birth()
	}
	if l.err = l.tar.WriteHeader(&h); l.err == nil {
		_, l.err = l.tar.Write(data)
	}
}

// dirs adds folders with mode 0755.
func (l *layer) dirs(names ...string) {
	for _, n := range names {
		l.add(dirHeader(n+"/", 0o755), nil)
	}
}

// file adds a file.
func (l *layer) file(name string, mode int64, data []byte) {
	l.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, data)
}

// symlink adds a symbolic link.
func (l *layer) symlink(name, target string) {
	l.add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

// fill adds files of 64 KiB under dir until there are n bytes, at least one file.
func (l *layer) fill(dir string, seed int64, n int64) {
	const size = 64 << 10
	for i := 0; i == 0 || n > 0; i++ {
		name := fmt.Sprintf("%s/%04d.dat", dir, i)
		l.file(name, 0o644, filler(seed, name, max(min(n, size), 16)))
		n -= size
	}
}

// tree adds everything under root, in lexical order.
func (l *layer) tree(root string) {
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := e.Info()
		if err != nil || info.Mode()&fs.ModeSocket != 0 {
			return err
		}
		var link string
		var data []byte
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			link, err = os.Readlink(path)
		case info.Mode().IsRegular():
			data, err = os.ReadFile(path)
		}
		if err != nil {
			return err
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		h.Name = strings.TrimPrefix(path, root+"/")
		if e.IsDir() {
			h.Name += "/"
		}
		// What depends on the machine rather than on the tree.
		h.Uname, h.Gname, h.ModTime = "", "", birth()
		h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
		l.add(*h, data)
		return l.err
	})
	if l.err == nil {
		l.err = err
	}
}

// finish compresses the layer.
func (l *layer) finish(useZstd bool) (blob, error) {
	if l.err == nil {
		l.err = l.tar.Close()
	}
	if l.err != nil {
		return blob{}, fmt.Errorf("layer: %w", l.err)
	}
	var out bytes.Buffer
	if err := compress(&out, l.buf.Bytes(), useZstd); err != nil {
		return blob{}, fmt.Errorf("layer: %w", err)
	}
	b := newBlob(out.Bytes())
	b.diffID, b.zstd = digestOf(l.buf.Bytes()), useZstd
	return b, nil
}

// compress writes data to w, quickly rather than well.
func compress(w io.Writer, data []byte, useZstd bool) error {
	var c io.WriteCloser
	var err error
	if useZstd {
		c, err = zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	} else {
		c, err = gzip.NewWriterLevel(w, gzip.BestSpeed)
	}
	if err != nil {
		return err
	}
	if _, err := c.Write(data); err != nil {
		return err
	}
	return c.Close()
}
