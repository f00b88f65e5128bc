package filetree

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// drawFile draws a file of a context: few names, so that files become folders,
// links lead somewhere and patterns match.
func drawFile(t *rapid.T) (string, string) {
	names := []string{"a", "b", "src", "src", "lib", "lib", "x.md"}
	depth := rapid.IntRange(1, 3).Draw(t, "depth")
	var parts []string
	for range depth {
		parts = append(parts, rapid.SampledFrom(names).Draw(t, "name"))
	}
	content := rapid.SampledFrom([]string{"one", "two", "->src", "->a/b", "->../lib"}).Draw(t, "content")
	return strings.Join(parts, "/"), content
}

func drawUse(t *rapid.T) graph.Use {
	u := graph.Use{Context: "context", Wildcard: rapid.Bool().Draw(t, "wild")}
	paths := []string{".", "src", "a", "src/lib", "a/b", "b/x.md"}
	if u.Wildcard {
		paths = append(paths, "*", "*.md", "s*", "src/*", "a/?", "*/b", "[ab]")
	}
	u.Paths = rapid.SliceOfNDistinct(rapid.SampledFrom(paths), 1, 2, rapid.ID).Draw(t, "paths")
	if rapid.IntRange(0, 3).Draw(t, "patterns") == 0 {
		u.Exclude = []string{rapid.SampledFrom([]string{"*.md", "**/b", "lib"}).Draw(t, "exclude")}
	}
	return u
}

// TestListingFollows holds a listing that is changed step by step against the
// same files on a disk: equal digests in one are equal digests in the other, and
// so are uses that select nothing.
func TestListingFollows(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		root, err := os.MkdirTemp("", "listing")
		if err != nil {
			r.Fatal(err)
		}
		defer os.RemoveAll(root)
		uses := rapid.SliceOfN(rapid.Custom(drawUse), 1, 3).Draw(r, "uses")
		ignores := []string{"", "*.md\n", "src\n!src/lib\n", "src\n!src/lib\n", "**/b\n!a/b\n", "a/*\n"}
		listing := NewListing("the listing")
		files := map[string]string{}
		pairs := map[string]map[graph.Digest]graph.Digest{}
		for step := range 5 {
			if step == 0 || rapid.IntRange(0, 3).Draw(r, "ignore") == 0 {
				text := rapid.SampledFrom(ignores).Draw(r, "text")
				files[".dockerignore"] = text
				if err := listing.Ignore(".dockerignore", []byte(text)); err != nil {
					r.Fatal(err)
				}
				listing.Put(".dockerignore", asFile(text))
			}
			for range 5 {
				name, content := drawFile(r)
				change(listing, files, name, content)
			}
			dir := filepath.Join(root, fmt.Sprint(step))
			write(r, dir, files)
			tree, err := Open(dir, "")
			if err != nil {
				r.Fatal(err)
			}
			for i, u := range uses {
				want, wantErr := tree.Digest(u)
				got, gotErr := listing.Digest(u)
				if (wantErr == nil) != (gotErr == nil) {
					r.Fatalf("%v: %v on the disk, %v in the listing", u, wantErr, gotErr)
				}
				if wantErr != nil {
					continue
				}
				same(r, pairs, fmt.Sprint(i, " to"), want, got)
				same(r, pairs, fmt.Sprint(i, " from"), got, want)
			}
		}
	})
}

// same checks that one digest always goes with the same other.
func same(t *rapid.T, pairs map[string]map[graph.Digest]graph.Digest, key string, a, b graph.Digest) {
	if pairs[key] == nil {
		pairs[key] = map[graph.Digest]graph.Digest{}
	}
	if before, ok := pairs[key][a]; ok && before != b {
		t.Fatalf("%s: %s goes with %s, and went with %s", key, a, b, before)
	}
	pairs[key][a] = b
}

// change removes a file that is there, else puts it where it fits.
func change(l *Listing, files map[string]string, name, content string) {
	if _, ok := files[name]; ok && content == "one" {
		delete(files, name)
		l.Remove(name)
		return
	}
	for other := range files {
		if strings.HasPrefix(other, name+"/") || strings.HasPrefix(name, other+"/") {
			delete(files, other)
			l.Remove(other)
		}
	}
	files[name] = content
	l.Put(name, asFile(content))
}

func asFile(content string) File {
	if to, ok := strings.CutPrefix(content, "->"); ok {
		return File{Mode: fs.ModeSymlink | 0o777, Link: to}
	}
	return File{Mode: 0o644, Content: content}
}

func write(t *rapid.T, dir string, files map[string]string) {
	for name, content := range files {
		full := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		if to, ok := strings.CutPrefix(content, "->"); ok && err == nil {
			err = os.Symlink(to, full)
		} else if err == nil {
			err = os.WriteFile(full, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestListingReads(t *testing.T) {
	l := NewListing("c")
	if err := l.Ignore(".dockerignore", []byte("docs\n*.md\n")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"src/a.go", "src/b.md", "docs/c.go", "lib/d.go", "x.md"} {
		l.Put(p, File{Mode: 0o644, Content: p})
	}
	l.Put("vendor/sdk", File{Mode: fs.ModeIrregular, Content: "0123"})
	tests := []struct {
		use  graph.Use
		want []string
	}{
		{graph.Use{Paths: []string{"."}}, []string{"lib/d.go", "lib/new.go", "src/a.go", "src/b.md", "vendor/sdk"}},
		{graph.Use{Paths: []string{"src"}}, []string{"src/a.go", "src/b.md"}},
		{graph.Use{Paths: []string{"*"}, Wildcard: true}, []string{"lib/d.go", "lib/new.go", "src/a.go", "src/b.md", "vendor/sdk"}},
		{graph.Use{Paths: []string{"s*/a.*"}, Wildcard: true}, []string{"src/a.go"}},
		{graph.Use{Paths: []string{"vendor/sdk/inside"}}, []string{"vendor/sdk"}},
		{graph.Use{Paths: []string{"."}, Exclude: []string{"src"}}, []string{"lib/d.go", "vendor/sdk"}},
	}
	for _, tt := range tests {
		if _, err := l.Digest(tt.use); err != nil {
			t.Errorf("%v: %v", tt.use, err)
		}
		var got []string
		for _, p := range []string{"docs/c.go", "lib/d.go", "lib/new.go", "src/a.go", "src/b.md", "vendor/sdk", "x.md"} {
			if l.Reads(tt.use, p) {
				got = append(got, p)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v reads %q, want %q", tt.use, got, tt.want)
		}
	}
}

// TestListingOpaque moves what a path leads into.
func TestListingOpaque(t *testing.T) {
	l := NewListing("c")
	u := graph.Use{Paths: []string{"vendor/sdk/src"}}
	seen := map[graph.Digest]bool{}
	for _, commit := range []string{"one", "two"} {
		l.Put("vendor/sdk", File{Mode: fs.ModeIrregular, Content: commit})
		d, err := l.Digest(u)
		if err != nil {
			t.Fatal(err)
		}
		seen[d] = true
	}
	if len(seen) != 2 {
		t.Errorf("%d digests of 2 commits", len(seen))
	}
}
