package answer

import (
	"fmt"
	"maps"
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// Comparison is what the trials say of cell B against cell A.
type Comparison struct {
	A Side `json:"a"`
	B Side `json:"b"`
	// Differ are the factors whose levels differ; none in an A/A pair.
	Differ []string `json:"differ"`
	// Hosts are those inside which times are compared, when trials ran on several.
	Hosts []string `json:"hosts,omitempty"`
	// Metrics are in the order of the summary. Metrics that neither side tells are
	// left out.
	Metrics []Metric `json:"metrics"`
	// Apart says which metrics are not compared, and why.
	Apart []Apart `json:"apart,omitempty"`
}

// Side is a cell with the trials of it that count.
type Side struct {
	Cell   string   `json:"cell"`
	Trials []string `json:"trials"`
}

// Metric is what came of one metric.
type Metric struct {
	stat.Comparison
	Unit metric.Unit `json:"unit"`
	// Old and New are the values of the two sides.
	Old []stat.Value `json:"old"`
	New []stat.Value `json:"new"`
}

// Apart is metrics that are not compared.
type Apart struct {
	Metrics []string `json:"metrics"`
	Why     string   `json:"why"`
}

// Compare says how cell b differs from cell a, metric by metric; in all of them
// when none is given. The metrics share the chance of error.
//
// Cells that do not exist are an error of kind diag.Usage, and so are unlike
// conditions, within a cell or between the two, which the error names: it wraps a
// [*stat.Refusal]. Of cells that differ in the number of solves at once because
// that is a factor, counts and bytes are compared, and times are not. Times are
// compared on one host: that which ran most trials of both.
func (t *Trials) Compare(a, b string, metrics []metric.Metric) (*Comparison, error) {
	c, err := t.compare(a, b, metrics)
	if err != nil {
		return nil, err
	}
	share([]*Comparison{c})
	return c, nil
}

// share lets all metrics of comparisons share the chance of error.
func share(list []*Comparison) {
	var family []stat.Comparison
	for _, c := range list {
		for _, m := range c.Metrics {
			family = append(family, m.Comparison)
		}
	}
	family = stat.Together(family, 0)
	for _, c := range list {
		for i := range c.Metrics {
			c.Metrics[i].Comparison, family = family[0], family[1:]
		}
	}
}

// compare is Compare for metrics that each are alone.
func (t *Trials) compare(a, b string, metrics []metric.Metric) (*Comparison, error) {
	x, y, err := t.pair(a, b)
	if err != nil {
		return nil, err
	}
	if len(metrics) == 0 {
		metrics = metric.Every()
	}
	c := &Comparison{
		A: Side{a, ids(t.Counted(a))}, B: Side{b, ids(t.Counted(b))},
		Differ: append([]string{}, x.Levels.Differ(y.Levels)...), Metrics: []Metric{},
	}
	d, err := t.unlike(x, y, c.Differ)
	if err != nil {
		return nil, err
	}
	busy := func(d stat.Difference) bool { return d.Field == "concurrency" }
	jobs := slices.ContainsFunc(d, busy) && t.knob(experiment.KnobJobs, c.Differ)
	if jobs {
		d = slices.DeleteFunc(d, busy)
	}
	if err := refuse(d); err != nil {
		return nil, err
	}
	of, both := t.hosts(a, b)
	if len(of) > 1 {
		c.Hosts = both
	}
	why := ""
	switch {
	case jobs:
		why = "they ran unlike numbers of solves at once"
	case len(both) == 0 && len(c.A.Trials) > 0 && len(c.B.Trials) > 0:
		why = "no host ran trials of both"
	}
	return c, c.measure(t, metrics, why)
}

// measure compares the metrics, of times none when there is a reason why.
func (c *Comparison) measure(t *Trials, metrics []metric.Metric, why string) error {
	var apart []string
	for _, m := range metrics {
		m = t.as(m)
		old, now := t.values(m, c.A.Cell, ""), t.values(m, c.B.Cell, "")
		switch {
		case len(old)+len(now) == 0:
		case m.Kind == stat.Timed && why != "":
			apart = append(apart, m.Name)
		default:
			row, err := one(m, old, now)
			if err != nil {
				return err
			}
			c.Metrics = append(c.Metrics, row)
		}
	}
	if apart != nil {
		c.Apart = append(c.Apart, Apart{apart, why})
	}
	return nil
}

// one compares the values of one metric. Where no time was spent at all there is
// no noise.
func one(m metric.Metric, old, now []stat.Value) (Metric, error) {
	zero := func(v stat.Value) bool { return v.V == 0 && !v.Censored }
	as := m.Metric
	if all := append(slices.Clone(old), now...); as.Kind == stat.Timed && !slices.ContainsFunc(all, func(v stat.Value) bool { return !zero(v) }) {
		as.Kind = stat.Exact
	}
	cmp, err := stat.Compare(as, stat.Sample{Values: old}, stat.Sample{Values: now}, 0)
	return Metric{Comparison: cmp, Unit: m.Unit, Old: append([]stat.Value{}, old...), New: append([]stat.Value{}, now...)}, err
}

// pair looks two cells up.
func (t *Trials) pair(a, b string) (x, y experiment.Cell, err error) {
	if x, err = t.cell(a); err != nil {
		return x, y, err
	}
	if y, err = t.cell(b); err != nil {
		return x, y, err
	}
	if a == b {
		return x, y, diag.Errorf(diag.Usage, "name two cells", "compare: %s is the cell that it is compared with", a)
	}
	return x, y, nil
}

// cell looks a cell up.
func (t *Trials) cell(id string) (experiment.Cell, error) {
	c, ok := t.e.Cell(id)
	if !ok {
		var names []string
		for _, c := range t.e.Cells {
			names = append(names, c.ID())
		}
		return c, diag.Errorf(diag.Usage, diag.Suggest(id, "there are", names), "the experiment has no cell %s", id)
	}
	return c, nil
}

// unlike is what differs in the conditions of two cells. Two bumps differ in
// temperature when what they start from differs in more than they do.
func (t *Trials) unlike(x, y experiment.Cell, differ []string) ([]stat.Difference, error) {
	a, okA, err := t.conditions(x.ID())
	if err != nil {
		return nil, err
	}
	b, okB, err := t.conditions(y.ID())
	if err != nil {
		return nil, err
	}
	var d []stat.Difference
	switch {
	case okA && okB:
		d = differences(a, b)
	case x.Temperature != y.Temperature: // what was asked for is all that is known
		d = differences(stat.Conditions{Temperature: string(x.Temperature)}, stat.Conditions{Temperature: string(y.Temperature)})
	}
	if x.Temperature == experiment.Bump && y.Temperature == experiment.Bump {
		for _, f := range t.e.Setting(x.Seed).Differ(t.e.Setting(y.Seed)) {
			if !slices.Contains(differ, f) {
				return append([]stat.Difference{{Field: "temperature", A: "bump from " + x.Seed, B: "bump from " + y.Seed}}, d...), nil
			}
		}
	}
	return d, nil
}

// hosts are how many trials of each cell every host ran, and by name those that ran
// some of all.
func (t *Trials) hosts(cells ...string) (count map[string][]int, all []string) {
	count = map[string][]int{}
	for i, cell := range cells {
		for _, o := range t.Counted(cell) {
			if count[o.Host.Name] == nil {
				count[o.Host.Name] = make([]int, len(cells))
			}
			count[o.Host.Name][i]++
		}
	}
	for _, h := range slices.Sorted(maps.Keys(count)) {
		if slices.Min(count[h]) > 0 {
			all = append(all, h)
		}
	}
	return count, all
}

// host is the one whose times of several cells are set against each other: of those
// that ran trials of all, that with the most; "" when there is none.
func (t *Trials) host(cells ...string) (name string) {
	count, all := t.hosts(cells...)
	most := 0
	for _, h := range all {
		if n := slices.Min(count[h]); n > most {
			name, most = h, n
		}
	}
	return name
}

// values are a metric's in a cell, of a timed one with the host as block; only those
// of a host when one is named.
func (t *Trials) values(m metric.Metric, cell, host string) []stat.Value {
	var out []stat.Value
	for _, o := range t.Counted(cell) {
		if m.Kind == stat.Timed && host != "" && o.Host.Name != host {
			continue
		}
		if v, ok := m.Of(o.Summary); ok {
			if m.Kind == stat.Timed {
				v.Block = o.Host.Name
			}
			out = append(out, v)
		}
	}
	return out
}

// Pairs compares, in the metrics that are given or else in those that the experiment
// asks for, every pair of cells of one temperature between which one factor differs,
// and the A/A pairs first.
// All of them share the chance of error. Refused are the pairs of which conditions
// differ, each with the reason; pairs of which a cell has no trial that counts are
// left out.
func (t *Trials) Pairs(metrics ...metric.Metric) (pairs []*Comparison, refused []Refused) {
	if len(metrics) == 0 {
		metrics = Asked(t.e)
	}
	pairs = []*Comparison{}
	for _, p := range t.neighbours() {
		c, err := t.compare(p[0], p[1], metrics)
		if err != nil {
			refused = append(refused, Refused{p[0], p[1], err.Error()})
			continue
		}
		pairs = append(pairs, c)
	}
	share(pairs)
	return pairs, refused
}

// Refused is a pair of cells that cannot be compared.
type Refused struct {
	A   string `json:"a"`
	B   string `json:"b"`
	Why string `json:"why"`
}

// neighbours are the pairs of cells with trials that an experiment is about.
func (t *Trials) neighbours() [][2]string {
	var same, other [][2]string
	for i, a := range t.e.Cells {
		for _, b := range t.e.Cells[i+1:] {
			if a.Temperature != b.Temperature || len(t.runs[a.ID()]) == 0 || len(t.runs[b.ID()]) == 0 {
				continue
			}
			differ := a.Levels.Differ(b.Levels)
			switch {
			case len(differ) == 0 && b.Control:
				same = append(same, [2]string{a.ID(), b.ID()})
			case len(differ) == 1 && !a.Control && !b.Control:
				x, y := a, b
				if t.rank(differ[0], a) > t.rank(differ[0], b) {
					x, y = b, a
				}
				other = append(other, [2]string{x.ID(), y.ID()})
			}
		}
	}
	return append(same, other...)
}

// rank is the number of a cell's level of a factor.
func (t *Trials) rank(factor string, c experiment.Cell) int {
	f, _ := t.e.Factor(factor)
	return slices.IndexFunc(f.Levels, func(l experiment.Level) bool { return l.Name == c.Levels[factor] })
}

// Contaminated are the trials of cells that do not count; of all cells when none
// is given. The error, nil when there are none, is of kind diag.Evidence.
func (t *Trials) Contaminated(cells ...string) (trials.Results, error) {
	bad := slices.DeleteFunc(t.results.Contaminated(), func(o trials.Outcome) bool {
		return len(cells) > 0 && !slices.Contains(cells, o.Cell)
	})
	if len(bad) == 0 {
		return bad, nil
	}
	noun := fmt.Sprintf("%d trials are contaminated, and do not count", len(bad))
	if len(bad) == 1 {
		noun = "1 trial is contaminated, and does not count"
	}
	return bad, diag.Errorf(diag.Evidence, "", "%s", noun)
}
