package diag_test

import (
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// TestWorst holds the documented order of exit codes, and that a kind outside of
// it wins.
func TestWorst(t *testing.T) {
	order := []int{130, 1, 9, 6, 7, 8, 3}
	kind := map[int]diag.Kind{}
	for _, k := range diag.Kinds() {
		kind[k.ExitCode()] = k
	}
	for i, a := range order {
		for _, b := range order[i:] {
			if x, y := diag.Worst(kind[a], kind[b]), diag.Worst(kind[b], kind[a]); x != kind[a] || y != kind[a] {
				t.Errorf("of %d and %d: %v, %v", a, b, x, y)
			}
		}
		for _, outside := range []diag.Kind{diag.Usage, diag.File, diag.Infeasible} {
			if diag.Worst(kind[a], outside) != outside {
				t.Errorf("%d wins over %v", a, outside)
			}
		}
	}
}
