package delta

import (
	"cmp"
	"slices"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// Version is the version of a report's JSON form.
const Version = 1

// Plan is one side of a comparison of fleets.
type Plan struct {
	// Name is what the side is called, for people.
	Name  string
	Plan  *plan.Plan
	Basis *plan.Basis
}

// Report compares two plans. Images are paired by their ids.
type Report struct {
	V   int    `json:"v"`
	Old string `json:"old"`
	New string `json:"new"`
	// Images of the new side; Added are not on the old side, and those Gone are on
	// that alone. Unchanged images have the same content key.
	Images    int      `json:"images"`
	Unchanged int      `json:"unchanged"`
	Added     []string `json:"added"`
	Gone      []string `json:"gone"`
	// Steps are those of the new side that changed in any image, and those that
	// are gone: the first divergent ones first, in the recipe's order.
	Steps []StepChange `json:"steps"`
	// ConfigOnly counts images of which no step changed, and the content key did:
	// an image config, an annotation, how the output is written.
	ConfigOnly int `json:"configOnly"`
	// Moves say which names and keys of images on both sides moved.
	Moves []Move `json:"moves"`
	// Executions are what a build of the new side runs after one of the old side.
	Executions Executions `json:"executions"`
	// BytesToCopy are what must cross from one registry to another.
	BytesToCopy struct {
		Old int64 `json:"old"`
		New int64 `json:"new"`
	} `json:"bytesToCopy"`
	// Shape counts the steps of the new side per image, whatever is cached.
	Shape struct {
		Old Shape `json:"old"`
		New Shape `json:"new"`
	} `json:"shape"`
}

// StepChange is what happened to one step over the fleet.
type StepChange struct {
	Name   string   `json:"name"`
	Pos    diag.Pos `json:"pos,omitzero"`
	Status Status   `json:"status"`
	Shared bool     `json:"shared"`
	Causes []Cause  `json:"causes,omitempty"`
	// From are the names of the steps whose change it inherits.
	From []string `json:"from,omitempty"`
	// Images have the step, and it runs Executions times for them; Maybe is true
	// when only if the files that it reads come out different.
	Images     int   `json:"images"`
	Executions int64 `json:"executions"`
	Maybe      bool  `json:"maybe,omitempty"`
	// Seconds is what the executions take by earlier runs; null when none tells.
	Seconds *float64 `json:"seconds"`
	// Files are paths that changed, at most [maxFiles], when that is a cause.
	Files []string `json:"files,omitempty"`
}

// Executions counts executions that are to be expected.
type Executions struct {
	// Shared steps that changed run once, those on bases once for each image that
	// is made. Of both, Maybe may be found in the cache after all.
	Shared    int64 `json:"shared"`
	BaseBound int64 `json:"baseBound"`
	Maybe     int64 `json:"maybe"`
	// Released are executions of steps on bases that did not change: they run too
	// where the old build's results were released when its images were published.
	Released int64 `json:"released"`
	// PerImage is Shared and BaseBound over the images of the new side.
	PerImage float64 `json:"perImage"`
	// Seconds is the sum of what is known of each step; null when nothing is.
	Seconds *float64 `json:"seconds"`
}

// Shape is the steps of a side.
type Shape struct {
	// Shared counts distinct steps, BaseBound the steps of all images together.
	Shared    int64 `json:"shared"`
	BaseBound int64 `json:"baseBound"`
	// PerImage is the steps on each base, as a mean over the images.
	PerImage float64 `json:"perImage"`
}

// Move is a kind of name that is not what it was.
type Move struct {
	// What is "tags", "content keys", "bases" or "cache refs".
	What string `json:"what"`
	// Moved of the Of images, or references, are different; Same of the images have
	// the same content all the same: what was published for them is orphaned.
	Moved int `json:"moved"`
	Of    int `json:"of"`
	Same  int `json:"same"`
	// Old and New are those of the first one.
	Old string `json:"old"`
	New string `json:"new"`
}

// Took tells how many seconds a step takes, by its name; ok is false when
// nothing is known of it.
type Took func(name string, shared bool) (seconds float64, ok bool)

// maxFiles is how many changed paths a report names for a step.
const maxFiles = 20

// Plans compares two plans. took may be nil.
func Plans(old, now Plan, took Took) *Report {
	f := fleets{old: old, now: now, took: took, report: &Report{V: Version, Old: old.Name, New: now.Name, Steps: []StepChange{}, Moves: []Move{}, Added: []string{}, Gone: []string{}}, groups: map[group][]Step{}, steps: map[stepKey]int{}}
	f.report.Images = len(now.Plan.Units)
	f.images()
	f.moves()
	f.report.BytesToCopy.Old, f.report.BytesToCopy.New = old.Plan.BytesToCopy, now.Plan.BytesToCopy
	f.report.Shape.Old, f.report.Shape.New = shape(old), shape(now)
	f.finish()
	return f.report
}

type fleets struct {
	old, now Plan
	took     Took
	report   *Report
	groups   map[group][]Step
	steps    map[stepKey]int // place in the report
}

// group is images whose steps compare alike.
type group struct {
	old, now graph.Digest // variants
	base     bool         // the base's layers changed
}

type stepKey struct {
	digest graph.Digest
	gone   bool
	status Status
}

// byImage are the units of a plan by the image's id.
func byImage(p *plan.Plan) map[string]*plan.Unit {
	out := make(map[string]*plan.Unit, len(p.Units))
	for i := range p.Units {
		out[p.Units[i].Image] = &p.Units[i]
	}
	return out
}

func (f *fleets) images() {
	olds := byImage(f.old.Plan)
	for i := range f.now.Plan.Units {
		u := &f.now.Plan.Units[i]
		o := olds[u.Image]
		delete(olds, u.Image)
		switch {
		case o == nil:
			f.report.Added = append(f.report.Added, u.Image)
		case f.same(o, u):
			f.report.Unchanged++
			continue
		}
		f.image(o, u)
	}
	for _, u := range f.old.Plan.Units {
		if olds[u.Image] != nil {
			f.report.Gone = append(f.report.Gone, u.Image)
		}
	}
}

// same tells whether an image has the same content on both sides. Images whose
// bases were never looked up have no content key: then their steps tell.
func (f *fleets) same(o, u *plan.Unit) bool {
	if o.Key != "" || u.Key != "" || o.Variant != u.Variant || o.Variant == "" {
		return o.Key != "" && o.Key == u.Key
	}
	steps := f.compared(o, u, f.now.Basis.Conversion(u.Variant))
	return !slices.ContainsFunc(steps, func(s Step) bool { return s.Status != Same })
}

// image adds what has to be done for one image whose content is not there.
func (f *fleets) image(o, u *plan.Unit) {
	now := f.now.Basis.Conversion(u.Variant)
	if now == nil {
		return // blocked
	}
	steps := f.compared(o, u, now)
	changed := false
	for _, s := range steps {
		changed = changed || s.Status != Same
		f.step(s, steps, u)
	}
	if o != nil && !changed {
		f.report.ConfigOnly++
	}
}

// compared compares the steps of an image, once for all that are alike.
func (f *fleets) compared(o, u *plan.Unit, now *plan.Conversion) []Step {
	g := group{now: u.Variant}
	if o != nil {
		g.old, g.base = o.Variant, o.BaseLayers != u.BaseLayers
	}
	steps, ok := f.groups[g]
	if !ok {
		steps = f.compare(g, now, o, u)
		f.groups[g] = steps
	}
	return steps
}

func (f *fleets) compare(g group, now *plan.Conversion, o, u *plan.Unit) []Step {
	b := Side{Graph: &now.Graph, Files: now.Files, Base: u.BaseLayers}
	a := Side{Graph: &graph.Graph{}}
	if was := f.old.Basis.Conversion(g.old); was != nil {
		a = Side{Graph: &was.Graph, Files: was.Files, Base: o.BaseLayers}
	} else if len(f.old.Basis.Conversions) > 0 { // a new image has shared steps that are known
		a = Side{Graph: &f.old.Basis.Conversions[0].Graph, Files: f.old.Basis.Conversions[0].Files, Base: "none"}
	}
	return Compare(a, b)
}

// step adds a step of one image.
func (f *fleets) step(s Step, all []Step, u *plan.Unit) {
	step := s.New
	if step == nil {
		step = s.Old
	}
	runs := s.New != nil && Works(step.Kind) && (s.Runs() || step.BaseBound && u.Action != plan.Append)
	if s.Status == Same && !runs || !Works(step.Kind) && (s.Status == Inherited || s.Status == Gone) {
		return
	}
	k := stepKey{step.Digest, s.New == nil, s.Status}
	i, ok := f.steps[k]
	if !ok {
		i = len(f.report.Steps)
		f.steps[k] = i
		f.report.Steps = append(f.report.Steps, f.change(s, step, all))
	}
	c := &f.report.Steps[i]
	c.Images++
	if runs && (!c.Shared || c.Executions == 0) {
		c.Executions++
	}
}

func (f *fleets) change(s Step, step *graph.Step, all []Step) StepChange {
	c := StepChange{Name: step.Name, Pos: step.Pos, Status: s.Status, Shared: !step.BaseBound, Causes: s.Causes, Maybe: s.Maybe && !step.BaseBound}
	for _, from := range s.From {
		for _, o := range all {
			if o.New != nil && o.New.Digest == from {
				c.From = append(c.From, o.New.Name)
			}
		}
	}
	for _, cause := range s.Causes {
		if cause.Kind == graph.FacetFiles {
			c.Files = ChangedFiles(f.old.Basis.Listing, f.now.Basis.Listing, step)
		}
	}
	return c
}

// ChangedFiles lists paths that a step may read and that changed, by name.
func ChangedFiles(old, now plan.Listing, s *graph.Step) []string {
	var out []string
	for _, u := range s.Uses {
		was, is := old[u.Context], now[u.Context]
		for p, d := range is {
			if was[p] != d && covers(u, p) {
				out = append(out, p)
			}
		}
		for p := range was {
			if _, ok := is[p]; !ok && covers(u, p) {
				out = append(out, p)
			}
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), maxFiles)]
}

