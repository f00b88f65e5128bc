package fleetfile

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

// pos is the place of n. The library counts characters, people's editors and
// [diag.Pos] count bytes; the difference is not worth counting in a line that
// nobody can read.
func (p *parser) pos(n *yaml.Node) diag.Pos {
	pos := diag.Pos{File: p.file, Line: n.Line, Col: n.Column}
	if n.Line < 1 || n.Line > len(p.lines) || len(p.lines[n.Line-1]) > 4096 {
		return pos
	}
	col := 0
	for i := range p.lines[n.Line-1] {
		if col++; col == n.Column {
			pos.Col = i + 1
			break
		}
	}
	return pos
}

// spend takes n nodes from the budget. Once it is exhausted everything below
// reads as empty.
func (p *parser) spend(at *yaml.Node, n int) bool {
	if p.budget < 0 {
		return false
	}
	if p.budget -= n; p.budget < 0 {
		p.exhausted(at, "list the values in a file and name it with from:", fmt.Sprintf("aliases make this file more than %d values longer", aliasBudget))
	}
	return p.budget >= 0
}

// exhausted ends the reading of values at a node. What is found afterwards is
// only what is missing because of that.
func (p *parser) exhausted(at *yaml.Node, help, message string) {
	p.budget = -1
	p.end = &diag.Problem{Code: diag.FleetValue, Pos: p.pos(at), Help: help, Message: message}
}

// resolve follows an alias. The library makes no alias of an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// describe names the type of n for a message.
func describe(n *yaml.Node) string {
	switch n = resolve(n); {
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

// wrongType reports that n is not what path must be.
func (p *parser) wrongType(n *yaml.Node, path, want string) {
	help := ""
	switch r := resolve(n); {
	case describe(r) == "empty":
		help = "give it a value, or remove the line"
	case strings.HasPrefix(want, "text") && r.Kind == yaml.MappingNode && r.Style&yaml.FlowStyle != 0 && p.at(r, "{{"):
		help = "put a template in quotes: \"{{...}}\""
	}
	if path == "" {
		path = "the fleet file"
	}
	p.problem(diag.FleetType, p.pos(n), help, "%s must be %s, and is %s", path, want, describe(n))
}

// at says whether the source text at n begins with s.
func (p *parser) at(n *yaml.Node, s string) bool {
	pos := p.pos(n)
	return pos.Line >= 1 && pos.Line <= len(p.lines) && pos.Col <= len(p.lines[pos.Line-1])+1 &&
		strings.HasPrefix(p.lines[pos.Line-1][pos.Col-1:], s)
}

// scalar returns n's text as it is written: 1.10 stays 1.10, not 1.1.
func (p *parser) scalar(n *yaml.Node, path string) (string, bool) {
	r := resolve(n)
	if r.Kind == yaml.ScalarNode && slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp", "!!merge"}, r.ShortTag()) {
		if utf8.ValidString(r.Value) && !strings.ContainsRune(r.Value, 0) {
			return r.Value, true
		}
		p.problem(diag.FleetValue, p.pos(n), "", "%s holds a NUL character", path)
		return "", false
	}
	p.wrongType(n, path, "text")
	return "", false
}

// entry is one field of a mapping.
type entry struct {
	name       string
	key, value *yaml.Node
}

// entries returns the fields of mapping n, merge keys included: a field given
// in the mapping itself wins over a merged one, an earlier one over a later.
func (p *parser) entries(n *yaml.Node, path string) []entry {
	var out []entry
	p.collect(n, path, map[string]*yaml.Node{}, &out, 0)
	return out
}

func (p *parser) collect(n *yaml.Node, path string, seen map[string]*yaml.Node, out *[]entry, depth int) {
	if !p.spend(n, len(n.Content)) {
		return
	}
	var merges []*yaml.Node
	own := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			merges = append(merges, value)
			continue
		}
		name, ok := p.scalar(key, "the name of a field")
		if !ok {
			continue
		}
		if first := own[name]; first != nil {
			p.problem(diag.FleetDuplicate, p.pos(key), "remove one of them", "%s is given twice; first at %s", join(path, name), p.pos(first))
			continue
		}
		own[name] = key
		if seen[name] == nil {
			seen[name] = key
			*out = append(*out, entry{name, key, value})
		}
	}
	for _, m := range merges {
		p.merge(m, path, seen, out, depth+1)
	}
}

