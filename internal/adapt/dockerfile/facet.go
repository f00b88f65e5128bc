package dockerfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/moby/buildkit/solver/pb"
)

// own is a digest over what an operation does, apart from where its inputs come
// from and from what local contexts hold. What the solver leaves out of its keys
// is left out here: which cache a mount uses, and addresses of hosts.
func own(o *pb.Op) (graph.Digest, error) {
	o = o.CloneVT()
	essence(o)
	for _, in := range o.Inputs {
		in.Digest = ""
	}
	if e := o.GetExec(); e != nil {
		e.Meta.ProxyEnv = nil
		for _, h := range e.Meta.ExtraHosts {
			h.IP = ""
		}
		for _, m := range e.Mounts {
			if c := m.CacheOpt; c != nil && (c.Sharing != pb.CacheSharingOpt_SHARED || c.ID != m.Dest && !strings.HasSuffix(c.ID, "/"+m.Dest)) {
				c.ID, c.Sharing = "", pb.CacheSharingOpt_SHARED
			}
		}
	}
	raw, err := o.Marshal()
	return graph.Digest(sum(raw)), err
}

// reads lists the inputs that the solver compares by the files that the
// operation reads of them, not by what made them.
func reads(o *pb.Op) []graph.Digest {
	var byFiles, byMaker []string
	note := func(to *[]string, i int64) {
		if i >= 0 && int(i) < len(o.Inputs) {
			*to = append(*to, o.Inputs[i].Digest)
		}
	}
	for _, a := range o.GetFile().GetActions() {
		note(&byMaker, a.Input)
		if a.GetCopy() != nil {
			note(&byFiles, a.SecondaryInput)
		}
	}
	for _, m := range o.GetExec().GetMounts() {
		if m.MountType == pb.MountType_BIND && m.Dest != pb.RootMount && (m.Readonly || m.Output == int64(pb.SkipOutput)) {
			note(&byFiles, m.Input)
		} else {
			note(&byMaker, m.Input)
		}
	}
	var out []graph.Digest
	for _, d := range byFiles {
		if !slices.Contains(byMaker, d) && !slices.Contains(out, graph.Digest(d)) {
			out = append(out, graph.Digest(d))
		}
	}
	return out
}

