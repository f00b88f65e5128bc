//go:build linux

package testfleet

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Docker starts a Docker daemon that has nothing and ends with the test, and lets
// the docker command find it. It skips the test without root, and where Docker is
// not installed: `apt-get install docker.io` is much for what few tests need.
func Docker(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a Docker daemon needs root")
	}
	for _, tool := range []string{"dockerd", "docker", "containerd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no Docker here to test with: %v", err)
		}
	}
	// The path of a socket may not be long.
	dir, err := os.MkdirTemp("", "lap-docker")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "sock")
	cmd := exec.Command("dockerd", "--bridge=none", "--iptables=false", "--data-root="+filepath.Join(dir, "data"),
		"--exec-root="+filepath.Join(dir, "exec"), "--pidfile="+filepath.Join(dir, "pid"), "--host=unix://"+socket)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	t.Setenv("DOCKER_CONTEXT", "")
	Await(t, "the Docker daemon answers", func() bool {
		select {
		case <-ended:
			t.Skipf("no Docker daemon can be started here: %s", lastLine(log.String()))
		default:
		}
		return exec.Command("docker", "version").Run() == nil
	})
}

// lastLine is the last line of a log.
func lastLine(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return lines[len(lines)-1]
}

// DockerDo runs a docker command on the test's daemon and returns what it prints.
func DockerDo(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
