package check_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/run/check"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "here")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nbasename \"$PWD\" && test \"$1\" = 'two words'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	base := filepath.Base(dir)
	tests := map[string]struct {
		command []string
		want    gate.Result
	}{
		"holds":         {[]string{"true"}, gate.Result{Status: gate.Pass}},
		"does not":      {[]string{"sh", "-c", "echo first; echo last >&2; echo; exit 1"}, gate.Result{Status: gate.Fail, Detail: "last"}},
		"says so":       {[]string{"sh", "-c", "echo no interpreter; exit 2"}, gate.Result{Status: gate.Unknown, Detail: "no interpreter"}},
		"says nothing":  {[]string{"sh", "-c", "exit 3"}, gate.Result{Status: gate.Unknown, Detail: "exit status 3"}},
		"killed":        {[]string{"sh", "-c", "kill -9 $$"}, gate.Result{Status: gate.Unknown, Detail: "signal: killed"}},
		"in its folder": {[]string{"./here", "two words"}, gate.Result{Status: gate.Pass, Detail: base}},
		"as told":       {[]string{"./here", "two", "words"}, gate.Result{Status: gate.Fail, Detail: base}},
	}
	t.Chdir(filepath.Dir(dir))
	var checks []experiment.Claim
	want := map[string]gate.Result{}
	for name, tt := range tests {
		checks = append(checks, experiment.Claim{Name: name, Command: tt.command})
		want[name] = tt.want
	}
	got, err := check.Run(t.Context(), base, checks, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestNotRun: what cannot be run, or takes too long, is not known; its children
// end with it.
func TestNotRun(t *testing.T) {
	got, err := check.Run(t.Context(), t.TempDir(), []experiment.Claim{
		{Name: "absent", Command: []string{"./absent"}},
		{Name: "unknown", Command: []string{"no-such-program-anywhere"}},
	}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range got {
		if r.Status != gate.Unknown || r.Detail == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if len(got) != 2 {
		t.Errorf("%d results", len(got))
	}
	got, err = check.Run(t.Context(), t.TempDir(), []experiment.Claim{{Name: "slow", Command: []string{"sh", "-c", "tail -f /dev/null"}}}, 50*time.Millisecond)
	if r := got["slow"]; err != nil || r.Status != gate.Unknown || !strings.Contains(r.Detail, "longer than 50ms") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := check.Run(ctx, t.TempDir(), []experiment.Claim{{Name: "a", Command: []string{"true"}}}, time.Minute)
	if diag.KindOf(err) != diag.Interrupted {
		t.Errorf("%v", err)
	}
}
