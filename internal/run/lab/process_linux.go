package lab

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// withParent makes a process end with this one. The daemon that it started ends
// with it in turn.
func withParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// unmount takes a mount away; what is still in use goes with its last user.
func unmount(path string) { _ = unix.Unmount(path, unix.MNT_DETACH) }
