package planner_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// linked is a recipe with two shared steps whose result is laid over the base.
func linked() *graph.Variant {
	return &graph.Variant{ID: "sha256:linked", Graph: graph.Graph{Steps: []graph.Step{
		{Digest: "sha256:base", Kind: graph.KindImage, BaseBound: true},
		{Digest: "sha256:src", Kind: graph.KindLocal},
		{Digest: "sha256:copy", Kind: graph.KindFile, Inputs: []graph.Digest{"sha256:src"}},
		{Digest: "sha256:merge", Kind: graph.KindMerge, BaseBound: true, Inputs: []graph.Digest{"sha256:base", "sha256:copy"}},
	}}, Shared: &graph.LayerSet{ID: "sha256:set", Inputs: []graph.Digest{"sha256:copy"}}}
}

// mixed is the same with a RUN on the base.
func mixed() *graph.Variant {
	v := linked()
	v.ID, v.Shared = "sha256:mixed", nil
	v.Graph.Steps[3] = graph.Step{Digest: "sha256:run", Kind: graph.KindExec, Name: "RUN adduser", BaseBound: true, Inputs: []graph.Digest{"sha256:base", "sha256:copy"}, Secrets: []string{"token"}}
	v.Build = []graph.Blocker{{Code: "run-on-base", Detail: "RUN adduser runs on each base"}}
	return v
}

func base(i int) *fact.Base {
	d := graph.Digest(fmt.Sprintf("sha256:%064d", i))
	return &fact.Base{Ref: fmt.Sprintf("reg.example/bases/b%d:latest", i), Digest: d, Manifest: d,
		Layers:  []fact.Descriptor{{Digest: "sha256:os", Size: 100}, {Digest: d + "l", Size: 10}},
		DiffIDs: []graph.Digest{"sha256:dos", d + "d"}, History: []graph.History{{CreatedBy: "os"}, {CreatedBy: "env", EmptyLayer: true}, {CreatedBy: "i"}}}
}

func image(i int) fleet.Image {
	return fleet.Image{ID: fmt.Sprintf("i%d", i), Base: base(i).Ref, Tags: []string{fmt.Sprintf("reg.example/agents:i%d", i)}}
}

func input(n int, v *graph.Variant) planner.Input {
	in := planner.Input{Fleet: &fleet.Fleet{Name: "test", Platform: "linux/amd64"}}
	for i := range n {
		in.Images = append(in.Images, planner.Facts{Image: image(i), Base: base(i), Variant: v, Content: "sha256:content", Tags: make([]fact.Tag, 1)})
	}
	return in
}

func keyOf(in planner.Input) string { return planner.Make(in).Units[0].Key }

