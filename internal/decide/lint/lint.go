// Package lint looks for what makes a fleet dear, stale or fragile: in its file,
// in its Dockerfile as it is written, and in the steps that this becomes on the
// fleet's bases.
//
// It is pure: the same input gives the same findings in the same order. The
// steps of each conversion are looked at once, however many images share it.
package lint

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/rule"
	"github.com/lapstrake/lapstrake/internal/model/waiver"
)

// Input is everything that findings depend on.
type Input struct {
	Fleet *fleet.Fleet
	// Outline is the Dockerfile as it is written.
	Outline *graph.Outline
	// Images are what is known of each; those with a problem are passed over.
	Images []planner.Facts
	// Texts are the Dockerfile and the fleet file, by path. Without them findings
	// have no columns, and those of the fleet file no lines.
	Texts map[string]string
	// History and Steps are what earlier runs tell; nil tells nothing.
	History *estimate.History
	Steps   *estimate.Steps
	// Cache is the registry/repository that a build would keep results of shared
	// steps in for other daemons, "" when there is none, and Asked tells whether
	// it was named by a flag. Kept are the references that earlier runs of the
	// fleet kept results under, the newest run first.
	Cache string
	Asked bool
	Kept  []string
	// Now is the time by which waivers end.
	Now time.Time
}

// Cost is what a finding costs in one full build of the fleet.
type Cost struct {
	// Executions are those of the steps in question, once for each image or once
	// in the fleet; of a value that changes at every commit, per commit.
	Executions int64 `json:"executions"`
	// Images is how many images it concerns.
	Images int `json:"images"`
	// Seconds of solving are the sum of what earlier runs tell of the steps, nil
	// when they tell of none. Bytes are the disk that images take above their
	// bases, when the finding is about all that is done there and an earlier run
	// tells them of each image; else nil.
	Seconds *float64 `json:"seconds"`
	Bytes   *int64   `json:"bytes"`
}

// Finding is one place that a rule is about.
type Finding struct {
	Code     string        `json:"code"`
	Severity rule.Severity `json:"severity"`
	Pos      diag.Pos      `json:"pos"`
	// Source is the line at Pos, secrets masked; empty when unknown.
	Source  string `json:"source,omitempty"`
	Message string `json:"message"`
	Help    string `json:"help"`
	Cost    Cost   `json:"cost"`
	// Inherit are the steps that run again because of it, in the order of the
	// graph.
	Inherit []string `json:"inherit,omitempty"`
	// Waiver is for what it is accepted; nil when it is not.
	Waiver *waiver.Waiver `json:"waiver,omitempty"`
}

// Version is the version of a report's JSON form.
const Version = 1

// Report is what was found, as data.
type Report struct {
	V     int    `json:"v"`
	Fleet string `json:"fleet"`
	// Images is how many were looked at, Conversions how many different graphs
	// they have.
	Images      int `json:"images"`
	Conversions int `json:"conversions"`
	// NotSeen is how many images could not be looked at, and Problems why, each
	// told once.
	NotSeen  int      `json:"notSeen,omitempty"`
	Problems []string `json:"problems,omitempty"`
	// Counts counts the findings that are not waived, by severity.
	Counts   map[rule.Severity]int `json:"counts"`
	Waived   int                   `json:"waived"`
	Findings []Finding             `json:"findings"`
}

// Make checks a fleet and counts.
func Make(in Input) Report {
	l := &linter{in: in}
	l.conversions()
	r := Report{V: Version, Fleet: in.Fleet.Name, Conversions: len(l.convs), Counts: map[rule.Severity]int{}, Findings: Check(in)}
	for _, c := range l.convs {
		r.Images += len(c.images)
	}
	for _, f := range in.Images {
		if f.Problem == nil {
			continue
		}
		r.NotSeen++
		if why := f.Problem.Error(); !slices.Contains(r.Problems, why) {
			r.Problems = append(r.Problems, why)
		}
	}
	for _, f := range r.Findings {
		if f.Waiver != nil {
			r.Waived++
		} else {
			r.Counts[f.Severity]++
		}
	}
	return r
}

