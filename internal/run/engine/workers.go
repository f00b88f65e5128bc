package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Connector reaches one worker.
type Connector struct {
	// Name is unique among the workers of a run.
	Name string
	// Disk is what the worker may use instead of Options.Disk; zero: the same.
	Disk fleet.Disk
	// Connect starts or reaches the worker. It is called when an image first
	// needs a solve, and again each time that the worker was lost; it then lets
	// go of what the earlier call returned. Calls do not overlap.
	Connect func(ctx context.Context) (*Worker, error)
}

const (
	// pingPause is the time between two looks whether a daemon still answers,
	// pingWait how long it may take, and pingMisses how often it may not.
	pingPause  = 2 * time.Second
	pingWait   = 5 * time.Second
	pingMisses = 2
	// reconnectPause is the time between two attempts to reach a worker again,
	// reconnectWait how long they go on.
	reconnectPause = time.Second
	reconnectWait  = 2 * time.Minute
)

// errLost is the cause that ends solves on a worker that is gone.
var errLost = diag.Errorf(diag.Infra, "see the daemon's log; is it running?", "the worker is gone")

// station is one worker as the engine uses it: connected when first needed, and
// again after it was lost. A life is the time between the two.
type station struct {
	e       *Engine
	name    string
	disk    fleet.Disk
	connect func(ctx context.Context) (*Worker, error)

	mu     sync.Mutex
	life   *future[*life]
	shared map[graph.Digest]bool // steps whose results the daemon has

	full atomic.Int64 // when its disk was last seen full, in Unix nanoseconds
}

// note appends an event about an image, or none, on this worker.
func (s *station) note(kind journal.Kind, unit string, data any) {
	ev := event(kind, unit, data)
	ev.Worker = s.name
	s.e.append(ev)
}

// noteShared appends an event about a shared step or layer set on this worker.
func (s *station) noteShared(kind journal.Kind, step graph.Digest, data any) {
	ev := event(kind, "", data)
	ev.Step, ev.Worker = step, s.name
	s.e.append(ev)
}

// has notes that the daemon has the results of shared steps.
func (s *station) has(steps []graph.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared == nil {
		s.shared = map[graph.Digest]bool{}
	}
	for _, d := range steps {
		s.shared[d] = true
	}
}

// lacks lists those of the shared steps that the daemon may not have.
func (s *station) lacks(steps []graph.Digest) (out []graph.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range steps {
		if !s.shared[d] {
			out = append(out, d)
		}
	}
	return out
}

// life is one connection to a worker.
type life struct {
	*Worker
	run context.Context // of the whole run
	ctx context.Context // ends with the life; for solves
	end context.CancelCauseFunc
	// busy counts solves whose outcome is not in the journal yet.
	busy sync.WaitGroup
	once sync.Once
}

// ask returns the promise of a connection and starts connecting when nobody did.
func (s *station) ask(ctx context.Context) *future[*life] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil {
		s.life = newFuture[*life]()
		f := s.life
		s.e.background.Go(func() {
			l, err := s.begin(ctx, false)
			f.Set(l, err)
			if err == nil {
				s.ready(l)
			}
		})
	}
	return s.life
}

// enter waits for a connection and counts the caller as busy on it, so that a
// loss of the worker is not told before the caller has said what came of its
// work; the caller must call busy.Done.
func (s *station) enter(ctx context.Context) (*life, error) {
	for {
		l, err := s.get(ctx)
		if err != nil {
			return nil, err
		}
		if s.join(l) {
			return l, nil
		}
	}
}

// join counts the caller as busy on l; false when that life is over.
func (s *station) join(l *life) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.life.done:
	default:
		return false
	}
	if l == nil || s.life.val != l {
		return false
	}
	l.busy.Add(1)
	return true
}

// get waits for a connection.
func (s *station) get(ctx context.Context) (*life, error) { return s.ask(ctx).Get(ctx) }

// now is the present life, nil when there is none.
func (s *station) now() *life {
	s.mu.Lock()
	f := s.life
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	select {
	case <-f.done:
		return f.val
	default:
		return nil
	}
}

