package explain

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// recorded is a run of one image with a shared step and one on the base.
func recorded(id string, change func(*graph.Graph)) *Run {
	g := graph.Graph{Steps: []graph.Step{
		{Digest: "src", Kind: graph.KindLocal, Own: "src"},
		{Digest: "shared", Kind: graph.KindExec, Own: "make", Name: "RUN make", Key: graph.Key{Stage: "builder", Text: "RUN make"}, Inputs: []graph.Digest{"src"}},
		{Digest: "base", Kind: graph.KindImage, Own: "base", BaseBound: true, Key: graph.Key{Text: "FROM"}},
		{Digest: "bound", Kind: graph.KindExec, Own: "setup", Name: "RUN setup", BaseBound: true, Key: graph.Key{Text: "RUN setup"}, Inputs: []graph.Digest{"base", "shared"}},
	}}
	if change != nil {
		change(&g)
	}
	p := &plan.Plan{Units: []plan.Unit{{Image: "a", Variant: "v", BaseLayers: "l"}}}
	return NewRun(id, p, &plan.Basis{Conversions: []plan.Conversion{{ID: "v", Graph: g}}})
}

func (r *Run) on(address, version string) *Run {
	r.fold(journal.WorkerReady, "", "", journal.WorkerData{Address: address, Versions: map[string]string{"buildkit": version}})
	return r
}

func (r *Run) keeping(repo string) *Run {
	r.fold(journal.Scheduling, "", "", journal.SchedulingData{Cache: repo})
	return r
}

func (r *Run) ran(step graph.Digest, unit string, d journal.StepData) *Run {
	d.Took = time.Second
	r.fold(journal.StepDone, step, unit, d)
	return r
}

func (r *Run) fold(kind journal.Kind, step graph.Digest, unit string, data any) {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	r.Fold(journal.Event{Kind: kind, Step: step, Unit: unit, Data: raw})
}

