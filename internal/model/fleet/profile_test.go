package fleet_test

import (
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

func TestReaches(t *testing.T) {
	p := fleet.Profile{Targets: []string{"final", "Debug"}}
	for target, want := range map[string]bool{"final": true, "debug": true, "FINAL": true, "": false, "builder": false} {
		if p.Reaches(target) != want {
			t.Errorf("%q: %t", target, !want)
		}
	}
	if (fleet.Profile{Targets: []string{""}}).Reaches("") {
		t.Error("no target is reached")
	}
}
