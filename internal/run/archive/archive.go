// Package archive reads recorded runs: which there are, what a run planned and
// what that rested on, what became of it, and what the runs of a fleet tell of
// its next one.
//
// Nothing is locked and nothing is written: a run that goes on is read as far as
// it has come. What cannot be read is an error of kind [diag.Infra].
package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/explain"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/decide/timeline"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// Run is a recorded run.
type Run struct{ runlog.Info }

// List lists the runs of a state folder, the newest first; no runs are no error.
func List(state string) ([]Run, error) {
	infos, err := runlog.List(state)
	runs := make([]Run, len(infos))
	for i := range infos {
		runs[i] = Run{infos[i]}
	}
	return runs, err
}

// Find is the run with an id, or the newest one when id is empty. That there is
// none is an error of kind [diag.Usage].
func Find(state, id string) (Run, error) {
	r, ok, err := newest(state, func(r Run) bool { return id == "" || r.ID == id })
	switch {
	case err != nil || ok:
		return r, err
	case id == "":
		return r, diag.Errorf(diag.Usage, "build something first, or name the folder with --state", "there are no runs in %s", state)
	}
	return r, diag.Errorf(diag.Usage, "`lapstrake runs` lists them", "no run %s in %s", id, state)
}

// At is the run in a folder, wherever that is. Of its journal's ends nothing is
// read.
func At(dir string) Run { return Run{runlog.Info{ID: filepath.Base(dir), Dir: dir}} }

// ReadSummary reads a summary that a run left, wherever it is kept. What is none of
// this version is an error of kind [diag.Usage].
func ReadSummary(path string) (*summary.Summary, error) {
	s := &summary.Summary{}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "read summary", err)
	}
	if json.Unmarshal(data, s) != nil || s.V != summary.Version {
		return nil, diag.Errorf(diag.Usage, "name a summary.json of a run, or the run", "%s is no summary of version %d", path, summary.Version)
	}
	return s, nil
}

// Latest is the newest run of a fleet that can be compared; ok is false when
// there is none.
func Latest(state, fleet string) (r Run, ok bool, err error) {
	return newest(state, func(r Run) bool { return r.of(fleet) && r.Comparable() })
}

// Before is the newest run of the same fleet that is older than r and can be
// compared; ok is false when there is none.
func Before(state string, r Run) (before Run, ok bool, err error) {
	return newest(state, func(o Run) bool { return o.ID < r.ID && r.sameFleet(o) && o.Comparable() })
}

func newest(state string, match func(Run) bool) (Run, bool, error) {
	info, ok, err := runlog.Latest(state, func(i runlog.Info) bool { return match(Run{i}) })
	return Run{info}, ok, err
}

// FleetName is the name of the fleet that was built, or the command line of an
// observed run.
func (r Run) FleetName() string { return NameOf(r.Fleet, r.Observed) }

// NameOf is the name of a fleet as a journal has it, or the command line of an
// observed run.
func NameOf(fleet string, observed bool) string {
	if observed {
		return fleet
	}
	name, _, _ := strings.Cut(fleet, "@")
	return name
}

func (r Run) of(fleet string) bool { return !r.Observed && r.FleetName() == fleet }

func (r Run) sameFleet(o Run) bool {
	return r.Observed == o.Observed && r.FleetName() == o.FleetName()
}

// Comparable tells whether the run kept what its plan rested on: not one that
// never came to a plan, nor one of a version that kept no basis.
func (r Run) Comparable() bool {
	_, err := os.Stat(filepath.Join(r.Dir, runlog.BasisFile))
	return err == nil
}

// Planned is what the run planned. A run that never came to a plan is
// fs.ErrNotExist.
func (r Run) Planned() (*plan.Plan, error) {
	p := &plan.Plan{}
	return p, r.read(runlog.PlanFile, p)
}

// Plan is what the run planned with what that rested on. A run that is not
// comparable is an error of kind [diag.Usage].
func (r Run) Plan() (delta.Plan, error) {
	p := delta.Plan{Name: "run " + r.ID, Basis: &plan.Basis{}}
	var err error
	if p.Plan, err = r.Planned(); err == nil {
		err = r.read(runlog.BasisFile, p.Basis)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return p, diag.Errorf(diag.Usage, "name a run that planned its images with this version or a later one", "run %s kept no plan that could be compared", r.ID)
	}
	return p, err
}

// Explained is the run as explanations need it; see [Run.Plan] for errors.
func (r Run) Explained() (*explain.Run, error) {
	p, err := r.Plan()
	if err != nil {
		return nil, err
	}
	x := explain.NewRun(r.ID, p.Plan, p.Basis)
	return x, r.fold(x.Fold)
}

// Summary is what the run came to, or has come to so far.
func (r Run) Summary() (*summary.Summary, error) {
	s := summary.New()
	return s, r.fold(func(e journal.Event) { summary.Fold(s, e) })
}

// Traced is what the run came to, and how that is laid out over time.
func (r Run) Traced() (*summary.Summary, *timeline.Timeline, error) {
	s, t := summary.New(), timeline.New()
	err := r.fold(func(e journal.Event) {
		summary.Fold(s, e)
		t.Fold(e)
	})
	t.End()
	return s, t, err
}

// Tail is the end of the output of a step of an image, "" for a shared step: at most
// keep bytes of it, from the beginning of a line on; size is that of all of it. A step
// without output is "".
func (r Run) Tail(image string, step graph.Digest, keep int) (tail string, size int64, err error) {
	in, err := runlog.ReadLog(r.Dir, image, string(step))
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	var end []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := in.Read(buf)
		size += int64(n)
		if end = append(end, buf[:n]...); len(end) > 2*keep+len(buf) {
			end = append(end[:0], end[len(end)-keep:]...)
		}
		if err != nil { // a log that was torn ends early
			break
		}
	}
	if len(end) > keep {
		end = end[len(end)-keep:]
		_, end, _ = bytes.Cut(end, []byte("\n"))
	}
	return string(end), size, nil
}

// fold reads the journal.
func (r Run) fold(take func(journal.Event)) error {
	for e, err := range runlog.Read(r.Dir) {
		if err != nil {
			return err
		}
		take(e)
	}
	return nil
}

// read reads a file beside the journal.
func (r Run) read(name string, into any) error {
	data, err := os.ReadFile(filepath.Join(r.Dir, name))
	if err != nil {
		return diag.Wrap(diag.Infra, "read run", err)
	}
	return diag.Wrap(diag.Infra, "read "+filepath.Join(r.Dir, name), json.Unmarshal(data, into))
}
