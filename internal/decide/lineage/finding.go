package lineage

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Verdict says what a commit changes, at worst.
type Verdict string

// The verdicts, in the order of what they cost.
const (
	Broken   Verdict = "broken"    // the fleet cannot be planned
	PerImage Verdict = "per-image" // a step that is bound to a base does something else, or reads other files; or bases are others
	Shared   Verdict = "shared"    // a shared step does something else
	Content  Verdict = "content"   // shared steps read other files
	Config   Verdict = "config"    // images differ, but every step is the same
	Members  Verdict = "images"    // images came or went
	Renamed  Verdict = "refs"      // only the names differ under which images are published
	Inert    Verdict = "inert"     // nothing that an image is made of
)

// Verdicts lists them in that order.
func Verdicts() []Verdict {
	return []Verdict{Broken, PerImage, Shared, Content, Config, Members, Renamed, Inert}
}

// Change is a step that differs by itself.
type Change struct {
	Step graph.Key  `json:"step"`
	Kind graph.Kind `json:"kind"`
	// PerImage is true when the step is bound to the base, on either side.
	PerImage bool         `json:"perImage,omitempty"`
	Status   delta.Status `json:"status"`
	// Causes are what differs, that which says most first; none when the step is
	// added or gone.
	Causes []delta.Cause `json:"causes,omitempty"`
	// Pos is the step's place, on the old side when it is gone.
	Pos diag.Pos `json:"pos,omitzero"`
	// Files are the changed files that it reads, Locks the lock files among them.
	Files []string `json:"files,omitempty"`
	Locks []string `json:"locks,omitempty"`
	// Images is the number of images that have it.
	Images int `json:"images"`
}

// Steps counts steps that do work.
type Steps struct {
	PerImage int `json:"perImage,omitempty"`
	Shared   int `json:"shared,omitempty"`
}

// RefChange is what became of the names of a fleet.
type RefChange struct {
	// Renamed of Total tags of images that both sides have are others.
	Renamed int `json:"renamed,omitempty"`
	Total   int `json:"total"`
	// Bases is the number of images whose base has another name.
	Bases int `json:"bases,omitempty"`
	// Added and Removed are the numbers of images that came and went.
	Added   int `json:"added,omitempty"`
	Removed int `json:"removed,omitempty"`
	// Old and New are the first pair that differs.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Pos is the first line in which the fleet files differ.
	Pos diag.Pos `json:"pos,omitzero"`
}

