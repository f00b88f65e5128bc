package fleetfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// choice is what a block says of the rows that it means.
type choice struct {
	fleet.Selection
	given bool
	// places are where the ids of the selection are named.
	places []diag.Pos
	pos    diag.Pos
}

// selection reads which rows of a block are meant.
func (p *parser) selection(b *block) {
	if !b.o.Has("select") {
		return
	}
	b.choice.pos = p.Pos(b.o.Value("select"))
	o, ok := p.Object(b.o.Value("select"), yamldoc.Join(b.o.Path, "select"), "ids", "file", "where", "sample", "limit")
	if !ok {
		return
	}
	b.choice.given = true
	before := p.Len()
	for _, it := range o.Texts("ids") {
		b.choice.name(it.Text, p.Pos(it.Node))
	}
	if name := o.Text("file", ""); name != "" {
		for _, r := range p.rowsOf(o.Pos("file"), name, "") {
			b.choice.name(p.rowID(r), r.Pos)
		}
	} else if o.Has("file") {
		p.Problem(diag.FleetValue, o.Pos("file"), "name a file of ids", "%s.file is empty", o.Path)
	}
	if (o.Has("ids") || o.Has("file")) && len(b.choice.IDs) == 0 && p.Len() == before {
		p.Problem(diag.FleetEmpty, b.choice.pos, "", "%s names no images", o.Path)
	}
	if o.Has("where") {
		b.where = p.condition(o.Value("where"), yamldoc.Join(o.Path, "where"))
	}
	b.choice.Sample = p.sample(o)
	b.choice.Limit = o.Count("limit", 1_000_000)
}

// name adds an id or a glob.
func (c *choice) name(id string, at diag.Pos) {
	if id != "" {
		c.IDs, c.places = append(c.IDs, id), append(c.places, at)
	}
}

// rowID is the id that a row of a list of ids names, "" after a problem.
func (p *parser) rowID(r fleet.Row) string {
	id, ok := r.Fields["id"].(string)
	if !ok || id == "" {
		p.Problem(diag.RowField, r.Pos, "a list of ids has one a line, or rows with the field id", "the row has no id")
		return ""
	}
	return id
}

func (p *parser) sample(top yamldoc.Object) fleet.Sample {
	if !top.Has("sample") {
		return fleet.Sample{}
	}
	o, ok := p.Object(top.Value("sample"), yamldoc.Join(top.Path, "sample"), "n", "seed")
	if !ok {
		return fleet.Sample{}
	}
	if !o.Has("n") {
		o.Missing("n", "say how many images the sample has")
	}
	s := fleet.Sample{N: o.Count("n", 1_000_000)}
	if text, ok := o.Given("seed"); ok {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			p.Problem(diag.FleetValue, o.Pos("seed"), "use a whole number, 0 or more", "%s cannot be %q", yamldoc.Join(o.Path, "seed"), text)
		}
		s.Seed = seed
	}
	return s
}

// condition reads an expression that says yes or no about a row; nil after a
// problem.
func (p *parser) condition(n *yamldoc.Node, path string) *tmpl {
	text, ok := p.Scalar(n, path)
	if !ok {
		return nil
	}
	t, message, help := p.compileCondition(text, path, p.Pos(n))
	if t == nil {
		p.Problem(diag.FleetTemplate, p.Pos(n), help, "%s: %s", path, message)
	}
	return t
}

// yes is what a condition that holds is rendered as.
const yes = "yes"

