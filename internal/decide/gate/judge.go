package gate

import (
	"fmt"
	"math"
	"slices"
)

// Value is what is known of a metric in a cell.
type Value struct {
	// Low and High are its bounds: equal of an exact metric, those of its interval
	// of a timed one, and High is +Inf when runs were cut short. Bytes, seconds or
	// a count.
	Low, High float64
	// Text is the value when it is no number, such as a fingerprint.
	Text string
	// Unattested says why the evidence is not valid; empty when it is.
	Unattested string
	// Lacks says why nothing is known of the value, of which trials are there;
	// empty when something is.
	Lacks string
	// Trials are the ones that the value comes from.
	Trials []string
}

// Exactly is an attested number.
func Exactly(v float64, trials ...string) Value { return Value{Low: v, High: v, Trials: trials} }

// Evidence tells the value of a metric in a cell; false when there is none.
type Evidence func(metric, cell string) (Value, bool)

// Side is what a side of a claim came to.
type Side struct {
	// Low and High are its bounds; nil where there is none.
	Low  *float64 `json:"low,omitempty"`
	High *float64 `json:"high,omitempty"`
	Text string   `json:"text,omitempty"`
}

// quantity is a number between two bounds, or a text. A value that lacks, and
// what is not defined, can be any number.
type quantity struct {
	low, high float64
	text      string
}

func (q quantity) side() Side {
	s := Side{Text: q.text}
	if q.text == "" && !math.IsInf(q.low, 0) {
		s.Low = &q.low
	}
	if q.text == "" && !math.IsInf(q.high, 0) {
		s.High = &q.high
	}
	return s
}

// anything is the quantity of which nothing is known.
func anything() quantity { return quantity{low: math.Inf(-1), high: math.Inf(1)} }

// bounded is the quantity between bounds, of which the least and the greatest
// count. Bounds that make no sense leave anything possible.
func bounded(bounds ...float64) quantity {
	q := quantity{low: math.Inf(1), high: math.Inf(-1)}
	for _, b := range bounds {
		if math.IsNaN(b) {
			return anything()
		}
		q.low, q.high = min(q.low, b), max(q.high, b)
	}
	if math.IsInf(q.low, 1) || math.IsInf(q.high, -1) {
		return anything()
	}
	return q
}

// judgement collects what the values of one claim are worth.
type judgement struct {
	cell     string
	evidence Evidence
	invalid  string // why a value is not valid
	lacks    string // why nothing can be said
	trials   []string
}

func (j *judgement) lack(format string, args ...any) quantity {
	if j.lacks == "" {
		j.lacks = fmt.Sprintf(format, args...)
	}
	return anything()
}

// judge holds the comparison against the values.
func (e Expr) judge(cell string, evidence Evidence) Finding {
	j := &judgement{cell: cell, evidence: evidence}
	left, right := j.side(e.left), j.side(e.right)
	status := j.compare(e.op, left, right)
	slices.Sort(j.trials)
	f := Finding{Left: left.side(), Right: right.side(), Trials: slices.Compact(j.trials)}
	switch {
	case j.invalid != "":
		f.Status, f.Why = Invalid, j.invalid
	case j.lacks != "":
		f.Status, f.Why = Unknown, j.lacks
	case status == Unknown:
		f.Status, f.Why = Unknown, "what is known of the values leaves both possible"
	default:
		f.Status = status
	}
	return f
}

func (j *judgement) side(n *node) quantity {
	switch n.op {
	case '#':
		return bounded(n.number)
	case 'm':
		return j.metric(n)
	}
	l := j.operand(n.left)
	switch n.op {
	case 'n':
		return bounded(-l.low, -l.high)
	case 'a':
		if l.low <= 0 && l.high >= 0 {
			return bounded(0, max(-l.low, l.high))
		}
		return bounded(math.Abs(l.low), math.Abs(l.high))
	}
	r := j.operand(n.right)
	switch n.op {
	case '+':
		return bounded(l.low+r.low, l.high+r.high)
	case '-':
		return bounded(l.low-r.high, l.high-r.low)
	case '*':
		return bounded(l.low*r.low, l.low*r.high, l.high*r.low, l.high*r.high)
	}
	if r.low <= 0 && r.high >= 0 {
		return j.lack("%s may be 0, and is divided by", n.right)
	}
	return bounded(l.low/r.low, l.low/r.high, l.high/r.low, l.high/r.high)
}

// operand is a side that must be a number.
func (j *judgement) operand(n *node) quantity {
	q := j.side(n)
	if q.text != "" {
		return j.lack("%s is a text, and cannot be reckoned with", n)
	}
	return q
}

func (j *judgement) metric(n *node) quantity {
	cell := n.cellIn(j.cell)
	name := n.metric
	if cell != "" {
		name += "(" + cell + ")"
	}
	v, ok := j.evidence(n.metric, cell)
	j.trials = append(j.trials, v.Trials...)
	if ok && v.Unattested != "" && j.invalid == "" {
		j.invalid = name + ": " + v.Unattested
	}
	if ok && v.Lacks != "" {
		return j.lack("%s: %s", name, v.Lacks)
	}
	if !ok || v.Text == "" && !(v.Low <= v.High) {
		return j.lack("there is no value of %s", name)
	}
	if v.Text != "" {
		return quantity{text: v.Text}
	}
	return bounded(v.Low, v.High)
}

// compare is the status of a comparison, were all values valid.
func (j *judgement) compare(op string, l, r quantity) Status {
	if l.text != "" || r.text != "" {
		return j.compareText(op, l, r)
	}
	switch op {
	case "==":
		return decide(l.low == l.high && r.low == r.high && l.low == r.low, l.high < r.low || r.high < l.low)
	case "!=":
		return decide(l.high < r.low || r.high < l.low, l.low == l.high && r.low == r.high && l.low == r.low)
	case "<=":
		return decide(l.high <= r.low, l.low > r.high)
	case "<":
		return decide(l.high < r.low, l.low >= r.high)
	case ">=":
		return decide(l.low >= r.high, l.high < r.low)
	}
	return decide(l.low > r.high, l.high <= r.low)
}

func (j *judgement) compareText(op string, l, r quantity) Status {
	switch {
	case l.text == "" || r.text == "":
		j.lack("a text is compared with a number")
	case op == "==":
		return decide(l.text == r.text, l.text != r.text)
	case op == "!=":
		return decide(l.text != r.text, l.text == r.text)
	default:
		j.lack("texts have no order: compare them with == or !=")
	}
	return Unknown
}

func decide(pass, fail bool) Status {
	switch {
	case pass:
		return Pass
	case fail:
		return Fail
	}
	return Unknown
}
