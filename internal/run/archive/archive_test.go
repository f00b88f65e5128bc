package archive_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/explain"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/archive"
)

// write records a run with events, and files beside the journal.
func write(t *testing.T, state, id string, files map[string]any, events ...journal.Event) {
	t.Helper()
	run, err := runlog.Options{}.Create(state, id)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := run.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range files {
		if err := run.WriteFile(name, encode(t, value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := run.Close(); err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func begun(t *testing.T, d journal.RunData) journal.Event {
	t.Helper()
	return journal.Event{Kind: journal.RunStarted, Data: encode(t, d)}
}

// kept is what a comparable run has beside its journal: one image with one step.
func kept() map[string]any {
	g := graph.Graph{Steps: []graph.Step{{Digest: "s", Kind: graph.KindExec, Name: "[2/2] RUN make", Own: "make"}}}
	return map[string]any{
		runlog.PlanFile:  plan.Plan{V: plan.Version, Fleet: "agent", Units: []plan.Unit{{Image: "a", Variant: "v"}}},
		runlog.BasisFile: plan.Basis{V: plan.Version, Conversions: []plan.Conversion{{ID: "v", Graph: g, Config: json.RawMessage("{}")}}},
	}
}

// runs writes, from the oldest to the newest: two runs of a fleet, one of it that
// never came to a plan, and two that were only watched.
func runs(t *testing.T) (state string) {
	t.Helper()
	state = t.TempDir()
	agent, other := journal.RunData{Fleet: "agent@0123456789ab"}, journal.RunData{Fleet: "agent@ba9876543210"}
	step := journal.Event{Kind: journal.StepDone, Unit: "a", Step: "s", Data: encode(t, journal.StepData{Name: "[2/2] RUN make", Took: 3e9, Kind: graph.KindExec})}
	write(t, state, "1", kept(), begun(t, agent), step)
	write(t, state, "2", kept(), begun(t, other), step)
	write(t, state, "3", nil, begun(t, agent))
	for _, id := range []string{"4", "5"} {
		write(t, state, id, kept(), begun(t, journal.RunData{Fleet: "build agent@1", Observed: true}))
	}
	return state
}

func TestFind(t *testing.T) {
	state := runs(t)
	for id, want := range map[string]string{"": "5", "2": "2"} {
		if r, err := archive.Find(state, id); r.ID != want || err != nil {
			t.Errorf("%q: %q, %v", id, r.ID, err)
		}
	}
	for _, of := range [][2]string{{state, "6"}, {t.TempDir(), ""}} {
		if _, err := archive.Find(of[0], of[1]); diag.KindOf(err) != diag.Usage || diag.HelpOf(err) == "" {
			t.Errorf("%v: %v", of, err)
		}
	}
	if list, err := archive.List(state); len(list) != 5 || list[0].ID != "5" || err != nil {
		t.Errorf("%v, %v", list, err)
	}
	if list, err := archive.List(t.TempDir()); len(list) != 0 || err != nil {
		t.Errorf("of nothing: %v, %v", list, err)
	}
}

// TestCompared: which run another one is compared with. Whatever flags it was
// built with it is the same fleet; a run without a plan, and one of other builds,
// is not.
func TestCompared(t *testing.T) {
	state := runs(t)
	got := map[string]string{}
	list, err := archive.List(state)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		before, ok, err := archive.Before(state, r)
		if err != nil || ok != (before.ID != "") {
			t.Errorf("%s: %v %v", r.ID, ok, err)
		}
		got[r.ID] = before.ID
	}
	if d := cmp.Diff(map[string]string{"5": "4", "4": "", "3": "2", "2": "1", "1": ""}, got); d != "" {
		t.Error(d)
	}
	for fleet, want := range map[string]string{"agent": "2", "agen": "", "build agent": "", "build agent@1": ""} {
		if r, ok, err := archive.Latest(state, fleet); r.ID != want || ok != (want != "") || err != nil {
			t.Errorf("latest of %s: %q %v %v", fleet, r.ID, ok, err)
		}
	}
}

// TestRead: a run gives back what was written, and one without a plan says so.
func TestRead(t *testing.T) {
	state := runs(t)
	r, err := archive.Find(state, "2")
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Plan()
	if err != nil || p.Name != "run 2" || p.Plan.Units[0].Image != "a" || len(p.Basis.Conversions[0].Graph.Steps) != 1 {
		t.Errorf("plan %+v, %v", p, err)
	}
	s, err := r.Summary()
	if err != nil || len(s.Steps) != 1 || s.Steps[0].TotalSeconds != 3 {
		t.Errorf("summary %+v, %v", s, err)
	}
	x, err := r.Explained()
	if err != nil {
		t.Fatal(err)
	}
	if m := explain.Misses(x, nil, "").Misses; len(m) != 1 || m[0].Seconds != 3 {
		t.Errorf("misses %+v", m)
	}
	r, err = archive.Find(state, "3")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Planned(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("planned: %v", err)
	}
	if _, err := r.Explained(); diag.KindOf(err) != diag.Usage || diag.HelpOf(err) == "" {
		t.Errorf("explained: %v", err)
	}
}

// TestSteps: the summaries of one fleet's runs tell what its steps take.
func TestSteps(t *testing.T) {
	state := t.TempDir()
	took := func(seconds float64) map[string]any {
		return map[string]any{runlog.SummaryFile: summary.Summary{Steps: []*summary.Step{{Name: "[2/2] RUN make", Executed: 2, TotalSeconds: seconds}}}}
	}
	write(t, state, "1", took(8), begun(t, journal.RunData{Fleet: "agent@1"}))
	write(t, state, "2", map[string]any{runlog.SummaryFile: "damaged"}, begun(t, journal.RunData{Fleet: "agent@1"}))
	write(t, state, "3", nil, begun(t, journal.RunData{Fleet: "agent@1"}))
	write(t, state, "4", took(100), begun(t, journal.RunData{Fleet: "other@1"}))
	steps, err := archive.Steps(state, "agent")
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := steps.Took("[3/3] RUN make", false); s != 4 || !ok {
		t.Errorf("%v %v", s, ok)
	}
}

// TestElsewhere: a run and its summary are read wherever they lie.
func TestElsewhere(t *testing.T) {
	state := runs(t)
	r, err := archive.Find(state, "2")
	if err != nil {
		t.Fatal(err)
	}
	if x, err := archive.At(r.Dir).Explained(); err != nil || x.ID != "2" {
		t.Errorf("%+v, %v", x, err)
	}
	file := filepath.Join(t.TempDir(), "summary.json")
	for text, want := range map[string]diag.Kind{`{"v":1,"run":"x"}`: 0, `{"v":2,"run":"x"}`: diag.Usage, `text`: diag.Usage} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := archive.ReadSummary(file)
		if (want == 0) != (err == nil) || err == nil && s.Run != "x" || err != nil && diag.KindOf(err) != want {
			t.Errorf("%s: %v, %v", text, s, err)
		}
	}
	if _, err := archive.ReadSummary(state); diag.KindOf(err) != diag.Infra {
		t.Errorf("a folder: %v", err)
	}
}

// TestKept: the newest run of the fleet comes first, and one that kept nothing, or
// is another fleet's, adds nothing.
func TestKept(t *testing.T) {
	state := t.TempDir()
	in := func(cache string) map[string]any {
		g := graph.Graph{Steps: []graph.Step{
			{Digest: "base", Kind: graph.KindImage, BaseBound: true},
			{Digest: "shared", Kind: graph.KindExec, Own: "make"},
			{Digest: "bound", Kind: graph.KindExec, BaseBound: true, Inputs: []graph.Digest{"base", "shared"}},
		}}
		return map[string]any{
			runlog.PlanFile:  plan.Plan{V: plan.Version, Cache: cache},
			runlog.BasisFile: plan.Basis{V: plan.Version, Conversions: []plan.Conversion{{ID: "v", Graph: g, Config: json.RawMessage("{}")}}},
		}
	}
	agent := begun(t, journal.RunData{Fleet: "agent@0123456789ab"})
	write(t, state, "1", in("r/old"), agent)
	write(t, state, "2", in("r/new"), agent)
	write(t, state, "3", in("r/new"), agent)
	write(t, state, "4", in(""), agent)
	write(t, state, "5", in("r/others"), begun(t, journal.RunData{Fleet: "other@0123456789ab"}))
	got, err := archive.Kept(state, "agent")
	if err != nil || len(got) != 2 || !strings.HasPrefix(got[0], "r/new:cache-") || !strings.HasPrefix(got[1], "r/old:cache-") {
		t.Errorf("%v, %v", got, err)
	}
}
