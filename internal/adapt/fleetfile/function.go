package fleetfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
)

// functions are what templates may call beside those of text/template. The
// text comes last, so that it can come from a pipe.
func (p *parser) functions() template.FuncMap {
	return template.FuncMap{
		"lower":      unary(strings.ToLower),
		"upper":      unary(strings.ToUpper),
		"sha7":       unary(sha7),
		"swebench":   unary(swebench),
		"swegym":     unary(swegym),
		"slug":       unary(slug),
		"slugFirst":  unary(slugFirst),
		"repoName":   unary(repoName),
		"fileSHA":    p.fileSHA,
		"trimPrefix": binary(func(prefix, s string) string { return strings.TrimPrefix(s, prefix) }),
		"trimSuffix": binary(func(suffix, s string) string { return strings.TrimSuffix(s, suffix) }),
		"replace":    replace,
		"split":      split,
		"join":       joined,
		"default":    fallback,
		"contains":   contains,
		"hasPrefix":  condition(strings.HasPrefix),
		"hasSuffix":  condition(strings.HasSuffix),
		"printf":     printf,
		// Escapes of text/template, which would hide the mark of an absent field.
		"html":     unary(template.HTMLEscapeString),
		"js":       unary(template.JSEscapeString),
		"urlquery": unary(url.QueryEscape),
	}
}

// text is a value as a function sees it; only what prints as one word is text.
func text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		if len(v) > maxRendered {
			return "", fieldError{message: fmt.Sprintf("the text is longer than %d bytes", maxRendered)}
		}
		return v, nil
	case absent:
		return "", absentError(v.name())
	case nil:
		return "", fieldError{message: "a value is missing"}
	case mapping, map[string]string:
		return "", unprintable(markMapping)
	case list:
		return "", unprintable(markList)
	}
	return fmt.Sprint(v), nil
}

func unary(f func(string) string) func(any) (string, error) {
	return func(v any) (string, error) {
		s, err := text(v)
		if err != nil {
			return "", err
		}
		return f(s), nil
	}
}

func binary(f func(a, b string) string) func(string, any) (string, error) {
	return func(a string, v any) (string, error) {
		s, err := text(v)
		if err != nil {
			return "", err
		}
		return f(a, s), nil
	}
}

func replace(from, to string, v any) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	if n := strings.Count(s, from); len(s)+n*len(to) > maxRendered {
		return "", fieldError{message: fmt.Sprintf("the text is longer than %d bytes", maxRendered)}
	}
	return strings.ReplaceAll(s, from, to), nil
}

func split(sep string, v any) (list, error) {
	s, err := text(v)
	if err != nil {
		return nil, err
	}
	var out list
	for _, part := range strings.Split(s, sep) {
		out = append(out, part)
	}
	return out, nil
}

func joined(sep string, v any) (string, error) {
	l, ok := v.(list)
	if !ok {
		return text(v)
	}
	parts := make([]string, len(l))
	for i, e := range l {
		s, err := text(e)
		if err != nil {
			return "", err
		}
		parts[i] = s
	}
	return strings.Join(parts, sep), nil
}

// condition is a function that answers a question about a text. As with eq the
// text comes first.
func condition(f func(s, part string) bool) func(any, string) (bool, error) {
	return func(v any, part string) (bool, error) {
		s, err := text(v)
		return err == nil && f(s, part), err
	}
}

// contains looks for a part of a text, or for an element of a list.
func contains(v any, part string) (bool, error) {
	l, ok := v.(list)
	if !ok {
		return condition(strings.Contains)(v, part)
	}
	for _, e := range l {
		if s, err := text(e); err == nil && s == part {
			return true, nil
		}
	}
	return false, nil
}

// fallback is the function default.
func fallback(other string, v any) (any, error) {
	switch v := v.(type) {
	case nil, absent:
		return other, nil
	case string:
		if v == "" {
			return other, nil
		}
	}
	return v, nil
}

// wide finds a width or precision that is out of proportion, or not in the format.
var wide = regexp.MustCompile(`\d{4}|\*`)

// printf is the one of text/template, within bounds.
func printf(format string, args ...any) (string, error) {
	if wide.MatchString(format) {
		return "", fieldError{message: "a width has more than three digits"}
	}
	for _, a := range args {
		if _, err := text(a); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf(format, args...), nil
}

// fileSHA is the sha256 of a file, in hex; the path is relative to the fleet
// file. It lets a tag name the recipe that it was made with.
func (p *parser) fileSHA(name string) (string, error) {
	if sum, ok := p.sums[name]; ok {
		return sum, nil
	}
	data, err := p.read(p.beside(name))
	if err != nil {
		return "", fieldError{message: fmt.Sprintf("the file %s %s", name, yamldoc.Unreadable(err))}
	}
	sum := sha256.Sum256(data)
	p.sums[name] = hex.EncodeToString(sum[:])
	return p.sums[name], nil
}

// beside is the path of a file as people would name it from where they named
// the fleet file.
func (p *parser) beside(name string) string {
	if filepath.IsAbs(name) || strings.HasPrefix(name, "~/") {
		return p.path(name)
	}
	return filepath.Join(p.shown, name)
}

// sha7 is the short form of a commit id.
func sha7(s string) string { return s[:min(7, len(s))] }

// swebench is the name that SWE-bench's published images give to an instance:
// lower case, and _1776_ between owner and repository.
func swebench(id string) string {
	return strings.ToLower(strings.Replace(id, "__", "_1776_", 1))
}

// swegym is the name that SWE-Gym's published images give to an instance.
func swegym(id string) string {
	return strings.ToLower(strings.Replace(id, "__", "_s_", 1))
}

// repoName is the last part of a reference's repository, without tag and digest.
func repoName(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	name := ref[strings.LastIndexByte(ref, '/')+1:]
	name, _, _ = strings.Cut(name, ":")
	return name
}

// The bounds of a slug: what is longer is cut and ends in a digest.
const (
	maxSlug    = 64
	maxSlugCut = 51
)

// slug turns a reference into one word of at most 64 characters. A long one
// keeps as much as fits of its last path segment, and its tag.
func slug(s string) string {
	return slugged(s, func(full string) string {
		i := strings.LastIndex(full, "_tag_")
		if i < 0 {
			return cut(segment(full), maxSlugCut)
		}
		name, tag := segment(full[:i]), full[i:]
		if len(name)+len(tag) <= maxSlugCut {
			return name + tag
		}
		return cut(cut(name, max(0, maxSlugCut-len(tag)))+tag, maxSlugCut)
	})
}

// slugFirst is slug with an older way to cut, which may lose the tag: names
// that were published with it can only be found with it.
func slugFirst(s string) string {
	return slugged(s, func(full string) string {
		name, tag, found := strings.Cut(full, "_tag_")
		if name = segment(name); found {
			name += "_tag_" + tag
		}
		return cut(name, maxSlugCut)
	})
}

func slugged(s string, readable func(string) string) string {
	full := strings.NewReplacer("/", "_s_", ":", "_tag_").Replace(s)
	if len(full) <= maxSlug {
		return full
	}
	sum := sha256.Sum256([]byte(full))
	return readable(full) + "-" + hex.EncodeToString(sum[:])[:12]
}

// segment is the part after the last path separator of a slug.
func segment(s string) string {
	if i := strings.LastIndex(s, "_s_"); i >= 0 {
		return s[i+len("_s_"):]
	}
	return s
}

func cut(s string, n int) string { return s[:min(n, len(s))] }
