package text

import (
	"fmt"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
)

const (
	chartRows  = 6
	chartMost  = 72 // columns of the plot
	chartLeft  = 10 // columns of the axis
	chartLeast = 3  // points that are worth a chart
)

// chart draws the disk over time, with the budget as a line and a mark below
// where something was given back.
func chart(g *page, s *summary.Summary) {
	points := s.DiskCurve
	if len(points) < chartLeast || s.DiskPeakBytes == nil || *s.DiskPeakBytes <= 0 {
		return
	}
	from := points[0].AtSeconds
	span := points[len(points)-1].AtSeconds - from
	if span <= 0 {
		return
	}
	cols := min(g.o.Width-chartLeft-2, chartMost)
	heights, marks := columns(points, from, span, cols)
	top, line := scale(s)
	g.blank()
	title := "disk"
	if s.DiskBudgetBytes != nil {
		title += ", budget " + Bytes(*s.DiskBudgetBytes)
		if line < 0 {
			title += " (far above)"
		}
	}
	g.line(bold, title)
	for row := chartRows - 1; row >= 0; row-- {
		label := ""
		switch row {
		case chartRows - 1:
			label = Bytes(int64(top))
		case 0:
			label = "0"
		}
		g.line(plain, fmt.Sprintf("%*s ┤%s", chartLeft-1, label, plot(heights, top, row, line)))
	}
	if strings.TrimSpace(marks) != "" {
		g.line(dim, fmt.Sprintf("%*s  %s", chartLeft-1, "released", marks))
	}
	end := seconds(from + span)
	begin := seconds(from)
	gap := max(cols-width(begin)-width(end), 1)
	g.line(dim, strings.Repeat(" ", chartLeft+1)+begin+strings.Repeat(" ", gap)+end)
}

// columns spreads the points over the time: the highest of each column, and
// what was before in a column without any.
func columns(points []summary.DiskPoint, from, span float64, cols int) (heights []float64, marks string) {
	heights = make([]float64, cols)
	released := make([]bool, cols)
	last, at := 0.0, -1
	for _, p := range points {
		i := min(max(int((p.AtSeconds-from)/span*float64(cols)), 0), cols-1)
		for j := at + 1; j < i; j++ {
			heights[j] = last
		}
		last = float64(p.UsedBytes)
		heights[i] = max(heights[i], last)
		released[i] = released[i] || p.ReleasedBytes > 0
		at = max(at, i)
	}
	var b strings.Builder
	for _, r := range released {
		if r {
			b.WriteRune('▼')
		} else {
			b.WriteByte(' ')
		}
	}
	return heights, b.String()
}

// scale is the value at the top of the chart, and the row of the budget; -1 when
// that is so far above that the curve would be flat.
func scale(s *summary.Summary) (top float64, line int) {
	top, line = float64(*s.DiskPeakBytes), -1
	if s.DiskBudgetBytes == nil || *s.DiskBudgetBytes > 3**s.DiskPeakBytes {
		return top, line
	}
	budget := float64(*s.DiskBudgetBytes)
	top = max(top, budget)
	return top, min(int(budget/top*chartRows), chartRows-1)
}

// plot is one row of the chart, from the bottom.
func plot(heights []float64, top float64, row, line int) string {
	blocks := []rune(" ▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, h := range heights {
		eighths := int(h/top*chartRows*8+0.5) - row*8
		c := blocks[min(max(eighths, 0), 8)]
		if c == ' ' && row == line {
			c = '┄'
		}
		b.WriteRune(c)
	}
	return b.String()
}
