package buildkit_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

func list(t *testing.T, c *buildkit.Client) map[string]buildkit.Record {
	t.Helper()
	recs, err := c.Records(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]buildkit.Record{}
	for _, r := range recs {
		out[r.ID] = r
	}
	return out
}

func ids(recs []buildkit.Record) []string {
	var out []string
	for _, r := range recs {
		out = append(out, r.ID)
	}
	slices.Sort(out)
	return out
}

func TestReleaseExactly(t *testing.T) {
	c := dialTo(t, workertest.New(t, worker.Options{}).Addr())
	opt := buildkit.SessionOptions{Locals: folder(t, nil)}
	base := sh(box(), "echo base > /base")
	before := map[string]buildkit.Record{}
	own := make([][]string, 3) // the records that each solve added
	for i := range own {
		st := base
		for k := range i * 51 { // the last makes more than one slice of records
			st = st.File(mkdir(fmt.Sprintf("/own-%d-%d", i, k)))
		}
		if _, err := solve(t, c, opt, sh(st, fmt.Sprintf("echo %d > /own", i))); err != nil {
			t.Fatal(err)
		}
		// The daemon lets go of a solve's results a moment after its answer.
		now := map[string]buildkit.Record{}
		testfleet.Await(t, "the solve's records are free", func() bool {
			now = list(t, c)
			for _, r := range now {
				if r.InUse {
					return false
				}
			}
			return true
		})
		for id, r := range now {
			if _, old := before[id]; !old && r.Type == "regular" {
				own[i] = append(own[i], id)
			}
		}
		before = now
	}
	if len(own[2]) <= 100 {
		t.Fatalf("the third solve left %d records: more than 100 are needed", len(own[2]))
	}
	for i, want := range map[int][]string{1: own[1], 2: own[2]} {
		gone, err := c.Release(t.Context(), append(slices.Clone(want), "no-such-record"))
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		if d := cmp.Diff(want, ids(gone)); d != "" {
			t.Errorf("solve %d: released (-want +got):\n%s", i, d)
		}
		for _, id := range want {
			delete(before, id)
		}
		if d := cmp.Diff(slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(list(t, c)))); d != "" {
			t.Errorf("solve %d: left (-want +got):\n%s", i, d)
		}
	}

	// A record that has children stays, and naming none is not naming all.
	parent := ""
	for _, r := range before {
		for _, p := range r.Parents {
			parent = p
		}
	}
	for _, named := range [][]string{{parent}, {}, nil, {""}} {
		gone, err := c.Release(t.Context(), named)
		if err != nil || len(gone) > 0 {
			t.Errorf("release %q: %q, %v", named, ids(gone), err)
		}
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(list(t, c)))); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}

	// What was released is made again, and nothing else is.
	recs, err := solve(t, c, opt, sh(base.File(mkdir("/own-1-0")), "echo 1 > /own"))
	if err != nil {
		t.Fatal(err)
	}
	if s := recs.last["RUN echo base > /base"]; !s.Cached {
		t.Errorf("the shared step ran again: %+v", s)
	}
}
