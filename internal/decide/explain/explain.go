package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// Version is the version of the JSON forms of this package.
const Version = 1

// Why says in one word why a step was not cached.
type Why string

// The reasons. The first four are about what changed, the others about results
// that were not there although nothing had changed.
const (
	Changed   Why = "changed"   // the step does something else, or reads other files
	Inherited Why = "inherited" // something that it rests on changed
	New       Why = "new"       // the earlier run had no such step
	NewImage  Why = "new-image" // the earlier run had no such image

	FirstRun    Why = "first-run"    // there is no earlier run to compare with
	Upgraded    Why = "daemon-other" // the daemon has another version
	OtherWorker Why = "other-worker" // the earlier run used another daemon
	Released    Why = "released"     // the result was released after its image was published
	Pruned      Why = "pruned"       // a prune that was seen may have removed the result
	Again       Why = "again"        // it had run before in this very run, and was lost
	NotReached  Why = "not-reached"  // the earlier run did not come to it
	NotExported Why = "not-exported" // no cache repository kept it for other daemons
	Elsewhere   Why = "elsewhere"    // another cache repository kept it
	Absent      Why = "absent"       // nothing that is recorded removed it
)

// Report explains a run.
type Report struct {
	V int `json:"v"`
	// Run is explained against the run Against; "" when there was none.
	Run     string `json:"run"`
	Against string `json:"against"`
	// Executed and Cached count steps that do work.
	Executed int64 `json:"executed"`
	Cached   int64 `json:"cached"`
	// Misses are the steps that executed: those that others inherit from first,
	// then by what they cost.
	Misses []Miss `json:"misses"`
}

// Miss is one step that was not cached.
type Miss struct {
	Step   graph.Digest `json:"step"`
	Name   string       `json:"name"`
	Pos    diag.Pos     `json:"pos,omitzero"`
	Shared bool         `json:"shared"`
	Why    Why          `json:"why"`
	// Detail says the reason for people.
	Detail string        `json:"detail"`
	Causes []delta.Cause `json:"causes,omitempty"`
	// Files are local paths that changed, when these are a cause.
	Files []string `json:"files,omitempty"`
	// From are the names of the steps that changed and that it rests on.
	From []string `json:"from,omitempty"`
	// Executions for Images images took Seconds in all; what inherits from this
	// step took InheritedSeconds in InheritedExecutions.
	Executions          int64   `json:"executions"`
	Images              int     `json:"images"`
	Seconds             float64 `json:"seconds"`
	InheritedExecutions int64   `json:"inheritedExecutions"`
	InheritedSeconds    float64 `json:"inheritedSeconds"`

	from []graph.Digest
}

// Misses explains every step that executed in a run, or with image set only
// those of that image. ref may be nil: there is no earlier run.
func Misses(now, ref *Run, image string) *Report {
	x := explainer{now: now, ref: ref, report: &Report{V: Version, Run: now.ID, Misses: []Miss{}}, groups: map[group][]delta.Step{}}
	if ref != nil {
		x.report.Against = ref.ID
		x.olds = make(map[string]*plan.Unit, len(ref.Plan.Units))
		for i := range ref.Plan.Units {
			x.olds[ref.Plan.Units[i].Image] = &ref.Plan.Units[i]
		}
	}
	seen := map[graph.Digest]bool{}
	for i := range now.Plan.Units {
		if u := &now.Plan.Units[i]; image == "" || u.Image == image || u.Index == image {
			x.unit(u, seen)
		}
	}
	x.inherit()
	return x.report
}

type explainer struct {
	now, ref *Run
	olds     map[string]*plan.Unit
	report   *Report
	groups   map[group][]delta.Step
}

type group struct {
	old, now graph.Digest
	base     bool
	fresh    bool // the earlier run had no such image
}

// unit explains the steps of an image that no image before it had.
func (x *explainer) unit(u *plan.Unit, seen map[graph.Digest]bool) {
	conv := x.now.Basis.Conversion(u.Variant)
	if conv == nil {
		return
	}
	g, steps := x.compared(u, conv)
	for i := range conv.Graph.Steps {
		s := &conv.Graph.Steps[i]
		d := x.now.steps[s.Digest]
		if d == nil || seen[s.Digest] || !delta.Works(s.Kind) {
			continue
		}
		seen[s.Digest] = true
		x.report.Executed += d.executed
		x.report.Cached += d.cached
		if d.executed > 0 {
			x.report.Misses = append(x.report.Misses, x.miss(s, d, g, steps))
		}
	}
}

// compared is the comparison of an image with the same one of the earlier run, or
// of any image of that when it had no such image.
func (x *explainer) compared(u *plan.Unit, conv *plan.Conversion) (group, []delta.Step) {
	g := group{now: u.Variant}
	if x.ref == nil {
		return g, nil
	}
	o := x.olds[u.Image]
	if g.fresh = o == nil; g.fresh && len(x.ref.Plan.Units) > 0 {
		o = &x.ref.Plan.Units[0]
	}
	if o == nil {
		return g, nil
	}
	g.old, g.base = o.Variant, o.BaseLayers != u.BaseLayers && !g.fresh
	if steps, ok := x.groups[g]; ok {
		return g, steps
	}
	was := x.ref.Basis.Conversion(o.Variant)
	if was == nil {
		return g, nil
	}
	old, now := delta.Side{Graph: &was.Graph, Files: was.Files}, delta.Side{Graph: &conv.Graph, Files: conv.Files}
	if g.base {
		old.Base, now.Base = o.BaseLayers, u.BaseLayers
	}
	steps := delta.Compare(old, now)
	x.groups[g] = steps
	return g, steps
}

