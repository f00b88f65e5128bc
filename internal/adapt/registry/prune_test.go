package registry

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPruneFacts: facts that were read lately stay, others go, and what a process
// that died left goes with them.
func TestPruneFacts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "facts")
	never := func(string, time.Time) bool { t.Error("asked about nothing"); return false }
	if err := PruneFacts(dir, never); err != nil {
		t.Fatalf("a folder that is not there: %v", err)
	}
	f, err := openFacts(dir)
	if err != nil {
		t.Fatal(err)
	}
	old, used := []byte("old"), []byte("used")
	for _, data := range [][]byte{old, used} {
		if err := f.keep(digestOf(data), data); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.setTag("example.com/a:1", digestOf(old)); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-31 * 24 * time.Hour)
	for _, path := range []string{shard("content", digestOf(old)), shard("content", digestOf(used)), tagPath("example.com/a:1")} {
		if err := os.Chtimes(filepath.Join(dir, path), long, long); err != nil {
			t.Fatal(err)
		}
	}
	if f.content(digestOf(used)) == nil {
		t.Fatal("a fact is lost")
	}
	kept, gone := 0, 0
	err = PruneFacts(dir, func(_ string, used time.Time) bool {
		if time.Since(used) < 24*time.Hour {
			kept++
			return false
		}
		gone++
		return true
	})
	if err != nil || kept != 1 || gone != 2 {
		t.Errorf("%d kept, %d removed, %v", kept, gone, err)
	}
	if f.content(digestOf(used)) == nil || f.content(digestOf(old)) != nil || f.tag("example.com/a:1") != "" {
		t.Error("not what was not used is gone")
	}
}
