package filetree

import (
	"os"
	"path"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/moby/patternmatcher"
	"github.com/tonistiigi/fsutil/types"
)

// maxLinks is the number of symlinks that one path may lead through.
const maxLinks = 255

// selected is an entry under the name that the step sees. One without a path is
// nothing of the context: it says that a destination is made.
type selected struct {
	name  string
	entry *entry
}

// selection lists what u selects, path by path.
func (t *Tree) selection(u graph.Use) ([]selected, error) {
	s := selector{tree: t, use: u}
	var err error
	if s.include, err = matcher(u.Include); err != nil {
		return nil, err
	}
	if s.exclude, err = matcher(u.Exclude); err != nil {
		return nil, err
	}
	for _, p := range u.Paths {
		if err := s.path(p); err != nil {
			return nil, err
		}
	}
	return s.out, s.missing.Err()
}

func matcher(patterns []string) (*patternmatcher.PatternMatcher, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, diag.List{{Code: diag.RecipeSource, Message: "bad pattern: " + err.Error()}}
	}
	return m, nil
}

type selector struct {
	tree             *Tree
	use              graph.Use
	include, exclude *patternmatcher.PatternMatcher
	out              []selected
	missing          diag.List
}

// path selects what one path of the use means.
func (s *selector) path(p string) error {
	clean := strings.TrimPrefix(path.Join("/", p), "/")
	fixed, wild := clean, ""
	if s.use.Wildcard {
		fixed, wild = splitWild(clean)
	}
	top, ok := s.tree.resolve(fixed)
	if !ok {
		s.miss(p)
		return nil
	}
	before := len(s.out)
	if wild == "" {
		if err := s.subtree(top, ""); err != nil {
			return err
		}
		// A path without wildcards must give something; with them, nothing is
		// an allowed answer, as it is for the daemon.
		if len(s.out) == before && s.include != nil && !hasWild(p) && !anyWild(s.use.Include) {
			s.miss(path.Join(p, s.use.Include[0]))
		}
		return nil
	}
	return s.matches(top, wild)
}

func (s *selector) miss(p string) {
	help := "check the path; it is relative to the context, and files that .dockerignore leaves out are not there"
	if near := diag.Nearest(path.Base(p), s.tree.siblings(p)); near != "" {
		help = "did you mean " + near + "? Files that .dockerignore leaves out are not there"
	}
	s.missing.Add(diag.RecipeSource, diag.Pos{}, help, "%q is not in the context %s", p, s.tree.root)
}

// matches selects every entry under top whose relative path matches the
// pattern, with what lies below it. A match that is a link is followed.
func (s *selector) matches(top int, pattern string) error {
	t := s.tree
	first, end, prefix := t.below(top)
	for i := first; i < end; {
		rel := strings.TrimPrefix(t.entries[i].path, prefix)
		ok, err := path.Match(pattern, rel)
		if err != nil {
			s.missing.Add(diag.RecipeSource, diag.Pos{}, "", "bad pattern %q: %v", pattern, err)
			return nil
		}
		if !ok {
			i++
			continue
		}
		target, found := t.resolve(t.entries[i].path)
		if !found {
			target = i // a dangling link is copied as it is
		}
		before := len(s.out)
		if err := s.subtree(target, rel); err != nil {
			return err
		}
		// The copy of a match makes its destination, also when the patterns leave
		// nothing of the match.
		if len(s.out) == before {
			s.out = append(s.out, selected{entry: &entry{stat: &types.Stat{Mode: uint32(os.ModeDir)}}})
		}
		i = t.entries[i].end
	}
	return nil
}

// visited is a folder on the way down, with what the patterns said of it.
type visited struct {
	end              int
	at               selected
	taken            bool
	include, exclude patternmatcher.MatchInfo
}

