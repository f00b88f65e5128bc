package trials

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/bisect"
	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// checks looks for what is wrong with the question of a plan.
type checks struct {
	e     *experiment.Experiment
	facts Facts
	plan  *Plan
}

func (c *checks) all() {
	for _, f := range c.e.Factors {
		c.commits(f)
		c.inert(f)
	}
	for _, claim := range c.e.Claims {
		c.compared(claim)
	}
	c.bump()
	c.replicates()
	c.budget()
}

// commit is the hash that a level stands for, as far as known.
func (c *checks) commit(f experiment.Factor, l experiment.Level) (string, bool) {
	if f.Pinned(l) {
		return l.Value, true
	}
	if c.facts.Commit == nil {
		return "", false
	}
	return c.facts.Commit(f, l)
}

// commits looks at the levels of a factor that are commits: they must be named
// for good, distinct, and descend from the first.
func (c *checks) commits(f experiment.Factor) {
	if !f.Kind.Commit() {
		return
	}
	search := bisect.Plan{}
	var levels []experiment.Level // of the checkpoints
	for i, l := range f.Levels {
		hash, ok := c.commit(f, l)
		if !f.Pinned(l) {
			help := "write the whole hash"
			if ok {
				help += ": " + hash
			}
			c.plan.Refusals.Add(diag.LabUnpinned, l.Pos, help, "%s is no whole hash: what the level %s of %s means can change", l.Value, l.Name, f.Name)
		}
		if ok {
			search.Checkpoints = append(search.Checkpoints, bisect.Checkpoint{ID: hash})
			levels = append(levels, l)
		} else if i == 0 {
			return // nothing can be said without the baseline
		}
	}
	if len(levels) > 1 {
		c.ancestry(f, search, levels)
	}
}

// ancestry refuses levels that do not come after the baseline. Among each other
// they may lie as they like: they are no history that is searched.
func (c *checks) ancestry(f experiment.Factor, search bisect.Plan, levels []experiment.Level) {
	relate := func(a, b string) bisect.Relation {
		if c.facts.Relate != nil {
			if r, ok := c.facts.Relate(f, a, b); ok {
				return r
			}
		}
		return bisect.Relation{Ahead: 1} // not known to be wrong
	}
	var invalid *bisect.Invalid
	if !errors.As(bisect.Check(search, relate), &invalid) {
		return
	}
	for _, m := range invalid.Misplaced {
		l, base := levels[m.Number-1], levels[0]
		switch {
		case m.Fault == bisect.Duplicate:
			c.plan.Refusals.Add(diag.LabDuplicate, l.Pos, "give it another commit, or remove it", "the level %s of %s is a commit that another level is already", l.Name, f.Name)
		case m.Baseline && m.Fault == bisect.Ancestor:
			c.plan.Refusals.Add(diag.LabBaseline, l.Pos, "exchange the levels, or take a commit after the baseline",
				"the level %s of %s is %s before the baseline %s", l.Name, f.Name, commits(m.Distance), base.Name)
		case m.Baseline && m.Fault == bisect.Diverged:
			c.plan.Refusals.Add(diag.LabDiverged, l.Pos, "take commits of one line of history",
				"the level %s of %s does not descend from the baseline %s, and lacks %s of it", l.Name, f.Name, base.Name, commits(m.Distance))
		}
	}
}

func commits(n int) string {
	if n == 1 {
		return "1 commit"
	}
	return fmt.Sprintf("%d commits", n)
}

// inert warns of a factor that no fingerprint depends on. Knobs never are part of
// what is built.
func (c *checks) inert(f experiment.Factor) {
	if f.Kind == experiment.Knob || c.facts.Fingerprint == nil {
		return
	}
	pairs := 0
	for i, a := range c.e.Cells {
		for _, b := range c.e.Cells[i+1:] {
			if d := a.Levels.Differ(b.Levels); len(d) != 1 || d[0] != f.Name {
				continue
			}
			x, okX := c.facts.Fingerprint(a.Setting)
			y, okY := c.facts.Fingerprint(b.Setting)
			if !okX || !okY || x != y {
				return
			}
			pairs++
		}
	}
	if pairs > 0 {
		c.plan.Warnings.Add(diag.LabInert, f.Pos, "drop the factor, or look whether the fleet reads its source",
			"the factor %s reaches nothing: builds have the same fingerprint at all of its levels", f.Name)
	}
}

// compared looks at the cells that a claim compares.
func (c *checks) compared(claim experiment.Claim) {
	all := Uses(claim)
	for i, u := range all {
		for _, before := range all[:i] {
			a, okA := c.e.Cell(before.Cell)
			b, okB := c.e.Cell(u.Cell)
			if okA && okB && before.Cell != u.Cell {
				c.pair(claim, u, a, b, isTimed(u.Metric) && isTimed(before.Metric))
			}
		}
	}
}

// pair looks at two cells of a claim.
func (c *checks) pair(claim experiment.Claim, at gate.Use, a, b experiment.Cell, timed bool) {
	pos := claim.Pos
	if pos.Col > 0 {
		pos.Col += at.At
	}
	changes := a.Levels.Differ(b.Levels)
	for _, name := range changes {
		f, _ := c.e.Factor(name)
		if timed && f.Kind == experiment.Knob && f.Target == experiment.KnobJobs {
			c.refuse(diag.LabConcurrency, pos, "compare cells with the same jobs, or counts and bytes instead of times",
				"the claim %s compares times of %s and %s, which run unlike numbers of solves at once", claim.Name, a.ID(), b.ID())
		}
	}
	if a.Temperature != b.Temperature {
		changes = append(changes, "temperature")
	}
	if missing := c.apart(a, b, changes); len(changes) > 1 && len(missing) > 0 {
		c.refuse(diag.LabConfounded, pos, "add "+strings.Join(missing, " and "),
			"the claim %s compares %s and %s, between which %s change at once", claim.Name, a.ID(), b.ID(), listed(changes))
	}
}

