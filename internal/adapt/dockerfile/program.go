package dockerfile

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/proto"
)

const imageScheme = "docker-image://"

const customName = "llb.customname"

// program is a definition in parts: operations with inputs before users, the
// last one naming the result, and what is known about each by digest.
type program struct {
	ops    []op
	meta   map[string]*pb.OpMetadata
	source *pb.Source
}

// op is an operation with the bytes that its digest is over.
type op struct {
	digest string
	raw    []byte
	op     *pb.Op
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(h[:])
}

func newProgram(def *pb.Definition) (*program, error) {
	p := &program{meta: def.Metadata, source: def.Source}
	if p.source == nil {
		p.source = &pb.Source{}
	}
	for _, raw := range def.Def {
		o := op{digest: sum(raw), raw: raw, op: &pb.Op{}}
		if err := o.op.Unmarshal(raw); err != nil {
			return nil, err
		}
		p.ops = append(p.ops, o)
	}
	return p, nil
}

func parseProgram(data []byte) (*program, error) {
	var def pb.Definition
	if err := def.Unmarshal(data); err != nil {
		return nil, err
	}
	return newProgram(&def)
}

// marshal is the program as a definition, the same bytes each time.
func (p *program) marshal() ([]byte, error) {
	def := &pb.Definition{Metadata: p.meta, Source: p.source}
	for _, o := range p.ops {
		def.Def = append(def.Def, o.raw)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(def)
}

// result is the input of the last operation; nil when the image is empty.
func (p *program) result() *pb.Input {
	if len(p.ops) == 0 || len(p.ops[len(p.ops)-1].op.Inputs) == 0 {
		return nil
	}
	return p.ops[len(p.ops)-1].op.Inputs[0]
}

// steps are the operations that do something: all but the last.
func (p *program) steps() []op {
	if len(p.ops) == 0 {
		return nil
	}
	return p.ops[:len(p.ops)-1]
}

func (p *program) byDigest() map[string]op {
	m := make(map[string]op, len(p.ops))
	for _, o := range p.ops {
		m[o.digest] = o
	}
	return m
}

// rewrite applies edit to a copy of each operation and works out the digests of
// everything above a change. Edit reports whether it changed its argument. The
// map leads from old digests to new ones. An operation that nothing changed
// keeps its bytes.
func (p *program) rewrite(edit func(*pb.Op) bool) (*program, map[string]string, error) {
	out := &program{meta: map[string]*pb.OpMetadata{}, source: &pb.Source{Infos: p.source.Infos, Locations: map[string]*pb.Locations{}}}
	renamed := make(map[string]string, len(p.ops))
	seen := make(map[string]bool, len(p.ops))
	for _, o := range p.ops {
		n := o
		n.op = o.op.CloneVT()
		changed := edit(n.op)
		for _, in := range n.op.Inputs {
			if now := renamed[in.Digest]; now != "" && now != in.Digest {
				in.Digest, changed = now, true
			}
		}
		if changed {
			raw, err := n.op.Marshal()
			if err != nil {
				return nil, nil, err
			}
			n.raw, n.digest = raw, sum(raw)
		} else {
			n.op = o.op
		}
		renamed[o.digest] = n.digest
		if seen[n.digest] {
			continue
		}
		seen[n.digest] = true
		out.ops = append(out.ops, n)
		out.describe(p, o.digest, n.digest)
	}
	return out, renamed, nil
}

// describe copies what from knows about an operation.
func (p *program) describe(from *program, was, is string) {
	if m, ok := from.meta[was]; ok {
		p.meta[is] = m
	}
	if l, ok := from.source.Locations[was]; ok {
		p.source.Locations[is] = l
	}
}

// rename replaces a text in the names of operations, which are no part of
// their digests. Descriptions are copied first: programs share them.
func (p *program) rename(old, now string) {
	for d, m := range p.meta {
		for k, v := range m.Description {
			if !strings.Contains(v, old) {
				continue
			}
			if p.meta[d] == m {
				m = m.CloneVT()
				p.meta[d] = m
			}
			m.Description[k] = strings.ReplaceAll(v, old, now)
		}
		if m.ProgressGroup != nil && strings.Contains(m.ProgressGroup.Name, old) {
			m = m.CloneVT()
			m.ProgressGroup.Name = strings.ReplaceAll(m.ProgressGroup.Name, old, now)
			p.meta[d] = m
		}
	}
}

// settle removes what depends on chance: progress groups get names that depend
// on their members, and the Dockerfile's own origin, which carries a random id,
// is dropped.
func (p *program) settle() {
	infos := make([]*pb.SourceInfo, len(p.source.Infos))
	for i, in := range p.source.Infos {
		infos[i] = &pb.SourceInfo{Filename: in.Filename, Data: in.Data, Language: in.Language}
	}
	p.source = &pb.Source{Infos: infos, Locations: p.source.Locations}
	names := map[string]string{}
	for _, o := range p.ops {
		m := p.meta[o.digest]
		if m == nil || m.ProgressGroup == nil {
			continue
		}
		name, ok := names[m.ProgressGroup.Id]
		if !ok {
			name = o.digest
			names[m.ProgressGroup.Id] = name
		}
		m = m.CloneVT()
		m.ProgressGroup.Id = name
		p.meta[o.digest] = m
	}
}

// name is what BuildKit shows for an operation; empty when the front end gave none.
func (p *program) name(digest string) string {
	if m := p.meta[digest]; m != nil {
		return m.Description[customName]
	}
	return ""
}

// part is the program that computes inputs, in the given order and with
// repetitions, merged when there are several.
func (p *program) part(inputs []*pb.Input) (*program, error) {
	keep := map[string]bool{}
	for _, in := range inputs {
		keep[in.Digest] = true
	}
	steps := p.steps()
	for i := len(steps) - 1; i >= 0; i-- {
		if keep[steps[i].digest] {
			for _, in := range steps[i].op.Inputs {
				keep[in.Digest] = true
			}
		}
	}
	out := &program{meta: map[string]*pb.OpMetadata{}, source: &pb.Source{Infos: p.source.Infos, Locations: map[string]*pb.Locations{}}}
	for _, o := range steps {
		if keep[o.digest] {
			out.ops = append(out.ops, o)
			out.describe(p, o.digest, o.digest)
		}
	}
	result := inputs[0]
	if len(inputs) > 1 {
		merge := &pb.MergeOp{}
		for i := range inputs {
			merge.Inputs = append(merge.Inputs, &pb.MergeInput{Input: int64(i)})
		}
		o, err := out.push(&pb.Op{Inputs: inputs, Op: &pb.Op_Merge{Merge: merge}, Constraints: &pb.WorkerConstraints{}})
		if err != nil {
			return nil, err
		}
		out.meta[o.digest] = &pb.OpMetadata{
			Description: map[string]string{customName: "[internal] shared layers"},
			Caps:        map[string]bool{string(pb.CapMergeOp): true},
		}
		result = &pb.Input{Digest: o.digest}
	}
	last, err := out.push(&pb.Op{Inputs: []*pb.Input{result}})
	if err != nil {
		return nil, err
	}
	out.describe(p, p.ops[len(p.ops)-1].digest, last.digest)
	return out, nil
}

func (p *program) push(o *pb.Op) (op, error) {
	raw, err := o.Marshal()
	if err != nil {
		return op{}, err
	}
	n := op{digest: sum(raw), raw: raw, op: o}
	p.ops = append(p.ops, n)
	return n, nil
}

// replaceImage is an edit that lets image sources read another reference.
func replaceImage(old, now string) func(*pb.Op) bool {
	return func(o *pb.Op) bool {
		s := o.GetSource()
		if s == nil || s.Identifier != imageScheme+old || old == now {
			return false
		}
		s.Identifier = imageScheme + now
		return true
	}
}

// setUnique is an edit that says what each local context holds.
func setUnique(unique map[string]string) func(*pb.Op) bool {
	return func(o *pb.Op) bool {
		name, ok := localName(o)
		if !ok {
			return false
		}
		s := o.GetSource()
		s.Attrs = maps.Clone(s.Attrs)
		if s.Attrs == nil {
			s.Attrs = map[string]string{}
		}
		s.Attrs[pb.AttrLocalUniqueID] = unique[name]
		return true
	}
}

// essence is an edit that drops what says how files travel and not what is
// done: of a local context only the name is left, because the files that steps
// read from it are digested apart.
func essence(o *pb.Op) bool {
	if _, ok := localName(o); ok {
		o.GetSource().Attrs = nil
		return true
	}
	if s := o.GetSource(); s != nil && s.Attrs[pb.AttrKnownSSHHosts] != "" {
		s.Attrs = maps.Clone(s.Attrs)
		delete(s.Attrs, pb.AttrKnownSSHHosts)
		return true
	}
	return false
}

// localName is the name of the local context that o reads, if it reads one.
func localName(o *pb.Op) (string, bool) {
	s := o.GetSource()
	if s == nil {
		return "", false
	}
	return strings.CutPrefix(s.Identifier, "local://")
}
