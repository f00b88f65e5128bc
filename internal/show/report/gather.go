package report

import (
	"cmp"
	"errors"
	"io/fs"
	"math"
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/explain"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/decide/timeline"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/archive"
)

// maxMisses is the most misses that a page holds.
const maxMisses = 200

// OfRun gathers the page of a run. Before is an earlier run that its misses are
// explained against, nil when there is none. Errors are those of package archive.
func OfRun(run archive.Run, before *archive.Run) (*Page, error) {
	r, _, err := gather(run)
	if err != nil {
		return nil, err
	}
	p := &Page{V: Version, Title: "Run " + r.ID + " of " + r.Fleet, Run: r}
	return p, p.misses(run, before)
}

// OfRuns gathers the page of a run that is compared with an older one.
func OfRuns(old, now archive.Run) (*Page, error) {
	p, err := OfRun(now, &old)
	if err != nil {
		return nil, err
	}
	s, t, err := old.Traced()
	if err != nil {
		return nil, err
	}
	p.Title += ", compared with " + s.Run
	p.Old = &Old{ID: s.Run, Summary: withoutCurve(s), Disks: disks(t), Seconds: map[string]float64{}}
	for _, x := range t.Spans {
		if x.Image != "" {
			p.Old.Seconds[x.Image] = round(p.Old.Seconds[x.Image] + x.End - x.Start)
		}
	}
	p.Difference = explain.Compare(s, p.Run.Summary)
	return p, nil
}

// OfLab is the page of an experiment.
func OfLab(r *answer.Report) *Page {
	return &Page{V: Version, Title: "Experiment " + r.Experiment, Lab: r}
}

// misses explains a run. One that kept no plan has no explanation.
func (p *Page) misses(run archive.Run, before *archive.Run) error {
	if !run.Comparable() {
		return nil
	}
	now, err := run.Explained()
	if err != nil {
		return err
	}
	var ref *explain.Run
	if before != nil && before.Comparable() {
		if ref, err = before.Explained(); err != nil {
			return err
		}
	}
	p.Misses = explain.Misses(now, ref, "")
	if n := len(p.Misses.Misses); n > maxMisses {
		p.MoreMisses, p.Misses.Misses = n-maxMisses, p.Misses.Misses[:maxMisses]
	}
	return nil
}

// gathering is a run on its way into a page.
type gathering struct {
	*Run
	t       *timeline.Timeline
	images  map[string]int
	steps   map[StepName]int
	logs    []logged
	workers map[string]int
}

