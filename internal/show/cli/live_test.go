//go:build linux

package cli_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/show/screen/screentest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// watchedBuild starts a build on a terminal whose image prints something, with a
// secret in it, and then goes on until it is stopped.
func watchedBuild(t *testing.T, x *screentest.Terminal, args ...string) *exec.Cmd {
	t.Helper()
	daemon := workertest.Start(t)
	reg, err := localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Stop(context.Background()) })
	set, err := testfleet.Bases(t.Context(), testfleet.Options{Host: reg.Host(), N: 2, Seed: 77, Scale: 0.02})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"ids.txt": set.Images[0].ID + "\n" + set.Images[1].ID + "\n",
		"Dockerfile": `ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN --mount=type=secret,id=token echo the token is $(cat /run/secrets/token), $$; sleep 100000
`,
		"fleet.yaml": fmt.Sprintf(`name: watched
images:
  from: ids.txt
  base: "%[1]s/swebench/sweb.eval.x86_64.{{swebench .id}}:latest"
  tag: "%[1]s/agents:{{.id}}"
jobs: 1
secrets:
  - {id: token, env: LIVE_TOKEN}
`, reg.Host()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "lapstrake", append([]string{"build"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir(), "BUILDKIT_HOST="+daemon.Addr(), "LIVE_TOKEN=hunter2hunter2", "TERM=xterm-256color", "TZ=UTC", "GITHUB_ACTIONS=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = x.TTY, x.TTY, x.TTY
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// stopped waits for the program, which must say that it can go on.
func stopped(t *testing.T, x *screentest.Terminal, cmd *exec.Cmd) {
	t.Helper()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("the program ended with %v", err)
	}
	x.Restored()
	x.Wait("run the same command again to go on", "0 of 2 images in place, 2 to go")
	if strings.Contains(x.All(), "hunter2hunter2") {
		t.Error("the secret was on the screen")
	}
}

// The keys reach a real run: pause, the log, another size, and a quit that is an
// interrupt.
func TestLiveView(t *testing.T) {
	x := screentest.New(t, 100, 30)
	cmd := watchedBuild(t, x)
	x.Wait("watched", "0 of 2 in place", "1 solving", "1 waiting", "RUN --mount", "q stop")
	x.Type("p")
	x.Wait("PAUSED: nothing more starts", "p go on")
	x.Type("p")
	x.Wait("!PAUSED", "p pause")
	x.Type("\r")
	x.Wait("the token is ***, ", "esc back")
	x.Resize(60, 12)
	x.Wait("the token is ***, ", "esc back")
	x.Type("\x1b")
	x.Wait("0 of 2 in place", "1 solving", "q stop")
	x.Type("q")
	stopped(t, x, cmd)
}

// What ends the program in another way gives the terminal back, too.
func TestLiveViewTerminated(t *testing.T) {
	x := screentest.New(t, 80, 24)
	cmd := watchedBuild(t, x, "--progress=tty")
	x.Wait("1 solving")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	stopped(t, x, cmd)
}

// On a terminal that cannot be drawn on there are lines.
func TestPlainOnATerminal(t *testing.T) {
	x := screentest.New(t, 100, 30)
	cmd := watchedBuild(t, x, "--progress=plain")
	x.Wait("images 0 of 2, 1 running")
	x.Type("\x03")
	stopped(t, x, cmd)
}
