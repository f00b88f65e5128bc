package fleetfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// maxRendered is the longest text that a template may make, in bytes.
const maxRendered = 64 << 10

// tmpl is the template of one field.
type tmpl struct {
	path    string
	pos     diag.Pos
	literal string // the text, when there is nothing to fill in
	parsed  *template.Template
	help    string // what to do when every row fails; empty: what the failure says
	// condition is set when the text stands without braces.
	condition bool
	tried     int
	failed    []failure
}

// failure is a row for which a template could not be rendered.
type failure struct {
	row diag.Pos
	fieldError
}

// fieldError says why a template could not be rendered. As a [diag.RowField]
// it is the row's problem, when it is that of every row the template's.
type fieldError struct{ message, help string }

func (e fieldError) Error() string { return e.message }

// compile reads the template of a text node; nil after a problem.
func (p *parser) compile(n *yamldoc.Node, path string) *tmpl {
	text, ok := p.Scalar(n, path)
	if !ok {
		return nil
	}
	t := &tmpl{path: path, pos: p.Pos(n), literal: text}
	if !strings.Contains(text, "{{") {
		return t
	}
	funcs := p.functions()
	parsed, err := newTemplate(funcs).Parse(text)
	if err == nil && (len(parsed.Templates()) > 1 || !plain(parsed.Root)) {
		err = errors.New("range, define, block and template are not for fleet files")
	}
	if err != nil {
		message, help := parseMessage(err, funcs)
		p.Problem(diag.FleetTemplate, t.pos, help, "%s: %s", path, message)
		return nil
	}
	t.parsed = parsed
	return t
}

func newTemplate(funcs template.FuncMap) *template.Template {
	return template.New("").Option("missingkey=error").Funcs(funcs)
}

// plain says whether a template holds nothing that repeats or recurses: its
// cost is bounded by its length.
func plain(n parse.Node) bool {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return true
		}
		return !slices.ContainsFunc(n.Nodes, func(c parse.Node) bool { return !plain(c) })
	case *parse.IfNode:
		return plain(n.List) && plain(n.ElseList)
	case *parse.WithNode:
		return plain(n.List) && plain(n.ElseList)
	case *parse.TextNode, *parse.ActionNode, *parse.CommentNode:
		return true
	case nil:
		return true
	}
	return false
}

// The messages of text/template that say more to us than to a person.
var (
	templatePlace = regexp.MustCompile(`^template: [^:]*:\d+(:\d+)?: (executing "[^"]*" at <.*?>: )?`)
	noFunction    = regexp.MustCompile(`function "([^"]*)" not defined`)
	noKey         = regexp.MustCompile(`map has no entry for key "([^"]*)"`)
	noField       = regexp.MustCompile(`can't evaluate field (\w+) in type`)
	notComparable = regexp.MustCompile(`incompatible types for comparison|non-comparable type|invalid type for comparison`)
	callError     = regexp.MustCompile(`^error calling (\w+): `)
)

func parseMessage(err error, funcs template.FuncMap) (message, help string) {
	message = templatePlace.ReplaceAllString(err.Error(), "")
	if m := noFunction.FindStringSubmatch(message); m != nil {
		names := slices.Sorted(maps.Keys(funcs))
		help = "the functions are " + strings.Join(names, ", ")
		if near := diag.Nearest(m[1], names); near != "" {
			help = fmt.Sprintf("did you mean %s?", near)
		}
		return fmt.Sprintf("there is no function %s", m[1]), help
	}
	return message, "a template looks like {{.id}} or {{lower .id}}"
}

// render fills in the template. On failure it takes a note for [tmpl.report].
func (t *tmpl) render(row diag.Pos, data map[string]any) (string, bool) {
	if t.parsed == nil {
		return t.literal, true
	}
	t.tried++
	var b limited
	err := t.parsed.Execute(&b, data)
	s := b.String()
	if err == nil {
		err = unprintable(s)
	}
	if err == nil {
		return s, true
	}
	why := execError(err, data)
	if t.condition {
		why.help = strings.NewReplacer("{{", "(", "}}", ")").Replace(why.help)
	}
	t.failed = append(t.failed, failure{row, why})
	return "", false
}

// limited is a builder that refuses to grow beyond maxRendered.
type limited struct{ strings.Builder }

// Write appends b.
func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > maxRendered {
		return 0, fieldError{message: fmt.Sprintf("the text is longer than %d bytes", maxRendered)}
	}
	return l.Builder.Write(b)
}

func execError(err error, data map[string]any) fieldError {
	var fe fieldError
	if errors.As(err, &fe) {
		return fe
	}
	message := templatePlace.ReplaceAllString(err.Error(), "")
	m := noKey.FindStringSubmatch(message)
	if m == nil {
		m = noField.FindStringSubmatch(message)
	}
	if m == nil && notComparable.MatchString(message) {
		return fieldError{"values of different types are compared", "compare text with text and numbers with numbers; of a field that a row may lack write (default \"\" .field)"}
	}
	if m == nil {
		return fieldError{message: callError.ReplaceAllString(message, "$1: ")}
	}
	names := fieldNames(data)
	help := "the fields are " + strings.Join(names, ", ")
	if near := diag.Nearest(m[1], names); near != "" {
		help = fmt.Sprintf("did you mean %s?", near)
	} else if len(names) > 30 {
		help = "the fields are " + strings.Join(names[:30], ", ") + ", ..."
	}
	return fieldError{fmt.Sprintf("there is no field %s", m[1]), help}
}

