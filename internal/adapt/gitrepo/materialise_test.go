package gitrepo_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// list describes everything in a folder: mode, time after start, content.
func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := ""
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			text, err = os.Readlink(path)
		case !d.IsDir():
			data, readErr := os.ReadFile(path)
			text, err = string(data), readErr
		}
		mode := info.Mode().String()
		if d.Type()&fs.ModeSymlink != 0 {
			mode = "L"
		}
		rel, _ := filepath.Rel(dir, path)
		out[rel] = fmt.Sprintf("%s %d %q", mode, info.ModTime().Unix()-start, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// hostile gives a repository, and the user, a configuration that changes what a
// checkout writes, and programs that leave a trace when they run.
func (r *repo) hostile() (trace string) {
	trace = filepath.Join(r.t.TempDir(), "trace")
	script := filepath.Join(r.t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ntouch "+trace+"\ncat\n"), 0o755); err != nil {
		r.t.Fatal(err)
	}
	for _, kv := range [][2]string{{"core.autocrlf", "true"}, {"core.fsmonitor", script}, {"filter.lfs.smudge", script}, {"core.symlinks", "false"}, {"core.sparseCheckout", "true"}} {
		r.git("config", kv[0], kv[1])
	}
	home := r.t.TempDir()
	r.t.Setenv("HOME", home)
	r.t.Setenv("XDG_CONFIG_HOME", home)
	r.t.Setenv("GIT_DIR", home)
	for name, text := range map[string]string{
		filepath.Join(home, ".gitconfig"):                 "[core]\n\tautocrlf = true\n[filter \"lfs\"]\n\tsmudge = " + script + "\n",
		filepath.Join(home, "git/attributes"):             "* filter=lfs text eol=crlf\n",
		filepath.Join(r.dir, ".git/info/attributes"):      "* filter=lfs text eol=crlf\n",
		filepath.Join(r.dir, ".git/info/sparse-checkout"): "/none\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, hook := range []string{"post-checkout", "post-index-change"} {
		if err := os.Symlink(script, filepath.Join(r.dir, ".git/hooks", hook)); err != nil {
			r.t.Fatal(err)
		}
	}
	return trace
}

func TestMaterialise(t *testing.T) {
	r := newRepo(t)
	c := r.commit("one", map[string]string{
		"a": "one\n", "dir/run": "#! x", "dir/link": "-> ../a", "big.bin": "pointer\n", "win.bat": "echo\n",
		".gitattributes": "*.bin filter=lfs\n*.bat text eol=crlf\n",
	})
	r.commit("two", map[string]string{"a": "two\n"})
	r.write(map[string]string{"a": "not committed\n"})
	before := list(t, filepath.Join(r.dir))
	index, err := os.ReadFile(filepath.Join(r.dir, ".git/index"))
	if err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(t.TempDir(), "bare.git")
	git(t, "", "clone", "-q", "--bare", r.dir, bare)
	trace := r.hostile()
	state := filepath.Join(t.TempDir(), "sources")
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	g := open(t, r.dir)
	dir, err := g.Materialise(t.Context(), state, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if dir != filepath.Join(state, c) {
		t.Errorf("written to %s", dir)
	}
	want := map[string]string{
		".": `drwxr-xr-x 60 ""`, "a": `-rw-r--r-- 60 "one\n"`, "dir": `drwxr-xr-x 60 ""`, "dir/run": `-rwxr-xr-x 60 "#! x"`,
		"dir/link": `L 60 "../a"`, "big.bin": `-rw-r--r-- 60 "pointer\n"`, "win.bat": `-rw-r--r-- 60 "echo\r\n"`,
		".gitattributes": `-rw-r--r-- 60 "*.bin filter=lfs\n*.bat text eol=crlf\n"`,
	}
	if d := cmp.Diff(want, list(t, dir)); d != "" {
		t.Error(d)
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("a program of the repository ran")
	}
	// The bare clone gives the same; a second time nothing is done.
	other, err := open(t, bare).Materialise(t.Context(), filepath.Join(t.TempDir(), "x"), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, list(t, other)); d != "" {
		t.Error(d)
	}
	if again, err := g.Materialise(t.Context(), state, c, nil); err != nil || again != dir {
		t.Errorf("%s %v", again, err)
	}
	if names, _ := os.ReadDir(state); len(names) != 2 { // and the note of its last use
		t.Errorf("the folder has %v", names)
	}
	// The user's work tree is as it was.
	now, err := os.ReadFile(filepath.Join(r.dir, ".git/index"))
	if err != nil || !bytes.Equal(index, now) {
		t.Error("the index changed", err)
	}
	if after := list(t, r.dir); after["a"] != before["a"] || after["dir/run"] != before["dir/run"] {
		t.Error("the work tree changed")
	}
	if _, err := g.Materialise(t.Context(), state, "0123456789012345678901234567890123456789", nil); err == nil {
		t.Error("a commit that is not there is written")
	}
	if names, _ := os.ReadDir(state); len(names) != 2 { // and the note of its last use
		t.Errorf("a failure leaves %v", names)
	}
}

func TestMaterialiseSubmodules(t *testing.T) {
	inner, sdk, top := newRepo(t), newRepo(t), newRepo(t)
	i := inner.commit("inner", map[string]string{"deep": "d\n"})
	sdk.clock += 3600
	sdk.commit("sdk", map[string]string{"lib": "l\n"})
	sdk.git("update-index", "--add", "--cacheinfo", "160000,"+i+",third/party")
	sdk.git("commit", "-q", "-m", "with inner")
	s := sdk.git("rev-parse", "HEAD")
	top.commit("top", map[string]string{"Dockerfile": "FROM x\n"})
	top.git("update-index", "--add", "--cacheinfo", "160000,"+s+",vendor/sdk")
	top.git("commit", "-q", "-m", "with sdk")
	c := top.git("rev-parse", "HEAD")
	g := open(t, top.dir)
	sdkBare := filepath.Join(t.TempDir(), "sdk.git")
	git(t, "", "clone", "-q", "--bare", sdk.dir, sdkBare)

	fail := func(given map[string]string, message, help string, missing bool) {
		t.Helper()
		_, err := g.Materialise(t.Context(), t.TempDir(), c, given)
		var sub *gitrepo.SubmoduleError
		if errors.As(err, &sub) != missing || diag.KindOf(err) != diag.File || fmt.Sprint(err) != message || diag.HelpOf(err) != help {
			t.Errorf("%v; help %q", err, diag.HelpOf(err))
		}
	}
	fail(nil, "vendor/sdk is a submodule, at commit "+s[:12], "name a local repository for it: submodules: {vendor/sdk: PATH}", true)
	fail(map[string]string{"vendor/sdk": sdkBare}, "vendor/sdk/third/party is a submodule, at commit "+i[:12], "name a local repository for it: submodules: {vendor/sdk/third/party: PATH}", true)
	all := map[string]string{"vendor/sdk": sdkBare, "vendor/sdk/third/party": inner.dir}
	fail(map[string]string{"vendor/sdk": sdkBare, "vendor/sdk/third/party": inner.dir, "vendor/sdx": "x"}, "there is no submodule at vendor/sdx", "did you mean vendor/sdk?", true)
	fail(map[string]string{"vendor/sdk": inner.dir}, fmt.Sprintf("submodule vendor/sdk: the git repository %s has no branch, tag or commit %q", inner.dir, s), "name a branch, a tag or a commit", false)

	dir, err := g.Materialise(t.Context(), t.TempDir(), c, all)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		".": `drwxr-xr-x 60 ""`, "Dockerfile": `-rw-r--r-- 60 "FROM x\n"`, "vendor": `drwxr-xr-x 60 ""`,
		"vendor/sdk": `drwxr-xr-x 3660 ""`, "vendor/sdk/lib": `-rw-r--r-- 3660 "l\n"`, "vendor/sdk/third": `drwxr-xr-x 3660 ""`,
		"vendor/sdk/third/party": `drwxr-xr-x 60 ""`, "vendor/sdk/third/party/deep": `-rw-r--r-- 60 "d\n"`,
	}
	if d := cmp.Diff(want, list(t, dir)); d != "" {
		t.Error(d)
	}
	if _, err := open(t, inner.dir).Materialise(t.Context(), t.TempDir(), i, map[string]string{"x": "y"}); diag.HelpOf(err) != "remove it: the tree has no submodules" {
		t.Errorf("%v", err)
	}
}

// TestMaterialiseTogether lets several writers race for one folder.
func TestMaterialiseTogether(t *testing.T) {
	r := newRepo(t)
	c := r.commit("one", map[string]string{"a": "1", "b/c": "2"})
	g := open(t, r.dir)
	state := t.TempDir()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if dir, err := g.Materialise(t.Context(), state, c, nil); err != nil || dir != filepath.Join(state, c) {
				t.Errorf("%s %v", dir, err)
			}
		})
	}
	wg.Wait()
	if got := list(t, state); len(got) != 6 { // with the note of its last use
		t.Errorf("%v", got)
	}
}

// TestSHA256 reads a repository whose hashes are SHA-256.
func TestSHA256(t *testing.T) {
	r := &repo{t: t, dir: filepath.Join(t.TempDir(), "repo"), clock: start}
	git(t, "", "init", "-q", "-b", "main", "--object-format=sha256", r.dir)
	c := r.commit("one", map[string]string{"a": "1"})
	g := open(t, r.dir)
	dir, err := g.Materialise(t.Context(), t.TempDir(), c, nil)
	if err != nil || len(c) != 64 {
		t.Fatal(c, err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "a")); string(data) != "1" {
		t.Errorf("%q %v", data, err)
	}
	d := g.Differ()
	defer d.Close()
	if changes, err := d.Changes(t.Context(), "", r.git("rev-parse", c+"^{tree}")); err != nil || len(changes) != 1 {
		t.Errorf("%v %v", changes, err)
	}
}
