package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// MinVersion is the oldest BuildKit that is trusted: before it, solves that ran
// at the same time could miss a valid cache.
const MinVersion = "v0.32.0"

// Finding is one thing that a worker needs.
type Finding struct {
	// Name says in a word what was looked at.
	Name string `json:"name"`
	// OK is false when the worker cannot run, or not well, until Fix is done.
	OK bool `json:"ok"`
	// Optional things are needed by this project's tests only.
	Optional bool `json:"optional,omitempty"`
	// Found is what is there, Missing what is not.
	Found   string `json:"found,omitempty"`
	Missing string `json:"missing,omitempty"`
	// Fix is the one line that mends it, a command or a setting. It may be
	// there when OK is true, for what could be better.
	Fix string `json:"fix,omitempty"`
}

// Doctor looks at what the embedded daemon needs on this machine. It starts no
// daemon and leaves nothing behind. It does not stop at what is missing.
func Doctor(ctx context.Context, opt Options) []Finding { return doctor(ctx, opt) }

// DoctorRemote looks at a daemon that runs elsewhere. When it does not answer,
// that is the only finding.
func DoctorRemote(ctx context.Context, addr string, opt buildkit.Options) []Finding {
	c, err := buildkit.Dial(ctx, addr, opt)
	if err != nil {
		return []Finding{{Name: "daemon", Missing: err.Error(), Fix: diag.HelpOf(err)}}
	}
	defer c.Close()
	info, err := c.Info(ctx)
	if err != nil {
		return []Finding{{Name: "daemon", Missing: err.Error(), Fix: diag.HelpOf(err)}}
	}
	return []Finding{
		{Name: "daemon", OK: true, Found: fmt.Sprintf("%s at %s, builds %s", info.Hostname, addr, strings.Join(info.Platforms, " "))},
		version("version", info.Version),
		snapshotter(info.Snapshotter),
		collection(info.GC),
		history(ctx, c),
		{Name: "connections", OK: true, Found: "not visible; 4 per registry unless set",
			Fix: "maxRegistryConcurrency = 16 under [system] in its buildkitd.toml"},
	}
}

func version(name, v string) Finding {
	f := Finding{Name: name, Found: v, OK: true}
	switch {
	case !semver.IsValid(v) || semver.MajorMinor(v) == "v0.0":
		f.Found = "a build that does not say its version"
		f.Fix = "make sure that it is BuildKit " + MinVersion + " or newer"
	case semver.Compare(v, MinVersion) < 0:
		f.OK, f.Missing, f.Fix = false, "BuildKit "+MinVersion+" or newer", "upgrade the daemon"
	}
	return f
}

func snapshotter(name string) Finding {
	f := Finding{Name: "snapshotter", Found: name, OK: name != "native"}
	if !f.OK {
		f.Missing = "layers that share files: native copies each one whole"
		f.Fix = `snapshotter = "overlayfs" under [worker.oci] in its buildkitd.toml`
	}
	return f
}

// collection cannot be wrong, but explains why a daemon forgets.
func collection(rules []buildkit.GCRule) Finding {
	f := Finding{Name: "gc", OK: true, Found: "off"}
	if len(rules) == 0 {
		return f
	}
	s := make([]string, len(rules))
	for i, r := range rules {
		s[i] = r.String()
	}
	f.Found = strings.Join(s, "; ")
	f.Fix = "gc = false under [worker.oci] in its buildkitd.toml keeps it from evicting what a run still needs"
	return f
}

// maxHistory is where a daemon's history starts to matter.
const maxHistory = 1 << 30

func history(ctx context.Context, c *buildkit.Client) Finding {
	h, err := c.History(ctx)
	if err != nil {
		return Finding{Name: "history", OK: true, Found: "not visible: " + err.Error()}
	}
	f := Finding{Name: "history", OK: h.Bytes < maxHistory, Found: "none"}
	if h.Entries > 0 {
		f.Found = fmt.Sprintf("%d entries, %.1f GiB outside of disk usage", h.Entries, gib(h.Bytes))
		f.Fix = "maxEntries = 0 under [history] in its buildkitd.toml"
	}
	if !f.OK {
		f.Missing = "room: history grows with every solve"
	}
	return f
}

// gib is a size in binary gigabytes.
func gib(bytes int64) float64 { return float64(bytes) / (1 << 30) }

// daemonBinary finds buildkitd and its version.
func daemonBinary(ctx context.Context, given string) Finding {
	path, err := binary(given, "buildkitd")
	if err != nil {
		return Finding{Name: "buildkitd", Missing: err.Error(), Fix: diag.HelpOf(err)}
	}
	v := moduleVersion(path)
	if v == "" {
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			return Finding{Name: "buildkitd", Missing: fmt.Sprintf("%s does not run: %v", path, err), Fix: "run make"}
		}
		for _, w := range strings.Fields(string(out)) {
			if semver.IsValid(w) {
				v = w
			}
		}
	}
	f := version("buildkitd", v)
	f.Found += ", " + path
	return f
}

// runtimeBinary finds runc and asks it for seccomp, without which the daemon's
// default profile makes every RUN fail.
func runtimeBinary(ctx context.Context, given string) []Finding {
	path, err := binary(given, "runc", "buildkit-runc")
	if err != nil {
		return []Finding{{Name: "runc", Missing: err.Error(), Fix: "run make, or apt-get install runc"}}
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return []Finding{{Name: "runc", Missing: fmt.Sprintf("%s does not run: %v", path, err), Fix: "run make, or apt-get install runc"}}
	}
	first, _, _ := strings.Cut(string(out), "\n")
	findings := []Finding{{Name: "runc", OK: true, Found: first + ", " + path}}

	var features struct {
		Linux struct {
			Seccomp struct {
				Enabled bool `json:"enabled"`
			} `json:"seccomp"`
		} `json:"linux"`
	}
	sec := Finding{Name: "seccomp", OK: true, Found: "built into runc"}
	// Old releases have no such command, but say libseccomp's version.
	out2, err := exec.CommandContext(ctx, path, "features").Output()
	if err == nil {
		err = json.Unmarshal(out2, &features)
	}
	if !features.Linux.Seccomp.Enabled && (err == nil || !strings.Contains(string(out), "libseccomp")) {
		sec = Finding{Name: "seccomp", Missing: path + " was built without it: every RUN would fail",
			Fix: "apt-get install libseccomp-dev && make, or apt-get install runc"}
	}
	return append(findings, sec)
}
