package yamldoc

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// aliasBudget is how many nodes may be visited beyond the length of the file.
// A node takes at least a byte, so only aliases can exhaust it.
const aliasBudget = 200_000

// maxMerge is how deep merge keys may nest.
const maxMerge = 20

// Pos is the place of n. The library counts characters, people's editors and
// [diag.Pos] count bytes; the difference is not worth counting in a line that
// nobody can read.
func (d *Doc) Pos(n *Node) diag.Pos {
	pos := diag.Pos{File: d.file, Line: n.Line, Col: n.Column}
	if n.Line < 1 || n.Line > len(d.lines) || len(d.lines[n.Line-1]) > 4096 {
		return pos
	}
	col := 0
	for i := range d.lines[n.Line-1] {
		if col++; col == n.Column {
			pos.Col = i + 1
			break
		}
	}
	return pos
}

// spend takes n nodes from the budget. Once it is exhausted everything below
// reads as empty.
func (d *Doc) spend(at *Node, n int) bool {
	if d.budget < 0 {
		return false
	}
	if d.budget -= n; d.budget < 0 {
		d.exhausted(at, d.format.Many, fmt.Sprintf("aliases make this file more than %d values longer", aliasBudget))
	}
	return d.budget >= 0
}

// exhausted ends the reading of values at a node. What is found afterwards is
// only what is missing because of that.
func (d *Doc) exhausted(at *Node, help, message string) {
	d.budget = -1
	d.end = &diag.Problem{Code: d.format.Value, Pos: d.Pos(at), Help: help, Message: message}
}

// Resolve follows an alias. The library makes no alias of an alias.
func Resolve(n *Node) *Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// Describe names the type of n for a message.
func Describe(n *Node) string {
	switch n = Resolve(n); {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null":
		return "empty"
	case n.ShortTag() == "!!str":
		return "text"
	case n.ShortTag() == "!!bool":
		return "a truth value"
	case n.ShortTag() == "!!int":
		return "a number"
	case n.ShortTag() == "!!float":
		return "a number with a fraction"
	}
	return "a value with the tag " + n.ShortTag()
}

// WrongType reports that n is not what path must be.
func (d *Doc) WrongType(n *Node, path, want string) {
	help := ""
	switch r := Resolve(n); {
	case Describe(r) == "empty":
		help = "give it a value, or remove the line"
	case strings.HasPrefix(want, "text") && r.Kind == yaml.MappingNode && r.Style&yaml.FlowStyle != 0 && d.at(r, "{{"):
		help = "put a template in quotes: \"{{...}}\""
	}
	if path == "" {
		path = "the " + d.format.Name
	}
	d.Problem(d.format.Type, d.Pos(n), help, "%s must be %s, and is %s", path, want, Describe(n))
}

// at says whether the source text at n begins with s.
func (d *Doc) at(n *Node, s string) bool {
	pos := d.Pos(n)
	return pos.Line >= 1 && pos.Line <= len(d.lines) && pos.Col <= len(d.lines[pos.Line-1])+1 &&
		strings.HasPrefix(d.lines[pos.Line-1][pos.Col-1:], s)
}

// Scalar returns n's text as it is written: 1.10 stays 1.10, not 1.1.
func (d *Doc) Scalar(n *Node, path string) (string, bool) {
	r := Resolve(n)
	if r.Kind == yaml.ScalarNode && slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp", "!!merge"}, r.ShortTag()) {
		if utf8.ValidString(r.Value) && !strings.ContainsRune(r.Value, 0) {
			return r.Value, true
		}
		d.Problem(d.format.Value, d.Pos(n), "", "%s holds a NUL character", path)
		return "", false
	}
	d.WrongType(n, path, "text")
	return "", false
}

// Entry is one field of a mapping.
type Entry struct {
	Name       string
	Key, Value *Node
}

// entries returns the fields of mapping n, merge keys included: a field given
// in the mapping itself wins over a merged one, an earlier one over a later.
func (d *Doc) entries(n *Node, path string) []Entry {
	var out []Entry
	d.collect(n, path, map[string]*Node{}, &out, 0)
	return out
}

