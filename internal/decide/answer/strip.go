package answer

import (
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/bisect"
)

// Strip is a search for culprits, one point a checkpoint.
type Strip struct {
	Name string `json:"name"`
	// Names are what people call checkpoints, by their ids.
	Names  map[string]string `json:"names,omitempty"`
	Points []Point           `json:"points"`
	Result bisect.Result     `json:"result"`
}

// Point is what a search knows of a checkpoint.
type Point struct {
	ID    string `json:"id"`
	State State  `json:"state"`
	// Value is that of the checkpoint, or of one with its fingerprint.
	Value float64 `json:"value"`
	// Culprit is true when a change begins here, or may.
	Culprit bool `json:"culprit,omitempty"`
}

// State says what is known of a checkpoint.
type State string

// The states.
const (
	Known      State = "known"      // it has a value
	NoValue    State = "no-value"   // it cannot be tested
	Unexamined State = "unexamined" // nobody looked
)

// NewStrip lays a search out that has begun.
func NewStrip(name string, names map[string]string, s *bisect.Search) Strip {
	out := Strip{Name: name, Names: names, Points: []Point{}, Result: s.Result()}
	log := s.Log()
	values := map[string]float64{} // by fingerprint, or by checkpoint
	checkpoints := log[0].Plan.Checkpoints
	key := keysOf(checkpoints)
	for _, e := range log {
		if e.Kind == bisect.Measured && !e.Fresh {
			values[key[e.At]] = e.Value
		}
	}
	for _, c := range checkpoints {
		p := Point{ID: c.ID, State: Unexamined}
		if v, ok := values[key[c.ID]]; ok {
			p.State, p.Value = Known, v
		}
		if slices.Contains(out.Result.Untestable, c.ID) {
			p.State, p.Value = NoValue, 0
		}
		p.Culprit = slices.ContainsFunc(out.Result.Findings, func(f bisect.Finding) bool { return slices.Contains(f.OneOf, c.ID) })
		out.Points = append(out.Points, p)
	}
	return out
}

// keysOf names the group of each checkpoint: neighbours with equal fingerprints are
// one.
func keysOf(checkpoints []bisect.Checkpoint) map[string]string {
	out := map[string]string{}
	for i, c := range checkpoints {
		out[c.ID] = c.ID
		if i > 0 && c.Fingerprint != "" && c.Fingerprint == checkpoints[i-1].Fingerprint {
			out[c.ID] = out[checkpoints[i-1].ID]
		}
	}
	return out
}
