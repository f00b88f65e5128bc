package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Build is a solve that somebody asked the daemon for, as its history tells.
type Build struct {
	// Ref is the daemon's name for the solve; no two have the same.
	Ref string
	// Names are the references that its exporters were told to make, in order
	// and without repetition; empty when it exports no image.
	Names []string
	// Attrs are what the front end was told, such as target, filename and
	// context. They may hold build arguments: not for a log.
	Attrs map[string]string
	// Started and Completed are the daemon's times; Completed is zero until the
	// solve has ended, and when nobody can tell any more.
	Started, Completed time.Time
	// Digest is that of the manifest or index; empty when no image was made.
	Digest graph.Digest
	// Inputs are the digests of the steps that a step rests on, in order, by its
	// own digest; nil until the solve has ended. Digests differ from solve to
	// solve where a step rests on a folder of the client.
	Inputs map[graph.Digest][]graph.Digest
	// Err says why the solve failed. It is a [*StepError] of kind diag.Step when
	// a step did, diag.Interrupted when its client gave up or went away.
	Err error
}

// Observer is told of solves. Its functions are called for several solves at
// the same time; for one solve first Began, then Step, then Ended, one after
// the other. A slow one holds up nothing but the news of its own solve.
type Observer struct {
	// Began is called when a solve was noticed, which may be after its end.
	Began func(Build)
	// Step is called with the whole state of a step whenever that changed, as
	// for [Session.Solve].
	Step func(ref string, r journal.StepRecord)
	// Ended is called once the solve has ended and every step was reported.
	Ended func(Build)
	// Keep is how long an entry of the history stays after it was read: clients
	// look into the history after their solve, for its provenance.
	Keep time.Duration
}

// sweepEvery is the time between two rounds of removing entries.
const sweepEvery = time.Second

// Follower follows every solve of a daemon through its history, and removes the
// entries that were read, so that the history stays small.
type Follower struct {
	c      *Client
	obs    Observer
	run    context.Context // of all that follows; ended by cancel
	cancel context.CancelFunc
	lost   chan struct{} // closed when no more events come

	loops sync.WaitGroup

	mu     sync.Mutex
	builds map[string]*followed // by ref
}

// followed is one solve. Its record is guarded by the Follower's lock.
type followed struct {
	record *controlapi.BuildHistoryRecord
	ended  bool
	end    chan struct{} // closed when ended is set
	told   chan struct{} // closed when the observer knows all that it will
	read   time.Time     // zero unless that is all that there is
	gone   bool          // the entry was removed
}

// Follow follows the daemon's solves from now on, until Drain or Close is
// called; one of them must be. Solves that ended before are not reported, and
// their entries are removed like others. The daemon must keep history, of more
// entries than come in the time for which they are kept.
//
// Solves that ask to be left out of the history, as [Session.Solve] does, are
// not seen.
func (c *Client) Follow(ctx context.Context, obs Observer) (*Follower, error) {
	const op = "follow the daemon's builds"
	f := &Follower{c: c, obs: obs, lost: make(chan struct{}), builds: map[string]*followed{}}
	if err := c.entries(ctx, f.old); err != nil {
		return nil, classify(ctx, op, err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stream, err := c.bk.ControlClient().ListenBuildHistory(run, &controlapi.BuildHistoryRequest{})
	if err == nil {
		// The header comes before the first event, and an error instead of it.
		_, err = stream.Header()
	}
	if err != nil {
		cancel()
		return nil, classify(ctx, op, err)
	}
	f.run, f.cancel = run, cancel
	f.loops.Go(func() {
		defer close(f.lost)
		for {
			ev, err := stream.Recv()
			if err != nil {
				return // each solve that went on is told so
			}
			f.event(ev)
		}
	})
	f.loops.Go(func() { f.sweep(run) })
	return f, nil
}

// Lost is closed when the daemon sends no more news, as it does when it ends.
// Solves that were going on are reported as failed.
func (f *Follower) Lost() <-chan struct{} { return f.lost }

// Drain returns when every solve that had begun when it was called has ended
// and was reported, and closes the Follower. When ctx ends first, or the daemon
// is lost, solves that go on are reported as failed, which is an error. Entries
// that were not removed yet stay.
func (f *Follower) Drain(ctx context.Context) error {
	const op = "read the daemon's history"
	defer f.Close()
	// Events may still be on their way: the list has what they are about.
	err := f.c.entries(ctx, f.event)
	if err != nil {
		return classify(ctx, op, err)
	}
	for _, b := range f.all() {
		select {
		case <-b.told:
		case <-ctx.Done():
			return classify(ctx, op, ctx.Err())
		}
	}
	return nil
}

// Close stops following and returns when the observer is called no more. Solves
// that go on are reported as failed. It may be called more than once.
func (f *Follower) Close() {
	f.cancel()
	f.loops.Wait()
	for _, b := range f.all() {
		<-b.told
	}
}

// all are the solves that are known now.
func (f *Follower) all() []*followed {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.builds))
}

