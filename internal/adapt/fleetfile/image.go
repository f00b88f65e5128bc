package fleetfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// block is one entry of images: some rows and the templates that make an image
// of each.
type block struct {
	o            object
	listed       bool // the rows are from ids or from, not the block itself
	rows         []fleet.Row
	id, base     *tmpl
	tags         []*tmpl
	args, labels map[string]*tmpl
	exclude      map[string]*yaml.Node
	choice       choice
	where        *tmpl // a condition; nil: every row
}

// images reads every block and renders its rows, in declared order.
func (p *parser) images(top object, recipe fleet.Recipe) []fleet.Image {
	if !top.has("images") {
		top.missing("images", "say which images should exist: images: {ids: [...], base: ..., tag: ...}")
		return nil
	}
	before := len(p.probs)
	b := &builder{p: p, recipe: recipe, byID: map[string]diag.Pos{}, byTag: map[string]int{}, refs: references{}}
	n := resolve(top.value("images"))
	switch n.Kind {
	case yaml.MappingNode:
		b.block(p.block(top.value("images"), "images", recipe.BaseArg))
	case yaml.SequenceNode:
		for _, it := range top.list("images") {
			b.block(p.block(it.node, it.path, recipe.BaseArg))
		}
	default:
		p.wrongType(top.value("images"), "images", "a mapping, or a list of them")
	}
	b.published()
	if len(b.images) == 0 && len(p.probs) == before {
		p.problem(diag.FleetEmpty, top.pos("images"), "name images with ids: or from:", "the fleet has no images")
	}
	if len(p.probs) > before {
		return b.images
	}
	return b.meant()
}

// block reads the fields of a block; what has a problem stays nil.
func (p *parser) block(n *yaml.Node, path, baseArg string) *block {
	o, ok := p.object(n, path, "ids", "from", "format", "id", "base", "tag", "tags", "args", "labels", "exclude", "select")
	if !ok {
		return nil
	}
	b := &block{o: o, listed: o.has("ids") || o.has("from"), exclude: map[string]*yaml.Node{}}
	b.rows = p.blockRows(o)
	if !b.listed && !o.has("id") {
		o.missing("ids", "list ids:, name a file of rows with from:, or give one image an id:")
	}
	if b.id = p.field(o, "id"); !o.has("id") && b.listed {
		b.id = p.defaultID(o)
	}
	if b.base = p.field(o, "base"); !o.has("base") {
		o.missing("base", "name the base image: \"docker.io/org/name-{{.id}}:latest\"")
	}
	b.tags = p.tags(o)
	b.args, b.labels = p.fieldMap(o, "args"), p.fieldMap(o, "labels")
	p.arguments(o, baseArg)
	p.labels(o)
	for _, it := range o.texts("exclude") {
		b.exclude[it.text] = it.node
	}
	p.selection(b)
	return b
}

// defaultID is the template of a block that does not say which field is the id.
func (p *parser) defaultID(o object) *tmpl {
	at := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "{{.id}}", Line: o.node.Line, Column: o.node.Column}
	t := p.compile(at, join(o.path, "id"))
	t.help = "say which field is the id: id: \"{{.instance_id}}\""
	return t
}

func (p *parser) field(o object, name string) *tmpl {
	if !o.has(name) {
		return nil
	}
	return p.compile(o.value(name), join(o.path, name))
}

func (p *parser) fieldMap(o object, name string) map[string]*tmpl {
	out := map[string]*tmpl{}
	for _, e := range o.names(name) {
		out[e.name] = p.compile(e.value, join(join(o.path, name), e.name))
	}
	return out
}

func (p *parser) tags(o object) []*tmpl {
	switch {
	case o.has("tag") && o.has("tags"):
		p.problem(diag.FleetValue, p.pos(o.fields["tag"].key), "move it into tags:", "%s has both tag and tags", o.path)
		return nil
	case o.has("tag"):
		return []*tmpl{p.field(o, "tag")}
	case !o.has("tags"):
		o.missing("tag", "say where the image goes: \"registry.example.com/agents:{{.id}}\"")
		return nil
	}
	var out []*tmpl
	before := len(p.probs)
	for _, it := range o.list("tags") {
		out = append(out, p.compile(it.node, it.path))
	}
	if len(out) == 0 && len(p.probs) == before {
		p.problem(diag.FleetValue, o.pos("tags"), "name at least one", "%s is empty", join(o.path, "tags"))
	}
	return out
}

