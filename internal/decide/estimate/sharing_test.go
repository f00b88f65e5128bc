package estimate_test

import (
	"encoding/json"
	"testing"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// TestSize holds what runs tell of the disk that shared steps take: only what
// was read while nothing else changed the disk, and something was executed.
func TestSize(t *testing.T) {
	type line struct {
		kind  journal.Kind
		about string // a step or an image
		data  any
	}
	disk := func(used int64) line { return line{journal.Disk, "", journal.DiskData{Used: used}} }
	started := func(step string) line { return line{journal.SharedStarted, step, nil} }
	ready := func(step string) line { return line{journal.SharedReady, step, nil} }
	ran := func(step string) line {
		return line{journal.StepDone, step, journal.StepData{Kind: graph.KindExec, Shared: true}}
	}
	tests := []struct {
		name  string
		lines []line
		s, t  int64
	}{
		{"one", []line{disk(100), started("s"), disk(300), ran("s"), disk(400), ready("s"), disk(900)}, 300, 0},
		{"since the worker was there", []line{{journal.WorkerReady, "", journal.WorkerData{Disk: &journal.DiskData{Used: 100}}}, started("s"), ran("s"), disk(400), ready("s")}, 300, 0},
		{"two at once", []line{disk(100), started("s"), started("t"), ran("s"), disk(400), ready("s"), disk(500), ready("t")}, 200, 200},
		{"two after each other", []line{disk(100), started("s"), ran("s"), disk(400), ready("s"), started("t"), ran("t"), disk(420), ready("t")}, 300, 20},
		{"the larger of two runs", []line{disk(100), started("s"), ran("s"), disk(120), ready("s"), {journal.RunStarted, "", nil}, disk(100), started("s"), ran("s"), disk(400), ready("s")}, 300, 0},
		{"nothing was executed", []line{disk(100), started("s"), disk(400), ready("s")}, 0, 0},
		{"nothing was read", []line{started("s"), ran("s"), disk(400), ready("s")}, 0, 0},
		{"it shrank", []line{disk(100), started("s"), ran("s"), disk(40), ready("s")}, 0, 0},
		{"it failed", []line{disk(100), started("s"), ran("s"), disk(400), {journal.SharedFailed, "s", nil}}, 0, 0},
		{"after it failed", []line{disk(100), started("s"), disk(200), {journal.SharedFailed, "s", nil}, started("s"), ran("s"), disk(400), ready("s")}, 200, 0},
		{"an image ran", []line{{journal.UnitStarted, "i", nil}, disk(100), started("s"), ran("s"), disk(400), ready("s")}, 0, 0},
		{"an image began", []line{disk(100), started("s"), ran("s"), {journal.UnitStarted, "i", nil}, disk(400), ready("s")}, 0, 0},
		{"something was released", []line{disk(100), started("s"), ran("s"), {journal.Releasing, "", nil}, disk(400), ready("s")}, 0, 0},
		{"the worker was lost", []line{disk(100), started("s"), ran("s"), disk(400), {journal.WorkerLost, "", nil}, ready("s")}, 0, 0},
		{"the process died", []line{disk(100), started("s"), ran("s"), disk(400), {journal.RunStarted, "", journal.RunData{Resumed: true}}, ready("s")}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := estimate.NewHistory(2)
			for _, l := range tt.lines {
				e := journal.Event{Kind: l.kind, Worker: "a"}
				if l.kind == journal.UnitStarted {
					e.Unit = l.about
				} else {
					e.Step = graph.Digest(l.about)
				}
				e.Data, _ = json.Marshal(l.data)
				h.Fold(e)
			}
			if s, u := h.Size("s"), h.Size("t"); s != tt.s || u != tt.t {
				t.Errorf("s takes %d and t %d, not %d and %d", s, u, tt.s, tt.t)
			}
		})
	}
}
