package release_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/release"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

func base(name string, layers ...string) *fact.Base {
	b := &fact.Base{Ref: name, Digest: graph.Digest("sha256:" + name)}
	for _, l := range layers {
		b.DiffIDs = append(b.DiffIDs, graph.Digest(l))
	}
	return b
}

func pulled(id, from, parent string) release.Record {
	return record(id, "pulled from reg/"+from+":latest@sha256:"+from, parent)
}

func record(id, description string, parents ...string) release.Record {
	parents = slices.DeleteFunc(parents, func(p string) bool { return p == "" })
	return release.Record{ID: id, Description: description, Parents: parents, Bytes: 1}
}

func TestDead(t *testing.T) {
	a, b, c := base("a", "os", "env", "ia"), base("b", "os", "env", "ib"), base("c", "os", "other")
	records := []release.Record{
		pulled("os", "a", ""), pulled("env", "a", "os"), pulled("ia", "a", "env"),
		record("run-a", "mount / from exec", "ia"), record("copy-a", "copy", "run-a"),
		pulled("ib", "b", "env"), record("run-b", "mount / from exec", "ib"),
		record("payload", "builder"), record("cache", "cachemount"),
	}
	tests := []struct {
		name       string
		done, live []*fact.Base
		before     []string
		inUse      string
		also       []release.Record
		want       string
	}{
		{name: "nothing published", live: []*fact.Base{a, b, c}},
		{name: "shared layers stay while a live base has them", done: []*fact.Base{a}, live: []*fact.Base{b}, want: "copy-a run-a ia"},
		{name: "an env layer goes with its last user, the os stays for another", done: []*fact.Base{a, b}, live: []*fact.Base{c}, want: "copy-a run-a ia run-b ib env"},
		{name: "everything of the bases goes at the end, shared steps stay", done: []*fact.Base{a, b, c}, want: "copy-a run-a ia run-b ib env os"},
		{name: "a base described by another image's name", done: []*fact.Base{b}, live: []*fact.Base{a}, want: "run-b ib"},
		{name: "a shared step stays although its image starts with a base's layer", done: []*fact.Base{a}, live: []*fact.Base{c}, also: []release.Record{record("shared", "exec", "env")}, want: "copy-a run-a ia"},
		{name: "what is in use stays with its ancestors", done: []*fact.Base{a}, live: []*fact.Base{b}, inUse: "run-a", want: "copy-a"},
		{name: "what a scanner left goes, but of one that runs", inUse: "scan-b", live: []*fact.Base{a, b, c}, also: []release.Record{record("scan-a", "mount /run/out/ from exec /scan"), record("scan-b", "mount /run/out/ from exec /scan")}, want: "scan-a"},
		{name: "what was there before the run stays", done: []*fact.Base{a}, live: []*fact.Base{b}, before: []string{"ia"}, want: "copy-a run-a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rs := append(slices.Clone(records), tt.also...)
			for i := range rs {
				rs[i].InUse = rs[i].ID == tt.inUse
			}
			before := map[string]bool{}
			for _, id := range tt.before {
				before[id] = true
			}
			got := strings.Join(release.Dead(rs, before, tt.done, tt.live).IDs, " ")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("dead records (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDeadProperties: whatever the state of a daemon, nothing that a live base
// starts with goes, nothing older than the run, nothing in use, nothing shared;
// and children go before their parents.
func TestDeadProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "bases")
		var bases []*fact.Base
		var records []release.Record
		have := map[string]bool{}
		for i := range n {
			name := fmt.Sprintf("b%d", i)
			layers := []string{"os", fmt.Sprintf("env%d", rapid.IntRange(0, 3).Draw(t, "env")), "i" + name}
			bases = append(bases, base(name, layers...))
			chain := ""
			for _, l := range layers {
				parent := chain
				chain += "/" + l
				if !have[chain] {
					have[chain] = true
					records = append(records, pulled(chain, name, parent))
				}
			}
			records = append(records, record(chain+"!run", "exec", chain))
		}
		records = append(records, record("payload", "builder"))
		before, live, done := map[string]bool{}, []*fact.Base{}, []*fact.Base{}
		for i := range records {
			records[i].InUse = rapid.IntRange(0, 9).Draw(t, "use") == 0
			if rapid.IntRange(0, 9).Draw(t, "old") == 0 {
				before[records[i].ID] = true
			}
		}
		for _, b := range bases {
			if rapid.Bool().Draw(t, "done") {
				done = append(done, b)
			} else {
				live = append(live, b)
			}
		}
		dead := release.Dead(records, before, done, live).IDs
		gone := map[string]bool{}
		for _, id := range dead {
			gone[id] = true
		}
		for _, r := range records {
			if gone[r.ID] && (r.InUse || before[r.ID] || r.ID == "payload") {
				t.Fatalf("%s must stay", r.ID)
			}
			for _, p := range r.Parents {
				if gone[p] && !gone[r.ID] {
					t.Fatalf("%s goes before its child %s", p, r.ID)
				}
				if gone[p] && slices.Index(dead, p) < slices.Index(dead, r.ID) {
					t.Fatalf("%s is listed before its child %s", p, r.ID)
				}
			}
		}
		for _, b := range live {
			chain := ""
			for _, l := range b.DiffIDs {
				chain += "/" + string(l)
				if gone[chain] {
					t.Fatalf("%s is needed by %s", chain, b.Ref)
				}
			}
		}
	})
}
