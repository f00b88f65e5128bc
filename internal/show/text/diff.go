package text

import (
	"fmt"
	"io"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
)

// maxStepChanges is how many steps are shown unless all are asked for.
const maxStepChanges = 40

// Diff renders what is different between two plans.
func Diff(w io.Writer, r *delta.Report, o Options) error {
	g := newPage(o)
	g.line(bold, "from "+r.Old+" to "+r.New)
	g.para(plain, "", verdict(r))
	if len(r.Steps) > 0 {
		g.blank()
	}
	for i, c := range r.Steps {
		if i == maxStepChanges && !o.Verbose {
			g.line(dim, fmt.Sprintf("%s; -v lists every one", counted(int64(len(r.Steps)-i), "more step")))
			break
		}
		stepChange(g, c)
	}
	for i, m := range r.Moves {
		if i == 0 {
			g.blank()
		}
		g.item(plain, "moved     ", move(m))
	}
	return g.to(w)
}

// verdict is the whole of a report in a sentence or two.
func verdict(r *delta.Report) string {
	var parts []string
	if n := r.Images - r.Unchanged - len(r.Added); n > 0 {
		parts = append(parts, counted(int64(n), "image")+" of "+Count(int64(r.Images))+" to be made again")
	}
	if n := len(r.Added); n > 0 {
		parts = append(parts, counted(int64(n), "new image"))
	}
	if n := len(r.Gone); n > 0 {
		parts = append(parts, counted(int64(n), "image")+" no longer there")
	}
	if len(parts) == 0 {
		return "the content of all " + counted(int64(r.Images), "image") + " is the same: nothing is to be made again"
	}
	s := strings.Join(parts, ", ")
	x := r.Executions
	s += fmt.Sprintf("; %s: %s shared, %s on bases", counted(x.Shared+x.BaseBound, "execution"), Count(x.Shared), Count(x.BaseBound))
	if x.Maybe > 0 {
		s += fmt.Sprintf(", %s of them only if files come out different", Count(x.Maybe))
	}
	if x.Seconds != nil {
		s += ", " + seconds(*x.Seconds) + " by earlier runs"
	}
	if x.Released > 0 {
		s += fmt.Sprintf("; and %s of unchanged steps, where their results were released", counted(x.Released, "execution"))
	}
	if r.ConfigOnly > 0 {
		s += fmt.Sprintf("; of %s only the config changes", counted(int64(r.ConfigOnly), "image"))
	}
	if was, is := r.Shape.Old.PerImage, r.Shape.New.PerImage; was != is {
		s += fmt.Sprintf("; steps on each base: %s, before %s", decimal(is), decimal(was))
	}
	return s
}

func decimal(f float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") }

func stepChange(g *page, c delta.StepChange) {
	s := plain
	if !c.Shared && c.Status != delta.Same {
		s = amber
	}
	status := string(c.Status)
	if c.Status == delta.Same {
		status = "unchanged"
	}
	g.item(s, pad(status, 10), title(c.Name))
	in := strings.Repeat(" ", 10)
	for i, cause := range c.Causes {
		if i == maxCauses {
			g.para(dim, in, counted(int64(len(c.Causes)-i), "more change"))
			break
		}
		g.para(plain, in, blameAt(g, cause, c.Files))
	}
	if len(c.From) > 0 {
		g.para(dim, in, "inherits from "+titles(c.From))
	}
	if c.Executions > 0 {
		g.para(dim, in, cost(c))
	}
}

func cost(c delta.StepChange) string {
	s := "runs " + counted(c.Executions, "time")
	switch {
	case c.Status == delta.Same:
		s += " where its result was released when the image was published"
	case c.Maybe:
		s += " if the files that it reads come out different"
	}
	if c.Shared {
		s += ", for " + counted(int64(c.Images), "image")
	}
	if c.Seconds != nil {
		s += ", " + seconds(*c.Seconds)
	}
	return s
}

// title is a step's name in at most 120 columns.
func title(name string) string { return cut(strings.Join(strings.Fields(clean(name)), " "), 120) }

func titles(names []string) string {
	var out []string
	for _, n := range names[:min(len(names), maxCauses)] {
		out = append(out, title(n))
	}
	return strings.Join(out, "; ")
}

// move says which names are not what they were.
func move(m delta.Move) string {
	s := fmt.Sprintf("%s: %s of %s", m.What, Count(int64(m.Moved)), Count(int64(m.Of)))
	switch {
	case m.Same == m.Moved && m.Same > 0:
		s += ", none of their content changed"
	case m.Same > 0:
		s += fmt.Sprintf(", the content of %s of them is the same", Count(int64(m.Same)))
	}
	return s + "; the first from " + m.Old + " to " + m.New
}
