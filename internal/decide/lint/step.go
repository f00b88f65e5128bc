package lint

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

// blockers finds the steps that run on each base.
func (l *linter) blockers(c *conversion) {
	for _, b := range c.variant.Build {
		r, ok := rule.Find(b.Code)
		if !ok {
			continue // of the whole image: a plan says so
		}
		message := r.Title
		if b.Pos.Line == 0 { // a trigger is written in no file that is here
			message = b.Detail
		}
		p := place{code: b.Code, pos: l.column(b.Pos, ""), name: message}
		f := l.add(p, message)
		f.Cost.Images += len(c.images)
		t, _ := l.tally(p).on(c)
		t.sole = len(c.variant.Build) == 1
		if s := c.variant.Graph.Step(b.Step); s != nil && s.BaseBound {
			l.runs(p, c, s)
		} else {
			f.Cost.Executions += int64(len(c.images))
		}
	}
}

// again lists the steps of a graph that run again for sure when those do that
// begin holds: not those that only read files of them, which a solver compares.
func again(g *graph.Graph, begin map[graph.Digest]bool) []*graph.Step {
	run := map[graph.Digest]bool{}
	var out []*graph.Step
	for i := range g.Steps {
		s := &g.Steps[i]
		run[s.Digest] = begin[s.Digest] || slices.ContainsFunc(s.Inputs, func(d graph.Digest) bool {
			return run[d] && !slices.Contains(s.Reads, d)
		})
		if run[s.Digest] && delta.Works(s.Kind) {
			out = append(out, s)
		}
	}
	return out
}

// named is a step as people find it.
func named(s *graph.Step) string {
	if s.Pos.Line == 0 {
		return s.Key.Text
	}
	return fmt.Sprintf("%s:%d %s", path.Base(s.Pos.File), s.Pos.Line, s.Key.Text)
}

// inherits gives a finding the steps that run again and what they cost.
func (l *linter) inherits(p place, c *conversion, steps []*graph.Step) {
	f := l.found[p]
	if _, fresh := l.tally(p).on(c); fresh {
		f.Cost.Images += len(c.images)
	}
	for _, s := range steps {
		l.runs(p, c, s)
		if name := l.masked(named(s)); !slices.Contains(f.Inherit, name) {
			f.Inherit = append(f.Inherit, name)
		}
	}
}

// written is the instruction that a step comes from; nil when it comes from none.
func (l *linter) written(s *graph.Step) *graph.Instruction {
	if s.Pos.Line == 0 {
		return nil
	}
	return l.in.Outline.At(s.Pos.Line)
}

// installers are commands that bring packages: what they bring hardly ever
// depends on the files of the context.
func installers() []string {
	return []string{"apt-get install", "apt install", "apk add", "dnf install", "yum install", "zypper install", "npm ci", "npm install",
		"yarn install", "pnpm install", "pip install", "uv sync", "uv pip", "poetry install", "go mod download", "cargo fetch", "bundle install"}
}

// contexts finds copies of the whole context before steps that do not need it.
// One command that follows on a shared stage is taken to be the one that does.
func (l *linter) contexts(c *conversion) {
	g := &c.variant.Graph
	for i := range g.Steps {
		s := &g.Steps[i]
		in := l.written(s)
		if in == nil || s.Kind != graph.KindFile || in.Word != "COPY" && in.Word != "ADD" || !slices.ContainsFunc(s.Uses, whole) {
			continue
		}
		steps := again(g, map[graph.Digest]bool{s.Digest: true})
		var after []*graph.Step
		for _, x := range steps {
			if at := l.written(x); x.Kind == graph.KindExec && at != nil && at.Stage == in.Stage {
				after = append(after, x)
			}
		}
		if len(after) == 0 || len(after) == 1 && !after[0].BaseBound && !installs(after[0]) {
			continue
		}
		p := place{code: rule.ContextEarly, pos: l.column(s.Pos, in.Word)}
		l.add(p, "the whole context is copied before "+commands(len(after))+", so that every change of a file runs what follows again")
		l.inherits(p, c, slices.DeleteFunc(steps, func(x *graph.Step) bool { return x == s }))
	}
}

func whole(u graph.Use) bool {
	return u.Context == "context" && slices.Contains(u.Paths, ".") && len(u.Include) == 0
}

func installs(s *graph.Step) bool {
	return slices.ContainsFunc(installers(), func(word string) bool { return strings.Contains(s.Key.Text, word) })
}

func commands(n int) string {
	if n == 1 {
		return "a command"
	}
	return fmt.Sprintf("%d commands", n)
}

