// Package answer says what the trials of an experiment tell: how two cells
// differ, which factor does it, and what came of every claim.
//
// It adds nothing to what packages stat, attribute, bisect and gate decide: it
// chooses the trials that may be asked, and refuses those that may not. Trials
// that are contaminated never count, and are listed. Everything is a pure function
// of the experiment and of its trials.
package answer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// Trials are those of an experiment that have ended. Make them with [New]. They
// do not change, and may be asked from several goroutines.
type Trials struct {
	e       *experiment.Experiment
	results trials.Results
	runs    trials.Runs // those that count
	demoted map[string]stat.Metric
	// Warnings are the metrics that are not what they were taken for: demoted
	// because they differ inside an A/A pair, or dead because they never moved
	// although somebody expects them to.
	Warnings []stat.Warning
	// Checks are what came of the experiment's checks, by the names of claims; one
	// that is not there was not run.
	Checks map[string]gate.Result
}

// New returns the trials of an experiment.
func New(e *experiment.Experiment, results trials.Results) *Trials {
	t := &Trials{e: e, results: results, runs: results.Runs()}
	t.demoted, t.Warnings = t.runs.Demoted(e)
	t.dead()
	return t
}

// Asked are the metrics that the experiment asks for, by themselves and in its
// claims, in that order; the executed steps and the wall time when it asks for
// none.
func Asked(e *experiment.Experiment) []metric.Metric {
	names := slices.Clone(e.Metrics)
	for _, c := range e.Claims {
		for _, u := range trials.Uses(c) {
			names = append(names, u.Metric)
		}
	}
	var out []metric.Metric
	add := func(name string) {
		m, ok := metric.Find(name)
		if ok && !slices.ContainsFunc(out, func(o metric.Metric) bool { return o.Name == m.Name }) {
			out = append(out, m)
		}
	}
	for _, n := range names {
		add(n)
	}
	if len(out) == 0 {
		add("stepsExecuted")
		add("wallSeconds")
	}
	return out
}

// dead warns of metrics that are expected to move and do not: those that the
// experiment asks for by themselves, and those of which a claim compares two
// cells, unless it says that they are equal.
func (t *Trials) dead() {
	expected := slices.Clone(t.e.Metrics)
	for _, c := range t.e.Claims {
		expr, problems := gate.Parse(c.Text, c.Pos)
		if problems != nil || expr.Op() == "==" {
			continue
		}
		list := expr.Uses(c.Cell)
		for i, u := range list {
			if slices.ContainsFunc(list[:i], func(v gate.Use) bool { return v.Metric == u.Metric && v.Cell != u.Cell }) {
				expected = append(expected, u.Metric)
			}
		}
	}
	seen := map[string]bool{}
	for _, name := range expected {
		m, ok := metric.Find(name)
		if !ok || seen[m.Name] {
			continue
		}
		seen[m.Name] = true
		var cells [][]stat.Value
		for _, c := range t.e.Cells {
			if !c.Control {
				values, _ := t.runs.Values(m, c.ID())
				cells = append(cells, values)
			}
		}
		if w := stat.Still(m.Metric, cells...); w != nil {
			t.Warnings = append(t.Warnings, *w)
		}
	}
}

// as is the metric as it is judged here: demoted ones are timed.
func (t *Trials) as(m metric.Metric) metric.Metric {
	if d, ok := t.demoted[m.Name]; ok {
		m.Metric = d
	}
	return m
}

// conditions are those of a cell's trials that count. Trials of unlike conditions
// are an error of kind diag.Usage that names two of them and wraps a
// [*stat.Refusal]. False when no trial counts.
func (t *Trials) conditions(cell string) (stat.Conditions, bool, error) {
	var first *trials.Outcome
	for _, o := range t.Counted(cell) {
		if first == nil {
			first = &o
			continue
		}
		if err := first.Conditions.Against(o.Conditions); err != nil {
			return stat.Conditions{}, false, fmt.Errorf("cell %s, %s and %s: %w", cell, first.ID, o.ID, err)
		}
	}
	if first == nil {
		return stat.Conditions{}, false, nil
	}
	return first.Conditions, true, nil
}

// Experiment is the one that the trials belong to.
func (t *Trials) Experiment() *experiment.Experiment { return t.e }

// Exact tells whether a metric is no time, and the trials of every cell agree on it.
func (t *Trials) Exact(m metric.Metric) bool {
	if t.as(m).Kind == stat.Timed {
		return false
	}
	for _, c := range t.e.Cells {
		values := t.values(m, c.ID(), "")
		for _, v := range values {
			if v != values[0] {
				return false
			}
		}
	}
	return true
}

// Zero tells whether a metric is 0 in every trial that tells it.
func (t *Trials) Zero(m metric.Metric) bool {
	for _, c := range t.e.Cells {
		for _, v := range t.values(m, c.ID(), "") {
			if v.V != 0 {
				return false
			}
		}
	}
	return true
}

// Counted are the trials of a cell that count, in the order of their ids.
func (t *Trials) Counted(cell string) trials.Results {
	return slices.DeleteFunc(t.results.Of(cell), func(o trials.Outcome) bool { return len(o.Faults) > 0 || o.Summary == nil })
}

// differences are what differs between conditions.
func differences(a, b stat.Conditions) []stat.Difference {
	var r *stat.Refusal
	if errors.As(a.Against(b), &r) {
		return r.Differences
	}
	return nil
}

// refuse makes an error of what differs, nil when nothing does.
func refuse(d []stat.Difference) error {
	if len(d) == 0 {
		return nil
	}
	return diag.Errorf(diag.Usage, "compare trials that differ only in what the question is about", "%w", &stat.Refusal{Differences: d})
}

// knob tells whether a setting of the build is a factor that differs.
func (t *Trials) knob(target string, differ []string) bool {
	return slices.ContainsFunc(differ, func(name string) bool {
		f, ok := t.e.Factor(name)
		return ok && f.Kind == experiment.Knob && f.Target == target
	})
}

// ids are the names of trials.
func ids(r trials.Results) []string {
	out := []string{}
	for _, o := range r {
		out = append(out, o.ID)
	}
	return out
}
