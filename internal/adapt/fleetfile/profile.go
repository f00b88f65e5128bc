package fleetfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// profiles reads every profile of the file, applies those that are asked for to
// the recipe and keeps them there.
func (p *parser) profiles(top, recipe object, r *fleet.Recipe) {
	all := map[string]fleet.Profile{}
	for _, e := range top.names("profiles") {
		path := join("profiles", e.name)
		if !word.MatchString(e.name) {
			p.problem(diag.FleetValue, p.pos(e.key), "use letters, digits, dots, dashes and underscores", "the name %q of a profile has other characters", e.name)
		}
		o, ok := p.object(e.value, path, "targets", "args")
		if !ok {
			continue
		}
		pr := fleet.Profile{Name: e.name, Args: p.recipeArgs(o, r.Source)}
		before := len(p.probs)
		for _, t := range o.texts("targets") {
			pr.Targets = append(pr.Targets, t.text)
		}
		if !o.has("targets") {
			o.missing("targets", "name the stages of the Dockerfile whose arguments it changes")
		} else if len(pr.Targets) == 0 && len(p.probs) == before {
			p.problem(diag.FleetValue, o.pos("targets"), "name the stages of the Dockerfile whose arguments it changes", "%s.targets is empty", path)
		}
		p.arguments(o, r.BaseArg)
		all[e.name] = pr
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
func (p *parser) asked(recipe object, all map[string]fleet.Profile) []string {
	var names []string
	add := func(name string) {
		names = append(slices.DeleteFunc(names, func(n string) bool { return n == name }), name)
	}
	for _, it := range recipe.texts("profiles") {
		if _, ok := all[it.text]; !ok {
			p.problem(diag.FleetValue, p.pos(it.node), nearProfile(it.text, all), "there is no profile %q", it.text)
			continue
		}
		add(it.text)
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
