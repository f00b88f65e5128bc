package explain

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGrown(t *testing.T) {
	old := map[string]int64{"usr/lib/python3/a.py": 10, "usr/lib/python3/x/b.py": 5, "etc/conf": 3, "same/file": 7, "top": 1}
	now := map[string]int64{"usr/lib/python3/a.py": 10, "usr/lib/python3/x/c.py": 500, "opt/agent/bin/agent": 90, "same/moved": 7, "top": 1}
	want := []Growth{{"usr/lib/python3", 15, 510}, {"opt/agent/bin", 0, 90}, {"etc", 3, 0}}
	if d := cmp.Diff(want, Grown(old, now)); d != "" {
		t.Error(d)
	}
	if got := Grown(old, old); len(got) != 0 {
		t.Errorf("an image grew against itself: %v", got)
	}
}
