package worker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

func layer(id, digest string, parents ...string) buildkit.Record {
	return buildkit.Record{ID: id, Description: "pulled from r.example/x@" + digest, Type: "regular", Bytes: 100, Parents: parents}
}

func result(id string, parents ...string) buildkit.Record {
	return buildkit.Record{ID: id, Description: "RUN " + id, Type: "regular", Bytes: 10, Parents: parents}
}

func TestLeft(t *testing.T) {
	held := result("run1", "a1")
	held.InUse = true
	mount := result("mount", "a1")
	mount.Type = typeMount
	local := result("local")
	local.Type = typeLocal
	scanned := result("scanned")
	scanned.Description = "mount /run/out/ from exec /scan"
	tests := []struct {
		name    string
		records []buildkit.Record
		left    []string // of the bases a and b
		idle    []string
	}{
		{name: "nothing"},
		{
			name:    "a base, what is over it, and another image",
			records: []buildkit.Record{layer("a1", "a"), layer("a2", "a", "a1"), result("run1", "a2"), result("run2", "run1"), layer("c1", "c"), result("shared", "c1")},
			left:    []string{"a1", "a2", "run1", "run2"},
			idle:    []string{"a1", "a2", "c1", "run1", "run2", "shared"},
		}, {
			name:    "a layer of two bases, described by the first",
			records: []buildkit.Record{layer("os", "a"), layer("a2", "a", "os"), layer("b2", "b", "os"), result("run", "b2")},
			left:    []string{"a2", "b2", "os", "run"},
			idle:    []string{"a2", "b2", "os", "run"},
		}, {
			name:    "a layer that a shared step rests on, too",
			records: []buildkit.Record{layer("os", "a"), layer("a2", "a", "os"), result("run", "a2"), result("shared", "os")},
			left:    []string{"a2", "run"},
			idle:    []string{"a2", "os", "run", "shared"},
		}, {
			name:    "a shared layer over a base",
			records: []buildkit.Record{layer("a1", "a"), result("shared"), result("merged", "a1", "shared")},
			left:    []string{"a1", "merged"},
			idle:    []string{"a1", "merged", "shared"},
		}, {
			name:    "what is in use, and what it rests on",
			records: []buildkit.Record{layer("a1", "a"), held, result("run2", "run1"), layer("b1", "b")},
			left:    []string{"b1", "run2"},
			idle:    []string{"b1", "run2"},
		}, {
			name:    "cache mounts stay, copies of folders and what a scanner wrote go",
			records: []buildkit.Record{layer("a1", "a"), mount, local, scanned},
			left:    []string{"local", "scanned"},
			idle:    []string{"a1", "local", "mount", "scanned"},
		},
	}
	bases := map[graph.Digest]bool{"a": true, "b": true}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for what, c := range map[string]struct{ got, want []string }{
				"left": {Left(tt.records, bases), tt.left}, "idle": {Idle(tt.records), tt.idle},
			} {
				slices.Sort(c.got)
				if d := cmp.Diff(c.want, c.got); d != "" {
					t.Errorf("%s (-want +got):\n%s", what, d)
				}
			}
		})
	}
}

// Whatever a daemon holds: nothing in use goes, nothing goes before its
// children, and what is left is a part of what is idle.
func TestLeftProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var records []buildkit.Record
		for i := range rapid.IntRange(0, 12).Draw(t, "records") {
			r := result(fmt.Sprint(i))
			if rapid.Bool().Draw(t, "layer") {
				r = layer(fmt.Sprint(i), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "image"))
			}
			if i > 0 {
				r.Parents = rapid.SliceOfNDistinct(rapid.SampledFrom(ids(records)), 0, min(2, i), rapid.ID[string]).Draw(t, "parents")
			}
			r.InUse = rapid.IntRange(0, 5).Draw(t, "in use") == 0
			records = append(records, r)
		}
		left, idle := Left(records, map[graph.Digest]bool{"a": true, "b": true}), Idle(records)
		for _, id := range left {
			if !slices.Contains(idle, id) {
				t.Errorf("%s is not idle", id)
			}
		}
		for _, gone := range [][]string{left, idle} {
			for _, r := range records {
				at := slices.Index(gone, r.ID)
				if at >= 0 && r.InUse {
					t.Errorf("%s is in use", r.ID)
				}
				for _, p := range r.Parents {
					if before := slices.Index(gone, p); before >= 0 && (at < 0 || at > before) {
						t.Errorf("%s goes before its child %s: %q", p, r.ID, gone)
					}
				}
			}
		}
	})
}

func ids(records []buildkit.Record) []string {
	var out []string
	for _, r := range records {
		out = append(out, r.ID)
	}
	return out
}

func TestNewUsage(t *testing.T) {
	held := result("2", "1")
	held.Description, held.InUse = "mount / from exec /bin/sh -c 1", true
	got := NewUsage([]buildkit.Record{layer("os", "a"), layer("a2", "a", "os"), layer("b", "b"), result("1"), held, {ID: "m", Type: typeMount, Description: "cached mount /m", Bytes: 400}})
	want := Usage{
		Records: 6, Bytes: 720, InUse: 1, InUseBytes: 10,
		Types: []Share{{typeMount, 1, 400}, {"regular", 5, 320}},
		Bases: []Share{{"r.example/x@a", 2, 200}, {"r.example/x@b", 1, 100}},
		Steps: []Share{{"cached mount /m", 1, 400}, {"RUN 1", 2, 20}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	empty := Usage{Types: []Share{}, Bases: []Share{}, Steps: []Share{}}
	if d := cmp.Diff(empty, NewUsage(nil)); d != "" {
		t.Errorf("of nothing (-want +got):\n%s", d)
	}
}
