package record

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/decide/evidence"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// builds writes down the command's builds, each as an image. It is safe for
// concurrent use.
type builds struct {
	log    *log
	phases *phases

	mu       sync.Mutex
	open     map[string]*image // by the build's ref
	names    map[string]*name
	written  map[execution]bool
	ran      map[graph.Digest]bool
	distinct map[work]bool
	images   int
	seen     seen
}

// image is one build.
type image struct {
	id      string
	name    string
	number  int // of its name, from 1
	attempt int
	tags    []string
	order   []graph.Digest
	last    map[graph.Digest]journal.StepRecord
}

// name is what the builds of one name came to.
type name struct {
	count    int  // ids given
	attempts int  // of the last one
	failed   bool // the last one
}

// work is a step that has to be done once, as far as a record can tell. A source
// is looked up for every image.
type work struct {
	step  graph.Digest
	image string // of a source
}

// execution tells the executions of a step apart. One that several builds wait
// for is reported to each.
type execution struct {
	step    graph.Digest
	started int64
}

func newBuilds(l *log, p *phases) *builds {
	return &builds{
		log: l, phases: p, open: map[string]*image{}, names: map[string]*name{},
		written: map[execution]bool{}, ran: map[graph.Digest]bool{}, distinct: map[work]bool{},
	}
}

// keepEntry is how long the daemon remembers a build after it was written down.
const keepEntry = 15 * time.Second

func (b *builds) observer() buildkit.Observer {
	return buildkit.Observer{Began: b.began, Step: b.step, Ended: b.ended, Keep: keepEntry}
}

func (b *builds) began(x buildkit.Build) {
	im := &image{tags: x.Names, last: map[graph.Digest]journal.StepRecord{}}
	b.mu.Lock()
	b.identify(im, called(x))
	b.open[x.Ref] = im
	b.mu.Unlock()
	b.phases.built(1)
	b.log.write(journal.UnitStarted, im.id, journal.UnitData{Action: string(plan.Build), Tags: im.tags}, im.mark)
}

// identify gives a build the id of an image. A build of the same name as one
// that failed is taken for another attempt, as loops make them; any other is an
// image of its own. The lock must be held.
func (b *builds) identify(im *image, called string) {
	n := b.names[called]
	if n == nil {
		n = &name{}
		b.names[called] = n
	}
	if !n.failed {
		n.count++
		n.attempts = 0
		b.images++
	}
	n.attempts++
	n.failed = false
	im.name, im.number, im.attempt = called, n.count, n.attempts
	if im.id = called; n.count > 1 {
		im.id = fmt.Sprintf("%s#%d", called, n.count)
	}
}

// called is the name of a build: the first reference that it makes, else the
// target, the remote context or the Dockerfile that it was given.
func called(x buildkit.Build) string {
	if len(x.Names) > 0 {
		return x.Names[0]
	}
	if t := x.Attrs["target"]; t != "" {
		return t
	}
	if c := x.Attrs["context"]; c != "" {
		c, _, _ = strings.Cut(c, "?") // what follows may be a token
		return strings.TrimSuffix(path.Base(c), ".git")
	}
	if f := x.Attrs["filename"]; f != "" {
		return f
	}
	return "build"
}

func (b *builds) image(ref string) *image {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open[ref]
}

// mark adds the attempt and the daemon to an event of the image.
func (im *image) mark(e *journal.Event) { e.Attempt, e.Worker = im.attempt, workerName }

// step takes a report; output is kept at once, the rest when the build ends: the
// daemon may start and complete a step several times.
func (b *builds) step(ref string, r journal.StepRecord) {
	im := b.image(ref)
	if len(r.Log) > 0 {
		b.log.keep(b.log.WriteLog(im.id, r.Name, r.Log))
		r.Log = nil
	}
	// A step that does work pulls nothing: its result came from a registry's cache.
	if k := evidence.KindOf(r.Name); r.Pulled > 0 && k != "" && !k.Source() {
		r.Cached = true
	}
	if _, known := im.last[r.Digest]; !known {
		im.order = append(im.order, r.Digest)
	}
	im.last[r.Digest] = r
}

