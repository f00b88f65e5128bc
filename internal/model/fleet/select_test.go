package fleet_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

func three() fleet.Fleet {
	return fleet.Fleet{Images: []fleet.Image{
		{ID: "django-1", Tags: []string{"r.example:5000/agents:django-1", "r.example:5000/x/y:a"}},
		{ID: "flask-1", Tags: []string{"r.example:5000/agents:flask-1"}},
		{ID: "django-2", Tags: []string{"r.example:5000/agents:django-2"}},
	}}
}

func TestSelect(t *testing.T) {
	tests := []struct {
		name          string
		patterns      []string
		limit         int
		want, unknown string
	}{
		{name: "all", want: "django-1 flask-1 django-2"},
		{name: "glob in declared order", patterns: []string{"flask-1", "django-*"}, want: "django-1 flask-1 django-2"},
		{name: "limit", patterns: []string{"django-*"}, limit: 1, want: "django-1"},
		{name: "unknown", patterns: []string{"flask-1", "nope"}, want: "flask-1", unknown: "nope"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, unknown := three().Select(fleet.Selection{IDs: tt.patterns, Limit: tt.limit})
			var ids []string
			for _, im := range got.Images {
				ids = append(ids, im.ID)
			}
			if diff := cmp.Diff([2]string{tt.want, tt.unknown}, [2]string{strings.Join(ids, " "), strings.Join(unknown, " ")}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInNamespace(t *testing.T) {
	tests := []struct {
		style fleet.NamespaceStyle
		want  []string
	}{
		{fleet.NamespacePath, []string{"r.example:5000/trial/agents:django-1", "r.example:5000/trial/x/y:a"}},
		{fleet.NamespaceTag, []string{"r.example:5000/agents:trial-django-1", "r.example:5000/x/y:trial-a"}},
	}
	for _, tt := range tests {
		before := three()
		got := before.InNamespace("trial", tt.style)
		if diff := cmp.Diff(tt.want, got.Images[0].Tags); diff != "" {
			t.Errorf("%s: %s", tt.style, diff)
		}
		if got.Recipe.Args["BUILDKIT_CACHE_MOUNT_NS"] != "trial" {
			t.Errorf("%s: cache mounts are not kept apart", tt.style)
		}
		if diff := cmp.Diff(three(), before); diff != "" {
			t.Errorf("%s: the fleet itself changed: %s", tt.style, diff)
		}
	}
}

func TestChooseInOrder(t *testing.T) {
	ids := strings.Fields("a1 b1 a2 b2 a3 b3 a4")
	var asked []int
	s := fleet.Selection{IDs: []string{"a*", "b1"}, Where: func(i int) bool { asked = append(asked, i); return i != 0 }, Sample: fleet.Sample{N: 3}, Limit: 2}
	chosen, unknown := s.Choose(ids)
	if len(chosen) != 2 || unknown != nil || chosen[0] >= chosen[1] || chosen[0] == 0 {
		t.Errorf("%v %v", chosen, unknown)
	}
	if d := cmp.Diff([]int{0, 1, 2, 4, 6}, asked); d != "" {
		t.Error(d)
	}
	for n, want := range map[int]int{0: 7, 7: 7, 100: 7, 1: 1} {
		if chosen, _ := (fleet.Selection{Sample: fleet.Sample{N: n}}).Choose(ids); len(chosen) != want {
			t.Errorf("a sample of %d has %v", n, chosen)
		}
	}
}

// TestSample: a sample does not depend on the order of the list, a smaller one is
// part of a larger one, an id that is added displaces at most one, and another
// seed makes another sample.
func TestSample(t *testing.T) {
	of := func(ids []string, n int, seed uint64) map[string]bool {
		chosen, _ := fleet.Selection{Sample: fleet.Sample{N: n, Seed: seed}}.Choose(ids)
		out := map[string]bool{}
		for _, i := range chosen {
			out[ids[i]] = true
		}
		return out
	}
	part := func(a, b map[string]bool) (missing int) {
		for id := range a {
			if !b[id] {
				missing++
			}
		}
		return missing
	}
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9_-]{1,12}`), 2, 40, rapid.ID).Draw(t, "ids")
		n := rapid.IntRange(1, len(ids)-1).Draw(t, "n")
		seed := rapid.Uint64().Draw(t, "seed")
		s := of(ids, n, seed)
		if len(s) != n || part(s, of(ids, n+1, seed)) != 0 {
			t.Fatalf("%d of %v: %v", n, ids, s)
		}
		if part(s, of(rapid.Permutation(ids).Draw(t, "order"), n, seed)) != 0 {
			t.Fatal("the order matters")
		}
		if part(s, of(append(slices.Clone(ids), "ADDED"), n, seed)) > 1 {
			t.Fatal("one more id displaces several")
		}
	})
	var many []string
	for i := range 100 {
		many = append(many, strings.Repeat("x", i+1))
	}
	if d := part(of(many, 50, 1), of(many, 50, 2)); d < 10 {
		t.Errorf("seeds 1 and 2 differ in %d of 50", d)
	}
}

func TestParseSample(t *testing.T) {
	for text, want := range map[string]fleet.Sample{"20": {N: 20}, "1@7": {N: 1, Seed: 7}, "3@18446744073709551615": {N: 3, Seed: 1<<64 - 1}} {
		if got, err := fleet.ParseSample(text); err != nil || got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"": "a sample has at least one image", "0": "a sample has at least one image", "-1": "a sample has at least one image", "x@1": "a sample has at least one image",
		"1@": "the seed is not a whole number", "1@-1": "the seed is not a whole number", "1@x": "the seed is not a whole number", "1@1@1": "the seed is not a whole number",
	} {
		_, err := fleet.ParseSample(text)
		refused(t, text, err, want)
	}
}
