package answer

import (
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// Grid is one metric in every cell.
type Grid struct {
	Metric       string                   `json:"metric"`
	Unit         metric.Unit              `json:"unit"`
	Temperatures []experiment.Temperature `json:"temperatures"`
	Rows         []GridRow                `json:"rows"`
}

// GridRow is a setting, "" in an experiment without factors. Cells are in the
// order of the grid's temperatures; nil where the experiment has none.
type GridRow struct {
	Setting string      `json:"setting"`
	Cells   []*GridCell `json:"cells"`
}

// GridCell is what the trials of a cell gave.
type GridCell struct {
	Cell string `json:"cell"`
	// Low and High are the least and the greatest value, Value the mean; null
	// without one.
	Low   *float64 `json:"low"`
	Value *float64 `json:"value"`
	High  *float64 `json:"high"`
	// Censored is true when a trial was cut short: the values are bounds.
	Censored bool     `json:"censored,omitempty"`
	Trials   []string `json:"trials"`
	// Contaminated counts the trials that do not count.
	Contaminated int `json:"contaminated,omitempty"`
}

// Grid lays a metric out by setting and temperature.
func (t *Trials) Grid(m metric.Metric) Grid {
	m = t.as(m)
	g := Grid{Metric: m.Name, Unit: m.Unit, Rows: []GridRow{}}
	for _, temperature := range experiment.Temperatures() {
		if slices.ContainsFunc(t.e.Cells, func(c experiment.Cell) bool { return c.Temperature == temperature }) {
			g.Temperatures = append(g.Temperatures, temperature)
		}
	}
	for _, c := range t.e.Cells {
		if c.Control {
			continue
		}
		i := slices.IndexFunc(g.Rows, func(r GridRow) bool { return r.Setting == c.Setting })
		if i < 0 {
			i = len(g.Rows)
			g.Rows = append(g.Rows, GridRow{c.Setting, make([]*GridCell, len(g.Temperatures))})
		}
		g.Rows[i].Cells[slices.Index(g.Temperatures, c.Temperature)] = t.gridCell(m, c.ID())
	}
	return g
}

func (t *Trials) gridCell(m metric.Metric, cell string) *GridCell {
	out := &GridCell{Cell: cell, Trials: ids(t.Counted(cell)), Contaminated: len(t.results.Of(cell).Contaminated())}
	values := t.values(m, cell, "")
	if len(values) == 0 {
		return out
	}
	mid, low, high := mean(values), values[0].V, values[0].V
	for _, v := range values {
		low, high, out.Censored = min(low, v.V), max(high, v.V), out.Censored || v.Censored
	}
	if m.Kind == stat.Timed {
		if r, ok := stat.Middle(values, 0); ok {
			mid = r.Value
		}
	}
	out.Low, out.Value, out.High = &low, &mid, &high
	return out
}