// blockRows reads the rows of a block: its ids, its file, or one row without
// fields for a block that is one image.
func (p *parser) blockRows(o object) []fleet.Row {
	var rows []fleet.Row
	before := len(p.probs)
	switch {
	case o.has("ids") && o.has("from"):
		p.problem(diag.FleetValue, p.pos(o.fields["from"].key), "use two entries of images:", "%s has both ids and from", o.path)
		return nil
	case o.has("ids"):
		for _, it := range o.texts("ids") {
			rows = append(rows, fleet.Row{Fields: map[string]any{"id": it.text}, Pos: p.pos(it.node)})
		}
	case o.has("from"):
		rows = p.fromFile(o)
	default:
		return []fleet.Row{{Pos: o.pos("id")}}
	}
	if o.has("format") && !o.has("from") {
		p.problem(diag.FleetValue, p.pos(o.fields["format"].key), "it says how the file of from: is written", "%s has a format but no from", o.path)
	}
	if len(rows) == 0 && len(p.probs) == before {
		name := "ids"
		if o.has("from") {
			name = "from"
		}
		p.problem(diag.FleetEmpty, o.pos(name), "", "%s lists no images", join(o.path, name))
	}
	return rows
}

func (p *parser) fromFile(o object) []fleet.Row {
	name := o.required("from", "name a file of ids or rows")
	format := ""
	if o.has("format") {
		var all []string
		for _, f := range fleet.Formats() {
			all = append(all, string(f))
		}
		format = o.choice("format", all...)
	}
	if name == "" {
		return nil
	}
	return p.rowsOf(o.pos("from"), name, format)
}

// rowsOf reads the rows of a file that is named at a place of the fleet file.
func (p *parser) rowsOf(at diag.Pos, name, format string) []fleet.Row {
	shown := p.beside(name)
	text, err := p.read(shown)
	if err == nil && p.opt.Rows == nil {
		err = errors.ErrUnsupported
	}
	if err != nil {
		p.problem(diag.FleetNotFound, at, "paths are relative to the folder of the fleet file", "the instance list %s %s", name, cannotRead(err))
		return nil
	}
	rows, err := p.opt.Rows(shown, format, text)
	var l diag.List
	if errors.As(err, &l) {
		p.probs = append(p.probs, l...)
	} else if err != nil {
		p.problem(diag.RowSyntax, diag.Pos{File: shown}, "", "%v", err)
	}
	p.texts[shown] = []byte(strings.TrimPrefix(string(text), "\ufeff"))
	return rows
}

// builder makes images of blocks and keeps ids and tags unique.
type builder struct {
	p      *parser
	recipe fleet.Recipe
	images []fleet.Image
	data   []mapping // what the templates of each image see
	byID   map[string]diag.Pos
	byTag  map[string]int // index of the image
	refs   references
}

// candidate is a row that may become an image.
type candidate struct {
	pos      diag.Pos
	data     mapping // what templates see
	id, base string
	tried    bool // to render the base
}

// block renders the rows of a block that are selected. Templates that could not
// be read are passed over, so that the others are still tried.
func (b *builder) block(bl *block) {
	if bl == nil {
		return
	}
	list := b.candidates(bl)
	for _, c := range b.selected(bl, list) {
		b.image(bl, c)
	}
	for _, t := range append([]*tmpl{bl.id, bl.where, bl.base}, bl.tags...) {
		b.p.report(t)
	}
	for _, m := range []map[string]*tmpl{bl.args, bl.labels} {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			b.p.report(m[name])
		}
	}
}

// candidates lists the rows of a block that are not excluded, with their ids.
func (b *builder) candidates(bl *block) []*candidate {
	if bl.id == nil {
		return nil
	}
	union := shape{}
	data := make([]mapping, len(bl.rows))
	for i, r := range bl.rows {
		data[i] = fields(r.Fields)
		union.add(data[i])
	}
	args := make(mapping, len(b.recipe.Args))
	for k, v := range b.recipe.Args {
		args[k] = v
	}
	var out []*candidate
	excluded := map[string]bool{}
	for i, r := range bl.rows {
		union.fill(data[i])
		own := data[i]
		d := maps.Clone(own)
		d["row"], d["index"], d["args"] = own, i, args
		if src := b.recipe.Source; src != nil {
			d["source"] = sourceFields(src)
		}
		id, ok := bl.id.render(r.Pos, d)
		if !ok {
			continue
		}
		id = strings.TrimSpace(id)
		if bl.exclude[id] != nil {
			excluded[id] = true
		} else if b.valid(id, r.Pos) {
			d["id"] = id
			out = append(out, &candidate{pos: r.Pos, data: d, id: id})
		}
	}
	b.notExcluded(bl, excluded, out)
	return out
}

// notExcluded reports exclusions that name no row.
func (b *builder) notExcluded(bl *block, excluded map[string]bool, list []*candidate) {
	if len(bl.id.failed) > 0 {
		return
	}
	for id, n := range bl.exclude {
		if excluded[id] {
			continue
		}
		help := "remove it from exclude:"
		if near := diag.Nearest(id, idsOf(list)); near != "" {
			help = fmt.Sprintf("did you mean %s?", near)
		}
		b.p.problem(diag.FleetValue, b.p.pos(n), help, "%s: no row has the id %s", join(bl.o.path, "exclude"), id)
	}
}

