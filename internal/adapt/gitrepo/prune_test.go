package gitrepo_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
)

// age sets the time of a file or folder back.
func age(t *testing.T, path string, by time.Duration) {
	t.Helper()
	at := time.Now().Add(-by)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// month is whether something was not used for a month.
func month(_ string, used time.Time) bool { return time.Since(used) > 30*24*time.Hour }

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// TestPruneCommits: a commit goes when it was not used, however old it is, and
// comes back when it is asked for.
func TestPruneCommits(t *testing.T) {
	r := newRepo(t)
	old, kept := r.commit("one", map[string]string{"a": "12345"}), r.commit("two", map[string]string{"a": "2"})
	dir := filepath.Join(t.TempDir(), "sources")
	if err := gitrepo.Prune(dir, month); err != nil {
		t.Fatalf("a folder that is not there: %v", err)
	}
	g := open(t, r.dir)
	write := func(commit string) {
		t.Helper()
		if _, err := g.Materialise(t.Context(), dir, commit, nil); err != nil {
			t.Fatal(err)
		}
	}
	write(old)
	write(kept)
	for _, c := range []string{old, kept} {
		age(t, filepath.Join(dir, c+".used"), 31*24*time.Hour)
	}
	write(kept) // which notes that it is used
	unnoted := filepath.Join(dir, "unnoted")
	for _, d := range []string{unnoted, filepath.Join(dir, ".new-dead"), filepath.Join(dir, ".new-live")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	age(t, filepath.Join(dir, ".new-dead"), 40*24*time.Hour)
	age(t, unnoted, 300*24*time.Hour)
	if err := gitrepo.Prune(dir, month); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{old: false, old + ".used": false, kept: true, "unnoted": true, ".new-dead": false, ".new-live": true} {
		if exists(t, filepath.Join(dir, name)) != want {
			t.Errorf("%s is there: %v", name, !want)
		}
	}
	write(old)
	if !exists(t, filepath.Join(dir, old, "a")) {
		t.Error("it did not come back")
	}
}

// TestPruneMirrors: a clone goes when it was not opened, but not while somebody
// holds its lock.
func TestPruneMirrors(t *testing.T) {
	r := newRepo(t)
	r.commit("one", map[string]string{"a": "1"})
	m := gitrepo.Mirrors{Dir: filepath.Join(t.TempDir(), "git")}
	g, err := m.Open(t.Context(), "file://"+r.dir, "main")
	if err != nil {
		t.Fatal(err)
	}
	prune := func() {
		t.Helper()
		if err := gitrepo.Prune(m.Dir, month); err != nil {
			t.Fatal(err)
		}
	}
	if prune(); !exists(t, g.Dir()) {
		t.Fatal("what was just used is gone")
	}
	age(t, g.Dir()+".used", 31*24*time.Hour)
	held, err := os.Open(g.Dir() + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if prune(); !exists(t, g.Dir()) {
		t.Fatal("what is being fetched is gone")
	}
	held.Close()
	if prune(); exists(t, g.Dir()) {
		t.Fatal("it is still there")
	}
	if _, err := m.Open(t.Context(), "file://"+r.dir, "main"); err != nil {
		t.Errorf("it does not come back: %v", err)
	}
}