// old takes an entry that was there before.
func (f *Follower) old(ev *controlapi.BuildHistoryEvent) {
	if ev.Record == nil || ev.Type != controlapi.BuildHistoryEventType_COMPLETE {
		return
	}
	b := &followed{record: ev.Record, ended: true, end: make(chan struct{}), told: make(chan struct{}), read: time.Now()}
	close(b.end)
	close(b.told)
	f.builds[ev.Record.Ref] = b
}

// event takes one piece of news. The daemon sends them in no certain order: the
// end of a solve may come before its beginning, and more than once.
func (f *Follower) event(ev *controlapi.BuildHistoryEvent) {
	if ev.Record == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.builds[ev.Record.Ref]
	if b == nil {
		if ev.Type == controlapi.BuildHistoryEventType_DELETED {
			return
		}
		b = &followed{record: ev.Record, end: make(chan struct{}), told: make(chan struct{})}
		f.builds[ev.Record.Ref] = b
		go f.follow(f.run, b)
	}
	if ev.Type == controlapi.BuildHistoryEventType_STARTED || b.ended {
		return
	}
	if ev.Type == controlapi.BuildHistoryEventType_COMPLETE {
		b.record = ev.Record
	}
	b.ended = true // also when the entry was removed by somebody else
	close(b.end)
}

// now is the record as it is known now.
func (f *Follower) now(b *followed) (r *controlapi.BuildHistoryRecord, ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return b.record, b.ended
}

// follow reports one solve to the observer.
func (f *Follower) follow(ctx context.Context, b *followed) {
	defer close(b.told)
	r, _ := f.now(b)
	f.obs.Began(build(r))
	steps := newFold(func(s journal.StepRecord) { f.obs.Step(r.Ref, s) })
	inputs := map[graph.Digest][]graph.Digest{}
	n, err := f.status(ctx, r.Ref, steps, inputs)
	select {
	case <-b.end:
	case <-f.lost:
	case <-ctx.Done():
	}
	r, ended := f.now(b)
	if err != nil && n == 0 && ended {
		// It ended in the moment in which the status was asked for.
		_, err = f.status(ctx, r.Ref, steps, inputs)
	}
	out := build(r)
	out.Inputs = inputs
	switch {
	case !ended:
		out.Err = diag.Errorf(diag.Infra, "see what the command said of it", "the end of the solve was not seen: %w", ErrLost)
	default:
		out.Err = outcome(r, out, steps)
	}
	f.obs.Ended(out)
	f.mu.Lock()
	defer f.mu.Unlock()
	if ended && err == nil {
		b.read = time.Now()
	}
}

// status feeds the status of a solve to a fold, from its beginning to its end,
// collects the inputs of its steps, and counts the messages.
func (f *Follower) status(ctx context.Context, ref string, steps *fold, inputs map[graph.Digest][]graph.Digest) (n int, err error) {
	stream, err := f.c.bk.ControlClient().Status(ctx, &controlapi.StatusRequest{Ref: ref})
	if err != nil {
		return 0, err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n++
		for _, v := range m.Vertexes {
			d := graph.Digest(v.Digest)
			if len(v.Inputs) == len(inputs[d]) {
				continue
			}
			inputs[d] = nil
			for _, x := range v.Inputs {
				inputs[d] = append(inputs[d], graph.Digest(x))
			}
		}
		steps.add(m)
	}
}

// sweep removes entries some time after they were read.
func (f *Follower) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.lost:
			return
		case now := <-tick.C:
			f.remove(ctx, now.Add(-f.obs.Keep))
		}
	}
}

