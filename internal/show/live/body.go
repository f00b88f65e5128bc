package live

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

const (
	// cellWidth is the least that a solve takes when several stand side by side.
	cellWidth = 75
	// problemShare is the part of the lines that problems may take when the solves
	// need them all: one in problemShare.
	problemShare = 3
)

// body is what goes on on each worker, and the last problems, in at most room lines.
func (f *frame) body(room int) []line {
	problems := f.problems()
	work := f.work()
	if n := len(problems); len(work)+n > room {
		n = min(n, max(room-len(work), room/problemShare))
		problems = problems[:max(n, 0)]
	}
	if left := room - len(problems); len(work) > left {
		work = f.cut(work, left)
	}
	return append(lines(work), problems...)
}

// row is a line of the work, with the number of solves that it shows.
type row struct {
	line   line
	solves int
}

func lines(rows []row) []line {
	var out []line
	for _, r := range rows {
		out = append(out, r.line)
	}
	return out
}

// cut leaves out solves for which there is no line, and says how many.
func (f *frame) cut(rows []row, n int) []row {
	if n < 1 {
		return nil
	}
	hidden := 0
	for _, r := range rows[n-1:] {
		hidden += r.solves
	}
	return append(slices.Clone(rows[:n-1]), row{line: line{{dim, fmt.Sprintf("  and %s more", text.Count(int64(hidden)))}}})
}

// work is a line for each worker, and its solves below it.
func (f *frame) work() []row {
	out := []row{{}}
	for _, w := range f.workers() {
		out = append(out, row{line: f.worker(w)})
		var cells []line
		cols := max(1, f.o.Width/cellWidth)
		wide := f.o.Width / cols
		for _, x := range f.s.Live.Slots {
			if x.Worker == w.Name {
				cells = append(cells, f.slot(x, wide-cols/2))
			}
		}
		for c := range slices.Chunk(cells, cols) {
			var l line
			for i, cell := range c {
				if i > 0 {
					l = append(l, seg{plain, strings.Repeat(" ", max(i*wide-l.width(), 1))})
				}
				l = append(l, cell...)
			}
			out = append(out, row{l, len(c)})
		}
	}
	if len(out) == 1 {
		return nil
	}
	return out
}

// workers are those that are known, and those that solve something; by name.
func (f *frame) workers() []summary.Worker {
	var out []summary.Worker
	known := map[string]bool{}
	for _, w := range f.s.Workers {
		known[w.Name] = true
		out = append(out, *w)
	}
	for _, x := range f.s.Live.Slots {
		if !known[x.Worker] {
			known[x.Worker] = true
			out = append(out, summary.Worker{Name: x.Worker})
		}
	}
	slices.SortFunc(out, func(a, b summary.Worker) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (f *frame) worker(w summary.Worker) line {
	busy := 0
	for _, x := range f.s.Live.Slots {
		if x.Worker == w.Name {
			busy++
		}
	}
	state := fmt.Sprintf("  %d at work", busy)
	if f.s.Limits != nil && f.s.Limits.Jobs > 0 {
		state = fmt.Sprintf("  %d of %d at work", busy, f.s.Limits.Jobs)
	}
	l := line{{bold, w.Name}, {plain, state}}
	if w.Images > 0 {
		l = append(l, seg{plain, ", " + text.Count(int64(w.Images)) + " built"})
	}
	if d := w.DiskFinalBytes; d != nil && len(f.s.Workers) > 1 {
		label := ", disk " + text.Bytes(*d)
		if w.DiskBudgetBytes != nil {
			label += " of " + text.Bytes(*w.DiskBudgetBytes)
		}
		l = append(l, seg{plain, label})
	}
	if w.Lost > 0 {
		l = append(l, seg{amber, fmt.Sprintf(", lost %d times", w.Lost)})
		if w.Lost == 1 {
			l[len(l)-1].text = ", lost once"
		}
	}
	return l
}

// slot is one solve in n columns: its place, image, step and time.
func (f *frame) slot(x *summary.Slot, n int) line {
	took := brief(f.now - x.Since)
	mark, what, step := plain, x.Unit, x.Step
	if x.Unit == "" {
		what = "shared: " + x.Shared
		if step == x.Shared {
			step = ""
		}
	}
	if x.Unit != "" && x.Unit == f.o.Chosen {
		mark = reverse
	}
	place := fmt.Sprintf("%3d ", x.Place+1)
	room := n - len(place) - len(took) - 2
	if room < 12 {
		return fitted([]seg{{dim, place}, {mark, what}}, n)
	}
	if step == "" {
		return line{{dim, place}, {mark, text.Pad(what, room+1)}, {dim, took}}
	}
	left := min(max(room*2/5, 10), text.Width(text.Cut(what, room)))
	left = max(left, min(room*2/5, 34))
	return line{{dim, place}, {mark, text.Pad(what, left)}, {plain, " " + text.Pad(step, room-left-1) + " "}, {dim, took}}
}

// brief is a time in six columns.
func brief(d time.Duration) string {
	s := max(int64(d/time.Second), 0)
	switch {
	case s < 100:
		return fmt.Sprintf("%5ds", s)
	case s < 6000:
		return fmt.Sprintf("%2dm%02ds", s/60, s%60)
	}
	return fmt.Sprintf("%2dh%02dm", s/3600, s/60%60)
}

// problems are a line each, the latest first, below a heading.
func (f *frame) problems() []line {
	list := f.s.Live.Problems
	if len(list) == 0 {
		return nil
	}
	out := []line{{{bold, "last problems"}}}
	for _, p := range slices.Backward(list) {
		mark, what := red, "failed"
		if p.Passing {
			mark, what = amber, "passing"
		}
		if p.Count > 1 {
			what += fmt.Sprintf(" x%d", p.Count)
		}
		about := p.Unit
		if about == "" {
			about = p.Worker
		}
		chosen := plain
		if p.Unit != "" && p.Unit == f.o.Chosen {
			chosen = reverse
		}
		cause, _, _ := strings.Cut(p.Cause, "\n")
		l := line{{mark, text.Pad(what, max(10, len(what)))}, {plain, " "}}
		if about != "" {
			l = append(l, seg{chosen, about}, seg{plain, ": "})
		}
		ago := ""
		if f.o.Width >= 60 {
			ago = brief(f.now-p.At) + " ago"
		}
		l = append(l, seg{plain, text.Fit(cause, max(f.o.Width-l.width()-len(ago)-1, 8))})
		l = f.ends(l, ago)
		out = append(out, l)
	}
	return out
}
