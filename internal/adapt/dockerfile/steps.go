package dockerfile

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/moby/buildkit/solver/pb"
)

// graph describes each operation of a program.
func (r *Recipe) graph(p *program, args map[string]string) (graph.Graph, error) {
	d := describer{recipe: r, prog: p, args: args, ops: p.byDigest(), bound: map[string]bool{}, keys: map[graph.Key]int{}, internal: map[graph.Key]int{}}
	g := graph.Graph{Steps: make([]graph.Step, 0, len(p.steps()))}
	for _, o := range p.steps() {
		s, err := d.step(o)
		if err != nil {
			return g, err
		}
		g.Steps = append(g.Steps, s)
	}
	// A local context that is the result, or the lowest layer of it, is read whole.
	if in := p.result(); in != nil {
		if name, ok := localName(d.ops[in.Digest].op); ok {
			last := &g.Steps[len(g.Steps)-1]
			last.Uses = append(last.Uses, everything(name))
		}
	}
	return g, nil
}

type describer struct {
	recipe *Recipe
	prog   *program
	args   map[string]string // what the build gives
	ops    map[string]op
	bound  map[string]bool
	// keys counts keys, so that each is given once; internal numbers the
	// operations that belong to no instruction.
	keys, internal map[graph.Key]int
}

func (d *describer) step(o op) (s graph.Step, err error) {
	s = graph.Step{Digest: graph.Digest(o.digest), Kind: kindOf(o.op), Name: d.name(o), Pos: d.pos(o)}
	if src := o.op.GetSource(); src != nil {
		s.Source = d.source(src)
		s.BaseBound = src.Identifier == imageScheme+placeholder
	}
	for _, in := range o.op.Inputs {
		s.Inputs = append(s.Inputs, graph.Digest(in.Digest))
		s.BaseBound = s.BaseBound || d.bound[in.Digest]
	}
	d.bound[o.digest] = s.BaseBound
	s.Key = d.key(s)
	s.Uses = d.uses(o.op)
	s.Secrets, s.SSH = mounted(o.op)
	s.Reads, s.Facets = reads(o.op), d.facets(&s, o.op)
	s.Own, err = own(o.op)
	return s, err
}

func kindOf(o *pb.Op) graph.Kind {
	switch v := o.Op.(type) {
	case *pb.Op_Source:
		scheme, _, _ := strings.Cut(v.Source.Identifier, "://")
		switch scheme {
		case "docker-image", "oci-layout":
			return graph.KindImage
		case "local":
			return graph.KindLocal
		case "git":
			return graph.KindGit
		case "http", "https":
			return graph.KindHTTP
		}
	case *pb.Op_Exec:
		return graph.KindExec
	case *pb.Op_File:
		return graph.KindFile
	case *pb.Op_Merge:
		return graph.KindMerge
	case *pb.Op_Diff:
		return graph.KindDiff
	}
	return graph.KindOther
}

// source is what a source operation reads, as people write it.
func (d *describer) source(s *pb.SourceOp) string {
	if name, ok := strings.CutPrefix(s.Identifier, "local://"); ok {
		return name
	}
	if url := s.Attrs[pb.AttrFullRemoteURL]; url != "" {
		if _, fragment, ok := strings.Cut(s.Identifier, "#"); ok {
			url += "#" + fragment
		}
		return url
	}
	return strings.TrimPrefix(s.Identifier, imageScheme)
}

func (d *describer) name(o op) string {
	if n := d.prog.name(o.digest); n != "" {
		return n
	}
	switch v := o.op.Op.(type) {
	case *pb.Op_Source:
		return d.source(v.Source)
	case *pb.Op_Exec:
		return strings.Join(v.Exec.GetMeta().GetArgs(), " ")
	}
	return string(kindOf(o.op))
}

// pos is the first line of the instruction that an operation comes from.
func (d *describer) pos(o op) diag.Pos {
	if l := d.prog.source.Locations[o.digest]; l != nil {
		for _, at := range l.Locations {
			for _, rg := range at.Ranges {
				if rg.Start.GetLine() > 0 {
					return diag.Pos{File: d.recipe.opt.Name, Line: int(rg.Start.GetLine())}
				}
			}
		}
	}
	return diag.Pos{}
}

// key is the name that a step keeps while others change; each key is given once.
func (d *describer) key(s graph.Step) graph.Key {
	k := graph.KeyOf(s.Name)
	if k.Ordinal == 0 {
		d.internal[k]++
		k.Ordinal = d.internal[k]
	} else if s.Kind == graph.KindGit || s.Kind == graph.KindHTTP {
		k.Text = "fetch " + s.Source
	}
	if d.keys[k]++; d.keys[k] > 1 {
		k.Text += fmt.Sprintf(" (%d)", d.keys[k])
	}
	return k
}