func TestActions(t *testing.T) {
	tests := []struct {
		name   string
		change func(in *planner.Input, f *planner.Facts)
		want   plan.Action
		code   string
		from   string
	}{
		{name: "append", change: func(*planner.Input, *planner.Facts) {}, want: plan.Append, code: "all-shared"},
		{name: "build", change: func(_ *planner.Input, f *planner.Facts) { f.Variant = mixed() }, want: plan.Build, code: "run-on-base"},
		{name: "asked to build", change: func(in *planner.Input, _ *planner.Facts) { in.Options.BuildAll = true }, want: plan.Build, code: "strategy-build"},
		{name: "history without a layer", change: func(_ *planner.Input, f *planner.Facts) { f.Base.History = f.Base.History[:1] }, want: plan.Build, code: "base-history"},
		{name: "skip", change: func(in *planner.Input, f *planner.Facts) {
			f.Tags[0] = fact.Tag{Exists: true, Digest: "sha256:m", Key: keyOf(*in)}
		}, want: plan.Skip, code: "same-key", from: "reg.example/agents@sha256:m"},
		{name: "other content", change: func(_ *planner.Input, f *planner.Facts) {
			f.Tags[0] = fact.Tag{Exists: true, Digest: "sha256:m", Key: "v1:other"}
		}, want: plan.Append, code: "content-changed"},
		{name: "other key version", change: func(_ *planner.Input, f *planner.Facts) { f.Tags[0] = fact.Tag{Exists: true, Key: "v0:other"} }, want: plan.Append, code: "key-version"},
		{name: "somebody else's tag", change: func(_ *planner.Input, f *planner.Facts) { f.Tags[0] = fact.Tag{Exists: true} }, want: plan.Append, code: "tag-foreign"},
		{name: "legacy skip", change: func(in *planner.Input, f *planner.Facts) {
			in.Options.Skip, f.Tags[0] = planner.SkipTag, fact.Tag{Exists: true}
		}, want: plan.Skip, code: "tag-exists"},
		{name: "force", change: func(in *planner.Input, f *planner.Facts) {
			f.Tags[0], in.Options.Skip = fact.Tag{Exists: true, Key: keyOf(*in)}, planner.SkipNever
		}, want: plan.Append, code: "all-shared"},
		{name: "retag by an earlier run", change: func(in *planner.Input, _ *planner.Facts) {
			in.Known = func(_, repo string) string { return repo + "@sha256:m" }
		}, want: plan.Retag, code: "same-content", from: "reg.example/agents@sha256:m"},
		{name: "retag by key tag", change: func(in *planner.Input, f *planner.Facts) {
			f.KeyTag = fact.Tag{Exists: true, Digest: "sha256:k", Key: keyOf(*in)}
		}, want: plan.Retag, code: "same-content", from: "reg.example/agents@sha256:k"},
		{name: "retag the second tag", change: func(in *planner.Input, f *planner.Facts) {
			f.Tags = []fact.Tag{{Exists: true, Digest: "sha256:m", Key: keyOf(*in)}, {}}
			f.Image.Tags = append(f.Image.Tags, "reg.example/agents:second")
		}, want: plan.Retag, code: "same-content", from: "reg.example/agents@sha256:m"},
		{name: "blocked", change: func(_ *planner.Input, f *planner.Facts) { f.Problem = errors.New("no such base") }, want: plan.Block, code: "blocked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := input(1, linked())
			tt.change(&in, &in.Images[0])
			u := planner.Make(in).Units[0]
			if u.Action != tt.want || u.From != tt.from {
				t.Errorf("action %q from %q, want %q from %q", u.Action, u.From, tt.want, tt.from)
			}
			codes := []string{}
			for _, w := range u.Why {
				codes = append(codes, w.Code)
			}
			if !strings.Contains(strings.Join(codes, " "), tt.code) {
				t.Errorf("reasons %v lack %q", codes, tt.code)
			}
		})
	}
}

// TestKey: every input moves the key, nothing else does.
func TestKey(t *testing.T) {
	epoch := time.Unix(1, 0)
	moves := map[string]func(in *planner.Input, f *planner.Facts){
		"base":              func(_ *planner.Input, f *planner.Facts) { f.Base.Manifest = "sha256:other" },
		"variant":           func(_ *planner.Input, f *planner.Facts) { f.Variant.ID = "sha256:other" },
		"content":           func(_ *planner.Input, f *planner.Facts) { f.Content = "sha256:other" },
		"secret id":         func(_ *planner.Input, f *planner.Facts) { f.Variant.Graph.Steps[2].Secrets = []string{"token"} },
		"platform":          func(in *planner.Input, _ *planner.Facts) { in.Fleet.Platform = "linux/arm64" },
		"epoch":             func(in *planner.Input, _ *planner.Facts) { in.Fleet.Epoch = &epoch },
		"media types":       func(in *planner.Input, _ *planner.Facts) { in.Fleet.Output.MediaTypes = "docker" },
		"compression level": func(in *planner.Input, _ *planner.Facts) { in.Fleet.Output.CompressionLevel = 3 },
		"compression":       func(in *planner.Input, _ *planner.Facts) { in.Fleet.Output.Compression = "zstd" },
		"annotations":       func(in *planner.Input, _ *planner.Facts) { in.Fleet.Output.Annotations = map[string]string{"a": "b"} },
	}
	stays := map[string]func(in *planner.Input, f *planner.Facts){
		"tag":               func(_ *planner.Input, f *planner.Facts) { f.Image.Tags = []string{"reg.example/other:x"} },
		"id":                func(_ *planner.Input, f *planner.Facts) { f.Image.ID = "other" },
		"name of the base":  func(_ *planner.Input, f *planner.Facts) { f.Base.Ref, f.Image.Base = "x/y:z", "x/y:z" },
		"index of the base": func(_ *planner.Input, f *planner.Facts) { f.Base.Digest = "sha256:index" },
		"default spelt out": func(in *planner.Input, _ *planner.Facts) { in.Fleet.Output.MediaTypes = "oci" },
		"strategy":          func(in *planner.Input, _ *planner.Facts) { in.Options.BuildAll = true },
	}
	want := keyOf(input(1, linked()))
	check := func(name string, change func(in *planner.Input, f *planner.Facts), moved bool) {
		in := input(1, linked())
		change(&in, &in.Images[0])
		if got := keyOf(in); (got != want) != moved {
			t.Errorf("%s: key %s, before %s, should move: %v", name, got, want, moved)
		}
	}
	for name, change := range moves {
		check(name, change, true)
	}
	for name, change := range stays {
		check(name, change, false)
	}
	if diff := cmp.Diff("v1:", want[:3]); diff != "" {
		t.Error(diff)
	}
}