// TestWhy has a case for every reason.
func TestWhy(t *testing.T) {
	both := func(r *Run) *Run {
		return r.ran("shared", "", journal.StepData{}).ran("bound", "a", journal.StepData{})
	}
	earlier := func() *Run { return both(recorded("1", nil).on("one", "v1")) }
	tests := []struct {
		name string
		ref  *Run
		now  *Run
		want map[string]Why
	}{
		{"first run", nil, both(recorded("2", nil)), map[string]Why{"RUN make": FirstRun, "RUN setup": FirstRun}},
		{"changed and inherited", earlier(), both(recorded("2", func(g *graph.Graph) { g.Steps[1].Own = "make all" }).on("one", "v1")),
			map[string]Why{"RUN make": Changed, "RUN setup": Inherited}},
		{"new step", earlier(), both(recorded("2", func(g *graph.Graph) {
			g.Steps[1].Key, g.Steps[1].Own, g.Steps[1].Kind = graph.Key{Stage: "other", Text: "COPY x"}, "copy", graph.KindFile
		}).on("one", "v1")), map[string]Why{"RUN make": New, "RUN setup": Inherited}},
		{"new image", func() *Run { r := earlier(); r.Plan.Units[0].Image = "b"; return r }(), both(recorded("2", nil).on("one", "v1")),
			map[string]Why{"RUN make": Absent, "RUN setup": NewImage}},
		{"other version", earlier(), both(recorded("2", nil).on("one", "v2")), map[string]Why{"RUN make": Upgraded, "RUN setup": Upgraded}},
		{"other daemon", earlier(), both(recorded("2", nil).on("two", "v1")), map[string]Why{"RUN make": NotExported, "RUN setup": OtherWorker}},
		{"kept elsewhere", earlier().keeping("r/old"), both(recorded("2", nil).on("two", "v1")).keeping("r/new"), map[string]Why{"RUN make": Elsewhere, "RUN setup": OtherWorker}},
		{"kept, and not looked for", earlier().keeping("r/old"), both(recorded("2", nil).on("two", "v1")), map[string]Why{"RUN make": Elsewhere, "RUN setup": OtherWorker}},
		{"not kept, and looked for", earlier(), both(recorded("2", nil).on("two", "v1")).keeping("r/new"), map[string]Why{"RUN make": NotExported, "RUN setup": OtherWorker}},
		{"kept in the same", earlier().keeping("r/old"), both(recorded("2", nil).on("two", "v1")).keeping("r/old"), map[string]Why{"RUN make": OtherWorker, "RUN setup": OtherWorker}},
		{"released", func() *Run {
			r := earlier()
			r.fold(journal.Released, "", "", journal.ReleaseData{Records: 1})
			return r
		}(),
			both(recorded("2", nil).on("one", "v1")), map[string]Why{"RUN make": Absent, "RUN setup": Released}},
		{"not reached", recorded("1", nil).on("one", "v1").ran("shared", "", journal.StepData{Error: "exit 1"}), both(recorded("2", nil).on("one", "v1")),
			map[string]Why{"RUN make": NotReached, "RUN setup": NotReached}},
		{"pruned", func() *Run {
			r := earlier()
			r.fold(journal.Released, "", "", journal.ReleaseData{Records: 1})
			return r
		}(),
			func() *Run { r := both(recorded("2", nil).on("one", "v1")); r.Basis.Observed = true; return r }(), map[string]Why{"RUN make": Pruned, "RUN setup": Pruned}},
		{"shared step again", earlier(), recorded("2", nil).on("one", "v1").ran("shared", "", journal.StepData{}).ran("shared", "b", journal.StepData{}), map[string]Why{"RUN make": Again}},
		{"again", earlier(), recorded("2", nil).on("one", "v1").ran("shared", "", journal.StepData{Cached: true}).ran("bound", "a", journal.StepData{}).ran("bound", "a", journal.StepData{}),
			map[string]Why{"RUN setup": Again}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Misses(tt.now, tt.ref, "")
			got := map[string]Why{}
			for _, m := range r.Misses {
				got[m.Name] = m.Why
				if m.Detail == "" || m.Executions == 0 || m.Seconds == 0 {
					t.Errorf("%+v", m)
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestContinues: a daemon that began with a copy of another's state is as good as
// the same.
func TestContinues(t *testing.T) {
	ref := recorded("1", nil).on("one", "v1").ran("bound", "a", journal.StepData{})
	ref.fold(journal.Released, "", "", journal.ReleaseData{Records: 1})
	now := recorded("2", nil).on("two", "v1").ran("bound", "a", journal.StepData{})
	for _, want := range []Why{OtherWorker, Released} {
		if r := Misses(now, ref, ""); len(r.Misses) != 1 || r.Misses[0].Why != want {
			t.Errorf("%+v, want %s", r.Misses, want)
		}
		now.Continues(ref)
	}
}

// TestInherited: what inherits is counted with the step that changed.
func TestInherited(t *testing.T) {
	ref := recorded("1", nil)
	now := recorded("2", func(g *graph.Graph) { g.Steps[1].Own = "make all" }).ran("shared", "", journal.StepData{}).ran("bound", "a", journal.StepData{})
	m := Misses(now, ref, "").Misses[0]
	if m.Name != "RUN make" || m.InheritedExecutions != 1 || m.InheritedSeconds != 1 {
		t.Errorf("%+v", m)
	}
	r := Misses(now, ref, "a")
	if r.Only("setup"); len(r.Misses) != 1 || r.Misses[0].From[0] != "RUN make" {
		t.Errorf("%+v", r.Misses)
	}
}

// TestAddsUp: the parts of a difference add up to it, whatever the runs did.
func TestAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, now := someSummary(t), someSummary(t)
		d := Compare(old, now)
		for name, s := range map[string]*Split{"wall": d.Wall, "disk": d.Disk, "moved": d.Moved} {
			sum := s.Unexplained
			for _, p := range s.Parts {
				sum += p.Amount
			}
			if diff := s.New - s.Old; math.Abs(sum-diff) > 1e-6*math.Max(1, math.Abs(diff)) {
				t.Fatalf("%s: the parts come to %v of %v", name, sum, diff)
			}
		}
		for name, s := range map[string]*Split{"wall": Compare(old, old).Wall, "disk": Compare(old, old).Disk} {
			if len(s.Parts) > 0 || s.Unexplained != 0 {
				t.Fatalf("%s: a run differs from itself in %+v", name, s)
			}
		}
	})
}

func someSummary(t *rapid.T) *summary.Summary {
	s := summary.New()
	wall := rapid.Float64Range(1, 1e5).Draw(t, "wall")
	images := rapid.Float64Range(0, 1).Draw(t, "images") * wall
	s.WallSeconds, s.PhaseSeconds = &wall, map[string]float64{"images": images, "resolve": (wall - images) / 2}
	for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID[string]).Draw(t, "steps") {
		s.Steps = append(s.Steps, &summary.Step{Name: n, Executed: rapid.Int64Range(0, 500).Draw(t, "n"), TotalSeconds: rapid.Float64Range(0, 1e5).Draw(t, "s"), PulledBytes: rapid.Int64Range(0, 1<<40).Draw(t, "pulled")})
	}
	for _, to := range []**int64{&s.DiskPeakBytes, &s.BytesPulled, &s.BytesPushed} {
		n := rapid.Int64Range(0, 1<<42).Draw(t, "bytes")
		*to = &n
	}
	s.Workers = []*summary.Worker{{Records: map[string]summary.Usage{"regular": {PeakBytes: rapid.Int64Range(0, 1<<40).Draw(t, "records")}}}}
	return s
}
