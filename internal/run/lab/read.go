package lab

import (
	"regexp"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/evidence"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// reading is what the journal of a trial's run tells.
type reading struct {
	summary *summary.Summary
	census  trials.Census
	// steps are those whose results the run made or had.
	steps known
	// refs are the references that its builds wrote, or took a cache from.
	refs []string
}

// known are steps by digest and by instruction. A daemon may also know a step by
// what its inputs hold: its digest is then a new one, its instruction is not.
type known struct {
	digests map[graph.Digest]bool
	texts   map[string]bool
}

func newKnown() known { return known{map[graph.Digest]bool{}, map[string]bool{}} }

func (k known) add(d graph.Digest, name string) {
	k.digests[d], k.texts[instruction(name)] = true, true
}

func (k known) has(d graph.Digest, name string) bool {
	return k.digests[d] || k.texts[instruction(name)]
}

// place is what names of steps begin with: the stage and the place in it.
var place = regexp.MustCompile(`^\[[^\]]*\] `)

func instruction(name string) string { return place.ReplaceAllString(name, "") }

// importing is how BuildKit names the import of a cache.
const importing = "importing cache manifest from "

// readRun reads a run. Seed are the steps of the state that it started from.
func readRun(dir string, seed known) (*reading, error) {
	r := &reading{summary: summary.New(), steps: newKnown()}
	ran := newKnown()
	refs := map[string]bool{}
	for ev, err := range runlog.Read(dir) {
		if err != nil {
			return nil, err
		}
		summary.Fold(r.summary, ev)
		switch ev.Kind {
		case journal.UnitStarted, journal.UnitPut, journal.UnitPublished:
			var d journal.UnitData
			if ev.Decode(&d) == nil {
				for _, t := range d.Tags {
					refs[t] = true
				}
			}
		case journal.StepDone:
			var d journal.StepData
			if err := ev.Decode(&d); err != nil {
				return nil, err
			}
			if ref, ok := strings.CutPrefix(d.Name, importing); ok {
				refs[ref] = true
			}
			r.step(ev.Step, d, ran, seed)
		}
	}
	for ref := range refs {
		r.refs = append(r.refs, ref)
	}
	slices.Sort(r.refs)
	return r, nil
}

// step counts a step by where its result came from.
func (r *reading) step(digest graph.Digest, d journal.StepData, ran, seed known) {
	kind := d.Kind
	if kind == "" {
		kind = evidence.KindOf(d.Name)
	}
	if kind == "" || kind.Source() || kind == graph.KindMerge || kind == graph.KindDiff || d.Error != "" {
		return
	}
	r.steps.add(digest, d.Name)
	switch {
	case !d.Cached:
		r.census.Executed++
		ran.add(digest, d.Name)
	case ran.has(digest, d.Name):
		r.census.Intra++
	case seed.has(digest, d.Name):
		r.census.Seed++
	default:
		r.census.Foreign++
	}
}
