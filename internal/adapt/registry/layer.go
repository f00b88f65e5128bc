package registry

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// ErrNoArchive is the error for a layer that cannot be read.
var ErrNoArchive = errors.New("the layer is no tar archive, plain, in gzip or in zstd")

// LayerFiles reads a layer from repo and returns the bytes of its regular files
// by path, without a leading slash. Nothing is kept of it, whatever its size, and
// it is verified. A layer that is not there is [ErrNotFound], one that is no archive
// [ErrNoArchive].
func (s *Store) LayerFiles(ctx context.Context, repo string, d graph.Digest) (map[string]int64, error) {
	at, err := s.place(repo)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("read layer %s@%s", at, d)
	if !valid(d) {
		return nil, diag.Errorf(diag.Internal, "", "%s: the digest is not valid", what)
	}
	var files map[string]int64
	err = s.do(ctx, call{
		what: what, host: at.host, grant: grant{repo: at.repo}, method: http.MethodGet,
		url: at.url("blobs", string(d)), want: []int{http.StatusOK},
		read: func(resp *http.Response) error {
			h := sha256.New()
			body := io.TeeReader(resp.Body, h)
			var err error
			if files, err = listFiles(body); err != nil {
				if errors.Is(err, ErrNoArchive) {
					return permanent{err}
				}
				return err
			}
			if _, err := io.Copy(io.Discard, body); err != nil {
				return err
			}
			if sum := "sha256:" + hex.EncodeToString(h.Sum(nil)); sum != string(d) {
				return fmt.Errorf("the answer has the digest %s", sum)
			}
			return nil
		},
	})
	return files, err
}

// listFiles sums the regular files of a tar archive.
func listFiles(r io.Reader) (map[string]int64, error) {
	archive, err := unpacked(r)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	files := map[string]int64{}
	t := tar.NewReader(archive)
	for first := true; ; first = false {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return files, nil
		case first && errors.Is(err, tar.ErrHeader): // later it was damaged on its way
			return nil, ErrNoArchive
		case err != nil:
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			files[strings.TrimPrefix(path.Join("/", h.Name), "/")] += h.Size
		}
	}
}

// maxWindow is how far back a layer in zstd may refer, in bytes: the format asks
// decoders for no more than 8 MiB, and its own tool writes up to 128 when told to.
const maxWindow = 128 << 20

// unpacked is an archive without its compression, which its first bytes tell.
func unpacked(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReader(r)
	magic, _ := in.Peek(4)
	switch {
	case len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		return gzip.NewReader(in)
	case string(magic) == "\x28\xb5\x2f\xfd":
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(in), nil
}
