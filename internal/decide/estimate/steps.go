package estimate

import (
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Steps are what steps took in earlier runs of a fleet, by what they are called:
// a recipe that changed a little has most of its steps under the same names,
// though others may have come before them. Add the newest run first: what is
// known is not replaced. The zero value, and nil, know nothing.
type Steps struct{ took map[stepName]float64 }

// stepName is a step as one run and the next know it: without its place in its
// stage.
type stepName struct {
	stage, text string
	shared      bool
}

func nameOf(name string, shared bool) stepName {
	k := graph.KeyOf(name)
	return stepName{k.Stage, k.Text, shared}
}

// Add learns from what a run came to. Steps that only failed tell nothing.
func (s *Steps) Add(run *summary.Summary) {
	type sum struct {
		seconds float64
		n       int64
	}
	sums := map[stepName]sum{}
	for _, st := range run.Steps {
		if st.Executed > st.Failed {
			k := nameOf(st.Name, st.Shared)
			sums[k] = sum{sums[k].seconds + st.TotalSeconds, sums[k].n + st.Executed}
		}
	}
	if s.took == nil {
		s.took = map[stepName]float64{}
	}
	for k, x := range sums {
		if _, known := s.took[k]; !known {
			s.took[k] = x.seconds / float64(x.n)
		}
	}
}

// Took is how many seconds one execution of the step with that name took, as a
// mean over the newest run that executed it; ok is false when none did.
func (s *Steps) Took(name string, shared bool) (seconds float64, ok bool) {
	if s == nil {
		return 0, false
	}
	seconds, ok = s.took[nameOf(name, shared)]
	return seconds, ok
}
