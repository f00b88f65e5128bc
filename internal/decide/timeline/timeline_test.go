package timeline_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lapstrake/lapstrake/internal/decide/timeline"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// ev is an event at a second; about is an image, or a step of shared events.
func ev(at float64, kind journal.Kind, about string, data any) journal.Event {
	e := journal.Event{Mono: time.Duration(at * float64(time.Second)), Kind: kind, Unit: about, Worker: "w"}
	switch kind {
	case journal.SharedQueued, journal.SharedStarted, journal.SharedReady, journal.SharedFailed:
		e.Unit, e.Step = "", graph.Digest(about)
	}
	if data != nil {
		e.Data, _ = json.Marshal(data)
	}
	return e
}

func fold(events ...journal.Event) *timeline.Timeline {
	t := timeline.New()
	for i, e := range events {
		e.Seq = int64(i + 1)
		t.Fold(e)
		t.Fold(e) // changes nothing
	}
	t.End()
	return t
}

// begun is a run with one worker that makes two solves at once.
func begun(rest ...journal.Event) []journal.Event {
	return append([]journal.Event{
		ev(0, journal.RunStarted, "", nil), ev(0, journal.Scheduling, "", journal.SchedulingData{Jobs: 2}), ev(1, journal.WorkerReady, "", journal.WorkerData{}),
	}, rest...)
}

func queued(at float64, image string, needs ...graph.Digest) journal.Event {
	return ev(at, journal.UnitQueued, image, journal.QueuedData{Needs: needs})
}

func TestSpans(t *testing.T) {
	tl := fold(begun(
		ev(1, journal.SharedQueued, "s", journal.SharedData{Name: "RUN make"}), ev(2, journal.SharedStarted, "s", nil), ev(4, journal.SharedReady, "s", nil),
		ev(4, journal.UnitStarted, "a", nil), ev(5, journal.UnitStarted, "b", nil), ev(6, journal.UnitPublished, "a", nil), ev(7, journal.UnitRetried, "b", nil),
		ev(8, journal.UnitStarted, "b", nil), ev(9, journal.WorkerLost, "", nil), ev(10, journal.UnitStarted, "b", nil), ev(12, journal.UnitFailed, "b", nil),
		ev(13, journal.UnitStarted, "c", nil), ev(14, journal.UnitSkipped, "c", nil), ev(15, journal.UnitStarted, "d", nil), ev(16, journal.Note, "", nil),
	)...)
	span := func(image string, start, end float64, o timeline.Outcome) timeline.Span {
		return timeline.Span{Interval: timeline.Interval{Start: start, End: end}, Image: image, Worker: "w", Outcome: o, Attempt: 1}
	}
	want := []timeline.Span{
		{Interval: timeline.Interval{Start: 2, End: 4}, Step: "RUN make", Worker: "w", Outcome: timeline.Ready},
		span("a", 4, 6, timeline.Published), span("b", 5, 7, timeline.Retried), span("b", 8, 9, timeline.Lost), span("b", 10, 12, timeline.Failed), span("d", 15, 16, timeline.Interrupted),
	}
	if d := cmp.Diff(want, tl.Spans); d != "" {
		t.Error(d)
	}
}

// TestHeld asks that only what could have started counts as held back.
func TestHeld(t *testing.T) {
	tests := map[string]struct {
		events []journal.Event
		want   []timeline.Interval
	}{
		"waits for a shared step":  {begun(queued(2, "a", "s"), ev(8, journal.SharedReady, "s", nil), ev(8, journal.UnitStarted, "a", nil)), nil},
		"waits with room":          {begun(queued(2, "a"), ev(8, journal.UnitStarted, "a", nil)), []timeline.Interval{{Start: 2, End: 8}}},
		"no room":                  {begun(queued(2, "a"), queued(2, "b"), queued(2, "c"), ev(2, journal.UnitStarted, "a", nil), ev(2, journal.UnitStarted, "b", nil), ev(9, journal.UnitPublished, "a", nil), ev(9, journal.UnitStarted, "c", nil)), nil},
		"one runs, another waits":  {begun(queued(2, "a"), queued(2, "b"), ev(2, journal.UnitStarted, "a", nil), ev(9, journal.UnitStarted, "b", nil)), []timeline.Interval{{Start: 2, End: 9}}},
		"the worker is gone":       {begun(ev(2, journal.WorkerLost, "", nil), queued(3, "a"), ev(9, journal.Note, "", nil)), nil},
		"to the end":               {begun(queued(2, "a"), ev(9, journal.Note, "", nil)), []timeline.Interval{{Start: 2, End: 9}}},
		"a later start knows none": {begun(queued(2, "a"), ev(5, journal.RunStarted, "", nil), ev(9, journal.Note, "", nil)), []timeline.Interval{{Start: 2, End: 5}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(test.want, fold(test.events...).Held, cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestDisk asks that the budget comes on top of what others held, and that few
// points of many readings keep the highest.
func TestDisk(t *testing.T) {
	events := []journal.Event{ev(0, journal.WorkerReady, "", journal.WorkerData{Disk: &journal.DiskData{Used: 100, Budget: 50}, Holds: 30})}
	for i := range 5000 {
		d := journal.DiskData{Used: int64(100 + i%7), Budget: 50}
		if i == 3210 {
			d.Used = 999
		}
		events = append(events, ev(float64(i+1), journal.Disk, "", d))
	}
	points := fold(events...).Disks[0].Points
	if n := len(points); n > 401 || n < 300 {
		t.Errorf("%d points", n)
	}
	if d := cmp.Diff(timeline.Point{At: 5000, Used: 100 + 4999%7, Budget: 120}, points[len(points)-1]); d != "" {
		t.Error(d)
	}
	highest := timeline.Point{}
	for i, p := range points {
		if p.Used > highest.Used {
			highest = p
		}
		if i > 0 && p.At <= points[i-1].At {
			t.Fatalf("point %d is not after the one before", i)
		}
	}
	if highest.Used != 999 || highest.At != 3211 {
		t.Errorf("the highest point is %+v", highest)
	}
}
