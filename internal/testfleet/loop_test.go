package testfleet

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestLoop(t *testing.T) {
	const size = 32 << 20
	var at string
	t.Run("mounted", func(t *testing.T) {
		at = Loop(t, size)
		var s syscall.Statfs_t
		if err := syscall.Statfs(at, &s); err != nil {
			t.Fatal(err)
		}
		if total := int64(s.Blocks) * int64(s.Bsize); total < size*7/10 || total > size {
			t.Errorf("%d bytes, want about %d", total, size)
		}
		err := os.WriteFile(filepath.Join(at, "big"), make([]byte, size), 0o600)
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("writing all of it: %v, want no space left", err)
		}
	})
	if at == "" {
		t.Skip("not mounted")
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), at) {
		t.Errorf("%s is still mounted", at)
	}
}
