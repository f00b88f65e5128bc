package filetree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"golang.org/x/sys/unix"
)

// plant makes a tree from a list of entries: "name" is a file that holds its
// name, "name=text" one that holds text, "name/" a folder, "name->to" a link.
func plant(t testing.TB, root string, entries ...string) {
	t.Helper()
	for _, e := range entries {
		name, text, isText := strings.Cut(e, "=")
		link, to, isLink := strings.Cut(e, "->")
		if isLink {
			name = link
		}
		full := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		switch {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(full, 0o755)
		case isLink:
			err = os.Symlink(to, full)
		case isText:
			err = os.WriteFile(full, []byte(text), 0o644)
		default:
			err = os.WriteFile(full, []byte(name), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func open(t testing.TB, root, dockerfile string) *Tree {
	t.Helper()
	tree, err := Open(root, dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func digest(t testing.TB, root string, u graph.Use) graph.Digest {
	t.Helper()
	d, err := open(t, root, "").Digest(u)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestSelection says which entries a use selects, under which names.
func TestSelection(t *testing.T) {
	entries := []string{
		"a.txt", "b.md", "c.md", "dir/x.md", "dir/y.txt", "dir/sub/z.md", "dir/sub/deep/w.txt", "empty/",
		"to-dir->dir", "to-file->a.txt", "abs->/dir/sub", "up->../../dir", "loop->loop", "gone->nowhere", "dir/back->../b.md",
		"[odd]", "log/a.log", "log/keep.log",
	}
	for _, tc := range []struct {
		name   string
		ignore string
		use    graph.Use
		want   string // "name<entry" where they differ
		err    string
	}{
		{"a file", "", graph.Use{Paths: []string{"a.txt"}}, "<a.txt", ""},
		{"a folder", "", graph.Use{Paths: []string{"dir/sub"}}, "<dir/sub deep<dir/sub/deep deep/w.txt<dir/sub/deep/w.txt z.md<dir/sub/z.md", ""},
		{"the same with slashes", "", graph.Use{Paths: []string{"/./dir//sub/"}}, "<dir/sub deep<dir/sub/deep deep/w.txt<dir/sub/deep/w.txt z.md<dir/sub/z.md", ""},
		{"an empty folder", "", graph.Use{Paths: []string{"empty"}}, "<empty", ""},
		{"out of the root", "", graph.Use{Paths: []string{"../../a.txt"}}, "<a.txt", ""},
		{"several", "", graph.Use{Paths: []string{"b.md", "a.txt"}}, "<b.md <a.txt", ""},
		{"nothing there", "", graph.Use{Paths: []string{"a.text"}}, "", `"a.text" is not in the context`},
		{"two missing at once", "", graph.Use{Paths: []string{"nope", "a.txt", "dir/nope"}}, "", `"dir/nope" is not in the context`},
		{"below a file", "", graph.Use{Paths: []string{"a.txt/x"}}, "", "not in the context"},
		{"ignored", "a.txt\n", graph.Use{Paths: []string{"a.txt"}}, "", "not in the context"},

		{"a link to a file", "", graph.Use{Paths: []string{"to-file"}}, "<a.txt", ""},
		{"a link to a folder", "", graph.Use{Paths: []string{"to-dir/sub/z.md"}}, "<dir/sub/z.md", ""},
		{"an absolute link", "", graph.Use{Paths: []string{"abs/z.md"}}, "<dir/sub/z.md", ""},
		{"a link out of the root", "", graph.Use{Paths: []string{"up/x.md"}}, "<dir/x.md", ""},
		{"a link in a folder", "", graph.Use{Paths: []string{"dir/back"}}, "<b.md", ""},
		{"a loop", "", graph.Use{Paths: []string{"loop/x"}}, "", "not in the context"},
		{"a dangling link", "", graph.Use{Paths: []string{"gone"}}, "", "not in the context"},
		{"a link to what is ignored", "a.txt\n", graph.Use{Paths: []string{"to-file"}}, "", "not in the context"},

		{"wildcard", "", graph.Use{Paths: []string{"*.md"}, Wildcard: true}, "b.md c.md", ""},
		{"wildcard without the flag", "", graph.Use{Paths: []string{"*.md"}}, "", "not in the context"},
		{"wildcard folder", "", graph.Use{Paths: []string{"d*/s*"}, Wildcard: true}, "dir/sub dir/sub/deep dir/sub/deep/w.txt dir/sub/z.md", ""},
		{"wildcard below a link", "", graph.Use{Paths: []string{"to-dir/*.md"}, Wildcard: true}, "x.md<dir/x.md", ""},
		{"wildcard matches links", "", graph.Use{Paths: []string{"to-*"}, Wildcard: true}, "to-dir<dir to-dir/back<dir/back to-dir/sub<dir/sub to-dir/sub/deep<dir/sub/deep to-dir/sub/deep/w.txt<dir/sub/deep/w.txt to-dir/sub/z.md<dir/sub/z.md to-dir/x.md<dir/x.md to-dir/y.txt<dir/y.txt to-file<a.txt", ""},
		{"wildcard matches a dangling link", "", graph.Use{Paths: []string{"gon?"}, Wildcard: true}, "gone", ""},
		{"wildcard without a match", "", graph.Use{Paths: []string{"*.nope"}, Wildcard: true}, "", ""},
		{"wildcard in a folder that is not there", "", graph.Use{Paths: []string{"nope/*"}, Wildcard: true}, "", "not in the context"},
		{"bad wildcard", "", graph.Use{Paths: []string{"[a-"}, Wildcard: true}, "", "bad pattern"},
		{"escaped wildcard", "", graph.Use{Paths: []string{"[[]odd*"}, Wildcard: true}, "[odd]", ""},

		{"exclude", "", graph.Use{Paths: []string{"dir"}, Exclude: []string{"*.md", "sub/deep"}}, "<dir back<dir/back sub<dir/sub sub/z.md<dir/sub/z.md y.txt<dir/y.txt", ""},
		{"exclude everywhere", "", graph.Use{Paths: []string{"dir"}, Exclude: []string{"**/*.md"}}, "<dir back<dir/back sub<dir/sub sub/deep<dir/sub/deep sub/deep/w.txt<dir/sub/deep/w.txt y.txt<dir/y.txt", ""},
		{"exclude with an exception", "", graph.Use{Paths: []string{"dir"}, Exclude: []string{"**", "!sub/z.md"}}, "<dir sub<dir/sub sub/z.md<dir/sub/z.md", ""},
		{"exclude from a wildcard", "", graph.Use{Paths: []string{"di*"}, Wildcard: true, Exclude: []string{"sub", "back"}}, "dir dir/x.md dir/y.txt", ""},
		{"parents", "", graph.Use{Paths: []string{"."}, Include: []string{"dir/sub/z.md"}}, "dir dir/sub dir/sub/z.md", ""},
		{"parents from a pivot", "", graph.Use{Paths: []string{"dir"}, Include: []string{"sub/deep"}}, "<dir sub<dir/sub sub/deep<dir/sub/deep sub/deep/w.txt<dir/sub/deep/w.txt", ""},
		{"parents with wildcards", "", graph.Use{Paths: []string{"."}, Include: []string{"**/*.txt"}}, "a.txt dir dir/sub dir/sub/deep dir/sub/deep/w.txt dir/y.txt", ""},
		{"parents and exclude", "", graph.Use{Paths: []string{"."}, Include: []string{"**/*.txt"}, Exclude: []string{"dir/sub"}}, "a.txt dir dir/y.txt", ""},
		{"parents missing", "", graph.Use{Paths: []string{"dir"}, Include: []string{"sub/none"}}, "", `"dir/sub/none" is not in the context`},
		{"parents without a match", "", graph.Use{Paths: []string{"."}, Include: []string{"*.none"}}, "", ""},
		// The daemon makes the destination for a match of which nothing is left.
		{"nothing left of a match", "", graph.Use{Paths: []string{"emp*"}, Wildcard: true, Include: []string{"*.none"}}, "<", ""},
		{"bad include", "", graph.Use{Paths: []string{"."}, Include: []string{"[a-"}}, "", "bad pattern"},

		{"everything", "*\n!log\nlog/*.log\n!log/keep.log\n", graph.Use{Paths: []string{"."}}, "log log/keep.log", ""},
		{"everything is ignored", "*\n", graph.Use{Paths: []string{"."}}, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			plant(t, root, entries...)
			dockerfile := filepath.Join(t.TempDir(), "Dockerfile")
			plant(t, filepath.Dir(dockerfile), "Dockerfile.dockerignore="+tc.ignore)
			tree := open(t, root, dockerfile)
			_, err := tree.Digest(tc.use)
			if tc.err != "" {
				var l diag.List
				if !errors.As(err, &l) || l[0].Code != diag.RecipeSource || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got %v, want %s", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			list, err := tree.selection(tc.use)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range list {
				if s.name == s.entry.path && s.name != "" {
					got = append(got, s.name)
				} else {
					got = append(got, s.name+"<"+s.entry.path)
				}
			}
			if d := cmp.Diff(strings.Fields(tc.want), got, equalEmpty); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

var equalEmpty = cmp.Transformer("sorted", func(s []string) []string {
	s = append([]string{}, s...)
	slices.Sort(s)
	return s
})

// TestSensitivity says what changes a digest and what does not.
func TestSensitivity(t *testing.T) {
	entries := []string{"a", "b", "dir/x", "dir/y=1", "link->dir/x", "ignored.log", ".dockerignore=*.log\n"}
	at := func(root, name string) string { return filepath.Join(root, name) }
	for _, tc := range []struct {
		name    string
		change  func(root string) error
		all     bool
		use     graph.Use
		changed bool
	}{
		{"times", func(r string) error { return os.Chtimes(at(r, "dir/x"), time.Unix(1, 0), time.Unix(1, 0)) }, false, graph.Use{Paths: []string{"dir"}}, false},
		{"content", func(r string) error { return os.WriteFile(at(r, "dir/x"), []byte("new"), 0o644) }, true, graph.Use{Paths: []string{"dir"}}, true},
		{"content of the same size", func(r string) error { return os.WriteFile(at(r, "dir/y"), []byte("2"), 0o644) }, true, graph.Use{Paths: []string{"dir"}}, true},
		{"content elsewhere", func(r string) error { return os.WriteFile(at(r, "a"), []byte("new"), 0o644) }, true, graph.Use{Paths: []string{"dir"}}, false},
		{"content behind a link", func(r string) error { return os.WriteFile(at(r, "dir/x"), []byte("new"), 0o644) }, true, graph.Use{Paths: []string{"link"}}, true},
		{"ignored content", func(r string) error { return os.WriteFile(at(r, "ignored.log"), []byte("new"), 0o644) }, false, graph.Use{Paths: []string{"."}}, false},
		{"mode of a file", func(r string) error { return os.Chmod(at(r, "dir/x"), 0o755) }, true, graph.Use{Paths: []string{"dir"}}, true},
		{"mode of a folder", func(r string) error { return os.Chmod(at(r, "dir"), 0o700) }, true, graph.Use{Paths: []string{"dir"}}, true},
		{"mode of the root", func(r string) error { return os.Chmod(r, 0o700) }, false, graph.Use{Paths: []string{"."}}, false},
		{"a new name", func(r string) error { return os.Rename(at(r, "dir/x"), at(r, "dir/z")) }, true, graph.Use{Paths: []string{"dir"}}, true},
		{"a new file", func(r string) error { return os.WriteFile(at(r, "dir/z"), nil, 0o644) }, true, graph.Use{Paths: []string{"dir"}}, true},
		{"a removed file", func(r string) error { return os.Remove(at(r, "dir/x")) }, true, graph.Use{Paths: []string{"dir"}}, true},
		{"a file in place of a folder", func(r string) error {
			return errors.Join(os.RemoveAll(at(r, "dir")), os.WriteFile(at(r, "dir"), nil, 0o755))
		}, true, graph.Use{Paths: []string{"dir"}}, true},
		{"a link's target", func(r string) error {
			return errors.Join(os.Remove(at(r, "link")), os.Symlink("dir/y", at(r, "link")))
		}, true, graph.Use{Paths: []string{"."}}, true},
		{"a link's target, not copied", func(r string) error {
			return errors.Join(os.Remove(at(r, "link")), os.Symlink("dir/y", at(r, "link")))
		}, true, graph.Use{Paths: []string{"a", "dir"}}, false},
		{"a copy in place of the file", func(r string) error {
			data, err := os.ReadFile(at(r, "a"))
			return errors.Join(err, os.Remove(at(r, "a")), os.WriteFile(at(r, "a"), data, 0o644))
		}, false, graph.Use{Paths: []string{"a"}}, false},
		{"two files swapped", func(r string) error {
			return errors.Join(os.WriteFile(at(r, "a"), []byte("b"), 0o644), os.WriteFile(at(r, "b"), []byte("a"), 0o644))
		}, true, graph.Use{Paths: []string{"a", "b"}}, true},
		{"a hard link in place of a copy", func(r string) error {
			return errors.Join(os.Remove(at(r, "b")), os.WriteFile(at(r, "b"), []byte("b"), 0o644), os.Link(at(r, "b"), at(r, "dir/b")), os.Remove(at(r, "dir/b")))
		}, false, graph.Use{Paths: []string{"b"}}, false},
		{"an extended attribute", func(r string) error {
			err := unix.Setxattr(at(r, "a"), "user.test", []byte("1"), 0)
			if errors.Is(err, unix.ENOTSUP) {
				return errSkip
			}
			return err
		}, true, graph.Use{Paths: []string{"a"}}, true},
		{"a pipe", func(r string) error { return unix.Mkfifo(at(r, "dir/pipe"), 0o644) }, true, graph.Use{Paths: []string{"dir"}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			plant(t, root, entries...)
			use, all := digest(t, root, tc.use), digest(t, root, graph.Use{Paths: []string{"."}})
			if err := tc.change(root); errors.Is(err, errSkip) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			if got := digest(t, root, tc.use) != use; got != tc.changed {
				t.Errorf("the use's digest changed: %v, want %v", got, tc.changed)
			}
			if got := digest(t, root, graph.Use{Paths: []string{"."}}) != all; got != tc.all {
				t.Errorf("the context's digest changed: %v, want %v", got, tc.all)
			}
		})
	}
}

var errSkip = errors.New("not supported here")

// TestHardLinks: names of one file have its content each, also when the first
// is ignored.
func TestHardLinks(t *testing.T) {
	for _, ignore := range []string{"", "a\n", "b\n"} {
		t.Run(fmt.Sprintf("ignore %q", ignore), func(t *testing.T) {
			linked, copied := t.TempDir(), t.TempDir()
			plant(t, linked, "a=same", ".dockerignore="+ignore)
			plant(t, copied, "a=same", "b=same", ".dockerignore="+ignore)
			if err := os.Link(filepath.Join(linked, "a"), filepath.Join(linked, "b")); err != nil {
				t.Fatal(err)
			}
			all := graph.Use{Paths: []string{"."}}
			if digest(t, linked, all) != digest(t, copied, all) {
				t.Error("a hard link differs from a copy")
			}
		})
	}
}

func TestIgnoreFile(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files []string
		named bool // a named context: no Dockerfile
		want  []string
	}{
		{"none", nil, false, nil},
		{"of the context", []string{".dockerignore=*.log\n# comment\n\n/tmp/\n! keep.log \n"}, false, []string{"*.log", "tmp", "!keep.log"}},
		{"of the Dockerfile", []string{".dockerignore=a\n", "Dockerfile.dockerignore=b\n"}, false, []string{"b"}},
		{"of the Dockerfile, empty", []string{".dockerignore=a\n", "Dockerfile.dockerignore="}, false, nil},
		{"of another Dockerfile", []string{".dockerignore=a\n", "Other.dockerignore=b\n"}, false, []string{"a"}},
		{"named context", []string{".dockerignore=a\n", "Dockerfile.dockerignore=b\n"}, true, []string{"a"}},
		{"byte order mark", []string{".dockerignore=\ufeffa\r\nb\r\n"}, false, []string{"a", "b"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			plant(t, root, tc.files...)
			dockerfile := filepath.Join(root, "Dockerfile")
			if tc.named {
				dockerfile = ""
			}
			if d := cmp.Diff(tc.want, open(t, root, dockerfile).Excludes()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestBadIgnore(t *testing.T) {
	root := t.TempDir()
	plant(t, root, ".dockerignore=ok\n  [a-\n!\n# [\n*.log\nx[\n")
	_, err := Open(root, "")
	var l diag.List
	if !errors.As(err, &l) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, p := range l {
		got = append(got, fmt.Sprintf("%s %s:%d:%d %q", p.Code, filepath.Base(p.Pos.File), p.Pos.Line, p.Pos.Col, p.Source))
	}
	want := []string{
		`ignore-syntax .dockerignore:2:3 "  [a-"`,
		`ignore-syntax .dockerignore:3:1 "!"`,
		`ignore-syntax .dockerignore:6:1 "x["`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestNoContext(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "file")
	for _, dir := range []string{filepath.Join(root, "none"), filepath.Join(root, "file")} {
		_, err := Open(dir, "")
		var l diag.List
		if !errors.As(err, &l) || l[0].Code != diag.FleetNotFound {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// TestDidYouMean: a missing path is answered with what stands beside it.
func TestDidYouMean(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "src/server.go")
	_, err := open(t, root, "").Digest(graph.Use{Paths: []string{"src/sever.go"}})
	var l diag.List
	if !errors.As(err, &l) || !strings.Contains(l[0].Help, "did you mean server.go?") {
		t.Errorf("%v", err)
	}
}

// TestReadOnce: after the first digest no file is opened again, so another one
// over the same files holds although they are gone.
func TestReadOnce(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "a", "dir/b", "dir/c")
	tree := open(t, root, "")
	if _, err := tree.All(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "dir")); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Digest(graph.Use{Paths: []string{"dir"}}); err != nil {
		t.Errorf("read again: %v", err)
	}
}

func TestUnreadable(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "a", "b")
	tree := open(t, root, "")
	if _, err := tree.Digest(graph.Use{Paths: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.All(); diag.KindOf(err) != diag.File || diag.HelpOf(err) == "" {
		t.Errorf("kind %v, help %q: %v", diag.KindOf(err), diag.HelpOf(err), err)
	}
}

// TestConcurrent: everyone gets the same answers at the same time.
func TestConcurrent(t *testing.T) {
	root := t.TempDir()
	for i := range 200 {
		plant(t, root, fmt.Sprintf("d%d/f%d", i%7, i))
	}
	tree := open(t, root, "")
	var mu sync.Mutex
	got := map[string]map[graph.Digest]bool{}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			u := graph.Use{Context: fmt.Sprint(i), Paths: []string{[]string{".", "d1", "d*", "d2/f2"}[i%4]}, Wildcard: true}
			d, err := tree.Digest(u)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if got[u.Paths[0]] == nil {
				got[u.Paths[0]] = map[graph.Digest]bool{}
			}
			got[u.Paths[0]][d] = true
		})
	}
	wg.Wait()
	for p, ds := range got {
		if len(ds) != 1 {
			t.Errorf("%s has %d digests", p, len(ds))
		}
	}
	if len(tree.digests) != 4 {
		t.Errorf("%d digests computed for 4 uses", len(tree.digests))
	}
}

// BenchmarkAll digests 4,000 files of 100 MB in all.
func BenchmarkAll(b *testing.B) {
	root := b.TempDir()
	text := strings.Repeat("x", 25<<10)
	for i := range 4000 {
		plant(b, root, fmt.Sprintf("d%d/f%d=%d%s", i%80, i, i, text))
	}
	plant(b, root, ".dockerignore=**/*.log\n**/node_modules\n!keep.log\n")
	b.SetBytes(4000 * int64(len(text)))
	for b.Loop() {
		if _, err := open(b, root, "").All(); err != nil {
			b.Fatal(err)
		}
	}
}