// links finds linked copies onto the base that do not do what they look like.
func (l *linter) links(c *conversion) {
	g := &c.variant.Graph
	for i := range g.Steps {
		s := &g.Steps[i]
		in := l.written(s)
		if in == nil || s.Kind != graph.KindFile || !linked(in) {
			continue
		}
		onBase := slices.ContainsFunc(g.Steps, func(m graph.Step) bool {
			return m.Kind == graph.KindMerge && m.BaseBound && slices.Contains(m.Inputs, s.Digest)
		})
		if !onBase {
			continue
		}
		for _, dest := range destinations(s) {
			code, message := landing(dest)
			if code == "" {
				continue
			}
			p := place{code: code, pos: l.column(s.Pos, in.Word), name: dest}
			l.add(p, message).Cost.Images += len(c.images)
		}
	}
}

func linked(in *graph.Instruction) bool {
	return slices.Contains(in.Flags, "--link") || slices.Contains(in.Flags, "--link=true")
}

// destinations are where a file step copies to, each once; a path with spaces
// is not among them.
func destinations(s *graph.Step) []string {
	var out []string
	for _, f := range s.Facets {
		w := strings.Fields(f.Value)
		if f.Kind == graph.FacetCommand && len(w) >= 3 && w[0] == "copy" && !slices.Contains(out, w[2]) {
			out = append(out, w[2])
		}
	}
	return out
}

// landing says what may be wrong with the destination of a linked copy; code is
// "" when nothing is. It goes by names: what is in a base's layers only reading
// all of them would tell.
func landing(dest string) (code, message string) {
	clean := path.Clean("/" + dest)
	for _, link := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/var/run", "/var/lock"} {
		if clean == link || strings.HasPrefix(clean, link+"/") {
			return rule.LinkSymlink, "a guess by name: " + link + " is a symlink in most distributions, and a linked copy to " + clean + " would make a folder of it"
		}
	}
	if fresh(dest) {
		return "", ""
	}
	return rule.LinkExisting, "a guess by name: " + clean + " is in a folder that distributions have, whose owner and mode a linked copy would set anew"
}

// fresh tells whether a destination is below a folder at the top that no
// distribution has.
func fresh(dest string) bool {
	top, _, _ := strings.Cut(strings.TrimPrefix(path.Clean("/"+dest), "/"), "/")
	return !slices.Contains([]string{"", "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "lost+found", "media", "mnt",
		"opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var"}, top)
}

// images finds sources that nothing pins.
func (l *linter) images(c *conversion) {
	for _, n := range c.variant.Notes {
		if n.Code == plan.SourceUnpinned {
			p := place{code: string(n.Code), pos: l.column(n.Pos, ""), name: n.Message}
			l.add(p, n.Message).Cost.Images += len(c.images)
		}
	}
	for i := range c.variant.Graph.Steps {
		s := &c.variant.Graph.Steps[i]
		if s.Kind != graph.KindImage || s.BaseBound {
			continue
		}
		name, _, _ := strings.Cut(s.Source, "@")
		in := l.reader(&c.variant.Graph, s)
		if in == nil || l.pinned(in) {
			continue
		}
		p := place{code: rule.ImageFloats, pos: l.column(in.Pos, in.Word), name: name}
		l.add(p, name+" is named without a digest").Cost.Images += len(c.images)
	}
}

// reader is the instruction that names the image of a step, nil when none does.
func (l *linter) reader(g *graph.Graph, s *graph.Step) *graph.Instruction {
	if in := l.written(s); in != nil {
		return in
	}
	for i := range g.Steps {
		if slices.Contains(g.Steps[i].Inputs, s.Digest) {
			return l.written(&g.Steps[i])
		}
	}
	return nil
}

// pinned tells whether an instruction names its image with a digest, itself or
// by an argument, or whether a named context stands for it.
func (l *linter) pinned(in *graph.Instruction) bool {
	if strings.Contains(in.Text, "@sha256:") {
		return true
	}
	for name := range l.in.Fleet.Recipe.Contexts {
		if in.Word == "FROM" && in.Stage >= 0 && l.in.Outline.Stages[in.Stage].From == name || slices.Contains(in.Flags, "--from="+name) {
			return true
		}
	}
	for i := range l.in.Outline.Instructions {
		for _, v := range l.in.Outline.Instructions[i].Declares {
			value := l.given(v.Name)
			if value == "" && v.Value != nil {
				value = *v.Value
			}
			if mentions(in.Text, v.Name) && strings.Contains(value, "@sha256:") {
				return true
			}
		}
	}
	return false
}

// given is what the fleet gives an argument for every image, "" when nothing.
func (l *linter) given(name string) string { return l.in.Fleet.Recipe.Args[name] }
