package testfleet

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree reads every file under a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		out[filepath.ToSlash(name)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// treeDigest is a digest over names and contents.
func treeDigest(files map[string]string) string {
	h := sha256.New()
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		fmt.Fprintf(h, "%s %d %s", n, len(files[n]), files[n])
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func TestPayload(t *testing.T) {
	dir := func() string { return filepath.Join(t.TempDir(), "new") }
	one, two, other := dir(), dir(), dir()
	const n, size = 120, 120 * 300
	for d, seed := range map[string]int64{one: 1, two: 1, other: 2} {
		if err := Payload(d, n, size, seed); err != nil {
			t.Fatal(err)
		}
	}
	files := tree(t, one)
	total := 0
	for name, text := range files {
		total += len(text)
		if !strings.HasPrefix(text, "revision = 1\n") || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s: %.40q", name, text)
		}
	}
	if len(files) != n || total != size {
		t.Errorf("%d files of %d bytes, want %d of %d", len(files), total, n, size)
	}
	if diff := cmp.Diff(files, tree(t, two)); diff != "" {
		t.Errorf("same seed (-one +two):\n%s", diff)
	}
	asJSON(t, "payload.json", treeDigest(files))
	if treeDigest(files) == treeDigest(tree(t, other)) {
		t.Error("two seeds give one tree")
	}
	for name, err := range map[string]error{
		"not empty": Payload(one, n, size, 1),
		"no files":  Payload(dir(), 0, 0, 1),
		"negative":  Payload(dir(), 1, -1, 1),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRecipe(t *testing.T) {
	for _, kind := range []string{"linked", "mixed"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			if err := Recipe(RecipeOptions{Dir: dir, Kind: kind, Host: "h:1", Files: 60, Seed: 1}); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			var names []string
			for n := range before {
				if !strings.HasPrefix(n, "agent/lib/") {
					names = append(names, n)
				}
			}
			slices.Sort(names)
			asJSON(t, kind+".json", map[string]any{"dockerfile": strings.Split(before["Dockerfile"], "\n"), "files": names})
			if got := len(before) - len(names); got != 60 {
				t.Errorf("%d source files, want 60", got)
			}

			if err := Change(dir); err != nil {
				t.Fatal(err)
			}
			if err := ChangeNothing(dir); err != nil {
				t.Fatal(err)
			}
			after := tree(t, dir)
			var changed []string
			for n, text := range after {
				if text != before[n] {
					changed = append(changed, n)
				}
			}
			slices.Sort(changed)
			if diff := cmp.Diff([]string{"agent/NOTES.md", "agent/lib/p000/m00000.src"}, changed); diff != "" {
				t.Errorf("changed files (-want +got):\n%s", diff)
			}
			was, is := strings.Split(before[changed[1]], "\n"), strings.Split(after[changed[1]], "\n")
			if is[0] != "revision = 2" || !slices.Equal(was[1:], is[1:]) {
				t.Errorf("first line is %q, and the others differ: %v", is[0], !slices.Equal(was[1:], is[1:]))
			}
			if err := Change(dir); err != nil {
				t.Fatal(err)
			}
			if got := tree(t, dir)[changed[1]]; !strings.HasPrefix(got, "revision = 3\n") {
				t.Errorf("second change: %.20q", got)
			}
		})
	}
}

func TestRecipeRefuses(t *testing.T) {
	full := t.TempDir()
	if err := write(filepath.Join(full, "x"), nil); err != nil {
		t.Fatal(err)
	}
	odd := t.TempDir()
	if err := write(filepath.Join(odd, "agent/lib/p000/m00000.src"), []byte("no number\n")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		err  error
		text string
	}{
		"kind":          {Recipe(RecipeOptions{Dir: t.TempDir(), Kind: "other"}), "neither linked nor mixed"},
		"not empty":     {Recipe(RecipeOptions{Dir: full, Kind: "linked"}), "not empty"},
		"no recipe":     {Change(full), "no such file"},
		"no line":       {Change(odd), "no line"},
		"no notes file": {ChangeNothing(odd), "no such file"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.text) {
			t.Errorf("%s: %v, want %q", name, c.err, c.text)
		}
	}
}
