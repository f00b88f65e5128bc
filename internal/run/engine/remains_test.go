//go:build linux

package engine_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// killWithin bounds the death of processes that the kernel was told to kill.
const killWithin = 30 * time.Second

// awaitNothing returns when no process works in the state folder any more, and
// fails the test when one lives on or a mount below the folder is left.
func awaitNothing(t *testing.T, state string) {
	t.Helper()
	deadline := time.Now().Add(killWithin)
	for {
		pids := workers(state)
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			if err := awaitEnd(pid, time.Until(deadline)); err != nil {
				command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				t.Fatalf("process %d lives on in %s: %v: %q", pid, state, err, command)
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " "+state+"/") {
			t.Errorf("a mount is left: %s", line)
		}
	}
}

// workers lists the processes that name the folder in their arguments, or see
// something below it mounted: daemons, runtimes and steps. Dead ones that nobody
// has reaped have neither.
func workers(state string) []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []int
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		for _, name := range []string{"cmdline", "mountinfo"} {
			if data, err := os.ReadFile(filepath.Join(dir, name)); err == nil && bytes.Contains(data, []byte(state+"/")) {
				out = append(out, pid)
				break
			}
		}
	}
	return out
}

// awaitEnd returns when a process has ended.
func awaitEnd(pid int, within time.Duration) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(0, within.Milliseconds())))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("not ended after %v", within)
		}
		return nil
	}
}
