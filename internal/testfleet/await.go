package testfleet

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Processes lists the ids of the processes that have the argument, which must be
// unique to the test. Those that ended and wait to be reaped have none any more.
func Processes(arg string) []string {
	var out []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		data, _ := os.ReadFile(d + "/cmdline")
		if slices.Contains(strings.Split(string(data), "\x00"), arg) {
			out = append(out, filepath.Base(d))
		}
	}
	return out
}

// Await waits for a state that another process brings about, which nothing tells
// of; what names it. After 30 seconds the test ends.
func Await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}
