// Package metric names what can be measured of a run: the figures of its
// summary, under the names that they have there, with what may be assumed of
// each, and what a run that was cut short still tells.
package metric

import (
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
)

// Unit is what a metric counts.
type Unit string

// The units.
const (
	Count   Unit = "count"
	Bytes   Unit = "bytes"
	Seconds Unit = "seconds"
	Ratio   Unit = "ratio"
	Rate    Unit = "images/h"
)

// Metric is one figure of a run.
type Metric struct {
	stat.Metric
	// Short is another name for it; may be empty.
	Short string
	Unit  Unit
	// Grows is true when the figure only grows while a run goes on. Of a run that
	// was cut short it is then "at least"; any other says nothing.
	Grows bool
	of    func(*summary.Summary) (float64, bool)
}

// The tolerance of near-exact metrics, and the margin of timed ones.
const (
	tolerance = 0.02
	margin    = 0.05
)

// All lists every metric with a fixed name, in the order of the summary.
// [Find] also knows phaseSeconds.PHASE.
func All() []Metric {
	exact := func(name string, unit Unit, grows bool, of func(*summary.Summary) (float64, bool)) Metric {
		return Metric{Metric: stat.Metric{Name: name, Kind: stat.Exact}, Unit: unit, Grows: grows, of: of}
	}
	near := func(name string, grows bool, of func(*summary.Summary) (float64, bool)) Metric {
		return Metric{Metric: stat.Metric{Name: name, Kind: stat.NearExact, Tolerance: tolerance}, Unit: Bytes, Grows: grows, of: of}
	}
	rate := timed("imagesPerHour", Rate, false, perHour)
	rate.Higher = true
	return []Metric{
		exact("images", Count, false, func(s *summary.Summary) (float64, bool) { return float64(s.Images), true }),
		exact("built", Count, true, func(s *summary.Summary) (float64, bool) { return float64(s.Built), true }),
		exact("skipped", Count, true, func(s *summary.Summary) (float64, bool) { return float64(s.Skipped), true }),
		exact("retagged", Count, true, func(s *summary.Summary) (float64, bool) { return float64(s.Retagged), true }),
		exact("failed", Count, false, func(s *summary.Summary) (float64, bool) { return float64(s.Failed), true }),
		exact("pending", Count, false, func(s *summary.Summary) (float64, bool) { return float64(s.Pending), true }),
		timed("wallSeconds", Seconds, true, func(s *summary.Summary) (float64, bool) { return known(s.WallSeconds) }).called("wall"),
		rate,
		exact("stepsExecuted", Count, true, func(s *summary.Summary) (float64, bool) { return known(s.StepsExecuted) }).called("executed"),
		exact("stepsCached", Count, true, func(s *summary.Summary) (float64, bool) { return known(s.StepsCached) }).called("cached"),
		exact("stepsDistinct", Count, false, func(s *summary.Summary) (float64, bool) { return known(s.StepsDistinct) }),
		exact("rework", Ratio, false, func(s *summary.Summary) (float64, bool) { return known(s.Rework) }),
		exact("repull", Ratio, true, func(s *summary.Summary) (float64, bool) { return known(s.Repull) }),
		near("diskPeakBytes", true, func(s *summary.Summary) (float64, bool) { return known(s.DiskPeakBytes) }).called("disk.peak"),
		near("diskFinalBytes", false, func(s *summary.Summary) (float64, bool) { return known(s.DiskFinalBytes) }).called("disk.final"),
		exact("diskBudgetBytes", Bytes, false, func(s *summary.Summary) (float64, bool) { return known(s.DiskBudgetBytes) }).called("budget"),
		near("releasedBytes", true, func(s *summary.Summary) (float64, bool) { return known(s.ReleasedBytes) }),
		timed("releaseSeconds", Seconds, true, func(s *summary.Summary) (float64, bool) { return known(s.ReleaseSeconds) }),
		exact("bytesPulled", Bytes, true, func(s *summary.Summary) (float64, bool) { return known(s.BytesPulled) }),
		exact("bytesPushed", Bytes, true, func(s *summary.Summary) (float64, bool) { return known(s.BytesPushed) }),
		exact("bytesMounted", Bytes, true, func(s *summary.Summary) (float64, bool) { return known(s.BytesMounted) }),
		exact("requests", Count, true, requests),
		exact("retries", Count, true, func(s *summary.Summary) (float64, bool) { return known(s.Retries) }),
		exact("mountsRefused", Count, true, func(s *summary.Summary) (float64, bool) { return known(s.MountsRefused) }),
	}
}

func timed(name string, unit Unit, grows bool, of func(*summary.Summary) (float64, bool)) Metric {
	return Metric{Metric: stat.Metric{Name: name, Kind: stat.Timed, Margin: margin}, Unit: unit, Grows: grows, of: of}
}

func (m Metric) called(short string) Metric {
	m.Short = short
	return m
}

// known is a figure that may be null.
func known[N int64 | float64](n *N) (float64, bool) {
	if n == nil {
		return 0, false
	}
	return float64(*n), true
}

// perHour counts images that were built, and not those that were skipped.
func perHour(s *summary.Summary) (float64, bool) {
	if s.WallSeconds == nil || *s.WallSeconds <= 0 {
		return 0, false
	}
	return float64(s.Built) * 3600 / *s.WallSeconds, true
}

func requests(s *summary.Summary) (float64, bool) {
	sum := int64(0)
	for _, n := range s.Requests {
		sum += n
	}
	return float64(sum), s.Requests != nil
}

// phasePrefix is the beginning of the names of phases' times.
const phasePrefix = "phaseSeconds."

// Phases lists the phases of runs, observed ones included.
func Phases() []string {
	return []string{"prepare", "resolve", "plan", "shared", "images", "publish", "release", "prune", "between"}
}

// Every lists every metric: [All], and the times of the [Phases].
func Every() []Metric {
	out := All()
	for _, p := range Phases() {
		m, _ := Find(phasePrefix + p)
		out = append(out, m)
	}
	return out
}

// Find returns the metric of a name: that of the summary, the short one, or
// phaseSeconds.PHASE.
func Find(name string) (Metric, bool) {
	if phase, ok := strings.CutPrefix(name, phasePrefix); ok && slices.Contains(Phases(), phase) {
		return timed(name, Seconds, true, func(s *summary.Summary) (float64, bool) {
			v, ok := s.PhaseSeconds[phase]
			return v, ok
		}), true
	}
	for _, m := range All() {
		if name != "" && (m.Name == name || m.Short == name) {
			return m, true
		}
	}
	return Metric{}, false
}

// Names lists every name that [Find] knows.
func Names() []string {
	var out []string
	for _, m := range All() {
		out = append(out, m.Name)
		if m.Short != "" {
			out = append(out, m.Short)
		}
	}
	for _, p := range Phases() {
		out = append(out, phasePrefix+p)
	}
	return out
}

// Cut tells whether a run was cut short: it was interrupted, killed, or goes on.
func Cut(s *summary.Summary) bool { return s.Exit == nil || *s.Exit == 130 }

// Of is the metric's value in a run; false when the run does not tell it. That
// of a run that was cut short is censored.
func (m Metric) Of(s *summary.Summary) (stat.Value, bool) {
	v, ok := m.of(s)
	cut := Cut(s)
	if !ok || cut && !m.Grows {
		return stat.Value{}, false
	}
	return stat.Value{V: v, Censored: cut}, true
}
