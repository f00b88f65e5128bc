package text

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/attribute"
	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/model/waiver"
)

// How much of a report is shown where more is known.
const (
	maxFound    = 5  // metrics with a cause
	maxSettings = 10 // rows of the grid
	maxMisses   = 3  // steps of a trial
	maxCaveats  = 6  // caveats
	maxPairs    = 10 // pairs of cells that differ
)

// LabReport renders what an experiment says, the answer first: verdict, causes,
// the grid of cells, and then what they rest on.
func LabReport(w io.Writer, r *answer.Report, o Options) error {
	g := newPage(o)
	g.para(statusStyle(r.Status), "", headline(r))
	g.para(plain, "trials  ", tally(r.Tally))
	reportCauses(g, r)
	cellGrid(g, r.Grid)
	for _, s := range r.Searches {
		strip(g, s)
	}
	for _, m := range r.Misses {
		missed(g, m)
	}
	claims(g, r)
	pairs(g, r)
	metricWarnings(g, r.Warnings)
	contaminated(g, r.Contaminated)
	caveats(g, r)
	if r.Replay != "" {
		g.blank()
		g.para(dim, "again  ", r.Replay)
	}
	return g.to(w)
}

func statusStyle(s gate.Status) style {
	switch s {
	case gate.Pass:
		return bold
	case gate.Unknown:
		return amber
	}
	return red
}

// headline is the verdict in a line.
func headline(r *answer.Report) string {
	if len(r.Findings) == 0 {
		return r.Experiment + ": nothing is claimed, so nothing is judged"
	}
	count, waived := map[gate.Status]int{}, 0
	for _, f := range r.Findings {
		if f.Waived {
			waived++
		} else {
			count[f.Status]++
		}
	}
	var parts []string
	for _, s := range []gate.Status{gate.Pass, gate.Fail, gate.Unknown, gate.Invalid} {
		if n := count[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	if waived > 0 {
		parts = append(parts, fmt.Sprintf("%d waived", waived))
	}
	return fmt.Sprintf("%s: %s; of %s %s", r.Experiment, r.Status, counted(int64(len(r.Findings)), "claim"), strings.Join(parts, ", "))
}

func tally(t answer.Tally) string {
	s := fmt.Sprintf("%d of %d count", t.Counted, t.Planned)
	if t.Contaminated > 0 {
		s += fmt.Sprintf(", %d contaminated", t.Contaminated)
	}
	if t.Missing > 0 {
		s += fmt.Sprintf(", %d not run yet", t.Missing)
	}
	return s
}

// reportCauses says which factors do it. What is answered comes first; what nothing
// changes is a line a temperature, and so is what is open, so that a matrix that is
// not whole does not hide what is known.
func reportCauses(g *page, r *answer.Report) {
	if len(r.Causes)+len(r.NotAsked) == 0 {
		return
	}
	g.blank()
	g.line(bold, "causes")
	var found, open, none []*answer.Attribution
	for _, a := range r.Causes {
		switch {
		case a.Verdict == attribute.None:
			none = append(none, a)
		case a.Verdict == attribute.Open && !g.o.Verbose:
			open = append(open, a)
		default:
			found = append(found, a)
		}
	}
	more := 0
	if len(found) > maxFound && !g.o.Verbose {
		found, more = found[:maxFound], len(found)-maxFound
	}
	wide := 0
	for _, a := range found {
		wide = max(wide, width(question(a)))
	}
	for _, a := range append(open, none...) {
		wide = max(wide, width("no cause, "+string(a.Temperature)))
	}
	wide = min(wide, g.o.Width/2-4)
	for _, a := range found {
		s := red
		if a.Verdict == attribute.Open || a.Verdict == attribute.Unknown {
			s = amber
		}
		g.para(s, "  "+pad(question(a), wide)+"  ", causeOf(a))
		if x := a.Amplifier; amplified(r, a) {
			g.para(amber, "  "+pad("", wide)+"  ", disk(x))
		}
	}
	if more > 0 {
		g.line(dim, fmt.Sprintf("  %s with a cause; --verbose has all", counted(int64(more), "more metric")))
	}
	byTemperature(open, func(list []*answer.Attribution) {
		g.para(amber, "  "+pad("open, "+string(list[0].Temperature), wide)+"  ", fmt.Sprintf("%s; %s", counted(int64(len(list)), "metric"), wanted(list...)))
	})
	byTemperature(none, func(list []*answer.Attribution) {
		var names []string
		for _, a := range list {
			names = append(names, a.Metric)
		}
		g.para(plain, "  "+pad("no cause, "+string(list[0].Temperature), wide)+"  ", strings.Join(names, ", "))
	})
	for _, s := range r.NotAsked {
		g.para(amber, "  not asked ", s)
	}
}

// byTemperature calls f for the attributions of each temperature, in their order.
func byTemperature(list []*answer.Attribution, f func([]*answer.Attribution)) {
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].Temperature == list[0].Temperature {
			n++
		}
		f(list[:n])
		list = list[n:]
	}
}