// subtree selects top (-1 is the root) and what lies below it, except what the
// use's patterns leave out. A folder is selected when it matches itself or
// holds something that does.
func (s *selector) subtree(top int, name string) error {
	t := s.tree
	first, end, prefix := t.below(top)
	var parents []visited
	switch {
	case top < 0:
	case s.include != nil && t.entries[top].mode().IsDir():
		parents = append(parents, visited{end: end, at: selected{name, t.entries[top]}})
	default:
		s.out = append(s.out, selected{name, t.entries[top]})
	}
	if s.include == nil && s.exclude == nil {
		for _, e := range t.entries[first:end] {
			s.out = append(s.out, selected{path.Join(name, strings.TrimPrefix(e.path, prefix)), e})
		}
		return nil
	}
	for i := first; i < end; i++ {
		e := t.entries[i]
		for len(parents) > 0 && i >= parents[len(parents)-1].end {
			parents = parents[:len(parents)-1]
		}
		rel := strings.TrimPrefix(e.path, prefix)
		v := visited{end: e.end, at: selected{path.Join(name, rel), e}}
		take, err := s.match(rel, parents, &v)
		if err != nil {
			return err
		}
		if take {
			for j := range parents {
				if !parents[j].taken {
					parents[j].taken = true
					s.out = append(s.out, parents[j].at)
				}
			}
			s.out = append(s.out, v.at)
			v.taken = true
		}
		if e.mode().IsDir() {
			parents = append(parents, v)
		}
	}
	return nil
}

// match tells whether the patterns take rel, given what they said of its parents.
func (s *selector) match(rel string, parents []visited, v *visited) (bool, error) {
	var up visited
	if len(parents) > 0 {
		up = parents[len(parents)-1]
	}
	take := true
	var err error
	if s.include != nil {
		if take, v.include, err = s.include.MatchesUsingParentResults(rel, up.include); err != nil {
			return false, diag.List{{Code: diag.RecipeSource, Message: "bad pattern: " + err.Error()}}
		}
	}
	if s.exclude != nil {
		var out bool
		if out, v.exclude, err = s.exclude.MatchesUsingParentResults(rel, up.exclude); err != nil {
			return false, diag.List{{Code: diag.RecipeSource, Message: "bad pattern: " + err.Error()}}
		}
		take = take && !out
	}
	return take, nil
}

// below is the range of descendants of top, and the prefix of their paths.
func (t *Tree) below(top int) (first, end int, prefix string) {
	if top < 0 {
		return 0, len(t.entries), ""
	}
	e := t.entries[top]
	return top + 1, e.end, e.path + "/"
}

// resolve finds the entry of a clean relative path and follows links in every
// component, the last one included; links that lead out stop at the root. The
// root is -1.
func (t *Tree) resolve(p string) (int, bool) {
	at, rest := "", p
	i, links := -1, 0
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		next := strings.TrimPrefix(path.Join("/", at, part), "/")
		if next == "" {
			at, i = "", -1
			continue
		}
		j, ok := t.index[next]
		if !ok {
			return 0, false
		}
		e := t.entries[j]
		if e.mode()&os.ModeSymlink == 0 {
			at, i = next, j
			continue
		}
		if links++; links > maxLinks {
			return 0, false
		}
		rest = e.stat.Linkname + "/" + rest
		if path.IsAbs(e.stat.Linkname) {
			at, i = "", -1
		}
	}
	return i, true
}

// siblings are the names beside p, for "did you mean".
func (t *Tree) siblings(p string) []string {
	dir := strings.TrimPrefix(path.Join("/", path.Dir(p)), "/")
	top, ok := t.resolve(dir)
	if !ok {
		return nil
	}
	first, end, prefix := t.below(top)
	var names []string
	for i := first; i < end; i = t.entries[i].end {
		names = append(names, strings.TrimPrefix(t.entries[i].path, prefix))
	}
	return names
}

// splitWild cuts a path before its first component with a wildcard.
func splitWild(p string) (fixed, wild string) {
	parts := strings.Split(p, "/")
	for i, part := range parts {
		if hasWild(part) {
			return strings.Join(parts[:i], "/"), strings.Join(parts[i:], "/")
		}
	}
	return p, ""
}

func anyWild(patterns []string) bool {
	for _, p := range patterns {
		if hasWild(p) {
			return true
		}
	}
	return false
}

// hasWild tells whether p has an unescaped wildcard.
func hasWild(p string) bool {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}
