package text

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
)

// Compared is what came of comparisons of cells, as JSON shows it.
type Compared struct {
	Pairs   []*answer.Comparison `json:"pairs"`
	Refused []answer.Refused     `json:"refused,omitempty"`
	// Warnings are about metrics, Contaminated the trials that were left out.
	Warnings     []stat.Warning `json:"warnings"`
	Contaminated trials.Results `json:"contaminated"`
}

// Comparisons renders how cells differ: what changed first, what cannot be told
// next, and what is the same in one line.
func Comparisons(w io.Writer, c Compared, o Options) error {
	g := newPage(o)
	for i, p := range c.Pairs {
		if i > 0 {
			g.blank()
		}
		comparison(g, p)
	}
	for _, r := range c.Refused {
		g.item(amber, "not compared: ", r.B+" with "+r.A+": "+r.Why)
	}
	if len(c.Pairs)+len(c.Refused) == 0 {
		g.line(plain, "no two cells with trials differ in one factor")
	}
	metricWarnings(g, c.Warnings)
	contaminated(g, c.Contaminated)
	return g.to(w)
}

func comparison(g *page, c *answer.Comparison) {
	g.para(bold, "", fmt.Sprintf("%s against %s: %s; %s and %s", c.B.Cell, c.A.Cell, differ(c),
		counted(int64(len(c.B.Trials)), "trial"), counted(int64(len(c.A.Trials)), "trial")))
	wide := 0
	for _, m := range c.Metrics {
		wide = max(wide, width(m.Metric))
	}
	wide = min(wide, g.o.Width/2-12)
	var same []string
	for _, verdicts := range [][]stat.Verdict{{stat.Regressed, stat.Changed, stat.Improved}, {stat.Unknown}, {stat.Same}} {
		for _, m := range c.Metrics {
			switch {
			case !among(m.Verdict, verdicts):
			case m.Verdict == stat.Same:
				same = append(same, m.Metric)
			default:
				g.para(mark(m), pad(string(m.Verdict), 9)+"  "+pad(m.Metric, wide)+"  ", outcomeOf(m))
			}
		}
	}
	if same != nil {
		g.para(plain, "SAME       ", strings.Join(same, ", "))
	}
	if len(c.Hosts) > 0 {
		g.para(dim, "           ", "times are compared inside each host: "+strings.Join(c.Hosts, ", "))
	}
	for _, a := range c.Apart {
		g.para(amber, "not compared: ", strings.Join(a.Metrics, ", ")+": "+a.Why)
	}
}

func among(v stat.Verdict, list []stat.Verdict) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

// differ says what the question about two cells is.
func differ(c *answer.Comparison) string {
	switch len(c.Differ) {
	case 0:
		return "the same thing"
	case 1:
		return c.Differ[0] + " differs"
	}
	return strings.Join(c.Differ, " and ") + " differ at once"
}

func mark(m answer.Metric) style {
	switch {
	case m.Verdict == stat.Regressed, m.Verdict == stat.Changed && m.Relevant:
		return red
	case m.Verdict == stat.Unknown:
		return amber
	}
	return plain
}

// outcomeOf says from what to what a metric went, and how sure that is.
func outcomeOf(m answer.Metric) string {
	s := values(m.Unit, m.Old) + ", then " + values(m.Unit, m.New)
	if m.Verdict == stat.Unknown {
		return s + ": " + doubt(m.Comparison)
	}
	return s + ": " + extent(m)
}

// extent is the size of a difference.
func extent(m answer.Metric) string {
	switch {
	case m.AtLeast > 0 && m.Verdict == stat.Regressed != (m.Unit == metric.Rate):
		return "at least " + times(m.AtLeast)
	case m.AtLeast > 0:
		return "at most " + times(1/m.AtLeast)
	case m.Ratio != nil:
		return fmt.Sprintf("%s (%s to %s)", times(m.Ratio.Value), threeDigits(m.Ratio.Low), threeDigits(m.Ratio.High))
	case m.Verdict == stat.Same:
		return "no difference"
	}
	s := Signed(m.Unit, m.Change)
	if !m.Relevant {
		s += ", less than what matters"
	}
	return s
}