// Check looks at a fleet by every rule that the fleet file does not switch off.
// Of each rule there is one finding in a place. What is not waived comes first,
// then the gravest, then the dearest, then by place.
func Check(in Input) []Finding {
	l := &linter{in: in, found: map[place]*Finding{}, tallies: map[place]*tally{}, changed: map[seen]bool{}}
	l.conversions()
	for _, c := range l.convs {
		l.blockers(c)
		l.values(c)
		l.contexts(c)
		l.links(c)
		l.images(c)
	}
	l.bases()
	l.secrets()
	l.arguments()
	l.tags()
	l.cache()
	for _, p := range l.order {
		l.price(p)
	}
	out := l.severities()
	out = l.waive(out)
	slices.SortStableFunc(out, compare)
	return out
}

func compare(a, b Finding) int {
	seconds := func(f Finding) float64 {
		if f.Cost.Seconds == nil {
			return 0
		}
		return *f.Cost.Seconds
	}
	waived := func(f Finding) int {
		if f.Waiver != nil {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(waived(a), waived(b)),
		cmp.Compare(rule.Grave(a.Severity), rule.Grave(b.Severity)),
		cmp.Compare(seconds(b), seconds(a)),
		cmp.Compare(b.Cost.Executions, a.Cost.Executions),
		cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col),
		cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message),
	)
}

// linter gathers findings.
type linter struct {
	in    Input
	convs []*conversion
	found map[place]*Finding
	order []place
	// tallies are the steps that findings count.
	tallies map[place]*tally
	// changed remembers which variables change, secretValues what no line shows.
	changed      map[seen]bool
	secretValues []string
}

// place tells findings apart.
type place struct {
	code string
	pos  diag.Pos
	name string
}

// conversion is one graph with the images that have it.
type conversion struct {
	variant *graph.Variant
	images  []int
}

// conversions groups images by their graph: variants that differ only in labels
// share it.
func (l *linter) conversions() {
	at := map[*graph.Step]*conversion{}
	for i := range l.in.Images {
		v := l.in.Images[i].Variant
		if v == nil || len(v.Graph.Steps) == 0 {
			continue
		}
		c := at[&v.Graph.Steps[0]]
		if c == nil {
			c = &conversion{variant: v}
			at[&v.Graph.Steps[0]] = c
			l.convs = append(l.convs, c)
		}
		c.images = append(c.images, i)
	}
}

// add returns the finding of a place, made when it is new.
func (l *linter) add(p place, message string) *Finding {
	f := l.found[p]
	if f == nil {
		r, _ := rule.Find(p.code)
		f = &Finding{Code: p.code, Severity: r.Severity, Pos: p.pos, Message: message, Help: r.Fix, Source: l.line(p.pos)}
		l.found[p] = f
		l.order = append(l.order, p)
	}
	return f
}

// severities gives findings the severity that the fleet file asks for.
func (l *linter) severities() []Finding {
	out := make([]Finding, 0, len(l.order))
	for _, p := range l.order {
		f := l.found[p]
		if s, ok := l.in.Fleet.Lint.Rules[f.Code]; ok {
			f.Severity = rule.Severity(s)
		}
		if f.Severity != rule.Off {
			out = append(out, *f)
		}
	}
	return out
}

// line is the text of a line, secrets masked.
func (l *linter) line(pos diag.Pos) string {
	text, ok := l.in.Texts[pos.File]
	if !ok || pos.Line < 1 {
		return ""
	}
	for range pos.Line - 1 {
		_, text, _ = strings.Cut(text, "\n")
	}
	text, _, _ = strings.Cut(text, "\n")
	return l.masked(strings.TrimRight(text, "\r"))
}

// column is a place in a line: where word begins, or else the text.
func (l *linter) column(pos diag.Pos, word string) diag.Pos {
	text := l.line(pos)
	if i := index(text, word); i >= 0 {
		pos.Col = i + 1
	} else if rest := strings.TrimLeft(text, " \t"); rest != "" {
		pos.Col = len(text) - len(rest) + 1
	}
	return pos
}

// index is where a word stands in a text, -1 when it does not: not as a part of
// a longer name.
func index(text, word string) int {
	for from := 0; word != ""; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			break
		}
		i += from
		end := i + len(word)
		if (i == 0 || !nameByte(text[i-1]) || !nameByte(word[0])) && (end == len(text) || !nameByte(text[end])) {
			return i
		}
		from = i + 1
	}
	return -1
}

func nameByte(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

func mentions(text, name string) bool { return index(text, name) >= 0 }
