package lab_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/lab"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// TestBudget: a lab that holds more than it may stops while a trial runs, leaves
// nothing of that, and goes on when it may have more. What earlier trials took
// counts when it is opened again.
func TestBudget(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(testfleet.Loop(t, 1<<30), "results")
	run := func(bytes int64, limit time.Duration) error {
		w.e.Budget.Bytes, w.e.Budget.Time = bytes, limit
		l, err := lab.Open(t.Context(), w.options(dir, ""))
		if err != nil {
			t.Fatal(err)
		}
		err = l.Run(t.Context(), trials.Make(w.e, trials.Facts{}), []string{"base/cold"})
		if e := l.Close(); e != nil {
			t.Error(e)
		}
		return err
	}
	err := run(4<<20, 0)
	if diag.KindOf(err) != diag.Interrupted || !strings.Contains(err.Error(), "and may hold 4M: the experiment's disk is spent") {
		t.Errorf("with 4 MiB: %v, of kind %v", err, diag.KindOf(err))
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "trials")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	w.nothingLeft(dir)
	if err := run(900<<20, 0); err != nil {
		t.Fatal(err)
	}
	results, err := lab.ReadResults(dir)
	if err != nil || len(results) != 1 || len(results.Contaminated()) != 0 {
		t.Fatalf("%v, %v", results, err)
	}
	// Another trial is wanted, and the first one took longer than all may.
	w.e.Replicates = 2
	if err := run(0, time.Millisecond); diag.KindOf(err) != diag.Interrupted || !strings.Contains(err.Error(), "the experiment's time is spent") {
		t.Errorf("with a millisecond: %v", err)
	}
}
