package fleetfile

import (
	"errors"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// source reads where the recipe is taken from; nil is the disk.
func (p *parser) source(recipe object) *fleet.Source {
	if !recipe.has("source") {
		return nil
	}
	s := &fleet.Source{Git: p.dir, Pos: p.pos(recipe.value("source"))}
	before := len(p.probs)
	o, ok := p.object(recipe.value("source"), "recipe.source", "git", "ref", "submodules")
	if !ok {
		return s
	}
	s.Ref = o.required("ref", "name a branch, a tag or a commit")
	if o.has("git") {
		s.Git = p.repository(o)
	}
	s.Submodules = p.submodules(o)
	if len(p.probs) > before || p.budget < 0 {
		return s
	}
	if p.opt.Resolve == nil {
		p.problem(diag.FleetSource, o.pos("ref"), "", "no git repository can be read here")
		return s
	}
	commit, err := p.opt.Resolve(*s)
	switch s.Commit = commit; {
	case err == nil:
	case diag.KindOf(err) == diag.File:
		p.problem(diag.FleetSource, o.pos("ref"), diag.HelpOf(err), "%v", err)
	default:
		p.err = errors.Join(p.err, err)
	}
	return s
}

// repository reads which repository the source is.
func (p *parser) repository(o object) string {
	s := o.required("git", "name a repository by a path or a URL, or leave it out for the one that holds the fleet file")
	if !fleet.IsGitURL(s) {
		return p.path(s)
	}
	if !strings.Contains(s, "://") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "file" && u.Host == "" {
		p.hide(o.value("git"))
		p.problem(diag.FleetValue, o.pos("git"), "write https://HOST/PATH or ssh://USER@HOST/PATH", "recipe.source.git is not a URL of a repository")
		return s
	}
	// For ssh a user is only a name.
	if _, password := u.User.Password(); password || u.User != nil && u.Scheme != "ssh" {
		p.hide(o.value("git"))
		p.problem(diag.FleetValue, o.pos("git"), "leave it out: git's credential helpers are asked for it", "recipe.source.git must not hold a credential")
	}
	return s
}

// submodules reads the repositories that submodules are taken from.
func (p *parser) submodules(o object) map[string]string {
	given := o.strings("submodules")
	out := make(map[string]string, len(given))
	for _, e := range o.names("submodules") {
		switch to, ok := given[e.name]; {
		case !ok:
		case e.name != path.Clean(e.name) || !local(e.name):
			p.problem(diag.FleetValue, p.pos(e.key), "write it as git submodule does: vendor/sdk", "%q is not the path of a submodule", e.name)
		case to == "" || fleet.IsGitURL(to):
			p.problem(diag.FleetValue, p.pos(e.value), "clone it, and name the clone", "recipe.source.submodules.%s must be the path of a local repository", e.name)
		default:
			out[e.name] = p.path(to)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// local tells whether a path stays below the folder that it is relative to.
func local(s string) bool {
	c := path.Clean(s)
	return !path.IsAbs(c) && c != ".." && !strings.HasPrefix(c, "../") && !strings.HasPrefix(c, "~/")
}

// inside checks that a path of the recipe is one of the source.
func (p *parser) inside(o object, name string) {
	if s := o.text(name, "."); s == "" || !local(s) {
		p.problem(diag.FleetValue, o.pos(name), "it is relative to the top of the source's tree", "recipe.%s cannot be %q: it is not in the source", name, s)
	}
}

// sourceFields are what templates see of a source.
func sourceFields(s *fleet.Source) mapping {
	return mapping{"commit": s.Commit, "ref": s.Ref}
}

// recipeArgs renders the build arguments of every image, which see the source
// and nothing else.
func (p *parser) recipeArgs(o object, s *fleet.Source) map[string]string {
	data, help := mapping{}, "only {{.source.commit}} and {{.source.ref}} are known here, of a recipe with a source; args of images know more"
	if s != nil {
		data["source"], help = sourceFields(s), ""
	}
	templates := p.fieldMap(o, "args")
	out := renderMap(templates, o.pos("args"), data)
	for _, name := range slices.Sorted(maps.Keys(templates)) {
		if t := templates[name]; t != nil {
			t.help = help
			p.report(t)
		}
	}
	return out
}
