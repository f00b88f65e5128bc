package meter

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

func TestRead(t *testing.T) {
	dir := testfleet.Loop(t, 64<<20)
	before, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if before.Total <= 32<<20 || before.Total > 64<<20 || before.Free <= 0 || before.Used+before.Free > before.Total {
		t.Errorf("%+v", before)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	after, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.Used - before.Used; grown < 8<<20 || grown > 9<<20 {
		t.Errorf("8 MiB took %d bytes", grown)
	}
	if _, err := Read(filepath.Join(dir, "absent")); diag.KindOf(err) != diag.Infra {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// FuzzAverage reads anything without harm.
func FuzzAverage(f *testing.F) {
	f.Add([]byte("some avg10=12.50 avg60=1.00 avg300=0.00 total=1\n"))
	f.Add([]byte("some avg10=x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := average(data); got != 0 && !bytes.Contains(data, []byte("avg10=")) {
			t.Errorf("%q has no figure and is %v", data, got)
		}
	})
}

func TestAverage(t *testing.T) {
	for text, want := range map[string]float64{
		"some avg10=12.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=3.00 avg60=0 avg300=0 total=0\n": 12.5,
		"some avg10=x avg60=1": 0,
		"":                     0,
	} {
		if got := average([]byte(text)); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}