// fieldNames lists what a template may name, nested fields by their own name.
func fieldNames(data map[string]any) []string {
	set := map[string]bool{}
	var walk func(m map[string]any, depth int)
	walk = func(m map[string]any, depth int) {
		for k, v := range m {
			set[k] = true
			if inner, ok := v.(mapping); ok && depth < 4 {
				walk(inner, depth+1)
			}
		}
	}
	walk(data, 0)
	return slices.Sorted(maps.Keys(set))
}

// report turns the failures of a template into problems: of the template when
// it failed for every row, else of the rows.
func (p *parser) report(t *tmpl) {
	if t == nil || len(t.failed) == 0 {
		return
	}
	if f := t.failed[0]; len(t.failed) == t.tried {
		where := ""
		if t.tried > 1 {
			where = fmt.Sprintf(" (in all %d rows, the first at %s)", t.tried, f.row)
		} else if f.row.File != p.file {
			where = fmt.Sprintf(" (in the row at %s)", f.row)
		}
		help := f.help
		if t.help != "" {
			help = t.help
		}
		p.Problem(diag.FleetTemplate, t.pos, help, "%s: %s%s", t.path, f.message, where)
		return
	}
	for _, f := range t.failed {
		p.Problem(diag.RowField, f.row, f.help, "%s at %s: %s", t.path, t.pos, f.message)
	}
}

// The values of rows as templates see them. A template that prints a value
// which is no text gets a mark, which render turns into a problem.
type (
	mapping map[string]any
	list    []any
	// absent is a field that other rows have, or that is null. It has no
	// length, so that "if" and "default" take it for false; its name is in the
	// space behind the end.
	absent []string
)

// The marks: a NUL cannot be part of a text that a row holds.
const (
	markMapping = "\x00mapping\x00"
	markList    = "\x00list\x00"
	markAbsent  = "\x00absent\x00"
)

// String is the mark of a mapping.
func (mapping) String() string { return markMapping }

// String is the mark of a list.
func (list) String() string { return markList }

// String is the mark of an absent field and its name.
func (a absent) String() string { return markAbsent + a.name() + "\x00" }

func (a absent) name() string { return a[:1][0] }

func missing(name string) absent { return absent([]string{name})[:0] }

// unprintable finds a mark in a rendered text.
func unprintable(s string) error {
	if strings.Contains(s, "<no value>") { // how text/template prints nil
		return fieldError{"a value is missing", "look at the names that index is given"}
	}
	i := strings.IndexByte(s, 0)
	if i < 0 {
		return nil
	}
	s = s[i:]
	switch {
	case strings.HasPrefix(s, markMapping):
		return fieldError{"a mapping is used as text", "name one of its fields: {{.name.field}}"}
	case strings.HasPrefix(s, markList):
		return fieldError{"a list is used as text", "use {{index .name 0}} or {{join \"-\" .name}}"}
	case strings.HasPrefix(s, markAbsent):
		name, _, _ := strings.Cut(s[len(markAbsent):], "\x00")
		return absentError(name)
	}
	return fieldError{"the text has a NUL character", ""}
}

func absentError(name string) fieldError {
	return fieldError{fmt.Sprintf("the field %s is missing or null", name), fmt.Sprintf("give it a value, or write {{default \"...\" .%s}}", name)}
}

// value converts what a row reader made to what templates see. A whole number
// becomes one, so that it can be compared; other numbers keep their spelling.
func value(name string, v any) any {
	switch v := v.(type) {
	case nil:
		return missing(name)
	case map[string]any:
		return fields(v)
	case []any:
		out := make(list, len(v))
		for i, e := range v {
			out[i] = value(name, e)
		}
		return out
	case json.Number:
		s := v.String()
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && strconv.FormatInt(n, 10) == s {
			return n
		}
		return s
	}
	return v
}

func fields(m map[string]any) mapping {
	out := make(mapping, len(m))
	for k, v := range m {
		out[k] = value(k, v)
	}
	return out
}

// shape is the union of the fields of several rows.
type shape map[string]shape

func (s shape) add(m mapping) {
	for k, v := range m {
		inner, ok := s[k]
		if !ok {
			inner = nil
			s[k] = nil
		}
		if vm, ok := v.(mapping); ok {
			if inner == nil {
				inner = shape{}
				s[k] = inner
			}
			inner.add(vm)
		}
	}
}

// fill gives m an absent value for each field of s that it lacks.
func (s shape) fill(m mapping) {
	for k, inner := range s {
		switch v := m[k].(type) {
		case nil:
			m[k] = missing(k)
		case mapping:
			inner.fill(v)
		}
	}
}
