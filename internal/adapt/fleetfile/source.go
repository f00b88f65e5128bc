package fleetfile

import (
	"errors"
	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// source reads where the recipe is taken from; nil is the disk.
func (p *parser) source(recipe yamldoc.Object) *fleet.Source {
	if !recipe.Has("source") {
		return nil
	}
	s := &fleet.Source{Git: p.dir, Pos: p.Pos(recipe.Value("source"))}
	before := p.Len()
	o, ok := p.Object(recipe.Value("source"), "recipe.source", "git", "ref", "submodules")
	if !ok {
		return s
	}
	s.Ref = o.Required("ref", "name a branch, a tag or a commit")
	if o.Has("git") {
		s.Git = p.repository(o)
	}
	s.Submodules = p.submodules(o)
	if p.Len() > before || p.Ended() {
		return s
	}
	if p.opt.Resolve == nil {
		p.Problem(diag.FleetSource, o.Pos("ref"), "", "no git repository can be read here")
		return s
	}
	commit, err := p.opt.Resolve(*s)
	switch s.Commit = commit; {
	case err == nil:
	case diag.KindOf(err) == diag.File:
		p.Problem(diag.FleetSource, o.Pos("ref"), diag.HelpOf(err), "%v", err)
	default:
		p.err = errors.Join(p.err, err)
	}
	return s
}

// repository reads which repository the source is.
func (p *parser) repository(o yamldoc.Object) string {
	s := o.Required("git", "name a repository by a path or a URL, or leave it out for the one that holds the fleet file")
	if !fleet.IsGitURL(s) {
		return p.path(s)
	}
	if !strings.Contains(s, "://") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "file" && u.Host == "" {
		p.Hide(o.Value("git"))
		p.Problem(diag.FleetValue, o.Pos("git"), "write https://HOST/PATH or ssh://USER@HOST/PATH", "recipe.source.git is not a URL of a repository")
		return s
	}
	// For ssh a user is only a name.
	if _, password := u.User.Password(); password || u.User != nil && u.Scheme != "ssh" {
		p.Hide(o.Value("git"))
		p.Problem(diag.FleetValue, o.Pos("git"), "leave it out: git's credential helpers are asked for it", "recipe.source.git must not hold a credential")
	}
	return s
}

// submodules reads the repositories that submodules are taken from.
func (p *parser) submodules(o yamldoc.Object) map[string]string {
	given := o.Strings("submodules")
	out := make(map[string]string, len(given))
	for _, e := range o.Names("submodules") {
		switch to, ok := given[e.Name]; {
		case !ok:
		case e.Name != path.Clean(e.Name) || !local(e.Name):
			p.Problem(diag.FleetValue, p.Pos(e.Key), "write it as git submodule does: vendor/sdk", "%q is not the path of a submodule", e.Name)
		case to == "" || fleet.IsGitURL(to):
			p.Problem(diag.FleetValue, p.Pos(e.Value), "clone it, and name the clone", "recipe.source.submodules.%s must be the path of a local repository", e.Name)
		default:
			out[e.Name] = p.path(to)
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
func (p *parser) inside(o yamldoc.Object, name string) {
	if s := o.Text(name, "."); s == "" || !local(s) {
		p.Problem(diag.FleetValue, o.Pos(name), "it is relative to the top of the source's tree", "recipe.%s cannot be %q: it is not in the source", name, s)
	}
}

// sourceFields are what templates see of a source.
func sourceFields(s *fleet.Source) mapping {
	return mapping{"commit": s.Commit, "ref": s.Ref}
}

// recipeArgs renders the build arguments of every image, which see the source
// and nothing else.
func (p *parser) recipeArgs(o yamldoc.Object, s *fleet.Source) map[string]string {
	data, help := mapping{}, "only {{.source.commit}} and {{.source.ref}} are known here, of a recipe with a source; args of images know more"
	if s != nil {
		data["source"], help = sourceFields(s), ""
	}
	templates := p.fieldMap(o, "args")
	out := renderMap(templates, o.Pos("args"), data)
	for _, name := range slices.Sorted(maps.Keys(templates)) {
		if t := templates[name]; t != nil {
			t.help = help
			p.report(t)
		}
	}
	return out
}
