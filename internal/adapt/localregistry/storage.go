package localregistry

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/distribution/distribution/v3/configuration"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	storagemiddleware "github.com/distribution/distribution/v3/registry/storage/driver/middleware"
)

// quickName is the name under which the library finds the quick storage.
const quickName = "lapstrake-quick"

// registerQuick makes the quick storage known to the library, whose table
// belongs to the process, takes a name once and is not locked.
var registerQuick = sync.OnceValue(func() error {
	return storagemiddleware.Register(quickName,
		func(_ context.Context, d storagedriver.StorageDriver, o map[string]any) (storagedriver.StorageDriver, error) {
			root, ok := o["root"].(string)
			if !ok {
				return nil, errors.New("quick storage: no root")
			}
			return quick{StorageDriver: d, root: root}, nil
		})
})

// quickSettings puts the quick storage over the file system's.
func quickSettings(root string) map[string][]configuration.Middleware {
	return map[string][]configuration.Middleware{
		"storage": {{Name: quickName, Options: configuration.Parameters{"root": root}}},
	}
}

// quick writes files without waiting for the disk. The library's storage syncs
// each of the four or five small files of a manifest, and their folders, which
// takes most of the time of a push. Files still appear whole or not at all, and
// outlive the process however it ends.
type quick struct {
	storagedriver.StorageDriver
	root string
}

// PutContent writes the file in one step.
func (d quick) PutContent(_ context.Context, path string, content []byte) error {
	full, err := d.full(path)
	if err != nil {
		return err
	}
	tmp, err := createTemp(full)
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), full)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

// full is where a path of the storage is on disk.
func (d quick) full(path string) (string, error) {
	if !storagedriver.PathRegexp.MatchString(path) {
		return "", storagedriver.InvalidPathError{Path: path, DriverName: d.Name()}
	}
	return filepath.Join(d.root, path), nil
}

// createTemp makes a file beside path, and their folder when it is missing.
func createTemp(path string) (*os.File, error) {
	dir, pattern := filepath.Dir(path), filepath.Base(path)+".*.tmp"
	f, err := os.CreateTemp(dir, pattern)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	return os.CreateTemp(dir, pattern)
}

// Writer opens the file of an upload.
func (d quick) Writer(_ context.Context, path string, add bool) (storagedriver.FileWriter, error) {
	full, err := d.full(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o777); err != nil {
		return nil, err
	}
	flags := os.O_WRONLY | os.O_CREATE
	if !add {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(full, flags, 0o666)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &quickWriter{Writer: bufio.NewWriterSize(f, 1<<16), file: f, size: size}, nil
}

// quickWriter is an upload in progress. Like the library's, it may be closed
// and opened again before it is committed.
type quickWriter struct {
	*bufio.Writer
	file *os.File
	size int64
	done bool // closed or cancelled
}

var errWriterDone = errors.New("upload is closed")

// Write adds to the upload.
func (w *quickWriter) Write(p []byte) (int, error) {
	if w.done {
		return 0, errWriterDone
	}
	n, err := w.Writer.Write(p)
	w.size += int64(n)
	return n, err
}

// ReadFrom adds everything from r. It keeps io.Copy from going round the count
// of bytes by way of the embedded writer.
func (w *quickWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.done {
		return 0, errWriterDone
	}
	n, err := w.Writer.ReadFrom(r)
	w.size += n
	return n, err
}

// Size is the number of bytes of the upload so far.
func (w *quickWriter) Size() int64 { return w.size }

// Commit makes what was written visible to readers.
func (w *quickWriter) Commit(context.Context) error {
	if w.done {
		return errWriterDone
	}
	return w.Flush()
}

// Close ends the writer; the bytes stay.
func (w *quickWriter) Close() error {
	if w.done {
		return errWriterDone
	}
	w.done = true
	return errors.Join(w.Flush(), w.file.Close())
}

// Cancel ends the writer and removes the file.
func (w *quickWriter) Cancel(context.Context) error {
	if w.done {
		return errWriterDone
	}
	w.done = true
	return errors.Join(w.file.Close(), os.Remove(w.file.Name()))
}
