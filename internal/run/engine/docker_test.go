//go:build linux

package engine_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// dockerIDs are the ids of a repository's images in the Docker daemon, by name.
func dockerIDs(t *testing.T, repo string) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for line := range strings.Lines(testfleet.DockerDo(t, "image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")) {
		if name, id, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, repo+":") {
			ids[name] = id
		}
	}
	return ids
}

// TestDocker builds into a Docker daemon, which answers what exists.
func TestDocker(t *testing.T) {
	testfleet.Docker(t)
	for _, tt := range []struct {
		recipe string
		images int
		action plan.Action
	}{{"linked", 12, plan.Append}, {"mixed", 2, plan.Build}} {
		t.Run(tt.recipe, func(t *testing.T) {
			w := newWorld(t, tt.images)
			recipe, repo := w.recipe(tt.recipe), w.host+"/agents"
			f := *w.fleet(recipe, "agents")
			f.Output = fleet.Output{To: "docker", MediaTypes: "oci", Compression: "gzip"}
			cold := w.build(t.Context(), &f, engine.Options{})
			if cold.err != nil || cold.plan.Actions[tt.action] != tt.images || cold.sum.Built != tt.images {
				t.Fatalf("cold: %v, %v, failures %s", cold.err, cold.plan.Actions, failures(cold.sum))
			}
			cold.reads(t)
			first := dockerIDs(t, repo)
			if len(first) != tt.images {
				t.Fatalf("docker has %v", first)
			}
			name := f.Images[0].Tags[0]
			testfleet.DockerDo(t, "run", "--rm", "--network=none", name, "/bin/sh", "-c", "exit 0")

			// What is missing only there is sent there, and not made again.
			sent := func(what string, n int) {
				t.Helper()
				r := w.build(t.Context(), &f, engine.Options{})
				if r.err != nil || r.plan.Actions[plan.Skip] != tt.images-n || r.plan.Actions[plan.Retag] != n || r.solves != 0 {
					t.Errorf("%s: %v, %v, %d daemons", what, r.err, r.plan.Actions, r.solves)
				}
			}
			sent("warm", 0)
			testfleet.DockerDo(t, "image", "rm", name)
			sent("one is gone", 1)
			testfleet.DockerDo(t, "image", "tag", f.Images[1].Tags[0], name)
			sent("one is another", 1)
			if d := cmp.Diff(first, dockerIDs(t, repo)); d != "" {
				t.Errorf("docker has (-first +now):\n%s", d)
			}
			for i, im := range f.Images {
				f.Images[i].Tags = append(im.Tags, im.Tags[0]+"-again")
			}
			sent("with second tags", tt.images)
			now := dockerIDs(t, repo)
			for name, id := range first {
				if now[name] != id || now[name+"-again"] != id {
					t.Errorf("%s: %s, and %s under its second tag; it was %s", name, now[name], now[name+"-again"], id)
				}
			}
		})
	}
}

// TestDockerIndex refuses what Docker does not load, before it is asked anything.
func TestDockerIndex(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, f := range []*fleet.Fleet{
		{Platforms: []string{"linux/amd64", "linux/arm64"}, Output: fleet.Output{To: "docker"}},
		{Output: fleet.Output{To: "docker", Provenance: true}},
	} {
		if _, err := engine.Open(t.Context(), engine.Setup{Fleet: f, State: t.TempDir()}); diag.KindOf(err) != diag.Usage || !strings.Contains(err.Error(), "image indexes") {
			t.Errorf("error %v", err)
		}
	}
}

// TestDockerKilled kills builds into a Docker daemon and runs the same command
// again.
func TestDockerKilled(t *testing.T) {
	testfleet.Docker(t)
	for _, k := range kills {
		t.Run(k.name, func(t *testing.T) {
			w := newWorld(t, 8)
			w.killed(t, "docker", k.event, k.n)
			if got := dockerIDs(t, w.host+"/killed"); len(got) != len(w.bases) {
				t.Errorf("docker has %v", got)
			}
		})
	}
}
