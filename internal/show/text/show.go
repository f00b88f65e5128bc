package text

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/evidence"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// maxSteps is the number of steps shown one by one.
const maxSteps = 20

// steps is the table of steps, the one that cost most in all first.
func steps(g *page, s *summary.Summary) {
	var list []*summary.Step
	for _, x := range s.Steps {
		if x.Kind == "" && evidence.KindOf(x.Name) == "" && len(s.Parts) > 0 {
			continue // the solver's own, which the parts account for
		}
		list = append(list, x)
	}
	if len(list) == 0 {
		return
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].TotalSeconds > list[j].TotalSeconds })
	g.blank()
	g.line(bold, "   ran cached      total        p50        p95  step")
	for _, x := range list[:min(len(list), maxSteps)] {
		step(g, x)
	}
	stepRest(g, list)
}

func step(g *page, s *summary.Step) {
	mark, name := plain, clean(s.Name)
	if s.Failed > 0 {
		mark = red
		name = fmt.Sprintf("%s failed: %s", Count(s.Failed), name)
	}
	left := fmt.Sprintf("%6s %6s %10s %10s %10s  ", Count(s.Executed), Count(s.Cached), seconds(s.TotalSeconds), orDash(s.P50Seconds), orDash(s.P95Seconds))
	if room := g.o.Width - len(left); room >= 20 {
		g.line(mark, left+cut(name, room))
		return
	}
	g.line(mark, left)
	g.line(mark, "        "+cut(name, g.o.Width-8))
}

func orDash(s *float64) string {
	if s == nil {
		return "-"
	}
	return seconds(*s)
}

// stepRest sums up the steps that are not shown, and says how much the cache
// had when it had something.
func stepRest(g *page, list []*summary.Step) {
	var names, ran, found int64
	var took float64
	for i, x := range list {
		if x.Executed == 0 {
			found++
		}
		if i >= maxSteps {
			names++
			ran += x.Executed
			took += x.TotalSeconds
		}
	}
	var p []string
	if names > 0 {
		p = append(p, fmt.Sprintf("%s ran %s in %s", counted(names, "more step"), counted(ran, "time"), seconds(took)))
	}
	if found > 0 {
		p = append(p, fmt.Sprintf("%s of %s found in the cache every time", Count(found), counted(int64(len(list)), "step")))
	}
	if len(p) > 0 {
		g.para(dim, "        ", strings.Join(p, "; "))
	}
}

// phaseOrder is the order in which phases are met.
func phaseOrder() []string {
	return []string{"prepare", "resolve", "plan", "shared", "images", "publish", "release"}
}

// PhaseNames lists the phases that there were, unknown ones last.
func PhaseNames(by map[string]float64) []string {
	var names, others []string
	for _, name := range phaseOrder() {
		if _, ok := by[name]; ok {
			names = append(names, name)
		}
	}
	for name := range by {
		if !slices.Contains(names, name) {
			others = append(others, name)
		}
	}
	sort.Strings(others)
	return append(names, others...)
}

func phaseParts(by map[string]float64) []string {
	var parts []string
	for _, name := range PhaseNames(by) {
		parts = append(parts, name+" "+seconds(by[name]))
	}
	return parts
}

// phases is a table of the run's time, with bars; phases overlap.
func phases(g *page, s *summary.Summary) {
	names := PhaseNames(s.PhaseSeconds)
	if len(names) == 0 || s.WallSeconds == nil || *s.WallSeconds <= 0 {
		return
	}
	g.blank()
	g.line(bold, "                   total  share  phase")
	for _, name := range names {
		share := min(max(s.PhaseSeconds[name] / *s.WallSeconds, 0), 1)
		left := fmt.Sprintf("%24s %4.0f %%  %s ", seconds(s.PhaseSeconds[name]), 100*share, pad(name, 8))
		g.line(plain, left+bar(share, min(g.o.Width-width(left), 40)))
	}
}

// bar renders a share of 1 in eighths of a column.
func bar(share float64, cols int) string {
	eighths := int(share*float64(cols)*8 + 0.5)
	if eighths <= 0 {
		return ""
	}
	out := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		out += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return out
}

// parts is a table of where the time of images went.
func parts(g *page, list []*summary.Part) {
	if len(list) == 0 {
		return
	}
	g.blank()
	g.line(bold, "images             total        p50        p95  part")
	for _, p := range list {
		name := partMeaning(p.Name)
		if p.Shared {
			name = p.Name + ", for shared steps"
		}
		left := fmt.Sprintf("%6s        %10s %10s %10s  ", Count(p.Count), seconds(p.TotalSeconds), orDash(p.P50Seconds), orDash(p.P95Seconds))
		if room := g.o.Width - len(left); room >= 12 {
			g.line(plain, left+cut(clean(name), room))
			continue
		}
		g.line(plain, left)
		g.line(plain, "        "+name)
	}
}

// partMeaning explains the parts whose names do not.
func partMeaning(name string) string {
	switch name {
	case "wait":
		return "wait for a solve"
	case journal.PartPull, journal.PartUnpack, journal.PartResolve:
		return name + " the base"
	case "steps":
		return "steps on the base"
	case journal.PartExport, journal.PartPush:
		return name + " layers"
	}
	return name
}

