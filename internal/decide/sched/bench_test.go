package sched

import (
	"fmt"
	"testing"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// large is a fleet of 10,000 images over 500 environments.
func large() World {
	w := World{
		Limits: journal.SchedulingData{Jobs: 8, Workers: 2, Budget: 20 << 30}, Disk: 1 << 40, Factor: 4, Release: 2 * time.Second, Cores: 4,
		Shared: []Shared{{Step: "s", Bytes: 100 * mega, Took: time.Minute}},
	}
	for i := range 10000 {
		t := Task{Name: fmt.Sprintf("i%05d", i), Needs: []graph.Digest{"s"}, Own: 60 * mega, Took: time.Duration(20+i%17) * time.Second}
		for _, l := range []string{"os", fmt.Sprint("env", i/20), fmt.Sprint("top", i)} {
			for part := range 3 {
				t.Layers = append(t.Layers, journal.LayerData{Digest: graph.Digest(fmt.Sprint(l, ".", part)), Bytes: 3 * mega})
			}
		}
		w.Tasks = append(w.Tasks, t)
	}
	return w
}

func BenchmarkSimulate(b *testing.B) {
	w := large()
	for b.Loop() {
		if out := Simulate(w); out.Published != len(w.Tasks) {
			b.Fatalf("%d images were made", out.Published)
		}
	}
}

// BenchmarkStep gives the journal of a run to a scheduler; an op is an event.
func BenchmarkStep(b *testing.B) {
	var events []journal.Event
	w := large()
	w.Watch = func(e journal.Event, _ []Action, _ map[string]int64) { events = append(events, e) }
	Simulate(w)
	s, i := New(), 0
	for b.Loop() {
		if i == len(events) {
			s, i = New(), 0
		}
		s.Step(events[i])
		i++
	}
}
