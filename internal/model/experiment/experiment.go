// Package experiment is a question about builds as data: what is built, what is
// varied, from which state, how often, and what is claimed of it.
//
// A [Factor] has levels. A [Cell] is one level of each factor and a temperature,
// and a trial is one run of a cell. What a trial does follows from its cell
// alone, so its name is that of the cell and a digest over the experiment (see
// [Experiment.Digest]).
package experiment

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/waiver"
)

// Experiment is a whole question. [Experiment.Check] says what must hold of it.
type Experiment struct {
	Name string `json:"name"`
	// Fleet is the path of the fleet file that a trial builds. Command is somebody
	// else's build, which a trial records. One of them is given.
	Fleet   string   `json:"fleet,omitempty"`
	Command []string `json:"command,omitempty"`
	// Knobs are settings that all trials have, by name; see the function Knobs.
	Knobs map[string]string `json:"knobs,omitempty"`
	// Factors are in the order of the file.
	Factors []Factor `json:"factors"`
	// Cells are in the order of the file, controls last.
	Cells []Cell `json:"cells"`
	// Replicates is how many trials a cell has, at least 1.
	Replicates int `json:"replicates"`
	// Seed makes the order of the trials.
	Seed uint64 `json:"seed"`
	// Metrics are asked for beside those of the claims.
	Metrics     []string     `json:"metrics,omitempty"`
	Claims      []Claim      `json:"claims"`
	Predictions []Prediction `json:"predictions,omitempty"`
	// Gates are in the order of the file. Without one, all claims are judged
	// together.
	Gates  []Gate `json:"gates,omitempty"`
	Budget Budget `json:"budget"`
	// Pos is where it begins.
	Pos diag.Pos `json:"-"`
}

// Kind is what a factor varies.
type Kind string

// The kinds of factors.
const (
	Ref       Kind = "ref"       // the commit of a source
	Submodule Kind = "submodule" // the commit that a submodule of a source points to
	Argument  Kind = "argument"  // a build argument
	Patch     Kind = "patch"     // a patch file that is applied to a source; "" is none
	Knob      Kind = "knob"      // a setting of the build; see [Knobs]
)

// Kinds lists every kind.
func Kinds() []Kind { return []Kind{Ref, Submodule, Argument, Patch, Knob} }

// Commit tells whether levels are commits.
func (k Kind) Commit() bool { return k == Ref || k == Submodule }

// The knobs that package code must know by name.
const (
	KnobDisk = "disk-budget" // as fleet.ParseDisk reads it
	KnobJobs = "jobs"        // solves at once, from 1
	KnobSkip = "skip"        // what is not built again; "none" builds everything
)

// Knobs are the settings that can be varied. They change how a trial runs and
// never what it makes.
//
// The values that each may have are listed; those of a disk budget and of jobs
// are not, as there are too many.
func Knobs() map[string][]string {
	return map[string][]string{
		KnobDisk: nil, KnobJobs: nil, "bases": {"check", "cached"}, "cache": {"registry", "none"},
		KnobSkip: {"none", "key", "tag"}, "strategy": {"auto", "build"},
	}
}

// Factor is what differs between cells.
type Factor struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Source is the folder of the git repository that a commit or a patch belongs
	// to.
	Source string `json:"source,omitempty"`
	// Target is what is varied: the submodule's path in Source, the build
	// argument, the knob. Ref and Patch have none.
	Target string `json:"target,omitempty"`
	// Levels has two or more, the baseline first.
	Levels []Level `json:"levels"`
	// Follows is of a factor that [Experiment.Split] made, else nil.
	Follows *Follows `json:"follows,omitempty"`
	Pos     diag.Pos `json:"-"`
}

// Follows says what a factor is where another one is left as it was written.
type Follows struct {
	Factor string `json:"factor"`
	// Levels are those of the following factor, by the levels of the other.
	Levels map[string]string `json:"levels"`
}

