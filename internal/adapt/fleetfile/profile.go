package fleetfile

import (
	"errors"
	"fmt"
	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
	"maps"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// profiles reads every profile of the file, applies those that are asked for to
// the recipe and keeps them there.
func (p *parser) profiles(top, recipe yamldoc.Object, r *fleet.Recipe) {
	all := map[string]fleet.Profile{}
	for _, e := range top.Names("profiles") {
		path := yamldoc.Join("profiles", e.Name)
		if !word.MatchString(e.Name) {
			p.Problem(diag.FleetValue, p.Pos(e.Key), "use letters, digits, dots, dashes and underscores", "the name %q of a profile has other characters", e.Name)
		}
		o, ok := p.Object(e.Value, path, "targets", "args")
		if !ok {
			continue
		}
		pr := fleet.Profile{Name: e.Name, Args: p.recipeArgs(o, r.Source)}
		before := p.Len()
		for _, t := range o.Texts("targets") {
			pr.Targets = append(pr.Targets, t.Text)
		}
		if !o.Has("targets") {
			o.Missing("targets", "name the stages of the Dockerfile whose arguments it changes")
		} else if len(pr.Targets) == 0 && p.Len() == before {
			p.Problem(diag.FleetValue, o.Pos("targets"), "name the stages of the Dockerfile whose arguments it changes", "%s.targets is empty", path)
		}
		p.arguments(o, r.BaseArg)
		all[e.Name] = pr
	}
	for _, name := range p.asked(recipe, all) {
		pr := all[name]
		r.Profiles = append(r.Profiles, pr)
		if pr.Reaches(r.Target) && len(pr.Args) > 0 {
			args := maps.Clone(r.Args)
			if args == nil {
				args = map[string]string{}
			}
			maps.Copy(args, pr.Args)
			r.Args = args
		}
	}
}

// asked lists the profiles to apply, by the file and then by the options, each
// where it is named last.
func (p *parser) asked(recipe yamldoc.Object, all map[string]fleet.Profile) []string {
	var names []string
	add := func(name string) {
		names = append(slices.DeleteFunc(names, func(n string) bool { return n == name }), name)
	}
	for _, it := range recipe.Texts("profiles") {
		if _, ok := all[it.Text]; !ok {
			p.Problem(diag.FleetValue, p.Pos(it.Node), nearProfile(it.Text, all), "there is no profile %q", it.Text)
			continue
		}
		add(it.Text)
	}
	for _, name := range p.opt.Profiles {
		if _, ok := all[name]; !ok {
			p.err = errors.Join(p.err, diag.Errorf(diag.Usage, nearProfile(name, all), "--profile: there is no profile %q", name))
			continue
		}
		add(name)
	}
	return names
}

// nearProfile says which profile may have been meant.
func nearProfile(name string, all map[string]fleet.Profile) string {
	names := slices.Sorted(maps.Keys(all))
	switch near := diag.Nearest(name, names); {
	case near != "":
		return fmt.Sprintf("did you mean %s?", near)
	case len(names) == 0:
		return "the fleet file has no profiles"
	}
	return "the profiles are " + strings.Join(names, ", ")
}
