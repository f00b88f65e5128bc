package dockerfile

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// problem turns an error of the front end into one with a kind. A failure that
// has a kind already, such as a registry's, keeps it; the rest is the recipe's.
func (r *Recipe) problem(err error, base baseAnswer) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	line := lineOf(err)
	var list diag.List
	if errors.As(err, &list) {
		return list
	}
	var known *diag.Error
	if errors.As(err, &known) {
		return &diag.Error{Kind: known.Kind, Op: fmt.Sprintf("convert %s", diag.Pos{File: r.opt.Name, Line: line}), Help: known.Help, Err: known}
	}
	text := strings.ReplaceAll(message(err), base.arg, r.baseName())
	if line == 0 && errors.Is(err, filepath.ErrBadPattern) {
		return r.located(diag.IgnoreSyntax, 0, "", "an ignore file of the recipe: %s", text)
	}
	return r.located(diag.RecipeConvert, line, "", "%s", text)
}

// located is a single problem at a line of the Dockerfile; 0 is the whole file.
func (r *Recipe) located(code diag.Code, line int, help, format string, args ...any) error {
	var list diag.List
	list.Add(code, diag.Pos{File: r.opt.Name, Line: line}, help, format, args...)
	return r.Locate(list).Err()
}

// Locate fills in the source lines of problems in the Dockerfile, and the column
// at which the instruction starts: the front end tells lines only.
func (r *Recipe) Locate(list diag.List) diag.List {
	list = list.WithSource(r.opt.Name, r.text)
	for i := range list {
		p := &list[i]
		if p.Pos.Line > 0 && p.Pos.Col == 0 {
			p.Pos.Col = len(p.Source) - len(strings.TrimLeft(p.Source, " \t")) + 1
		}
	}
	return list
}

// lineOf is the line that the front end blames, 0 when it blames none.
func lineOf(err error) int {
	var el *parser.LocationError
	if errors.As(err, &el) {
		for _, ranges := range el.Locations {
			for _, at := range ranges {
				if at.Start.Line > 0 {
					return at.Start.Line
				}
			}
		}
	}
	return 0
}

var parsePrefix = regexp.MustCompile(`^dockerfile parse error( on lines? \d+(-\d+)?)?: `)

// message is err's text without the position that the problem carries.
func message(err error) string {
	text := parsePrefix.ReplaceAllString(err.Error(), "")
	return strings.TrimSuffix(strings.Join(strings.Fields(text), " "), ".")
}

// unused says that nothing of the target is built on the base.
func (r *Recipe) unused() error {
	what := "the recipe"
	if t := r.opt.Recipe.Target; t != "" {
		what = fmt.Sprintf("target %q", t)
	}
	base := cmp.Or(r.opt.Recipe.BaseFrom, r.baseName())
	return r.located(diag.RecipeConvert, 0, fmt.Sprintf("build the target, or a stage that it copies from, FROM %s", base), "%s does not use the base %s", what, base)
}

// blank comments out lines, so that parsing can go on behind a bad instruction.
func blank(text []byte, first, last int) []byte {
	lines := bytes.Split(text, []byte("\n"))
	for i := max(first, 1); i <= last && i <= len(lines); i++ {
		lines[i-1] = []byte("#")
	}
	return bytes.Join(lines, []byte("\n"))
}
