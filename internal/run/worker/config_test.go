package worker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bkconfig "github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/pelletier/go-toml/v2"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

func testPaths() paths {
	return paths{root: "/s/root", socket: "/s/run/buildkitd.sock", otel: "/s/run/otel.sock", cgroup: "lapstrake-0"}
}

func TestConfig(t *testing.T) {
	tests := []struct {
		name string
		opt  Options
	}{
		{"default", Options{}},
		{"full", Options{
			AllowInsecure: true, Platforms: []string{"linux/amd64", "linux/arm64/v8"}, RegistryConnections: 8, History: 500,
			Registries: []fleet.Registry{
				{Host: "docker.io", Mirrors: []string{"mirror.example/hub", "127.0.0.1:5000"}, Concurrency: 24},
				{Host: "plain.example:5000", HTTP: true},
				{Host: "own.example", CAFile: `/etc/we "quote"/ca.pem`},
			},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "buildkitd.toml")
			if err := newConfig(testPaths(), "/bin/runc", tt.opt).write(path); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			golden.Text(t, filepath.Join("testdata", tt.name+".toml"), string(got))
			// The daemon ignores keys that it does not know: none may be.
			var known bkconfig.Config
			if err := toml.NewDecoder(strings.NewReader(string(got))).DisallowUnknownFields().Decode(&known); err != nil {
				t.Errorf("the daemon does not know a key: %v", err)
			}
			if known.History.MaxEntries == nil || *known.History.MaxEntries != int64(tt.opt.History) {
				t.Error("the daemon keeps another number of history entries")
			}
			if gc := known.Workers.OCI.GC; gc == nil || *gc {
				t.Error("the daemon collects by itself")
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	env := []string{"PATH=/bin", "HOME=/root", "AWS_SECRET_ACCESS_KEY=x", "NOTIFY_SOCKET=/n", "OTEL_EXPORTER=x",
		"https_proxy=http://mine", "no_proxy=a.example,b.example", "BUILDKIT_STEP_LOG_MAX_SIZE=1", "TMPDIR=/elsewhere"}
	tests := []struct {
		name       string
		registries []fleet.Registry
		want       []string
	}{
		{"ours", nil, []string{"PATH=/bin", "HOME=/root", "https_proxy=http://mine", "BUILDKIT_STEP_LOG_MAX_SIZE=1",
			"TMPDIR=/tmp/x", "NO_PROXY=a.example,b.example"}},
		{"a registry's proxy", []fleet.Registry{{Host: "far", Proxy: "http://p"}, {Host: "near:5000"}, {Host: "far2", Proxy: "http://p"}},
			[]string{"PATH=/bin", "HOME=/root", "BUILDKIT_STEP_LOG_MAX_SIZE=1", "TMPDIR=/tmp/x",
				"HTTP_PROXY=http://p", "HTTPS_PROXY=http://p", "NO_PROXY=a.example,b.example,near:5000"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := environment(slices.Clone(env), "/tmp/x", tt.registries)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("environment (-want +got):\n%s", d)
			}
		})
	}
	_, err := environment(nil, "", []fleet.Registry{{Host: "a", Proxy: "http://p"}, {Host: "b", Proxy: "http://q"}})
	if diag.KindOf(err) != diag.File || diag.HelpOf(err) == "" {
		t.Errorf("two proxies: %v", err)
	}
}

func TestVersion(t *testing.T) {
	for v, ok := range map[string]bool{"v0.31.9": false, "v0.32.0": true, "v0.34.2": true, "v1.0.0": true, "v0.0.0+unknown": true, "": true, "v0.32.0-rc1": false} {
		if f := version("x", v); f.OK != ok || !ok && f.Fix == "" {
			t.Errorf("%q: %+v", v, f)
		}
	}
}
