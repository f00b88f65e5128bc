package lab_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lapstrake/lapstrake/internal/decide/bisect"
	"github.com/lapstrake/lapstrake/internal/run/lab"
)

// TestTorn: a search whose log ends in the middle of a line, as a kill leaves it,
// goes on: what is written next stands on a line of its own.
func TestTorn(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	q := lab.Question{Factor: "version", Metric: "executed", Temperature: "cold"}
	log, err := bisect.Encode([]bisect.Event{{Kind: bisect.Begin, Plan: &bisect.Plan{Checkpoints: []bisect.Checkpoint{{ID: "old"}, {ID: "new"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bisect", "version~executed~cold.jsonl")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(log, `{"kind":"measured","at":"ne`...), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := w.open(dir, "").SkipProbe(q, "new", "no"); err != nil {
		t.Fatal(err)
	}
	s, err := lab.ReadSearch(dir, q)
	if err != nil {
		t.Fatal(err)
	}
	if events := s.Log(); len(events) != 2 || events[1].Kind != bisect.Skip {
		t.Errorf("the log has %+v", events)
	}
}
