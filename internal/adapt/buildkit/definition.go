package buildkit

import (
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	digest "github.com/opencontainers/go-digest"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// definition is a graph as it is submitted, and what errors need of it.
type definition struct {
	*pb.Definition
	ops map[graph.Digest]*pb.Op
}

func parseDefinition(data []byte) (*definition, error) {
	def := new(pb.Definition)
	if err := def.UnmarshalVT(data); err != nil {
		return nil, diag.Errorf(diag.Internal, "", "read a definition: %w", err)
	}
	if len(def.Def) == 0 {
		return nil, diag.Errorf(diag.Internal, "", "read a definition: it has no operations")
	}
	d := new(definition)
	return d, d.set(def)
}

// set makes d that of a graph.
func (d *definition) set(def *pb.Definition) error {
	d.Definition, d.ops = def, map[graph.Digest]*pb.Op{}
	for _, raw := range def.Def {
		op := new(pb.Op)
		if err := op.UnmarshalVT(raw); err != nil {
			return diag.Errorf(diag.Internal, "", "read a definition: operation: %w", err)
		}
		d.ops[graph.Digest(digest.FromBytes(raw))] = op
	}
	return nil
}

// entitlements are what the daemon must be asked to allow, sorted.
func (d *definition) entitlements() []string {
	need := map[string]bool{}
	for _, op := range d.ops {
		exec := op.GetExec()
		if exec == nil {
			continue
		}
		if exec.Network == pb.NetMode_HOST {
			need[entitlements.EntitlementNetworkHost.String()] = true
		}
		if exec.Security == pb.SecurityMode_INSECURE {
			need[entitlements.EntitlementSecurityInsecure.String()] = true
		}
	}
	var out []string
	for e := range need {
		out = append(out, e)
	}
	slices.Sort(out)
	return out
}

// runs tells whether the operation is one of the recipe's own instructions,
// whose failure is the recipe's; a source that cannot be had is not.
func (d *definition) runs(step graph.Digest) bool {
	op := d.ops[step]
	return op != nil && op.GetSource() == nil
}

// own is the operation that a step of the daemon's is. The daemon runs equal steps of
// several solves once and reports it as that of one of them: in the others it is the
// operation that is called the same.
func (d *definition) own(step graph.Digest, name string) graph.Digest {
	if d.ops[step] != nil {
		return step
	}
	for _, op := range slices.Sorted(maps.Keys(d.ops)) {
		if d.name(op) == name {
			return op
		}
	}
	return step
}

// name is what BuildKit shows for the operation.
func (d *definition) name(step graph.Digest) string {
	if m := d.Metadata[string(step)]; m != nil {
		if n := m.Description["llb.customname"]; n != "" {
			return n
		}
	}
	op := d.ops[step]
	if src := op.GetSource(); src != nil {
		return src.Identifier
	}
	if exec := op.GetExec(); exec.GetMeta() != nil {
		return strings.Join(exec.Meta.Args, " ")
	}
	return step.Short()
}

// position is where the recipe has the operation, and the text of that line.
func (d *definition) position(step graph.Digest) (diag.Pos, string) {
	if d.Source == nil || d.Source.Locations[string(step)] == nil {
		return diag.Pos{}, ""
	}
	for _, loc := range d.Source.Locations[string(step)].Locations {
		if i := int(loc.SourceIndex); i >= 0 && i < len(d.Source.Infos) {
			if pos, line, ok := locate(d.Source.Infos[i], loc.Ranges); ok {
				return pos, line
			}
		}
	}
	return diag.Pos{}, ""
}

func locate(info *pb.SourceInfo, ranges []*pb.Range) (diag.Pos, string, bool) {
	if info == nil || len(ranges) == 0 || ranges[0].Start == nil {
		return diag.Pos{}, "", false
	}
	pos := diag.Pos{File: info.Filename, Line: int(ranges[0].Start.Line)}
	line := ""
	if lines := strings.Split(string(info.Data), "\n"); pos.Line >= 1 && pos.Line <= len(lines) {
		line = strings.TrimRight(lines[pos.Line-1], "\r")
	}
	return pos, line, true
}
