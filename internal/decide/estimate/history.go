package estimate

import (
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/evidence"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// Expected is what earlier runs lead to expect of an image.
type Expected struct {
	// Bytes is the disk that it takes beside its base; 0 when no release told.
	Bytes int64
	// Took is the time that it takes with a core for itself.
	Took time.Duration
}

// History is what earlier runs of a fleet tell of its images and shared steps.
// Fold the journals one after the other, the newest first: what is known is
// not replaced, so that reading may stop at any event. Use [NewHistory]. It is
// not for concurrent use while it is folded.
//
// An image is known by its variant, which is equal as long as its steps and
// the files that they read are, or else by its id: a recipe that changed a
// little costs about the same on the same base.
type History struct {
	cores    float64
	images   map[string]seen
	variants map[graph.Digest]*group
	steps    map[graph.Digest]time.Duration
	sizes    map[graph.Digest]int64 // of shared steps and layer sets
	all      group

	kept       int64 // least that a daemon held after a release, in the first run with one
	base, comp int64
	run        past
}

// seen is an image in the newest run that made it.
type seen struct {
	variant graph.Digest
	Expected
}

// group is images with something in common.
type group struct {
	n     int64
	took  time.Duration // sum
	bytes int64         // the largest
}

func (g *group) add(e Expected) {
	g.n++
	g.took += e.Took
	g.bytes = max(g.bytes, e.Bytes)
}

func (g *group) expected() Expected {
	if g.n == 0 {
		return Expected{Bytes: g.bytes}
	}
	return Expected{Bytes: g.bytes, Took: g.took / time.Duration(g.n)}
}

// past is the run that is being folded.
type past struct {
	variant  map[string]graph.Digest
	open     map[string]started
	shared   map[graph.Digest]time.Duration
	disk     map[string]int64    // the last reading, by worker
	spans    map[string]*sharing // open ones, by worker
	waiting  map[string][]string // published images that no release was for yet, by worker
	released map[string][]string // those that the release under way is for
	kept     int64
	area     float64 // integral of running images over time, in image-seconds
	last     time.Duration
}

type started struct {
	at     time.Duration
	area   float64
	worker string
}

// NewHistory knows nothing. Cores is what a worker really does at once: images
// that ran beside more than so many others took longer than they would alone.
func NewHistory(cores int) *History {
	h := &History{cores: float64(max(cores, 1)), images: map[string]seen{}, variants: map[graph.Digest]*group{}, steps: map[graph.Digest]time.Duration{}, sizes: map[graph.Digest]int64{}}
	h.begin()
	return h
}

func (h *History) begin() {
	if h.kept == 0 {
		h.kept = h.run.kept
	}
	h.run = past{
		variant: map[string]graph.Digest{}, open: map[string]started{}, shared: map[graph.Digest]time.Duration{},
		disk: map[string]int64{}, spans: map[string]*sharing{}, waiting: map[string][]string{}, released: map[string][]string{},
	}
}

// Fold adds an event. Journals follow each other without a mark: each begins
// with its first RunStarted that is not resumed.
func (h *History) Fold(e journal.Event) {
	r := &h.run
	if e.Mono > r.last {
		r.area += float64(len(r.open)) * (e.Mono - r.last).Seconds()
		r.last = e.Mono
	}
	switch e.Kind {
	case journal.RunStarted:
		var d journal.RunData
		if e.Decode(&d) == nil && !d.Resumed {
			h.begin()
		}
		clear(h.run.open) // what ran when its process died has no end
		clear(h.run.shared)
		clear(h.run.spans)
	case journal.UnitQueued:
		var d journal.QueuedData
		if e.Decode(&d) == nil {
			r.variant[e.Unit] = d.Variant
		}
	case journal.WorkerReady:
		var d journal.WorkerData
		if e.Decode(&d) == nil && d.Disk != nil {
			r.disk[e.Worker] = d.Disk.Used
		}
	case journal.Disk:
		var d journal.DiskData
		if e.Decode(&d) == nil {
			r.disk[e.Worker] = d.Used
		}
	case journal.StepDone:
		r.executed(e)
	case journal.WorkerLost:
		delete(r.spans, e.Worker)
		delete(r.disk, e.Worker)
	case journal.SharedStarted:
		r.shared[e.Step] = e.Mono
		r.share(e)
	case journal.SharedReady:
		h.shared(e)
	case journal.SharedFailed:
		delete(r.shared, e.Step)
		r.spoil(e.Worker)
		r.shareEnds(e)
	case journal.UnitStarted:
		r.open[e.Unit] = started{e.Mono, r.area, e.Worker}
		r.spoil(e.Worker)
	case journal.UnitPublished:
		h.published(e)
	case journal.UnitFailed, journal.UnitRetried:
		delete(r.open, e.Unit)
	case journal.Releasing:
		r.released[e.Worker], r.waiting[e.Worker] = r.waiting[e.Worker], nil
		r.spoil(e.Worker)
	case journal.Released:
		h.released(e)
	}
}

func (h *History) shared(e journal.Event) {
	at, ok := h.run.shared[e.Step]
	delete(h.run.shared, e.Step)
	if _, known := h.steps[e.Step]; ok && !known {
		h.steps[e.Step] = e.Mono - at
	}
	for step, bytes := range h.run.shareEnds(e) {
		h.sizes[step] = max(h.sizes[step], bytes)
	}
}

// published learns the time of an image that was made by a solve. One that the
// daemon had in its cache tells nothing about making it.
func (h *History) published(e journal.Event) {
	r := &h.run
	o, ok := r.open[e.Unit]
	delete(r.open, e.Unit)
	var d journal.UnitData
	if !ok || e.Decode(&d) != nil || d.Action != string(plan.Build) || d.Temperature == evidence.Warm {
		return
	}
	r.waiting[o.worker] = append(r.waiting[o.worker], e.Unit)
	if _, known := h.images[e.Unit]; known {
		return
	}
	took := (e.Mono - o.at).Seconds()
	if beside := (r.area - o.area) / max(took, 1e-9); beside > h.cores {
		took *= h.cores / beside
	}
	h.learn(e.Unit, seen{r.variant[e.Unit], Expected{Took: seconds(took)}})
}

func (h *History) learn(image string, s seen) {
	h.images[image] = s
	h.all.add(s.Expected)
	if s.variant == "" {
		return
	}
	if h.variants[s.variant] == nil {
		h.variants[s.variant] = &group{}
	}
	h.variants[s.variant].add(s.Expected)
}

// released learns what the images took that a release was for: the mean of
// them, as a daemon does not tell records of one image from those of another.
func (h *History) released(e journal.Event) {
	r := &h.run
	units := r.released[e.Worker]
	delete(r.released, e.Worker)
	var d journal.ReleaseData
	if e.Decode(&d) != nil || d.Error != "" {
		r.waiting[e.Worker] = append(units, r.waiting[e.Worker]...)
		return
	}
	h.base += d.Base
	h.comp += d.Compressed
	var after int64
	for _, n := range d.After {
		after += n
	}
	if d.After != nil && (r.kept == 0 || after < r.kept) {
		r.kept = max(after, 1)
	}
	n := int64(max(d.Images, len(units)))
	if n == 0 || d.Own <= 0 {
		return
	}
	for _, u := range units {
		s := h.images[u]
		if s.Bytes > 0 {
			continue
		}
		s.Bytes = d.Own / n
		h.images[u] = s
		h.all.bytes = max(h.all.bytes, s.Bytes)
		if g := h.variants[s.variant]; g != nil {
			g.bytes = max(g.bytes, s.Bytes)
		}
	}
}

// Image is what to expect of an image: what it was when the same variant of it
// was made, else the more of what it was in another variant and what the
// variant took of other images; ok is false when neither is known.
func (h *History) Image(image string, variant graph.Digest) (e Expected, ok bool) {
	s, ofImage := h.images[image]
	if ofImage && s.variant == variant && s.Bytes > 0 {
		return s.Expected, true
	}
	g := h.variants[variant]
	if g == nil {
		return s.Expected, ofImage
	}
	e = g.expected()
	if ofImage {
		e.Bytes, e.Took = max(e.Bytes, s.Bytes), s.Took
	}
	return e, true
}

// Len is the number of images that are known.
func (h *History) Len() int { return len(h.images) }

// Any is what to expect of an image of which nothing is known: the mean time of
// all, and the most disk; ok is false when no image is known.
func (h *History) Any() (e Expected, ok bool) { return h.all.expected(), h.all.n > 0 }

// Step is the time that a shared step took.
func (h *History) Step(d graph.Digest) (took time.Duration, ok bool) {
	took, ok = h.steps[d]
	return took, ok
}

// Size is the disk that a shared step, or a layer set, took; 0 when no run told.
// Of those that ran at once each counts as much as the others, as a reading does
// not tell them apart; of several runs the largest counts, as a daemon may have
// had a part of it already.
func (h *History) Size(d graph.Digest) int64 { return h.sizes[d] }

// Kept are the bytes that a daemon went on holding when all that was dead had
// been released, shared steps for the most part; 0 when no release told.
func (h *History) Kept() int64 {
	if h.kept == 0 {
		return h.run.kept
	}
	return h.kept
}

// Factor is what base layers took on a daemon per compressed byte; when no
// release told, ok is false and it is what is assumed then.
func (h *History) Factor() (f float64, ok bool) {
	if h.comp == 0 || h.base == 0 {
		return baseFactor, false
	}
	return max(1, float64(h.base)/float64(h.comp)), true
}
