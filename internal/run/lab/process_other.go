//go:build !linux

package lab

import "syscall"

// withParent makes a process end with this one where the system can.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// unmount does nothing where no daemon runs.
func unmount(string) {}
