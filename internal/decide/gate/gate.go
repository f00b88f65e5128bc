// Package gate judges named claims about an experiment, such as
//
//	rework <= 1.05
//	disk.peak <= 0.85 * budget
//	wall(warm) <= 0.25 * wall(cold)
//	abs(wall(new) / wall(old) - 1) <= 5%
//	fingerprint(old) == fingerprint(new)
//
// A claim is PASS or FAIL when what is known of its values leaves no choice,
// UNKNOWN when it does, which is never a pass, and INVALID when a value rests on
// evidence that was not attested. Values are intervals: of an exact metric both
// ends are equal, of a run that was cut short the upper one is infinite.
//
// A metric without a cell is that of the claim's own cell. Numbers may be
// percentages (85%), sizes (20G, in powers of 1024, to bytes) and times (90s,
// 2h, to seconds).
//
// A claim may also be a check, of which a program tells whether it holds. The
// package is pure: the time, and what came of checks, are passed in.
package gate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/waiver"
)

// Claim is one line of a gate, as it was written.
type Claim = experiment.Claim

// Names are what claims may speak of. Empty lists allow everything.
type Names struct {
	Metrics []string
	Cells   []string
}

// Gate is claims that can be judged. Make one with [New].
type Gate struct {
	claims  []compiled
	results map[string]Result
}

type compiled struct {
	Claim
	expr Expr // of a comparison
}

// Result is what came of a check.
type Result struct {
	// Status is Pass, Fail or Unknown.
	Status Status
	// Detail is what the check said, on one line; it may be empty.
	Detail string
}

// With is the gate with what came of its checks, by the names of claims. A check
// of which nothing is known is UNKNOWN.
func (g Gate) With(results map[string]Result) Gate {
	g.results = results
	return g
}

// Checks are the claims that are checks, in their order.
func (g Gate) Checks() []Claim {
	var out []Claim
	for _, c := range g.claims {
		if c.Check() {
			out = append(out, c.Claim)
		}
	}
	return out
}

// checked is what came of a check.
func (g Gate) checked(c compiled) Finding {
	r, ok := g.results[c.Name]
	if !ok {
		r = Result{Status: Unknown, Detail: "it was not run"}
	}
	return Finding{Status: r.Status, Why: r.Detail, Check: true, Trials: []string{}}
}

// New reads claims. Everything that is wrong with them comes at once, as a
// diag.List: what does not parse, names of metrics and cells that do not exist,
// names given twice, waivers that lack an owner, a reason or an expiry.
func New(claims []Claim, names Names) (Gate, error) {
	var g Gate
	var problems diag.List
	seen := map[string]bool{}
	for _, c := range claims {
		if seen[c.Name] {
			problems.Add(diag.GateDuplicate, c.Pos, "", "there are two claims %q", c.Name)
		}
		seen[c.Name] = true
		if w := c.Waiver; w != nil && (w.Owner == "" || w.Reason == "" || w.Expires.IsZero()) {
			problems.Add(diag.GateWaiver, w.Pos, "", "the waiver of %q has no owner, no reason or no expiry", c.Name)
		}
		if c.Check() {
			g.claims = append(g.claims, compiled{Claim: c})
			continue
		}
		expr, p := Parse(c.Text, c.Pos)
		if p == nil {
			p = expr.unknown(c, names)
		}
		problems = append(problems, p...)
		g.claims = append(g.claims, compiled{c, expr})
	}
	return g, problems.Err()
}

// unknown are the names in a claim that do not exist.
func (e Expr) unknown(c Claim, names Names) diag.List {
	var out diag.List
	look := func(n *node, kind, name string, known []string) {
		if len(known) == 0 || slices.Contains(known, name) {
			return
		}
		message := fmt.Sprintf("there is no %s %q", kind, name)
		if name == "" {
			message = fmt.Sprintf("it is not said of which %s", kind)
		}
		out.Add(diag.GateUnknown, shift(c.Pos, n.at), diag.Suggest(name, "there are", known), "%s", message)
	}
	e.metrics(func(n *node) {
		look(n, "metric", n.metric, names.Metrics)
		look(n, "cell", n.cellIn(c.Cell), names.Cells)
	})
	return out
}

// Status is what came of a claim.
type Status string

// The statuses.
const (
	Pass    Status = "PASS"    // it holds
	Fail    Status = "FAIL"    // it does not
	Unknown Status = "UNKNOWN" // it cannot be told
	Invalid Status = "INVALID" // it rests on evidence that was not attested
)

// Finding is what came of one claim.
type Finding struct {
	Name   string `json:"name"`
	Text   string `json:"text"`
	Cell   string `json:"cell,omitempty"`
	Status Status `json:"status"`
	// Check tells that it is the answer of a program, and has no sides.
	Check bool `json:"check,omitempty"`
	// Why says what stands in the way of an answer; of a check what it said.
	Why string `json:"why,omitempty"`
	// Left and Right are what the two sides came to.
	Left  Side `json:"left"`
	Right Side `json:"right"`
	// Trials are the ones that the values come from, sorted.
	Trials []string `json:"trials"`
	// Waiver is the claim's, Waived tells whether it is needed and counts, and
	// Expired whether it is needed and its time is over.
	Waiver  *waiver.Waiver `json:"waiver,omitempty"`
	Waived  bool           `json:"waived,omitempty"`
	Expired bool           `json:"expired,omitempty"`
}

// Report is what came of a gate, in the order of its claims.
type Report struct{ Findings []Finding }

// Judge holds the claims against the values of the metrics, at a time.
func (g Gate) Judge(evidence Evidence, now time.Time) Report {
	var r Report
	for _, c := range g.claims {
		var f Finding
		if c.Check() {
			f = g.checked(c)
		} else {
			f = c.expr.judge(c.Cell, evidence)
		}
		f.Name, f.Text, f.Cell, f.Waiver = c.Name, c.Text, c.Cell, c.Waiver
		if c.Waiver != nil && (f.Status == Fail || f.Status == Unknown) {
			f.Waived = c.Waiver.Counts(now)
			f.Expired = !f.Waived
		}
		r.Findings = append(r.Findings, f)
	}
	return r
}

// Err is nil when every claim passes or is waived. Otherwise its kind, and so
// the exit code, is that of the worst claim: diag.Evidence (9) before diag.Gate
// (7) before diag.Undecided (8). A gate without claims is undecided.
func (r Report) Err() error {
	kinds := map[Status]diag.Kind{Invalid: diag.Evidence, Fail: diag.Gate, Unknown: diag.Undecided}
	words := map[Status]string{Invalid: "invalid", Fail: "failed", Unknown: "undecided"}
	if len(r.Findings) == 0 {
		return diag.Errorf(diag.Undecided, "write some under gates: in the lab file", "gate: there are no claims")
	}
	count := map[Status]int{}
	worst, bad := diag.Undecided, false
	for _, f := range r.Findings {
		if f.Status != Pass && !f.Waived {
			count[f.Status]++
			worst, bad = diag.Worst(worst, kinds[f.Status]), true
		}
	}
	if !bad {
		return nil
	}
	var parts []string
	for _, s := range []Status{Invalid, Fail, Unknown} {
		if n := count[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, words[s]))
		}
	}
	return diag.Errorf(worst, "", "gate: of %d claims %s", len(r.Findings), strings.Join(parts, ", "))
}