// merge adds the fields of what a merge key names: a mapping, or a list of them.
func (p *parser) merge(n *yaml.Node, path string, seen map[string]*yaml.Node, out *[]entry, depth int) {
	r := resolve(n)
	switch {
	case depth > maxMerge:
		if p.budget >= 0 {
			p.exhausted(n, "", fmt.Sprintf("merge keys nest deeper than %d", maxMerge))
		}
	case r.Kind == yaml.MappingNode:
		p.collect(r, path, seen, out, depth)
	case r.Kind == yaml.SequenceNode && p.spend(n, len(r.Content)):
		for _, c := range r.Content {
			if resolve(c).Kind != yaml.MappingNode {
				p.wrongType(c, "<<", "a mapping or a list of mappings")
				continue
			}
			p.merge(c, path, seen, out, depth+1)
		}
	case r.Kind != yaml.SequenceNode:
		p.wrongType(n, "<<", "a mapping or a list of mappings")
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// object is a mapping with known fields.
type object struct {
	p      *parser
	node   *yaml.Node // where it stands, maybe an alias
	path   string
	fields map[string]entry
}

// object reads mapping n, which may have the known fields.
func (p *parser) object(n *yaml.Node, path string, known ...string) (object, bool) {
	o := object{p: p, node: n, path: path, fields: map[string]entry{}}
	r := resolve(n)
	if r.Kind != yaml.MappingNode {
		p.wrongType(n, path, "a mapping")
		return o, false
	}
	for _, e := range p.entries(r, path) {
		if slices.Contains(known, e.name) {
			o.fields[e.name] = e
			continue
		}
		if strings.HasPrefix(path, "secrets") || strings.HasPrefix(path, "registries") {
			p.hide(e.key)
		}
		help := "the fields here are " + strings.Join(known, ", ")
		if near := diag.Nearest(e.name, known); near != "" {
			help = fmt.Sprintf("did you mean %s?", near)
		}
		p.problem(diag.FleetUnknown, p.pos(e.key), help, "there is no field %s", join(path, e.name))
	}
	return o, true
}

func (o object) has(name string) bool { return o.fields[name].value != nil }

func (o object) value(name string) *yaml.Node { return o.fields[name].value }

// pos is the place of field name's value, or of the object when it is not given.
func (o object) pos(name string) diag.Pos {
	if v := o.value(name); v != nil {
		return o.p.pos(v)
	}
	return o.p.pos(o.node)
}

// missing reports a field that must be there.
func (o object) missing(name, help string) {
	o.p.problem(diag.FleetMissing, o.p.pos(o.node), help, "%s is missing", join(o.path, name))
}

// text is the value of a text field; fallback when it is not given.
func (o object) text(name, fallback string) string {
	if !o.has(name) {
		return fallback
	}
	s, _ := o.p.scalar(o.value(name), join(o.path, name))
	return s
}

// required is the value of a text field that must be there and not be empty.
func (o object) required(name, help string) string {
	if !o.has(name) {
		o.missing(name, help)
		return ""
	}
	s, ok := o.p.scalar(o.value(name), join(o.path, name))
	if ok && s == "" {
		o.p.problem(diag.FleetValue, o.pos(name), help, "%s is empty", join(o.path, name))
	}
	return s
}

// choice is the value of a text field that must be one of allowed; the first
// one when it is not given.
func (o object) choice(name string, allowed ...string) string {
	if !o.has(name) {
		return allowed[0]
	}
	s, ok := o.p.scalar(o.value(name), join(o.path, name))
	if !ok || o.p.oneOf(s, o.value(name), join(o.path, name), allowed) {
		return s
	}
	return allowed[0]
}

// oneOf reports a text that is none of those allowed.
func (p *parser) oneOf(s string, at *yaml.Node, path string, allowed []string) bool {
	if slices.Contains(allowed, s) {
		return true
	}
	help := "use one of " + strings.Join(allowed, ", ")
	if near := diag.Nearest(s, allowed); near != "" {
		help = fmt.Sprintf("did you mean %s?", near)
	}
	p.problem(diag.FleetValue, p.pos(at), help, "%s cannot be %q", path, s)
	return false
}

// flag is the value of a truth field, false when it is not given.
func (o object) flag(name string) bool {
	if !o.has(name) {
		return false
	}
	n := resolve(o.value(name))
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		return strings.EqualFold(n.Value, "true")
	}
	o.p.wrongType(o.value(name), join(o.path, name), "true or false")
	return false
}

// count is the value of a field from 1 to limit, 0 when it is not given.
func (o object) count(name string, limit int) int {
	if !o.has(name) {
		return 0
	}
	n := resolve(o.value(name))
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" {
		o.p.wrongType(o.value(name), join(o.path, name), "a whole number")
		return 0
	}
	var i int
	if err := n.Decode(&i); err != nil || i < 1 || i > limit {
		o.p.problem(diag.FleetValue, o.pos(name), fmt.Sprintf("use a number from 1 to %d", limit), "%s cannot be %s", join(o.path, name), n.Value)
		return 0
	}
	return i
}

// item is one element of a list, with where it stands.
type item struct {
	text string
	path string
	node *yaml.Node
}

// list returns the elements of a list field; none when it is not given.
func (o object) list(name string) []item {
	if !o.has(name) {
		return nil
	}
	n, path := o.value(name), join(o.path, name)
	r := resolve(n)
	if r.Kind != yaml.SequenceNode {
		o.p.wrongType(n, path, "a list")
		return nil
	}
	if !o.p.spend(n, len(r.Content)) {
		return nil
	}
	items := make([]item, len(r.Content))
	for i, c := range r.Content {
		items[i] = item{node: c, path: fmt.Sprintf("%s[%d]", path, i)}
	}
	return items
}

// texts returns the elements of a list of texts that are not empty.
func (o object) texts(name string) []item {
	var out []item
	for _, it := range o.list(name) {
		s, ok := o.p.scalar(it.node, it.path)
		if ok && s == "" {
			o.p.problem(diag.FleetValue, o.p.pos(it.node), "", "%s is empty", it.path)
		} else if ok {
			it.text = s
			out = append(out, it)
		}
	}
	return out
}

// names returns the fields of a mapping field as text entries, in file order.
func (o object) names(name string) []entry {
	if !o.has(name) {
		return nil
	}
	n, path := o.value(name), join(o.path, name)
	r := resolve(n)
	if r.Kind != yaml.MappingNode {
		o.p.wrongType(n, path, "a mapping of names to text")
		return nil
	}
	return o.p.entries(r, path)
}

// strings returns a mapping field of names to text, nil when it is not given.
func (o object) strings(name string) map[string]string {
	var out map[string]string
	for _, e := range o.names(name) {
		s, ok := o.p.scalar(e.value, join(join(o.path, name), e.name))
		if !ok {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[e.name] = s
	}
	return out
}