// Level is one state of a factor.
type Level struct {
	Name string `json:"name"`
	// Value is a commit, the value of an argument or knob, or a patch file.
	Value string `json:"value"`
	// Content is the digest of a patch file.
	Content graph.Digest `json:"content,omitempty"`
	Pos     diag.Pos     `json:"-"`
}

// Level returns the level of a name.
func (f Factor) Level(name string) (Level, bool) {
	i := slices.IndexFunc(f.Levels, func(l Level) bool { return l.Name == name })
	if i < 0 {
		return Level{}, false
	}
	return f.Levels[i], true
}

// Along are the levels of a setting in which one factor has a level, and all others
// their first, but for those that follow it.
func (e *Experiment) Along(factor, level string) Levels {
	out := Levels{}
	for _, f := range e.Factors {
		out[f.Name] = f.Levels[0].Name
		if f.Follows != nil && f.Follows.Factor == factor {
			out[f.Name] = f.Follows.Levels[level]
		}
	}
	out[factor] = level
	return out
}

// Pinned tells whether the level can never mean something else: a commit that is
// named by its whole hash. Levels that are no commits are pinned.
func (f Factor) Pinned(l Level) bool { return !f.Kind.Commit() || hash.MatchString(l.Value) }

// Temperature is what a trial finds made. It is a seed and not a flag: the state
// that the trial starts with.
type Temperature string

// The temperatures.
const (
	Cold       Temperature = "cold"        // nothing
	Warm       Temperature = "warm"        // all that an earlier trial of the cell left
	WarmRemote Temperature = "warm-remote" // the same, of the registry only
	Bump       Temperature = "bump"        // what other levels left: those of Cell.Seed
)

// Temperatures lists every temperature.
func Temperatures() []Temperature { return []Temperature{Cold, Warm, WarmRemote, Bump} }

// Levels are a level's name for each factor's.
type Levels map[string]string

// Equal tells whether both are the same.
func (l Levels) Equal(other Levels) bool { return len(l.Differ(other)) == 0 }

