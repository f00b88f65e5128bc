package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
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

func TestListFiles(t *testing.T) {
	plain := archive(t)
	want := map[string]int64{"usr/a": 3, "b": 2, "usr/.wh.gone": 0}
	for name, data := range map[string][]byte{"tar": plain, "gzip": zipped(t, plain)} {
		got, err := listFiles(bytes.NewReader(data))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
	if _, err := listFiles(bytes.NewReader([]byte("\x28\xb5\x2f\xfd..."))); !errors.Is(err, ErrCompression) {
		t.Errorf("zstd: %v", err)
	}
	for name, data := range map[string][]byte{"cut": plain[:700], "cut gzip": zipped(t, plain)[:60], "text": bytes.Repeat([]byte("text"), 200)} {
		if _, err := listFiles(bytes.NewReader(data)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzListFiles(f *testing.F) {
	plain := archive(f)
	f.Add(plain)
	f.Add(zipped(f, plain))
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
