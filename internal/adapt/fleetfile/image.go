package fleetfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// block is one entry of images: some rows and the templates that make an image
// of each.
type block struct {
	o            yamldoc.Object
	listed       bool // the rows are from ids or from, not the block itself
	rows         []fleet.Row
	id, base     *tmpl
	tags         []*tmpl
	args, labels map[string]*tmpl
	exclude      map[string]*yamldoc.Node
	choice       choice
	where        *tmpl // a condition; nil: every row
}

// images reads every block and renders its rows, in declared order.
func (p *parser) images(top yamldoc.Object, recipe fleet.Recipe) []fleet.Image {
	if !top.Has("images") {
		top.Missing("images", "say which images should exist: images: {ids: [...], base: ..., tag: ...}")
		return nil
	}
	before := p.Len()
	b := &builder{p: p, recipe: recipe, byID: map[string]diag.Pos{}, byTag: map[string]int{}, refs: references{}}
	switch n := top.Value("images"); {
	case yamldoc.IsMapping(n):
		b.block(p.block(top.Value("images"), "images", recipe.BaseArg))
	case yamldoc.IsList(n):
		for _, it := range top.List("images") {
			b.block(p.block(it.Node, it.Path, recipe.BaseArg))
		}
	default:
		p.WrongType(top.Value("images"), "images", "a mapping, or a list of them")
	}
	b.published()
	if len(b.images) == 0 && p.Len() == before {
		p.Problem(diag.FleetEmpty, top.Pos("images"), "name images with ids: or from:", "the fleet has no images")
	}
	if p.Len() > before {
		return b.images
	}
	return b.meant()
}

// block reads the fields of a block; what has a problem stays nil.
func (p *parser) block(n *yamldoc.Node, path, baseArg string) *block {
	o, ok := p.Object(n, path, "ids", "from", "format", "id", "base", "tag", "tags", "args", "labels", "exclude", "select")
	if !ok {
		return nil
	}
	b := &block{o: o, listed: o.Has("ids") || o.Has("from"), exclude: map[string]*yamldoc.Node{}}
	b.rows = p.blockRows(o)
	if !b.listed && !o.Has("id") {
		o.Missing("ids", "list ids:, name a file of rows with from:, or give one image an id:")
	}
	if b.id = p.field(o, "id"); !o.Has("id") && b.listed {
		b.id = p.defaultID(o)
	}
	if b.base = p.field(o, "base"); !o.Has("base") {
		o.Missing("base", "name the base image: \"docker.io/org/name-{{.id}}:latest\"")
	}
	b.tags = p.tags(o)
	b.args, b.labels = p.fieldMap(o, "args"), p.fieldMap(o, "labels")
	p.arguments(o, baseArg)
	p.labels(o)
	for _, it := range o.Texts("exclude") {
		b.exclude[it.Text] = it.Node
	}
	p.selection(b)
	return b
}

// defaultID is the template of a block that does not say which field is the id.
func (p *parser) defaultID(o yamldoc.Object) *tmpl {
	at := yamldoc.Text("{{.id}}", o.Node)
	t := p.compile(at, yamldoc.Join(o.Path, "id"))
	t.help = "say which field is the id: id: \"{{.instance_id}}\""
	return t
}

func (p *parser) field(o yamldoc.Object, name string) *tmpl {
	if !o.Has(name) {
		return nil
	}
	return p.compile(o.Value(name), yamldoc.Join(o.Path, name))
}

func (p *parser) fieldMap(o yamldoc.Object, name string) map[string]*tmpl {
	out := map[string]*tmpl{}
	for _, e := range o.Names(name) {
		out[e.Name] = p.compile(e.Value, yamldoc.Join(yamldoc.Join(o.Path, name), e.Name))
	}
	return out
}

func (p *parser) tags(o yamldoc.Object) []*tmpl {
	switch {
	case o.Has("tag") && o.Has("tags"):
		p.Problem(diag.FleetValue, p.Pos(o.Fields["tag"].Key), "move it into tags:", "%s has both tag and tags", o.Path)
		return nil
	case o.Has("tag"):
		return []*tmpl{p.field(o, "tag")}
	case !o.Has("tags"):
		o.Missing("tag", "say where the image goes: \"registry.example.com/agents:{{.id}}\"")
		return nil
	}
	var out []*tmpl
	before := p.Len()
	for _, it := range o.List("tags") {
		out = append(out, p.compile(it.Node, it.Path))
	}
	if len(out) == 0 && p.Len() == before {
		p.Problem(diag.FleetValue, o.Pos("tags"), "name at least one", "%s is empty", yamldoc.Join(o.Path, "tags"))
	}
	return out
}

