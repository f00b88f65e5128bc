package text

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// History renders what each commit of a line changes about a fleet, that which
// costs most first. Inert commits are counted, and listed when verbose.
func History(w io.Writer, r *lineage.Report, o Options) error {
	g := newPage(o)
	head := counted(int64(r.Commits), "commit")
	if r.From != nil {
		head += " after " + commitName(*r.From)
	}
	g.line(bold, fmt.Sprintf("%s: %s", head, counted(int64(r.Distinct), "distinct fingerprint")))
	g.line(plain, "  "+verdictCounts(r))
	if r.Commits > 0 && r.Counts[lineage.PerImage]+r.Counts[lineage.Broken] == 0 {
		g.line(plain, "  the per-image steps are the same at all of them")
	}
	for _, p := range r.FromProblems {
		g.item(red, "  at "+commitName(*r.From)+" the fleet cannot be planned: "+g.pos(p.Pos)+"  ", p.Message)
	}
	for _, e := range r.Entries {
		g.blank()
		entry(g, &e)
	}
	if o.Verbose && len(r.Inert) > 0 {
		g.blank()
		g.line(bold, "inert")
		for _, q := range r.Inert {
			g.line(plain, "  "+commitLine(q.Commit))
		}
	}
	footing(g, r)
	return g.to(w)
}

// verdictCounts counts the commits by verdict.
func verdictCounts(r *lineage.Report) string {
	var parts []string
	for _, v := range lineage.Verdicts() {
		if n := r.Counts[v]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", Count(int64(n)), v))
		}
	}
	if len(parts) == 0 {
		return "nothing to compare"
	}
	return strings.Join(parts, ", ")
}

// commitName is a commit in a sentence.
func commitName(c lineage.Commit) string {
	if c.Name == "" || strings.HasPrefix(c.Hash, c.Name) {
		return shortHash(c.Hash)
	}
	return fmt.Sprintf("%s (%s)", c.Name, shortHash(c.Hash))
}

func shortHash(h string) string { return h[:min(12, len(h))] }

func commitLine(c lineage.Commit) string {
	s := shortHash(c.Hash) + "  " + c.Date.Format("2006-01-02") + "  "
	if c.Name != "" && !strings.HasPrefix(c.Hash, c.Name) {
		s += c.Name + ": "
	}
	return s + c.Subject
}

// maxChanges is how many changes of a commit are shown unless all are asked for.
const maxChanges = 4

func entry(g *page, e *lineage.Entry) {
	mark := plain
	if e.Verdict == lineage.PerImage || e.Verdict == lineage.Broken {
		mark = red
	}
	merge := ""
	if e.Merge {
		merge = ", a merge"
	}
	g.line(bold, commitLine(e.Commit))
	g.line(mark, "  "+string(e.Verdict)+merge)
	for i, c := range e.Changes {
		if i == maxChanges && !g.o.Verbose {
			g.line(dim, "    and "+counted(int64(len(e.Changes)-i), "more step"))
			break
		}
		change(g, &c)
	}
	for _, p := range e.Problems {
		g.item(plain, "    "+g.pos(p.Pos)+"  ", p.Message)
	}
	if e.Refs != nil {
		refChange(g, e.Refs, e.Verdict)
	}
	if e.Config && e.Verdict == lineage.Config {
		g.line(plain, "    the images' config differs; every step is the same")
	}
	if s := stepCounts(e.Inherit); s != "" {
		g.line(plain, "    inherited by "+s)
	}
	for _, m := range e.Moves {
		g.item(red, "    from here on at every commit  ", moving(g, m))
	}
	for _, m := range e.Stops {
		g.item(plain, "    no longer at every commit  ", moving(g, m))
	}
	for _, f := range e.Inert {
		g.line(dim, "    inert: "+factor(f))
	}
	if e.Back != "" {
		g.line(plain, "    the fleet is again as it was at "+shortHash(e.Back))
	}
}

// change shows a step that differs: where, why, and which step.
func change(g *page, c *lineage.Change) {
	at, what := c.Pos, "this step is new"
	switch {
	case c.Status == delta.Gone:
		what = "this step is gone"
	case len(c.Causes) > 0:
		what = cause(c)
		if own := c.Causes[0].Pos; own.Line > 0 {
			at = own
		}
	}
	g.item(plain, "    "+g.pos(at)+"  ", what)
	step := c.Step.Text
	if c.Step.Stage != "" {
		step = "[" + c.Step.Stage + "] " + step
	}
	if c.Pos.Line > 0 && c.Pos != at {
		step = fmt.Sprintf("line %d, %s", c.Pos.Line, step)
	}
	images := ""
	if c.PerImage {
		images = fmt.Sprintf(", for %s", counted(int64(c.Images), "image"))
	}
	g.line(dim, "      in "+cut(clean(step), max(20, g.o.Width-28))+images)
}

