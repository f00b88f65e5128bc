package filetree

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/tonistiigi/fsutil"
	fscopy "github.com/tonistiigi/fsutil/copy"
	"pgregory.net/rapid"
)

// copied does what the daemon does for a COPY: the context is sent through the
// ignore patterns, and each path is resolved and copied. It returns what
// arrived, or an error.
func copied(t testing.TB, root string, excludes []string, u graph.Use) (string, error) {
	sent, arrived := sent(t, root, excludes), t.TempDir()
	for i, p := range u.Paths {
		found := []string{path.Join("/", p)}
		if u.Wildcard {
			var err error
			if found, err = fscopy.ResolveWildcards(sent, path.Join("/", p), true); err != nil {
				return "", err
			}
		}
		for _, f := range found {
			err := fscopy.Copy(t.Context(), sent, f, arrived, fmt.Sprintf("/%d/", i), func(ci *fscopy.CopyInfo) {
				ci.IncludePatterns, ci.ExcludePatterns = u.Include, u.Exclude
				ci.CopyDirContents, ci.FollowLinks = true, true
			})
			if err != nil {
				return "", err
			}
		}
	}
	return listing(t, arrived), nil
}

// sent is the context as the daemon has it.
func sent(t testing.TB, root string, excludes []string) string {
	out := t.TempDir()
	dir, err := fsutil.NewFS(root)
	if err == nil {
		dir, err = fsutil.NewFilterFS(dir, &fsutil.FilterOpt{ExcludePatterns: excludes})
	}
	if err != nil {
		t.Fatal(err)
	}
	err = dir.Walk(t.Context(), "/", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to, from := filepath.Join(out, p), filepath.Join(root, p)
		fi, err := os.Lstat(from)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			if err := os.Mkdir(to, 0o700); err != nil {
				return err
			}
		case fi.Mode()&os.ModeSymlink != 0:
			link, err := os.Readlink(from)
			if err != nil {
				return err
			}
			return os.Symlink(link, to)
		default:
			data, err := os.ReadFile(from)
			if err != nil {
				return err
			}
			if err := os.WriteFile(to, data, 0o600); err != nil {
				return err
			}
		}
		return os.Chmod(to, fi.Mode())
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func listing(t testing.TB, root string) string {
	var b strings.Builder
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		var text string
		switch {
		case fi.Mode()&os.ModeSymlink != 0:
			text, err = os.Readlink(p)
		case fi.Mode().IsRegular():
			var data []byte
			data, err = os.ReadFile(p)
			text = string(data)
		}
		fmt.Fprintf(&b, "%s %v %q\n", strings.TrimPrefix(p, root), fi.Mode(), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestSound: when two contexts have the same digest for a use, the daemon copies
// the same from both; and a path is called missing only when the daemon fails.
func TestSound(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "b", "c", "a.md", "b.md", "d"})
	dir := rapid.SampledFrom([]string{"", "d/", "e/", "d/e/", "l/"})
	pattern := rapid.SampledFrom([]string{"*", "*.md", "a*", "**/*.md", "d", "e/a", "**/a", "!a", "!**/b.md", "e"})
	entry := rapid.Custom(func(rt *rapid.T) string {
		at := dir.Draw(rt, "dir") + name.Draw(rt, "name")
		switch rapid.IntRange(0, 9).Draw(rt, "kind") {
		case 0:
			return at + "->" + rapid.SampledFrom([]string{"a", "../a", "/d", "e", "/d/e", "none", ".."}).Draw(rt, "target")
		case 1:
			return at + "/"
		default:
			return at + "=" + rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "text")
		}
	})
	use := rapid.Custom(func(rt *rapid.T) graph.Use {
		return graph.Use{
			Paths:    rapid.SliceOfN(rapid.SampledFrom([]string{".", "d", "e", "d/e", "a", "*", "*.md", "d/*", "?", "*/a", "l", "l/a", "d/a.md"}), 1, 2).Draw(rt, "paths"),
			Wildcard: rapid.Bool().Draw(rt, "wildcard"),
			Include:  rapid.SliceOfN(pattern, 0, 1).Draw(rt, "include"),
			Exclude:  rapid.SliceOfN(pattern, 0, 2).Draw(rt, "exclude"),
		}
	})
	equal, failed := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		entries := rapid.SliceOfN(entry, 1, 8).Draw(rt, "entries")
		more := rapid.SliceOfN(entry, 0, 1).Draw(rt, "more")
		ignore := rapid.SliceOfN(pattern, 0, 2).Draw(rt, "ignore")
		u := use.Draw(rt, "use")
		one, two := t.TempDir(), t.TempDir()
		grow(one, append([]string{"l->d"}, entries...))
		grow(two, append(append([]string{"l->d"}, entries[1:]...), more...))
		ignored := "Dockerfile.dockerignore=" + strings.Join(ignore, "\n")
		var digests [2]graph.Digest
		var got [2]string
		for i, root := range []string{one, two} {
			aside := t.TempDir()
			plant(t, aside, ignored)
			tree, err := Open(root, filepath.Join(aside, "Dockerfile"))
			if err != nil {
				rt.Skip("bad pattern")
			}
			var copyErr error
			got[i], copyErr = copied(t, root, tree.Excludes(), u)
			digests[i], err = tree.Digest(u)
			if err != nil && copyErr == nil && len(u.Include) == 0 {
				rt.Fatalf("called missing, yet copied: %v\n%s", err, got[i])
			}
			if err != nil || copyErr != nil {
				failed++
				return
			}
		}
		if digests[0] == digests[1] {
			equal++
			if got[0] != got[1] {
				rt.Fatalf("one digest, but the daemon copies\n%s\nand\n%s", got[0], got[1])
			}
		}
	})
	t.Logf("%d pairs were equal, %d could not be copied", equal, failed)
	if equal == 0 {
		t.Error("no two contexts had the same digest: nothing was tested")
	}
}

// grow plants what can be planted: later entries may contradict earlier ones.
func grow(root string, entries []string) {
	for _, e := range entries {
		name, text, _ := strings.Cut(e, "=")
		link, to, isLink := strings.Cut(e, "->")
		switch {
		case isLink:
			_ = os.MkdirAll(filepath.Join(root, path.Dir(link)), 0o755)
			_ = os.Symlink(to, filepath.Join(root, link))
		case strings.HasSuffix(name, "/"):
			_ = os.MkdirAll(filepath.Join(root, name), 0o755)
		default:
			if strings.HasPrefix(name, "l/") {
				continue // it would be written through the link
			}
			_ = os.MkdirAll(filepath.Join(root, path.Dir(name)), 0o755)
			if _, err := os.Lstat(filepath.Join(root, name)); err != nil {
				_ = os.WriteFile(filepath.Join(root, name), []byte(text), 0o644)
			}
		}
	}
}

// FuzzIgnore: any ignore file is read or complained about with a line.
func FuzzIgnore(f *testing.F) {
	for _, s := range []string{"", "a\n", "!", "[", "**/x\n!y\n", "\ufeff#\n", "a\\\n", "x[^a]\r\n", strings.Repeat("x", 70000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		patterns, err := parseIgnore(".dockerignore", text)
		if err == nil && check(patterns) != nil {
			t.Errorf("%q was let through", patterns)
		}
	})
}
