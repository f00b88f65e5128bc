package trials

import (
	"fmt"
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Outcome is a trial that has ended: what is kept of it beside its run.
type Outcome struct {
	Trial
	V int `json:"v"`
	// Experiment is the digest of the experiment that it belongs to.
	Experiment graph.Digest `json:"experiment"`
	// Run is the id of its run, and Exit the exit code of the program that made it.
	Run  string `json:"run"`
	Exit int    `json:"exit"`
	Host Host   `json:"host"`
	// PublishedBytes are the sizes of the images that it published, bases included,
	// as the registry has them; null when they are not known.
	PublishedBytes *int64 `json:"publishedBytes,omitempty"`
	// Conditions are those that the evidence shows, not those that were asked for.
	Conditions stat.Conditions `json:"conditions"`
	Evidence   Seen            `json:"evidence"`
	// Faults are why it does not count; a trial without one does.
	Faults []Fault `json:"faults"`
	// Summary is that of its run; nil when it left none. It is kept with the run.
	Summary *summary.Summary `json:"-"`
}

// OutcomeVersion is the version of an outcome's JSON form.
const OutcomeVersion = 1

// Host is the machine that a trial ran on, and how busy it was when it began.
type Host struct {
	Name   string  `json:"name"`
	CPUs   int     `json:"cpus"`
	Kernel string  `json:"kernel"`
	Load   float64 `json:"load"` // mean number of runnable tasks over a minute
}

// Results are the trials of an experiment that have ended, in the order of their
// ids.
type Results []Outcome

// Runs are those that count, by cell.
func (r Results) Runs() Runs {
	out := Runs{}
	for _, o := range r {
		if len(o.Faults) == 0 && o.Summary != nil {
			out[o.Cell] = append(out[o.Cell], Run{ID: o.ID, Summary: o.Summary})
		}
	}
	return out
}

// Contaminated are those that do not count.
func (r Results) Contaminated() Results {
	return slices.DeleteFunc(slices.Clone(r), func(o Outcome) bool { return len(o.Faults) == 0 })
}

// Of are the trials of a cell.
func (r Results) Of(cell string) Results {
	return slices.DeleteFunc(slices.Clone(r), func(o Outcome) bool { return o.Cell != cell })
}

// Evidence is what the trials that count tell of metrics in the cells of an
// experiment; see the function [Evidence]. They were attested, so nothing is
// concluded from their summaries. Of a cell of which no trial counts, and some do
// not, the evidence is not valid.
func (r Results) Evidence(e *experiment.Experiment) (gate.Evidence, []stat.Warning) {
	runs := r.Runs()
	s := &seen{e: e, runs: runs, versions: versions(runs), attested: true}
	demoted, warnings := runs.Demoted(e)
	s.demoted = demoted
	return func(metric, cell string) (gate.Value, bool) {
		v, ok := s.value(metric, cell)
		bad := r.Of(cell).Contaminated()
		if !ok || len(runs[cell]) > 0 || len(bad) == 0 {
			return v, ok
		}
		for _, o := range bad {
			v.Trials = append(v.Trials, o.ID)
		}
		v.Unattested = fmt.Sprintf("trial %s: %s", bad[0].ID, bad[0].Faults[0].Detail)
		v.Lacks = "no trial of the cell counts"
		return v, true
	}, warnings
}
