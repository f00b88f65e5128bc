package bisect

// State says how sure a finding is.
type State string

// The states.
const (
	Unconfirmed State = "unconfirmed" // not measured again yet
	Confirmed   State = "confirmed"   // measured again, with the same values
	Flaky       State = "flaky"       // measured again, with others or without success
)

// Finding is a place where the metric changed.
type Finding struct {
	// Parent is the last checkpoint with the value Before.
	Parent string `json:"parent"`
	// OneOf is the culprit, the first checkpoint with the value After; or several,
	// in order, one of which it is: those between could not be tested. More than
	// one of several may have changed the metric.
	OneOf  []string `json:"oneOf"`
	Before float64  `json:"before"`
	After  float64  `json:"after"`
	State  State    `json:"state"`
}

// Reason says why a span was not examined.
type Reason string

// The reasons.
const (
	EqualEnds Reason = "equal-ends" // its ends have one value, and nothing in it is heavy
	NoValue   Reason = "untestable" // nothing in it could be tested
)

// Span is a part of the history that was not examined: changes in it that cancel
// each other, or lie before the first or after the last value, were not seen.
type Span struct {
	// From and To are its ends, in the history's order.
	From string `json:"from"`
	To   string `json:"to"`
	// Changes is how many changes of the fingerprint lie in it, and Weight the
	// heaviest of them.
	Changes int     `json:"changes"`
	Weight  float64 `json:"weight"`
	Why     Reason  `json:"why"`
}

// Result is what a search has found. While it is not Done, findings are those so
// far, and there are no spans.
type Result struct {
	Done     bool      `json:"done"`
	Findings []Finding `json:"findings"`
	// Unexamined lists every part of the history that was not looked at, in order.
	Unexamined []Span `json:"unexamined"`
	// Untestable are the checkpoints without a value, in order; a group's all.
	Untestable []string `json:"untestable"`
	// Groups is the number of distinct neighbours. With 1 the history is inert:
	// nothing changed that the metric can depend on, and nothing is probed.
	Groups int `json:"groups"`
	// Probes is the number of answers that count, Again that of fresh ones.
	Probes int `json:"probes"`
	Again  int `json:"again"`
}

// Result returns what was found so far.
func (s *Search) Result() Result {
	v := s.look()
	r := Result{Groups: len(s.groups), Done: len(s.groups) > 0 && len(s.Pending()) == 0}
	if r.Done {
		r.Unexamined = v.spans
	}
	for _, p := range v.findings {
		r.Findings = append(r.Findings, s.finding(p))
	}
	for _, g := range s.groups {
		if g.first.untestable {
			r.Untestable = append(r.Untestable, g.members...)
		}
		if g.first.given && g.speaker() != "" {
			r.Probes++
		}
		if g.again.given {
			r.Again++
		}
	}
	return r
}

func (s *Search) finding(p pair) Finding {
	left, right := s.groups[p.left], s.groups[p.right]
	f := Finding{
		Parent: left.members[len(left.members)-1],
		Before: left.first.value, After: right.first.value, State: Unconfirmed,
	}
	for _, g := range s.groups[p.left+1 : p.right+1] {
		f.OneOf = append(f.OneOf, g.members[0])
	}
	switch {
	case left.again.given && left.again != left.first, right.again.given && right.again != right.first:
		f.State = Flaky
	case left.again.given && right.again.given:
		f.State = Confirmed
	}
	return f
}

// span describes what lies between two groups.
func (s *Search) span(left, right int, why Reason) Span {
	l := s.groups[left]
	return Span{
		From: l.members[len(l.members)-1], To: s.groups[right].members[0],
		Changes: right - left, Weight: s.heaviest(pair{left, right}), Why: why,
	}
}
