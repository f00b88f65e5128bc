package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

const cgroupRoot = "/sys/fs/cgroup"

// pollKill is the pause between rounds of killing, and between attempts to
// remove a group whose last process is on its way out.
const pollKill = 5 * time.Millisecond

// cgroup is the control group of one daemon. The daemon is in its child
// "daemon" and steps are put into other children by runc, because in version 2
// a group with children that are limited may have no processes of its own.
//
// With version 1 there is a hierarchy per controller. runc puts steps into all
// of them under the same name; the daemon is put into one, which is enough to
// find and kill everything.
type cgroup struct {
	track string   // the group's folder in the hierarchy that is looked at
	all   []string // its folder in every hierarchy, track included
}

// groupPrefix begins the name of every daemon's group. One that is older than
// sweepAge and has no process belonged to a program that was killed.
const (
	groupPrefix = "lapstrake-"
	sweepAge    = time.Minute
)

// newCgroup finds the hierarchies; it makes nothing.
func newCgroup(name string) (*cgroup, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err != nil {
		return nil, fmt.Errorf("control groups: %s: %w", cgroupRoot, err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		dir := filepath.Join(cgroupRoot, name)
		return &cgroup{track: dir, all: []string{dir}}, nil
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "cgroup" && m.FSType != "cgroup2", false
	})
	if err != nil {
		return nil, fmt.Errorf("control groups: %w", err)
	}
	c := &cgroup{}
	for _, m := range mounts {
		c.all = append(c.all, filepath.Join(m.Mountpoint, name))
	}
	// Any controller will do that holds processes without being set up first,
	// as cpuset must be.
	for _, want := range []string{"pids", "freezer", "devices", "memory", "systemd"} {
		for _, m := range mounts {
			if c.track == "" && m.FSType == "cgroup" && filepath.Base(m.Mountpoint) == want {
				c.track = filepath.Join(m.Mountpoint, name)
			}
		}
	}
	if c.track == "" {
		return nil, diag.Errorf(diag.Infra, "mount cgroup2 at "+cgroupRoot+"; in a container, run it privileged",
			"control groups: none is mounted below %s", cgroupRoot)
	}
	return c, nil
}

// add puts the daemon into the group.
func (c *cgroup) add(pid int) error {
	dir := filepath.Join(c.track, "daemon")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return diag.Errorf(diag.Infra, "in a container, run it privileged", "control group: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	return nil
}

// pids lists the processes of the group and its descendants.
func (c *cgroup) pids() []int {
	var out []int
	filepath.WalkDir(c.track, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // a step's group may vanish while it is looked at
		}
		data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, f := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
				out = append(out, pid)
			}
		}
		return nil
	})
	return out
}

// kill ends every process of the group and returns when none is left.
func (c *cgroup) kill(ctx context.Context) error {
	tick := time.NewTicker(pollKill)
	defer tick.Stop()
	for {
		// Version 2 has one file that also catches what is being forked.
		os.WriteFile(filepath.Join(c.track, "cgroup.kill"), []byte("1"), 0)
		left := slices.DeleteFunc(c.pids(), zombie)
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			unix.Kill(pid, unix.SIGKILL)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("processes %v do not end: %w", left, ctx.Err())
		}
	}
}

// remove deletes the group in every hierarchy. It must be empty; the last
// processes may take that long to leave it.
func (c *cgroup) remove(within time.Duration) error {
	deadline := time.Now().Add(within)
	var errs []error
	for _, dir := range c.all {
		for {
			err := removeTree(dir)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				errs = append(errs, fmt.Errorf("remove the control group: %w", err))
				break
			}
			time.Sleep(pollKill)
		}
	}
	return errors.Join(errs...)
}

// sweep removes groups of daemons on folders that nobody came back to. Only the
// hierarchy that is looked at says whether a daemon lives; a young group may be
// one that its daemon is about to enter. Failure is harmless: it is tried again
// at the next start.
func (c *cgroup) sweep(prefix string, age time.Duration) {
	found, _ := filepath.Glob(filepath.Join(filepath.Dir(c.track), prefix+"*"))
	for _, dir := range found {
		st, err := os.Stat(dir)
		if err != nil || time.Since(st.ModTime()) < age {
			continue
		}
		other := &cgroup{track: dir}
		for _, all := range c.all {
			other.all = append(other.all, filepath.Join(filepath.Dir(all), filepath.Base(dir)))
		}
		if len(other.pids()) == 0 {
			for _, d := range other.all {
				_ = removeTree(d)
			}
		}
	}
}

// removeTree removes a group's folders from the leaves up; their files are the
// kernel's and go with them.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// zombie tells whether pid has ended and only waits to be reaped, for which
// nobody may be there in a container.
func zombie(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	// The state follows the command, which is in parentheses and may hold any character.
	_, rest, ok := strings.Cut(string(data[max(0, strings.LastIndexByte(string(data), ')')):]), ") ")
	return ok && (strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X"))
}