func (x *explainer) miss(s *graph.Step, d *done, g group, steps []delta.Step) Miss {
	m := Miss{Step: s.Digest, Name: s.Name, Pos: s.Pos, Shared: !s.BaseBound, Executions: d.executed, Images: len(d.images), Seconds: d.seconds}
	var c *delta.Step
	for i := range steps {
		if steps[i].New != nil && steps[i].New.Digest == s.Digest {
			c = &steps[i]
		}
	}
	switch {
	case c == nil && x.again(s, d):
		m.Why, m.Detail = Again, x.repeated()
	case c == nil:
		m.Why, m.Detail = FirstRun, "no earlier run of this fleet kept what it did"
	case g.fresh && s.BaseBound:
		m.Why, m.Detail = NewImage, "the earlier run had no such image"
	case c.Status == delta.Changed:
		m.Why, m.Causes, m.Detail = Changed, c.Causes, "the step itself changed"
		if slices.ContainsFunc(c.Causes, func(c delta.Cause) bool { return c.Kind == graph.FacetFiles }) {
			m.Files = delta.ChangedFiles(x.ref.Basis.Listing, x.now.Basis.Listing, s)
		}
	case c.Status == delta.Added:
		m.Why, m.Detail = New, "the earlier run had no such step"
	case c.Status == delta.Inherited:
		m.Why, m.Detail = Inherited, "something that it rests on changed"
	default:
		m.Why, m.Detail = x.absent(c, d)
		return m
	}
	if c != nil {
		m.from = c.From
		for _, o := range steps {
			if o.New != nil && slices.Contains(c.From, o.New.Digest) {
				m.From = append(m.From, o.New.Name)
			}
		}
	}
	return m
}

// absent says why the result of a step that did not change was not there.
func (x *explainer) absent(c *delta.Step, d *done) (Why, string) {
	base := c.New.BaseBound
	pruned := x.now.Basis.Observed && len(x.now.releases)+len(x.ref.releases) > 0
	var before *done
	if c.Old != nil {
		before = x.ref.steps[c.Old.Digest]
	}
	switch {
	case x.again(c.New, d):
		return Again, x.repeated()
	case x.now.upgraded(x.ref):
		return Upgraded, "the daemon has another version than the one of run " + x.ref.ID
	case x.now.apart(x.ref) && !base && x.ref.cache == "":
		return NotExported, "run " + x.ref.ID + " used another daemon, and no cache repository (--cache) kept its result"
	case x.now.apart(x.ref) && !base && x.now.cache != x.ref.cache:
		return Elsewhere, "run " + x.ref.ID + " used another daemon and kept its result in " + x.ref.cache + ", where this run did not look (--cache)"
	case x.now.apart(x.ref):
		return OtherWorker, "run " + x.ref.ID + " used another daemon"
	case before == nil || before.executed+before.cached == 0 || before.executed == before.failed && before.cached == 0:
		return NotReached, "run " + x.ref.ID + " did not come to it"
	case pruned:
		return Pruned, fmt.Sprintf("%d prunes were seen in the two runs, the last at %s", len(x.now.releases)+len(x.ref.releases), x.lastRelease().UTC().Format(time.RFC3339))
	case base && len(x.ref.releases) > 0:
		last := x.ref.releases[len(x.ref.releases)-1]
		return Released, fmt.Sprintf("its result was released after its image was published, at %s at the latest", last.UTC().Format(time.RFC3339))
	}
	return Absent, "nothing changed, and no recorded release removed its result: it was pruned from outside, or the daemon's state is new"
}

// again tells whether a step ran in vain: more than once for an image, or more
// than once at all when it serves many.
func (x *explainer) again(s *graph.Step, d *done) bool {
	return d.again > 0 && d.again >= d.executed/2 || !s.BaseBound && d.executed-d.failed > 1
}

// repeated says why a step may have run in vain.
func (x *explainer) repeated() string {
	if x.now.lost {
		return "it ran before in this run, on a daemon that was lost"
	}
	return fmt.Sprintf("it ran before in this run, and its result was not there any more; records were removed %d times in the run", len(x.now.releases))
}

func (x *explainer) lastRelease() time.Time {
	if n := len(x.now.releases); n > 0 {
		return x.now.releases[n-1]
	}
	return x.ref.releases[len(x.ref.releases)-1]
}

// Only keeps the misses whose step's name holds a text; "" keeps all.
func (r *Report) Only(step string) {
	r.Misses = slices.DeleteFunc(r.Misses, func(m Miss) bool { return !strings.Contains(m.Name, step) })
}

// inherit adds up what other misses inherit from each, and orders them.
func (x *explainer) inherit() {
	at := map[graph.Digest]int{}
	for i := range x.report.Misses {
		at[x.report.Misses[i].Step] = i
	}
	for _, m := range x.report.Misses {
		for _, from := range m.from {
			if i, ok := at[from]; ok {
				root := &x.report.Misses[i]
				root.InheritedExecutions += m.Executions
				root.InheritedSeconds += m.Seconds
			}
		}
	}
	slices.SortStableFunc(x.report.Misses, func(a, b Miss) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(b.Seconds+b.InheritedSeconds, a.Seconds+a.InheritedSeconds))
	})
}

// rank puts the first divergent steps before what follows from them.
func rank(m Miss) int {
	switch m.Why {
	case Changed, New:
		if len(m.from) == 0 {
			return 0
		}
		return 1
	case Inherited:
		return 3
	}
	return 2
}
