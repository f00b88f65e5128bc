package fleetfile_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// unpack writes the files of an archive to a fresh folder and goes there.
func unpack(t *testing.T, files []txtar.File) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "work")
	for _, f := range files {
		full := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	dir, err := os.Getwd() // without links
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestGolden loads every archive of testdata. Its file "want" is the fleet as
// JSON, or every problem as a person sees it.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 30 {
		t.Fatalf("%d archives, %v", len(names), err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			path := filepath.Join(here, name)
			arc, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := arc.Files
			if n := len(files); n > 0 && files[n-1].Name == "want" {
				files = files[:n-1]
			}
			dir := unpack(t, files)
			commitRepo(t)
			got := outcome(t, dir)
			if strings.Contains(got, "hunter2") {
				t.Errorf("a secret is shown:\n%s", got)
			}
			if good := strings.HasPrefix(filepath.Base(name), "good-"); good != strings.HasPrefix(got, "{") {
				t.Errorf("a file called %s gives\n%s", name, got)
			}
			golden.Part(t, path, arc, got)
		})
	}
}

// commitRepo commits what is in the folder repo, always as the same commit. Without
// the folder it does nothing.
func commitRepo(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("repo"); err != nil {
		return
	}
	for _, args := range []string{"init -q -b main", "add -A", "commit -q -m first", "tag v1"} {
		cmd := exec.Command("git", strings.Fields(args)...)
		cmd.Dir = "repo"
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
			"GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@example.com", "GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
}

// resolve finds commits in real repositories.
func resolve(s fleet.Source) (string, error) {
	r, err := gitrepo.Open(context.Background(), s.Git)
	if err != nil {
		return "", err
	}
	return r.Resolve(context.Background(), s.Ref)
}

// outcome loads the fleet file of the working folder.
func outcome(t *testing.T, dir string) string {
	t.Helper()
	name := "fleet.yaml"
	if _, err := os.Stat(name); err != nil {
		name = "repo/fleets/fleet.yaml"
	}
	fl, err := fleetfile.Load(name, fleetfile.Options{Rows: rows.Read, Resolve: resolve})
	var text string
	if err != nil {
		var l diag.List
		if !errors.As(err, &l) || diag.KindOf(err) != diag.File {
			t.Fatalf("error %v is not a list of problems", err)
		}
		text = err.Error() + "\n"
	} else {
		data, err := json.MarshalIndent(fl, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		text = string(data) + "\n"
	}
	text = strings.ReplaceAll(text, dir, "DIR")
	return strings.ReplaceAll(text, filepath.Dir(dir), "UP")
}

// TestEveryCodeHasAGolden fails when no archive shows a code that the fleet
// file or its rows can have.
func TestEveryCodeHasAGolden(t *testing.T) {
	names, _ := filepath.Glob("testdata/bad-*.txtar")
	var all strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	count := 0
	for code := range diag.Codes() {
		for _, ours := range []string{"fleet-", "row-", "image-", "tag-"} {
			if strings.HasPrefix(string(code), ours) {
				count++
				if !strings.Contains(all.String(), "["+string(code)+"]") {
					t.Errorf("no archive shows %s", code)
				}
			}
		}
	}
	if count < 14 {
		t.Errorf("only %d codes", count)
	}
}
