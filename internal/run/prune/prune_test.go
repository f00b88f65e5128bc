package prune_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/prune"
)

// state is a state folder with one old and one new thing of each kind but runs.
func state(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{"old": 40 * 24 * time.Hour, "new": 0} {
		at := time.Now().Add(-age)
		for _, path := range []string{filepath.Join(prune.Sources, name), filepath.Join(prune.Mirrors, name)} {
			write(t, filepath.Join(dir, path, "file"), "1234", time.Now())
			write(t, filepath.Join(dir, path+".used"), "", at)
		}
		write(t, filepath.Join(dir, prune.Facts, name), "123", at)
	}
	return dir
}

func write(t *testing.T, path, text string, at time.Time) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err == nil {
		err = os.Chtimes(path, at, at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run records a run of one event.
func run(t *testing.T, state, id string) *runlog.Run {
	t.Helper()
	r, err := runlog.Options{}.Create(state, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Append(journal.Event{Kind: journal.RunStarted, Data: []byte(`{"fleet":"a@0"}`)}); err != nil {
		t.Fatal(err)
	}
	return r
}

// left lists what is in the folders of a state folder.
func left(t *testing.T, state string) (out []string) {
	t.Helper()
	for _, pattern := range []string{"sources/*", "git/*", "facts/*", "runs/*"} {
		found, err := filepath.Glob(filepath.Join(state, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if rel, _ := filepath.Rel(state, f); filepath.Ext(f) != ".used" {
				out = append(out, rel)
			}
		}
	}
	return out
}

// all is a time before which everything was used.
func all() time.Time { return time.Now().Add(time.Hour) }

func TestPrune(t *testing.T) {
	month := time.Now().Add(-prune.Unused)
	for _, tt := range []struct {
		name string
		o    prune.Options
		live bool // a run goes on
		want []prune.Pruned
		left []string
	}{
		{"what nothing used", prune.Options{Before: month}, false,
			[]prune.Pruned{{"sources", 1, 4, 1}, {"git", 1, 4, 1}, {"facts", 1, 3, 1}}, []string{"sources/new", "git/new", "facts/new", "runs/1", "runs/2"}},
		{"dry", prune.Options{Before: all(), Dry: true, Runs: true}, false,
			[]prune.Pruned{{"sources", 2, 8, 0}, {"git", 2, 8, 0}, {"facts", 2, 6, 0}, {"runs", 2, 0, 0}},
			[]string{"sources/new", "sources/old", "git/new", "git/old", "facts/new", "facts/old", "runs/1", "runs/2"}},
		{"runs too", prune.Options{Before: all(), Runs: true}, false,
			[]prune.Pruned{{"sources", 2, 8, 0}, {"git", 2, 8, 0}, {"facts", 2, 6, 0}, {"runs", 2, 0, 0}}, nil},
		{"beside a run", prune.Options{Before: all(), Runs: true}, true,
			[]prune.Pruned{{"sources", 1, 4, 1}, {"git", 1, 4, 1}, {"facts", 1, 3, 1}, {"runs", 0, 0, 1}}, []string{"sources/new", "git/new", "facts/new", "runs/1", "runs/2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := state(t)
			for _, id := range []string{"1", "2"} {
				if r := run(t, dir, id); !tt.live || id == "1" {
					if err := r.Close(); err != nil {
						t.Fatal(err)
					}
				} else {
					defer r.Close()
				}
			}
			got, err := prune.Prune(dir, tt.o)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if got[i].Name == "runs" {
					if (got[i].Bytes > 0) != (got[i].Removed > 0) {
						t.Errorf("runs took %d bytes", got[i].Bytes)
					}
					got[i].Bytes = 0
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tt.left, left(t, dir)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestDaily: once a day, and never runs.
func TestDaily(t *testing.T) {
	dir := state(t)
	if err := run(t, dir, "1").Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"sources/new", "git/new", "facts/new", "runs/1"}
	daily := func() []string {
		t.Helper()
		if err := prune.Daily(dir); err != nil {
			t.Fatal(err)
		}
		return left(t, dir)
	}
	if d := cmp.Diff(want, daily()); d != "" {
		t.Error(d)
	}
	old := time.Now().Add(-40 * 24 * time.Hour)
	write(t, filepath.Join(dir, "facts/more"), "1", old)
	if got := daily(); len(got) != len(want)+1 {
		t.Errorf("the same day: %v", got)
	}
	write(t, filepath.Join(dir, "pruned"), "", time.Now().Add(-25*time.Hour))
	if d := cmp.Diff(want, daily()); d != "" {
		t.Errorf("the next day: %s", d)
	}
}
