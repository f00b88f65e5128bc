package planner_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// several is one image on two platforms.
func several() *planner.Input {
	in := input(1, linked())
	in.Fleet.Platforms = []string{"linux/amd64", "linux/arm64"}
	f := in.Images[0]
	f.Platform = "linux/amd64"
	g := f
	g.Platform, g.Base = "linux/arm64", base(1)
	in.Images = []planner.Facts{f, g}
	return &in
}

// tagged gives an image's tags to all of its units.
func tagged(in *planner.Input, tags ...fact.Tag) {
	for i := range in.Images {
		in.Images[i].Tags = tags
	}
}

// shown is a plan as a few words: its units, and its index.
func shown(p *plan.Plan) string {
	var out []string
	for _, u := range p.Units {
		out = append(out, fmt.Sprintf("%s %s %s", strings.TrimPrefix(u.Image, "i0"), u.Action, u.From))
	}
	x := p.Indexes[0]
	return strings.Join(out, "; ") + fmt.Sprintf("; %s %s %d", x.Action, x.From, len(x.Have))
}

func TestIndexes(t *testing.T) {
	plain := planner.Make(*several())
	whole, amd, arm := plain.Indexes[0].Key, plain.Units[0].Key, plain.Units[1].Key
	const repo = "reg.example/agents@sha256:"
	parts := map[string]graph.Digest{amd: "sha256:a", arm: "sha256:b"}
	tests := []struct {
		name   string
		change func(in *planner.Input)
		want   string
	}{
		{"nothing is there", func(in *planner.Input) {}, "/linux/amd64 append ; /linux/arm64 append ; compose  0"},
		{"the tag holds it", func(in *planner.Input) {
			tagged(in, fact.Tag{Exists: true, Digest: "sha256:x", Key: whole, Parts: parts})
		}, "/linux/amd64 skip " + repo + "a; /linux/arm64 skip " + repo + "b; skip " + repo + "x 1"},
		{"a list that has no key holds it", func(in *planner.Input) {
			tagged(in, fact.Tag{Exists: true, Digest: "sha256:x", Parts: parts})
		}, "/linux/amd64 skip " + repo + "a; /linux/arm64 skip " + repo + "b; skip " + repo + "x 1"},
		{"a list that has no key holds more", func(in *planner.Input) {
			tagged(in, fact.Tag{Exists: true, Digest: "sha256:x", Parts: map[string]graph.Digest{amd: "sha256:a", arm: "sha256:b", "v1:c": "sha256:c"}})
		}, "/linux/amd64 retag " + repo + "a; /linux/arm64 retag " + repo + "b; compose  0"},
		{"one platform changed", func(in *planner.Input) {
			tagged(in, fact.Tag{Exists: true, Digest: "sha256:x", Key: "v1:old", Parts: map[string]graph.Digest{amd: "sha256:a", "v1:oldarm": "sha256:o"}})
		}, "/linux/amd64 retag " + repo + "a; /linux/arm64 append ; compose  0"},
		{"the tag is one platform's", func(in *planner.Input) {
			tagged(in, fact.Tag{Exists: true, Digest: "sha256:a", Key: amd})
		}, "/linux/amd64 retag " + repo + "a; /linux/arm64 append ; compose  0"},
		{"one platform is known from an earlier run", func(in *planner.Input) {
			in.Known = func(key, at string) string { return map[string]string{arm: at + "@sha256:b"}[key] }
		}, "/linux/amd64 append ; /linux/arm64 retag " + repo + "b; compose  0"},
		{"the key tag holds it", func(in *planner.Input) {
			for i := range in.Images {
				in.Images[i].KeyTag = fact.Tag{Exists: true, Digest: "sha256:x", Key: whole, Parts: parts}
			}
		}, "/linux/amd64 skip " + repo + "a; /linux/arm64 skip " + repo + "b; retag " + repo + "x 0"},
		{"one of two tags holds it", func(in *planner.Input) {
			for i := range in.Images {
				in.Images[i].Image.Tags = []string{"reg.example/agents:i0", "reg.example/agents:also"}
			}
			tagged(in, fact.Tag{Exists: true, Digest: "sha256:x", Key: whole, Parts: parts}, fact.Tag{})
		}, "/linux/amd64 skip " + repo + "a; /linux/arm64 skip " + repo + "b; retag " + repo + "x 1"},
		{"another repository lacks it", func(in *planner.Input) {
			for i := range in.Images {
				in.Images[i].Image.Tags = []string{"reg.example/agents:i0", "reg.example/others:i0"}
			}
			tagged(in, fact.Tag{Exists: true, Digest: "sha256:x", Key: whole, Parts: parts}, fact.Tag{})
		}, "/linux/amd64 append ; /linux/arm64 append ; compose  0"},
		{"one platform cannot be made", func(in *planner.Input) {
			in.Images[1].Problem = fmt.Errorf("no base")
		}, "/linux/amd64 append ; /linux/arm64 block ; block  0"},
		{"a tag is enough", func(in *planner.Input) {
			in.Options.Skip = planner.SkipTag
			tagged(in, fact.Tag{Exists: true})
		}, "/linux/amd64 skip ; /linux/arm64 skip ; skip  1"},
		{"nothing is enough", func(in *planner.Input) {
			in.Options.Skip = planner.SkipNever
			tagged(in, fact.Tag{Exists: true, Digest: "sha256:x", Key: whole, Parts: parts})
		}, "/linux/amd64 append ; /linux/arm64 append ; compose  0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := several()
			tt.change(in)
			p := planner.Make(*in)
			if d := cmp.Diff(tt.want, shown(p)); d != "" {
				t.Error(d)
			}
			for _, u := range p.Units {
				if len(u.Why) == 0 || u.Index != "i0" {
					t.Errorf("%+v", u)
				}
			}
		})
	}
}