// compileCondition makes a template of an expression, or says what is wrong.
func (p *parser) compileCondition(text, path string, pos diag.Pos) (t *tmpl, message, help string) {
	const example = "a condition looks like eq .meta.repo \"django/django\""
	if strings.TrimSpace(text) == "" {
		return nil, "the condition is empty", example
	}
	if strings.Contains(text, "{{") {
		return nil, "a condition stands without {{ and }}", example
	}
	funcs := p.functions()
	parsed, err := newTemplate(funcs).Parse("{{if " + text + "}}" + yes + "{{end}}")
	if err != nil {
		message, help = parseMessage(err, funcs)
		if !strings.HasPrefix(message, "there is no function") {
			help = example
		}
		return nil, message, help
	}
	if len(parsed.Templates()) > 1 || !isCondition(parsed.Root) {
		return nil, "this is not one condition", example
	}
	return &tmpl{path: path, pos: pos, parsed: parsed, condition: true}, "", ""
}

// isCondition makes sure that an expression did not end the condition that it
// was put into.
func isCondition(root *parse.ListNode) bool {
	if len(root.Nodes) != 1 {
		return false
	}
	n, ok := root.Nodes[0].(*parse.IfNode)
	return ok && n.ElseList == nil && n.List.String() == yes
}

// selected are the candidates of a block that its select means.
func (b *builder) selected(bl *block, list []*candidate) []*candidate {
	if !bl.choice.given {
		return list
	}
	s := bl.choice.Selection
	if bl.where != nil {
		s.Where = func(i int) bool {
			c := list[i]
			d := maps.Clone(c.data)
			if d["base"] = b.baseOf(bl, c); d["base"] == "" {
				return false // said already
			}
			answer, ok := bl.where.render(c.pos, d)
			return ok && answer == yes
		}
	}
	before := b.p.Len()
	ids := idsOf(list)
	chosen, unknown := s.Choose(ids)
	for _, id := range unknown {
		if bl.exclude[id] != nil {
			continue
		}
		at := bl.choice.places[slices.Index(s.IDs, id)]
		b.p.Problem(diag.FleetValue, at, nearID(id, ids), "%s: no row has the id %s", yamldoc.Join(bl.o.Path, "select"), id)
	}
	failed := bl.where != nil && len(bl.where.failed) > 0
	if len(chosen) == 0 && len(list) > 0 && b.p.Len() == before && !failed {
		b.p.Problem(diag.FleetEmpty, bl.choice.pos, "", "%s leaves none of %d rows", yamldoc.Join(bl.o.Path, "select"), len(list))
	}
	out := make([]*candidate, len(chosen))
	for i, at := range chosen {
		out[i] = list[at]
	}
	return out
}

// nearID says which id may have been meant.
func nearID(id string, ids []string) string {
	if near := diag.Nearest(id, ids); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "ids are in the fleet file, or in the files that it names"
}

// meant are the images that the caller's selection means.
func (b *builder) meant() []fleet.Image {
	p, s := b.p, b.p.opt.Select
	var where *tmpl
	if p.opt.Where != "" {
		var message, help string
		if where, message, help = p.compileCondition(p.opt.Where, "--where", diag.Pos{}); where == nil {
			p.err = errors.Join(p.err, diag.Errorf(diag.Usage, help, "--where: %s", message))
			return b.images
		}
		s.Where = func(i int) bool {
			answer, ok := where.render(b.images[i].Pos, b.data[i])
			return ok && answer == yes
		}
	}
	selected, unknown := fleet.Fleet{Images: b.images}.Select(s)
	switch {
	case len(unknown) > 0:
		ids := make([]string, len(b.images))
		for i, im := range b.images {
			ids[i] = im.ID
		}
		p.err = errors.Join(p.err, diag.Errorf(diag.Usage, nearID(unknown[0], ids), "no image is named %s", strings.Join(unknown, ", ")))
	case where != nil && len(where.failed) > 0:
		f := where.failed[0]
		p.err = errors.Join(p.err, diag.Errorf(diag.Usage, f.help, "--where: %s (in the row at %s)", f.message, f.row))
	case len(selected.Images) == 0:
		p.err = errors.Join(p.err, diag.Errorf(diag.Usage, "compare with a value that a row has", "--where: none of %d images is meant", len(b.images)))
	}
	return selected.Images
}