// Differ lists the factors that have other levels in the two, sorted.
func (l Levels) Differ(other Levels) []string {
	var out []string
	for f, v := range l {
		if w, ok := other[f]; !ok || v != w {
			out = append(out, f)
		}
	}
	for f := range other {
		if _, ok := l[f]; !ok {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out
}

// Cell is one level of each factor, and a temperature.
type Cell struct {
	// Setting is the name of its levels: what the cells that differ only in
	// temperature have in common. It is "" in an experiment without factors.
	Setting     string      `json:"setting,omitempty"`
	Levels      Levels      `json:"levels,omitempty"`
	Temperature Temperature `json:"temperature"`
	// Seed is the setting that a bump starts from.
	Seed string `json:"seed,omitempty"`
	// Control is true of the second half of an A/A pair: it repeats the cell with
	// the same levels and temperature.
	Control bool     `json:"control,omitempty"`
	Pos     diag.Pos `json:"-"`
}

// ID names the cell in claims: SETTING/TEMPERATURE, TEMPERATURE alone without a
// setting, and "+aa" at the end of a control.
func (c Cell) ID() string {
	id := string(c.Temperature)
	if c.Setting != "" {
		id = c.Setting + "/" + id
	}
	if c.Control {
		id += "+aa"
	}
	return id
}

// Claim is a comparison that must hold, as it was written, which package gate
// reads; or a check, which is a program that tells whether it holds.
type Claim struct {
	// Name names the claim, and is distinct.
	Name string `json:"name"`
	// Cell is where metrics are taken that name no cell; it may be empty.
	Cell string `json:"cell,omitempty"`
	// Text is the claim, and Pos the place of its first byte.
	Text string   `json:"text"`
	Pos  diag.Pos `json:"-"`
	// Command is a check's program and its arguments, which runs in the folder of
	// the lab file. Text is then the command as one line, for people.
	Command []string `json:"command,omitempty"`
	// Waiver, when not nil, is why the claim need not hold: with an owner, a reason
	// and an expiry. It covers FAIL and UNKNOWN; evidence that is not valid nobody
	// can waive.
	Waiver *waiver.Waiver `json:"waiver,omitempty"`
}

// Prediction is what somebody expects of a claim before a trial is run.
type Prediction struct {
	// Claim is the claim's name, and Holds what is expected of it.
	Claim   string   `json:"claim"`
	Holds   bool     `json:"holds"`
	Because string   `json:"because,omitempty"`
	Pos     diag.Pos `json:"-"`
}

// Gate is claims that are judged together.
type Gate struct {
	Name   string   `json:"name"`
	Claims []string `json:"claims"`
	Pos    diag.Pos `json:"-"`
}

// Budget is the most that an experiment may take; 0 means no limit.
type Budget struct {
	Time  time.Duration `json:"time,omitempty"`  // of all trials, one after the other
	Bytes int64         `json:"bytes,omitempty"` // of disk: the peaks of all trials together
	Pos   diag.Pos      `json:"-"`
}

// Check tells whether the claim is a check.
func (c Claim) Check() bool { return len(c.Command) > 0 }

// Cell returns the cell of an id.
func (e *Experiment) Cell(id string) (Cell, bool) {
	i := slices.IndexFunc(e.Cells, func(c Cell) bool { return c.ID() == id })
	if i < 0 {
		return Cell{}, false
	}
	return e.Cells[i], true
}

// Factor returns the factor of a name.
func (e *Experiment) Factor(name string) (Factor, bool) {
	i := slices.IndexFunc(e.Factors, func(f Factor) bool { return f.Name == name })
	if i < 0 {
		return Factor{}, false
	}
	return e.Factors[i], true
}

// Skips tells whether trials of some levels leave out images that exist.
func (e *Experiment) Skips(l Levels) bool {
	value := e.Knobs[KnobSkip]
	for _, f := range e.Factors {
		if level, ok := f.Level(l[f.Name]); ok && f.Kind == Knob && f.Target == KnobSkip {
			value = level.Value
		}
	}
	return value != "" && value != "none"
}

// Setting returns the levels of a setting; nil when there is none of the name.
func (e *Experiment) Setting(name string) Levels {
	for _, c := range e.Cells {
		if c.Setting == name {
			return c.Levels
		}
	}
	return nil
}

// Judged are the claims of a gate, in the order of the claims; all of them with
// the name "". False when there is no such gate.
func (e *Experiment) Judged(gate string) ([]Claim, bool) {
	if gate == "" {
		return e.Claims, true
	}
	i := slices.IndexFunc(e.Gates, func(g Gate) bool { return g.Name == gate })
	if i < 0 {
		return nil, false
	}
	var out []Claim
	for _, c := range e.Claims {
		if slices.Contains(e.Gates[i].Claims, c.Name) {
			out = append(out, c)
		}
	}
	return out, true
}

// Cross is every combination of levels, the last factor varying fastest; one
// empty combination without factors.
func Cross(factors []Factor) []Levels {
	out := []Levels{{}}
	for _, f := range factors {
		var next []Levels
		for _, l := range out {
			for _, level := range f.Levels {
				with := Levels{f.Name: level.Name}
				for k, v := range l {
					with[k] = v
				}
				next = append(next, with)
			}
		}
		out = next
	}
	return out
}

// Combinations is how many combinations [Cross] makes, and limit when there are
// that many or more.
func Combinations(factors []Factor, limit int) int {
	n := 1
	for _, f := range factors {
		if n *= len(f.Levels); n >= limit {
			return limit
		}
	}
	return n
}

// SettingName is the name of levels that nobody named: FACTOR=LEVEL, with commas
// between them, in the order of the factors.
func SettingName(factors []Factor, l Levels) string {
	parts := make([]string, len(factors))
	for i, f := range factors {
		parts[i] = f.Name + "=" + l[f.Name]
	}
	return strings.Join(parts, ",")
}

var (
	hash = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

// ValidName tells whether factors, levels, settings and claims may be called s:
// letters, digits, dots, dashes and underscores, at most 64.
func ValidName(s string) bool { return name.MatchString(s) }

// Check returns what does not hold of e, or nil: no knob is a factor, too; names are valid and distinct;
// every factor has two levels or more with distinct values; every cell has one
// level of each factor, distinct ids, and a seed of other levels exactly when it
// is a bump; controls have the cell that they repeat; predictions and gates speak
// of claims that exist.
func (e *Experiment) Check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf("experiment: "+format, args...)) }
	if (e.Fleet == "") == (len(e.Command) == 0) {
		fail("one of a fleet and a command is built")
	}
	for name := range e.Knobs {
		if slices.ContainsFunc(e.Factors, func(f Factor) bool { return f.Kind == Knob && f.Target == name }) {
			fail("the knob %s is a factor, too", name)
		}
	}
	if e.Replicates < 1 || len(e.Cells) == 0 {
		fail("%d replicates of %d cells", e.Replicates, len(e.Cells))
	}
	e.checkFactors(fail)
	e.checkCells(fail)
	e.checkClaims(fail)
	return errors.Join(errs...)
}

