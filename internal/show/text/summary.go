package text

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
)

const (
	maxFailures = 10 // causes shown
	logLines    = 12 // lines shown of a failed step's output
)

// Summary renders what a person wants first: how many images are in place, what
// failed and why, and what it took. It works on a summary that goes on, too.
func Summary(w io.Writer, s *summary.Summary, o Options) error {
	g := newPage(o)
	outcome(g, s)
	took(g, s, false)
	failures(g, s.Failures)
	remarks(g, s, "warning")
	return g.to(w)
}

// Show renders all that a summary holds: what came of the run, what its steps
// cost, where its time went, its disk over time, and what failed.
func Show(w io.Writer, s *summary.Summary, o Options) error {
	g := newPage(o)
	about(g, s)
	g.blank()
	outcome(g, s)
	steps(g, s)
	phases(g, s)
	parts(g, s.Parts)
	chart(g, s)
	took(g, s, true)
	failures(g, s.Failures)
	remarks(g, s, "")
	return g.to(w)
}

// about says which run it was.
func about(g *page, s *summary.Summary) {
	g.line(bold, "run "+s.Run)
	if s.Imported != "" {
		g.para(plain, "manifest  ", s.Imported)
		g.para(plain, "observed  ", "builds of another program, as its own manifest tells of them, which nothing attests: steps, cache, disk and bytes are not known")
	} else if s.Observed {
		g.para(plain, "command   ", s.Fleet)
		g.para(plain, "observed  ", "builds of another program, as its daemon saw them; nothing was planned")
	} else {
		g.para(plain, "fleet     ", s.Fleet)
	}
	if s.Started != nil {
		text := s.Started.UTC().Format("2006-01-02 15:04:05 UTC")
		if s.Starts > 1 {
			text += fmt.Sprintf(", resumed %s", counted(int64(s.Starts-1), "time"))
		}
		g.para(plain, "started   ", text)
	}
	switch {
	case s.Exit == nil:
		g.para(plain, "ended     ", "no: it goes on, or was killed")
	case *s.Exit == 0:
		g.para(plain, "ended     ", "done")
	default:
		g.para(red, "ended     ", strings.TrimSuffix(fmt.Sprintf("exit %d: %s", *s.Exit, s.Cause), ": "))
	}
	if l := s.Limits; l != nil {
		g.para(plain, "limits    ", limits(l))
	}
	if len(s.Versions) > 0 {
		var list []string
		for name, v := range s.Versions {
			list = append(list, name+" "+v)
		}
		sort.Strings(list)
		g.para(plain, "versions  ", strings.Join(list, "; "))
	}
}

// outcome says in one line how it went, and counts.
func outcome(g *page, s *summary.Summary) {
	mark, text := verdictOf(s)
	for _, l := range wrap(clean(text), g.o.Width, g.o.Width) {
		g.line(mark, l)
	}
	if s.Images > 0 {
		g.blank()
	}
	for _, r := range states(s) {
		g.line(plain, fmt.Sprintf("%7s  %s", r[0], r[1]))
	}
}

// verdictOf says in one line how a run went.
func verdictOf(s *summary.Summary) (style, string) {
	done := s.Built + s.Skipped + s.Retagged
	mark, text := bold, ""
	switch {
	case s.Images == 0:
		text = "no images"
	case done == s.Images && done == s.Skipped:
		text = "nothing to do: all " + counted(int64(done), "image") + " are in place"
	case done == s.Images:
		text = "all " + counted(int64(done), "image") + " are in place"
	default:
		text = fmt.Sprintf("%s of %s in place", Count(int64(done)), counted(int64(s.Images), "image"))
	}
	if s.Images == 1 {
		text = strings.Replace(strings.Replace(text, "all 1 image are", "the image is", 1), "of 1 image in", "of 1 image is in", 1)
	}
	if s.Failed > 0 {
		mark = red
		text += fmt.Sprintf(", %s failed", Count(int64(s.Failed)))
	}
	if s.Pending > 0 {
		text += fmt.Sprintf(", %s to go", Count(int64(s.Pending)))
	}
	if s.WallSeconds != nil {
		text += ", after " + seconds(*s.WallSeconds)
	}
	return mark, text
}

// states are how many images are in which state, those that there are.
func states(s *summary.Summary) (rows [][]string) {
	where := ", in the registry"
	if s.Output != "" {
		where = ""
	}
	for _, r := range []struct {
		n    int
		what string
	}{
		{s.Strategies["append"], "appended: shared layers over the base" + where},
		{s.Strategies["build"], "built: a solve of its own"},
		{s.Built - s.Strategies["append"] - s.Strategies["build"], "published"},
		{s.Retagged, "retagged: the content was there under another tag"},
		{s.Skipped, "skipped: in place already"},
		{s.Failed, "failed"},
		{s.Pending, "to go"},
	} {
		if r.n > 0 {
			rows = append(rows, []string{Count(int64(r.n)), r.what})
		}
	}
	return rows
}

// took says what the run cost; all also how the disk was kept, and what the
// tables of a whole page do not say. What was not measured is not shown.
func took(g *page, s *summary.Summary, all bool) {
	rows := tookRows(s, all)
	if len(rows) > 0 {
		g.blank()
	}
	for _, r := range rows {
		g.para(plain, fmt.Sprintf("%-10s", r[0]), r[1])
	}
}

