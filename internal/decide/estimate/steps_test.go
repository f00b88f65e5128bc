package estimate_test

import (
	"testing"

	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
)

// TestSteps: the newest run that executed a step tells of it, whatever its place
// in its stage was.
func TestSteps(t *testing.T) {
	var s estimate.Steps
	for _, run := range [][]*summary.Step{
		{
			{Name: "[2/5] RUN apt", Executed: 4, Failed: 1, TotalSeconds: 40},
			{Name: "[builder 3/3] RUN make", Shared: true, Executed: 1, TotalSeconds: 90},
			{Name: "[3/5] RUN only fails", Executed: 2, Failed: 2, TotalSeconds: 7},
			{Name: "[4/5] RUN twice", Executed: 1, TotalSeconds: 1},
			{Name: "[5/5] RUN twice", Executed: 1, TotalSeconds: 3},
			{Name: "[5/5] RUN was cached", Cached: 3},
		},
		{
			{Name: "[2/5] RUN apt", Executed: 4, TotalSeconds: 400},
			{Name: "[2/9] RUN was cached", Executed: 2, TotalSeconds: 8},
		},
	} {
		s.Add(&summary.Summary{Steps: run})
	}
	for _, tt := range []struct {
		name   string
		shared bool
		want   float64 // 0 when nothing is known
	}{
		{"[2/5] RUN apt", false, 10},
		{"[7/7] RUN apt", false, 10},
		{"[2/5] RUN apt", true, 0},
		{"[other 2/5] RUN apt", false, 0},
		{"[builder 2/2] RUN make", true, 90},
		{"[3/5] RUN only fails", false, 0},
		{"[4/5] RUN twice", false, 2},
		{"[5/5] RUN was cached", false, 4},
	} {
		if got, ok := s.Took(tt.name, tt.shared); got != tt.want || ok != (tt.want > 0) {
			t.Errorf("%s, shared %v: %v %v", tt.name, tt.shared, got, ok)
		}
	}
	if _, ok := (*estimate.Steps)(nil).Took("RUN apt", false); ok {
		t.Error("nothing knows something")
	}
}
