package worker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
)

func findings(list []worker.Finding) map[string]worker.Finding {
	out := map[string]worker.Finding{}
	for _, f := range list {
		out[f.Name] = f
	}
	return out
}

func TestDoctor(t *testing.T) {
	opt := workertest.Options(t)
	dir := t.TempDir()
	opt.State = filepath.Join(dir, "not", "there")
	got := findings(worker.Doctor(t.Context(), opt))
	for _, name := range []string{"system", "root", "buildkitd", "runc", "seccomp", "cgroup", "overlayfs", "disk"} {
		if f := got[name]; !f.OK || f.Found == "" {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if !strings.HasPrefix(got["buildkitd"].Found, "v0.3") {
		t.Errorf("buildkitd: %+v", got["buildkitd"])
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	if _, ok := got["loop"]; !ok {
		t.Error("loop devices were not looked at")
	}
}

func TestDoctorNamesWhatIsMissing(t *testing.T) {
	workertest.Options(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old := write("buildkitd-old", "echo buildkitd github.com/moby/buildkit v0.18.0 abc\n")
	broken := write("broken", "exit 3\n")
	plain := write("runc-plain", "[ $1 = features ] && echo '{\"linux\":{\"seccomp\":{\"enabled\":false}}}' || echo runc version 1.1.0\n")
	tests := []struct {
		name    string
		opt     worker.Options
		finding string
		missing string
	}{
		{"old daemon", worker.Options{Buildkitd: old}, "buildkitd", "v0.32.0 or newer"},
		{"broken daemon", worker.Options{Buildkitd: broken}, "buildkitd", "does not run"},
		{"no daemon", worker.Options{Buildkitd: dir + "/none"}, "buildkitd", "none"},
		{"no runtime", worker.Options{Runc: dir + "/none"}, "runc", "none"},
		{"broken runtime", worker.Options{Runc: broken}, "runc", "does not run"},
		{"runtime without seccomp", worker.Options{Runc: plain}, "seccomp", "every RUN would fail"},
		{"no file system for layers", worker.Options{State: "/proc"}, "overlayfs", "/proc"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := findings(worker.Doctor(t.Context(), tt.opt))[tt.finding]
			if f.OK || !strings.Contains(f.Missing, tt.missing) {
				t.Errorf("%+v", f)
			}
			if f.Fix == "" && !strings.HasPrefix(tt.name, "no daemon") {
				t.Errorf("no fix: %+v", f)
			}
		})
	}
}

func TestDoctorRemote(t *testing.T) {
	d := workertest.New(t, worker.Options{})
	got := findings(worker.DoctorRemote(t.Context(), d.Addr(), buildkit.Options{}))
	for name, want := range map[string]string{
		"daemon": "linux/amd64", "version": "v0.", "snapshotter": "overlayfs", "gc": "off", "history": "none", "connections": "not visible",
	} {
		if f := got[name]; !f.OK || !strings.Contains(f.Found, want) {
			t.Errorf("%s: %+v, want %q", name, f, want)
		}
	}
	got = findings(worker.DoctorRemote(t.Context(), "unix:///nowhere.sock", buildkit.Options{}))
	if f := got["daemon"]; f.OK || f.Missing == "" || f.Fix == "" || len(got) != 1 {
		t.Errorf("%+v", got)
	}
}
