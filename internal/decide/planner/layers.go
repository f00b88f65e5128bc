package planner

import (
	"fmt"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// maxLayers is the most layers of an image that Docker unpacks. Overlay file
// systems have a limit too, which is higher where it is known at all. Nothing
// that this program does to publish an image unpacks it, so nobody would notice.
const maxLayers = 125

// tooManyLayers warns of images that will have more layers than can be unpacked
// everywhere.
func tooManyLayers(p *plan.Plan, in *Input) []plan.Reason {
	images, most, which := 0, 0, ""
	for i, u := range p.Units {
		if u.Action != plan.Append && u.Action != plan.Build {
			continue
		}
		n := len(in.Images[i].Base.Layers) + addedLayers(in.Images[i].Variant)
		if n <= maxLayers {
			continue
		}
		if images++; n > most {
			most, which = n, u.Image
		}
	}
	if images == 0 {
		return nil
	}
	what := fmt.Sprintf("%d images have", images)
	if images == 1 {
		what = "an image has"
	}
	return []plan.Reason{{Code: plan.TooManyLayers, Detail: fmt.Sprintf(
		"%s more layers than the %d that Docker unpacks: %s has %d; use bases with fewer layers, or copy what the recipe makes with fewer COPY", what, maxLayers, which, most)}}
}

// addedLayers is how many layers a recipe lays over its base.
func addedLayers(v *graph.Variant) int {
	n := 0
	for _, h := range v.History {
		if !h.EmptyLayer {
			n++
		}
	}
	if v.Shared != nil {
		n = max(n, len(v.Shared.Inputs))
	}
	return n
}
