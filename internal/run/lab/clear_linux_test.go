package lab_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/lapstrake/lapstrake/internal/run/lab"
)

// TestClear: a folder goes although what was killed still writes there, for as long
// as there is a folder to write to.
func TestClear(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trial")
	deep := filepath.Join(dir, "state", "worker")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	for i := range 1000 {
		if err := os.WriteFile(filepath.Join(deep, "first"+strconv.Itoa(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		for i := range 10_000 {
			if err := os.WriteFile(filepath.Join(deep, strconv.Itoa(i)), nil, 0o644); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	if err := lab.Clear(dir); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}
