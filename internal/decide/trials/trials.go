// Package trials plans the trials of an experiment before any is run: which, in
// which order, what each cell can show, what all of it is expected to take; and
// says what is wrong with the question.
//
// Everything is a pure function of the experiment and of [Facts]. What is not
// known is null in the plan, and nothing is concluded from it.
package trials

import (
	"math/rand/v2"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/bisect"
	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Facts are what is known before. Functions may be nil.
type Facts struct {
	// Commit is the hash of the commit that a level of a factor stands for now.
	Commit func(experiment.Factor, experiment.Level) (string, bool)
	// Relate tells how commit b lies to commit a in a factor's source.
	Relate func(f experiment.Factor, a, b string) (bisect.Relation, bool)
	// Fingerprint is a digest over everything that a build of a setting depends on.
	Fingerprint func(setting string) (graph.Digest, bool)
	// Expect is what a cell took before.
	Expect func(experiment.Cell) (Expectation, bool)
	// Unchecked says what could not be looked at, and why; it goes into the plan.
	Unchecked []string
}

// Expectation is what one trial of a cell took.
type Expectation struct {
	Time time.Duration
	// Peak is the most that was in use of its disk, in bytes, and Budget what
	// could be used of that; 0 when not known.
	Peak   int64
	Budget int64
}

// Order says how trials follow each other.
type Order string

// The orders.
const (
	// Parallel trials may run all at once: nothing is asked that others disturb.
	Parallel Order = "parallel"
	// Blocks have one trial of each cell, in an order drawn for each block.
	Blocks Order = "blocks"
	// Mirrored are blocks of which every second one is the one before from its
	// end: ABBA. What drifts evenly then adds the same to both cells.
	Mirrored Order = "mirrored"
)

// Plan is what to run.
type Plan struct {
	Experiment string       `json:"experiment"`
	Digest     graph.Digest `json:"digest"`
	// Timed is true when a claim or a metric is a time.
	Timed bool  `json:"timed"`
	Order Order `json:"order"`
	// Seeds are the settings that are built once before, from nothing and
	// unmeasured: what warm cells and bumps start from is a copy of that state.
	Seeds []string `json:"seeds"`
	// Trials are in the order in which they run.
	Trials []Trial `json:"trials"`
	Cells  []Cell  `json:"cells"`
	// Seconds and Bytes are what seeds and trials are expected to take, one after
	// the other; null unless it is known of each. Bytes are of disk, the peak of
	// each.
	Seconds *float64 `json:"seconds"`
	Bytes   *int64   `json:"bytes"`
	// Refusals are why it must not be run as it is, Warnings what a reader of its
	// results must know.
	Refusals diag.List `json:"refusals"`
	Warnings diag.List `json:"warnings"`
	// Unchecked is what could not be looked at, and why.
	Unchecked []string `json:"unchecked,omitempty"`
}

// Trial is one run of a cell.
type Trial struct {
	ID   string `json:"id"`
	Cell string `json:"cell"`
	// Replicate counts the trials of the cell, and Block the blocks, from 1; in
	// parallel there is no block.
	Replicate int `json:"replicate"`
	Block     int `json:"block,omitempty"`
	// Seed is the setting whose state it starts from; "" is nothing.
	Seed string `json:"seed,omitempty"`
}

// Cell is what is known of a cell beforehand.
type Cell struct {
	ID    string `json:"id"`
	Shows string `json:"shows"`
	Blind string `json:"blind"`
	// Seconds and Bytes are what one trial is expected to take; null when not
	// known.
	Seconds *float64 `json:"seconds"`
	Bytes   *int64   `json:"bytes"`
}

// Make plans an experiment that keeps its invariants. Claims that do not parse
// count for nothing.
func Make(e *experiment.Experiment, facts Facts) *Plan {
	p := &Plan{Experiment: e.Name, Digest: e.Digest(), Timed: timed(e), Refusals: diag.List{}, Warnings: diag.List{}, Seeds: []string{}, Unchecked: facts.Unchecked}
	c := &checks{e: e, facts: facts, plan: p}
	for _, cell := range e.Cells {
		row := Cell{ID: cell.ID()}
		row.Shows, row.Blind = Sees(cell.Temperature)
		row.Seconds, row.Bytes = c.expect(cell)
		p.Cells = append(p.Cells, row)
	}
	p.seeds(e)
	p.order(e)
	p.total(e)
	c.all()
	_, _ = p.Refusals.Err(), p.Warnings.Err() // sorts them
	return p
}

// Sees says what a cell of a temperature shows, and what it is blind to.
func Sees(t experiment.Temperature) (shows, blind string) {
	switch t {
	case experiment.Warm:
		return "the steady state", "the cost of a change"
	case experiment.WarmRemote:
		return "a new runner with a registry cache", "what a runner keeps between builds"
	case experiment.Bump:
		return "what a change costs, inputs that change with every commit included", "the full cost"
	}
	return "the full cost", "what a build finds made"
}

// timed tells whether the experiment asks for a time.
func timed(e *experiment.Experiment) bool {
	for _, name := range e.Metrics {
		if isTimed(name) {
			return true
		}
	}
	for _, c := range e.Claims {
		for _, u := range Uses(c) {
			if isTimed(u.Metric) {
				return true
			}
		}
	}
	return false
}

func isTimed(name string) bool {
	m, _ := metric.Find(name)
	return m.Kind == stat.Timed
}

// Uses are the metrics that a claim speaks of; none of a check, and of one that does
// not parse.
func Uses(c experiment.Claim) []gate.Use {
	if c.Check() {
		return nil
	}
	expr, problems := gate.Parse(c.Text, c.Pos)
	if problems != nil {
		return nil
	}
	return expr.Uses(c.Cell)
}

// seed is the setting that trials of a cell start from; false when it is nothing.
func seed(c experiment.Cell) (string, bool) {
	switch c.Temperature {
	case experiment.Warm, experiment.WarmRemote:
		return c.Setting, true
	case experiment.Bump:
		return c.Seed, true
	}
	return "", false
}

// seeds lists what cells start from, in the order of the cells.
func (p *Plan) seeds(e *experiment.Experiment) {
	seen := map[string]bool{}
	for _, c := range e.Cells {
		if s, ok := seed(c); ok && !seen[s] {
			seen[s] = true
			p.Seeds = append(p.Seeds, s)
		}
	}
}

// order lays out the trials. Where times count, every block has one trial of each
// cell, so that what changes from hour to hour meets all cells alike.
func (p *Plan) order(e *experiment.Experiment) {
	cells := 0
	for _, c := range e.Cells {
		if !c.Control {
			cells++
		}
	}
	switch {
	case !p.Timed:
		p.Order = Parallel
	case cells == 2:
		p.Order = Mirrored
	default:
		p.Order = Blocks
	}
	random := rand.NewPCG(e.Seed, 0) // its sequence is part of its contract
	block := make([]int, len(e.Cells))
	for n := 1; n <= e.Replicates; n++ {
		switch {
		case p.Order == Parallel:
			for i := range block {
				block[i] = i
			}
		case p.Order == Mirrored && n%2 == 0:
			for i, j := 0, len(block)-1; i < j; i, j = i+1, j-1 {
				block[i], block[j] = block[j], block[i]
			}
		default:
			shuffle(block, random)
		}
		for _, i := range block {
			t := Trial{ID: experiment.TrialID(p.Digest, e.Cells[i], n), Cell: e.Cells[i].ID(), Replicate: n}
			t.Seed, _ = seed(e.Cells[i])
			if p.Order != Parallel {
				t.Block = n
			}
			p.Trials = append(p.Trials, t)
		}
	}
}

// shuffle makes a random order of the numbers from 0 (Fisher and Yates 1938).
func shuffle(order []int, random *rand.PCG) {
	for i := range order {
		order[i] = i
	}
	for i := len(order) - 1; i > 0; i-- {
		j := int(random.Uint64() % uint64(i+1))
		order[i], order[j] = order[j], order[i]
	}
}

// total adds up what everything takes. A seed takes what a cold trial of its
// setting does.
func (p *Plan) total(e *experiment.Experiment) {
	seconds, bytes := 0.0, int64(0)
	knowSeconds, knowBytes := true, true
	add := func(times int, s *float64, b *int64) {
		if knowSeconds = knowSeconds && s != nil; knowSeconds {
			seconds += float64(times) * *s
		}
		if knowBytes = knowBytes && b != nil; knowBytes {
			bytes += int64(times) * *b
		}
	}
	cold := map[string]Cell{}
	for i, c := range e.Cells {
		add(e.Replicates, p.Cells[i].Seconds, p.Cells[i].Bytes)
		if c.Temperature == experiment.Cold {
			cold[c.Setting] = p.Cells[i]
		}
	}
	for _, s := range p.Seeds {
		add(1, cold[s].Seconds, cold[s].Bytes)
	}
	if knowSeconds {
		p.Seconds = &seconds
	}
	if knowBytes {
		p.Bytes = &bytes
	}
}
