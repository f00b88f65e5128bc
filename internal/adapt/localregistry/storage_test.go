package localregistry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// stock is the library's storage in a folder, and the quick one over it.
func stock(root string) storagedriver.StorageDriver {
	return filesystem.New(filesystem.DriverParameters{RootDirectory: root, MaxThreads: 100})
}

// Whatever is done to it, the quick storage holds what the library's own does.
func TestQuickStorageIsLikeStock(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		root, err := os.MkdirTemp(base, "")
		if err != nil {
			t.Fatal(err)
		}
		one, two := filepath.Join(root, "stock"), filepath.Join(root, "quick")
		drivers := []storagedriver.StorageDriver{stock(one), quick{stock(two), two}}
		path := rapid.SampledFrom([]string{"/a", "/b/c", "/b/d", "/e/f/g", "/not valid", "/b"})
		content := rapid.SliceOfN(rapid.Byte(), 0, 40)
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				p, c := path.Draw(rt, "path"), content.Draw(rt, "content")
				same(rt, drivers, func(d storagedriver.StorageDriver) (any, error) {
					return nil, d.PutContent(context.Background(), p, c)
				})
			},
			"write": func(rt *rapid.T) {
				p, add := path.Draw(rt, "path"), rapid.Bool().Draw(rt, "append")
				parts := rapid.SliceOfN(content, 0, 3).Draw(rt, "parts")
				end := rapid.SampledFrom([]string{"commit", "close", "cancel"}).Draw(rt, "end")
				same(rt, drivers, func(d storagedriver.StorageDriver) (any, error) { return upload(d, p, add, parts, end) })
			},
			"read": func(rt *rapid.T) {
				p := path.Draw(rt, "path")
				same(rt, drivers, func(d storagedriver.StorageDriver) (any, error) {
					got, err := d.GetContent(context.Background(), p)
					return string(got), err
				})
			},
			"move": func(rt *rapid.T) {
				from, to := path.Draw(rt, "from"), path.Draw(rt, "to")
				same(rt, drivers, func(d storagedriver.StorageDriver) (any, error) {
					return nil, d.Move(context.Background(), from, to)
				})
			},
			"delete": func(rt *rapid.T) {
				p := path.Draw(rt, "path")
				same(rt, drivers, func(d storagedriver.StorageDriver) (any, error) { return nil, d.Delete(context.Background(), p) })
			},
			"": func(rt *rapid.T) {
				if diff := cmp.Diff(listing(t, one), listing(t, two)); diff != "" {
					rt.Fatalf("files (-stock +quick):\n%s", diff)
				}
			},
		})
	})
}

// same does the same to both and compares results; of errors, whether there
// was one and whether it is one of the storage's own.
func same(t *rapid.T, drivers []storagedriver.StorageDriver, do func(storagedriver.StorageDriver) (any, error)) {
	type result struct {
		Value                    any
		Failed, Missing, BadPath bool
	}
	var got []result
	for _, d := range drivers {
		v, err := do(d)
		r := result{Value: v, Failed: err != nil}
		var missing storagedriver.PathNotFoundError
		var bad storagedriver.InvalidPathError
		r.Missing, r.BadPath = errors.As(err, &missing), errors.As(err, &bad)
		got = append(got, r)
	}
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Fatalf("results (-stock +quick):\n%s", diff)
	}
}

// upload writes parts to a file and ends the writer in one of three ways. It
// returns the sizes that the writer told, and whether a second end was refused.
func upload(d storagedriver.StorageDriver, path string, add bool, parts [][]byte, end string) (any, error) {
	w, err := d.Writer(context.Background(), path, add)
	if err != nil {
		return nil, err
	}
	sizes := []int64{w.Size()}
	for i, p := range parts {
		if i%2 == 0 {
			_, err = w.Write(p)
		} else {
			_, err = io.Copy(w, bytes.NewReader(p))
		}
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, w.Size())
	}
	if end == "cancel" {
		if err := w.Cancel(context.Background()); err != nil {
			return nil, err
		}
	} else {
		if end == "commit" {
			if err := w.Commit(context.Background()); err != nil {
				return nil, err
			}
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
	}
	refused := []bool{w.Close() != nil, w.Cancel(context.Background()) != nil, w.Commit(context.Background()) != nil}
	_, err = w.Write([]byte("x"))
	return []any{sizes, append(refused, err != nil)}, nil
}

// listing is every file under root with its content.
func listing(t *testing.T, root string) []string {
	var out []string
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err != nil:
			return err
		}
		name, _ := filepath.Rel(root, path)
		if e.IsDir() {
			out = append(out, name+"/")
			return nil
		}
		data, err := os.ReadFile(path)
		out = append(out, name+"="+string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}
