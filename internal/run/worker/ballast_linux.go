package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// ballastSize is enough for a daemon's databases to be rewritten a few times
	// over: they are copied on write.
	ballastSize = 48 << 20
	// ballastParts is the part of a small file system that the ballast may take:
	// 3 of a hundred.
	ballastParts = 3
)

// ballast is the file that only takes room.
type ballast struct {
	path string
	mu   sync.Mutex
}

// room is what the file system of the ballast says.
type room struct{ total, free int64 }

// size is that of the ballast on such a file system, whole blocks of 4 KiB.
func (r room) size() int64 { return min(ballastSize, r.total/100*ballastParts) &^ 4095 }

func (b *ballast) room() (room, error) {
	dir := filepath.Dir(b.path)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return room{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return room{total: int64(st.Blocks) * st.Bsize, free: int64(st.Bavail) * st.Bsize}, nil
}

// makeWay frees the ballast when hardly anything else is free.
func (b *ballast) makeWay() error {
	r, err := b.room()
	if err == nil && r.free < r.size() {
		_, err = b.free()
	}
	return err
}

// free deletes the file.
func (b *ballast) free() (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.held()
	if err := os.Remove(b.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("free the ballast: %w", err)
	}
	return n, nil
}

// held is the number of bytes that the file takes; 0 when there is none.
func (b *ballast) held() int64 {
	var st unix.Stat_t
	if unix.Stat(b.path, &st) != nil {
		return 0
	}
	return st.Blocks * 512
}

// lacks is the number of bytes by which the file is too small; 0 when that cannot
// be known.
func (b *ballast) lacks() int64 {
	r, err := b.room()
	if err != nil {
		return 0
	}
	return max(0, r.size()-b.held())
}

// make makes the file when it is not there, or not whole, and there is room.
func (b *ballast) make() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, err := b.room()
	if err != nil {
		return err
	}
	size, has := r.size(), b.held()
	if has >= size || r.free+has < 2*size {
		return nil
	}
	if err := allocate(b.path, size); err != nil {
		os.Remove(b.path)
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			return nil // somebody was faster
		}
		return fmt.Errorf("make the ballast: %w", err)
	}
	return nil
}

// allocate makes a file that really takes size bytes.
func allocate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return fill(f, size)
	}
	if err != nil {
		return &fs.PathError{Op: "fallocate", Path: path, Err: err}
	}
	return nil
}

// fill writes what fallocate would only reserve.
func fill(f *os.File, size int64) error {
	block := bytes.Repeat([]byte{0xa5}, 1<<20)
	for size > 0 {
		n, err := f.Write(block[:min(size, int64(len(block)))])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return f.Sync()
}
