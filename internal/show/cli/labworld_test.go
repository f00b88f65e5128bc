package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lapstrake/lapstrake/internal/adapt/labfile"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// ended writes a results folder as `lapstrake lab run` leaves it, without running
// anything: the file has a line for each trial, a cell and NAME=VALUE words. Names
// are executed, cached, failed, wall (seconds), written (bytes that a release of
// images gave back), jobs, daemon, host, fault, and cut, which ends the run early.
func ended(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: ended LAB FILE DIR")
	}
	e, err := labfile.Load(ts.MkAbs(args[0]), labfile.Language{Metrics: metric.Names()})
	ts.Check(err)
	dir := ts.MkAbs(args[2])
	ts.Check(os.MkdirAll(filepath.Join(dir, "trials"), 0o755))
	writeJSON(ts, filepath.Join(dir, "experiment.json"), e)
	count := map[string]int{}
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		c, ok := e.Cell(words[0])
		if !ok {
			ts.Fatalf("the experiment has no cell %s", words[0])
		}
		count[c.ID()]++
		told := map[string]string{"executed": "9", "wall": "100", "jobs": "2", "daemon": "v0.34.2", "host": "here"}
		for _, w := range words[1:] {
			name, value, _ := strings.Cut(w, "=")
			told[name] = value
		}
		endTrial(ts, dir, e, c, count[c.ID()], told)
	}
}

func endTrial(ts *testscript.TestScript, dir string, e *experiment.Experiment, c experiment.Cell, n int, told map[string]string) {
	number := func(name string) int64 {
		v, err := strconv.ParseInt("0"+told[name], 10, 64)
		ts.Check(err)
		return v
	}
	o := trials.Outcome{
		V: trials.OutcomeVersion, Experiment: e.Digest(), Run: "run", Host: trials.Host{Name: told["host"]}, Faults: []trials.Fault{},
		Trial:      trials.Trial{ID: experiment.TrialID(e.Digest(), c, n), Cell: c.ID(), Replicate: n},
		Conditions: stat.Conditions{Temperature: string(c.Temperature), Concurrency: int(number("jobs")), Plan: "p", Daemon: told["daemon"]},
	}
	if code := told["fault"]; code != "" {
		o.Faults = append(o.Faults, trials.Fault{Code: trials.FaultCode(code), Detail: "it was not alone"})
	}
	at := filepath.Join(dir, "trials", strings.NewReplacer("/", "~", ",", "~").Replace(o.ID))
	run := filepath.Join(at, "state", "runs", o.Run)
	ts.Check(os.MkdirAll(run, 0o755))
	writeJSON(ts, filepath.Join(at, "trial.json"), o)
	var j journalOf
	j.add(0, journal.Event{Kind: journal.RunStarted}, journal.RunData{Run: o.Run, Fleet: "f", Versions: map[string]string{trials.Daemon: told["daemon"]}})
	j.add(0, journal.Event{Kind: journal.Planned}, journal.PlannedData{Images: 1, Actions: map[string]int{"build": 1}, StepsDistinct: max(1, number("executed")+number("cached"))})
	j.add(0, journal.Event{Kind: journal.UnitStarted, Unit: "a", Attempt: 1}, journal.UnitData{Action: "build"})
	for i := range number("executed") + number("cached") {
		step := graph.Digest(fmt.Sprintf("sha256:%064d", i))
		j.add(0, journal.Event{Kind: journal.StepDone, Unit: "a", Step: step}, journal.StepData{Name: fmt.Sprintf("[final %d] RUN step", i), Kind: graph.KindExec, Cached: i >= number("executed")})
	}
	if number("failed") > 0 {
		j.add(0, journal.Event{Kind: journal.UnitFailed, Unit: "a"}, journal.FailData{Kind: "step", Cause: "no"})
	} else {
		j.add(0, journal.Event{Kind: journal.UnitPublished, Unit: "a"}, journal.UnitData{Action: "build"})
	}
	if n := number("written"); n > 0 {
		j.add(0, journal.Event{Kind: journal.Released}, journal.ReleaseData{Records: 1, Images: 1, Own: n, Bytes: n})
	}
	exit := 0
	if _, cut := told["cut"]; cut {
		exit = 130
	}
	j.add(time.Duration(number("wall"))*time.Second, journal.Event{Kind: journal.RunEnded}, journal.EndData{Exit: exit})
	ts.Check(os.WriteFile(filepath.Join(run, "journal.jsonl"), []byte(j.b.String()), 0o644))
}

// journalOf is a journal that is made up.
type journalOf struct {
	b   strings.Builder
	seq int64
}

func (j *journalOf) add(at time.Duration, e journal.Event, data any) {
	j.seq++
	e.V, e.Seq, e.Mono, e.Wall = journal.Version, j.seq, at, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(at)
	e.Data, _ = json.Marshal(data)
	line, _ := json.Marshal(e)
	j.b.Write(append(line, '\n'))
}

func writeJSON(ts *testscript.TestScript, path string, v any) {
	data, err := json.Marshal(v)
	ts.Check(err)
	ts.Check(os.WriteFile(path, data, 0o644))
}
