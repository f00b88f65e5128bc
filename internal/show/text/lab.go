package text

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
)

// LabPlan renders the plan of an experiment: how many trials, in which order,
// what each cell can show, and what a reader must know. Its refusals are for the
// caller, who has the lines that they point to.
func LabPlan(w io.Writer, p *trials.Plan, o Options) error {
	g := newPage(o)
	g.line(bold, fmt.Sprintf("%s: %s, %s", p.Experiment, counted(int64(len(p.Cells)), "cell"), counted(int64(len(p.Trials)), "trial")))
	g.para(plain, "order     ", order(p.Order))
	if len(p.Seeds) > 0 {
		g.para(plain, "seeds     ", seedList(p.Seeds)+": built once before, from nothing; warm cells and bumps start from copies")
	}
	g.para(plain, "expected  ", expected(p))
	g.blank()
	wide := 0
	for _, c := range p.Cells {
		wide = max(wide, width(c.ID))
	}
	wide = min(wide, g.o.Width/2-3)
	for _, c := range p.Cells {
		s := "shows " + c.Shows + "; blind to " + c.Blind
		if c.Seconds != nil {
			s = seconds(*c.Seconds) + "; " + s
		}
		g.para(plain, pad(c.ID, wide)+"  ", s)
	}
	if n := len(p.Warnings); n > 0 {
		g.blank()
		g.line(amber, counted(int64(n), "warning"))
	}
	for _, x := range p.Warnings {
		g.item(plain, "  ", fmt.Sprintf("%s: %s [%s]; %s", g.pos(x.Pos), x.Message, x.Code, x.Help))
	}
	for i, s := range p.Unchecked {
		if i == 0 {
			g.blank()
		}
		g.item(amber, "not checked: ", g.local(s))
	}
	return g.to(w)
}

// order says what an order is.
func order(o trials.Order) string {
	switch o {
	case trials.Blocks:
		return "in blocks of one trial a cell, each in an order drawn from the seed: times are asked for"
	case trials.Mirrored:
		return "in blocks of one trial a cell, every second one the mirror of the one before: times are asked for"
	}
	return "any, also all at once: no time is asked for"
}

func seedList(seeds []string) string {
	if len(seeds) == 1 && seeds[0] == "" {
		return "the fleet as it is"
	}
	return strings.Join(seeds, ", ")
}

// expected is what all trials take, as far as known.
func expected(p *trials.Plan) string {
	var parts []string
	if p.Seconds != nil {
		parts = append(parts, seconds(*p.Seconds)+", one after the other")
	}
	if p.Bytes != nil {
		parts = append(parts, Bytes(*p.Bytes)+" of disk in all")
	}
	if len(parts) == 0 {
		return "not known: give runs of the cells with --run"
	}
	return strings.Join(parts, "; ")
}

// Verdicts is what came of a gate, as JSON shows it.
type Verdicts struct {
	// Gate is the gate's name; "" is all claims.
	Gate     string         `json:"gate,omitempty"`
	Findings []gate.Finding `json:"findings"`
	// Predicted are the claims of which somebody said before whether they hold.
	Predicted map[string]bool `json:"predicted,omitempty"`
	Warnings  []stat.Warning  `json:"warnings"`
	// Runs are the cells of which runs were given.
	Runs []string `json:"cells"`
	// Contaminated are trials of the cells that claims speak of, and that do not
	// count.
	Contaminated trials.Results `json:"contaminated,omitempty"`
}

// Gate renders what came of each claim: the status, what its sides came to, why
// there is no answer, and who waived it.
func Gate(w io.Writer, v Verdicts, o Options) error {
	g := newPage(o)
	wide := 0
	for _, f := range v.Findings {
		wide = max(wide, width(f.Name))
	}
	wide = min(wide, g.o.Width/2-12)
	for _, f := range v.Findings {
		s := plain
		if f.Status != gate.Pass {
			if s = red; f.Waived {
				s = amber
			}
		}
		claim := f.Text
		if f.Cell != "" {
			claim += ", in " + f.Cell
		}
		g.para(s, pad(string(f.Status), 7)+"  "+pad(f.Name, wide)+"  ", claim)
		in := strings.Repeat(" ", 11+wide)
		for _, detail := range details(f, v.Predicted) {
			g.para(dim, in, detail)
		}
	}
	metricWarnings(g, v.Warnings)
	contaminated(g, v.Contaminated)
	return g.to(w)
}

// details are the lines below a claim.
func details(f gate.Finding, predicted map[string]bool) []string {
	var out []string
	if f.Why == "" && !f.Check || known(f.Left) || known(f.Right) {
		out = append(out, "left "+side(f.Left)+", right "+side(f.Right)+ofRuns(f.Trials))
	}
	if f.Why != "" {
		out = append(out, f.Why)
	}
	if w := f.Waiver; w != nil && (f.Waived || f.Expired) {
		word := "waived: "
		if f.Expired {
			word = "the waiver is over: "
		}
		out = append(out, word+w.String())
	}
	if holds, ok := predicted[f.Name]; ok && (f.Status == gate.Pass || f.Status == gate.Fail) {
		if holds == (f.Status == gate.Pass) {
			out = append(out, "as predicted")
		} else {
			out = append(out, "against the prediction")
		}
	}
	return out
}

func ofRuns(trials []string) string {
	switch len(trials) {
	case 0:
		return ""
	case 1:
		return "; run " + trials[0]
	}
	return "; runs " + strings.Join(trials, ", ")
}

func known(s gate.Side) bool { return s.Low != nil || s.High != nil || s.Text != "" }

// side renders what is known of a side.
func side(s gate.Side) string {
	switch {
	case s.Text != "":
		return shortHash(strings.TrimPrefix(s.Text, "sha256:"))
	case s.Low == nil && s.High == nil:
		return "unknown"
	case s.Low == nil:
		return "at most " + figure(*s.High)
	case s.High == nil:
		return "at least " + figure(*s.Low)
	case *s.Low == *s.High:
		return figure(*s.Low)
	}
	return figure(*s.Low) + " to " + figure(*s.High)
}

// figure renders a value in four digits, or more when it is whole.
func figure(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return Count(int64(v))
	}
	if math.Abs(v) >= 1000 {
		return Count(int64(math.Round(v)))
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