func times(v float64) string { return threeDigits(v) + " times" }

// threeDigits renders a ratio in three digits.
func threeDigits(v float64) string {
	if v >= 1000 {
		return Count(int64(math.Round(v)))
	}
	return fmt.Sprintf("%.3g", v)
}

// doubt says why there is no verdict, and what would give one.
func doubt(c stat.Comparison) string {
	why := map[stat.Why]string{
		stat.Few: "too few trials", stat.Spread: "the trials scatter too much", stat.Family: "clear alone, not among so many questions",
		stat.Cut: "trials were cut short", stat.Unsteady: "trials of one cell differ", stat.NoNumber: "a value is not above 0",
	}[c.Why]
	if c.Ratio != nil {
		why = fmt.Sprintf("%s to %s times, ", threeDigits(c.Ratio.Low), threeDigits(c.Ratio.High)) + why
	}
	if c.More > 0 {
		why += fmt.Sprintf("; %s of each would settle it", counted(int64(c.More), "more trial"))
	}
	return why
}

// values renders the least and the greatest value of trials.
func values(u metric.Unit, list []stat.Value) string {
	if len(list) == 0 {
		return "nothing"
	}
	low, high, cut := list[0].V, list[0].V, false
	for _, v := range list {
		low, high, cut = min(low, v.V), max(high, v.V), cut || v.Censored
	}
	return between(u, low, high, cut)
}

// between renders values from the least to the greatest.
func between(u metric.Unit, low, high float64, cut bool) string {
	a, b := amount(u, low), amount(u, high)
	switch {
	case cut:
		return "at least " + a
	case a == b:
		return a
	}
	return a + " to " + b
}

// amount renders a value in its unit.
func amount(u metric.Unit, v float64) string {
	switch u {
	case metric.Bytes:
		return Bytes(int64(math.Round(v)))
	case metric.Seconds:
		return seconds(v)
	}
	return figure(v)
}

// Signed renders a difference in a unit, with its sign.
func Signed(u metric.Unit, v float64) string {
	return signed(v, func(v float64) string { return amount(u, v) })
}

// metricWarnings renders what is to be known of metrics.
func metricWarnings(g *page, list []stat.Warning) {
	for _, x := range list {
		g.item(amber, "warning: ", warning(x))
	}
}

func warning(x stat.Warning) string {
	if x.Code == stat.Dead {
		return fmt.Sprintf("%s is %s in every trial, although it should move: is it measured at all?", x.Metric, figure(x.Low))
	}
	return fmt.Sprintf("%s differs inside an A/A pair, from %s to %s, and is judged as a time is", x.Metric, figure(x.Low), figure(x.High))
}

// contaminated renders the trials that do not count, each with its first faults.
func contaminated(g *page, list trials.Results) {
	if len(list) == 0 {
		return
	}
	g.blank()
	g.line(red, counted(int64(len(list)), "contaminated trial")+", left out")
	for i, o := range list {
		if i == maxTrials && !g.o.Verbose {
			g.line(dim, fmt.Sprintf("  %d more; --json has all", len(list)-i))
			return
		}
		g.item(plain, "  ", o.ID+": "+faults(o))
	}
}

// faults is the first fault of a trial.
func faults(o trials.Outcome) string {
	if len(o.Faults) == 0 {
		return ""
	}
	f := o.Faults[0]
	s := fmt.Sprintf("%s [%s]", f.Detail, f.Code)
	if n := len(o.Faults) - 1; n > 0 {
		s += fmt.Sprintf(", and %s", counted(int64(n), "other fault"))
	}
	return s
}

// maxTrials is how many contaminated trials are shown.
const maxTrials = 12
