package answer

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/explain"
	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Version is the version of a report's JSON form.
const Version = 1

// Report is everything that an experiment says.
type Report struct {
	V          int          `json:"v"`
	Experiment string       `json:"experiment"`
	Digest     graph.Digest `json:"digest"`
	// Status is that of the worst claim that is not waived; UNKNOWN when there is
	// no claim.
	Status gate.Status `json:"status"`
	Tally  Tally       `json:"trials"`
	// Causes answer for each metric that the experiment asks for, at each
	// temperature of which there are cells. NotAsked says why it cannot be asked at
	// all.
	Causes   []*Attribution `json:"causes"`
	NotAsked []string       `json:"notAsked,omitempty"`
	Misses   []Missed       `json:"misses"`
	Grid     Grid           `json:"grid"`
	Pairs    []*Comparison  `json:"pairs"`
	Refused  []Refused      `json:"refused,omitempty"`
	Searches []Strip        `json:"searches"`
	// Gates are the experiment's, Findings what came of each claim.
	Gates       []Gated        `json:"gates"`
	Findings    []gate.Finding `json:"findings"`
	Predictions []Predicted    `json:"predictions"`
	// Contaminated are the trials that do not count.
	Contaminated trials.Results `json:"contaminated"`
	Warnings     []stat.Warning `json:"warnings"`
	// Caveats are what the plan warns of, and Unchecked what nobody looked at.
	Caveats   diag.List `json:"caveats"`
	Unchecked []string  `json:"unchecked,omitempty"`
	// Replay is the command that shows it again.
	Replay string `json:"replay"`
}

// Tally counts trials. Missing are those that were planned and have no outcome.
type Tally struct {
	Planned      int `json:"planned"`
	Counted      int `json:"counted"`
	Contaminated int `json:"contaminated"`
	Missing      int `json:"missing"`
}

// Gated is what came of the claims of a gate.
type Gated struct {
	Name   string      `json:"name"`
	Status gate.Status `json:"status"`
	Claims int         `json:"claims"`
	Passed int         `json:"passed"`
}

// Predicted is what somebody expected of a claim, and what came of it.
type Predicted struct {
	Claim   string      `json:"claim"`
	Holds   bool        `json:"holds"`
	Because string      `json:"because,omitempty"`
	Status  gate.Status `json:"status"`
	// Right is null when the claim is not decided.
	Right *bool `json:"right"`
}

// Missed is why a trial's steps were not cached, although it started from what an
// earlier build left.
type Missed struct {
	Cell   string          `json:"cell"`
	Trial  string          `json:"trial"`
	Report *explain.Report `json:"report"`
}

// Options are what a report needs beside the trials.
type Options struct {
	// Now is the time at which waivers are held against their expiry.
	Now time.Time
	// Facts are for the plan's warnings.
	Facts trials.Facts
	// Key is the metric of the grid; the first one that is asked for when it has no
	// name.
	Key metric.Metric
	// Show writes a difference of a unit; nil writes plain numbers.
	Show     func(metric.Unit, float64) string
	Searches []Strip
	Misses   []Missed
	Replay   string
}

// Report says everything. The error says how a command that shows it ends: it is
// nil when all claims pass or are waived and all trials count; its kind is
// diag.Evidence when a trial is contaminated or a claim rests on nothing valid,
// diag.Gate when a claim fails, diag.Undecided when one is open.
func (t *Trials) Report(o Options) (*Report, error) {
	plan := trials.Make(t.e, o.Facts)
	r := &Report{
		V: Version, Experiment: t.e.Name, Digest: t.e.Digest(), Searches: append([]Strip{}, o.Searches...), Misses: append([]Missed{}, o.Misses...),
		Gates: []Gated{}, Findings: []gate.Finding{}, Predictions: []Predicted{}, Warnings: append([]stat.Warning{}, t.Warnings...),
		Caveats: plan.Warnings, Unchecked: plan.Unchecked, Replay: o.Replay,
	}
	r.Caveats = append(r.Caveats, plan.Refusals...)
	bad, evidence := t.Contaminated()
	r.Contaminated = bad
	r.Tally = Tally{Planned: len(plan.Trials), Counted: len(t.results) - len(bad), Contaminated: len(bad)}
	for _, p := range plan.Trials {
		if !slices.ContainsFunc(t.results, func(o trials.Outcome) bool { return o.ID == p.ID }) {
			r.Tally.Missing++
		}
	}
	err := t.judge(r, o.Now)
	t.causes(r, o.Show)
	r.Pairs, r.Refused = t.Pairs()
	if o.Key.Name == "" {
		o.Key = Asked(t.e)[0]
	}
	r.Grid = t.Grid(o.Key)
	return r, Worst(err, evidence)
}