// blockRows reads the rows of a block: its ids, its file, or one row without
// fields for a block that is one image.
func (p *parser) blockRows(o yamldoc.Object) []fleet.Row {
	var rows []fleet.Row
	before := p.Len()
	switch {
	case o.Has("ids") && o.Has("from"):
		p.Problem(diag.FleetValue, p.Pos(o.Fields["from"].Key), "use two entries of images:", "%s has both ids and from", o.Path)
		return nil
	case o.Has("ids"):
		for _, it := range o.Texts("ids") {
			rows = append(rows, fleet.Row{Fields: map[string]any{"id": it.Text}, Pos: p.Pos(it.Node)})
		}
	case o.Has("from"):
		rows = p.fromFile(o)
	default:
		return []fleet.Row{{Pos: o.Pos("id")}}
	}
	if o.Has("format") && !o.Has("from") {
		p.Problem(diag.FleetValue, p.Pos(o.Fields["format"].Key), "it says how the file of from: is written", "%s has a format but no from", o.Path)
	}
	if len(rows) == 0 && p.Len() == before {
		name := "ids"
		if o.Has("from") {
			name = "from"
		}
		p.Problem(diag.FleetEmpty, o.Pos(name), "", "%s lists no images", yamldoc.Join(o.Path, name))
	}
	return rows
}

func (p *parser) fromFile(o yamldoc.Object) []fleet.Row {
	name := o.Required("from", "name a file of ids or rows")
	format := ""
	if o.Has("format") {
		var all []string
		for _, f := range fleet.Formats() {
			all = append(all, string(f))
		}
		format = o.Choice("format", all...)
	}
	if name == "" {
		return nil
	}
	return p.rowsOf(o.Pos("from"), name, format)
}

// rowsOf reads the rows of a file that is named at a place of the fleet file.
func (p *parser) rowsOf(at diag.Pos, name, format string) []fleet.Row {
	shown := p.beside(name)
	text, err := p.read(shown)
	if err == nil && p.opt.Rows == nil {
		err = errors.ErrUnsupported
	}
	if err != nil {
		p.Problem(diag.FleetNotFound, at, "paths are relative to the folder of the fleet file", "the instance list %s %s", name, yamldoc.Unreadable(err))
		return nil
	}
	rows, err := p.opt.Rows(shown, format, text)
	var l diag.List
	if errors.As(err, &l) {
		p.Append(l)
	} else if err != nil {
		p.Problem(diag.RowSyntax, diag.Pos{File: shown}, "", "%v", err)
	}
	p.Source(shown, []byte(strings.TrimPrefix(string(text), "\ufeff")))
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
		b.p.Problem(diag.FleetValue, b.p.Pos(n), help, "%s: no row has the id %s", yamldoc.Join(bl.o.Path, "exclude"), id)
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
		b.p.Problem(diag.RowField, pos, help, "the id is empty")
	case len(id) > maxID:
		b.p.Problem(diag.RowField, pos, help, "the id is longer than %d bytes", maxID)
	case strings.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		b.p.Problem(diag.RowField, pos, help, "the id %q has white space or control characters", id)
	default:
		return true
	}
	return false
}

// unique checks that no other image has an id.
func (b *builder) unique(id string, pos diag.Pos) bool {
	if first, dup := b.byID[id]; dup {
		b.p.Problem(diag.ImageDuplicate, pos, "remove one of them, or make id: tell them apart", "the image %s is declared twice; first at %s", id, first)
		return false
	}
	b.byID[id] = pos
	return true
}

// base is the full reference of a base, or "" after a problem.
func (b *builder) base(t *tmpl, id, s string) string {
	ref, help, err := b.refs.base(s)
	if err != nil {
		b.p.Problem(diag.FleetReference, t.pos, help, "%s: the base %q of image %s %v", t.path, s, id, err)
		return ""
	}
	return ref
}

// tag is the full reference of a tag, or "" after a problem.
func (b *builder) tag(t *tmpl, index int, s string) string {
	im := b.images[index]
	ref, help, err := b.refs.tag(s)
	if err != nil {
		b.p.Problem(diag.FleetReference, t.pos, help, "%s: the tag %q of image %s %v", t.path, s, im.ID, err)
		return ""
	}
	if first, dup := b.byTag[ref]; dup {
		other := b.images[first]
		help := fmt.Sprintf("put {{.id}} into %s at %s", t.path, t.pos)
		if first == index {
			help = "remove one of them"
		}
		b.p.Problem(diag.TagDuplicate, im.Pos, help, "the image %s would be published as %s, and so would %s at %s", im.ID, ref, other.ID, other.Pos)
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
			b.p.Problem(diag.FleetReference, im.Pos, "publish under another name", "the base %s of image %s is what image %s would be published as", im.Base, im.ID, b.images[first].ID)
		}
	}
}
