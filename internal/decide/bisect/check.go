package bisect

import (
	"fmt"
	"math"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Relation is how one commit lies to another: how many commits only it has, and
// how many only the other (git rev-list --left-right --count).
type Relation struct {
	Ahead  int
	Behind int
}

// Fault says what is wrong with a checkpoint's place.
type Fault string

// The faults.
const (
	Duplicate Fault = "duplicate" // it is given twice
	Ancestor  Fault = "ancestor"  // it comes before the one that it should follow
	Diverged  Fault = "diverged"  // neither is an ancestor of the other
	Malformed Fault = "malformed" // it has no id, or its weight is not a number from 0
	TooShort  Fault = "too-short" // there are fewer than two checkpoints
)

// Misplaced is one checkpoint that is not where it must be.
type Misplaced struct {
	// Number is the checkpoint's, from 1; the baseline is 1.
	Number int    `json:"number"`
	ID     string `json:"id"`
	Fault  Fault  `json:"fault"`
	// Other is the checkpoint that it is compared with, and Baseline is true when
	// that is the first.
	Other    string `json:"other,omitempty"`
	Baseline bool   `json:"baseline,omitempty"`
	// Distance is how many commits an ancestor is behind, or how many a diverged
	// one lacks.
	Distance int `json:"distance,omitempty"`
}

// String says it in a line.
func (m Misplaced) String() string {
	other := m.Other
	if m.Baseline {
		other = "the baseline " + other
	}
	switch s := fmt.Sprintf("checkpoint %d (%s)", m.Number, m.ID); m.Fault {
	case Duplicate:
		return s + " is the same as " + other
	case Ancestor:
		return fmt.Sprintf("%s is an ancestor of %s, %d commits before it", s, other, m.Distance)
	case Diverged:
		return fmt.Sprintf("%s does not descend from %s: it lacks %d of its commits", s, other, m.Distance)
	case Malformed:
		return s + " has no id, or a weight that is not a number from 0"
	default:
		return "there are fewer than two checkpoints"
	}
}

// Invalid is every fault of a plan. As part of an error it is found with
// errors.As.
type Invalid struct{ Misplaced []Misplaced }

// Error lists the faults, one a line.
func (e *Invalid) Error() string {
	lines := make([]string, len(e.Misplaced))
	for i, m := range e.Misplaced {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// Check looks for what is wrong with a plan before anything is measured: its
// checkpoints must be distinct, descend from the baseline, and each from the one
// before. Relate tells how the second commit lies to the first; nil when nothing
// is known, and then the history's order is not looked at. The error is of kind
// diag.Usage, wraps an [*Invalid] and has every fault.
func Check(p Plan, relate func(a, b string) Relation) error {
	var e Invalid
	if len(p.Checkpoints) < 2 {
		e.Misplaced = append(e.Misplaced, Misplaced{Fault: TooShort})
	}
	seen := map[string]bool{}
	before := 0 // the last one in its place
	for i, c := range p.Checkpoints {
		m := Misplaced{Number: i + 1, ID: c.ID}
		switch {
		case c.ID == "" || c.Weight < 0 || math.IsNaN(c.Weight) || math.IsInf(c.Weight, 0):
			m.Fault = Malformed
		case seen[c.ID]:
			m.Fault, m.Other = Duplicate, c.ID
		case i > 0 && relate != nil:
			m.against(p.Checkpoints[0].ID, true, relate)
			if m.Fault == "" && before > 0 {
				m.against(p.Checkpoints[before].ID, false, relate)
			}
		}
		seen[c.ID] = true
		if m.Fault != "" {
			e.Misplaced = append(e.Misplaced, m)
		} else {
			before = i
		}
	}
	if e.Misplaced == nil {
		return nil
	}
	return diag.Errorf(diag.Usage, "give the checkpoints from the oldest to the newest of one line of history", "%w", &e)
}

// against looks at how m lies to a checkpoint that must be before it.
func (m *Misplaced) against(other string, baseline bool, relate func(a, b string) Relation) {
	switch r := relate(other, m.ID); {
	case r.Behind == 0 && r.Ahead > 0:
		return
	case r.Behind == 0:
		m.Fault = Duplicate
	case r.Ahead == 0:
		m.Fault, m.Distance = Ancestor, r.Behind
	default:
		m.Fault, m.Distance = Diverged, r.Behind
	}
	m.Other, m.Baseline = other, baseline
}
