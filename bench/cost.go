package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// cost is what a contender used.
type cost struct {
	// cpu is the time of client and daemon, client that of the client alone.
	cpu, client time.Duration
	// disk is what the daemon's folder takes at the end.
	disk     int64
	versions map[string]string
	// What a journal says: its size, the most that was in use above what was
	// there at first, and how long releases ran with nothing beside them.
	journal, grew int64
	releasing     time.Duration
}

// finish runs a command and returns its output and the CPU time that it used
// itself, without that of its children.
func finish(cmd *exec.Cmd) (out []byte, cpu time.Duration, err error) {
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	// Until it is waited for, what has ended still tells what it used.
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	cpu, _ = cpuOf(cmd.Process.Pid)
	err = cmd.Wait()
	return buf.Bytes(), cpu, err
}

// cpuOf is the CPU time of a process, and of the children that it waited for.
func cpuOf(pid int) (own, children time.Duration) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	ticks := func(i int) time.Duration {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		return time.Duration(n) * time.Second / 100
	}
	return ticks(11) + ticks(12), ticks(13) + ticks(14)
}

func selfCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// read takes what the journal of the last run in a state folder says.
func (c *cost) read(state string) error {
	run, ok, err := runlog.Latest(state, func(runlog.Info) bool { return true })
	if err != nil || !ok {
		return fmt.Errorf("no run in %s: %w", state, err)
	}
	dir := runlog.Dir(state, run.ID)
	info, err := os.Stat(dir + "/journal.jsonl")
	if err != nil {
		return err
	}
	c.journal = info.Size()
	first := int64(-1)
	working, releasing := 0, 0
	var last time.Duration
	for e, err := range runlog.Read(dir) {
		if err != nil {
			return err
		}
		if working == 0 && releasing > 0 {
			c.releasing += e.Mono - last
		}
		last = e.Mono
		switch e.Kind {
		case journal.UnitStarted, journal.SharedStarted:
			working++
		case journal.UnitPublished, journal.UnitFailed, journal.UnitRetried, journal.SharedReady, journal.SharedFailed:
			working--
		case journal.Releasing:
			releasing++
		case journal.Released:
			releasing--
		case journal.Disk:
			var d journal.DiskData
			if err := e.Decode(&d); err != nil {
				return err
			}
			if first < 0 {
				first = d.Used
			}
			c.grew = max(c.grew, d.Used-first)
		}
	}
	return nil
}