// wanted says which cells lack, each once.
func wanted(list ...*answer.Attribution) string {
	var cells []string
	for _, a := range list {
		for _, n := range a.Wanted {
			if !slices.Contains(cells, n.Cell) {
				cells = append(cells, n.Cell)
			}
		}
	}
	if more := len(cells) - maxCauses; more > 0 {
		cells = append(cells[:maxCauses], fmt.Sprintf("%d more", more))
	}
	return "to be run yet: " + strings.Join(cells, ", ")
}

// amplified tells whether an attribution is the first of its temperature, and the
// disk has a part in it.
func amplified(r *answer.Report, a *answer.Attribution) bool {
	x := a.Amplifier
	if x == nil || x.Lacks != "" || x.Cause == attribute.NoExcess || x.Cause == attribute.Direct {
		return false
	}
	for _, b := range r.Causes {
		if b.Temperature == a.Temperature && b.Verdict != attribute.None {
			return a == b
		}
	}
	return false
}

func question(a *answer.Attribution) string { return a.Metric + ", " + string(a.Temperature) }

// causeOf is the answer in a sentence; of an open one what lacks.
func causeOf(a *answer.Attribution) string {
	if len(a.Wanted) == 0 {
		return string(a.Verdict) + ": " + a.Sentence
	}
	return "open: " + wanted(a)
}

// cellGrid is one metric by setting and temperature.
func cellGrid(g *page, m answer.Grid) {
	if len(m.Rows) == 0 {
		return
	}
	wide := width(m.Metric)
	for _, r := range m.Rows {
		wide = max(wide, width(r.Setting))
	}
	column := 16
	wide = min(wide, max(g.o.Width-len(m.Temperatures)*(column+2), 12))
	column = min(column, (g.o.Width-wide)/max(len(m.Temperatures), 1)-2)
	g.blank()
	head := pad(m.Metric, wide)
	for _, t := range m.Temperatures {
		head += "  " + pad(string(t), column)
	}
	g.line(bold, head)
	for i, r := range m.Rows {
		if i == maxSettings && !g.o.Verbose {
			g.line(dim, fmt.Sprintf("  %s; --verbose has all", counted(int64(len(m.Rows)-i), "more setting")))
			break
		}
		line := pad(r.Setting, wide)
		for _, c := range r.Cells {
			line += "  " + pad(inCell(m, c), column)
		}
		g.line(plain, line)
	}
}

// inCell is the value of a cell; "!" says that trials of it do not count.
func inCell(m answer.Grid, c *answer.GridCell) string {
	switch {
	case c == nil:
		return "-"
	case c.Value == nil && c.Contaminated > 0:
		return "contaminated"
	case c.Value == nil:
		return "not run"
	}
	s := amount(m.Unit, *c.Value)
	if c.Censored {
		s = "> " + amount(m.Unit, *c.Low)
	} else if m.Unit != metric.Seconds && m.Unit != metric.Rate && *c.Low != *c.High {
		s = amount(m.Unit, *c.Low) + " to " + amount(m.Unit, *c.High)
	}
	if c.Contaminated > 0 {
		s += " !"
	}
	return s
}

// strip is a search as a row of letters, equal ones for equal values, and what it
// found.
func strip(g *page, s answer.Strip) {
	g.blank()
	g.line(bold, fmt.Sprintf("%s: %s, %s, and %d again", s.Name, counted(int64(len(s.Points)), "checkpoint"), counted(int64(s.Result.Probes), "build"), s.Result.Again))
	row, below, legend := letters(s.Points)
	for from := 0; from < len(row); {
		to := min(len(row), from+g.o.Width-2)
		g.line(plain, "  "+string(row[from:to]))
		if strings.TrimSpace(string(below[from:to])) != "" {
			g.line(red, "  "+string(below[from:to]))
		}
		from = to
	}
	if legend != "" {
		g.para(dim, "  ", legend)
	}
	for _, line := range searched(s) {
		g.item(plain, "  ", line)
	}
}

// searched says what a search found, a line each.
func searched(s answer.Strip) []string { return Bisection{Names: s.Names, Result: s.Result}.findings() }

// letters are the points of a search, the marks below culprits, and what the letters
// stand for.
func letters(points []answer.Point) (row, below []rune, legend string) {
	var seen []float64
	var means []string
	for _, p := range points {
		c, m := '.', ' '
		switch p.State {
		case answer.NoValue:
			c = '?'
		case answer.Known:
			i := 0
			for i < len(seen) && seen[i] != p.Value {
				i++
			}
			if i == len(seen) {
				seen = append(seen, p.Value)
			}
			c = 'a' + rune(min(i, 25))
			if i == len(means) {
				means = append(means, string(c)+" "+figure(p.Value))
			}
		}
		if p.Culprit {
			m = '^'
		}
		row, below = append(row, c), append(below, m)
	}
	return row, below, strings.Join(means, ", ")
}