// facets tell what an operation does. It is what a change is blamed on, so it
// holds what people write, and where.
func (d *describer) facets(s *graph.Step, o *pb.Op) []graph.Facet {
	var out facets
	if s.Kind.Source() && s.Kind != graph.KindLocal && !s.BaseBound {
		out.add(graph.FacetSource, "", s.Source)
	}
	if p := o.Platform; p != nil && s.Kind != graph.KindLocal {
		out.add(graph.FacetPlatform, "", strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/"))
	}
	in := d.recipe.outline.At(s.Pos.Line)
	if in != nil {
		out.add(graph.FacetInstruction, "", in.Text)
	}
	switch v := o.Op.(type) {
	case *pb.Op_Exec:
		d.exec(&out, in, v.Exec)
	case *pb.Op_File:
		d.mentioned(&out, in)
		for _, a := range v.File.Actions {
			out.add(graph.FacetCommand, "", action(a))
		}
	}
	slices.SortStableFunc(out, func(a, b graph.Facet) int {
		return graph.Blame(a.Kind) - graph.Blame(b.Kind)
	})
	return out
}

type facets []graph.Facet

func (f *facets) add(kind graph.FacetKind, name, value string) {
	f.at(kind, name, value, diag.Pos{})
}

func (f *facets) at(kind graph.FacetKind, name, value string, pos diag.Pos) {
	*f = append(*f, graph.Facet{Kind: kind, Name: name, Value: value, Pos: pos})
}

func (d *describer) exec(out *facets, in *graph.Instruction, e *pb.ExecOp) {
	for _, kv := range e.GetMeta().GetEnv() {
		name, value, _ := strings.Cut(kv, "=")
		kind, pos := graph.FacetEnvironment, diag.Pos{}
		if in != nil {
			if from := d.recipe.outline.Declared(name, in); from != nil {
				pos = from.Pos
				if from.Word == "ARG" {
					kind = graph.FacetArgument
				}
			}
		}
		out.at(kind, name, graph.Masked(name, value), pos)
	}
	if u := e.GetMeta().GetUser(); u != "" {
		out.at(graph.FacetUser, "", u, d.last("USER", in))
	}
	out.at(graph.FacetWorkdir, "", e.GetMeta().GetCwd(), d.last("WORKDIR", in))
	if e.Network != pb.NetMode_UNSET {
		out.add(graph.FacetNetwork, "", strings.ToLower(e.Network.String()))
	}
	for _, m := range e.Mounts {
		if m.Dest != pb.RootMount {
			out.add(graph.FacetMount, m.Dest, mount(m))
		}
	}
	out.add(graph.FacetCommand, "", strings.Join(e.GetMeta().GetArgs(), " "))
}

// last is where an instruction got what the last one of a word above it says.
func (d *describer) last(word string, in *graph.Instruction) diag.Pos {
	if in == nil {
		return diag.Pos{}
	}
	if from := d.recipe.outline.Last(word, in); from != nil {
		return from.Pos
	}
	return diag.Pos{}
}

// mentioned tells the arguments that an instruction's text refers to: those of a
// RUN are in its environment, those of a COPY only in what it came to.
func (d *describer) mentioned(out *facets, in *graph.Instruction) {
	if in == nil {
		return
	}
	seen := map[string]bool{}
	for _, other := range d.recipe.outline.Instructions {
		for _, v := range other.Declares {
			if seen[v.Name] || !mentions(in.Text, []string{v.Name}) {
				continue
			}
			from := d.recipe.outline.Declared(v.Name, in)
			if from == nil || from.Word != "ARG" {
				continue
			}
			seen[v.Name] = true
			out.at(graph.FacetArgument, v.Name, graph.Masked(v.Name, d.value(from, v.Name)), from.Pos)
		}
	}
}

// value is what an ARG comes to: what the build gives it, or its default as it
// is written.
func (d *describer) value(from *graph.Instruction, name string) string {
	if v, ok := d.args[name]; ok {
		return v
	}
	for _, v := range from.Declares {
		if v.Name == name && v.Value != nil {
			return *v.Value
		}
	}
	for _, in := range d.recipe.outline.Instructions {
		for _, v := range in.Declares {
			if in.Stage < 0 && v.Name == name && v.Value != nil {
				return *v.Value
			}
		}
	}
	return ""
}

func mount(m *pb.Mount) string {
	switch m.MountType {
	case pb.MountType_CACHE:
		return "cache " + m.GetCacheOpt().GetID()
	case pb.MountType_SECRET:
		return "secret " + m.GetSecretOpt().GetID()
	case pb.MountType_SSH:
		return "ssh " + m.GetSSHOpt().GetID()
	}
	mode := "rw"
	if m.Readonly {
		mode = "ro"
	}
	return fmt.Sprintf("%s %s %s", strings.ToLower(m.MountType.String()), m.Selector, mode)
}

// action is one file action as people would write it.
func action(a *pb.FileAction) string {
	switch v := a.Action.(type) {
	case *pb.FileAction_Copy:
		c := v.Copy
		text := "copy " + c.Src + " " + c.Dest
		if c.Mode != -1 {
			text += fmt.Sprintf(" mode %o", c.Mode)
		}
		if c.ModeStr != "" {
			text += " mode " + c.ModeStr
		}
		return text + owner(c.Owner)
	case *pb.FileAction_Mkdir:
		return fmt.Sprintf("mkdir %s mode %o", v.Mkdir.Path, v.Mkdir.Mode) + owner(v.Mkdir.Owner)
	case *pb.FileAction_Mkfile:
		return fmt.Sprintf("mkfile %s mode %o %s", v.Mkfile.Path, v.Mkfile.Mode, sum(v.Mkfile.Data)) + owner(v.Mkfile.Owner)
	case *pb.FileAction_Symlink:
		return "symlink " + v.Symlink.Oldpath + " " + v.Symlink.Newpath
	case *pb.FileAction_Rm:
		return "rm " + v.Rm.Path
	}
	return "other"
}

func owner(o *pb.ChownOpt) string {
	if o == nil {
		return ""
	}
	name := func(u *pb.UserOpt) string {
		if n := u.GetByName(); n != nil {
			return n.Name
		}
		return fmt.Sprint(u.GetByID())
	}
	return " owner " + name(o.User) + ":" + name(o.Group)
}
