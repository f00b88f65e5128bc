package lab

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// Searches are the questions of the bisections that a folder has logs of, in the
// order of their names; see [ReadSearch].
func Searches(dir string) ([]Question, error) {
	paths, err := filepath.Glob(filepath.Join(dir, searchFolder, "*.jsonl"))
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "bisect", err)
	}
	slices.Sort(paths)
	var out []Question
	for _, p := range paths {
		parts := strings.Split(strings.TrimSuffix(filepath.Base(p), ".jsonl"), "~")
		if len(parts) == 3 {
			out = append(out, Question{Factor: parts[0], Metric: parts[1], Temperature: experiment.Temperature(parts[2])})
		}
	}
	return out, nil
}

// SeedRun is the folder of the run that built what warm trials and bumps of a
// setting start from; false when there is none.
func SeedRun(dir, setting string) (run string, ok bool, err error) {
	at := filepath.Join(dir, "seeds", folder(setting))
	var s seed
	if err := readJSON(filepath.Join(at, seedFile), &s); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return "", false, err
	}
	return runlog.Dir(filepath.Join(at, "state"), s.Run), true, nil
}