func TestFigures(t *testing.T) {
	in := input(500, linked())
	for i := range 12 {
		in.Images[i].Variant = mixed()
	}
	in.LookupRequests = map[string]int64{"reg.example": 501}
	p := planner.Make(in)
	if diff := cmp.Diff(map[plan.Action]int{plan.Append: 488, plan.Build: 12}, p.Actions); diff != "" {
		t.Error(diff)
	}
	// Shared: source and copy once. Base-bound: base and RUN for each of 12.
	if want := (plan.Executions{Planned: 2 + 12*2, Naive: 488*3 + 12*4}); p.Executions != want {
		t.Errorf("executions %+v, want %+v", p.Executions, want)
	}
	// Mounts: the OS layer once and each image's own layer. Appended images:
	// config twice, manifest once. Their layers: pushed in ten requests, two of
	// them ours. Built images: the base's manifest and config, two looks at its
	// layers, config and manifest in five, which we read and tag. The daemon
	// pulls the OS layer and twelve others.
	if want := int64(501 + 501 + 488*3 + 10 + 12*(3+2+5+1+1) + 13); p.Requests["reg.example"] != want {
		t.Errorf("requests %v, want %d", p.Requests, want)
	}
	if p.BytesToCopy != 0 {
		t.Errorf("bytes to copy %d within one registry", p.BytesToCopy)
	}
}

