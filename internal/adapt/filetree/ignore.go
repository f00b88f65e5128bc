package filetree

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// readIgnore returns the patterns of the ignore file that counts.
func readIgnore(root, dockerfile string) ([]string, error) {
	var names []string
	if dockerfile != "" {
		names = append(names, dockerfile+".dockerignore")
	}
	names = append(names, filepath.Join(root, ".dockerignore"))
	for _, name := range names {
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, unreadable(name, err)
		}
		return parseIgnore(name, text)
	}
	return nil, nil
}

// parseIgnore reads the patterns of an ignore file. The patterns are those of
// the whole file read at once; reading it line by line serves only to say where
// a bad one stands.
func parseIgnore(name string, text []byte) ([]string, error) {
	patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
	if err != nil {
		return nil, diag.List{{Code: diag.IgnoreSyntax, Pos: diag.Pos{File: name}, Message: err.Error()}}
	}
	if check(patterns) == nil {
		return patterns, nil
	}
	var list diag.List
	for i, line := range strings.Split(string(text), "\n") {
		one, err := ignorefile.ReadAll(strings.NewReader(line))
		if err != nil {
			continue
		}
		if err := check(one); err != nil {
			col := len(line) - len(strings.TrimLeft(line, " \t")) + 1
			list.Add(diag.IgnoreSyntax, diag.Pos{File: name, Line: i + 1, Col: col}, "write a path with *, ?, ** or [a-z], and ! before an exception", "bad pattern: %v", err)
		}
	}
	return nil, list.WithSource(name, text).Err()
}

// check compiles the patterns, which the matcher does only when it matches.
func check(patterns []string) error {
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return err
	}
	for _, p := range m.Patterns() {
		if _, err := patternmatcher.MatchesOrParentMatches("x/y", []string{p.String()}); err != nil {
			return err
		}
	}
	return nil
}
