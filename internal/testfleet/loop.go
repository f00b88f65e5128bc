package testfleet

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Loop returns a folder on an ext4 file system of its own, of that many bytes
// (its own tables included), which is gone after the test. It skips the test
// without root. Needs mkfs.ext4, which `make test` installs.
func Loop(t testing.TB, size int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("mounting a file system needs %s", tool)
		}
	}
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) ([]byte, error) { return exec.Command(args[0], args[1:]...).CombinedOutput() }
	// No reserved blocks: what statfs says is free can be used.
	if out, err := run("mkfs.ext4", "-q", "-F", "-m", "0", image); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	if out, err := run("mount", "-o", "loop", image, at); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		// A test may have unmounted it.
		if out, err := run("umount", at); err != nil && !bytes.Contains(out, []byte("not mounted")) {
			t.Errorf("umount: %v: %s", err, out)
			_, _ = run("umount", "-l", at)
		}
	})
	return at
}
