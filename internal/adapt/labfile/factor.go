package labfile

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// factors reads a mapping of names to factors, in the order of the file.
func (p *parser) factors(top yamldoc.Object) {
	for _, entry := range top.Names("factors") {
		path := yamldoc.Join("factors", entry.Name)
		p.valid(entry.Name, p.Pos(entry.Key), "a factor")
		o, ok := p.Object(entry.Value, path, "kind", "source", "target", "levels")
		if !ok {
			continue
		}
		f := experiment.Factor{Name: entry.Name, Pos: p.Pos(entry.Key), Target: o.Text("target", "")}
		if !o.Has("kind") {
			o.Missing("kind", "use one of "+strings.Join(kinds(), ", "))
		} else {
			f.Kind = experiment.Kind(o.Choice("kind", kinds()...))
			p.target(o, &f)
		}
		f.Levels = p.levels(o, f)
		p.e.Factors = append(p.e.Factors, f)
	}
}

func kinds() []string {
	var out []string
	for _, k := range experiment.Kinds() {
		out = append(out, string(k))
	}
	return out
}

// target checks what a factor of its kind varies, and where.
func (p *parser) target(o yamldoc.Object, f *experiment.Factor) {
	switch needs := f.Kind == experiment.Submodule || f.Kind == experiment.Argument || f.Kind == experiment.Knob; {
	case needs && f.Target == "":
		help := map[experiment.Kind]string{
			experiment.Submodule: "name the path of the submodule in its source",
			experiment.Argument:  "name the build argument",
			experiment.Knob:      "name one of " + strings.Join(knobs(), ", "),
		}
		o.Missing("target", help[f.Kind])
	case !needs && o.Has("target"):
		p.Problem(diag.LabValue, o.Pos("target"), "remove it", "a factor of kind %s has no target", f.Kind)
	case f.Kind == experiment.Knob:
		p.known(o.Pos("target"), "knob", f.Target, knobs())
	}
	if inSource := f.Kind.Commit() || f.Kind == experiment.Patch; inSource {
		f.Source = o.Text("source", ".")
		p.exists(o.Pos("source"), "the source", f.Source)
	} else if o.Has("source") {
		p.Problem(diag.LabValue, o.Pos("source"), "remove it", "a factor of kind %s has no source", f.Kind)
	}
}

func knobs() []string { return slices.Sorted(maps.Keys(experiment.Knobs())) }

// levels reads a mapping of names to values, of which the first is the baseline.
func (p *parser) levels(o yamldoc.Object, f experiment.Factor) []experiment.Level {
	if !o.Has("levels") {
		o.Missing("levels", "name two or more, the baseline first: {old: VALUE, new: VALUE}")
		return nil
	}
	before := p.Len()
	var out []experiment.Level
	for _, entry := range o.Names("levels") {
		p.valid(entry.Name, p.Pos(entry.Key), "a level")
		value, ok := p.Scalar(entry.Value, yamldoc.Join(yamldoc.Join(o.Path, "levels"), entry.Name))
		if !ok {
			continue
		}
		l := experiment.Level{Name: entry.Name, Value: value, Pos: p.Pos(entry.Value)}
		p.level(&l, f)
		if i := slices.IndexFunc(out, func(o experiment.Level) bool { return o.Value == value }); i >= 0 {
			p.Problem(diag.LabDuplicate, l.Pos, "give it another value, or remove it", "the levels %s and %s of %s have the same value", out[i].Name, l.Name, f.Name)
		}
		out = append(out, l)
	}
	if len(out) < 2 && p.Len() == before {
		p.Problem(diag.LabValue, o.Pos("levels"), "name the baseline and what it is compared with", "%s.levels has fewer than two", o.Path)
	}
	return out
}

// level checks that a factor can have a value.
func (p *parser) level(l *experiment.Level, f experiment.Factor) {
	var err error
	switch {
	case f.Kind == experiment.Patch && l.Value != "":
		l.Content = p.content(l.Pos, l.Value)
	case f.Kind.Commit() && strings.TrimSpace(l.Value) == "":
		err = diag.Errorf(diag.Usage, "name a commit by its whole hash", "a commit has a name")
	case f.Kind == experiment.Knob:
		err = knobValue(f.Target, l.Value)
	}
	if err != nil {
		p.Problem(diag.LabValue, l.Pos, diag.HelpOf(err), "the level %s of %s cannot be %q: %v", l.Name, f.Name, l.Value, err)
	}
}

// constants reads the knobs that all trials have.
func (p *parser) constants(o yamldoc.Object) {
	for _, entry := range o.Names("knobs") {
		value, ok := p.Scalar(entry.Value, yamldoc.Join("knobs", entry.Name))
		if !ok || !p.known(p.Pos(entry.Key), "knob", entry.Name, knobs()) {
			continue
		}
		if slices.ContainsFunc(p.e.Factors, func(f experiment.Factor) bool { return f.Kind == experiment.Knob && f.Target == entry.Name }) {
			p.Problem(diag.LabDuplicate, p.Pos(entry.Key), "remove it, or the factor", "the knob %s is a factor, too", entry.Name)
		}
		if err := knobValue(entry.Name, value); err != nil {
			p.Problem(diag.LabValue, p.Pos(entry.Value), diag.HelpOf(err), "knobs.%s cannot be %q: %v", entry.Name, value, err)
		}
		if p.e.Knobs == nil {
			p.e.Knobs = map[string]string{}
		}
		p.e.Knobs[entry.Name] = value
	}
}

// knobValue is what is wrong with a knob's value.
func knobValue(knob, value string) error {
	allowed := experiment.Knobs()[knob]
	switch {
	case knob == experiment.KnobDisk:
		_, err := fleet.ParseDisk(value)
		return err
	case knob == experiment.KnobJobs:
		if n, err := strconv.Atoi(value); err != nil || n < 1 || n > 1000 {
			return diag.Errorf(diag.Usage, "use a number from 1 to 1000", "it is a number of solves")
		}
	case allowed != nil && !slices.Contains(allowed, value):
		return diag.Errorf(diag.Usage, "use one of "+strings.Join(allowed, ", "), "%w", errors.New("there is no such "+knob))
	}
	return nil
}
