package buildkit_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/moby/buildkit/client/llb"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// A solve on a base that the daemon does not have tells where its time went:
// the base's source resolves, pulls and unpacks, the exporter exports and pushes.
func TestSolveReportsParts(t *testing.T) {
	t.Parallel()
	r, err := localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Stop(context.Background()) })
	// A base that no earlier test has left on the daemon.
	set, err := testfleet.Bases(t.Context(), testfleet.Options{Host: r.Host(), N: 1, Seed: rand.Int64(), Scale: 0.02})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dial(t), buildkit.SessionOptions{})
	const from = "[1/2] FROM the base"
	base := llb.Image(set.Images[0].Ref, llb.ResolveModeForcePull, llb.WithCustomName(from))
	got := &records{}
	job := plan.Job{Repo: r.Host() + "/out/parts", HTTP: true, Config: []byte(config), Definition: marshal(t, sh(base, "echo "+t.Name()+" > /own"))}
	if _, err := s.Solve(t.Context(), job, got.add); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		from:                 {journal.PartPull, journal.PartResolve, journal.PartUnpack},
		"exporting to image": {journal.PartExport, journal.PartPush},
	} {
		var parts []string
		for part, took := range got.last[name].Parts {
			if parts = append(parts, part); took <= 0 {
				t.Errorf("%s: %s took %v", name, part, took)
			}
		}
		if slices.Sort(parts); !slices.Equal(parts, want) {
			t.Errorf("%s: parts %q, want %q", name, parts, want)
		}
	}
}