func (b *builds) ended(x buildkit.Build) {
	im := b.image(x.Ref)
	temperature := b.steps(im, x.Inputs)
	if x.Err == nil {
		b.log.write(journal.UnitPublished, im.id, journal.UnitData{
			Action: string(plan.Build), Digest: x.Digest, Tags: im.tags, Temperature: temperature,
		}, im.mark)
	} else {
		b.log.write(journal.UnitFailed, im.id, failure(x.Err), im.mark)
	}
	b.mu.Lock()
	delete(b.open, x.Ref)
	if n := b.names[im.name]; n.count == im.number {
		n.failed = x.Err != nil
	}
	b.mu.Unlock()
	b.phases.built(-1)
}

// steps writes the steps of a build that has ended, and returns how much of it
// was found in the cache.
func (b *builds) steps(im *image, inputs map[graph.Digest][]graph.Digest) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := identities(im.last, inputs)
	b.seen.add(im, inputs, known)
	tally := evidence.Tally{Ran: func(d graph.Digest) bool { return b.ran[d] }}
	for _, d := range im.order {
		r := im.last[d]
		r.Digest = known[d]
		tally.Add(r)
	}
	for _, d := range im.order {
		r := im.last[d]
		b.log.keep(b.log.CloseLog(im.id, r.Name))
		if r.Completed.IsZero() && r.Error == "" {
			continue
		}
		r.Digest = known[d]
		b.done(im, r)
	}
	return tally.Temperature()
}

// done writes a step, unless a build that ended earlier has written this very
// execution. The lock must be held.
func (b *builds) done(im *image, r journal.StepRecord) {
	if k := evidence.KindOf(r.Name); k.Source() {
		b.distinct[work{r.Digest, im.id}] = true
	} else if k != "" && k != graph.KindMerge {
		b.distinct[work{step: r.Digest}] = true
	}
	b.ran[r.Digest] = b.ran[r.Digest] || !r.Cached
	x := execution{r.Digest, r.Started.UnixNano()}
	if b.written[x] {
		return
	}
	b.written[x] = true
	b.log.write(journal.StepDone, im.id, journal.StepData{
		Name: r.Name, Cached: r.Cached, Began: r.Started.UTC(), Took: took(r), Error: r.Error, Pulled: r.Pulled, Parts: r.Parts,
	}, im.mark, func(e *journal.Event) { e.Step = r.Digest })
}

// identities gives steps digests that are equal in two builds when their names
// and all that they rest on are. The daemon's own are not: a folder that a
// client sends is another one in every session. What is in such a folder cannot
// be told from a build's history, and does not count.
func identities(steps map[graph.Digest]journal.StepRecord, inputs map[graph.Digest][]graph.Digest) map[graph.Digest]graph.Digest {
	known := make(map[graph.Digest]graph.Digest, len(steps))
	var of func(d graph.Digest) graph.Digest
	of = func(d graph.Digest) graph.Digest {
		if id, ok := known[d]; ok {
			return id
		}
		known[d] = d // whatever the daemon says, this ends
		r, ok := steps[d]
		if !ok {
			return d
		}
		h := sha256.New()
		fmt.Fprintf(h, "%q", r.Name)
		for _, in := range inputs[d] {
			fmt.Fprintf(h, " %s", of(in))
		}
		known[d] = graph.Digest(fmt.Sprintf("sha256:%x", h.Sum(nil)))
		return known[d]
	}
	for d := range steps {
		of(d)
	}
	return known
}

func took(r journal.StepRecord) time.Duration {
	if r.Started.IsZero() || r.Completed.IsZero() {
		return 0
	}
	return r.Completed.Sub(r.Started)
}

// failure is what the journal says of a build that failed.
func failure(err error) journal.FailData {
	out := journal.FailData{Kind: diag.KindOf(err).String(), Cause: err.Error(), Help: diag.HelpOf(err)}
	var step *buildkit.StepError
	if errors.As(err, &step) {
		out.Step, out.Log = step.Name, step.Log
	}
	return out
}

// total says at the end what there was to do, which nobody planned: with it the
// executions can be held against the distinct steps.
func (b *builds) total() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.images == 0 {
		b.log.note("warning", "no build reached the daemon: the command must use BUILDKIT_HOST, or the active buildx builder")
		return
	}
	b.seen.write(b.log)
	b.log.write(journal.Planned, "", journal.PlannedData{
		Images: b.images, Actions: map[string]int{string(plan.Build): b.images}, StepsDistinct: int64(len(b.distinct)),
	})
}
