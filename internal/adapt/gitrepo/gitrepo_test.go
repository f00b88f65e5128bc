package gitrepo_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// repo is a repository of a test.
type repo struct {
	t     *testing.T
	dir   string
	clock int64
}

// start is when the first commit of every repository is made.
const start = 1700000000

func newRepo(t *testing.T) *repo {
	t.Helper()
	r := &repo{t: t, dir: filepath.Join(t.TempDir(), "repo"), clock: start}
	git(t, "", "init", "-q", "-b", "main", r.dir)
	return r
}

// git runs git without the user's configuration and returns what it prints.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	return gitAt(t, start, dir, args...)
}

func gitAt(t *testing.T, clock int64, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir = dir
	date := fmt.Sprintf("%d +0200", clock)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=A. Uthor", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=C", "GIT_COMMITTER_EMAIL=c@example.com", "GIT_AUTHOR_DATE="+date, "GIT_COMMITTER_DATE="+date)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	return gitAt(r.t, r.clock, r.dir, args...)
}

// write writes files: a text, "" removes, a text that begins with "-> " is a link.
func (r *repo) write(files map[string]string) {
	r.t.Helper()
	for name, text := range files {
		path := filepath.Join(r.dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		os.Remove(path)
		switch to, link := strings.CutPrefix(text, "-> "); {
		case text == "":
		case link:
			err = errors.Join(err, os.Symlink(to, path))
		default:
			mode := fs.FileMode(0o644)
			if strings.HasPrefix(text, "#!") {
				mode = 0o755
			}
			err = errors.Join(err, os.WriteFile(path, []byte(text), mode))
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// commit writes files and commits everything, a minute after the last commit.
func (r *repo) commit(subject string, files map[string]string) string {
	r.t.Helper()
	r.write(files)
	r.clock += 60
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", subject)
	return r.git("rev-parse", "HEAD")
}

func open(t *testing.T, path string) *gitrepo.Repo {
	t.Helper()
	r, err := gitrepo.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOpen(t *testing.T) {
	r := newRepo(t)
	c := r.commit("one", map[string]string{"sub/a": "a"})
	bare, linked := filepath.Join(t.TempDir(), "bare.git"), filepath.Join(t.TempDir(), "linked")
	git(t, "", "clone", "-q", "--bare", r.dir, bare)
	r.git("worktree", "add", "-q", "--detach", linked)
	for name, tt := range map[string]struct{ path, work string }{
		"a work tree":            {r.dir, r.dir},
		"a folder in one":        {filepath.Join(r.dir, "sub"), r.dir},
		"a git directory":        {filepath.Join(r.dir, ".git"), ""},
		"a bare repository":      {bare, ""},
		"a linked work tree":     {linked, linked},
		"an untidy path":         {r.dir + "/sub/../", r.dir},
		"a folder in a bare one": {filepath.Join(bare, "refs"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := open(t, tt.path)
			if got.WorkTree() != tt.work || got.Shallow() {
				t.Errorf("work tree %q, shallow %t", got.WorkTree(), got.Shallow())
			}
			hash, err := got.Resolve(t.Context(), "main")
			if err != nil || hash != c {
				t.Errorf("main is %s (%v), want %s", hash, err, c)
			}
			dir, err := got.Materialise(t.Context(), t.TempDir(), c, nil)
			if err != nil {
				t.Fatal(err)
			}
			if data, err := os.ReadFile(filepath.Join(dir, "sub/a")); string(data) != "a" {
				t.Errorf("%q %v", data, err)
			}
		})
	}
	for name, want := range map[string]string{t.TempDir(): "is not in a git repository", "/nowhere/at/all": "does not exist"} {
		_, err := gitrepo.Open(t.Context(), name)
		if diag.KindOf(err) != diag.File || diag.HelpOf(err) == "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWithoutGit(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := gitrepo.Open(t.Context(), t.TempDir())
	if diag.KindOf(err) != diag.Infra || diag.HelpOf(err) != "install git" {
		t.Errorf("%v %v", diag.KindOf(err), err)
	}
}

func TestResolve(t *testing.T) {
	r := newRepo(t)
	one := r.commit("one", nil)
	r.git("tag", "-a", "-m", "annotated", "v1.0")
	r.git("branch", "feature/login")
	two := r.commit("two", nil)
	r.git("update-ref", "refs/remotes/origin/release", two)
	g := open(t, r.dir)
	for ref, want := range map[string]string{
		"main": two, "v1.0": one, "feature/login": one, "HEAD~1": one, two: two, one[:9]: one, "refs/tags/v1.0": one, "origin/release": two,
	} {
		if got, err := g.Resolve(t.Context(), ref); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", ref, got, err, want)
		}
	}
	for ref, help := range map[string]string{
		"mian":                    "did you mean main?",
		"feature/logon":           "did you mean feature/login?",
		"release":                 "did you mean origin/release?",
		"entirely-something-else": "name a branch, a tag or a commit",
		strings.Repeat("0", 40):   "name a branch, a tag or a commit",
		"--all":                   "name a branch, a tag or a commit",
		"":                        "name a branch, a tag or a commit",
		"HEAD^{tree}":             "name a branch, a tag or a commit",
	} {
		_, err := g.Resolve(t.Context(), ref)
		var missing *gitrepo.RefError
		if !errors.As(err, &missing) || missing.Ref != ref || missing.Shallow || diag.KindOf(err) != diag.File || diag.HelpOf(err) != help {
			t.Errorf("%q: %v, help %q, want %q", ref, err, diag.HelpOf(err), help)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := g.Resolve(ctx, "main"); diag.KindOf(err) != diag.Interrupted {
		t.Errorf("%v", err)
	}
}

func TestShallow(t *testing.T) {
	r := newRepo(t)
	one := r.commit("one", map[string]string{"a": "1"})
	for i := range 4 {
		r.commit(fmt.Sprint("more ", i), map[string]string{"a": fmt.Sprint(i)})
	}
	dir := filepath.Join(t.TempDir(), "shallow")
	git(t, "", "clone", "-q", "--depth=2", "file://"+r.dir, dir)
	g := open(t, dir)
	if !g.Shallow() {
		t.Fatal("not shallow")
	}
	_, err := g.Resolve(t.Context(), one)
	var missing *gitrepo.RefError
	if !errors.As(err, &missing) || !missing.Shallow || diag.HelpOf(err) != "fetch all of it: git fetch --unshallow" {
		t.Errorf("%v", err)
	}
	// An orphan is there, and how it is related is not known.
	git(t, dir, "checkout", "-q", "--orphan", "other")
	git(t, dir, "commit", "-q", "-m", "orphan")
	for what, err := range map[string]error{
		"ancestor": second(g.IsAncestor(t.Context(), "other", "main")),
		"distance": second(g.Distance(t.Context(), "other", "main")),
		"base":     second(g.MergeBase(t.Context(), "other", "main")),
		"log":      first(g, t.Context(), "other", "main"),
	} {
		if diag.KindOf(err) != diag.File || !strings.Contains(fmt.Sprint(err), "is a shallow clone") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n, err := g.Distance(t.Context(), "main~1", "main"); n != 1 || err != nil {
		t.Errorf("distance %d, %v", n, err)
	}
}

func second[T any](_ T, err error) error { return err }

func first(g *gitrepo.Repo, ctx context.Context, from, to string) error {
	for _, err := range g.Log(ctx, from, to) {
		return err
	}
	return nil
}

func TestHistory(t *testing.T) {
	r := newRepo(t)
	root := r.commit("root", nil)
	a := r.commit("on main", nil)
	r.git("checkout", "-q", "-b", "side", root)
	b := r.commit("on the side\n\nwith a body\nof lines", nil)
	r.git("checkout", "-q", "main")
	r.clock += 60
	r.git("merge", "-q", "--no-ff", "-m", "merge \xe9 | 'side'", "side")
	m := r.git("rev-parse", "HEAD")
	r.git("checkout", "-q", "--orphan", "orphan")
	orphan := r.commit("orphan", nil)
	g := open(t, r.dir)

	var got []string
	for c, err := range g.Log(t.Context(), root, m) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %d %s %s %s", c.Hash, len(c.Parents), c.Author, c.Committed.Sub(time.Unix(start, 0)), c.Subject))
	}
	want := []string{a + " 1 A. Uthor 2m0s on main", b + " 1 A. Uthor 3m0s on the side", m + " 2 A. Uthor 4m0s merge é | 'side'"}
	if strings.HasPrefix(got[0], b) { // either line of development may come first
		want[0], want[1] = want[1], want[0]
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	n := 0
	for c, err := range g.Log(t.Context(), "", m) {
		if err != nil || n == 0 && (c.Hash != root || c.Parents != nil || !c.Authored.Equal(time.Unix(start+60, 0))) {
			t.Errorf("%+v %v", c, err)
		}
		n++
	}
	if n != 4 {
		t.Errorf("%d commits", n)
	}
	c, err := g.Commit(t.Context(), b)
	if err != nil || c.Subject != "on the side" || c.Tree != r.git("rev-parse", b+"^{tree}") {
		t.Errorf("%+v %v", c, err)
	}
	for _, tt := range []struct {
		a, b string
		is   bool
		base string
		n    int
	}{
		{root, m, true, root, 3}, {m, root, false, root, 0}, {a, b, false, root, 1}, {a, a, true, a, 0}, {orphan, m, false, "", 4},
	} {
		is, err := g.IsAncestor(t.Context(), tt.a, tt.b)
		base, err2 := g.MergeBase(t.Context(), tt.a, tt.b)
		n, err3 := g.Distance(t.Context(), tt.a, tt.b)
		if err := errors.Join(err, err2, err3); err != nil || is != tt.is || base != tt.base || n != tt.n {
			t.Errorf("%v: ancestor %t, base %q, distance %d, %v", tt, is, base, n, err)
		}
	}
	if err := first(g, t.Context(), root, "nothing"); diag.KindOf(err) != diag.Infra {
		t.Errorf("%v", err)
	}
	if _, err := g.Commit(t.Context(), strings.Repeat("0", 40)); err == nil {
		t.Error("a commit that is not there is described")
	}
}

// TestLogEndsEarly leaves the loop, and cancels inside it.
func TestLogEndsEarly(t *testing.T) {
	r := newRepo(t)
	many(r, 500)
	g := open(t, r.dir)
	n := 0
	for _, err := range g.Log(t.Context(), "", "main") {
		if n++; err != nil || n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d commits", n)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var last error
	n = 0
	for _, err := range g.Log(ctx, "", "main") {
		stop()
		if last = err; err == nil {
			n++
		}
	}
	if n < 500 && diag.KindOf(last) != diag.Interrupted {
		t.Errorf("after %d commits: %v", n, last)
	}
}

// many makes n commits with git fast-import: in each one file of 200 changes.
func many(r *repo, n int) {
	r.t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "commit refs/heads/main\ncommitter C <c@example.com> %d +0000\ndata 9\ncommit %02d\n", start+i, i%100)
		text := fmt.Sprintf("version %d\n", i)
		fmt.Fprintf(&b, "M 100644 inline dir%d/file%d\ndata %d\n%s\n", i%10, i%200, len(text), text)
	}
	cmd := exec.Command("git", "-C", r.dir, "fast-import", "--quiet")
	cmd.Stdin = strings.NewReader(b.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
}

// TestListingOverHistory keeps a listing over many commits by what
// changes, and compares it with what git lists at the end.
func TestListingOverHistory(t *testing.T) {
	r := newRepo(t)
	const commits = 500
	many(r, commits)
	g := open(t, r.dir)
	d, o := g.Differ(), g.Objects()
	defer d.Close()
	defer o.Close()
	listing := map[string]gitrepo.Entry{}
	tree, n, read := "", 0, 0
	for c, err := range g.Log(t.Context(), "", "main") {
		if err != nil {
			t.Fatal(err)
		}
		changes, err := d.Changes(t.Context(), tree, c.Tree)
		if err != nil {
			t.Fatal(err)
		}
		if len(changes) != 1 {
			t.Fatalf("commit %d changes %v", n, changes)
		}
		apply(listing, changes)
		if data, err := o.Blob(t.Context(), changes[0].NewHash); err != nil || string(data) != fmt.Sprintf("version %d\n", n) {
			t.Fatalf("%q %v", data, err)
		}
		read++
		tree = c.Tree
		n++
	}
	if n != commits || read != commits || len(listing) != 200 {
		t.Errorf("%d commits, %d files", n, len(listing))
	}
	sameListing(t, g, "main", listing)
}

func apply(listing map[string]gitrepo.Entry, changes []gitrepo.Change) {
	for _, c := range changes {
		if c.New == gitrepo.None {
			delete(listing, c.Path)
		} else {
			listing[c.Path] = gitrepo.Entry{Path: c.Path, Mode: c.New, Hash: c.NewHash}
		}
	}
}

func sameListing(t *testing.T, g *gitrepo.Repo, commit string, got map[string]gitrepo.Entry) {
	t.Helper()
	want := map[string]gitrepo.Entry{}
	for e, err := range g.Tree(t.Context(), commit) {
		if err != nil {
			t.Fatal(err)
		}
		want[e.Path] = e
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestChanges compares trees of every kind of entry, in any order.
func TestChanges(t *testing.T) {
	r := newRepo(t)
	one := r.commit("one", map[string]string{"a": "1", "dir/b": "2", "run": "#! x", "link": "-> a", "odd\nname\t\"é": "3"})
	r.git("update-index", "--add", "--cacheinfo", "160000,"+one+",vendor/sdk")
	r.git("commit", "-q", "-m", "with a submodule")
	two := r.git("rev-parse", "HEAD")
	os.Chmod(filepath.Join(r.dir, "a"), 0o755)
	r.git("rm", "-q", "--cached", "vendor/sdk")
	three := r.commit("three", map[string]string{"dir/b": "", "c/moved": "2", "link": "-> run", "run": "a file"})
	g := open(t, r.dir)
	d := g.Differ()
	defer d.Close()
	trees := map[string]string{"": ""}
	for _, c := range []string{one, two, three} {
		trees[c] = r.git("rev-parse", c+"^{tree}")
	}
	for _, from := range []string{"", one, two, three} {
		for _, to := range []string{one, two, three} {
			listing := map[string]gitrepo.Entry{}
			if from != "" {
				for e, err := range g.Tree(t.Context(), from) {
					if err != nil {
						t.Fatal(err)
					}
					listing[e.Path] = e
				}
			}
			changes, err := d.Changes(t.Context(), trees[from], trees[to])
			if err != nil || (len(changes) == 0) != (from == to) {
				t.Fatalf("%d changes, %v", len(changes), err)
			}
			for _, c := range changes {
				if c.Old != gitrepo.None && listing[c.Path] != (gitrepo.Entry{Path: c.Path, Mode: c.Old, Hash: c.OldHash}) {
					t.Errorf("%+v was %+v", c, listing[c.Path])
				}
			}
			apply(listing, changes)
			sameListing(t, g, to, listing)
		}
	}
	gone, err := d.Changes(t.Context(), trees[one], "")
	if err != nil || len(gone) != 5 || gone[0].New != gitrepo.None || gone[0].NewHash != "" {
		t.Errorf("%+v %v", gone, err)
	}
	// A tree that is not there ends the process; the next question starts another.
	if _, err := d.Changes(t.Context(), trees[one], strings.Repeat("1", 40)); diag.KindOf(err) != diag.Infra {
		t.Errorf("%v", err)
	}
	if _, err := d.Changes(t.Context(), "main", trees[one]); diag.KindOf(err) != diag.Internal {
		t.Errorf("%v", err)
	}
	if c, err := d.Changes(t.Context(), trees[one], trees[two]); err != nil || len(c) != 1 || c[0].New != gitrepo.Submodule || c[0].NewHash != one {
		t.Errorf("%+v %v", c, err)
	}
}

func TestReadFile(t *testing.T) {
	r := newRepo(t)
	c := r.commit("one", map[string]string{"docker/Dockerfile": "FROM x\n", "link": "-> docker/Dockerfile", "up": "-> ../out", "loop": "-> loop", "gone": "-> nothing", "empty": "\n"})
	g := open(t, r.dir)
	for name, want := range map[string]string{"docker/Dockerfile": "FROM x\n", "./docker//Dockerfile": "FROM x\n", "link": "FROM x\n", "docker/../empty": "\n"} {
		if data, err := g.ReadFile(t.Context(), c, name); err != nil || string(data) != want {
			t.Errorf("%s: %q %v", name, data, err)
		}
	}
	for _, name := range []string{"none", "docker/none", "empty/x", "gone", "loop", "../x", "/etc/passwd", ".", "a\nb"} {
		if data, err := g.ReadFile(t.Context(), c, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q %v", name, data, err)
		}
	}
	for name, want := range map[string]string{"docker": "read docker: not a file", "up": "read up: a link out of the tree, to ../out"} {
		if _, err := g.ReadFile(t.Context(), c, name); fmt.Sprint(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestObjectsTogether reads from many goroutines, some of which give up.
func TestObjectsTogether(t *testing.T) {
	r := newRepo(t)
	files := map[string]string{"large": strings.Repeat("x", 3<<20)}
	for i := range 50 {
		files[fmt.Sprint(i)] = fmt.Sprintf("content %d", i)
	}
	c := r.commit("one", files)
	g := open(t, r.dir)
	o := g.Objects()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if i%10 == 0 {
				ctx, stop := context.WithCancel(t.Context())
				stop()
				if _, err := o.File(ctx, c, fmt.Sprint(i)); diag.KindOf(err) != diag.Interrupted {
					t.Errorf("%v", err)
				}
			}
			if data, err := o.File(t.Context(), c, fmt.Sprint(i)); err != nil || string(data) != fmt.Sprintf("content %d", i) {
				t.Errorf("%d: %q %v", i, data, err)
			}
		})
	}
	wg.Wait()
	if data, err := o.File(t.Context(), c, "large"); err != nil || len(data) != 3<<20 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if _, err := o.Blob(t.Context(), strings.Repeat("0", 40)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := o.Blob(t.Context(), "x"); diag.KindOf(err) != diag.Internal {
		t.Errorf("%v", err)
	}
	o.Close()
	if _, err := o.File(t.Context(), c, "1"); diag.KindOf(err) != diag.Internal {
		t.Errorf("%v", err)
	}
}