// gather reads a run.
func gather(run archive.Run) (*Run, *timeline.Timeline, error) {
	s, t, err := run.Traced()
	if err != nil {
		return nil, nil, err
	}
	p, err := run.Planned()
	if errors.Is(err, fs.ErrNotExist) {
		p, err = nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	g := &gathering{
		Run: &Run{
			ID: cmp.Or(s.Run, run.ID), Fleet: archive.NameOf(s.Fleet, s.Observed), Summary: withoutCurve(s), StepNames: []StepName{}, Workers: []string{},
			Images: []Image{}, Shared: []Step{}, Spans: []Span{}, Held: []timeline.Interval{}, Releases: []Release{}, Disks: disks(t), Logs: []Log{},
		},
		t: t, images: map[string]int{}, steps: map[StepName]int{}, workers: map[string]int{},
	}
	g.planned(p)
	g.took()
	g.spans()
	return g.Run, t, g.readLogs(run)
}

// withoutCurve is a summary without what a page has in another form.
func withoutCurve(s *summary.Summary) *summary.Summary {
	c := *s
	c.DiskCurve = nil
	return &c
}

// round leaves milliseconds.
func round(s float64) float64 { return math.Round(s*1000) / 1000 }

func rounded(i timeline.Interval) timeline.Interval {
	return timeline.Interval{Start: round(i.Start), End: round(i.End)}
}

// planned fills in the images: those of the plan in its order, then those that only
// the journal knows.
func (g *gathering) planned(p *plan.Plan) {
	if p != nil {
		g.reasons(p)
		for _, u := range p.Units {
			im := Image{ID: u.Image, State: "pending", Action: string(u.Action), Base: u.Base, BaseDigest: u.BaseDigest, Platform: u.Platform, Tags: u.Tags, Key: u.Key}
			for _, w := range u.Why {
				y := Why{Code: w.Code, Detail: w.Detail}
				if w.Pos != (diag.Pos{}) {
					y.Place = w.Pos.String()
				}
				im.Why = append(im.Why, y)
			}
			g.image(im)
		}
	}
	ids := make([]string, 0, len(g.Summary.Units))
	for id := range g.Summary.Units {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if _, known := g.images[id]; !known {
			g.image(Image{ID: id})
		}
	}
	for i := range g.Images {
		g.state(&g.Images[i])
	}
	for n, f := range g.Summary.Failures {
		for _, id := range f.Images {
			if i, ok := g.images[id]; ok {
				g.Images[i].Failure = &n
			}
		}
	}
}

func (g *gathering) image(im Image) {
	g.images[im.ID] = len(g.Images)
	g.Images = append(g.Images, im)
}

// state takes what the journal says last of an image.
func (g *gathering) state(im *Image) {
	u, ok := g.Summary.Units[im.ID]
	if !ok {
		return
	}
	im.State, im.Digest, im.Attempts, im.Temperature = string(u.State), u.Digest, u.Attempts, u.Temperature
	im.Action, im.Key, im.Worker = cmp.Or(u.Action, im.Action), cmp.Or(u.Key, im.Key), g.worker(u.Worker)
	if len(u.Tags) > 0 {
		im.Tags = u.Tags
	}
	if u.State == summary.Skipped || im.Action == string(plan.Retag) {
		im.Temperature = "skipped"
	}
}

// reasons counts the first reason of every image.
func (g *gathering) reasons(p *plan.Plan) {
	count := map[Reason]int{}
	for _, u := range p.Units {
		r := Reason{Action: string(u.Action)}
		if len(u.Why) > 0 {
			r.Code, r.Meaning = u.Why[0].Code, plan.Reasons()[u.Why[0].Code]
		}
		count[r]++
	}
	g.Reasons = []Reason{}
	for r, n := range count {
		r.Images = n
		g.Reasons = append(g.Reasons, r)
	}
	slices.SortFunc(g.Reasons, func(a, b Reason) int {
		return cmp.Or(b.Images-a.Images, cmp.Compare(a.Action, b.Action), cmp.Compare(a.Code, b.Code))
	})
}

// worker is the place of a worker; nil for "".
func (g *gathering) worker(name string) *int {
	if name == "" {
		return nil
	}
	i, ok := g.workers[name]
	if !ok {
		i = len(g.Workers)
		g.workers[name] = i
		g.Workers = append(g.Workers, name)
	}
	return &i
}

func (g *gathering) stepName(s timeline.Step) int {
	n := StepName{s.Name, s.Kind, s.Shared}
	i, ok := g.steps[n]
	if !ok {
		i = len(g.StepNames)
		g.steps[n] = i
		g.StepNames = append(g.StepNames, n)
	}
	return i
}

// took puts steps where they belong.
func (g *gathering) took() {
	for _, s := range g.t.Steps {
		st := Step{Step: g.stepName(s), Took: round(s.Took), Cached: s.Cached, Pulled: s.Pulled, Error: s.Error}
		i, ok := g.images[s.Image]
		to := &g.Shared
		if ok {
			to = &g.Images[i].Steps
			g.Images[i].Pulled += s.Pulled
		}
		*to = append(*to, st)
		if s.LogSize > 0 {
			l := logged{unit: s.Image, step: s.Digest, failed: s.Error != "", shared: !ok, at: len(*to) - 1, image: i}
			g.logs = append(g.logs, l)
		}
	}
}

// spans lays spans on lanes: each on the first that is free.
func (g *gathering) spans() {
	spans := slices.Clone(g.t.Spans)
	slices.SortStableFunc(spans, func(a, b timeline.Span) int { return cmp.Compare(a.Start, b.Start) })
	lanes := map[string][]float64{} // the time until which each is taken
	for _, s := range spans {
		x := Span{Interval: rounded(s.Interval), Worker: g.worker(s.Worker), Outcome: s.Outcome, Shared: s.Step}
		if s.Attempt > 1 {
			x.Attempt = s.Attempt
		}
		if s.Image != "" {
			i, ok := g.images[s.Image]
			if !ok {
				continue
			}
			x.Image = &i
			im := &g.Images[i]
			if im.Seconds == nil {
				im.Seconds = new(float64)
			}
			*im.Seconds = round(*im.Seconds + s.End - s.Start)
		}
		taken := lanes[s.Worker]
		x.Lane = slices.IndexFunc(taken, func(until float64) bool { return until <= s.Start })
		if x.Lane < 0 {
			x.Lane = len(taken)
			taken = append(taken, 0)
		}
		taken[x.Lane] = s.End
		lanes[s.Worker] = taken
		g.Spans = append(g.Spans, x)
	}
	least := g.t.Seconds / 500 // shorter ones are not to be seen
	for _, h := range g.t.Held {
		if h.End-h.Start >= least {
			g.Held = append(g.Held, rounded(h))
		}
	}
	for _, r := range g.t.Releases {
		g.Releases = append(g.Releases, Release{rounded(r.Interval), g.worker(r.Worker), r.Bytes, r.Images, r.Error})
	}
}

func disks(t *timeline.Timeline) []Disk {
	out := []Disk{}
	for _, d := range t.Disks {
		x := Disk{Worker: d.Worker, Points: [][3]float64{}}
		for _, p := range d.Points {
			x.Points = append(x.Points, [3]float64{round(p.At), float64(p.Used), float64(p.Budget)})
		}
		out = append(out, x)
	}
	return out
}

// logged is a step that wrote something.
type logged struct {
	unit   string
	step   graph.Digest
	failed bool
	shared bool
	image  int // its place, unless it is shared
	at     int // the step's place
}

const (
	// logBytes is how much of logs a page holds, about; of one log it is at most
	// maxLog, and a log of which less than minLog would be left is left out.
	logBytes = 512 << 10
	maxLog   = 16 << 10
	minLog   = 400
)

// readLogs takes the ends of logs: first those of steps that failed and of shared
// ones, then those of the others, of which each gets the same share.
func (g *gathering) readLogs(run archive.Run) error {
	slices.SortStableFunc(g.logs, func(a, b logged) int { return rank(a) - rank(b) })
	left, seen := logBytes, map[string]int{}
	for n, l := range g.logs {
		keep := min(maxLog, left)
		if rank(l) == 2 {
			keep = min(keep, max(minLog, left/(len(g.logs)-n)))
		}
		if keep < minLog {
			return nil
		}
		tail, size, err := run.Tail(l.unit, l.step, keep)
		if err != nil {
			return err
		}
		if tail = clean(tail); tail == "" {
			continue
		}
		i, same := seen[tail]
		if !same {
			i = len(g.Logs)
			seen[tail] = i
			g.Logs = append(g.Logs, Log{tail, size})
			left -= len(tail)
		}
		if l.shared {
			g.Shared[l.at].Log = &i
		} else {
			g.Images[l.image].Steps[l.at].Log = &i
		}
	}
	return nil
}

func rank(l logged) int {
	switch {
	case l.failed:
		return 0
	case l.shared:
		return 1
	}
	return 2
}
