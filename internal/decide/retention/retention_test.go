package retention

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/graph"
)

const (
	oldKey = "v1:000000000000ff"
	newKey = "v1:111111111111ff"
)

func past(run, image string, d graph.Digest, key string, tags ...string) Publication {
	return Publication{Run: run, Image: image, Digest: d, Key: key, Tags: tags}
}

func TestDecide(t *testing.T) {
	first := past("1", "a", "sha256:old", oldKey, "h/r:a-v1")
	second := past("2", "a", "sha256:new", newKey, "h/r:a-v2")
	named := map[string]bool{"h/r:a-v2": true, "h/r:k-111111111111": true}
	tests := []struct {
		name   string
		others []Publication
		past   []Publication
		tags   map[string]graph.Digest
		held   map[graph.Digest]bool
		blind  bool
		want   []string
	}{
		{name: "a tag that is no longer named", past: []Publication{second, first},
			tags: map[string]graph.Digest{"a-v1": "sha256:old", "a-v2": "sha256:new"}, want: []string{"sha256:old 1 [a-v1]"}},
		{name: "its key tag goes with it", past: []Publication{second, first},
			tags: map[string]graph.Digest{"a-v1": "sha256:old", "k-000000000000": "sha256:old", "a-v2": "sha256:new", "k-111111111111": "sha256:new"}, want: []string{"sha256:old 1 [a-v1 k-000000000000]"}},
		{name: "without every key no key tag goes", past: []Publication{second, first}, blind: true,
			tags: map[string]graph.Digest{"a-v1": "sha256:old", "k-000000000000": "sha256:old"}, want: []string{"sha256:new 2 []", "sha256:old 1 [a-v1] kept: k-000000000000"}},
		{name: "a tag that moved", past: []Publication{second, past("1", "a", "sha256:old", oldKey, "h/r:a-v2")},
			tags: map[string]graph.Digest{"a-v2": "sha256:new"}, want: []string{"sha256:old 1 []"}},
		{name: "the same image under a tag in use", past: []Publication{second, past("1", "a", "sha256:new", newKey, "h/r:a-v1")},
			tags: map[string]graph.Digest{"a-v1": "sha256:new", "a-v2": "sha256:new"}, want: []string{"sha256:new 2 [a-v1] kept: a-v2"}},
		{name: "somebody's tag keeps it", past: []Publication{second, first},
			tags: map[string]graph.Digest{"prod": "sha256:old", "a-v2": "sha256:new"}},
		{name: "an index keeps it", past: []Publication{second, first}, held: map[graph.Digest]bool{"sha256:old": true},
			tags: map[string]graph.Digest{"a-v2": "sha256:new"}},
		{name: "what somebody put under an old tag is not ours", past: []Publication{second, first},
			tags: map[string]graph.Digest{"a-v1": "sha256:foreign", "a-v2": "sha256:new"}, want: []string{"sha256:old 1 []"}},
		{name: "another fleet published the same", past: []Publication{second, first}, others: []Publication{past("3", "x", "sha256:old", "", "h/r:x")},
			tags: map[string]graph.Digest{"a-v1": "sha256:old", "a-v2": "sha256:new"}},
		{name: "another fleet has the tag", past: []Publication{second, first}, others: []Publication{past("3", "x", "sha256:else", "", "h/r:a-v1")},
			tags: map[string]graph.Digest{"a-v1": "sha256:old", "a-v2": "sha256:new"}},
		{name: "nothing is superseded", past: []Publication{second}, tags: map[string]graph.Digest{"a-v2": "sha256:new", "b": "sha256:b"}},
		{name: "a tag that is gone", past: []Publication{second}, tags: map[string]graph.Digest{}, want: []string{"sha256:new 2 []"}},
		{name: "another repository is not looked at", past: []Publication{past("1", "a", "sha256:old", oldKey, "h/q:a")}, tags: map[string]graph.Digest{"a": "sha256:old"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Decide(Input{Named: named, KeysKnown: !tt.blind, Past: tt.past, Others: tt.others, Now: []Repository{{Name: "h/r", Tags: tt.tags, Held: tt.held}}})
			var lines []string
			for _, i := range got {
				line := fmt.Sprintf("%s %s %s", i.Digest, i.Run, i.Tags)
				if i.Kept != "" {
					line += " kept: " + i.Kept
				}
				lines = append(lines, line)
			}
			slices.Sort(lines)
			if d := cmp.Diff(tt.want, lines); d != "" {
				t.Error(d)
			}
		})
	}
}

// Whatever happened, what may be deleted is ours alone and has no tag in use.
func TestDecideIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digest := rapid.Custom(func(t *rapid.T) graph.Digest {
			return graph.Digest(fmt.Sprintf("sha256:%d", rapid.IntRange(0, 4).Draw(t, "digest")))
		})
		tag := rapid.SampledFrom([]string{"a", "b", "c", "d", "k-000000000000", "k-111111111111"})
		pubs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Publication {
			return past("1", "i", digest.Draw(t, "d"), rapid.SampledFrom([]string{"", oldKey, newKey}).Draw(t, "key"), "h/r:"+tag.Draw(t, "tag"))
		}), 0, 6)
		in := Input{Named: map[string]bool{}, KeysKnown: rapid.Bool().Draw(t, "keys"), Past: pubs.Draw(t, "past"), Others: pubs.Draw(t, "others")}
		for _, n := range rapid.SliceOf(tag).Draw(t, "named") {
			in.Named["h/r:"+n] = true
		}
		now := Repository{Name: "h/r", Tags: rapid.MapOf(tag, digest).Draw(t, "now"), Held: map[graph.Digest]bool{digest.Draw(t, "held"): true}}
		in.Now = []Repository{now}
		for _, i := range Decide(in) {
			if i.Kept != "" {
				continue
			}
			if now.Held[i.Digest] || !slices.ContainsFunc(in.Past, func(p Publication) bool { return p.Digest == i.Digest }) {
				t.Fatalf("%v is not the fleet's to delete", i)
			}
			if slices.ContainsFunc(in.Others, func(p Publication) bool { return p.Digest == i.Digest }) {
				t.Fatalf("another fleet published %v", i)
			}
			for name, d := range now.Tags {
				if d != i.Digest {
					continue
				}
				foreign := slices.ContainsFunc(in.Others, func(p Publication) bool { return p.Tags[0] == "h/r:"+name })
				if foreign || in.Named["h/r:"+name] || !slices.Contains(i.Tags, name) || strings.HasPrefix(name, "k-") && !in.KeysKnown && !slices.ContainsFunc(in.Past, func(p Publication) bool { return p.Tags[0] == "h/r:"+name }) {
					t.Fatalf("tag %s names %v", name, i)
				}
			}
		}
	})
}
