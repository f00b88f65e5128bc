package stat

import (
	"math"
	"slices"
)

// exactVerdict decides a metric without noise, or with a tolerance instead.
func (c *Comparison) exactVerdict(m Metric, a, b []Value) {
	lowA, highA, cutA := bounds(a)
	lowB, highB, cutB := bounds(b)
	c.Change = (lowB+highB)/2 - (lowA+highA)/2
	near := func(x, y float64) bool { return math.Abs(x-y) <= m.tolerance()*max(math.Abs(x), math.Abs(y)) }
	apart := func(high, low float64) bool { return high < low && !near(high, low) }
	switch {
	case apart(highA, lowB) && !cutA, apart(highB, lowA) && !cutB:
		c.Verdict, c.Relevant = Changed, math.Abs(c.Change) >= m.Floor
	case cutA || cutB:
		c.Why = Cut
	case near(min(lowA, lowB), max(highA, highB)):
		c.Verdict = Same
	default:
		c.Why = Unsteady
	}
	if c.Verdict != Unknown {
		c.P, c.Adjusted = 0, 0
	}
}

// tolerance is how far values may lie apart, relative to the larger.
func (m Metric) tolerance() float64 {
	if m.Kind == NearExact {
		return m.Tolerance
	}
	return 0
}

// Warning is something that a reader of comparisons must know.
type Warning struct {
	// Code is one of the codes below.
	Code WarningCode `json:"code"`
	// Metric is the name of the metric.
	Metric string `json:"metric"`
	// Low and High are the values that were seen.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// WarningCode names one kind of warning.
type WarningCode string

// The warnings.
const (
	// Demoted: an exact metric differed between runs of the same thing.
	Demoted WarningCode = "demoted"
	// Dead: a metric that should move never did.
	Dead WarningCode = "dead"
)

// Demote looks at the runs of an A/A pair, which are runs of the same thing. If
// they differ by more than an exact or near-exact metric may, the metric is
// returned as a timed one, with a margin of at least [DefaultMargin], and a
// warning. Otherwise it is returned as it is, and the warning is nil. Runs that were
// cut short tell nothing of that.
func Demote(m Metric, runs []Value) (Metric, *Warning) {
	runs = slices.DeleteFunc(slices.Clone(runs), func(v Value) bool { return v.Censored })
	if m.Kind == Timed || len(runs) == 0 {
		return m, nil
	}
	low, high, _ := bounds(runs)
	if high-low <= m.tolerance()*max(math.Abs(low), math.Abs(high)) {
		return m, nil
	}
	w := &Warning{Code: Demoted, Metric: m.Name, Low: low, High: high}
	m.Kind, m.Margin = Timed, max(m.Margin, m.Tolerance, DefaultMargin)
	return m, w
}

// Still looks at a metric that is expected to move from cell to cell: it warns
// when all runs of two or more cells gave the same value, for then the metric is
// more likely not connected than the cells alike. Otherwise it returns nil.
func Still(m Metric, cells ...[]Value) *Warning {
	var all []Value
	seen := 0
	for _, runs := range cells {
		all = append(all, runs...)
		seen += min(1, len(runs))
	}
	if seen < 2 {
		return nil
	}
	low, high, _ := bounds(all)
	if low != high {
		return nil
	}
	return &Warning{Code: Dead, Metric: m.Name, Low: low, High: high}
}
