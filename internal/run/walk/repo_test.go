package walk_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/run/walk"
)

// tree is what a commit holds: contents by path. "->TO" is a link.
type tree map[string]string

// history writes commits by git's fast-import into a bare repository.
type history struct {
	t    testing.TB
	dir  string
	in   bytes.Buffer
	mark int
	now  tree
}

func newHistory(t testing.TB) *history {
	h := &history{t: t, dir: filepath.Join(t.TempDir(), "repo.git"), now: tree{}}
	h.git("init", "-q", "--bare", "-b", "main", h.dir)
	return h
}

func (h *history) git(args ...string) string {
	h.t.Helper()
	return h.run(nil, args...)
}

func (h *history) run(in []byte, args ...string) string {
	h.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_DIR="+h.dir)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit adds a commit with a tree on a branch, and gives its mark. Only what
// differs from the tree of the commit before is written. The second and further
// parents are marks.
func (h *history) commit(branch, subject string, next tree, merged ...int) int {
	h.mark++
	fmt.Fprintf(&h.in, "commit refs/heads/%s\nmark :%d\ncommitter C <c@example.com> %d +0000\ndata %d\n%s\n", branch, h.mark, 1700000000+60*h.mark, len(subject), subject)
	for _, m := range merged {
		fmt.Fprintf(&h.in, "merge :%d\n", m)
	}
	for _, p := range slices.Sorted(maps.Keys(h.now)) {
		if _, ok := next[p]; !ok {
			fmt.Fprintf(&h.in, "D %s\n", p)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(next)) {
		text := next[p]
		if was, ok := h.now[p]; ok && was == text {
			continue
		}
		mode := "100644"
		if to, ok := strings.CutPrefix(text, "->"); ok {
			mode, text = "120000", to
		}
		fmt.Fprintf(&h.in, "M %s inline %s\ndata %d\n%s\n", mode, p, len(text), text)
	}
	h.now = maps.Clone(next)
	return h.mark
}

// branch begins a branch at a mark, whose tree is given.
func (h *history) branch(name string, mark int, at tree) {
	fmt.Fprintf(&h.in, "reset refs/heads/%s\nfrom :%d\n\n", name, mark)
	h.now = maps.Clone(at)
}

// tag names a commit.
func (h *history) tag(name string, mark int) {
	fmt.Fprintf(&h.in, "reset refs/tags/%s\nfrom :%d\n\n", name, mark)
}

// open writes what was committed and opens the repository.
func (h *history) open() *gitrepo.Repo {
	h.t.Helper()
	h.run(h.in.Bytes(), "fast-import", "--quiet")
	r, err := gitrepo.Open(h.t.Context(), h.dir)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// walker walks over the commits of a repository that holds fleet.yaml.
func (h *history) walker(repo *gitrepo.Repo) *walk.Walker {
	w, err := walk.New(walk.Options{Repo: repo, FleetPath: "fleet.yaml", FleetName: "fleet.yaml", Load: fleetfile.Options{Rows: rows.Read}})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(w.Close)
	return w
}

// with is a tree with some files changed; the text "" removes one.
func (t tree) with(files ...string) tree {
	out := maps.Clone(t)
	for i := 0; i < len(files); i += 2 {
		if files[i+1] == "" {
			delete(out, files[i])
		} else {
			out[files[i]] = files[i+1]
		}
	}
	return out
}

// edit is a tree with a text replaced in one file, once.
func (t tree) edit(tb testing.TB, file, old, now string) tree {
	tb.Helper()
	if strings.Count(t[file], old) != 1 {
		tb.Fatalf("%s has %q %d times", file, old, strings.Count(t[file], old))
	}
	return t.with(file, strings.Replace(t[file], old, now, 1))
}
