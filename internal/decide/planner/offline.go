package planner

import (
	"fmt"

	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// offline warns of what a plan rests on when nobody was asked.
func offline(in *Input) []plan.Reason {
	if !in.Offline {
		return nil
	}
	out := []plan.Reason{{Code: plan.TagsNotAsked, Detail: "no registry was asked what it holds: every image counts as missing"}}
	bases := map[string]bool{}
	images := 0
	for i := range in.Images {
		if b := in.Images[i].Base; b != nil && b.StandIn {
			bases[b.Ref] = true
			images++
		}
	}
	if images > 0 {
		out = append(out, plan.Reason{Code: plan.StandIn, Detail: fmt.Sprintf(
			"%d of %d images rest on a stand-in for bases that were never looked up, %d of them: their content keys, sizes and requests are not known", images, len(in.Images), len(bases))})
	}
	for _, ref := range in.Assumed {
		out = append(out, plan.Reason{Code: plan.StandIn, Detail: ref + ", which the recipe uses, was never looked up: an empty config stands in"})
	}
	return out
}
