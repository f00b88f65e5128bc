// Package gobench writes the trials of an experiment in the format of Go's
// benchmarks (golang.org/design/14313-benchmark-format), which benchstat and other
// programs read.
package gobench

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// Write writes a line for every trial that counts, by cell, with every metric that
// it tells. Values of trials that were cut short are bounds, and are left out. Where
// the trials of each cell agree, a metric that is no time is said to be exact. Metrics
// that are 0 in every trial are left out: benchstat remarks on each 0 that it has no
// geometric mean.
//
// The cell is in the keys setting and temperature, so that `benchstat -col setting`
// lays settings side by side, at each temperature. As a part of the name a setting
// such as django-11099 would lose its end, which is taken for a number of
// processors; and benchstat would average over temperatures. The name of the trial
// is in a comment above.
func Write(w io.Writer, t *answer.Trials) error {
	b := bufio.NewWriter(w)
	e := t.Experiment()
	fmt.Fprintf(b, "experiment: %s\nspec: %s\n\n", oneLine(e.Name), e.Digest())
	metrics := slices.DeleteFunc(metric.Every(), func(m metric.Metric) bool { return t.Zero(m) })
	for _, m := range metrics {
		switch {
		case t.Exact(m):
			fmt.Fprintf(b, "Unit %s assume=exact\n", Unit(m))
		case m.Kind == stat.Timed && m.Higher:
			fmt.Fprintf(b, "Unit %s better=higher\n", Unit(m))
		case m.Kind == stat.Timed:
			fmt.Fprintf(b, "Unit %s better=lower\n", Unit(m))
		}
	}
	for _, c := range e.Cells {
		head := cell(c)
		for _, o := range t.Counted(c.ID()) {
			line := ""
			for _, m := range metrics {
				if v, ok := m.Of(o.Summary); ok && !v.Censored {
					line += " " + strconv.FormatFloat(v.V, 'g', -1, 64) + " " + Unit(m)
				}
			}
			if line != "" {
				fmt.Fprintf(b, "%s# trial %s\nBenchmarkTrial 1%s\n", head, o.ID, line)
				head = ""
			}
		}
	}
	return b.Flush()
}

// cell is the keys of a cell.
func cell(c experiment.Cell) string {
	temperature := string(c.Temperature)
	if c.Control {
		temperature += "+aa"
	}
	return fmt.Sprintf("\nsetting: %s\ntemperature: %s\n", c.Setting, temperature)
}

// Unit is a metric's unit as benchstat shows it: with -sec and -B at the end where
// it can scale the value.
func Unit(m metric.Metric) string {
	switch m.Unit {
	case metric.Seconds:
		return strings.Replace(m.Name, "Seconds", "", 1) + "-sec"
	case metric.Bytes:
		name := strings.TrimSuffix(strings.TrimPrefix(m.Name, "bytes"), "Bytes")
		return strings.ToLower(name[:1]) + name[1:] + "-B"
	case metric.Rate:
		return "images/h"
	}
	return m.Name
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