// refuse adds a refusal once: a claim may name the same cells several times.
func (c *checks) refuse(code diag.Code, pos diag.Pos, help, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	for _, p := range c.plan.Refusals {
		if p.Code == code && p.Message == message {
			return
		}
	}
	c.plan.Refusals.Add(code, pos, help, "%s", message)
}

// apart describes the cells that would take changes apart and are not there: a,
// with one of the changes.
func (c *checks) apart(a, b experiment.Cell, changes []string) []string {
	var missing []string
	for _, change := range changes {
		one, temperature := experiment.Levels{}, a.Temperature
		for k, v := range a.Levels {
			one[k] = v
		}
		if _, ok := b.Levels[change]; ok {
			one[change] = b.Levels[change]
		} else {
			temperature = b.Temperature
		}
		there := false
		for _, x := range c.e.Cells {
			there = there || x.Temperature == temperature && x.Levels.Equal(one)
		}
		if !there {
			missing = append(missing, fmt.Sprintf("the cell %s/%s", experiment.SettingName(c.e.Factors, one), temperature))
		}
	}
	return missing
}

func listed(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// bump warns of the class of regressions that only a bump shows.
func (c *checks) bump() {
	for _, cell := range c.e.Cells {
		if cell.Temperature == experiment.Bump {
			return
		}
	}
	help := "add bump to temperatures:"
	if len(c.e.Factors) == 0 {
		help = "add a factor of kind ref whose baseline is the commit before, and bump to temperatures:"
	}
	c.plan.Warnings.Add(diag.LabNoBump, c.e.Cells[0].Pos, help,
		"no cell starts from what another level left: an input that changes with every commit, before an expensive step, is not seen")
}

func (c *checks) replicates() {
	if c.plan.Timed && c.e.Replicates < 2 {
		c.plan.Warnings.Add(diag.LabFew, c.e.Pos, "set replicates: 2 or more", "times are asked for, and one trial of a cell tells nothing of their spread")
	}
}

func (c *checks) budget() {
	b := c.e.Budget
	if s := c.plan.Seconds; s != nil && b.Time > 0 && *s > b.Time.Seconds() {
		took := time.Duration(*s * float64(time.Second)).Round(time.Second)
		c.plan.Refusals.Add(diag.LabBudget, b.Pos, "drop cells or replicates, or raise it", "the trials are expected to take %s, and the budget is %s", took, b.Time)
	}
	if n := c.plan.Bytes; n != nil && b.Bytes > 0 && *n > b.Bytes {
		c.plan.Refusals.Add(diag.LabBudget, b.Pos, "drop cells or replicates, or raise it", "the trials are expected to take %s of disk, and the budget is %s", size(*n), size(b.Bytes))
	}
}

// expect is what a trial of a cell takes, as far as earlier ones tell: null where
// they do not, and where their disk had room and this cell's has none, or the
// other way round, as then steps are made again.
func (c *checks) expect(cell experiment.Cell) (seconds *float64, bytes *int64) {
	if c.facts.Expect == nil {
		return nil, nil
	}
	x, ok := c.facts.Expect(cell)
	if !ok {
		return nil, nil
	}
	if x.Peak > 0 {
		bytes = &x.Peak
	}
	if budget := c.diskOf(cell); budget > 0 && x.Peak > 0 {
		if had := x.Budget == 0 || hasRoom(x.Peak, x.Budget); had != hasRoom(x.Peak, budget) {
			if !cell.Control {
				c.plan.Warnings.Add(diag.LabCliff, cell.Pos, "run the cell once to learn what it takes",
					"what %s takes is not known: earlier runs used %s of %s, and the cell has %s", cell.ID(), size(x.Peak), roomOf(x.Budget), size(budget))
			}
			return nil, nil
		}
	}
	if x.Time > 0 {
		s := x.Time.Seconds()
		seconds = &s
	}
	return seconds, bytes
}

// hasRoom tells whether work with a peak fits on a disk so that nothing must be
// pruned that is needed again. Garbage collection begins before a disk is full.
func hasRoom(peak, disk int64) bool { return float64(peak) <= roomShare*float64(disk) }

// roomShare is the share of a disk up to which it has room.
const roomShare = 0.85

func roomOf(budget int64) string {
	if budget == 0 {
		return "a disk without a limit"
	}
	return size(budget)
}

// size writes bytes as lab files do.
func size(n int64) string { return fleet.Disk{Bytes: n}.String() }

// diskOf is the disk that a cell may use in bytes, 0 when no factor says so.
func (c *checks) diskOf(cell experiment.Cell) int64 {
	for _, f := range c.e.Factors {
		if f.Kind == experiment.Knob && f.Target == experiment.KnobDisk {
			l, _ := f.Level(cell.Levels[f.Name])
			if d, err := fleet.ParseDisk(l.Value); err == nil {
				return d.Bytes
			}
		}
	}
	return 0
}
