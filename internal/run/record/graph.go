package record

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/evidence"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// seen is what the builds looked like, in the form of a plan and its basis, so
// that an observed run can be explained and compared like any other.
type seen struct {
	plan  plan.Plan
	basis plan.Basis
	at    map[string]int // place of an image in the plan
}

// add takes the steps of a build that has ended; a later attempt replaces an
// earlier one.
func (s *seen) add(im *image, inputs map[graph.Digest][]graph.Digest, known map[graph.Digest]graph.Digest) {
	g := graph.Graph{}
	done := map[graph.Digest]bool{}
	var visit func(d graph.Digest)
	visit = func(d graph.Digest) {
		r, ok := im.last[d]
		if !ok || done[d] {
			return
		}
		done[d] = true
		for _, in := range inputs[d] {
			visit(in)
		}
		g.Steps = append(g.Steps, observed(r, inputs[d], known))
	}
	for _, d := range im.order {
		visit(d)
	}
	h := sha256.New()
	for _, st := range g.Steps {
		h.Write([]byte(st.Digest))
	}
	u := plan.Unit{Image: im.id, Action: plan.Build, Tags: im.tags, Variant: graph.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))}
	u.Key = "observed:" + string(u.Variant)
	if s.basis.Conversion(u.Variant) == nil {
		s.basis.Conversions = append(s.basis.Conversions, plan.Conversion{ID: u.Variant, Graph: g})
	}
	if s.at == nil {
		s.at = map[string]int{}
	}
	if i, ok := s.at[im.id]; ok {
		s.plan.Units[i] = u
		return
	}
	s.at[im.id] = len(s.plan.Units)
	s.plan.Units = append(s.plan.Units, u)
}

// observed is a step as its name tells of it. What it reads of local folders is
// not known.
func observed(r journal.StepRecord, inputs []graph.Digest, known map[graph.Digest]graph.Digest) graph.Step {
	sum := sha256.Sum256([]byte(r.Name))
	st := graph.Step{
		Key: graph.KeyOf(r.Name), Digest: known[r.Digest], Kind: evidence.KindOf(r.Name), Name: r.Name, Own: graph.Digest("sha256:" + hex.EncodeToString(sum[:])),
		Facets: []graph.Facet{{Kind: graph.FacetInstruction, Value: graph.KeyOf(r.Name).Text}},
	}
	if st.Kind == "" {
		st.Kind = graph.KindOther
	}
	for _, in := range inputs {
		if id, ok := known[in]; ok {
			st.Inputs = append(st.Inputs, id)
		}
	}
	return st
}

// write puts what was seen beside the journal.
func (s *seen) write(l *log) {
	s.plan.V, s.basis.V, s.basis.Observed = plan.Version, plan.Version, true
	for name, value := range map[string]any{runlog.PlanFile: &s.plan, runlog.BasisFile: &s.basis} {
		data, err := json.Marshal(value)
		if err == nil {
			err = l.WriteFile(name, []byte(l.Redactor().String(string(data))))
		}
		l.keep(err)
	}
}
