package gitrepo_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAttach: git answers in an attached folder what it answers in a clone of the
// commit, also of submodules and in a shallow clone, and what it writes there does
// not reach the repository.
func TestAttach(t *testing.T) {
	inner := newRepo(t)
	inner.commit("inner one", map[string]string{"f": "1"})
	inner.git("tag", "-a", "i1", "-m", "annotated")
	pinned := inner.commit("inner two", map[string]string{"f": "2"})
	r := newRepo(t)
	r.commit("one", map[string]string{"a": "a", "run": "#!/bin/sh\n", "link": "-> a"})
	r.git("tag", "v1")
	r.git("submodule", "-q", "add", inner.dir, "vendor/inner")
	at := r.commit("two", map[string]string{"a": "b"})
	r.commit("three", map[string]string{"a": "c"})
	r.git("tag", "v3") // not in the history of at

	shallow := filepath.Join(t.TempDir(), "shallow")
	git(t, "", "clone", "-q", "--depth=1", "--branch=v3", "file://"+r.dir, shallow)

	dir := func(source, commit string, submodules map[string]string) string {
		tree, err := open(t, source).Materialise(t.Context(), t.TempDir(), commit, submodules)
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	attach := func(source, folder, commit string) {
		t.Helper()
		if err := open(t, source).Attach(t.Context(), folder, commit); err != nil {
			t.Fatal(err)
		}
	}
	got := dir(r.dir, at, map[string]string{"vendor/inner": filepath.Join(r.dir, "vendor/inner")})
	sub := filepath.Join(got, "vendor", "inner")
	for range 2 { // again replaces it
		attach(r.dir, got, at)
		attach(filepath.Join(r.dir, "vendor/inner"), sub, pinned)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	git(t, "", "clone", "-q", r.dir, clone)
	git(t, clone, "checkout", "-q", at)
	git(t, clone, "submodule", "-q", "update", "--init")
	before := state(t, r.dir) + state(t, inner.dir)

	for _, args := range [][]string{
		{"rev-parse", "HEAD"}, {"rev-parse", "--abbrev-ref", "HEAD"}, {"describe", "--tags"}, {"log", "--format=%H %s %an %ad"},
		{"status", "--porcelain"}, {"diff", "--stat", "HEAD^", "HEAD"}, {"show", "v1:a"}, {"ls-files", "-s"}, {"submodule", "status"},
		{"rev-list", "--count", "HEAD"}, {"blame", "-s", "a"},
	} {
		if d := cmp.Diff(git(t, clone, args...), git(t, got, args...)); d != "" {
			t.Errorf("git %v: %s", args, d)
		}
	}
	for _, args := range [][]string{{"rev-parse", "HEAD"}, {"describe"}, {"log", "--format=%H"}, {"status", "--porcelain"}} {
		if d := cmp.Diff(git(t, filepath.Join(clone, "vendor/inner"), args...), git(t, sub, args...)); d != "" {
			t.Errorf("git %v in the submodule: %s", args, d)
		}
	}
	if got := git(t, got, "tag"); got != "v1" {
		t.Errorf("the tags are %q", got)
	}
	if got := git(t, got, "remote"); got != "" {
		t.Errorf("there are remotes: %q", got)
	}

	end := dir(shallow, git(t, shallow, "rev-parse", "HEAD"), map[string]string{"vendor/inner": filepath.Join(r.dir, "vendor/inner")})
	attach(shallow, end, git(t, shallow, "rev-parse", "HEAD"))
	if got := git(t, end, "log", "--format=%s"); got != "three" {
		t.Errorf("the history of a shallow clone is %q", got)
	}

	if err := os.WriteFile(filepath.Join(got, "a"), []byte("written"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"commit", "-q", "-a", "-m", "here"}, {"tag", "here"}, {"branch", "here"}, {"gc", "-q", "--prune=now"}, {"config", "a.b", "c"}} {
		git(t, got, args...)
	}
	if d := cmp.Diff(before, state(t, r.dir)+state(t, inner.dir)); d != "" {
		t.Errorf("the repository has changed: %s", d)
	}
}

// state is every file of a repository and when it was changed.
func state(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err == nil {
			b.WriteString(path + " " + fi.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
