package check

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// release is a tarball in the form of scripts/release, whose program says text.
func release(t *testing.T, folder, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	script := "#!/bin/sh\necho " + text + "\n"
	for name, mode := range map[string]int64{"lapstrake": 0o755, "LICENSE": 0o644} {
		if err := w.WriteHeader(&tar.Header{Name: folder + "/" + name, Mode: mode, Size: int64(len(script))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(script)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestInstall runs the action's installation against a server with releases: one
// that is whole, one whose tarball is not that of its sums, one without sums for it.
func TestInstall(t *testing.T) {
	good := release(t, "lapstrake_1.2.3_linux_amd64", "one")
	sums := func(data []byte, name string) []byte {
		return fmt.Appendf(nil, "%x  %s\n%x  other.tar.gz\n", sha256.Sum256(data), name, sha256.Sum256(nil))
	}
	files := map[string][]byte{
		"/v1.2.3/lapstrake_1.2.3_linux_amd64.tar.gz": good, "/v1.2.3/SHA256SUMS": sums(good, "lapstrake_1.2.3_linux_amd64.tar.gz"),
		"/v1.2.4/lapstrake_1.2.4_linux_amd64.tar.gz": good, "/v1.2.4/SHA256SUMS": sums(good[1:], "lapstrake_1.2.4_linux_amd64.tar.gz"),
		"/v1.2.5/lapstrake_1.2.5_linux_amd64.tar.gz": good, "/v1.2.5/SHA256SUMS": sums(good, "xlapstrake_1.2.5_linux_amd64.tar.gz"),
	}
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		data, ok := files[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write(data)
	}))
	defer server.Close()
	temp, cache := t.TempDir(), t.TempDir()
	for _, tt := range []struct {
		name, version, ref, system string
		says                       string // of the program that is in the path then
		wrong                      string // in the output
		asks                       int
	}{
		{name: "a version", version: "1.2.3", system: "Linux/X64", says: "one", asks: 2},
		{name: "again", version: "v1.2.3", system: "Linux/X64", says: "one"},
		{name: "that of the action's tag", ref: "v1.2.3", system: "Linux/X64", says: "one"},
		{name: "another tarball", version: "1.2.4", system: "Linux/X64", wrong: "lapstrake_1.2.4_linux_amd64.tar.gz is not what SHA256SUMS of the release says", asks: 2},
		{name: "no sum", version: "1.2.5", system: "Linux/X64", wrong: "instead of nothing", asks: 2},
		{name: "no release", version: "9.9.9", system: "Linux/X64", wrong: "404", asks: 1},
		{name: "no version", version: "../../1.2.3", system: "Linux/X64", wrong: "is neither a version"},
		{name: "no platform", version: "1.2.3", system: "Windows/X64", wrong: "there is no release for Windows on X64"},
		{name: "not installed", version: "installed", system: "Linux/X64", wrong: "no lapstrake in PATH"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked = 0
			path := filepath.Join(t.TempDir(), "path")
			system, arch, _ := strings.Cut(tt.system, "/")
			c := exec.Command("../github/install")
			c.Env = []string{"PATH=/usr/bin:/bin", "INPUT_VERSION=" + tt.version, "ACTION_REF=" + tt.ref, "INPUT_RELEASES=" + server.URL + "/", "INPUT_WORKERS=",
				"RUNNER_OS=" + system, "RUNNER_ARCH=" + arch, "RUNNER_TEMP=" + temp, "RUNNER_TOOL_CACHE=" + cache, "GITHUB_PATH=" + path}
			out, err := c.CombinedOutput()
			added, _ := os.ReadFile(path)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(string(out), tt.wrong) || len(added) > 0 {
					t.Errorf("%v, added %q, said\n%s", err, added, out)
				}
			} else if err != nil {
				t.Fatalf("%v\n%s", err, out)
			} else if says, err := exec.Command(filepath.Join(strings.TrimSpace(string(added)), "lapstrake")).Output(); strings.TrimSpace(string(says)) != tt.says {
				t.Errorf("%q is in the path: says %q, %v", added, says, err)
			}
			if asked != tt.asks {
				t.Errorf("%d requests, want %d", asked, tt.asks)
			}
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// TestInstallSource builds the action's own checkout.
func TestInstallSource(t *testing.T) {
	path, temp := filepath.Join(t.TempDir(), "path"), t.TempDir()
	c := exec.Command("../github/install")
	c.Env = append(os.Environ(), "INPUT_VERSION=", "ACTION_REF=main", "INPUT_WORKERS=tcp://elsewhere:1234", "RUNNER_TEMP="+temp, "GITHUB_PATH="+path)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	added, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(string(added))
	if out, err := exec.Command(filepath.Join(dir, "lapstrake"), "--version").Output(); !strings.HasPrefix(string(out), "lapstrake version ") {
		t.Errorf("%q, %v", out, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("with another daemon, its own is made, too: %v", files)
	}
}
