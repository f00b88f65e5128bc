package lint

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

// waive marks the findings that the fleet file accepts, and adds those about
// waivers that are over or waive nothing. An image that could not be looked at
// may have what a waiver is for.
func (l *linter) waive(list []Finding) []Finding {
	l.order = nil
	unseen := slices.ContainsFunc(l.in.Images, func(f planner.Facts) bool { return f.Problem != nil })
	for i, w := range l.in.Fleet.Lint.Waivers {
		pos := w.Pos
		pos.File = l.in.Fleet.File
		p := place{pos: pos, name: strconv.Itoa(i)}
		if !w.Counts(l.in.Now) {
			p.code = rule.WaiverExpired
			l.add(p, "the waiver of "+w.Rule+" is over: "+w.String())
			continue
		}
		used := false
		for j := range list {
			if f := &list[j]; f.Code == w.Rule && l.covers(w, f) {
				f.Waiver, used = &w.Waiver, true
			}
		}
		if !used && !unseen {
			p.code = rule.WaiverUnused
			l.add(p, "no finding of "+w.Rule+" is at "+w.Where)
		}
	}
	return append(list, l.severities()...)
}

var fileLine = regexp.MustCompile(`^(.+):(\d+)$`)

// covers tells whether a finding is where a waiver says. The line of an
// instruction that goes over several is all of them.
func (l *linter) covers(w fleet.Waiver, f *Finding) bool {
	if m := fileLine.FindStringSubmatch(w.Where); m != nil && m[2] == strconv.Itoa(f.Pos.Line) && within(m[1], f.Pos) {
		return true
	}
	text := f.Source
	if in := l.in.Outline.At(f.Pos.Line); in != nil && f.Pos.File == in.Pos.File {
		text = in.Text
	}
	return strings.Contains(strings.Join(strings.Fields(text), " "), strings.Join(strings.Fields(w.Where), " "))
}

// within tells whether a path ends in a name, whole folders counting.
func within(name string, pos diag.Pos) bool {
	file := filepath.ToSlash(pos.File)
	name = strings.TrimPrefix(filepath.ToSlash(name), "./")
	return file == name || strings.HasSuffix(file, "/"+name)
}
