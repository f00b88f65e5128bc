package runlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// On a full disk an event is in the journal whole or not at all, and appending
// goes on as soon as there is space.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	state := t.TempDir()
	must(t, syscall.Mount("tmpfs", state, "tmpfs", 0, "size=256k"))
	t.Cleanup(func() { syscall.Unmount(state, syscall.MNT_DETACH) })
	filler := filepath.Join(state, "filler")
	must(t, os.WriteFile(filler, make([]byte, 64<<10), 0o600))
	r := create(t, state, "one")
	must(t, r.WriteFile("plan.json", []byte("old")))

	big := strings.Repeat("x", 5000)
	wrote := int64(0)
	var err error
	for wrote < 1000 {
		if err = r.AppendDurable(note(big)); err != nil {
			break
		}
		wrote++
	}
	if !errors.Is(err, syscall.ENOSPC) || diag.KindOf(err) != diag.Infra || diag.HelpOf(err) == "" {
		t.Fatalf("after %d events: %v", wrote, err)
	}
	if err := r.WriteFile("plan.json", make([]byte, 100<<10)); diag.KindOf(err) != diag.Infra {
		t.Errorf("write file: %v", err)
	}
	if data, _ := os.ReadFile(filepath.Join(r.Dir(), "plan.json")); string(data) != "old" {
		t.Errorf("a file that could not be replaced has %d bytes", len(data))
	}
	check := func(want int64) {
		t.Helper()
		events, errs := read(t, r.Dir())
		if errs != nil || int64(len(events)) != want {
			t.Fatalf("%d events, want %d; %v", len(events), want, errs)
		}
	}
	check(wrote)
	must(t, os.Remove(filler))
	must(t, r.AppendDurable(note(big)))
	must(t, r.Close())
	check(wrote + 1)
}