func (e *Experiment) checkFactors(fail func(string, ...any)) {
	seen := map[string]bool{}
	for _, f := range e.Factors {
		if !ValidName(f.Name) || seen[f.Name] || !slices.Contains(Kinds(), f.Kind) || len(f.Levels) < 2 {
			fail("factor %q of kind %q with %d levels", f.Name, f.Kind, len(f.Levels))
		}
		seen[f.Name] = true
		names, values := map[string]bool{}, map[string]bool{}
		for _, l := range f.Levels {
			if !ValidName(l.Name) || names[l.Name] || values[l.Value] {
				fail("level %q of factor %s", l.Name, f.Name)
			}
			names[l.Name], values[l.Value] = true, true
		}
	}
}

func (e *Experiment) checkCells(fail func(string, ...any)) {
	seen := map[string]bool{}
	for _, c := range e.Cells {
		id := c.ID()
		if seen[id] || !slices.Contains(Temperatures(), c.Temperature) || len(c.Levels) != len(e.Factors) {
			fail("cell %q with levels of %d factors", id, len(c.Levels))
		}
		seen[id] = true
		for _, f := range e.Factors {
			if _, ok := f.Level(c.Levels[f.Name]); !ok {
				fail("cell %s has no level of factor %s", id, f.Name)
			}
		}
		if c.Temperature == Bump {
			if seed := e.Setting(c.Seed); seed == nil || seed.Equal(c.Levels) {
				fail("cell %s starts from the setting %q", id, c.Seed)
			}
		} else if c.Seed != "" {
			fail("cell %s has a seed", id)
		}
		if c.Control {
			c.Control = false
			if _, ok := e.Cell(c.ID()); !ok {
				fail("control %s repeats nothing", id)
			}
		}
	}
}

func (e *Experiment) checkClaims(fail func(string, ...any)) {
	seen := map[string]bool{}
	for _, c := range e.Claims {
		if !ValidName(c.Name) || seen[c.Name] {
			fail("claim %q", c.Name)
		}
		seen[c.Name] = true
		if _, ok := e.Cell(c.Cell); c.Cell != "" && !ok {
			fail("claim %s is of cell %q", c.Name, c.Cell)
		}
	}
	predicted, gates := map[string]bool{}, map[string]bool{}
	for _, p := range e.Predictions {
		if !seen[p.Claim] || predicted[p.Claim] {
			fail("prediction of %q", p.Claim)
		}
		predicted[p.Claim] = true
	}
	for _, g := range e.Gates {
		if !ValidName(g.Name) || gates[g.Name] || len(g.Claims) == 0 || slices.ContainsFunc(g.Claims, func(c string) bool { return !seen[c] }) {
			fail("gate %q of %v", g.Name, g.Claims)
		}
		gates[g.Name] = true
	}
}
