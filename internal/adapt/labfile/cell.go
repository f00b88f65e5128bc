package labfile

import (
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// crossed is what cells may be instead of a mapping: every combination.
const crossed = "crossed"

// setting is one entry of cells.
type setting struct {
	name         string
	levels       experiment.Levels
	temperatures []experiment.Temperature
	from         string // the setting that a bump starts from
	pos, fromPos diag.Pos
}

// cells reads the settings and makes a cell of each at its temperatures. A bump
// starts from the first setting, which has none itself unless it says from
// where.
func (p *parser) cells(top yamldoc.Object) {
	before := p.Len()
	usual := p.temperatures(top, p.usual())
	if p.brokenFactors() {
		return // their levels are not all known
	}
	settings := p.settings(top, usual)
	if len(settings) == 0 {
		return
	}
	for _, s := range settings {
		for _, t := range s.temperatures {
			c := experiment.Cell{Setting: s.name, Levels: s.levels, Temperature: t, Pos: s.pos}
			if t == experiment.Bump {
				if c.Seed = p.seed(s, settings); c.Seed == "" {
					continue
				}
			}
			p.e.Cells = append(p.e.Cells, c)
		}
	}
	if len(p.e.Cells) == 0 && p.Len() == before {
		p.Problem(diag.LabValue, top.Pos("temperatures"), "add cold, warm or warm-remote", "there is nothing to start a bump from but the cell itself")
	}
}

// usual are the temperatures of an experiment that names none.
func (p *parser) usual() []experiment.Temperature {
	if len(p.e.Factors) == 0 {
		return []experiment.Temperature{experiment.Cold, experiment.Warm}
	}
	return []experiment.Temperature{experiment.Cold, experiment.Warm, experiment.Bump}
}

// brokenFactors tells whether a factor has no levels because of a problem.
func (p *parser) brokenFactors() bool {
	return slices.ContainsFunc(p.e.Factors, func(f experiment.Factor) bool { return len(f.Levels) == 0 })
}

// temperatures reads a list of them.
func (p *parser) temperatures(o yamldoc.Object, fallback []experiment.Temperature) []experiment.Temperature {
	if !o.Has("temperatures") {
		return fallback
	}
	var known []string
	for _, t := range experiment.Temperatures() {
		known = append(known, string(t))
	}
	before := p.Len()
	unique := p.Unique("temperatures")
	var out []experiment.Temperature
	for _, it := range o.Texts("temperatures") {
		if p.known(p.Pos(it.Node), "temperature", it.Text, known) {
			unique.Add(it.Text, p.Pos(it.Node))
			out = append(out, experiment.Temperature(it.Text))
		}
	}
	if len(out) == 0 && p.Len() == before {
		p.Problem(diag.LabValue, o.Pos("temperatures"), "use some of "+strings.Join(known, ", "), "%s lists none", yamldoc.Join(o.Path, "temperatures"))
	}
	return out
}

// settings are those that are written out, or every combination of levels.
func (p *parser) settings(top yamldoc.Object, usual []experiment.Temperature) []setting {
	if n := top.Value("cells"); n != nil && !yamldoc.IsScalar(n) {
		return p.written(top, usual)
	}
	if top.Has("cells") {
		top.Choice("cells", crossed)
	}
	if n := experiment.Combinations(p.e.Factors, maxCells); n >= maxCells {
		p.Problem(diag.LabValue, top.Pos("factors"), "write out the cells that the question needs", "crossed, the factors make %d cells or more", maxCells)
		return nil
	}
	var out []setting
	for _, l := range experiment.Cross(p.e.Factors) {
		out = append(out, setting{name: experiment.SettingName(p.e.Factors, l), levels: l, temperatures: usual, pos: top.Pos("factors")})
	}
	return out
}

// written reads cells that are written out: a mapping of names to levels.
func (p *parser) written(top yamldoc.Object, usual []experiment.Temperature) []setting {
	var out []setting
	before := p.Len()
	entries := top.Names("cells")
	if len(entries) > maxCells {
		p.Problem(diag.LabValue, top.Pos("cells"), "", "there are more than %d cells", maxCells)
		return nil
	}
	for _, entry := range entries {
		p.valid(entry.Name, p.Pos(entry.Key), "a cell")
		o, ok := p.Object(entry.Value, yamldoc.Join("cells", entry.Name), "levels", "temperatures", "from")
		if !ok {
			continue
		}
		s := setting{name: entry.Name, levels: p.cellLevels(o), pos: p.Pos(entry.Key),
			temperatures: p.temperatures(o, usual), from: o.Text("from", ""), fromPos: o.Pos("from")}
		if o.Has("from") && !slices.Contains(s.temperatures, experiment.Bump) {
			p.Problem(diag.LabValue, s.fromPos, "add bump to its temperatures", "only a bump starts from another cell")
		}
		out = append(out, s)
	}
	switch {
	case p.Len() > before:
	case len(entries) == 0:
		p.Problem(diag.LabValue, top.Pos("cells"), "name cells, or remove it to cross all levels", "cells has none")
	default:
		p.alike(out)
		p.unused(out)
	}
	return out
}

// alike reports settings that are the same under two names.
func (p *parser) alike(settings []setting) {
	first := map[string]string{}
	for _, s := range settings {
		levels := experiment.SettingName(p.e.Factors, s.levels)
		if other, ok := first[levels]; ok {
			p.Problem(diag.LabDuplicate, s.pos, "repeat a cell by naming it in controls:", "the cells %s and %s have the same levels", other, s.name)
			continue
		}
		first[levels] = s.name
	}
}

// cellLevels reads one level of each factor; one that is not named is at its
// baseline.
func (p *parser) cellLevels(o yamldoc.Object) experiment.Levels {
	out := experiment.Levels{}
	var names []string
	for _, f := range p.e.Factors {
		out[f.Name] = f.Levels[0].Name
		names = append(names, f.Name)
	}
	for _, entry := range o.Names("levels") {
		level, ok := p.Scalar(entry.Value, yamldoc.Join(yamldoc.Join(o.Path, "levels"), entry.Name))
		if !ok || !p.known(p.Pos(entry.Key), "factor", entry.Name, names) {
			continue
		}
		f, _ := p.e.Factor(entry.Name)
		var levels []string
		for _, l := range f.Levels {
			levels = append(levels, l.Name)
		}
		if p.known(p.Pos(entry.Value), "level of "+f.Name, level, levels) {
			out[f.Name] = level
		}
	}
	return out
}

// unused reports levels that no cell has: nothing would be said of them. Commits
// may be there for a bisection.
func (p *parser) unused(settings []setting) {
	for _, f := range p.e.Factors {
		if f.Kind.Commit() {
			continue
		}
		for _, l := range f.Levels {
			if !slices.ContainsFunc(settings, func(s setting) bool { return s.levels[f.Name] == l.Name }) {
				p.Problem(diag.LabValue, l.Pos, "give it a cell, or remove it", "no cell has the level %s of %s", l.Name, f.Name)
			}
		}
	}
}

// seed is the setting that a bump of s starts from; "" when there is none.
func (p *parser) seed(s setting, settings []setting) string {
	if s.from == "" {
		if s.name == settings[0].name {
			return ""
		}
		return settings[0].name
	}
	var names []string
	for _, other := range settings {
		if other.name != s.name {
			names = append(names, other.name)
		}
	}
	if !p.known(s.fromPos, "other cell", s.from, names) {
		return ""
	}
	return s.from
}

// controls repeats cells: those that are named, or the first one, so that an A/A
// pair is always there.
func (p *parser) controls(top yamldoc.Object) {
	if len(p.e.Cells) == 0 {
		return
	}
	repeat := func(c experiment.Cell, pos diag.Pos) experiment.Cell {
		c.Control, c.Pos = true, pos
		return c
	}
	if !top.Has("controls") {
		p.e.Cells = append(p.e.Cells, repeat(p.e.Cells[0], p.e.Cells[0].Pos))
		return
	}
	before := p.Len()
	names, unique := p.ids(), p.Unique("controls")
	for _, it := range top.Texts("controls") {
		if p.known(p.Pos(it.Node), "cell", it.Text, names) {
			unique.Add(it.Text, p.Pos(it.Node))
			c, _ := p.e.Cell(it.Text)
			p.e.Cells = append(p.e.Cells, repeat(c, p.Pos(it.Node)))
		}
	}
	if p.Len() == before && len(p.e.Cells) == len(names) {
		p.Problem(diag.LabValue, top.Pos("controls"), "name a cell to repeat", "an experiment has an A/A pair, without which nothing is known of its noise")
	}
}

// ids are the names of all cells so far.
func (p *parser) ids() []string {
	var out []string
	for _, c := range p.e.Cells {
		out = append(out, c.ID())
	}
	return out
}