// covers tells whether a use may select a path: patterns are not looked at.
func covers(u graph.Use, p string) bool {
	if u.Wildcard {
		return true
	}
	return slices.ContainsFunc(u.Paths, func(q string) bool {
		return q == "." || p == q || len(p) > len(q) && p[:len(q)] == q && p[len(q)] == '/'
	})
}

// moves compares the names of images that both sides have.
func (f *fleets) moves() {
	olds := byImage(f.old.Plan)
	tags, keys, bases := Move{What: "tags"}, Move{What: "content keys"}, Move{What: "bases"}
	for i := range f.now.Plan.Units {
		u := &f.now.Plan.Units[i]
		o := olds[u.Image]
		if o == nil {
			continue
		}
		same := f.same(o, u)
		tags.add(first(o.Tags), first(u.Tags), slices.Equal(o.Tags, u.Tags), same)
		if o.Key+u.Key != "" { // bases that were never looked up give no keys
			keys.add(o.Key, u.Key, same, same)
		}
		bases.add(o.Base+"@"+string(o.BaseDigest), u.Base+"@"+string(u.BaseDigest), o.Base == u.Base && o.BaseDigest == u.BaseDigest, same)
	}
	for _, m := range []Move{tags, keys, bases, f.cacheRefs()} {
		if m.Moved > 0 {
			f.report.Moves = append(f.report.Moves, m)
		}
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func (m *Move) add(old, now string, stays, same bool) {
	m.Of++
	if stays {
		return
	}
	if m.Moved++; m.Moved == 1 {
		m.Old, m.New = old, now
	}
	if same {
		m.Same++
	}
}

func shape(p Plan) Shape {
	var s Shape
	shared := map[graph.Digest]bool{}
	for _, u := range p.Plan.Units {
		c := p.Basis.Conversion(u.Variant)
		if c == nil {
			continue
		}
		for _, st := range c.Graph.Steps {
			switch {
			case !Works(st.Kind):
			case st.BaseBound:
				s.BaseBound++
			default:
				shared[st.Digest] = true
			}
		}
	}
	s.Shared = int64(len(shared))
	if n := len(p.Plan.Units); n > 0 {
		s.PerImage = float64(s.BaseBound) / float64(n)
	}
	return s
}

// finish sums up, and puts the steps in an order for readers: causes first.
func (f *fleets) finish() {
	r := f.report
	for i := range r.Steps {
		c := &r.Steps[i]
		f.price(c)
		switch {
		case c.Status == Same:
			r.Executions.Released += c.Executions
		case c.Shared:
			r.Executions.Shared += c.Executions
		default:
			r.Executions.BaseBound += c.Executions
		}
		if c.Maybe {
			r.Executions.Maybe += c.Executions
		}
	}
	if r.Images > 0 {
		r.Executions.PerImage = float64(r.Executions.Shared+r.Executions.BaseBound) / float64(r.Images)
	}
	order := []Status{Changed, Added, Gone, Inherited, Same}
	slices.SortStableFunc(r.Steps, func(a, b StepChange) int {
		return cmp.Or(slices.Index(order, a.Status)-slices.Index(order, b.Status), cmp.Compare(a.Pos.Line, b.Pos.Line))
	})
}

// price says what a step's executions take, and adds it to the whole.
func (f *fleets) price(c *StepChange) {
	if f.took == nil || c.Executions == 0 {
		return
	}
	one, ok := f.took(c.Name, c.Shared)
	if !ok {
		return
	}
	all := one * float64(c.Executions)
	c.Seconds = &all
	if c.Status == Same {
		return
	}
	x := &f.report.Executions
	if x.Seconds == nil {
		x.Seconds = new(float64)
	}
	*x.Seconds += all
}