// remove removes the entries that were read before a time. One that cannot be
// removed is tried again in the next round, unless it is gone.
func (f *Follower) remove(ctx context.Context, before time.Time) {
	var refs []string
	f.mu.Lock()
	for ref, b := range f.builds {
		if !b.read.IsZero() && !b.gone && b.read.Before(before) {
			refs = append(refs, ref)
		}
	}
	f.mu.Unlock()
	for _, ref := range refs {
		_, err := f.c.bk.ControlClient().UpdateBuildHistory(ctx, &controlapi.UpdateBuildHistoryRequest{Ref: ref, Delete: true})
		f.mu.Lock()
		// The rest of the record is kept no longer, but the ref is: news of it may
		// come late.
		f.builds[ref].gone = err == nil || status.Code(err) == codes.NotFound
		f.builds[ref].record = &controlapi.BuildHistoryRecord{Ref: ref}
		f.mu.Unlock()
	}
}

// entries lists what is in the history, and the solves that go on.
func (c *Client) entries(ctx context.Context, see func(*controlapi.BuildHistoryEvent)) error {
	stream, err := c.bk.ControlClient().ListenBuildHistory(ctx, &controlapi.BuildHistoryRequest{EarlyExit: true})
	if err != nil {
		return err
	}
	for {
		ev, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		see(ev)
	}
}

// build is what a record says of a solve.
func build(r *controlapi.BuildHistoryRecord) Build {
	b := Build{
		Ref: r.Ref, Attrs: maps.Clone(r.FrontendAttrs), Started: instant(r.CreatedAt), Completed: instant(r.CompletedAt),
		Digest: graph.Digest(r.GetResult().GetResultDeprecated().GetDigest()),
	}
	for _, e := range r.Exporters {
		for name := range strings.SplitSeq(e.Attrs[string(exptypes.OptKeyName)], ",") {
			if name = strings.TrimSpace(name); name != "" && !slices.Contains(b.Names, name) {
				b.Names = append(b.Names, name)
			}
		}
	}
	return b
}

// outcome is why a solve failed, nil when it did not. The history may lack the error:
// a client that drives the front end itself, as bake does, need not say it to the
// daemon, and on a full disk the daemon cannot write it down. Then the image that
// was asked for is not in it, be it in a registry or not.
func outcome(r *controlapi.BuildHistoryRecord, b Build, steps *fold) error {
	if r.Error != nil {
		return failure(codes.Code(r.Error.Code), r.Error.Message, steps)
	}
	image := slices.ContainsFunc(r.Exporters, func(e *controlapi.Exporter) bool { return e.Type == client.ExporterImage })
	if !image || len(b.Names) == 0 || b.Digest != "" {
		return nil
	}
	if s := steps.broken(); s != nil {
		return failure(codes.Unknown, s.Error, steps)
	}
	return diag.Errorf(diag.Infra, "see what the command said, and the daemon's log", "what came of it is not known: the daemon's history has neither an image nor an error")
}

// failure says why a solve failed: for the step that its status blames, if any.
func failure(code codes.Code, text string, steps *fold) error {
	cause := errors.New(text)
	switch s := steps.broken(); {
	case code == codes.Canceled, strings.HasSuffix(text, context.Canceled.Error()):
		return diag.Wrap(diag.Interrupted, "", cause)
	case full(text):
		return &diag.Error{Kind: diag.Infra, Help: helpNoSpace, Err: fmt.Errorf("%w: %w", ErrNoSpace, cause)}
	case s != nil:
		e := &StepError{Step: s.Digest, Name: s.Name, Log: string(s.end), Err: cause}
		if at := strings.LastIndex(text, exitCode); at >= 0 {
			e.ExitCode, _ = strconv.Atoi(text[at+len(exitCode):])
		}
		return e.failure()
	}
	return diag.Wrap(diag.Infra, "", cause)
}

// exitCode is what the daemon's message says before the code of a process.
const exitCode = "exit code: "

// broken is the step that failed first by its time; nil when none did. Steps
// that were stopped because of it do not count.
func (f *fold) broken() *step {
	var first *step
	for _, s := range f.steps {
		if s.Error == "" || strings.Contains(s.Error, context.Canceled.Error()) {
			continue
		}
		if first == nil || s.Completed.Before(first.Completed) {
			first = s
		}
	}
	return first
}
