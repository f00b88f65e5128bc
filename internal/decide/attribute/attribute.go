// Package attribute says whether a change has one cause, several that add up,
// or a combination.
//
// Up to four factors have two levels each, old and new. A cell is the set of the
// factors that are new, and has one value of a metric. [Explain] asks first for
// the cells that tell each factor's effect alone and last: nothing new, one new,
// all but one new, all new. When those add up the answer is there, and what was
// not measured is their sum; else every cell is asked for. Of the values it makes
//
//   - interaction terms by Moebius inversion over the sets, which are the
//     dividends of Harsanyi (1963): what a set does beyond all that its subsets do;
//   - the fair share of each factor (Shapley 1953), in which every term is split
//     evenly among its factors; terms and shares add up to the whole change;
//   - the share of variation of each contrast of the full two-level design (Jain
//     1991, chapter 17);
//   - a verdict, and a sentence.
//
// [Amplify] tells a cause from what makes it worse: a full disk. All is pure.
// Values have the unit of their metric.
package attribute

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// MaxFactors is the most factors that are taken apart at once.
const MaxFactors = 4

// Set is a set of factors: bit i is factor i. As a cell, those are new and the
// others old.
type Set uint8

// Has tells whether factor i is in s.
func (s Set) Has(i int) bool { return s>>i&1 == 1 }

// Len is the number of factors in s.
func (s Set) Len() int { return bits.OnesCount8(uint8(s)) }

// in tells whether all of s is in t.
func (s Set) in(t Set) bool { return s&^t == 0 }

// Names are those of the factors in s, in their order.
func (s Set) Names(factors []string) []string {
	var out []string
	for i, name := range factors {
		if s.Has(i) {
			out = append(out, name)
		}
	}
	return out
}

// Input is what was measured.
type Input struct {
	// Factors are the names of one to four factors.
	Factors []string
	// Values holds the cells that were measured.
	Values map[Set]float64
	// Untestable are cells that have no value and never will.
	Untestable []Set
	// Margin is the largest difference of two cells that may be noise, in the
	// metric's unit; 0 of an exact metric.
	Margin float64
	// Show writes a difference, with its sign and unit, for the sentence; nil
	// writes a plain number.
	Show func(float64) string
}

// Verdict is the kind of answer.
type Verdict string

// The verdicts.
const (
	Open        Verdict = "open"        // cells are missing: see Next
	Unknown     Verdict = "unknown"     // a cell that is needed cannot be tested
	None        Verdict = "none"        // no factor changes it
	Single      Verdict = "single"      // one factor does
	Additive    Verdict = "additive"    // several do, and their effects add up
	Combination Verdict = "combination" // none does alone, together they do
	Masking     Verdict = "masking"     // an effect is not to be seen beside the others
	Crossover   Verdict = "crossover"   // what a factor does turns round with the others
	Mixed       Verdict = "mixed"       // factors do something alone, and together not the sum
)

// Factor is what one factor does.
type Factor struct {
	Name string `json:"name"`
	// Alone is what it does when nothing else is new, Last when all else is.
	Alone float64 `json:"alone"`
	Last  float64 `json:"last"`
	// Shapley is its fair share of Total.
	Shapley float64 `json:"shapley"`
}

// Term is what a set of factors does beyond what its subsets do.
type Term struct {
	Set   Set     `json:"set"`
	Value float64 `json:"value"`
	// Share is the share of variation of the set's contrast, from 0 to 1.
	Share float64 `json:"share"`
}

// Answer is what the cells say.
type Answer struct {
	Verdict  Verdict `json:"verdict"`
	Sentence string  `json:"sentence"`
	// Next are the cells to measure, small ones first, when Verdict is Open.
	Next []Set `json:"next,omitempty"`
	// Lacking are the cells that cannot be tested, when Verdict is Unknown.
	Lacking []Set `json:"lacking,omitempty"`
	// Total is what all factors do together. Factors and Terms add up to it. They
	// are empty while cells lack.
	Total   float64  `json:"total"`
	Factors []Factor `json:"factors,omitempty"`
	Terms   []Term   `json:"terms,omitempty"`
	// Assumed are cells that were not measured, because the others add up.
	Assumed []Set `json:"assumed,omitempty"`
}

