package lineage_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// noFiles is what differs when no file does.
type noFiles struct{}

func (noFiles) Read(graph.Use) []string { return nil }
func (noFiles) Locks() []string         { return nil }

// state is a fleet of one image with a shared step and one on the base.
func state(t *testing.T, shared, own graph.Digest) *lineage.State {
	t.Helper()
	v := &graph.Variant{Graph: graph.Graph{Steps: []graph.Step{
		{Digest: "base", Kind: graph.KindImage, Own: "base", BaseBound: true, Key: graph.Key{Stage: "final", Text: "FROM"}},
		{Digest: "shared", Kind: graph.KindExec, Own: shared, Key: graph.Key{Stage: "builder", Text: "RUN make"}},
		{Digest: "own", Kind: graph.KindExec, Own: own, BaseBound: true, Inputs: []graph.Digest{"base", "shared"}, Key: graph.Key{Stage: "final", Text: "RUN apt"}},
	}}}
	r := &lineage.Recipe{Groups: []lineage.Group{{Images: []string{"one"}, Variant: v}}}
	if err := r.Seal(nil); err != nil {
		t.Fatal(err)
	}
	s := &lineage.State{Recipe: r, Refs: lineage.NewRefs("fleet.yaml", "", []fleet.Image{{ID: "one", Base: "b:1", Tags: []string{"t:1"}}}), Files: []graph.Files{{}}}
	s.Seal()
	return s
}

// TestPrints: what changes in a shared step leaves the fingerprint of the steps
// of every image as it was, although these run again.
func TestPrints(t *testing.T) {
	a, b, c := state(t, "1", "1"), state(t, "2", "1"), state(t, "1", "2")
	if a.Print.PerImage != b.Print.PerImage || a.Print.Shared == b.Print.Shared || a.Print.ID == b.Print.ID {
		t.Errorf("shared: %+v, %+v", a.Print, b.Print)
	}
	if a.Print.PerImage == c.Print.PerImage || a.Print.Shared != c.Print.Shared || a.Print.ID == c.Print.ID {
		t.Errorf("per image: %+v, %+v", a.Print, c.Print)
	}
	if d := cmp.Diff(a.Print, state(t, "1", "1").Print); d != "" {
		t.Error(d)
	}
	f := lineage.Compare(a, b, noFiles{})
	if f.Verdict != lineage.Shared || len(f.Changes) != 1 || f.Inherit != (lineage.Steps{PerImage: 1}) {
		t.Errorf("%+v", f)
	}
	if f := lineage.Compare(a, c, noFiles{}); f.Verdict != lineage.PerImage || !f.Changes[0].PerImage || f.Inherit != (lineage.Steps{}) {
		t.Errorf("%+v", f)
	}
	if f := lineage.Compare(a, state(t, "1", "1"), noFiles{}); f.Verdict != lineage.Inert {
		t.Errorf("%+v", f)
	}
}

// TestBuilder merges neighbours and puts what costs most first.
func TestBuilder(t *testing.T) {
	a, b, c := state(t, "1", "1"), state(t, "2", "1"), state(t, "1", "2")
	at := func(hash string) lineage.Commit { return lineage.Commit{Hash: hash} }
	from := at("0")
	builder := lineage.NewBuilder("repo", "fleet", &from, a)
	line := []struct {
		hash string
		s    *lineage.State
	}{{"1", a}, {"2", b}, {"3", b}, {"4", c}, {"5", a}}
	before := a
	for _, l := range line {
		builder.Add(at(l.hash), l.s, lineage.Compare(before, l.s, noFiles{}))
		before = l.s
	}
	r := builder.Report(nil, nil)
	var spans, entries []string
	for _, s := range r.Spans {
		spans = append(spans, s.First+".."+s.Last)
	}
	for _, e := range r.Entries {
		entries = append(entries, e.Hash+" "+string(e.Verdict)+" "+e.Back)
	}
	if d := cmp.Diff([]string{"0..1", "2..3", "4..4", "5..5"}, spans); d != "" {
		t.Error(d)
	}
	// The verdict of 4 is that of its own change: the shared step is again as it was.
	if d := cmp.Diff([]string{"4 per-image ", "5 per-image 0", "2 shared "}, entries); d != "" {
		t.Error(d)
	}
	if r.Distinct != 3 || r.Commits != 5 || len(r.Inert) != 2 {
		t.Errorf("%+v", r)
	}
}

func TestWeakest(t *testing.T) {
	all := lineage.Verdicts()
	for i, a := range all {
		for j, b := range all {
			if got := lineage.Weakest([]lineage.Finding{{Verdict: a}, {Verdict: b}}).Verdict; got != all[max(i, j)] {
				t.Errorf("%s and %s: %s", a, b, got)
			}
		}
	}
}

func TestIsLock(t *testing.T) {
	for p, want := range map[string]bool{
		"uv.lock": true, "web/package-lock.json": true, "requirements.txt": true, "requirements-dev.txt": true, "go.sum": true, "a/Cargo.lock": true,
		"go.mod": false, "requirements.in": false, "notes.txt": false, "uv.lock/x": false,
	} {
		if lineage.IsLock(p) != want {
			t.Errorf("%s: %t", p, !want)
		}
	}
}

// TestCheckBehindMisplaced does not hold one commit's place against the next.
func TestCheckBehindMisplaced(t *testing.T) {
	base := lineage.Point{Name: "main", Hash: "0123456789abcdef"}
	points := []lineage.Point{
		{Name: "c1", Hash: "1", Baseline: &lineage.Relation{Ahead: 3}},
		{Name: "c2", Hash: "2", Baseline: &lineage.Relation{Behind: 40}, Previous: &lineage.Relation{Behind: 43}},
		{Name: "c3", Hash: "3", Baseline: &lineage.Relation{Ahead: 9}, Previous: &lineage.Relation{Ahead: 49}},
	}
	var codes []diag.Code
	for _, p := range lineage.Check("--refs", &base, points) {
		codes = append(codes, p.Code)
	}
	if d := cmp.Diff([]diag.Code{diag.HistoryAncestor}, codes); d != "" {
		t.Error(d)
	}
}
