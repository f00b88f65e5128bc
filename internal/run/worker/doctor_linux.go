package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// minFree is the free space in bytes below which hardly a fleet gets through.
const minFree = 2 << 30

func doctor(ctx context.Context, opt Options) []Finding {
	root := Finding{Name: "root", OK: os.Geteuid() == 0, Found: fmt.Sprintf("uid %d", os.Geteuid())}
	if !root.OK {
		root.Missing, root.Fix = "root, for mounts and containers", "sudo lapstrake …, or --worker ADDRESS"
	}
	out := []Finding{{Name: "system", OK: true, Found: "linux " + kernel()}, root, daemonBinary(ctx, opt.Buildkitd)}
	out = append(out, runtimeBinary(ctx, opt.Runc)...)
	dir := existing(opt.State)
	for _, f := range []Finding{groups(), overlay(dir)} {
		if !f.OK && !root.OK {
			f.Fix = "become root first; this may need nothing else"
		}
		out = append(out, f)
	}
	return append(out, disk(dir), loop())
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// existing is the nearest folder of path that exists.
func existing(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return "/"
	}
	for {
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			return path
		}
		if path == "/" {
			return path
		}
		path = filepath.Dir(path)
	}
}

// groups makes a control group and removes it.
func groups() Finding {
	f := Finding{Name: "cgroup", Fix: "in a container, run it privileged; elsewhere, mount -t cgroup2 cgroup2 " + cgroupRoot}
	c, err := newCgroup(fmt.Sprintf("lapstrake-doctor-%d", os.Getpid()))
	if err != nil {
		f.Missing, f.Fix = err.Error(), first(diag.HelpOf(err), f.Fix)
		return f
	}
	if err := os.Mkdir(c.track, 0o755); err != nil {
		f.Missing = err.Error()
		return f
	}
	if err := c.remove(stopRemove); err != nil {
		f.Missing = err.Error()
		return f
	}
	version := "version 2"
	if filepath.Dir(c.track) != cgroupRoot {
		version = "version 1"
	}
	return Finding{Name: "cgroup", OK: true, Found: version}
}

func first(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

// overlay mounts one on the file system of dir: not every kernel has it, and
// not every file system can hold its upper layer.
func overlay(dir string) Finding {
	f := Finding{Name: "overlayfs", Fix: "put --state on ext4, xfs or btrfs; in a container, on a volume"}
	tmp, err := os.MkdirTemp(dir, ".lapstrake-doctor-")
	if err != nil {
		f.Missing = err.Error()
		return f
	}
	defer os.RemoveAll(tmp)
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(tmp, d), 0o700); err != nil {
			f.Missing = err.Error()
			return f
		}
	}
	merged := filepath.Join(tmp, "merged")
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", tmp)
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		f.Missing = fmt.Sprintf("overlay on %s: %v", dir, err)
		return f
	}
	if err := unix.Unmount(merged, unix.MNT_DETACH); err != nil {
		f.Missing = fmt.Sprintf("unmount %s: %v", merged, err)
		return f
	}
	return Finding{Name: "overlayfs", OK: true, Found: "works on " + dir}
}

func disk(dir string) Finding {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Finding{Name: "disk", Missing: fmt.Sprintf("%s: %v", dir, err), Fix: "choose another --state folder"}
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	f := Finding{Name: "disk", OK: free >= minFree, Found: fmt.Sprintf("%.1f GiB free on %s", gib(free), dir)}
	if !f.OK {
		f.Missing, f.Fix = fmt.Sprintf("room: a fleet hardly gets through with less than %.0f GiB", gib(minFree)), "free some, or choose a --state folder on another disk"
	}
	return f
}

// loop is what tests mount disks of a chosen size with.
func loop() Finding {
	f := Finding{Name: "loop", OK: true, Optional: true, Found: "/dev/loop-control"}
	if _, err := os.Stat(f.Found); err != nil {
		f = Finding{Name: "loop", Optional: true, Missing: err.Error(), Fix: "modprobe loop"}
	}
	return f
}