// Explain says what the cells tell. Input that makes no sense is an error of kind
// diag.Usage.
func Explain(in Input) (Answer, error) {
	if err := in.check(); err != nil {
		return Answer{}, err
	}
	d := design{in: in, all: Set(1)<<len(in.Factors) - 1, value: map[Set]float64{}}
	for s, v := range in.Values {
		d.value[s] = v
	}
	if a, lacks := d.lacking(d.outer()); lacks {
		return a, nil
	}
	d.additive = d.adds()
	var assumed []Set
	if d.additive {
		assumed = d.fill()
	} else if a, lacks := d.lacking(d.sets()); lacks {
		return a, nil
	}
	a := Answer{Total: d.value[d.all] - d.value[0], Assumed: assumed, Terms: d.terms()}
	for i, name := range in.Factors {
		f := Factor{Name: name, Alone: d.marginal(i, 0), Last: d.marginal(i, d.all&^(1<<i))}
		for _, t := range a.Terms {
			if t.Set.Has(i) {
				f.Shapley += t.Value / float64(t.Set.Len())
			}
		}
		a.Factors = append(a.Factors, f)
	}
	a.Verdict = d.verdict(a)
	a.Sentence = d.sentence(a)
	return a, nil
}

func (in Input) check() error {
	bad := func(format string, args ...any) error {
		return diag.Errorf(diag.Usage, "every combination of the levels needs a cell with a reading", "attribute: "+format, args...)
	}
	n := len(in.Factors)
	if n < 1 || n > MaxFactors {
		return bad("%d factors; it takes 1 to %d", n, MaxFactors)
	}
	seen := map[string]bool{}
	for _, name := range in.Factors {
		if name == "" || seen[name] {
			return bad("the factors need names of their own")
		}
		seen[name] = true
	}
	if !(in.Margin >= 0) || math.IsInf(in.Margin, 0) {
		return bad("the margin is not a number from 0")
	}
	for s, v := range in.Values {
		if s >= 1<<n || math.IsNaN(v) || math.IsInf(v, 0) {
			return bad("the value %v of cell %d", v, s)
		}
	}
	for _, s := range in.Untestable {
		if _, measured := in.Values[s]; measured || s >= 1<<n {
			return bad("cell %d cannot be untestable", s)
		}
	}
	return nil
}

// lacking says which of the cells have no value; false when all have.
func (d *design) lacking(cells []Set) (Answer, bool) {
	var next, never []Set
	for _, s := range cells {
		if _, ok := d.value[s]; ok {
			continue
		}
		if slices.Contains(d.in.Untestable, s) {
			never = append(never, s)
		} else {
			next = append(next, s)
		}
	}
	switch {
	case never != nil:
		return Answer{Verdict: Unknown, Lacking: never, Sentence: "it cannot be told: " + d.cells(never) + " cannot be tested"}, true
	case next != nil:
		return Answer{Verdict: Open, Next: next, Sentence: "to be measured yet: " + d.cells(next)}, true
	}
	return Answer{}, false
}

// cells names cells.
func (d *design) cells(cells []Set) string {
	names := make([]string, len(cells))
	for i, s := range cells {
		if names[i] = strings.Join(s.Names(d.in.Factors), "+"); s == 0 {
			names[i] = "nothing new"
		}
	}
	return strings.Join(names, ", ")
}

// bySize orders sets: small ones first, then by their factors.
func bySize(a, b Set) int { return cmp.Or(cmp.Compare(a.Len(), b.Len()), cmp.Compare(a, b)) }