// idsOf lists the ids of candidates.
func idsOf(list []*candidate) []string {
	ids := make([]string, len(list))
	for i, c := range list {
		ids[i] = c.id
	}
	return ids
}

// baseOf is the full reference of a candidate's base, "" after a problem.
func (b *builder) baseOf(bl *block, c *candidate) string {
	if c.tried || bl.base == nil {
		return c.base
	}
	c.tried = true
	if s, ok := bl.base.render(c.pos, c.data); ok {
		c.base = b.base(bl.base, c.id, s)
	}
	return c.base
}

// image makes the image of a candidate.
func (b *builder) image(bl *block, c *candidate) {
	if !b.unique(c.id, c.pos) {
		return
	}
	d := c.data
	im := fleet.Image{ID: c.id, Pos: c.pos, Base: b.baseOf(bl, c)}
	im.Args = renderMap(bl.args, c.pos, d)
	if len(im.Args) > 0 { // labels and tags see what the image is built with
		all := maps.Clone(d["args"].(mapping))
		for k, v := range im.Args {
			all[k] = v
		}
		d["args"] = all
	}
	if im.Base != "" {
		d["base"] = im.Base
	} else {
		d["base"] = missing("base")
	}
	im.Labels = renderMap(bl.labels, c.pos, d)
	if im.Base == "" { // said already
		return
	}
	index := len(b.images)
	b.images, b.data = append(b.images, im), append(b.data, d)
	for _, t := range bl.tags {
		if t == nil {
			continue
		}
		if s, ok := t.render(c.pos, d); ok {
			if tag := b.tag(t, index, s); tag != "" {
				im.Tags = append(im.Tags, tag)
			}
		}
	}
	b.images[index] = im
}

func renderMap(m map[string]*tmpl, pos diag.Pos, d mapping) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for name, t := range m {
		if t == nil {
			continue
		}
		if s, ok := t.render(pos, d); ok {
			out[name] = s
		}
	}
	return out
}

// maxID is the longest id in bytes.
const maxID = 256

// valid checks an id.
func (b *builder) valid(id string, pos diag.Pos) bool {
	const help = "id: says which field of a row is its id"
	switch {
	case id == "":
		b.p.problem(diag.RowField, pos, help, "the id is empty")
	case len(id) > maxID:
		b.p.problem(diag.RowField, pos, help, "the id is longer than %d bytes", maxID)
	case strings.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		b.p.problem(diag.RowField, pos, help, "the id %q has white space or control characters", id)
	default:
		return true
	}
	return false
}

// unique checks that no other image has an id.
func (b *builder) unique(id string, pos diag.Pos) bool {
	if first, dup := b.byID[id]; dup {
		b.p.problem(diag.ImageDuplicate, pos, "remove one of them, or make id: tell them apart", "the image %s is declared twice; first at %s", id, first)
		return false
	}
	b.byID[id] = pos
	return true
}

// base is the full reference of a base, or "" after a problem.
func (b *builder) base(t *tmpl, id, s string) string {
	ref, help, err := b.refs.base(s)
	if err != nil {
		b.p.problem(diag.FleetReference, t.pos, help, "%s: the base %q of image %s %v", t.path, s, id, err)
		return ""
	}
	return ref
}

// tag is the full reference of a tag, or "" after a problem.
func (b *builder) tag(t *tmpl, index int, s string) string {
	im := b.images[index]
	ref, help, err := b.refs.tag(s)
	if err != nil {
		b.p.problem(diag.FleetReference, t.pos, help, "%s: the tag %q of image %s %v", t.path, s, im.ID, err)
		return ""
	}
	if first, dup := b.byTag[ref]; dup {
		other := b.images[first]
		help := fmt.Sprintf("put {{.id}} into %s at %s", t.path, t.pos)
		if first == index {
			help = "remove one of them"
		}
		b.p.problem(diag.TagDuplicate, im.Pos, help, "the image %s would be published as %s, and so would %s at %s", im.ID, ref, other.ID, other.Pos)
		return ""
	}
	b.byTag[ref] = index
	return ref
}

// published reports images that would be published over a base of the fleet:
// the next run would start from its own result.
func (b *builder) published() {
	for _, im := range b.images {
		if first, ok := b.byTag[im.Base]; ok {
			b.p.problem(diag.FleetReference, im.Pos, "publish under another name", "the base %s of image %s is what image %s would be published as", im.Base, im.ID, b.images[first].ID)
		}
	}
}
