package archive

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/estimate"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
)

const (
	// historyRuns is how many earlier runs of a fleet estimates rest on, and
	// historyLooks how many are looked at: a run that made nothing tells nothing.
	historyRuns  = 5
	historyLooks = 20
	// historyWithin bounds the time that reading them takes: journals of ten
	// thousand images are large, and what is not read is only not known.
	historyWithin = 2 * time.Second
)

// History folds the journals of the newest runs of the fleet with that name, the
// newest first. It ends early after some seconds, or with ctx; what was read so
// far counts. A journal that cannot be read counts as ended where it breaks off.
func History(ctx context.Context, state, fleet string) (*estimate.History, error) {
	h := estimate.NewHistory(runtime.NumCPU())
	runs, err := List(state)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, historyWithin)
	defer cancel()
	looks, told := 0, 0
	for _, run := range runs {
		if !run.of(fleet) {
			continue
		}
		known := h.Len()
		if looks++; !learn(ctx, h, run.Dir) || looks == historyLooks {
			break
		}
		if h.Len() > known {
			told++
		}
		if told == historyRuns {
			break
		}
	}
	return h, nil
}

// learn reads one journal; false when the time is over.
func learn(ctx context.Context, h *estimate.History, dir string) bool {
	n := 0
	for ev, err := range runlog.Read(dir) {
		if err != nil {
			break
		}
		h.Fold(ev)
		if n++; n%256 == 0 && ctx.Err() != nil {
			return false
		}
	}
	return ctx.Err() == nil
}

// Kept lists the references that the newest runs of the fleet with that name were
// to keep results of shared steps under for other daemons, the newest run first,
// each once. A run that cannot be read is passed over.
func Kept(state, fleet string) ([]string, error) {
	runs, err := List(state)
	if err != nil {
		return nil, err
	}
	var out []string
	looks := 0
	for _, run := range runs {
		if !run.of(fleet) || !run.Comparable() {
			continue
		}
		if looks++; looks > historyRuns {
			break
		}
		p, err := run.Plan()
		if err != nil {
			continue
		}
		for _, ref := range delta.Kept(p.Plan, p.Basis) {
			if !slices.Contains(out, ref) {
				out = append(out, ref)
			}
		}
	}
	return out, nil
}

// Steps tell what steps took in the newest runs of the fleet with that name that
// came to an end. A summary that cannot be read tells nothing.
func Steps(state, fleet string) (*estimate.Steps, error) {
	runs, err := List(state)
	if err != nil {
		return nil, err
	}
	steps, looks := &estimate.Steps{}, 0
	for _, run := range runs {
		if !run.of(fleet) {
			continue
		}
		var s summary.Summary
		data, err := os.ReadFile(filepath.Join(run.Dir, runlog.SummaryFile))
		if err == nil && json.Unmarshal(data, &s) == nil {
			steps.Add(&s)
		}
		if looks++; looks == historyLooks {
			break
		}
	}
	return steps, nil
}