func (d *Doc) collect(n *Node, path string, seen map[string]*Node, out *[]Entry, depth int) {
	if !d.spend(n, len(n.Content)) {
		return
	}
	var merges []*Node
	own := map[string]*Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			merges = append(merges, value)
			continue
		}
		name, ok := d.Scalar(key, "the name of a field")
		if !ok {
			continue
		}
		if first := own[name]; first != nil {
			d.Problem(d.format.Duplicate, d.Pos(key), "remove one of them", "%s is given twice; first at %s", Join(path, name), d.Pos(first))
			continue
		}
		own[name] = key
		if seen[name] == nil {
			seen[name] = key
			*out = append(*out, Entry{name, key, value})
		}
	}
	for _, m := range merges {
		d.merge(m, path, seen, out, depth+1)
	}
}

// merge adds the fields of what a merge key names: a mapping, or a list of them.
func (d *Doc) merge(n *Node, path string, seen map[string]*Node, out *[]Entry, depth int) {
	r := Resolve(n)
	switch {
	case depth > maxMerge:
		if d.budget >= 0 {
			d.exhausted(n, "", fmt.Sprintf("merge keys nest deeper than %d", maxMerge))
		}
	case r.Kind == yaml.MappingNode:
		d.collect(r, path, seen, out, depth)
	case r.Kind == yaml.SequenceNode && d.spend(n, len(r.Content)):
		for _, c := range r.Content {
			if Resolve(c).Kind != yaml.MappingNode {
				d.WrongType(c, "<<", "a mapping or a list of mappings")
				continue
			}
			d.merge(c, path, seen, out, depth+1)
		}
	case r.Kind != yaml.SequenceNode:
		d.WrongType(n, "<<", "a mapping or a list of mappings")
	}
}

// Join is the path of a field in the object at a path.
func Join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Object is a mapping with known fields.
type Object struct {
	d *Doc
	// Node is where it stands, maybe an alias.
	Node *Node
	// Path names it in messages; "" is the file.
	Path   string
	Fields map[string]Entry
}

// Object reads mapping n, which may have the known fields.
func (d *Doc) Object(n *Node, path string, known ...string) (Object, bool) {
	o := Object{d: d, Node: n, Path: path, Fields: map[string]Entry{}}
	r := Resolve(n)
	if r.Kind != yaml.MappingNode {
		d.WrongType(n, path, "a mapping")
		return o, false
	}
	for _, e := range d.entries(r, path) {
		if slices.Contains(known, e.Name) {
			o.Fields[e.Name] = e
			continue
		}
		if slices.ContainsFunc(d.format.Secret, func(s string) bool { return strings.HasPrefix(path, s) }) {
			d.Hide(e.Key)
		}
		d.Problem(d.format.Unknown, d.Pos(e.Key), diag.Suggest(e.Name, "the fields here are", known), "there is no field %s", Join(path, e.Name))
	}
	return o, true
}

// Absent is the object that a mapping field of o would be, without any field.
func (o Object) Absent(name string) Object {
	return Object{d: o.d, Node: o.Node, Path: Join(o.Path, name)}
}

// Has tells whether a field is given.
func (o Object) Has(name string) bool { return o.Fields[name].Value != nil }

// Value is a field as it stands; nil when it is not given.
func (o Object) Value(name string) *Node { return o.Fields[name].Value }

// Pos is the place of field name's value, or of the object when it is not given.
func (o Object) Pos(name string) diag.Pos {
	if v := o.Value(name); v != nil {
		return o.d.Pos(v)
	}
	return o.d.Pos(o.Node)
}

// Missing reports a field that must be there.
func (o Object) Missing(name, help string) {
	o.d.Problem(o.d.format.Missing, o.d.Pos(o.Node), help, "%s is missing", Join(o.Path, name))
}

// Refuse reports that a text does not parse as the value of a field.
func (o Object) Refuse(name string, err error) {
	o.d.Problem(o.d.format.Value, o.Pos(name), diag.HelpOf(err), "%s cannot be %q: %v", Join(o.Path, name), o.Text(name, ""), err)
}

// Given is the value of a text field; ok is false when it is not given or is no
// text, which is then reported.
func (o Object) Given(name string) (s string, ok bool) {
	if !o.Has(name) {
		return "", false
	}
	return o.d.Scalar(o.Value(name), Join(o.Path, name))
}

