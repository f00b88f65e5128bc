package text

import (
	"fmt"
	"io"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/bisect"
)

// Bisection is a search for the level at which a metric changed.
type Bisection struct {
	Factor      string `json:"factor"`
	Metric      string `json:"metric"`
	Temperature string `json:"temperature"`
	// Names are what people call checkpoints, by their ids.
	Names  map[string]string `json:"names"`
	Log    []bisect.Event    `json:"log"`
	Result bisect.Result     `json:"result"`
}

// Bisect writes what a search has found: the history as a strip, and every place
// where the metric changed.
func Bisect(w io.Writer, b Bisection, o Options) error {
	p := newPage(o)
	p.line(bold, fmt.Sprintf("%s of %s over %s: %s, and %d again", b.Metric, b.Temperature, b.Factor, counted(int64(b.Result.Probes), "build"), b.Result.Again))
	for _, row := range b.strip() {
		p.item(plain, "  "+row[0]+"  ", row[1])
	}
	p.blank()
	for _, line := range b.findings() {
		p.para(plain, "", line)
	}
	return p.to(w)
}

// strip is a line for each checkpoint, in the order of the history.
func (b Bisection) strip() [][2]string {
	values, marks := map[string]string{}, map[string]string{}
	var points []bisect.Checkpoint
	for _, e := range b.Log {
		switch e.Kind {
		case bisect.Begin:
			points = e.Plan.Checkpoints
		case bisect.Measured:
			values[e.At] = figure(e.Value)
		case bisect.Untestable:
			values[e.At] = "not testable: " + e.Detail
		case bisect.Skip:
			values[e.At] = "skipped: " + e.Detail
		}
	}
	for _, f := range b.Result.Findings {
		for _, id := range f.OneOf {
			marks[id] = "  <- " + string(f.State)
		}
	}
	wide := 0
	for _, c := range points {
		wide = max(wide, width(b.name(c.ID)))
	}
	var out [][2]string
	for i, c := range points {
		value, ok := values[c.ID]
		switch {
		case ok:
		case i > 0 && c.Fingerprint != "" && c.Fingerprint == points[i-1].Fingerprint:
			value = "the same images as the one before"
		default:
			value = "not looked at"
		}
		out = append(out, [2]string{pad(b.name(c.ID), wide), value + marks[c.ID]})
	}
	return out
}

// findings says where the metric changed, and what was not examined, a line each.
func (b Bisection) findings() []string {
	var out []string
	switch {
	case b.Result.Groups == 1:
		out = append(out, "inert: every level makes the same images, so nothing was built")
	case len(b.Result.Findings) == 0 && b.Result.Done:
		out = append(out, "nothing changed between the levels that were looked at")
	}
	for _, f := range b.Result.Findings {
		var names []string
		for _, id := range f.OneOf {
			names = append(names, b.name(id))
		}
		of := ""
		if len(names) > 1 {
			of = "one of "
		}
		out = append(out, fmt.Sprintf("%s%s: %s became %s after %s (%s)", of, strings.Join(names, ", "), figure(f.Before), figure(f.After), b.name(f.Parent), f.State))
	}
	for _, s := range b.Result.Unexamined {
		out = append(out, fmt.Sprintf("not examined: from %s to %s, %s", b.name(s.From), b.name(s.To), s.Why))
	}
	if !b.Result.Done {
		out = append(out, "not done: the same command goes on")
	}
	return out
}

func (b Bisection) name(id string) string {
	if n, ok := b.Names[id]; ok {
		return n
	}
	return id
}
