package worker

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestOrphanDoesNothing starts what becomes the daemon and says nothing to it,
// as when the program is killed before it could: it must end, and not become
// anything. With the word it becomes what it was given.
func TestOrphanDoesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("namespaces need root")
	}
	for _, tt := range []struct {
		name, said string
		want       bool
	}{
		{name: "killed parent", said: "", want: false},
		{name: "living parent", said: "go\n", want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			made := filepath.Join(t.TempDir(), "made")
			cmd := exec.Command("/bin/sh", "-c", becomeDaemon, "sh", "touch", made)
			cmd.Stdin = strings.NewReader(tt.said)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
			out, err := cmd.CombinedOutput()
			_, stat := os.Stat(made)
			if got := stat == nil; got != tt.want || (err == nil) != tt.want {
				t.Errorf("became something: %t, %v: %s", got, err, out)
			}
		})
	}
}
