package prepare

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// inputKey is the digest of all that the outputs are made of.
func inputKey(ctx context.Context, p fleet.Prepare) (string, error) {
	tool, err := find(p)
	if err != nil {
		return "", err
	}
	in, err := digests(ctx, p, p.Inputs, p.Outputs)
	if err != nil {
		return "", err
	}
	if len(in.unmatched) > 0 {
		return "", problem(p, diag.PrepareInput, "patterns are relative to "+p.Dir, "has inputs that match no file: %s", quoted(in.unmatched))
	}
	h := fielded{sha256.New()}
	h.add("prepare key", fmt.Sprint(version))
	h.add("run", p.Run...)
	h.add("inputs", p.Inputs...)
	h.add("outputs", p.Outputs...)
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		h.add("env", name, p.Env[name])
	}
	for _, name := range slices.Sorted(maps.Keys(in.files)) {
		h.add("file", name, in.files[name])
	}
	// Another version of the program may make other outputs. Its content would
	// be surer and is often large; an update always changes size or time.
	if st, err := os.Stat(tool); err == nil {
		h.add("tool", tool, fmt.Sprint(st.Size()), fmt.Sprint(st.ModTime().UnixNano()))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// fielded hashes lists of texts so that no two lists give the same bytes.
type fielded struct{ hash.Hash }

func (f fielded) add(name string, values ...string) {
	fmt.Fprintf(f, "%s %d\n", name, len(values))
	for _, v := range values {
		fmt.Fprintf(f, "%d:%s\n", len(v), v)
	}
}

// content is the files that some patterns match.
type content struct {
	files     map[string]string // slash path -> digest
	unmatched []string          // patterns that match no file
}

// digests reads the files under p.Dir that match one of patterns and none of
// but. A folder named .git is entered only for a pattern that names it: it
// changes with every command, and nothing is made of it unasked.
func digests(ctx context.Context, p fleet.Prepare, patterns, but []string) (content, error) {
	c := content{files: map[string]string{}}
	matched := make([]bool, len(patterns))
	root, err := filepath.EvalSymlinks(p.Dir) // the walk does not follow a link, not even its root
	if err != nil {
		return c, problem(p, diag.PrepareInput, "", "cannot read its folder: %v", err)
	}
	err = filepath.WalkDir(root, func(full string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, relErr := filepath.Rel(root, full)
		if err != nil || relErr != nil {
			return errors.Join(err, relErr)
		}
		if rel = filepath.ToSlash(rel); rel == "." {
			return nil
		}
		if d.IsDir() {
			if !slices.ContainsFunc(patterns, func(pat string) bool { return enters(pat, rel) }) {
				return fs.SkipDir
			}
			return nil
		}
		hit := false
		for i, pat := range patterns {
			if matches(pat, rel) {
				hit, matched[i] = true, true
			}
		}
		if !hit || slices.ContainsFunc(but, func(pat string) bool { return matches(pat, rel) }) {
			return nil
		}
		c.files[rel], err = digest(full)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return c, interrupted(ctx, p)
	case err != nil:
		return c, problem(p, diag.PrepareInput, "", "cannot read its files: %v", err)
	}
	for i, pat := range patterns {
		if !matched[i] {
			c.unmatched = append(c.unmatched, pat)
		}
	}
	return c, nil
}

// digest is what a path holds: a file's mode and content, a link's target and
// the content behind it. Other kinds are not opened: reading a pipe would wait.
func digest(full string) (string, error) {
	st, err := os.Lstat(full)
	if err != nil {
		return "", err
	}
	h := fielded{sha256.New()}
	if st.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(full)
		if err != nil {
			return "", err
		}
		h.add("link", target)
		if st, err = os.Stat(full); err != nil || !st.Mode().IsRegular() {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
	}
	h.add("mode", fmt.Sprint(st.Mode().IsRegular(), st.Mode().Perm()&0o111 != 0))
	if st.Mode().IsRegular() {
		f, err := os.Open(full)
		if err != nil {
			return "", err
		}
		defer f.Close()
		if _, err := io.Copy(h, f); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// matches says whether a pattern matches a path or one of its folders. Inside a
// name * ? and [...] match as in [path.Match]; ** stands for any number of
// folders.
func matches(pattern, rel string) bool {
	pat, segs := segments(pattern), strings.Split(rel, "/")
	if !namesGit(pattern) && slices.Contains(segs, ".git") {
		return false
	}
	for n := 1; n <= len(segs); n++ {
		if glob(pat, segs[:n]) {
			return true
		}
	}
	return false
}

// enters says whether a folder may hold something that a pattern matches.
func enters(pattern, folder string) bool {
	if path.Base(folder) == ".git" && !namesGit(pattern) {
		return false
	}
	pat, segs := segments(pattern), strings.Split(folder, "/")
	for i, s := range segs {
		if i == len(pat) || pat[i] == "**" {
			return true
		}
		if ok, _ := path.Match(pat[i], s); !ok {
			return false
		}
	}
	return true
}

func segments(pattern string) []string {
	if pattern = path.Clean(filepath.ToSlash(pattern)); pattern == "." {
		return []string{"**"}
	}
	return strings.Split(pattern, "/")
}

func namesGit(pattern string) bool { return slices.Contains(segments(pattern), ".git") }

// glob matches whole paths, segment by segment. Work is bounded by the product
// of the lengths: of several ** only the last one needs to be tried again.
func glob(pat, segs []string) bool {
	p, s, star, mark := 0, 0, -1, 0
	for s < len(segs) {
		if p < len(pat) && pat[p] == "**" {
			star, mark = p, s
			p++
			continue
		}
		if p < len(pat) {
			if ok, _ := path.Match(pat[p], segs[s]); ok {
				p, s = p+1, s+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, s = star+1, mark
	}
	for p < len(pat) && pat[p] == "**" {
		p++
	}
	return p == len(pat)
}