// Factor is something that changed and that no step sees.
type Factor struct {
	// Kind is "argument" or "lock file".
	Kind string `json:"kind"`
	Name string `json:"name"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// Finding is what differs between two states.
type Finding struct {
	Verdict Verdict `json:"verdict"`
	// Changes are the steps that differ by themselves, those of every image first.
	Changes []Change `json:"changes,omitempty"`
	// Inherit are the steps that do the same with what others made anew.
	Inherit Steps `json:"inherit,omitzero"`
	// Config is true when the images' configs differ.
	Config bool       `json:"config,omitempty"`
	Refs   *RefChange `json:"refs,omitempty"`
	// Inert are the arguments and lock files that changed and that no step sees.
	Inert []Factor `json:"inert,omitempty"`
	// Moves are steps that from here on run again at every commit, Stops those
	// that do so no longer.
	Moves []Moving `json:"moves,omitempty"`
	Stops []Moving `json:"stops,omitempty"`
	// Problems are why the fleet cannot be planned.
	Problems diag.List `json:"problems,omitempty"`
}

// Files tells which files differ between two states.
type Files interface {
	// Read lists those that a use sees.
	Read(graph.Use) []string
	// Locks lists all lock files, whether a step reads them or not.
	Locks() []string
}

// Compare says what differs between two states, both sealed. A state that cannot
// be planned stands for the last one before it that could.
func Compare(old, now *State, files Files) Finding {
	if len(now.Problems) == 0 && len(old.Problems) > 0 && old.Last != nil {
		old = old.Last
	}
	switch {
	case len(now.Problems) > 0 && old.Print.ID != now.Print.ID:
		return Finding{Verdict: Broken, Problems: now.Problems}
	case len(now.Problems) > 0: // as it was
		return Finding{Verdict: Broken}
	case len(old.Problems) > 0: // whatever was before it is not known
		return Finding{Verdict: Inert, Moves: now.Recipe.Moving}
	}
	c := comparing{files: files, at: map[string]int{}}
	if old.Recipe != now.Recipe || old.Print.Content != now.Print.Content {
		c.groups(old, now)
	}
	c.finding.Config = old.Print.Config != now.Print.Config
	if old.Print.Refs != now.Print.Refs {
		c.finding.Refs = refs(old.Refs, now.Refs)
	}
	c.moving(old.Recipe, now.Recipe)
	c.settle()
	c.inert(old, now)
	return c.finding
}

type comparing struct {
	files   Files
	finding Finding
	at      map[string]int // changes by what they are
	// arranged are changes of how results are put together.
	arranged []Change
}

// groups compares the conversions of images that both sides have.
func (c *comparing) groups(old, now *State) {
	was := map[string]int{}
	for i, g := range old.Recipe.Groups {
		for _, id := range g.Images {
			was[id] = i
		}
	}
	for i, g := range now.Recipe.Groups {
		pairs := map[int]int{}
		for _, id := range g.Images {
			if j, ok := was[id]; ok {
				pairs[j]++
			}
		}
		if len(pairs) == 0 && i == 0 { // other images altogether
			pairs[0] = len(g.Images)
		}
		for _, j := range slices.Sorted(maps.Keys(pairs)) {
			c.pair(delta.Side{Graph: &old.Recipe.Groups[j].Variant.Graph, Files: old.Files[j]},
				delta.Side{Graph: &g.Variant.Graph, Files: now.Files[i]}, pairs[j])
		}
	}
}

// pair compares one conversion with another.
func (c *comparing) pair(old, now delta.Side, images int) {
	var inherit Steps
	for _, s := range delta.Compare(old, now) {
		switch s.Status {
		case delta.Inherited:
			if s.Runs() {
				inherit.count(s.New)
			}
		case delta.Changed, delta.Added, delta.Gone:
			c.change(&s, images)
		}
	}
	c.finding.Inherit.PerImage = max(c.finding.Inherit.PerImage, inherit.PerImage)
	c.finding.Inherit.Shared = max(c.finding.Inherit.Shared, inherit.Shared)
}

func (n *Steps) count(s *graph.Step) {
	if s.BaseBound {
		n.PerImage++
	} else {
		n.Shared++
	}
}

// change notes a step that differs by itself, once for all groups.
func (c *comparing) change(s *delta.Step, images int) {
	ch, ok := changed(s)
	if !ok {
		return
	}
	ch.Images = images
	if !delta.Works(ch.Kind) && !ch.Kind.Source() {
		c.arranged = append(c.arranged, ch)
		return
	}
	key := string(hashed([]any{ch.Step, ch.Pos, ch.Status, ch.Causes}))
	if i, ok := c.at[key]; ok {
		c.finding.Changes[i].Images += images
		return
	}
	if slices.ContainsFunc(ch.Causes, func(x delta.Cause) bool { return x.Kind == graph.FacetFiles }) {
		c.read(s, &ch)
	}
	c.at[key] = len(c.finding.Changes)
	c.finding.Changes = append(c.finding.Changes, ch)
}

// changed is a step of a comparison as a Change. Local files are no step to
// speak of: who reads them tells.
func changed(s *delta.Step) (Change, bool) {
	step := s.New
	if step == nil {
		step = s.Old
	}
	if step.Kind == graph.KindLocal || step.Kind == graph.KindImage && step.BaseBound {
		return Change{}, false
	}
	ch := Change{Step: step.Key, Kind: step.Kind, Status: s.Status, Causes: s.Causes, Pos: step.Pos, PerImage: step.BaseBound}
	if s.Old != nil && s.Old.BaseBound && delta.Works(s.Old.Kind) {
		ch.PerImage = true
	}
	return ch, true
}

// read names the changed files that a step reads.
func (c *comparing) read(s *delta.Step, ch *Change) {
	for _, side := range []*graph.Step{s.Old, s.New} {
		if side == nil {
			continue
		}
		for _, u := range side.Uses {
			for _, p := range c.files.Read(u) {
				if !slices.Contains(ch.Files, p) {
					ch.Files = append(ch.Files, p)
				}
			}
		}
	}
	slices.Sort(ch.Files)
	for _, p := range ch.Files {
		if IsLock(p) {
			ch.Locks = append(ch.Locks, p)
		}
	}
}

// settle orders the changes and chooses the verdict.
func (c *comparing) settle() {
	f := &c.finding
	if len(f.Changes) == 0 {
		f.Changes = c.arranged
	}
	slices.SortStableFunc(f.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(rank(a.verdict()), rank(b.verdict())), a.vague()-b.vague())
	})
	switch r := f.Refs; {
	case r != nil && r.Bases > 0:
		f.Verdict = PerImage
	case len(f.Changes) > 0:
		f.Verdict = f.Changes[0].verdict()
	case f.Config:
		f.Verdict = Config
	case r != nil && r.Added+r.Removed > 0:
		f.Verdict = Members
	case r != nil && r.Renamed > 0:
		f.Verdict = Renamed
	default:
		f.Verdict = Inert
	}
}

func (c *Change) verdict() Verdict {
	switch {
	case c.PerImage && delta.Works(c.Kind):
		return PerImage
	case c.Status == delta.Changed && !slices.ContainsFunc(c.Causes, func(x delta.Cause) bool { return x.Kind != graph.FacetFiles }):
		return Content
	}
	return Shared
}

// vague is 1 for a step of which only what it came to is known to differ: another
// step says why.
func (c *Change) vague() int {
	if len(c.Causes) > 0 && graph.Blame(c.Causes[0].Kind) == graph.Blame(graph.FacetCommand) {
		return 1
	}
	return 0
}

func rank(v Verdict) int { return slices.Index(Verdicts(), v) }

// refs compares the names of two fleets.
func refs(old, now *Refs) *RefChange {
	r := &RefChange{}
	was := make(map[string]*fleet.Image, len(old.Images))
	for i := range old.Images {
		was[old.Images[i].ID] = &old.Images[i]
	}
	r.Removed = len(old.Images)
	for i := range now.Images {
		im := &now.Images[i]
		before := was[im.ID]
		if before == nil {
			r.Added++
			continue
		}
		r.Removed--
		if before.Base != im.Base {
			r.Bases++
			r.first(before.Base, im.Base)
		}
		for j := range max(len(before.Tags), len(im.Tags)) {
			r.Total++
			if a, b := at(before.Tags, j), at(im.Tags, j); a != b {
				r.Renamed++
				r.first(a, b)
			}
		}
	}
	r.Pos = diag.Pos{File: now.File, Line: firstDifference(old.Text, now.Text)}
	return r
}

func (r *RefChange) first(a, b string) {
	if r.Old == "" && r.New == "" {
		r.Old, r.New = a, b
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// firstDifference is the first line of b that is not a's; 0 when there is none.
func firstDifference(a, b string) int {
	was := strings.Split(a, "\n")
	for i, line := range strings.Split(b, "\n") {
		if i >= len(was) || was[i] != line {
			return i + 1
		}
	}
	return 0
}

// moving compares the steps that run again at every commit.
func (c *comparing) moving(old, now *Recipe) {
	if old == now {
		return
	}
	c.finding.Moves = without(now.Moving, old.Moving)
	c.finding.Stops = without(old.Moving, now.Moving)
}

// without lists what a has beyond b: for each cause as many steps as it has more,
// those that b does not have by their text. A step that moves as before and has
// another text is none.
func without(a, b []Moving) []Moving {
	count, known := map[string]int{}, map[string]bool{}
	for _, m := range b {
		count[m.cause()]++
		known[m.Step.Stage+" "+m.Step.Text] = true
	}
	for _, m := range a {
		count[m.cause()]--
	}
	var out []Moving
	for _, m := range a {
		if count[m.cause()] < 0 && !known[m.Step.Stage+" "+m.Step.Text] {
			count[m.cause()]++
			out = append(out, m)
		}
	}
	return out
}

// cause is why a step moves, and for whom.
func (m *Moving) cause() string {
	s := strconv.FormatBool(m.PerImage)
	for _, x := range m.Causes {
		s += "," + string(x.Kind) + " " + x.Name
	}
	return s
}

// inert lists what changed and reached nothing.
func (c *comparing) inert(old, now *State) {
	reached := map[string]bool{}
	for _, ch := range c.finding.Changes {
		for _, x := range ch.Causes {
			reached[x.Name] = true
		}
		for _, p := range ch.Files {
			reached[p] = true
		}
		reached[""] = reached[""] || ch.Status != delta.Changed
	}
	if old.Recipe != now.Recipe && !reached[""] && !c.finding.Config {
		was, is := old.Recipe.Args, now.Recipe.Args
		all := maps.Clone(was)
		maps.Copy(all, is)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if was[name] != is[name] && !reached[name] {
				c.finding.Inert = append(c.finding.Inert, Factor{"argument", name, graph.Masked(name, was[name]), graph.Masked(name, is[name])})
			}
		}
	}
	for _, p := range c.files.Locks() {
		if _, read := now.Locks[p]; !read && !reached[p] && old.Locks[p] == "" {
			c.finding.Inert = append(c.finding.Inert, Factor{Kind: "lock file", Name: p})
		}
	}
}