func limits(l *summary.Limits) string {
	p := []string{counted(int64(l.Jobs), "solve") + " at once"}
	if l.Workers > 1 {
		p[0] += fmt.Sprintf(" on each of %d workers", l.Workers)
	}
	if l.BudgetBytes > 0 {
		p = append(p, "disk "+Bytes(l.BudgetBytes))
	}
	if l.BudgetShare > 0 {
		p = append(p, fmt.Sprintf("disk %.0f %%", 100*l.BudgetShare))
	}
	if l.LeaveFreeBytes > 0 {
		p = append(p, Bytes(l.LeaveFreeBytes)+" stay free")
	}
	if l.Seconds > 0 {
		p = append(p, "time "+seconds(l.Seconds))
	}
	return strings.Join(p, ", ")
}

func releaseParts(r *summary.Releases) []string {
	if r == nil || r.Count == 0 {
		return nil
	}
	p := []string{Count(r.Count)}
	if r.Images > 0 {
		p[0] += " for " + counted(r.Images, "image")
		if r.OwnBytes > 0 {
			p[0] += " with " + Bytes(r.OwnBytes/r.Images) + " of its own each"
		}
	}
	if r.P50Seconds != nil && r.P95Seconds != nil {
		p = append(p, fmt.Sprintf("half within %s, 95 %% within %s, the longest %s", seconds(*r.P50Seconds), seconds(*r.P95Seconds), seconds(r.LongestSeconds)))
	}
	if r.Failed > 0 {
		p = append(p, Count(r.Failed)+" not complete")
	}
	if r.TimedOut > 0 {
		p = append(p, Count(r.TimedOut)+" out of time")
	}
	return p
}

// recordParts says what the daemons' records held, by type.
func recordParts(workers []*summary.Worker) []string {
	var p []string
	for _, w := range workers {
		for _, kind := range slices.Sorted(func(yield func(string) bool) {
			for kind := range w.Records {
				if !yield(kind) {
					return
				}
			}
		}) {
			u := w.Records[kind]
			text := fmt.Sprintf("%s %s (%s at most)", kind, Bytes(u.FinalBytes), Bytes(u.PeakBytes))
			if len(workers) > 1 {
				text = w.Name + ": " + text
			}
			p = append(p, text)
		}
	}
	return p
}

func pressure(curve []summary.DiskPoint) []string {
	var io, memory float64
	for _, x := range curve {
		io, memory = max(io, x.IO), max(memory, x.Memory)
	}
	var p []string
	if io > 0 {
		p = append(p, fmt.Sprintf("tasks waited for the disk %.0f %% of the time at most", io))
	}
	if memory > 0 {
		p = append(p, fmt.Sprintf("for memory %.0f %%", memory))
	}
	return p
}

// workerParts tells of workers when there are several, or one was lost.
func workerParts(list []*summary.Worker) []string {
	if len(list) == 0 || len(list) == 1 && list[0].Lost == 0 {
		return nil
	}
	var p []string
	for _, w := range list {
		text := fmt.Sprintf("%s %s", w.Name, counted(int64(w.Images), "image"))
		if w.DiskPeakBytes != nil && len(list) > 1 {
			text += " with " + Bytes(*w.DiskPeakBytes) + " at most"
		}
		if w.Lost > 0 {
			text += fmt.Sprintf(" (lost %s", counted(int64(w.Lost), "time"))
			if cause, _, _ := strings.Cut(w.LostCause, "\n"); cause != "" {
				text += ": " + cause
			}
			text += ")"
		}
		p = append(p, text)
	}
	return p
}

func retryParts(by map[string]int) []string {
	words := []struct{ cause, text string }{
		{journal.RetryPassing, "for what passes"}, {journal.RetryDisk, "as the disk was full"},
		{journal.RetryBudget, "to keep the budget"}, {journal.RetryWorker, "as the worker was gone"},
	}
	var p, others []string
	known := map[string]bool{}
	for _, x := range words {
		known[x.cause] = true
		p = number(p, int64(by[x.cause]), x.text)
	}
	for cause, n := range by {
		if !known[cause] {
			others = number(others, int64(n), cause)
		}
	}
	sort.Strings(others)
	return append(p, others...)
}

// forecastRows compare what was forecast after a tenth of the images, or as
// soon as there was a forecast, with what became of it.
func forecastRows(s *summary.Summary) [][]string {
	if len(s.Forecasts) == 0 {
		return nil
	}
	f := s.Forecasts[len(s.Forecasts)-1]
	for _, x := range s.Forecasts {
		if x.Done*10 >= s.Images {
			f = x
			break
		}
	}
	over := s.Exit != nil && s.Pending == 0
	compare := func(r summary.Range, truth *float64, show func(float64) string) string {
		out := fmt.Sprintf("%s [%s to %s]", show(r.Value), show(r.Low), show(r.High))
		switch {
		case truth == nil:
		case !over:
			out += "; now " + show(*truth)
		case r.Holds(*truth):
			out += "; it was " + show(*truth) + ", inside"
		default:
			out += "; it was " + show(*truth) + ", outside"
		}
		return out
	}
	rows := [][]string{{"forecast", fmt.Sprintf("after %s of %s: ", Count(int64(f.Done)), counted(int64(s.Images), "image")) + compare(f.WallSeconds, s.WallSeconds, seconds)}}
	if f.PeakBytes != nil {
		var peak *float64
		if s.DiskPeakBytes != nil {
			v := float64(*s.DiskPeakBytes)
			peak = &v
		}
		rows = append(rows, []string{"", "disk " + compare(*f.PeakBytes, peak, func(v float64) string { return Bytes(int64(v)) })})
	}
	return rows
}