// Text is the value of a text field; fallback when it is not given.
func (o Object) Text(name, fallback string) string {
	if !o.Has(name) {
		return fallback
	}
	s, _ := o.d.Scalar(o.Value(name), Join(o.Path, name))
	return s
}

// Required is the value of a text field that must be there and not be empty.
func (o Object) Required(name, help string) string {
	if !o.Has(name) {
		o.Missing(name, help)
		return ""
	}
	s, ok := o.d.Scalar(o.Value(name), Join(o.Path, name))
	if ok && s == "" {
		o.d.Problem(o.d.format.Value, o.Pos(name), help, "%s is empty", Join(o.Path, name))
	}
	return s
}

// Choice is the value of a text field that must be one of allowed; the first
// one when it is not given.
func (o Object) Choice(name string, allowed ...string) string {
	if !o.Has(name) {
		return allowed[0]
	}
	s, ok := o.d.Scalar(o.Value(name), Join(o.Path, name))
	if !ok || o.d.OneOf(s, o.Value(name), Join(o.Path, name), allowed) {
		return s
	}
	return allowed[0]
}

// OneOf reports a text that is none of those allowed; false then.
func (d *Doc) OneOf(s string, at *Node, path string, allowed []string) bool {
	if slices.Contains(allowed, s) {
		return true
	}
	d.Problem(d.format.Value, d.Pos(at), diag.Suggest(s, "use one of", allowed), "%s cannot be %q", path, s)
	return false
}

// Flag is the value of a truth field, false when it is not given.
func (o Object) Flag(name string) bool {
	if !o.Has(name) {
		return false
	}
	n := Resolve(o.Value(name))
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		return strings.EqualFold(n.Value, "true")
	}
	o.d.WrongType(o.Value(name), Join(o.Path, name), "true or false")
	return false
}

// Count is the value of a field from 1 to limit, 0 when it is not given.
func (o Object) Count(name string, limit int) int {
	if !o.Has(name) {
		return 0
	}
	n := Resolve(o.Value(name))
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" {
		o.d.WrongType(o.Value(name), Join(o.Path, name), "a whole number")
		return 0
	}
	var i int
	if err := n.Decode(&i); err != nil || i < 1 || i > limit {
		o.d.Problem(o.d.format.Value, o.Pos(name), fmt.Sprintf("use a number from 1 to %d", limit), "%s cannot be %s", Join(o.Path, name), n.Value)
		return 0
	}
	return i
}

// Item is one element of a list, with where it stands.
type Item struct {
	Text string
	Path string
	Node *Node
}

// List returns the elements of a list field; none when it is not given.
func (o Object) List(name string) []Item {
	if !o.Has(name) {
		return nil
	}
	n, path := o.Value(name), Join(o.Path, name)
	r := Resolve(n)
	if r.Kind != yaml.SequenceNode {
		o.d.WrongType(n, path, "a list")
		return nil
	}
	if !o.d.spend(n, len(r.Content)) {
		return nil
	}
	items := make([]Item, len(r.Content))
	for i, c := range r.Content {
		items[i] = Item{Node: c, Path: fmt.Sprintf("%s[%d]", path, i)}
	}
	return items
}

// Texts returns the elements of a list of texts that are not empty.
func (o Object) Texts(name string) []Item {
	var out []Item
	for _, it := range o.List(name) {
		s, ok := o.d.Scalar(it.Node, it.Path)
		if ok && s == "" {
			o.d.Problem(o.d.format.Value, o.d.Pos(it.Node), "", "%s is empty", it.Path)
		} else if ok {
			it.Text = s
			out = append(out, it)
		}
	}
	return out
}

// Names returns the fields of a mapping field as text entries, in file order.
func (o Object) Names(name string) []Entry {
	if !o.Has(name) {
		return nil
	}
	n, path := o.Value(name), Join(o.Path, name)
	r := Resolve(n)
	if r.Kind != yaml.MappingNode {
		o.d.WrongType(n, path, "a mapping of names")
		return nil
	}
	return o.d.entries(r, path)
}

// Strings returns a mapping field of names to text, nil when it is not given.
func (o Object) Strings(name string) map[string]string {
	var out map[string]string
	for _, e := range o.Names(name) {
		s, ok := o.d.Scalar(e.Value, Join(Join(o.Path, name), e.Name))
		if !ok {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[e.Name] = s
	}
	return out
}
