// Package bisect finds the checkpoints at which a metric changed, with few
// probes.
//
// The metric repeats exactly, so its history is a step function. Nothing else
// is assumed of it: there may be several steps, up and down, that cancel each
// other. A [Search] is told what happened, one [Event] at a time, and answers
// with the [Probe]s to make. It measures nothing itself, so a simulation and a
// real search are the same code, and its log replays to the same state.
//
// Neighbours with equal fingerprints are one group, for which one probe speaks.
// Few groups are all measured at once. Of many, both ends are, and then every
// pair of measured neighbours that differ is split until nothing lies between
// them: the groups in between are halved in number, and within that freedom by
// weight. What lies between measured neighbours that are equal is looked at only
// when a change in it is heavy enough; what was not examined is listed in the
// [Result], for steps that cancel each other may hide there. A culprit is
// confirmed when it and its parent, measured again, give the same values.
package bisect

import (
	"fmt"
	"math"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Checkpoint is one state of the history.
type Checkpoint struct {
	// ID names it, for good: a full commit hash.
	ID string `json:"id"`
	// Fingerprint is a digest over everything that the metric can depend on; ""
	// when it is not known, and then it equals no other.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Weight is how likely the change from the checkpoint before is to matter,
	// relative to the others. When no checkpoint has a weight, all have 1.
	Weight float64 `json:"weight,omitempty"`
}

// Plan is what to search, and how.
type Plan struct {
	// Checkpoints are in the order of the history, the baseline first.
	Checkpoints []Checkpoint `json:"checkpoints"`
	// All is up to how many groups are all measured at once; 0 is 8.
	All int `json:"all,omitempty"`
	// Inside is the least weight of a change for which a span with equal ends is
	// looked into; with 0 none is.
	Inside float64 `json:"inside,omitempty"`
}

// EventKind says what happened.
type EventKind string

// The events.
const (
	Begin      EventKind = "begin"      // a search for Plan begins; the first event, once
	Measured   EventKind = "measured"   // a probe gave Value
	Untestable EventKind = "untestable" // a probe gave no value
	Skip       EventKind = "skip"       // a person does not want At: what it gave does not count
)

// Event is one thing that happened. A log of them is a whole search.
type Event struct {
	Kind EventKind `json:"kind"`
	Plan *Plan     `json:"plan,omitempty"`
	// At is the checkpoint, and Fresh is that of the probe.
	At    string  `json:"at,omitempty"`
	Fresh bool    `json:"fresh,omitempty"`
	Value float64 `json:"value,omitempty"`
	// Detail says why there is no value, or why At is skipped.
	Detail string `json:"detail,omitempty"`
}

// Probe asks for the metric at a checkpoint.
type Probe struct {
	At string `json:"at"`
	// Fresh is true when At was measured and shall be again, with nothing left of
	// the first time.
	Fresh bool `json:"fresh,omitempty"`
	// Why is what the probe is for.
	Why Purpose `json:"why"`
}

// Purpose is what a probe is for.
type Purpose string

// The purposes.
const (
	End      Purpose = "end"      // to know both ends
	Few      Purpose = "few"      // there are so few that all are measured
	Split    Purpose = "split"    // between two that differ
	Look     Purpose = "look"     // between two that are equal, for a heavy change
	Sandwich Purpose = "sandwich" // parent and culprit again
)

// Search is a search so far. Make one with [New]. It is not for concurrent use.
type Search struct {
	plan   Plan
	groups []group
	index  map[string]place
	log    []Event
}

// place is where a checkpoint is.
type place struct{ group, member int }

// group is a run of neighbours with one fingerprint.
type group struct {
	members []string
	skipped []bool
	weight  float64 // of the change from the group before
	first   answer
	again   answer
}

// answer is what came of a probe.
type answer struct {
	given      bool
	untestable bool
	value      float64
}

func (a answer) known() bool { return a.given && !a.untestable }

// New returns a search that waits for its [Begin].
func New() *Search { return &Search{} }

// Replay returns the search that a log tells of. Its [Search.Pending] are the
// probes that were not answered.
func Replay(log []Event) (*Search, error) {
	s := New()
	for i, e := range log {
		if _, err := s.Step(e); err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
	}
	return s, nil
}

// Log returns the events so far, in their order.
func (s *Search) Log() []Event { return s.log }

// Step takes in what happened and returns the probes that are to be made because
// of it, which may run beside those that are still under way. A value may be told
// of a checkpoint that nobody asked for.
//
// An event that cannot be true is an error of kind diag.Usage, and changes
// nothing: of a checkpoint that is not in the plan, a second value that is not
// fresh, a fresh one without a first. The plan of [Begin] is held to what [Check]
// asks of it. What is told of a skipped checkpoint does not count and is no error.
func (s *Search) Step(e Event) ([]Probe, error) {
	before := map[Probe]bool{}
	for _, p := range s.Pending() {
		before[Probe{At: p.At, Fresh: p.Fresh}] = true
	}
	if err := s.take(e); err != nil {
		return nil, err
	}
	s.log = append(s.log, e)
	var out []Probe
	for _, p := range s.Pending() {
		if !before[Probe{At: p.At, Fresh: p.Fresh}] {
			out = append(out, p)
		}
	}
	return out, nil
}

// changedLog helps with events that no search has written.
const changedLog = "the log was changed: replay one as it was written, or begin anew with `lapstrake lab bisect`"

func (s *Search) take(e Event) error {
	if (e.Kind == Begin) != (s.groups == nil) {
		return diag.Errorf(diag.Usage, changedLog, "bisect: a log has one beginning, which comes first")
	}
	if e.Kind == Begin {
		return s.begin(e.Plan)
	}
	at, ok := s.index[e.At]
	if !ok {
		return diag.Errorf(diag.Usage, changedLog, "bisect: %q is no checkpoint of the plan", e.At)
	}
	g := &s.groups[at.group]
	switch {
	case e.Kind == Skip:
		g.skip(at.member)
		return nil
	case g.skipped[at.member]:
		return nil
	case e.Kind != Measured && e.Kind != Untestable:
		return diag.Errorf(diag.Usage, changedLog, "bisect: there is no event %q", e.Kind)
	case math.IsNaN(e.Value) || math.IsInf(e.Value, 0):
		return diag.Errorf(diag.Usage, changedLog, "bisect: the value of %s is not a number", e.At)
	}
	a := &g.first
	if e.Fresh {
		a = &g.again
	}
	if a.given || e.Fresh && !g.first.known() {
		return diag.Errorf(diag.Usage, changedLog, "bisect: nobody asked for %s again", e.At)
	}
	*a = answer{given: true, value: e.Value}
	if e.Kind == Untestable {
		*a = answer{given: true, untestable: true}
	}
	return nil
}

// skip leaves out a member. Another one speaks for the group; when there is
// none, the group cannot be tested.
func (g *group) skip(member int) {
	g.skipped[member] = true
	g.first, g.again = answer{}, answer{}
	g.first.given = g.speaker() == ""
	g.first.untestable = g.first.given
}

// speaker is the member that is measured.
func (g *group) speaker() string {
	for i, id := range g.members {
		if !g.skipped[i] {
			return id
		}
	}
	return ""
}

func (s *Search) begin(p *Plan) error {
	if p == nil {
		return diag.Errorf(diag.Usage, changedLog, "bisect: a beginning has a plan")
	}
	if err := Check(*p, nil); err != nil {
		return err
	}
	s.plan = *p
	if s.plan.All == 0 {
		s.plan.All = 8
	}
	s.index = map[string]place{}
	weighted := false
	for _, c := range p.Checkpoints {
		weighted = weighted || c.Weight > 0
	}
	last := ""
	for _, c := range p.Checkpoints {
		if c.Fingerprint == "" || c.Fingerprint != last || s.groups == nil {
			weight := c.Weight
			if !weighted {
				weight = 1
			}
			s.groups = append(s.groups, group{weight: weight})
		}
		last = c.Fingerprint
		g := &s.groups[len(s.groups)-1]
		s.index[c.ID] = place{len(s.groups) - 1, len(g.members)}
		g.members, g.skipped = append(g.members, c.ID), append(g.skipped, false)
	}
	return nil
}