// TestIndexKeys: a unit's key is that of a fleet for its platform alone; that of the
// index depends on each, on their order, and on what attests them.
func TestIndexKeys(t *testing.T) {
	in := several()
	p := planner.Make(*in)
	if p.Units[0].Key != keyOf(input(1, linked())) {
		t.Error("the unit has another key than alone")
	}
	if got := planner.Key(in, in.Images); got != p.Indexes[0].Key {
		t.Errorf("Key is %s, in the plan %s", got, p.Indexes[0].Key)
	}
	seen := map[string]string{p.Indexes[0].Key: "the index", p.Units[0].Key: "a unit", p.Units[1].Key: "a unit"}
	for name, change := range map[string]func(in *planner.Input){
		"other order":   func(in *planner.Input) { in.Images[0], in.Images[1] = in.Images[1], in.Images[0] },
		"other content": func(in *planner.Input) { in.Images[1].Content = "sha256:other" },
		"provenance":    func(in *planner.Input) { in.Fleet.Output.Provenance = true },
		"SBOM":          func(in *planner.Input) { in.Fleet.Output.SBOM = fleet.Scanner },
	} {
		in := several()
		change(in)
		key := planner.Make(*in).Indexes[0].Key
		if other := seen[key]; other != "" {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[key] = name
	}
}

// TestOutOfAnIndex: an image that was a part of an index is found there.
func TestOutOfAnIndex(t *testing.T) {
	in := input(1, linked())
	in.Images[0].Tags[0] = fact.Tag{Exists: true, Digest: "sha256:x", Key: "v1:index", Parts: map[string]graph.Digest{keyOf(in): "sha256:a"}}
	u := planner.Make(in).Units[0]
	if u.Action != plan.Retag || u.From != "reg.example/agents@sha256:a" || len(u.Have) != 0 {
		t.Errorf("%+v", u)
	}
}

// TestIndexRequests: an index costs a PUT by digest for each unit that is made, and
// one for each tag.
func TestIndexRequests(t *testing.T) {
	one := input(1, linked())
	one.LayersKnown = func(graph.Digest) bool { return true }
	alone := planner.Make(one).Requests["reg.example"]
	in := several()
	in.LayersKnown = one.LayersKnown
	// The second platform has a layer, a config, a manifest and a layer set of its
	// own (a mount, an upload, a PUT, and two to read the set).
	if got := planner.Make(*in).Requests["reg.example"]; got != alone+1+2+1+2+1 {
		t.Errorf("%d requests, %d for one platform", got, alone)
	}
}
