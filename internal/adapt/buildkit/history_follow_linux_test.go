package buildkit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/tonistiigi/fsutil"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// seen is what an observer was told, by ref.
type seen struct {
	mu     sync.Mutex
	began  map[string]buildkit.Build
	ended  map[string]buildkit.Build
	steps  map[string]*records
	faults []string
}

func (s *seen) observer() buildkit.Observer {
	s.began, s.ended, s.steps = map[string]buildkit.Build{}, map[string]buildkit.Build{}, map[string]*records{}
	return buildkit.Observer{
		Began: func(b buildkit.Build) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if _, again := s.began[b.Ref]; again {
				s.faults = append(s.faults, b.Ref+" began twice")
			}
			s.began[b.Ref], s.steps[b.Ref] = b, &records{}
		},
		Step: func(ref string, r journal.StepRecord) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if _, over := s.ended[ref]; over || s.steps[ref] == nil {
				s.faults = append(s.faults, "a step of "+ref+" outside of it")
				return
			}
			s.steps[ref].add(r)
		},
		Ended: func(b buildkit.Build) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if _, again := s.ended[b.Ref]; again {
				s.faults = append(s.faults, b.Ref+" ended twice")
			}
			s.ended[b.Ref] = b
		},
	}
}

// byTarget finds the end of the one build with a target.
func (s *seen) byTarget(t *testing.T, target string) (buildkit.Build, *records) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, b := range s.ended {
		if b.Attrs["target"] == target {
			return b, s.steps[ref]
		}
	}
	t.Fatalf("no build with target %s in %+v", target, s.ended)
	return buildkit.Build{}, nil
}

// foreign solves st as any client of the daemon would, its folder as context.
func foreign(ctx context.Context, t *testing.T, addr, target string, st llb.State, dirs map[string]buildkit.Local) error {
	t.Helper()
	c, err := client.New(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	def, err := st.Marshal(ctx, llb.LinuxAmd64)
	if err != nil {
		return err
	}
	mounts := map[string]fsutil.FS{}
	for name, l := range dirs {
		if mounts[name], err = fsutil.NewFS(l.Dir); err != nil {
			return err
		}
	}
	_, err = c.Solve(ctx, def, client.SolveOpt{
		LocalMounts: mounts, SharedKey: t.Name(), FrontendAttrs: map[string]string{"target": target},
		Exports: []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{"name": "host/" + target + ":1,host/" + target + ":2"}}},
	}, nil)
	return err
}

func follow(t *testing.T, c *buildkit.Client) (*buildkit.Follower, *seen) {
	t.Helper()
	s := &seen{}
	f, err := c.Follow(t.Context(), s.observer())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f, s
}

