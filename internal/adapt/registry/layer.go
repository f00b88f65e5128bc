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

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// ErrCompression is the error for a layer in a compression that cannot be read.
var ErrCompression = errors.New("the layer is neither a tar archive nor one in gzip")

// LayerFiles reads a layer from repo and returns the bytes of its regular files
// by path, without a leading slash. Nothing is kept of it, whatever its size, and
// it is verified. A layer that is not there is [ErrNotFound], one in zstd
// [ErrCompression].
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
				if errors.Is(err, ErrCompression) {
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
	in := bufio.NewReader(r)
	magic, _ := in.Peek(4)
	var archive io.Reader = in
	switch {
	case len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		archive = z
	case string(magic) == "\x28\xb5\x2f\xfd":
		return nil, ErrCompression
	}
	files := map[string]int64{}
	t := tar.NewReader(archive)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			files[strings.TrimPrefix(path.Join("/", h.Name), "/")] += h.Size
		}
	}
}
