package planner_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Images with more layers than can be unpacked everywhere are made, but not
// without a word.
func TestTooManyLayers(t *testing.T) {
	built := mixed()
	built.History = []graph.History{{}, {EmptyLayer: true}, {}}
	for name, tt := range map[string]struct {
		variant *graph.Variant
		layers  []int // of each base
		want    string
	}{
		"few":             {linked(), []int{3, 100}, ""},
		"just enough":     {linked(), []int{124}, ""},
		"one too many":    {linked(), []int{3, 125}, "an image has more layers than the 125 that Docker unpacks: i1 has 126"},
		"several":         {linked(), []int{200, 125, 300}, "3 images have more layers than the 125 that Docker unpacks: i2 has 301"},
		"built":           {built, []int{124}, "i0 has 126"},
		"built, enough":   {built, []int{123}, ""},
		"most of a tie":   {linked(), []int{130, 130}, "i0 has 131"},
		"and none at all": {linked(), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(len(tt.layers), tt.variant)
			for i, n := range tt.layers {
				b := in.Images[i].Base
				b.Layers, b.DiffIDs, b.History = nil, nil, nil
				for j := range n {
					d := graph.Digest(fmt.Sprintf("sha256:%d", j))
					b.Layers = append(b.Layers, fact.Descriptor{Digest: d})
					b.DiffIDs, b.History = append(b.DiffIDs, d), append(b.History, graph.History{})
				}
			}
			got := ""
			for _, w := range planner.Make(in).Warnings {
				if w.Code == "too-many-layers" {
					got += w.Detail
				}
			}
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("warning %q, want %q", got, tt.want)
			}
			// What exists needs no warning.
			for i := range in.Images {
				in.Images[i].Tags = []fact.Tag{{Exists: true}}
			}
			in.Options.Skip = planner.SkipTag
			if w := planner.Make(in).Warnings; len(w) != 0 {
				t.Errorf("skipped, and warned: %v", w)
			}
		})
	}
}
