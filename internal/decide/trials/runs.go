package trials

import (
	"fmt"
	"math"
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// Run is one recorded run that serves as a trial.
type Run struct {
	ID      string
	Summary *summary.Summary
}

// Runs are the trials of an experiment, by the ids of cells.
type Runs map[string][]Run

// Evidence is what runs tell of metrics, and of the [Fingerprint], in the cells of an
// experiment.
//
// An exact metric, and a near-exact one, is what was seen: from its least to its
// greatest value. A timed one is the interval of its middle, for which two runs
// are needed. Runs that were cut short tell "at least". A metric that differs
// inside an A/A pair by more than its kind allows is taken for a timed one, and a
// warning says so.
//
// The evidence is not valid when the runs of the experiment had several versions
// of the daemon, when a run of a cold cell found steps made, and when a run
// skipped or retagged images, unless skipping is a factor: that measures nothing.
func Evidence(e *experiment.Experiment, runs Runs) (gate.Evidence, []stat.Warning) {
	s := &seen{e: e, runs: runs, versions: versions(runs)}
	demoted, warnings := runs.Demoted(e)
	s.demoted = demoted
	return s.value, warnings
}

// seen answers for the runs.
type seen struct {
	e        *experiment.Experiment
	runs     Runs
	demoted  map[string]stat.Metric
	versions []string
	// attested is true when the runs were held against what they were meant to be
	// with more than their summaries.
	attested bool
}

// versions are those of the daemons of all runs, sorted; a run that used none has
// none.
func versions(runs Runs) []string {
	var out []string
	for _, list := range runs {
		for _, r := range list {
			if v := r.Summary.Versions[Daemon]; v != "" {
				out = append(out, v)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Daemon is the name of the daemon among a summary's versions.
const Daemon = "buildkit"

// Values are a metric's in a cell, in the order of its runs. Lacking counts the
// runs that do not tell it.
func (r Runs) Values(m metric.Metric, cell string) (values []stat.Value, lacking int) {
	for _, r := range r[cell] {
		if v, ok := m.Of(r.Summary); ok {
			values = append(values, v)
		} else {
			lacking++
		}
	}
	return values, lacking
}

// Demoted are the metrics that differ inside an A/A pair by more than their kind
// allows, as the timed metrics for which they are then taken, by name; with a
// warning for each, in the order of the summary.
func (r Runs) Demoted(e *experiment.Experiment) (map[string]stat.Metric, []stat.Warning) {
	demoted, warnings := map[string]stat.Metric{}, []stat.Warning{}
	for _, m := range metric.All() {
		for _, c := range e.Cells {
			if !c.Control {
				continue
			}
			again, _ := r.Values(m, c.ID())
			c.Control = false
			once, _ := r.Values(m, c.ID())
			if len(once) == 0 || len(again) == 0 {
				continue
			}
			if as, w := stat.Demote(m.Metric, append(once, again...)); w != nil {
				demoted[m.Name] = as
				warnings = append(warnings, *w)
				break
			}
		}
	}
	return demoted, warnings
}

// value is the gate's view of a metric in a cell.
func (s *seen) value(name, cell string) (gate.Value, bool) {
	m, known := metric.Find(name)
	c, there := s.e.Cell(cell)
	if !known && name != Fingerprint || !there {
		return gate.Value{}, false
	}
	var out gate.Value
	for _, r := range s.runs[cell] {
		out.Trials = append(out.Trials, r.ID)
		if why := s.unattested(c, r.Summary); why != "" && !s.attested && out.Unattested == "" {
			out.Unattested = "run " + r.ID + ": " + why
		}
	}
	if len(s.versions) > 1 && out.Trials != nil && out.Unattested == "" {
		out.Unattested = fmt.Sprintf("the runs have daemons of the versions %v", s.versions)
	}
	if len(out.Trials) == 0 {
		out.Lacks = "no run is given for this cell"
		return out, true
	}
	if name == Fingerprint {
		fingerprint(s.runs[cell], &out)
		return out, true
	}
	values, lacking := s.runs.Values(m, cell)
	switch {
	case lacking > 0:
		out.Lacks = fmt.Sprintf("%d of %d runs do not tell it", lacking, len(out.Trials))
	default:
		if as, ok := s.demoted[m.Name]; ok {
			m.Metric = as
		}
		bounds(m, values, &out)
	}
	return out, true
}

// bounds fills in what the values come to.
func bounds(m metric.Metric, values []stat.Value, out *gate.Value) {
	low, high, cut := values[0].V, values[0].V, false
	for _, v := range values {
		low, high, cut = min(low, v.V), max(high, v.V), cut || v.Censored
	}
	if cut {
		high = math.Inf(1)
	}
	switch {
	case m.Kind != stat.Timed || cut || high == 0: // where no time was spent, there is no spread
		out.Low, out.High = low, high
	default:
		r, ok := stat.Middle(values, 0)
		if !ok {
			out.Lacks = "one run tells nothing of the spread of times"
			if len(values) > 1 {
				out.Lacks = "a value is not above 0, so its spread is not known"
			}
		}
		out.Low, out.High = r.Low, r.High
	}
}

// unattested says why a run is no trial of a cell; empty when nothing speaks
// against it.
func (s *seen) unattested(c experiment.Cell, r *summary.Summary) string {
	t := r.Temperature
	switch {
	case r.Skipped+r.Retagged > 0 && !s.e.Skips(c.Levels):
		return fmt.Sprintf("%d images were in place already, and were not built", r.Skipped+r.Retagged)
	case c.Temperature != experiment.Cold:
		return ""
	case t == nil && (r.StepsCached == nil || *r.StepsCached > 0): // appended images have no temperature
		return "its journal does not say what it found made"
	case t != nil && t.Warm+t.Partial > 0:
		return fmt.Sprintf("it was not cold: %d images found steps made", t.Warm+t.Partial)
	}
	return ""
}