// tookRows is what took shows: names and values.
func tookRows(s *summary.Summary, all bool) (rows [][]string) {
	row := func(name string, parts []string) {
		if len(parts) > 0 {
			rows = append(rows, []string{name, strings.Join(parts, ", ")})
		}
	}
	if s.Output != "" {
		row("output", []string{s.Output})
	}
	if !all {
		row("phases", phaseParts(s.PhaseSeconds))
	}
	row("steps", stepParts(s))
	if t := s.Temperature; t != nil && t.Cold+t.Partial+t.Warm > 0 {
		var p []string
		p = number(p, int64(t.Cold), "cold")
		p = number(p, int64(t.Partial), "partial")
		p = number(p, int64(t.Warm), "warm")
		row("cache", number(p, int64(t.Skipped), "skipped"))
	}
	if s.Requests != nil {
		p := []string{perHost(s.Requests)}
		if s.Retries != nil && *s.Retries > 0 {
			p = append(p, Count(*s.Retries)+" of them again")
		}
		row("requests", p)
	}
	row("bytes", moved(s))
	row("disk", diskParts(s))
	if all {
		row("releases", releaseParts(s.Releases))
		row("records", recordParts(s.Workers))
		row("pressure", pressure(s.DiskCurve))
	}
	row("workers", workerParts(s.Workers))
	row("retries", retryParts(s.RetriesByCause))
	if all {
		for _, r := range forecastRows(s) {
			row(r[0], r[1:])
		}
	}
	return rows
}

func stepParts(s *summary.Summary) []string {
	var p []string
	if s.StepsExecuted != nil {
		p = append(p, Count(*s.StepsExecuted)+" executed")
	}
	if s.StepsCached != nil && *s.StepsCached > 0 {
		p = append(p, Count(*s.StepsCached)+" cached")
	}
	if s.Rework != nil && *s.Rework > 1.005 {
		p = append(p, fmt.Sprintf("each distinct one %.2f times", *s.Rework))
	}
	return p
}

// moved says what crossed the network, "none" when it was measured and nothing did.
func moved(s *summary.Summary) []string {
	var p []string
	for _, x := range []struct {
		n    *int64
		what string
	}{{s.BytesPulled, "pulled"}, {s.BytesPushed, "pushed"}, {s.BytesMounted, "mounted"}} {
		if x.n != nil && *x.n > 0 {
			p = append(p, Bytes(*x.n)+" "+x.what)
		}
	}
	if s.MountsRefused != nil && *s.MountsRefused > 0 {
		p = append(p, counted(*s.MountsRefused, "mount")+" refused")
	}
	if len(p) == 0 && s.BytesPushed != nil {
		p = []string{"none"}
	}
	return p
}

func diskParts(s *summary.Summary) []string {
	var p []string
	if s.DiskPeakBytes != nil {
		p = append(p, Bytes(*s.DiskPeakBytes)+" in use on the daemon's disk at most")
		if s.DiskBudgetBytes != nil {
			p[0] += " (of " + Bytes(*s.DiskBudgetBytes) + ")"
		}
	}
	p = size(p, s.DiskFinalBytes, "at the end")
	p = size(p, s.ReleasedBytes, "released")
	if s.ReleasedBytes != nil && s.ReleaseSeconds != nil {
		p[len(p)-1] += " in " + seconds(*s.ReleaseSeconds)
	}
	return p
}

func size(parts []string, n *int64, what string) []string {
	if n == nil {
		return parts
	}
	return append(parts, Bytes(*n)+" "+what)
}

func number(parts []string, n int64, what string) []string {
	if n == 0 {
		return parts
	}
	return append(parts, Count(n)+" "+what)
}

// failures shows each cause once, with the images that it stopped.
func failures(g *page, list []*summary.Failure) {
	for i, f := range list {
		g.blank()
		if i == maxFailures {
			rest := 0
			for _, x := range list[i:] {
				rest += len(x.Images)
			}
			g.line(red, fmt.Sprintf("%s failed, of %s", counted(int64(rest), "more image"), counted(int64(len(list)-i), "other cause")))
			return
		}
		what := counted(int64(len(f.Images)), "image") + " failed"
		switch {
		case f.Shared && f.Step != "":
			what += ", all by one shared step"
		case f.Shared:
			what += ", all for one reason"
		}
		cause, _, _ := strings.Cut(f.Cause, "\n")
		g.item(red, what+": ", g.local(cause))
		if f.Step != "" && !strings.Contains(cause, f.Step) {
			g.para(plain, "  step  ", f.Step)
		}
		if f.Help != "" {
			g.para(plain, "  help  ", f.Help)
		}
		g.para(dim, "  of    ", some(slices.Sorted(slices.Values(f.Images)), 5))
		for _, l := range logEnd(f.Log) {
			g.line(dim, "  | "+l)
		}
	}
}

// logEnd are the last lines of an output.
func logEnd(log string) []string {
	if log == "" {
		return nil
	}
	lines := strings.Split(strings.TrimRight(log, "\n"), "\n")
	lines = slices.Clone(lines[max(0, len(lines)-logLines):])
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, "\r")
	}
	return lines
}

// some lists the first few.
func some(ids []string, n int) string {
	if len(ids) <= n {
		return strings.Join(ids, ", ")
	}
	return fmt.Sprintf("%s and %s more", strings.Join(ids[:n], ", "), Count(int64(len(ids)-n)))
}

// remarks shows the notes of a level, of every level when it is "".
func remarks(g *page, s *summary.Summary, level string) {
	first := true
	for _, n := range s.Notes {
		if level != "" && n.Level != level {
			continue
		}
		if first {
			g.blank()
			first = false
		}
		mark := plain
		if n.Level == "warning" {
			mark = amber
		}
		g.item(mark, n.Level+": ", n.Text)
	}
}
