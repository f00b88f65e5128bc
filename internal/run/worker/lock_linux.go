package worker

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

const (
	// lockName is the file in a state folder that a daemon's owner locks, and in
	// which it says who it is.
	lockName = "lock"
	// lockTries bounds the wait for one who only looks who has the lock.
	lockTries = 10
	lockPause = 10 * time.Millisecond
)

// takeLock locks path for this process's life; the kernel lets go when the
// process ends however it ends.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "lock the state folder", err)
	}
	for try := 1; ; try++ {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || try == lockTries {
			break
		}
		time.Sleep(lockPause)
	}
	if err == nil {
		return f, nil
	}
	defer f.Close()
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, diag.Wrap(diag.Infra, "lock "+path, err)
	}
	h := readHolder(path)
	help := "wait for it to end, or give this run a --state folder of its own"
	if h.Shared {
		help = "use it with --worker " + h.Address + ", or end it"
	}
	return nil, diag.Errorf(diag.Infra, help, "state folder %s is in use by %s", filepath.Dir(path), h)
}

// held tries a shared lock, which the owner's excludes.
func held(state string) (Holder, bool, error) {
	path := filepath.Join(state, lockName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Holder{}, false, nil
	}
	if err != nil {
		return Holder{}, false, diag.Wrap(diag.Infra, "look who uses the state folder", err)
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	switch {
	case err == nil:
		return Holder{}, false, nil
	case !errors.Is(err, unix.EWOULDBLOCK):
		return Holder{}, false, diag.Wrap(diag.Infra, "look who uses the state folder", &os.PathError{Op: "lock", Path: path, Err: err})
	}
	return readHolder(path), true, nil
}

// newHolder describes this process.
func newHolder(p paths, opt Options) Holder {
	words := []string{filepath.Base(os.Args[0])}
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(a, "-") {
			break
		}
		words = append(words, a)
	}
	return Holder{PID: os.Getpid(), Command: strings.Join(words, " "), Address: p.address(), Shared: opt.Shared}
}

// writeHolder says in the lock's file who has it.
func writeHolder(f *os.File, h Holder) error {
	data, err := json.Marshal(h)
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(append(data, '\n'), 0)
	}
	return err
}

// readHolder reads what the owner wrote; what is not there stays empty, as when
// the owner is about to write.
func readHolder(path string) Holder {
	var h Holder
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &h) != nil {
		return Holder{}
	}
	return h
}
