package record

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/archive"
)

// manifest writes a manifest of lines.
func manifest(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manifest.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	lineA    = `{"time":"2026-03-20T08:00:31Z","base_image":"a","tags":["r:a"],"status":"built","attempt_count":3,"started_at":"2026-03-20T08:00:00.5Z","finished_at":"2026-03-20T08:00:30Z"}`
	lineB    = `{"time":"2026-03-20T08:01:31Z","base_image":"b","tags":[],"error":"no","log_path":"/logs/b","status":"failed","started_at":"2026-03-20T08:00:10Z","finished_at":"2026-03-20T08:01:00Z"}`
	lineC    = `{"time":"2026-03-20T08:02:31Z","base_image":"a","tags":["r:c"],"status":"skipped_remote_exists","started_at":"2026-03-20T08:02:00Z","finished_at":"2026-03-20T08:02:01Z"}`
	lineOld  = `{"time":"2026-02-20T08:02:00Z","base_image":"a","tags":["r:a"]}`
	lineOld2 = `{"time":"2026-02-20T08:01:00Z","base_image":"b","tags":["r:b"]}`
)

// TestImport holds that a manifest becomes a run with its own times: phases are
// whether a build was under way, and figures that nobody saw are null.
func TestImport(t *testing.T) {
	state := t.TempDir()
	out, err := Import(state, []string{manifest(t, lineB, lineA, lineC), manifest(t, lineOld, lineOld2)})
	if err != nil || len(out) != 2 {
		t.Fatal(out, err)
	}
	var got []string
	for e, err := range runlog.Read(out[0].Dir) {
		if err != nil {
			t.Fatal(err)
		}
		var d struct{ Phase string }
		_ = e.Decode(&d)
		got = append(got, strings.Join([]string{e.Wall.Format("15:04:05.0"), e.Mono.String(), string(e.Kind), e.Unit, d.Phase}, " "))
	}
	want := []string{
		"08:00:00.5 0s run.started  ", "08:00:00.5 0s note  ", "08:00:00.5 0s phase.started  between",
		"08:00:00.5 0s phase.ended  between", "08:00:00.5 0s phase.started  images", "08:00:00.5 0s unit.started a ",
		"08:00:10.0 9.5s unit.started b ", "08:00:30.0 29.5s unit.published a ", "08:01:00.0 59.5s unit.failed b ", "08:01:00.0 59.5s phase.ended  images",
		"08:01:00.0 59.5s phase.started  between", "08:02:00.0 1m59.5s phase.ended  between", "08:02:00.0 1m59.5s phase.started  images", "08:02:00.0 1m59.5s unit.started a#2 ",
		"08:02:01.0 2m0.5s unit.skipped a#2 ", "08:02:01.0 2m0.5s phase.ended  images", "08:02:01.0 2m0.5s phase.started  between", "08:02:01.0 2m0.5s phase.ended  between",
		"08:02:01.0 2m0.5s run.ended  ",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	s := out[0].Summary
	if s.Images != 3 || s.Built != 1 || s.Failed != 1 || s.Skipped != 1 || out[0].Exit != diag.Step.ExitCode() || s.Units["a"].Attempts != 3 {
		t.Errorf("%+v", s)
	}
	if s.StepsExecuted != nil || s.StepsDistinct != nil || s.BytesPulled != nil || s.Rework != nil || s.DiskPeakBytes != nil || s.Requests != nil || s.Temperature != nil && s.Temperature.Cold+s.Temperature.Warm+s.Temperature.Partial > 0 {
		t.Errorf("what nobody saw is not null: %+v", s)
	}
	if f := s.Failures[0]; f.Cause != "no" || f.Help != "its log was /logs/b, where it was built" {
		t.Errorf("%+v", f)
	}

	// Runs stand where they belong, and those of the first generation have neither
	// phases nor beginnings.
	runs, err := archive.List(state)
	if err != nil || len(runs) != 2 || runs[0].ID != out[0].Run || runs[1].ID != out[1].Run || runs[0].Comparable() {
		t.Errorf("%v %v", runs, err)
	}
	old := out[1].Summary
	if len(old.PhaseSeconds) != 0 || *old.WallSeconds != 60 || !old.Started.Equal(time.Date(2026, 2, 20, 8, 1, 0, 0, time.UTC)) || len(old.Notes) != 3 || out[1].Exit != 0 {
		t.Errorf("%+v", old)
	}
	if u := old.Units["a"]; u.State != summary.Published || u.Attempts != 0 {
		t.Errorf("%+v", u)
	}
	if p, err := runs[0].Planned(); err != nil || len(p.Units) != 3 || p.Units[2].Base != "a" {
		t.Errorf("%+v %v", p, err)
	}
}

// TestImportNothing holds that a wrong file, or one that is there, begins no run.
func TestImportNothing(t *testing.T) {
	state := t.TempDir()
	good := manifest(t, lineA)
	for name, paths := range map[string][]string{
		"bad":    {good, manifest(t, `{}`)},
		"absent": {good, "/nowhere"},
		"twice":  {good, manifest(t, lineA)},
	} {
		if out, err := Import(state, paths); err == nil || len(out) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if runs, err := archive.List(state); len(runs) > 0 || err != nil {
		t.Errorf("%v %v", runs, err)
	}
	if _, err := Import(state, []string{good}); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(state, []string{good}); diag.KindOf(err) != diag.Usage || !strings.Contains(err.Error(), "was imported already") {
		t.Error(err)
	}
}

// TestCause keeps the end of a long text.
func TestCause(t *testing.T) {
	if got := cause(" \n"); got != "the manifest gives no reason" {
		t.Error(got)
	}
	if got := cause(strings.Repeat("é", maxCause) + "the end\n"); len(got) > maxCause+len("…") || !strings.HasSuffix(got, "the end") || !strings.HasPrefix(got, "…é") {
		t.Errorf("%d bytes: %.20s", len(got), got)
	}
}