func TestFollow(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, worker.Options{History: 1000})
	c := dialTo(t, d.Addr())
	dirs := folder(t, nil)
	st := func(line string) llb.State { return sh(box(), line) }
	if err := foreign(t.Context(), t, d.Addr(), "before", st("echo before"), dirs); err != nil {
		t.Fatal(err)
	}
	f, s := follow(t, c)
	for _, target := range []string{"first", "second"} {
		if err := foreign(t.Context(), t, d.Addr(), target, st("echo same"), dirs); err != nil {
			t.Fatal(err)
		}
	}
	if err := foreign(t.Context(), t, d.Addr(), "bad", st("echo why; exit 7"), dirs); err == nil {
		t.Fatal("a step that fails fails no build")
	}
	// A client that goes away: its solve is cancelled in the daemon, too.
	ctx, cancel := context.WithCancel(t.Context())
	gave := make(chan error, 1)
	go func() { gave <- foreign(ctx, t, d.Addr(), "left", st("sleep 3456"), dirs) }()
	testfleet.Await(t, "the step of the client that leaves runs", func() bool { return len(testfleet.Processes("3456")) > 0 })
	cancel()
	if err := <-gave; err == nil {
		t.Fatal("a cancelled solve succeeded")
	}
	// Many at once, the last of which end just before the end.
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := foreign(t.Context(), t, d.Addr(), fmt.Sprint("many", i), st(fmt.Sprint("echo ", i)), dirs); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := f.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What another Follower finds is not its own, but it cleans up.
	f, later := follow(t, c)
	testfleet.Await(t, "the history is empty", func() bool {
		h, err := c.History(t.Context())
		return err == nil && h.Entries == 0
	})
	if f.Close(); len(later.ended) > 0 {
		t.Errorf("builds of before: %+v", later.ended)
	}
	if len(s.faults) > 0 {
		t.Error(s.faults)
	}
	if len(s.ended) != 12 || len(s.began) != 12 {
		t.Errorf("%d builds began and %d ended, want 12", len(s.began), len(s.ended))
	}

	b, steps := s.byTarget(t, "first")
	if d := cmp.Diff([]string{"host/first:1", "host/first:2"}, b.Names); d != "" || b.Err != nil || b.Digest == "" || !b.Completed.After(b.Started) {
		t.Errorf("%+v\n%s", b, d)
	}
	if in := b.Inputs[steps.last["RUN echo same"].Digest]; len(in) != 1 || in[0] != steps.last["COPY /busybox /bin/sh"].Digest {
		t.Errorf("the step has the inputs %v", in)
	}
	if ran := steps.ran(); !slices.Contains(ran, "RUN echo same") || !strings.Contains(steps.log.String(), "same\n") {
		t.Errorf("ran %v and printed %q", ran, steps.log.String())
	}
	if _, steps = s.byTarget(t, "second"); len(steps.ran()) > 0 || !steps.last["RUN echo same"].Cached {
		t.Errorf("the second of two equal builds ran %v", steps.ran())
	}

	b, steps = s.byTarget(t, "bad")
	var step *buildkit.StepError
	if !errors.As(b.Err, &step) || diag.KindOf(b.Err) != diag.Step || step.ExitCode != 7 || step.Name != "RUN echo why; exit 7" || step.Log != "why\n" {
		t.Errorf("%+v", b.Err)
	}
	if steps.last["RUN echo why; exit 7"].Error == "" {
		t.Errorf("%v", steps)
	}
	if b, _ = s.byTarget(t, "left"); diag.KindOf(b.Err) != diag.Interrupted {
		t.Errorf("a client that went away: %v", b.Err)
	}
}

// Solves that the daemon loses end for the observer, and Drain says so.
func TestFollowDaemonLost(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, worker.Options{History: 1000})
	c := dialTo(t, d.Addr())
	dirs := folder(t, nil)
	f, s := follow(t, c)
	gave := make(chan error, 1)
	go func() { gave <- foreign(t.Context(), t, d.Addr(), "lost", sh(box(), "sleep 3457"), dirs) }()
	testfleet.Await(t, "the step runs", func() bool { return len(testfleet.Processes("3457")) > 0 })
	testfleet.Await(t, "the build was seen", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.began) == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // kills at once
	if err := d.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	<-f.Lost()
	<-gave
	if err := f.Drain(t.Context()); !errors.Is(err, buildkit.ErrLost) {
		t.Errorf("Drain: %v", err)
	}
	if b, _ := s.byTarget(t, "lost"); b.Err == nil || !b.Completed.IsZero() {
		t.Errorf("%+v", b)
	}
}

// A solve that does not end does not hold up a Drain for longer than its context.
func TestFollowDrainEnds(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, worker.Options{History: 1000})
	c := dialTo(t, d.Addr())
	dirs := folder(t, nil)
	f, s := follow(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	gave := make(chan error, 1)
	go func() { gave <- foreign(ctx, t, d.Addr(), "long", sh(box(), "sleep 3458"), dirs) }()
	defer func() { cancel(); <-gave }()
	testfleet.Await(t, "the step runs", func() bool { return len(testfleet.Processes("3458")) > 0 })
	soon, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if err := f.Drain(soon); diag.KindOf(err) != diag.Interrupted {
		t.Errorf("Drain: %v", err)
	}
	if b, _ := s.byTarget(t, "long"); b.Err == nil {
		t.Errorf("%+v", b)
	}
}
