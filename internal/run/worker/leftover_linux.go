package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// clearLeftovers ends what an earlier daemon of the same folder left when it,
// or the program that started it, was killed: processes in its group, processes
// found by name when the group is gone, mounts, sockets and temporary files.
func clearLeftovers(ctx context.Context, p paths, c *cgroup) error {
	ctx, cancel := context.WithTimeout(ctx, killGrace)
	defer cancel()
	if err := c.kill(ctx); err != nil {
		return err
	}
	if err := killOwners(ctx, p.root); err != nil {
		return err
	}
	return errors.Join(
		unmountBelow(p.root), unmountBelow(p.temp),
		c.remove(killGrace),
		os.RemoveAll(p.sockets), os.RemoveAll(p.temp),
	)
}

// killOwners ends daemons that have root as their root folder, and steps whose
// file system lies in it.
func killOwners(ctx context.Context, root string) error {
	tick := time.NewTicker(pollKill)
	defer tick.Stop()
	for {
		left := owners(root)
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			unix.Kill(pid, unix.SIGKILL)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("processes %v use %s and do not end: %w", left, root, ctx.Err())
		}
	}
}

func owners(root string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || zombie(pid) {
			continue
		}
		if servesRoot(pid, root) || livesIn(pid, root) {
			out = append(out, pid)
		}
	}
	return out
}

func servesRoot(pid int, root string) bool {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(string(data), "\x00")
	i := slices.Index(args, "--root")
	return i >= 0 && i+1 < len(args) && args[i+1] == root && filepath.Base(args[0]) == "buildkitd"
}

// livesIn looks at what is mounted at / for the process.
func livesIn(pid int, root string) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return false
	}
	defer f.Close()
	infos, err := mountinfo.GetMountsFromReader(f, mountinfo.SingleEntryFilter("/"))
	if err != nil || len(infos) == 0 {
		return false
	}
	return strings.Contains(infos[0].VFSOptions, "="+root+"/")
}

// unmountBelow unmounts everything strictly below dir, the last mounted first.
func unmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("mounts below %s: %w", dir, err)
	}
	var errs []error
	for _, m := range slices.Backward(mounts) {
		if m.Mountpoint == dir {
			continue
		}
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, &os.PathError{Op: "unmount", Path: m.Mountpoint, Err: err})
		}
	}
	return errors.Join(errs...)
}
