// Package example_test holds the tests of the case that started the project: that
// its repositories are the same everywhere, that its questions are planned and
// refused as they should, and that its loop does what it is recorded for.
package example_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/show/cli"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// TestMain makes the test binary buildx when it is called so.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "buildx" {
		if err := buildx(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "ERROR:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// shell runs a command and returns its exit code and what it printed.
func shell(t *testing.T, dir string, env []string, command ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// must is shell for what has to succeed.
func must(t *testing.T, dir string, env []string, command ...string) string {
	t.Helper()
	code, out := shell(t, dir, env, command...)
	if code != 0 {
		t.Fatalf("%v: exit code %d\n%s", command, code, out)
	}
	return out
}

// laboratory generates the lab's folder.
func laboratory(t *testing.T, host string, env ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lab")
	if out := must(t, ".", env, "./generate", dir, host); out != "" {
		t.Errorf("generate says %s", out)
	}
	return dir
}

// TestGenerate: commits have the same hashes whatever the machine is set to, and
// lab files name them.
func TestGenerate(t *testing.T) {
	home := t.TempDir()
	config := "[user]\nname = Other\nemail = other@example.com\n[core]\nautocrlf = true\n[commit]\ngpgSign = true\n[init]\ndefaultBranch = trunk\n"
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	var all string
	for i, env := range [][]string{nil, {"HOME=" + home, "TZ=Asia/Tokyo", "GIT_AUTHOR_NAME=Other", "GIT_DIR=/nowhere", "LC_ALL=de_DE.UTF-8"}} {
		lab := laboratory(t, fmt.Sprintf("host%d.example.com", i), env...)
		var refs string
		for _, repo := range []string{"benchmarks", "sdk"} {
			refs += repo + "\n" + must(t, filepath.Join(lab, repo), nil, "git", "for-each-ref", "--format=%(objectname) %(refname:short)")
			if out := must(t, filepath.Join(lab, repo), nil, "git", "status", "--porcelain"); out != "" {
				t.Errorf("%s is not clean:\n%s", repo, out)
			}
		}
		if all == "" {
			all = refs
		}
		if d := cmp.Diff(all, refs); d != "" {
			t.Error(d)
		}
		if code, _ := shell(t, ".", nil, "./generate", lab); code != 1 {
			t.Errorf("a folder that is there: exit code %d", code)
		}
	}
	golden.Text(t, "testdata/refs", all)
	files, err := filepath.Glob("lab/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, hash := range regexp.MustCompile(`[0-9a-f]{40}`).FindAllString(string(text), -1) {
			if named++; !strings.Contains(all, hash) {
				t.Errorf("%s names %s, which is no commit with a name", f, hash)
			}
		}
	}
	if named < 20 {
		t.Errorf("lab files name %d commits", named)
	}
}

// lapstrake runs the program in dir, and returns its exit code with all output.
func lapstrake(t *testing.T, dir string, args ...string) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	defer t.Chdir(here)
	var out, errs bytes.Buffer
	code := cli.Main(append([]string{"--state", t.TempDir()}, args...), cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	return fmt.Sprintf("%s%sexit code %d\n", out.String(), errs.String(), code)
}

// TestQuestions: what is planned, what is refused, and what the files alone say.
func TestQuestions(t *testing.T) {
	t.Setenv("COLUMNS", "100")
	lab := laboratory(t, "registry.example.com")
	for name, args := range map[string][]string{
		"lab":         {"lab", "plan", "lab.yaml"},
		"loop":        {"lab", "plan", "loop.yaml"},
		"planned":     {"lab", "plan", "planned.yaml"},
		"checkpoints": {"lab", "plan", "checkpoints.yaml"},
		"commits":     {"lab", "plan", "commits.yaml"},
		"history": {"history", "sdk/fleet.yaml", "--baseline", "baseline",
			"--refs", "checkpoint-1,checkpoint-2,checkpoint-3,checkpoint-4,checkpoint-5"},
		"argument": {"plan", "sdk", "--offline", "--base-config", "base.json", "--diff", "commit-valued-arg^..commit-valued-arg"},
		"release":  {"plan", "sdk", "--offline", "--base-config", "base.json", "--diff", "release^..release"},
		"inert":    {"plan", "sdk", "--offline", "--base-config", "base.json", "--diff", "agent-1.9^..agent-1.9"},
		"lint":     {"lint", "--offline", "--base-config", "base.json", "sdk"},
	} {
		t.Run(name, func(t *testing.T) { golden.Text(t, filepath.Join("testdata", name), lapstrake(t, lab, args...)) })
	}
}

// TestSlug: the loop names caches as the fleet file does, before and after the
// change of the slug.
func TestSlug(t *testing.T) {
	lab := laboratory(t, "registry.example.com")
	sdk := filepath.Join(lab, "sdk")
	ids := strings.Fields(must(t, lab, nil, "cat", "benchmarks/ids.txt"))
	renamed := 0
	names := map[string]string{}
	for _, ref := range []string{"baseline", "checkpoint-5"} {
		must(t, sdk, nil, "git", "checkout", "-q", ref)
		f, err := fleetfile.Load(sdk, fleetfile.Options{Rows: rows.Read})
		if err != nil {
			t.Fatal(err)
		}
		tags := map[string]string{}
		for _, im := range f.Images {
			tags[im.ID] = im.Tags[0]
			for _, id := range ids {
				if im.ID == id {
					if want := "registry.example.com/agent:buildcache-agent-" + strings.TrimSpace(must(t, sdk, nil, "scripts/slug", im.Base)); want != im.Tags[0] {
						t.Errorf("%s at %s: the loop has %s, the fleet %s", id, ref, want, im.Tags[0])
					}
				}
			}
		}
		if len(tags) != 500 {
			t.Errorf("%d images at %s", len(tags), ref)
		}
		for id, tag := range tags {
			if was, ok := names[id]; ok && was != tag {
				renamed++
			}
		}
		maps.Copy(names, tags)
	}
	if renamed != 392 {
		t.Errorf("%d caches have other names", renamed)
	}
}

// TestLoggers: the check finds the worker that sets up a logger, and does not say
// that there is none where it cannot look.
func TestLoggers(t *testing.T) {
	lab := laboratory(t, "registry.example.com")
	found, none := 1, 0
	if _, err := exec.LookPath("python3"); err != nil {
		found, none = 2, 2
	}
	for _, tt := range []struct {
		commit string
		env    []string
		want   int
	}{
		{"before", nil, found},
		{"after", nil, none},
		{"after", []string{"PYTHON=no-such-python"}, 2},
		{"no-such-commit", nil, 2},
	} {
		if code, out := shell(t, lab, tt.env, "checks/loggers", "benchmarks", tt.commit); code != tt.want {
			t.Errorf("%s with %v: exit code %d, want %d\n%s", tt.commit, tt.env, code, tt.want, out)
		}
	}
}
