package delta

import (
	"fmt"

	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// Exceeded says which limits of a fleet a change breaks, each in a sentence; nil
// when it keeps to all of them. Executions that only may happen count.
func (r *Report) Exceeded(l fleet.Limits) []string {
	var out []string
	if n := r.Executions.PerImage; l.ExecutionsPerImage > 0 && n > float64(l.ExecutionsPerImage) {
		out = append(out, fmt.Sprintf("%.2f step executions for each image of the fleet, at most %d are allowed", n, l.ExecutionsPerImage))
	}
	if l.Bytes > 0 && r.BytesToCopy.New > l.Bytes && r.BytesToCopy.New > r.BytesToCopy.Old {
		out = append(out, fmt.Sprintf("%d bytes must be copied from other registries, before %d; at most %d are allowed", r.BytesToCopy.New, r.BytesToCopy.Old, l.Bytes))
	}
	return out
}
