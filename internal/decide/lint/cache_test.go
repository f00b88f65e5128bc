package lint_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/lint"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

// built has one result that a build of each image takes in.
const built = `ARG BASE_IMAGE
FROM docker.io/library/golang@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa AS builder
RUN make /out
FROM ${BASE_IMAGE}
COPY --link --from=builder /out /agent
RUN setup
`

const waiveRun = standardFleet + `lint:
  waivers:
    - {rule: run-on-base, where: setup, reason: known}
    - {rule: cache-moved, where: --cache, reason: the old registry is gone}
`

// TestCache: what is said of the repository for results, as it was asked for,
// as it is used, and as runs before used it.
func TestCache(t *testing.T) {
	const here, there = "registry.example.com/cache", "registry.example.com/old"
	for _, tt := range []struct {
		name   string
		text   string
		change func(*lint.Input)
		want   []string
	}{
		{"none", built, func(in *lint.Input) { in.Kept = kept(there, in) }, nil},
		{"nothing was kept before", built, func(in *lint.Input) { in.Cache = here }, nil},
		{"kept in both", built, func(in *lint.Input) { in.Cache, in.Kept = here, append(kept(there, in), kept(here, in)...) }, nil},
		{"kept elsewhere", built, func(in *lint.Input) { in.Cache, in.Kept = here, kept(there, in) },
			[]string{"cache-moved 1/3 a build looks in registry.example.com/cache for 1 of the results that earlier runs kept in registry.example.com/old"}},
		{"kept elsewhere, and waived", built, func(in *lint.Input) { in.Cache, in.Asked, in.Kept = here, true, kept(there, in) }, nil},
		{"something else was kept elsewhere", built, func(in *lint.Input) { in.Cache, in.Kept = here, []string{there + ":cache-000000000000"} }, nil},
		{"asked for in vain", strings.Replace(built, "RUN setup", "USER 1", 1), func(in *lint.Input) { in.Cache, in.Asked = here, true },
			[]string{"cache-unused 0/3 nothing is kept in registry.example.com/cache, nor found there: no image is built with the result of a shared step"}},
		{"not asked for", strings.Replace(built, "RUN setup", "USER 1", 1), func(in *lint.Input) { in.Cache = here }, nil},
		{"a tag meets it", built, func(in *lint.Input) { in.Cache = here; in.Images[1].Image.Tags = kept(here, in)[:1] },
			[]string{"tag-reserved 0/1 image b: TAG is where the result of Dockerfile:5 COPY --link --from=builder /out /agent is kept for other daemons"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := open(t, folder(t, tt.text, waiveRun))
			tt.change(&in)
			var got []string
			for _, f := range lint.Check(in) {
				if f.Waiver == nil && f.Code != rule.WaiverUnused {
					got = append(got, f.Code+" "+fmt.Sprintf("%d/%d", f.Cost.Executions, f.Cost.Images)+" "+strings.ReplaceAll(f.Message, in.Images[1].Image.Tags[0], "TAG"))
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestPublishOverRead: an image of the fleet that the recipe takes files from is
// published over, unless a digest holds it.
func TestPublishOverRead(t *testing.T) {
	for last, want := range map[string]int{
		"COPY --link --from=registry.example.com/agents:b /x /y\n":                                        1,
		"COPY --link --from=registry.example.com/agents:b@sha256:" + strings.Repeat("a", 64) + " /x /y\n": 0,
		"COPY --link --from=registry.example.com/agents:d /x /y\n":                                        0,
	} {
		n := 0
		for _, f := range lint.Check(open(t, folder(t, "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n"+last, standardFleet))) {
			if f.Code == rule.PublishOver {
				n++
				if f.Message != "image b: registry.example.com/agents:b is an image that the recipe reads" || f.Cost.Images != 1 {
					t.Errorf("%q: %+v", last, f)
				}
			}
		}
		if n != want {
			t.Errorf("%q: %d findings", last, n)
		}
	}
}
