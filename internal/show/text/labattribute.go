package text

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/attribute"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
)

// Attributed is an attribution with the trials that were left out, as JSON shows
// it.
type Attributed struct {
	*answer.Attribution
	Contaminated trials.Results `json:"contaminated"`
}

// Attribution renders which factors change a metric: the sentence, what each
// factor does, the terms of sets, the cells, and what to run next.
func Attribution(w io.Writer, a Attributed, o Options) error {
	g := newPage(o)
	g.line(bold, fmt.Sprintf("%s, %s: %s", a.Metric, a.Temperature, a.Verdict))
	g.para(plain, "  ", a.Sentence)
	if len(a.Terms) > 0 {
		g.blank()
		effects(g, a.Attribution)
	}
	g.blank()
	for _, c := range a.Cells {
		g.para(dim, "  ", fmt.Sprintf("%s: %s, of %s", c.Cell, amount(a.Unit, c.Value), counted(int64(len(c.Trials)), "trial")))
	}
	if a.Margin > 0 {
		g.para(dim, "  ", "up to "+amount(a.Unit, a.Margin)+" may be noise")
	}
	if n := len(a.Assumed); n > 0 {
		g.para(dim, "  ", "not measured, as the others add up: "+counted(int64(n), "cell"))
	}
	for _, f := range sortedKeys(a.Held) {
		g.para(dim, "  ", "held: "+f+"="+a.Held[f])
	}
	if x := a.Amplifier; x != nil {
		g.para(amber, "disk  ", disk(x))
	}
	for _, n := range a.Wanted {
		g.item(amber, "run next: ", next(n))
	}
	contaminated(g, a.Contaminated)
	return g.to(w)
}

func sortedKeys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// effects is a row for each factor and for each set of several with a term.
func effects(g *page, a *answer.Attribution) {
	wide := width(allOfThem)
	for _, t := range a.Terms {
		wide = max(wide, width(setName(t.Set, a.Order)))
	}
	wide = min(wide, max(g.o.Width-54, width(allOfThem)))
	row := func(s style, name string, cells ...string) {
		line := "  " + pad(name, wide)
		for _, c := range cells {
			line += fmt.Sprintf("  %11s", c)
		}
		g.line(s, line)
	}
	row(bold, "factor", "alone", "last", "fair", "share")
	for _, t := range a.Terms {
		share := fmt.Sprintf("%.0f %%", 100*t.Share)
		if t.Set.Len() == 1 {
			i := slices.IndexFunc(a.Factors, func(f attribute.Factor) bool { return t.Set.Names(a.Order)[0] == f.Name })
			f := a.Factors[i]
			row(plain, f.Name, Signed(a.Unit, f.Alone), Signed(a.Unit, f.Last), Signed(a.Unit, f.Shapley), share)
		} else if math.Abs(t.Value) > a.Margin {
			row(dim, setName(t.Set, a.Order), Signed(a.Unit, t.Value), "", "", share)
		}
	}
	row(bold, allOfThem, Signed(a.Unit, a.Total))
}

const allOfThem = "all together"

// setName joins the names of a set's factors.
func setName(s attribute.Set, factors []string) string { return strings.Join(s.Names(factors), " x ") }

// disk says what the disk has to do with it.
func disk(x *answer.Amplifier) string {
	if x.Lacks != "" {
		return "what the disk does is not known: " + x.Lacks
	}
	return fmt.Sprintf("%s (%s against %s, by %s)", x.Sentence, x.Doubled, x.Last, x.Bytes)
}

func next(n answer.Wanted) string {
	s := fmt.Sprintf("%s of %s", counted(int64(n.Trials), "trial"), n.Cell)
	if !n.There {
		s += ", a cell that the experiment lacks"
	}
	return s
}
