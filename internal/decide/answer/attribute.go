package answer

import (
	"math"
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/attribute"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// Question asks which factors change a metric.
type Question struct {
	Metric      metric.Metric
	Temperature experiment.Temperature
	// New are the levels that are new, by factor: the others are at their first
	// level. A level "" is the one beside the first that the cells have. With no
	// factor, all of which there is one such level are new there; a disk budget only
	// when it is the only one, for it is what the amplifier test asks about.
	New experiment.Levels
	// Show writes a difference for sentences; nil writes a plain number.
	Show func(float64) string
}

// Attribution is the answer to a [Question].
type Attribution struct {
	Metric      string                 `json:"metric"`
	Unit        metric.Unit            `json:"unit"`
	Temperature experiment.Temperature `json:"temperature"`
	// Order are the factors that are taken apart, in the order of the bits of sets,
	// and New the levels at which they are new.
	Order []string          `json:"order"`
	New   experiment.Levels `json:"new"`
	// Held are the levels of the other factors.
	Held experiment.Levels `json:"held,omitempty"`
	attribute.Answer
	// Cells are those with a value, small sets first; Asked are the ids of all that
	// the experiment has, also of those without one.
	Cells []Corner `json:"cells"`
	Asked []string `json:"asked"`
	// Wanted are the cells to run next, when the answer is open.
	Wanted []Wanted `json:"wanted,omitempty"`
	// Margin is the largest difference of two cells that may be noise, in the
	// metric's unit.
	Margin    float64    `json:"margin"`
	Amplifier *Amplifier `json:"amplifier,omitempty"`
}

// Corner is a cell of an attribution: those factors are new.
type Corner struct {
	Set  attribute.Set `json:"set"`
	New  []string      `json:"new"`
	Cell string        `json:"cell"`
	// Value is the mean of its trials.
	Value  float64  `json:"value"`
	Trials []string `json:"trials"`
}

// Wanted is a cell that lacks trials.
type Wanted struct {
	// Cell is its id, or what it would be called when the experiment has none.
	Cell  string `json:"cell"`
	There bool   `json:"there"`
	// Trials is how many more it needs at the least.
	Trials int `json:"trials"`
}

// Attribute says which factors change a metric. A question that makes no sense is
// an error of kind diag.Usage: a factor or level that does not exist, none or more
// than four factors, cells of unlike conditions.
//
// A bump of nothing is the warm cell of the baseline. A cell of which a trial was
// cut short has no value. A time needs two trials of each cell; what the trials of
// a cell differ by, over all cells, says what may be noise.
func (t *Trials) Attribute(q Question) (*Attribution, error) {
	d, err := t.design(q)
	if err != nil {
		return nil, err
	}
	if err := d.conditions(); err != nil {
		return nil, err
	}
	a := &Attribution{
		Metric: q.Metric.Name, Unit: q.Metric.Unit, Temperature: q.Temperature,
		Order: d.factors, New: d.new, Held: d.held, Cells: d.cells(), Margin: d.margin(),
	}
	for _, s := range d.sets() {
		if c, ok := d.cell[s]; ok {
			a.Asked = append(a.Asked, c.ID())
		}
	}
	in := attribute.Input{Factors: d.factors, Values: map[attribute.Set]float64{}, Margin: a.Margin, Show: q.Show}
	for _, s := range d.sets() {
		v := d.values[s]
		switch {
		case slices.ContainsFunc(v, func(v stat.Value) bool { return v.Censored }):
			in.Untestable = append(in.Untestable, s)
		case len(v) >= d.need():
			in.Values[s] = mean(v)
		}
	}
	if a.Answer, err = attribute.Explain(in); err != nil {
		return nil, err
	}
	for _, s := range a.Next {
		id, there := d.id(s)
		a.Wanted = append(a.Wanted, Wanted{id, there, d.need() - len(d.values[s])})
	}
	a.Amplifier = d.amplify()
	return a, nil
}

// design is the cells of a question with what they gave.
type design struct {
	t       *Trials
	q       Question
	metric  metric.Metric // as it is judged
	factors []string
	new     experiment.Levels
	held    experiment.Levels
	base    experiment.Levels
	cell    map[attribute.Set]experiment.Cell
	values  map[attribute.Set][]stat.Value
}

// design finds the cells of a question.
func (t *Trials) design(q Question) (*design, error) {
	d := &design{t: t, q: q, metric: t.as(q.Metric), held: experiment.Levels{}, base: experiment.Levels{}, cell: map[attribute.Set]experiment.Cell{}, values: map[attribute.Set][]stat.Value{}}
	if err := d.choose(); err != nil {
		return nil, err
	}
	for _, f := range t.e.Factors {
		if d.base[f.Name] = f.Levels[0].Name; d.new[f.Name] == "" {
			d.held[f.Name] = f.Levels[0].Name
		} else {
			d.factors = append(d.factors, f.Name)
		}
	}
	if n := len(d.factors); n < 1 || n > attribute.MaxFactors {
		return nil, diag.Errorf(diag.Usage, "name one to four of them with --factor", "attribute: cells have two levels of %d factors; it takes 1 to %d", n, attribute.MaxFactors)
	}
	var cells []string
	for _, s := range d.sets() {
		if c, ok := d.find(d.levels(s), q.Temperature); ok {
			d.cell[s] = c
			cells = append(cells, c.ID())
		}
	}
	host := ""
	if d.metric.Kind == stat.Timed {
		host = t.host(cells...)
	}
	for s, c := range d.cell {
		d.values[s] = t.values(d.metric, c.ID(), host)
	}
	return d, nil
}

// choose fills in the levels that are new.
func (d *design) choose() error {
	d.new = experiment.Levels{}
	for name, level := range d.q.New {
		f, ok := d.t.e.Factor(name)
		if !ok {
			return diag.Errorf(diag.Usage, diag.Suggest(name, "there are", names(d.t.e.Factors)), "the experiment has no factor %s", name)
		}
		if level == "" {
			level, _ = d.other(f)
		}
		if _, ok := f.Level(level); !ok || level == f.Levels[0].Name {
			return diag.Errorf(diag.Usage, "write --factor "+name+"=LEVEL, with a level that is not the first", "%q is no new level of the factor %s", level, name)
		}
		d.new[name] = level
	}
	if len(d.q.New) > 0 {
		return nil
	}
	var disk string
	for _, f := range d.t.e.Factors {
		level, ok := d.other(f)
		switch {
		case f.Kind == experiment.Knob && f.Target == experiment.KnobDisk:
			disk = f.Name
		case ok:
			d.new[f.Name] = level
		}
	}
	if f, ok := d.t.e.Factor(disk); ok && len(d.new) == 0 {
		if level, ok := d.other(f); ok {
			d.new[disk] = level
		}
	}
	return nil
}

// other is the level of a factor that cells have beside its first; false when there
// is none, or several. Levels that only a search looks at have no cells.
func (d *design) other(f experiment.Factor) (level string, ok bool) {
	for _, c := range d.t.e.Cells {
		switch l := c.Levels[f.Name]; {
		case l == f.Levels[0].Name || l == level:
		case level != "":
			return "", false
		default:
			level = l
		}
	}
	return level, level != ""
}

func names(factors []experiment.Factor) []string {
	var out []string
	for _, f := range factors {
		out = append(out, f.Name)
	}
	return out
}

// sets are all cells of the design, small ones first.
func (d *design) sets() []attribute.Set {
	var out []attribute.Set
	for n := range len(d.factors) + 1 {
		for s := range attribute.Set(1) << len(d.factors) {
			if s.Len() == n {
				out = append(out, s)
			}
		}
	}
	return out
}

// levels are those of a cell: the factors in s are new.
func (d *design) levels(s attribute.Set) experiment.Levels {
	out := experiment.Levels{}
	for f, l := range d.base {
		out[f] = l
	}
	for _, f := range s.Names(d.factors) {
		out[f] = d.new[f]
	}
	return out
}

// find looks for a cell of levels at a temperature. Bumps start from the baseline,
// and a bump to it is its warm cell.
func (d *design) find(levels experiment.Levels, at experiment.Temperature) (experiment.Cell, bool) {
	if at == experiment.Bump && levels.Equal(d.base) {
		at = experiment.Warm
	}
	for _, c := range d.t.e.Cells {
		if !c.Control && c.Temperature == at && c.Levels.Equal(levels) && (at != experiment.Bump || d.t.e.Setting(c.Seed).Equal(d.base)) {
			return c, true
		}
	}
	return experiment.Cell{}, false
}

// id names a cell, also one that the experiment does not have.
func (d *design) id(s attribute.Set) (id string, there bool) {
	if c, ok := d.cell[s]; ok {
		return c.ID(), true
	}
	c := experiment.Cell{Setting: experiment.SettingName(d.t.e.Factors, d.levels(s)), Temperature: d.q.Temperature}
	if c.Temperature == experiment.Bump && s == 0 {
		c.Temperature = experiment.Warm
	}
	return c.ID(), false
}

// need is how many trials of a cell tell its value.
func (d *design) need() int {
	if d.metric.Kind != stat.Timed {
		return 1
	}
	for _, v := range d.values {
		if slices.ContainsFunc(v, func(v stat.Value) bool { return v.V != 0 }) {
			return 2
		}
	}
	return 1 // where no time was spent, there is no spread
}

// conditions are alike in all cells, but for what is a factor.
func (d *design) conditions() error {
	var first stat.Conditions
	seen := false
	for _, s := range d.sets() {
		c, ok := d.cell[s]
		if !ok {
			continue
		}
		is, ok, err := d.t.conditions(c.ID())
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if c.Temperature != d.q.Temperature {
			is.Temperature = string(d.q.Temperature) // the bump of nothing
		}
		if d.metric.Kind != stat.Timed && d.t.knob(experiment.KnobJobs, d.factors) {
			is.Concurrency = 0
		}
		if !seen {
			first, seen = is, true
		}
		if err := refuse(differences(first, is)); err != nil {
			return err
		}
	}
	return nil
}

// cells are those with a value.
func (d *design) cells() []Corner {
	out := []Corner{}
	for _, s := range d.sets() {
		if v := d.values[s]; len(v) > 0 {
			id := d.cell[s].ID()
			out = append(out, Corner{s, append([]string{}, s.Names(d.factors)...), id, mean(v), ids(d.t.Counted(id))})
		}
	}
	return out
}

// margin is how far two cells may lie apart by noise: nothing for an exact metric
// whose trials agree.
func (d *design) margin() float64 {
	var lists [][]stat.Value
	for _, s := range d.sets() {
		lists = append(lists, d.values[s])
	}
	return margin(d.metric, lists)
}

// margin is the largest difference of the means of two lists that may be noise.
// For times it is the half of Student's interval with the variance that all lists
// share, for as many differences as there are lists beside the first (Bonferroni),
// and at least the metric's margin; for others the widest range within a list, and
// at least the tolerance.
func margin(m metric.Metric, lists [][]stat.Value) float64 {
	size, spread, squares := 0.0, 0.0, 0.0
	freedom, least, filled := 0, math.MaxInt, 0
	for _, v := range lists {
		if len(v) == 0 {
			continue
		}
		filled++
		mid := mean(v)
		low, high := v[0].V, v[0].V
		for _, x := range v {
			low, high = min(low, x.V), max(high, x.V)
			squares += (x.V - mid) * (x.V - mid)
		}
		size, spread = max(size, math.Abs(mid)), max(spread, high-low)
		freedom, least = freedom+len(v)-1, min(least, len(v))
	}
	switch {
	case m.Kind == stat.NearExact:
		return max(spread, m.Tolerance*size)
	case m.Kind != stat.Timed:
		return spread
	case freedom == 0 || filled < 2:
		return m.Margin * size
	}
	t := stat.Quantile(1-stat.DefaultAlpha/2/float64(filled-1), float64(freedom))
	return max(m.Margin*size, t*math.Sqrt(squares/float64(freedom)*2/float64(least)))
}

func mean(v []stat.Value) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x.V
	}
	return sum / float64(len(v))
}
