package fleet_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

func TestParseDeadline(t *testing.T) {
	for text, want := range map[string]time.Duration{"1s": time.Second, "20m": 20 * time.Minute, "1h30m": 90 * time.Minute, "1500ms": 1500 * time.Millisecond} {
		got, err := fleet.ParseDeadline(text)
		if err != nil || got != want {
			t.Errorf("%q is %v, want %v (%v)", text, got, want, err)
		}
	}
	for text, want := range map[string]string{
		"":       "this is not a time",
		"soon":   "this is not a time",
		"30":     "a time has a unit",
		"1.5":    "a time has a unit",
		"900ms":  "a deadline is at least a second",
		"0s":     "a deadline is at least a second",
		"0":      "a deadline is at least a second",
		"-5m":    "a deadline is at least a second",
		"3 days": "this is not a time",
	} {
		_, err := fleet.ParseDeadline(text)
		refused(t, text, err, want)
	}
}

func TestDeadlinesOr(t *testing.T) {
	given := fleet.Deadlines{Image: 1, Run: 2}
	file := fleet.Deadlines{Image: 3, Step: 4, Release: 5, Run: 6}
	if d := cmp.Diff(fleet.Deadlines{Image: 1, Step: 4, Release: 5, Run: 2}, given.Or(file)); d != "" {
		t.Error(d)
	}
}
