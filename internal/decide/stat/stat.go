// Package stat compares the runs of two cells of an experiment and says how
// sure it is.
//
// What repeats exactly (counts, bytes) is decided at one run: equal or not.
// What nearly repeats has a relative tolerance. Times are compared as ratios:
// the logarithms of the runs of both sides are taken to be normal with one
// variance, and the interval of their difference is Student's t with that
// pooled variance. Runs of one block, a machine, share what is particular to it:
// the difference is that inside blocks, by least squares with a level for each
// (as in randomised blocks; Fisher 1935). A difference is REGRESSED or IMPROVED
// when the interval leaves out no difference and its middle is beyond the margin
// of equivalence, SAME when the whole interval is within the margin (as two
// one-sided tests would read it; Schuirmann 1987), and UNKNOWN otherwise, with the
// number of runs that would settle it. A run that was cut short is "at least": it is never
// averaged, and decides only by its order. Several answers to one question
// share the chance of error (Holm 1979).
//
// Rank tests have no place here: below four runs a side they can show nothing.
//
// Everything is a pure function. Values have the unit of their metric.
package stat

import (
	"math"
)

// Kind says what may be assumed of a metric's runs.
type Kind string

// The kinds of metrics.
const (
	Exact     Kind = "exact"      // the same work gives the same value
	NearExact Kind = "near-exact" // it gives the same value within a tolerance
	Timed     Kind = "timed"      // it gives a value with noise, which is above 0
)

// DefaultMargin is the margin of a metric that was taken for exact and is not.
const DefaultMargin = 0.05

// DefaultAlpha is the chance of a false verdict when none is asked for.
const DefaultAlpha = 0.05

// MaxMore is the largest number of further runs that is worth a mention.
const MaxMore = 1000

// Metric is what is measured.
type Metric struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Floor is the least change of an exact metric that matters, in its unit; a
	// smaller one is CHANGED and not relevant. 0: every change matters.
	Floor float64 `json:"floor,omitempty"`
	// Tolerance is how far values of a near-exact metric may lie apart and be the
	// same, relative to the larger: 0.02 is 2 %.
	Tolerance float64 `json:"tolerance,omitempty"`
	// Margin is the ratio of a timed metric up to which a change does not matter:
	// 0.05 is from 1/1.05 to 1.05. With 0 every change matters, and SAME is hardly
	// ever said.
	Margin float64 `json:"margin,omitempty"`
	// Higher is true when more is better: of images per hour, not of seconds.
	Higher bool `json:"higher,omitempty"`
}

// Value is what one run gave.
type Value struct {
	V float64 `json:"v"`
	// Censored is true when the run was cut short: its value is V or more.
	Censored bool `json:"censored,omitempty"`
	// Block names what the run shares with others beside its cell, a machine. It
	// matters to timed metrics only.
	Block string `json:"block,omitempty"`
}

// Sample is the runs of one cell.
type Sample struct {
	Conditions Conditions `json:"conditions"`
	Values     []Value    `json:"values"`
}

// Verdict is what a comparison says of B against A.
type Verdict string

// The verdicts. Exact and near-exact metrics are SAME, CHANGED or UNKNOWN: which
// way is better is not theirs to say.
const (
	Same      Verdict = "SAME"
	Changed   Verdict = "CHANGED"
	Regressed Verdict = "REGRESSED"
	Improved  Verdict = "IMPROVED"
	Unknown   Verdict = "UNKNOWN"
)

// Why says what stands in the way of a verdict.
type Why string

// The reasons for UNKNOWN.
const (
	Few      Why = "few"       // too few runs to know their spread
	Spread   Why = "spread"    // the interval is too wide
	Family   Why = "family"    // alone it would be decided; among so many questions it is not
	Cut      Why = "censored"  // runs were cut short, and order alone does not decide
	Unsteady Why = "unsteady"  // runs of one side of an exact metric differ
	NoNumber Why = "no-number" // a value is not finite, or a timed one is not above 0
)

// Range is a ratio with the bounds of its interval.
type Range struct {
	Low   float64 `json:"low"`
	Value float64 `json:"value"`
	High  float64 `json:"high"`
}

// Comparison is what the runs say of B against A.
type Comparison struct {
	Metric  string  `json:"metric"`
	Kind    Kind    `json:"kind"`
	Verdict Verdict `json:"verdict"`
	// Why is the reason for UNKNOWN.
	Why Why `json:"why,omitempty"`
	// Relevant is false when nothing changed, or by less than the floor.
	Relevant bool `json:"relevant"`
	// A and B are the numbers of runs.
	A int `json:"a"`
	B int `json:"b"`
	// Change is B - A of an exact or near-exact metric, of the middles of their
	// runs, in the metric's unit.
	Change float64 `json:"change,omitempty"`
	// Ratio is B / A of a timed metric, with its interval; nil when there is none.
	Ratio *Range `json:"ratio,omitempty"`
	// AtLeast is how many times the larger side is the other, at least, when runs
	// were cut short and order decides.
	AtLeast float64 `json:"atLeast,omitempty"`
	// P is the smallest chance of error at which the interval decides; 0 of
	// metrics without noise. Adjusted is P after [Holm].
	P        float64 `json:"p"`
	Adjusted float64 `json:"adjusted"`
	// More is how many further runs a side would settle an UNKNOWN, if spread and
	// difference stay what they are; 0 when that cannot be said, or no number up
	// to [MaxMore] would.
	More int `json:"more,omitempty"`

	timed *interval // nil when there is none; not kept in JSON
}

// Compare says what the runs of b are against those of a. Alpha is the chance of
// a false verdict that is accepted, 0 for [DefaultAlpha]. Samples that cannot be
// compared are an error (see [Conditions.Against]).
func Compare(m Metric, a, b Sample, alpha float64) (Comparison, error) {
	if err := a.Conditions.Against(b.Conditions); err != nil {
		return Comparison{}, err
	}
	if alpha == 0 {
		alpha = DefaultAlpha
	}
	c := Comparison{Metric: m.Name, Kind: m.Kind, Verdict: Unknown, A: len(a.Values), B: len(b.Values), P: 1, Adjusted: 1}
	switch {
	case !numbers(m, a.Values) || !numbers(m, b.Values):
		c.Why = NoNumber
	case c.A == 0 || c.B == 0:
		c.Why, c.More = Few, wanting(m, c.A, c.B)
	case m.Kind == Timed:
		c.timedVerdict(m, a.Values, b.Values, alpha)
	default:
		c.exactVerdict(m, a.Values, b.Values)
	}
	return c, nil
}

// numbers tells whether a metric can have the values.
func numbers(m Metric, values []Value) bool {
	for _, v := range values {
		if math.IsNaN(v.V) || math.IsInf(v.V, 0) || m.Kind == Timed && v.V <= 0 {
			return false
		}
	}
	return true
}

// wanting is how many runs a side lacks before anything can be said.
func wanting(m Metric, a, b int) int {
	need := 1
	if m.Kind == Timed {
		need = 2
	}
	return max(0, need-min(a, b))
}

// bounds are the least and the greatest value, and whether one was cut short.
func bounds(values []Value) (low, high float64, censored bool) {
	low, high = values[0].V, values[0].V
	for _, v := range values {
		low, high = min(low, v.V), max(high, v.V)
		censored = censored || v.Censored
	}
	return low, high, censored
}