var commit = regexp.MustCompile(`#([0-9a-f]{40}|[0-9a-f]{64})(:|$)`)

// unpinned notes sources whose content may change while the recipe does not:
// plans cannot see such a change.
func (r *Recipe) unpinned(p *program, g graph.Graph) diag.List {
	var list diag.List
	ops := p.byDigest()
	for _, s := range g.Steps {
		src := ops[string(s.Digest)].op.GetSource()
		fixed := src.GetAttrs()[pb.AttrHTTPChecksum] != "" || src.GetAttrs()[pb.AttrGitChecksum] != ""
		if fixed || s.Kind != graph.KindHTTP && (s.Kind != graph.KindGit || commit.MatchString(s.Source)) {
			continue
		}
		pos := diag.Pos{File: r.opt.Name}
		for _, user := range g.Steps {
			if slices.Contains(user.Inputs, s.Digest) && user.Pos.Line > 0 {
				pos = user.Pos
				break
			}
		}
		list.Add(plan.SourceUnpinned, pos, "name a commit, or give ADD a --checksum", "nothing pins the content of %s, so a change of it is not noticed", s.Source)
	}
	return r.Locate(list)
}

func everything(context string) graph.Use {
	return graph.Use{Context: context, Paths: []string{"."}}
}

// uses lists what an operation reads from local contexts.
func (d *describer) uses(o *pb.Op) []graph.Use {
	var out []graph.Use
	local := func(i int64) (string, bool) {
		if i < 0 || int(i) >= len(o.Inputs) {
			return "", false
		}
		return localName(d.ops[o.Inputs[i].Digest].op)
	}
	switch v := o.Op.(type) {
	case *pb.Op_File:
		for _, a := range v.File.Actions {
			if name, ok := local(a.Input); ok {
				out = add(out, everything(name))
			}
			if name, ok := local(a.SecondaryInput); ok {
				out = add(out, copied(name, a.GetCopy()))
			}
		}
	case *pb.Op_Exec:
		for _, m := range v.Exec.Mounts {
			if name, ok := local(m.Input); ok {
				out = add(out, graph.Use{Context: name, Paths: []string{relative(m.Selector)}})
			}
		}
	default:
		for i := range o.Inputs {
			if name, ok := local(int64(i)); ok {
				out = add(out, everything(name))
			}
		}
	}
	return out
}

func copied(context string, c *pb.FileActionCopy) graph.Use {
	if c == nil {
		return everything(context)
	}
	return graph.Use{Context: context, Paths: []string{relative(c.Src)}, Wildcard: c.AllowWildcard, Include: c.IncludePatterns, Exclude: c.ExcludePatterns}
}

// relative is a path of an operation, relative to the context.
func relative(p string) string {
	if p = strings.TrimPrefix(path.Join("/", p), "/"); p == "" {
		return "."
	}
	return p
}

// add joins uses that differ only in their paths.
func add(list []graph.Use, u graph.Use) []graph.Use {
	for i, have := range list {
		if have.Context == u.Context && have.Wildcard == u.Wildcard && slices.Equal(have.Include, u.Include) && slices.Equal(have.Exclude, u.Exclude) {
			if !slices.Contains(have.Paths, u.Paths[0]) {
				list[i].Paths = append(list[i].Paths, u.Paths[0])
			}
			return list
		}
	}
	return append(list, u)
}

// mounted lists the ids of secrets and SSH agents that an operation is given.
func mounted(o *pb.Op) (secrets, ssh []string) {
	if s := o.GetSource(); s != nil && s.Attrs[pb.AttrMountSSHSock] != "" {
		return nil, []string{s.Attrs[pb.AttrMountSSHSock]}
	}
	e := o.GetExec()
	for _, m := range e.GetMounts() {
		switch m.MountType {
		case pb.MountType_SECRET:
			secrets = append(secrets, m.GetSecretOpt().GetID())
		case pb.MountType_SSH:
			ssh = append(ssh, cmp.Or(m.GetSSHOpt().GetID(), "default"))
		}
	}
	for _, s := range e.GetSecretenv() {
		secrets = append(secrets, s.ID)
	}
	slices.Sort(secrets)
	slices.Sort(ssh)
	return slices.Compact(secrets), slices.Compact(ssh)
}
