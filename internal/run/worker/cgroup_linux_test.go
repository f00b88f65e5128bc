package worker

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestSweep(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("control groups need root")
	}
	const prefix = "lapstraketest-"
	dead, err := newCgroup(prefix + "dead")
	if err != nil {
		t.Fatal(err)
	}
	live, err := newCgroup(prefix + "live")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if err := live.remove(stopRemove); err != nil {
			t.Error(err)
		}
	})
	if err := live.add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	// As a step leaves them: in every hierarchy, with children.
	for _, dir := range dead.all {
		if err := os.MkdirAll(filepath.Join(dir, "buildkit", "step"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	exists := func(c *cgroup) (n int) {
		for _, dir := range c.all {
			if _, err := os.Stat(dir); err == nil {
				n++
			}
		}
		return n
	}
	dead.sweep(prefix, time.Hour)
	if n := exists(dead); n != len(dead.all) {
		t.Errorf("a young group is left in %d of %d hierarchies", n, len(dead.all))
	}
	dead.sweep(prefix, 0)
	if n := exists(dead); n != 0 {
		t.Errorf("a dead group is left in %d hierarchies", n)
	}
	if len(live.pids()) != 1 {
		t.Errorf("a live group has processes %v", live.pids())
	}
}
