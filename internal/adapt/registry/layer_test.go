package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// archive is a tar archive with a folder, files and a link.
func archive(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "usr/", Typeflag: tar.TypeDir}, {Name: "./usr/a", Typeflag: tar.TypeReg, Size: 3}, {Name: "/b", Typeflag: tar.TypeReg, Size: 2},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "b"}, {Name: "usr/.wh.gone", Typeflag: tar.TypeReg},
	} {
		err := w.WriteHeader(h)
		if err == nil {
			_, err = w.Write(make([]byte, h.Size))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func TestListFiles(t *testing.T) {
	plain := archive(t)
	want := map[string]int64{"usr/a": 3, "b": 2, "usr/.wh.gone": 0}
	for name, data := range map[string][]byte{"tar": plain, "gzip": zipped(t, plain), "zstd": zstandard(t, plain)} {
		got, err := listFiles(bytes.NewReader(data))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
	text := bytes.Repeat([]byte("text"), 200)
	for name, data := range map[string][]byte{"text": text, "text in gzip": zipped(t, text), "text in zstd": zstandard(t, text), "xz": append([]byte("\xfd7zXZ\x00"), text...)} {
		if _, err := listFiles(bytes.NewReader(data)); !errors.Is(err, ErrNoArchive) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What was cut or damaged on its way may be whole the next time.
	damaged := bytes.Clone(plain)
	copy(damaged[512:], text)
	for name, data := range map[string][]byte{"cut": plain[:700], "cut gzip": zipped(t, plain)[:60], "cut zstd": zstandard(t, plain)[:60], "damaged": damaged} {
		if _, err := listFiles(bytes.NewReader(data)); err == nil || errors.Is(err, ErrNoArchive) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzListFiles(f *testing.F) {
	plain := archive(f)
	f.Add(plain)
	f.Add(zipped(f, plain))
	f.Add(zstandard(f, plain))
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := listFiles(bytes.NewReader(data))
		if err != nil {
			return
		}
		for name, n := range files {
			if n < 0 || len(name) > 0 && name[0] == '/' {
				t.Errorf("%q has %d bytes", name, n)
			}
		}
	})
}
