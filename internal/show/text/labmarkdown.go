package text

import (
	"fmt"
	"io"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/attribute"
)

// LabMarkdown renders what an experiment says as a comment on a pull request or a
// page of its own: what [LabReport] shows, in tables.
func LabMarkdown(w io.Writer, r *answer.Report, o Options) error {
	m := &markdown{g: newPage(o)}
	m.line("### %s", escape(headline(r)))
	m.line("Trials: %s", escape(tally(r.Tally)))
	m.causes(r)
	m.grid(r.Grid)
	for _, s := range r.Searches {
		m.strip(s)
	}
	for _, x := range r.Misses {
		m.missed(x)
	}
	m.claims(r)
	m.rest(r)
	if r.Replay != "" {
		m.line("Again: `%s`", strings.ReplaceAll(clean(r.Replay), "`", "'"))
	}
	_, err := io.WriteString(w, m.b.String())
	return err
}

// markdown gathers paragraphs and tables.
type markdown struct {
	b strings.Builder
	g *page
}

// line is a paragraph.
func (m *markdown) line(format string, args ...any) { fmt.Fprintf(&m.b, format+"\n\n", args...) }

// list writes items.
func (m *markdown) list(items []string) {
	for i, s := range items {
		fmt.Fprintf(&m.b, "- %s\n", escape(clean(s)))
		if i == len(items)-1 {
			m.b.WriteByte('\n')
		}
	}
}

// table writes rows, of which the first is the head; cells are escaped here.
func (m *markdown) table(rows [][]string) {
	if len(rows) < 2 {
		return
	}
	for i, row := range rows {
		for _, c := range row {
			m.b.WriteString("| " + escape(clean(c)) + " ")
		}
		m.b.WriteString("|\n")
		if i == 0 {
			m.b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	m.b.WriteByte('\n')
}

func (m *markdown) causes(r *answer.Report) {
	rows := [][]string{{"metric", "temperature", "verdict", "cause"}}
	for _, a := range r.Causes {
		if a.Verdict == attribute.None {
			continue
		}
		rows = append(rows, []string{a.Metric, string(a.Temperature), string(a.Verdict), strings.TrimPrefix(causeOf(a), string(a.Verdict)+": ")})
		if x := a.Amplifier; amplified(r, a) {
			rows = append(rows, []string{"", "", string(x.Cause), disk(x)})
		}
	}
	m.table(rows)
	for _, s := range r.NotAsked {
		m.line("Not asked: %s", escape(s))
	}
}

func (m *markdown) grid(grid answer.Grid) {
	head := []string{grid.Metric}
	for _, t := range grid.Temperatures {
		head = append(head, string(t))
	}
	rows := [][]string{head}
	for _, r := range grid.Rows {
		row := []string{r.Setting}
		for _, c := range r.Cells {
			row = append(row, inCell(grid, c))
		}
		rows = append(rows, row)
	}
	m.table(rows)
}

func (m *markdown) strip(s answer.Strip) {
	row, below, legend := letters(s.Points)
	m.line("%s, %s:", escape(s.Name), escape(legend))
	m.b.WriteString("```\n" + string(row) + "\n" + strings.TrimRight(string(below), " ") + "\n```\n\n")
	m.list(searched(s))
}

func (m *markdown) missed(x answer.Missed) {
	rows := [][]string{{"made in " + x.Cell, "why", "cost"}}
	for i, miss := range x.Report.Misses {
		if i == maxMisses {
			break
		}
		why := []string{string(miss.Why)}
		for j, c := range miss.Causes {
			if j < maxCauses {
				why = append(why, blameAt(m.g, c, miss.Files))
			}
		}
		rows = append(rows, []string{title(miss.Name), strings.Join(why, "; "), missCost(miss)})
	}
	m.table(rows)
}

func (m *markdown) claims(r *answer.Report) {
	rows := [][]string{{"claim", "", ""}}
	for _, f := range r.Findings {
		rows = append(rows, []string{f.Name, string(f.Status), claimLine(f)})
	}
	m.table(rows)
	var items []string
	for _, x := range r.Gates {
		items = append(items, gated(x))
	}
	for _, p := range r.Predictions {
		items = append(items, "predicted: "+predicted(p))
	}
	m.list(items)
}

// rest is what the answers rest on.
func (m *markdown) rest(r *answer.Report) {
	rows := [][]string{{"cell", "against", "what differs"}}
	for _, p := range r.Pairs {
		if what := difference(p); what != "" {
			rows = append(rows, []string{p.B.Cell, p.A.Cell, what})
		}
	}
	m.table(rows)
	rows = [][]string{{"contaminated trial", "why it does not count"}}
	for _, o := range r.Contaminated {
		rows = append(rows, []string{o.ID, faults(o)})
	}
	m.table(rows)
	var items []string
	for _, x := range r.Refused {
		items = append(items, "not compared: "+x.B+" with "+x.A+": "+x.Why)
	}
	for _, x := range r.Warnings {
		items = append(items, "warning: "+warning(x))
	}
	for _, x := range r.Caveats {
		items = append(items, fmt.Sprintf("%s [%s]", x.Message, x.Code))
	}
	for _, s := range r.Unchecked {
		items = append(items, "not checked: "+m.g.local(s))
	}
	m.list(items)
}