// begin connects once, or when the worker was there before, until it answers or
// patience ends.
func (s *station) begin(ctx context.Context, again bool) (*life, error) {
	for since := time.Now(); ; {
		w, err := s.connect(ctx)
		if err == nil {
			return s.live(ctx, w), nil
		}
		if !again || ctx.Err() != nil || time.Since(since) > reconnectWait {
			return nil, err
		}
		select {
		case <-time.After(reconnectPause):
		case <-ctx.Done():
			return nil, err
		case <-s.e.over:
			return nil, err
		}
	}
}

// live starts a life and has it watched.
func (s *station) live(ctx context.Context, w *Worker) *life {
	l := &life{Worker: w, run: ctx}
	l.ctx, l.end = context.WithCancelCause(ctx)
	s.e.watching.Go(func() { s.watch(l) })
	return l
}

// ready tells that a worker is there, and what it holds.
func (s *station) ready(l *life) {
	data := journal.WorkerData{Versions: l.Versions, Address: l.Address, Budget: s.disk.Bytes, Share: s.disk.Share, LeaveFree: s.disk.LeaveFree}
	if l.Disk != nil {
		if d, err := l.Disk.Space(true); err == nil {
			data.Disk = &d
		}
		if records, err := l.Disk.Records(l.ctx); err == nil {
			for _, r := range records {
				data.Holds += r.Bytes
			}
			s.e.releases.begin(s.name, records)
		} else {
			data.Disk = nil // what cannot be listed cannot be managed
		}
	}
	s.note(journal.WorkerReady, "", data)
}

// watch notices that a daemon has ended, does not answer any more, or works on a
// disk that is not to be seen any more: then no budget could be kept.
func (s *station) watch(l *life) {
	tick := time.NewTicker(pingPause)
	defer tick.Stop()
	misses := 0
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-s.e.over:
			return
		case <-l.Gone:
			s.lost(l, errors.New("the daemon ended"))
			return
		case <-tick.C:
		}
		err := l.health()
		if misses++; err == nil || l.ctx.Err() != nil {
			misses = 0
		}
		if misses >= pingMisses || errors.Is(err, buildkit.ErrLost) {
			s.lost(l, err)
			return
		}
	}
}

// lost ends a life, waits until what ran in it has ended, puts that back into
// the schedule and begins the next life. It returns at once; only the first
// call for a life counts.
func (s *station) lost(l *life, cause error) {
	l.once.Do(func() {
		ctx := l.run
		next := newFuture[*life]()
		s.mu.Lock()
		s.life = next
		s.mu.Unlock()
		l.end(errLost)
		s.e.background.Go(func() {
			l.busy.Wait()
			if ctx.Err() != nil {
				next.Set(nil, diag.Wrap(diag.Interrupted, "worker "+s.name, context.Cause(ctx)))
				return
			}
			s.note(journal.WorkerLost, "", journal.FailData{Kind: diag.Infra.String(), Cause: cause.Error(), Reason: journal.RetryWorker})
			again, err := s.begin(ctx, true)
			next.Set(again, err)
			if err != nil {
				s.e.gaveUp(ctx, s, err)
				return
			}
			s.ready(again)
		})
	})
}

// gaveUp says that a worker will not come back, and turns to the next one.
func (e *Engine) gaveUp(ctx context.Context, s *station, err error) {
	d := e.driver.Load()
	if d == nil {
		return
	}
	d.mu.Lock()
	d.lost[s.name] = err
	d.mu.Unlock()
	d.nudge()
	if i := slices.Index(e.stations, s) + 1; i < len(e.stations) {
		d.reach(ctx, i)
	}
}

// answers tells whether the daemon still does.
func (l *life) answers() bool { return l.health() == nil }

// health says what is wrong with the daemon or its disk.
func (l *life) health() error {
	if l.Ping != nil {
		ctx, cancel := context.WithTimeout(l.ctx, pingWait)
		defer cancel()
		if err := l.Ping(ctx); err != nil {
			return err
		}
	}
	if l.Disk != nil {
		if _, err := l.Disk.Space(false); err != nil {
			return err
		}
	}
	return nil
}

// station finds a worker by name.
func (e *Engine) station(name string) *station {
	for _, s := range e.stations {
		if s.name == name {
			return s
		}
	}
	return nil
}