func TestFiguresAcrossRegistries(t *testing.T) {
	in := input(3, linked())
	for i := range in.Images {
		in.Images[i].Image.Tags = []string{fmt.Sprintf("other.example/agents:i%d", i)}
	}
	p := planner.Make(in)
	if want := int64(100 + 3*10); p.BytesToCopy != want {
		t.Errorf("bytes to copy %d, want each unique blob once: %d", p.BytesToCopy, want)
	}
	if diff := cmp.Diff(map[string]int64{"reg.example": 4, "other.example": 4*2 + 10 + 3*3}, p.Requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestRequestsOfShapes counts the requests of fleets of three images: what is
// counted once, per repository and per tag.
func TestRequestsOfShapes(t *testing.T) {
	const set = 10 // making the layers and reading what came of it
	tests := []struct {
		name   string
		change func(in *planner.Input)
		want   map[string]int64
		copied int64
	}{
		{name: "one repository", change: func(*planner.Input) {}, want: map[string]int64{"reg.example": set + 4 + 3*3}},
		{name: "known layers", change: func(in *planner.Input) { in.LayersKnown = func(graph.Digest) bool { return true } },
			want: map[string]int64{"reg.example": 2 + 4 + 3*3}},
		{name: "a repository for each image", change: func(in *planner.Input) {
			for i := range in.Images {
				in.Images[i].Image.Tags = []string{fmt.Sprintf("reg.example/agents/i%d:x", i)}
			}
		}, want: map[string]int64{"reg.example": set + 3*2 + 2 + 3*3}},
		{name: "a repository for each image, in another registry", change: func(in *planner.Input) {
			for i := range in.Images {
				in.Images[i].Image.Tags = []string{fmt.Sprintf("other.example/agents/i%d:x", i)}
			}
		}, want: map[string]int64{"reg.example": 4, "other.example": set + 4*2 + 2 + 2 + 3*3}, copied: 100 + 3*10},
		{name: "two tags", change: func(in *planner.Input) {
			for i := range in.Images {
				in.Images[i].Image.Tags = append(in.Images[i].Image.Tags, fmt.Sprintf("reg.example/agents:second%d", i))
			}
		}, want: map[string]int64{"reg.example": set + 4 + 3*5}},
		{name: "tags in two repositories", change: func(in *planner.Input) {
			for i := range in.Images {
				in.Images[i].Image.Tags = append(in.Images[i].Image.Tags, fmt.Sprintf("reg.example/more:i%d", i))
			}
		}, want: map[string]int64{"reg.example": set + 2*4 + 1 + 2*3*3}},
		{name: "key tags", change: func(in *planner.Input) { in.Fleet.Output.KeyTag = true }, want: map[string]int64{"reg.example": set + 4 + 3*5}},
		{name: "into a layout", change: func(in *planner.Input) { in.Fleet.Output.To = "oci:/out" }, want: map[string]int64{"reg.example": 4}, copied: 100 + 3*10},
		{name: "built into a layout", change: func(in *planner.Input) {
			in.Fleet.Output.To = "oci:/out"
			for i := range in.Images {
				in.Images[i].Variant = mixed()
			}
		}, want: map[string]int64{"reg.example": 3*3 + 4}, copied: 100 + 3*10},
		{name: "built in another registry", change: func(in *planner.Input) {
			for i := range in.Images {
				in.Images[i].Variant = mixed()
				in.Images[i].Image.Tags = []string{fmt.Sprintf("other.example/agents:i%d", i)}
			}
		}, want: map[string]int64{"reg.example": 3*3 + 4, "other.example": 3*2 + 4*2 + 3*(5+1+1)}, copied: 100 + 3*10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := input(3, linked())
			tt.change(&in)
			p := planner.Make(in)
			if diff := cmp.Diff(tt.want, p.Requests); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if p.BytesToCopy != tt.copied {
				t.Errorf("bytes to copy %d, want %d", p.BytesToCopy, tt.copied)
			}
		})
	}
}

func TestKnownLayersNeedNoStep(t *testing.T) {
	in := input(2, linked())
	in.LayersKnown = func(graph.Digest) bool { return true }
	if p := planner.Make(in); p.Executions.Planned != 0 {
		t.Errorf("planned executions %d, want 0", p.Executions.Planned)
	}
}

// TestDeterministic: the same input gives the same bytes, every unit has a
// reason, and the actions add up.
func TestDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := input(rapid.IntRange(1, 30).Draw(t, "n"), linked())
		for i := range in.Images {
			f := &in.Images[i]
			if rapid.Bool().Draw(t, "mixed") {
				f.Variant = mixed()
			}
			switch rapid.IntRange(0, 3).Draw(t, "tag") {
			case 1:
				f.Tags[0] = fact.Tag{Exists: true, Key: "v1:x"}
			case 2:
				f.Problem = errors.New("bad")
			case 3:
				f.Image.Tags = []string{"other.example/x:" + f.Image.ID}
			}
		}
		a, b := planner.Make(in), planner.Make(in)
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		if string(x) != string(y) {
			t.Fatalf("two plans of one input differ:\n%s\n%s", x, y)
		}
		n := 0
		for _, c := range a.Actions {
			n += c
		}
		if n != len(in.Images) {
			t.Fatalf("actions add up to %d of %d", n, len(in.Images))
		}
		for _, u := range a.Units {
			if len(u.Why) == 0 {
				t.Fatalf("%s has no reason", u.Image)
			}
		}
		if a.Executions.Planned > a.Executions.Naive {
			t.Fatalf("planned %d > naive %d", a.Executions.Planned, a.Executions.Naive)
		}
	})
}

// BenchmarkMake plans 10,000 images with facts at hand.
func BenchmarkMake(b *testing.B) {
	in := input(10000, linked())
	b.ReportAllocs()
	for b.Loop() {
		planner.Make(in)
	}
}

// TestOffline: what nobody asked about is said, and what rests on a stand-in has
// no key.
func TestOffline(t *testing.T) {
	in := input(4, linked())
	in.Offline, in.Assumed = true, []string{"docker.io/library/golang:1"}
	in.Images[1].Base.StandIn = true
	in.Images[2].Base.StandIn, in.Images[2].Variant = true, mixed()
	in.Images[3].Base, in.Images[3].Problem = nil, fmt.Errorf("b3 %w", fact.ErrNotLookedUp)
	for i := range in.Images {
		in.Images[i].Tags = nil
	}
	p := planner.Make(in)
	var got []string
	for _, u := range p.Units {
		line := fmt.Sprintf("%s key=%t digest=%t", u.Action, u.Key != "", u.BaseDigest != "")
		for _, w := range u.Why {
			line += " " + w.Code
		}
		got = append(got, line)
	}
	for _, w := range p.Warnings {
		got = append(got, w.Code)
	}
	want := []string{
		"append key=true digest=true all-shared", "append key=false digest=false all-shared stand-in", "build key=false digest=false run-on-base stand-in",
		"block key=false digest=false not-looked-up", "tags-not-asked", "stand-in", "stand-in",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
