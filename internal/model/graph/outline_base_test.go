package graph_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// TestBase follows stages to what they are built on.
func TestBase(t *testing.T) {
	text := func(s string) *string { return &s }
	o := &graph.Outline{
		Stages: []graph.Stage{
			{Name: "build", Parent: -1, From: "golang:1"}, {Name: "base", Parent: -1, From: "${IMAGE}"}, {Name: "final", Parent: 1, From: "base"},
			{Name: "3", Parent: -1, From: "${OTHER:-alpine:3}"}, {Name: "part", Parent: -1, From: "debian:$V"}, {Name: "plain", Parent: -1, From: "$NONE"},
		},
		Instructions: []graph.Instruction{
			{Stage: -1, Word: "ARG", Declares: []graph.Variable{{Name: "V", Value: text("12")}, {Name: "IMAGE", Value: text("debian:${V}-$V")}, {Name: "NONE"}}},
			{Stage: 0, Word: "FROM"}, {Stage: 0, Word: "ARG", Declares: []graph.Variable{{Name: "IMAGE", Value: text("later")}}},
		},
	}
	for target, want := range map[string]graph.Base{
		"build": {From: "golang:1", Stages: []string{"build"}}, "final": {From: "${IMAGE}", Arg: "IMAGE", Standard: "debian:12-12", Stages: []string{"final", "base"}}, "FINAL": {From: "${IMAGE}", Arg: "IMAGE", Standard: "debian:12-12", Stages: []string{"final", "base"}},
		"3": {From: "${OTHER:-alpine:3}", Arg: "OTHER", Standard: "alpine:3", Stages: []string{"3"}}, "part": {From: "debian:$V", Stages: []string{"part"}},
		"": {From: "$NONE", Arg: "NONE", Stages: []string{"plain"}},
	} {
		got, ok := o.Base(target, nil)
		if d := cmp.Diff(want, got); !ok || d != "" {
			t.Errorf("%s: %s", target, d)
		}
	}
	if got, _ := o.Base("base", map[string]string{"V": "13"}); got.Standard != "debian:13-13" {
		t.Error(got)
	}
	if _, ok := o.Base("none", nil); ok {
		t.Error("a stage that does not exist has a base")
	}
	if _, ok := (&graph.Outline{}).Base("", nil); ok {
		t.Error("no stage has a base")
	}
}