// Worst is the error that decides the exit code, with the texts of both.
func Worst(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return diag.Errorf(diag.Worst(diag.KindOf(a), diag.KindOf(b)), "", "%w; %w", a, b)
}

// Judge holds claims against the trials that count, at a time. The error is that
// of the worst claim (see [gate.Report.Err]), and of kind diag.Evidence when a
// trial of a cell that the claims speak of is contaminated.
func (t *Trials) Judge(claims []experiment.Claim, now time.Time) (gate.Report, trials.Results, error) {
	g, err := gate.New(claims, gate.Names{})
	if err != nil {
		return gate.Report{}, nil, err
	}
	value, _ := t.results.Evidence(t.e)
	report := g.With(t.Checks).Judge(value, now)
	var cells []string
	for _, c := range claims {
		for _, u := range trials.Uses(c) {
			cells = append(cells, u.Cell)
		}
	}
	if len(cells) == 0 {
		return report, nil, report.Err()
	}
	bad, evidence := t.Contaminated(cells...)
	return report, bad, Worst(report.Err(), evidence)
}

// judge fills in what came of claims, gates and predictions.
func (t *Trials) judge(r *Report, now time.Time) error {
	if len(t.e.Claims) == 0 {
		r.Status = gate.Unknown
		return nil // nothing is claimed, and so nothing is open
	}
	report, _, err := t.Judge(t.e.Claims, now)
	if len(report.Findings) == 0 {
		return err
	}
	r.Findings = report.Findings
	r.Status, _, _ = worst(report.Findings)
	status := map[string]gate.Status{}
	for _, f := range report.Findings {
		status[f.Name] = f.Status
	}
	for _, g := range t.e.Gates {
		of := slices.DeleteFunc(slices.Clone(report.Findings), func(f gate.Finding) bool { return !slices.Contains(g.Claims, f.Name) })
		s, claims, passed := worst(of)
		r.Gates = append(r.Gates, Gated{g.Name, s, claims, passed})
	}
	for _, p := range t.e.Predictions {
		row := Predicted{Claim: p.Claim, Holds: p.Holds, Because: p.Because, Status: status[p.Claim]}
		if row.Status == gate.Pass || row.Status == gate.Fail {
			right := p.Holds == (row.Status == gate.Pass)
			row.Right = &right
		}
		r.Predictions = append(r.Predictions, row)
	}
	return err
}

// worst is the status of claims together; those that are waived count as passed.
func worst(findings []gate.Finding) (s gate.Status, claims, passed int) {
	s = gate.Pass
	order := []gate.Status{gate.Pass, gate.Unknown, gate.Fail, gate.Invalid}
	for _, f := range findings {
		is := f.Status
		if f.Waived {
			is = gate.Pass
		}
		if is == gate.Pass {
			passed++
		}
		if slices.Index(order, is) > slices.Index(order, s) {
			s = is
		}
	}
	return s, len(findings), passed
}

// causes attributes every metric that is asked for, at every temperature of which
// there is more than one cell.
func (t *Trials) causes(r *Report, show func(metric.Unit, float64) string) {
	r.Causes = []*Attribution{}
	if len(t.e.Factors) == 0 {
		return
	}
	for _, temperature := range experiment.Temperatures() {
		cells := map[string]bool{}
		for _, c := range t.e.Cells {
			if c.Temperature == temperature && !c.Control {
				cells[c.Setting] = true
			}
		}
		if len(cells) < 2 && (len(cells) == 0 || temperature != experiment.Bump) {
			continue
		}
		for _, m := range Asked(t.e) {
			q := Question{Metric: m, Temperature: temperature}
			if show != nil {
				q.Show = func(v float64) string { return show(m.Unit, v) }
			}
			a, err := t.Attribute(q)
			var refusal *stat.Refusal
			switch {
			case errors.As(err, &refusal):
				r.NotAsked = append(r.NotAsked, fmt.Sprintf("%s, %s: %v", m.Name, temperature, err))
			case err != nil:
				r.NotAsked = append(r.NotAsked, err.Error())
				return // it is so for every metric
			default:
				r.Causes = append(r.Causes, a)
			}
		}
	}
}
