package answer

import (
	"github.com/lapstrake/lapstrake/internal/decide/attribute"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// Amplifier says what part the disk has in a loss, of what is asked for, by the cell with all
// factors new and the same with twice the disk.
type Amplifier struct {
	// Reference, Last and Doubled are the cells.
	Reference string `json:"reference"`
	Last      string `json:"last"`
	Doubled   string `json:"doubled"`
	// Bytes says what was taken for the bytes that distinct steps write.
	Bytes string `json:"bytes,omitempty"`
	// Lacks says why there is no answer; empty when there is one.
	Lacks string `json:"lacks,omitempty"`
	attribute.Amplification
}

// bytesMargin is how far bytes may lie apart and be the same.
const bytesMargin = 0.02

// amplify asks whether the disk makes it worse; nil when the experiment varies no
// disk, or takes it apart itself.
func (d *design) amplify() *Amplifier {
	name, level, ok := d.doubled()
	if !ok || d.new[name] != "" {
		return nil
	}
	all := attribute.Set(1)<<len(d.factors) - 1
	a := &Amplifier{}
	a.Reference, _ = d.id(0)
	a.Last, _ = d.id(all)
	levels := d.levels(all)
	levels[name] = level
	c, there := d.find(levels, d.q.Temperature)
	if a.Doubled = c.ID(); !there {
		a.Doubled = experiment.Cell{Setting: experiment.SettingName(d.t.e.Factors, levels), Temperature: d.q.Temperature}.ID()
		a.Lacks = "the experiment has no cell " + a.Doubled
		return a
	}
	cells := []string{a.Reference, a.Last, a.Doubled}
	m, _ := metric.Find("wall")
	if d.comesBack(cells) {
		m = d.q.Metric
	}
	host := d.t.host(cells...)
	cost := make([][]stat.Value, len(cells))
	for i, cell := range cells {
		if cost[i] = d.t.values(m, cell, host); len(cost[i]) == 0 {
			a.Lacks = m.Name + " of " + cell + " is not known"
			return a
		}
		for _, v := range cost[i] {
			if v.Censored {
				a.Lacks = "a trial of " + cell + " was cut short"
				return a
			}
		}
	}
	written, bytes, ok := d.t.written(cells)
	if !ok {
		a.Lacks = "what steps write is not known of all of " + a.Reference + ", " + a.Last + " and " + a.Doubled
		return a
	}
	reading := func(i int) attribute.Reading { return attribute.Reading{Cost: mean(cost[i]), Bytes: bytes[i]} }
	ask := attribute.Amplifier{Reference: reading(0), Last: reading(1), Doubled: reading(2), BytesMargin: bytesMargin}
	ask.CostMargin = margin(m, cost)
	if m.Kind != stat.Timed {
		ask.What = m.Name
	}
	got, err := attribute.Amplify(ask)
	if err != nil {
		a.Lacks = m.Name + " or a size is not above 0"
		return a
	}
	a.Bytes, a.Amplification = written, got
	return a
}

// comesBack tells whether the metric that is asked for settles it without a time:
// it repeats exactly, grew, and with twice the disk is what it was.
func (d *design) comesBack(cells []string) bool {
	if d.q.Metric.Kind != stat.Exact {
		return false
	}
	var at [3]float64
	for i, cell := range cells {
		v := d.t.values(d.q.Metric, cell, "")
		if len(v) == 0 {
			return false
		}
		at[i] = mean(v)
	}
	return at[1] > at[0] && at[2] <= at[0]
}

// doubled finds the level of the disk that is twice its first.
func (d *design) doubled() (factor, level string, ok bool) {
	for _, f := range d.t.e.Factors {
		if f.Kind != experiment.Knob || f.Target != experiment.KnobDisk {
			continue
		}
		once, err := fleet.ParseDisk(f.Levels[0].Value)
		if err != nil || once.LeaveFree > 0 {
			continue
		}
		once.Bytes, once.Share = 2*once.Bytes, 2*once.Share
		for _, l := range f.Levels[1:] {
			if twice, err := fleet.ParseDisk(l.Value); err == nil && twice == once {
				return f.Name, l.Name, true
			}
		}
	}
	return "", "", false
}

// measure is a figure that grows with what distinct steps write.
type measure struct {
	name string
	of   func(trials.Outcome) (float64, bool)
}

// measures are from the best to the least.
func measures() []measure {
	return []measure{
		{"the size of published images", func(o trials.Outcome) (float64, bool) {
			return positive(o.PublishedBytes)
		}},
		{"bytes of published images above their bases", func(o trials.Outcome) (float64, bool) {
			s := o.Summary
			if s.Releases == nil {
				return 0, false
			}
			return float64(s.Releases.OwnBytes), s.Releases.OwnBytes > 0
		}},
		{"bytes pushed", func(o trials.Outcome) (float64, bool) {
			return positive(o.Summary.BytesPushed)
		}},
		{"bytes released and left, by executions of a distinct step", func(o trials.Outcome) (float64, bool) {
			s := o.Summary
			released, okR := positive(s.ReleasedBytes)
			final, okF := positive(s.DiskFinalBytes)
			if !(okR || okF) || s.Rework == nil || *s.Rework <= 0 {
				return 0, false
			}
			return (released + final) / *s.Rework, true
		}},
	}
}

func positive(n *int64) (float64, bool) {
	if n == nil {
		return 0, false
	}
	return float64(*n), *n > 0
}

// written is the best measure that every trial of the cells tells, and its mean in
// each.
func (t *Trials) written(cells []string) (name string, bytes []float64, ok bool) {
next:
	for _, m := range measures() {
		bytes = bytes[:0]
		for _, cell := range cells {
			var values []stat.Value
			for _, o := range t.Counted(cell) {
				v, ok := m.of(o)
				if !ok {
					continue next
				}
				values = append(values, stat.Value{V: v})
			}
			bytes = append(bytes, mean(values))
		}
		return m.name, bytes, true
	}
	return "", nil, false
}
