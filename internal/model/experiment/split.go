package experiment

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// Split takes apart a factor of commits that change a submodule's pointer with
// them. The pointer becomes a factor of its own, of which every cell has the level
// that it had anyway; and for each level of a cell whose pointer is not the
// baseline's, two settings are added, with the code alone and with the pointer alone. Pointers are
// the commits that the submodule at a path points to, by level.
//
// It returns the experiment itself when there is nothing to take apart: all
// pointers are equal, one is not known, or the pointer is a factor already.
func (e *Experiment) Split(factor, at string, pointers map[string]string) *Experiment {
	f, ok := e.Factor(factor)
	if !ok || f.Kind != Ref || e.pointed(f.Source, at) {
		return e
	}
	pointer := Factor{Name: e.free(f.Name + "-" + path.Base(at)), Kind: Submodule, Source: f.Source, Target: at, Pos: f.Pos}
	of := map[string]string{} // level of the code -> level of the pointer
	for _, l := range f.Levels {
		p := pointers[l.Name]
		if p == "" {
			return e
		}
		i := slices.IndexFunc(pointer.Levels, func(x Level) bool { return x.Value == p })
		if i < 0 {
			i = len(pointer.Levels)
			pointer.Levels = append(pointer.Levels, Level{Name: l.Name, Value: p, Pos: l.Pos})
		}
		of[l.Name] = pointer.Levels[i].Name
	}
	if len(pointer.Levels) < 2 {
		return e
	}
	pointer.Follows = &Follows{f.Name, of}
	out := *e
	out.Factors = append(slices.Clone(e.Factors), pointer)
	out.Cells = slices.Clone(e.Cells)
	for i := range out.Cells {
		out.Cells[i].Levels = maps.Clone(out.Cells[i].Levels)
		out.Cells[i].Levels[pointer.Name] = of[out.Cells[i].Levels[f.Name]]
	}
	out.apart(f, pointer, of)
	return &out
}

// pointed tells whether a submodule of a source is a factor.
func (e *Experiment) pointed(source, at string) bool {
	return slices.ContainsFunc(e.Factors, func(f Factor) bool {
		return f.Kind == Submodule && path.Clean(f.Source) == path.Clean(source) && path.Clean(f.Target) == path.Clean(at)
	})
}

// free is a name that no factor has.
func (e *Experiment) free(name string) string {
	name = strings.Map(func(r rune) rune {
		if ValidName("a" + string(r)) {
			return r
		}
		return '-'
	}, name)
	for {
		if _, taken := e.Factor(name); !taken {
			return name
		}
		name += "-pointer"
	}
}

// apart adds the settings in which only one of two factors that change together
// has its new level. They are built cold.
func (e *Experiment) apart(code, pointer Factor, of map[string]string) {
	first := func() Levels {
		l := Levels{}
		for _, f := range e.Factors {
			l[f.Name] = f.Levels[0].Name
		}
		return l
	}
	controls := slices.IndexFunc(e.Cells, func(c Cell) bool { return c.Control })
	if controls < 0 {
		controls = len(e.Cells)
	}
	var added []Cell
	for _, l := range code.Levels[1:] {
		tried := slices.ContainsFunc(e.Cells, func(c Cell) bool { return c.Levels[code.Name] == l.Name })
		if !tried || of[l.Name] == of[code.Levels[0].Name] {
			continue // it is there for a search, or moves no pointer
		}
		alone := []Levels{first(), first()}
		alone[0][code.Name], alone[1][pointer.Name] = l.Name, of[l.Name]
		for _, levels := range alone {
			has := func(c Cell) bool { return c.Levels.Equal(levels) }
			if slices.ContainsFunc(e.Cells, has) || slices.ContainsFunc(added, has) {
				continue
			}
			added = append(added, Cell{Setting: SettingName(e.Factors, levels), Levels: levels, Temperature: Cold, Pos: code.Pos})
		}
	}
	e.Cells = slices.Insert(e.Cells, controls, added...)
}
