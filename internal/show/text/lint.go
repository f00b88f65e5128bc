package text

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/lint"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

// maxInherit is how many steps that inherit a miss are shown by name.
const maxInherit = 5

// maxUnseen is how many reasons are shown why images were not looked at.
const maxUnseen = 5

// Lint renders findings: where and what, the line with a mark under the place,
// what it costs, what to do; and how many there are. The list is shown in its
// order.
func Lint(w io.Writer, r lint.Report, o Options) error {
	g := newPage(o)
	for i := range r.Findings {
		finding(g, &r.Findings[i])
	}
	for i, why := range r.Problems {
		if i == maxUnseen {
			g.line(dim, fmt.Sprintf("and %s", counted(int64(len(r.Problems)-i), "more reason")))
			break
		}
		g.item(red, "not looked at: ", g.local(firstLine(why)))
	}
	g.line(bold, lintSummary(r))
	return g.to(w)
}

func finding(g *page, f *lint.Finding) {
	s, mark := plain, string(f.Severity)
	switch f.Severity {
	case rule.Error:
		s = red
	case rule.Warning:
		s = amber
	}
	if f.Waiver != nil {
		s, mark = dim, "waived"
	}
	g.item(s, g.pos(f.Pos)+": ", fmt.Sprintf("%s: %s [%s]", mark, g.local(f.Message), f.Code))
	source(g, f.Source, f.Pos.Col, s)
	if f.Waiver != nil {
		g.para(dim, "    reason: ", f.Waiver.String())
		return
	}
	if cost := lintCost(f.Cost); cost != "" {
		g.para(plain, "    cost: ", cost)
	}
	for i, step := range f.Inherit {
		if i == maxInherit {
			g.line(dim, fmt.Sprintf("    and %d more", len(f.Inherit)-i))
			break
		}
		g.line(dim, "    again: "+cut(clean(step), g.o.Width-11))
	}
	if f.Help != "" {
		g.para(bold, "    help: ", g.local(f.Help))
	}
}

// lintCost is what a finding costs; "" when it only concerns images.
func lintCost(c lint.Cost) string {
	if c.Executions == 0 && c.Seconds == nil {
		return ""
	}
	parts := []string{fmt.Sprintf("%s in a build of %s", counted(c.Executions, "execution"), counted(int64(c.Images), "image"))}
	if c.Seconds != nil {
		parts = append(parts, Duration(time.Duration(*c.Seconds*float64(time.Second)))+" of solving")
	}
	if c.Bytes != nil {
		parts = append(parts, Bytes(*c.Bytes)+" of disk")
	}
	return strings.Join(parts, ", ")
}

func lintSummary(r lint.Report) string {
	var parts []string
	for _, x := range []struct {
		n    int
		what string
	}{{r.Counts[rule.Error], "error"}, {r.Counts[rule.Warning], "warning"}, {r.Counts[rule.Info], "note"}} {
		if x.n > 0 {
			parts = append(parts, counted(int64(x.n), x.what))
		}
	}
	if r.Waived > 0 {
		parts = append(parts, Count(int64(r.Waived))+" waived")
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing found")
	}
	s := fmt.Sprintf("%s; %s, %s", strings.Join(parts, ", "), counted(int64(r.Images), "image"), counted(int64(r.Conversions), "conversion"))
	if r.NotSeen > 0 {
		s += fmt.Sprintf(", %s not looked at", Count(int64(r.NotSeen)))
	}
	return s
}

// Mended renders what was mended and what that saves.
func Mended(w io.Writer, list []lint.Proof, o Options) error {
	g := newPage(o)
	for _, p := range list {
		what := "steps on a base"
		if p.Code == rule.ValueEarly {
			what = "commands that see the value"
		}
		g.item(plain, "mended: ", fmt.Sprintf("%s [%s]: %s %s -> %s in a build of the fleet, and nothing else differs", g.pos(p.Pos), p.Code, what, Count(p.Before), Count(p.After)))
	}
	if len(list) == 0 {
		g.line(plain, "nothing to mend safely")
	}
	return g.to(w)
}

// Place renders a place in a file, relative to the folder of the options.
func Place(at diag.Pos, o Options) string { return newPage(o).pos(at) }
