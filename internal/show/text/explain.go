package text

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/explain"
)

// Origin names the commit that a place in a file comes from; "" when it is not
// known.
type Origin func(m explain.Miss, cause int) string

// Explain renders why the steps of a run were not cached.
func Explain(w io.Writer, r *explain.Report, from Origin, o Options) error {
	g := newPage(o)
	head := "run " + r.Run
	if r.Against != "" {
		head += ", against run " + r.Against
	}
	g.line(bold, head)
	g.para(plain, "", fmt.Sprintf("%s executed, %s cached", counted(r.Executed, "step"), Count(r.Cached)))
	for i, m := range r.Misses {
		if i == maxStepChanges && !o.Verbose {
			g.line(dim, fmt.Sprintf("%s; -v lists every one", counted(int64(len(r.Misses)-i), "more step")))
			break
		}
		g.blank()
		miss(g, m, from)
	}
	return g.to(w)
}

func miss(g *page, m explain.Miss, from Origin) {
	s := plain
	if m.Why == explain.Changed || m.Why == explain.New {
		s = amber
	}
	g.item(s, pad(string(m.Why), 13), title(m.Name))
	in := strings.Repeat(" ", 13)
	for i, c := range m.Causes {
		if i == maxCauses {
			g.para(dim, in, counted(int64(len(m.Causes)-i), "more change"))
			break
		}
		g.para(plain, in, blameAt(g, c, m.Files))
		if from != nil {
			if commit := from(m, i); commit != "" {
				g.para(dim, in, "since "+commit)
			}
		}
	}
	switch {
	case len(m.From) > 0:
		g.para(plain, in, "inherits from "+titles(m.From))
	case len(m.Causes) == 0:
		g.para(plain, in, m.Detail)
	}
	g.para(dim, in, missCost(m))
}

// missCost is what a step took, and what inherits from it.
func missCost(m explain.Miss) string {
	s := fmt.Sprintf("%s, %s", counted(m.Executions, "execution"), seconds(m.Seconds))
	if m.Images > 1 {
		s += fmt.Sprintf(", for %s", counted(int64(m.Images), "image"))
	}
	if m.InheritedExecutions > 0 {
		s += fmt.Sprintf("; what inherits from it: %s, %s", counted(m.InheritedExecutions, "execution"), seconds(m.InheritedSeconds))
	}
	return s
}

// Growth renders in which folders an image is not as large as before.
func Growth(w io.Writer, image string, list []explain.Growth, o Options) error {
	g := newPage(o)
	if len(list) == 0 {
		g.line(plain, image+": no folder of its own layers is larger or smaller")
		return g.to(w)
	}
	g.line(bold, image+": bytes of files in layers that only one of the two images has")
	for i, x := range list {
		if i == maxStepChanges && !o.Verbose {
			g.line(dim, counted(int64(len(list)-i), "more folder"))
			break
		}
		g.item(plain, fmt.Sprintf("%12s  ", signed(float64(x.New-x.Old), func(v float64) string { return Bytes(int64(v)) })), fmt.Sprintf("%s (%s, before %s)", x.Path, Bytes(x.New), Bytes(x.Old)))
	}
	return g.to(w)
}

// Difference renders what makes two runs different.
func Difference(w io.Writer, d *explain.Difference, o Options) error {
	g := newPage(o)
	g.line(bold, "from run "+d.Old+" to run "+d.New)
	for _, n := range d.Notes {
		g.para(amber, "note  ", n)
	}
	split(g, "wall time", d.Wall, func(v float64) string { return seconds(v) })
	split(g, "disk peak", d.Disk, func(v float64) string { return Bytes(int64(v)) })
	split(g, "bytes moved", d.Moved, func(v float64) string { return Bytes(int64(v)) })
	return g.to(w)
}

func split(g *page, what string, s *explain.Split, show func(float64) string) {
	g.blank()
	if s == nil {
		g.line(dim, what+" was not measured in both")
		return
	}
	g.line(bold, fmt.Sprintf("%s: %s, before %s: %s", what, show(s.New), show(s.Old), signed(s.New-s.Old, show)))
	for i, p := range s.Parts {
		if i == maxStepChanges {
			g.line(dim, counted(int64(len(s.Parts)-i), "smaller part"))
			break
		}
		text := title(p.Name)
		if d := p.Detail; d.OldCount+d.NewCount > 0 {
			text += fmt.Sprintf(" (%s times %s, before %s times %s)", Count(d.NewCount), show(d.NewEach), Count(d.OldCount), show(d.OldEach))
		}
		g.item(plain, fmt.Sprintf("%12s  ", signed(p.Amount, show)), text)
	}
	g.item(dim, fmt.Sprintf("%12s  ", signed(s.Unexplained, show)), "unexplained")
}

func signed(v float64, show func(float64) string) string {
	switch {
	case v > 0:
		return "+" + show(v)
	case v < 0:
		return "-" + show(math.Abs(v))
	}
	return show(0)
}