// cause says what differs about a step: what says most, lock files that are not
// named by that, and how much more there is.
func cause(c *lineage.Change) string {
	x := c.Causes[0]
	s := blame(x, c.Files)
	for _, lock := range c.Locks {
		if !slices.Contains(c.Files[:min(len(c.Files), maxPaths)], lock) {
			s += "; lock file " + lock
		}
	}
	more := -1
	for _, other := range c.Causes {
		if other.Kind != graph.FacetCommand || other == x { // what an instruction comes to follows from it
			more++
		}
	}
	if more > 0 {
		s += "; " + counted(int64(more), "more cause")
	}
	return s
}

func refChange(g *page, r *lineage.RefChange, v lineage.Verdict) {
	head := "    "
	if r.Pos.File != "" {
		head += g.pos(r.Pos) + "  "
	}
	var parts []string
	if r.Bases > 0 {
		parts = append(parts, counted(int64(r.Bases), "base")+" changed")
	}
	if r.Renamed > 0 {
		s := fmt.Sprintf("%s of %s refs renamed", Count(int64(r.Renamed)), Count(int64(r.Total)))
		if v == lineage.Renamed {
			s += ", content unchanged"
		}
		parts = append(parts, s)
	}
	if r.Added > 0 {
		parts = append(parts, counted(int64(r.Added), "image")+" added")
	}
	if r.Removed > 0 {
		parts = append(parts, counted(int64(r.Removed), "image")+" removed")
	}
	g.item(plain, head, strings.Join(parts, ", "))
	if r.New != "" || r.Old != "" {
		g.para(dim, "      ", r.Old+" -> "+r.New)
	}
}

func stepCounts(s lineage.Steps) string {
	var parts []string
	if s.PerImage > 0 {
		parts = append(parts, counted(int64(s.PerImage), "per-image step"))
	}
	if s.Shared > 0 {
		parts = append(parts, counted(int64(s.Shared), "shared step"))
	}
	return strings.Join(parts, " and ")
}

// moving is a step that runs again at every commit.
func moving(g *page, m lineage.Moving) string {
	s := g.pos(m.Pos) + "  " + short(m.Step.Text)
	if len(m.Causes) > 0 {
		x := m.Causes[0]
		s += ", by " + named(x)
		if x.Pos.Line > 0 && x.Pos != m.Pos {
			s += fmt.Sprintf(" (line %d)", x.Pos.Line)
		}
	}
	if n := stepCounts(m.Inherit); n != "" {
		s += ", and " + n + " with it"
	}
	return s
}

func factor(f lineage.Factor) string {
	return blame(delta.Cause{Kind: graph.FacetKind(f.Kind), Name: f.Name, Old: f.Old, New: f.New}, nil)
}

// footing says what holds for the line as a whole.
func footing(g *page, r *lineage.Report) {
	if len(r.Moving) > 0 || r.MovingRefs > 0 || r.MovingConfig {
		g.blank()
		g.line(bold, "at every commit, as of the last")
		for _, m := range r.Moving {
			mark := plain
			if m.PerImage {
				mark = red
			}
			where := "shared"
			if m.PerImage {
				where = "per-image"
			}
			g.item(mark, "  "+pad(where, 11), moving(g, m))
		}
		if r.MovingRefs > 0 {
			g.line(plain, "  "+pad("refs", 11)+fmt.Sprintf("%s of %s are new", Count(int64(r.MovingRefs)), Count(int64(r.Refs))))
		}
		if r.MovingConfig {
			g.line(plain, "  "+pad("config", 11)+"the images' configs differ")
		}
	}
	if len(r.Factors) > 0 {
		g.blank()
		g.line(bold, "changed without effect")
		for _, f := range r.Factors {
			g.line(plain, fmt.Sprintf("  %s %s, at %s", f.Kind, f.Name, counted(int64(f.Commits), "commit")))
		}
	}
	if len(r.Notes) > 0 {
		g.blank()
		for _, n := range r.Notes {
			g.item(dim, "note  ", n)
		}
	}
}
