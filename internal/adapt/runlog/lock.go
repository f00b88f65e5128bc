package runlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// takeLock locks a run for this process; the kernel unlocks it when the process
// dies. The file's content is only for people: whose lock it is.
func takeLock(dir, id string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "lock run "+id, err)
	}
	// List holds the lock for an instant to see whether it is free.
	for try := 0; ; try++ {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || try == 5 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		owner := "another process"
		if pid := lockOwner(f.Name()); pid > 0 {
			owner = "pid " + strconv.Itoa(pid)
		}
		f.Close()
		return nil, diag.Errorf(diag.Infra, "wait for it, or stop it", "run %s is in use by %s", id, owner)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, diag.Wrap(diag.Infra, "lock run "+id, err)
	}
	return f, nil
}

// lockOwner is the process that wrote the lock file last, 0 when unknown.
func lockOwner(path string) int {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return pid
}

// inUse tells whether a process holds the lock of a run.
func inUse(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