// missed is the steps of a trial that cost most.
func missed(g *page, m answer.Missed) {
	g.blank()
	g.para(bold, "", fmt.Sprintf("made in %s: %s executed, %s cached", m.Cell, counted(m.Report.Executed, "step"), Count(m.Report.Cached)))
	for i, x := range m.Report.Misses {
		if i == maxMisses {
			g.line(dim, "  "+counted(int64(len(m.Report.Misses)-i), "more step"))
			return
		}
		g.item(amber, "  "+pad(string(x.Why), 12)+" ", title(x.Name))
		in := strings.Repeat(" ", 15)
		for j, c := range x.Causes {
			if j == maxCauses {
				break
			}
			g.para(plain, in, blameAt(g, c, x.Files))
		}
		if len(x.Causes) == 0 {
			g.para(plain, in, x.Detail)
		}
		g.para(dim, in, missCost(x))
	}
}

// claims renders gates, claims and predictions.
func claims(g *page, r *answer.Report) {
	if len(r.Findings) == 0 {
		return
	}
	g.blank()
	for _, x := range r.Gates {
		g.line(statusStyle(x.Status), gated(x))
	}
	wide := 0
	for _, f := range r.Findings {
		wide = max(wide, width(f.Name))
	}
	wide = min(wide, g.o.Width/2-12)
	for _, f := range r.Findings {
		s := statusStyle(f.Status)
		if f.Waived {
			s = amber
		} else if f.Status == gate.Pass {
			s = plain
		}
		g.para(s, pad(string(f.Status), 7)+"  "+pad(f.Name, wide)+"  ", claimLine(f))
	}
	for _, p := range r.Predictions {
		g.item(dim, "predicted: ", predicted(p))
	}
}

// gated is a gate with what came of it.
func gated(x answer.Gated) string {
	return fmt.Sprintf("gate %s: %s, %d of %s", x.Name, x.Status, x.Passed, counted(int64(x.Claims), "claim"))
}

// claimLine is a claim with what it came to.
func claimLine(f gate.Finding) string {
	s := f.Text
	if f.Cell != "" {
		s += ", in " + f.Cell
	}
	if f.Why != "" {
		s += ": " + f.Why
	} else {
		s += ": " + side(f.Left) + " against " + side(f.Right)
	}
	switch {
	case f.Waived:
		s += "; waived by " + f.Waiver.Owner + " until " + waiver.Day(f.Waiver.Expires)
	case f.Expired:
		s += "; the waiver of " + f.Waiver.Owner + " is over"
	}
	return s
}

func predicted(p answer.Predicted) string {
	s := p.Claim + " holds"
	if !p.Holds {
		s = p.Claim + " does not hold"
	}
	if p.Because != "" {
		s += ", because " + p.Because
	}
	switch {
	case p.Right == nil:
		return s + ": not decided"
	case *p.Right:
		return s + ": so it is"
	}
	return s + ": it is not so"
}

// pairs are the cells that one factor sets apart, and what it moves.
func pairs(g *page, r *answer.Report) {
	shown, same := 0, []string{}
	for _, p := range r.Pairs {
		what := difference(p)
		if what == "" {
			same = append(same, p.B.Cell+" and "+p.A.Cell)
			continue
		}
		if shown == 0 {
			g.blank()
			g.line(bold, "one thing apart")
		}
		if shown++; shown > maxPairs && !g.o.Verbose {
			continue
		}
		g.item(plain, "  ", p.B.Cell+" against "+p.A.Cell+": "+what)
	}
	if shown > maxPairs && !g.o.Verbose {
		g.line(dim, fmt.Sprintf("  %s; --json has all", counted(int64(shown-maxPairs), "more pair")))
	}
	if len(same) > 0 {
		g.para(plain, "  same  ", strings.Join(same, "; "))
	}
	for _, x := range r.Refused {
		g.item(amber, "not compared: ", x.B+" with "+x.A+": "+x.Why)
	}
}

// difference lists what is not the same in a pair; "" when all is.
func difference(p *answer.Comparison) string {
	var out []string
	for _, m := range p.Metrics {
		switch m.Verdict {
		case stat.Same:
		case stat.Unknown:
			out = append(out, m.Metric+" UNKNOWN ("+doubt(m.Comparison)+")")
		default:
			out = append(out, m.Metric+" "+string(m.Verdict)+" "+extent(m))
		}
	}
	for _, a := range p.Apart {
		out = append(out, strings.Join(a.Metrics, ", ")+" not compared ("+a.Why+")")
	}
	return strings.Join(out, "; ")
}

// caveats are what a reader must know.
func caveats(g *page, r *answer.Report) {
	n := len(r.Caveats) + len(r.Unchecked)
	if n == 0 {
		return
	}
	g.blank()
	g.line(amber, counted(int64(n), "caveat"))
	for i, x := range r.Caveats {
		if i == maxCaveats && !g.o.Verbose {
			g.line(dim, fmt.Sprintf("  %d more; --json has all", len(r.Caveats)-i))
			break
		}
		g.item(plain, "  ", fmt.Sprintf("%s [%s]", x.Message, x.Code))
	}
	for _, s := range r.Unchecked {
		g.item(plain, "  not checked: ", g.local(s))
	}
}
