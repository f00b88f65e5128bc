// Package check holds the tests of what is beside the program, with tools that the
// program does not need.
package check

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"go.yaml.in/yaml/v4"
	batch "k8s.io/api/batch/v1"
)

// TestWorkflow checks the example as GitHub reads workflows: with the action of
// this repository in the place of the released one, so that its inputs and outputs
// are checked, too.
func TestWorkflow(t *testing.T) {
	dir := t.TempDir()
	action, err := os.ReadFile("../../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	workflow, err := os.ReadFile("../github/workflow.yml")
	if err != nil {
		t.Fatal(err)
	}
	local := bytes.ReplaceAll(workflow, []byte("uses: lapstrake/lapstrake@v1"), []byte("uses: ./"))
	if bytes.Equal(local, workflow) {
		t.Fatal("the example does not use the action")
	}
	path := filepath.Join(dir, ".github", "workflows", "fleet.yml")
	if err := os.MkdirAll(filepath.Join(dir, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "action.yml"), action, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "profile: ${{ inputs.dataset }}\n          nonsense: 1", "force: ${{ inputs.nobody }}"} {
		text := string(local)
		if bad != "" {
			text = strings.Replace(text, "profile: ${{ inputs.dataset }}", bad, 1)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		project, err := actionlint.NewProject(dir)
		if err != nil {
			t.Fatal(err)
		}
		l, err := actionlint.NewLinter(&bytes.Buffer{}, &actionlint.LinterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		found, err := l.LintFile(path, project)
		if err != nil {
			t.Fatal(err)
		}
		if bad == "" {
			for _, f := range found {
				t.Errorf("%v", f)
			}
		} else if len(found) == 0 {
			t.Errorf("nothing is found wrong with %q", bad)
		}
	}
}

// TestInputs holds that the action hands every input to its script, which uses it.
func TestInputs(t *testing.T) {
	data, err := os.ReadFile("../../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var action struct {
		Inputs map[string]struct{ Description string }
		Runs   struct {
			Steps []struct {
				Run string
				Env map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(data, &action); err != nil {
		t.Fatal(err)
	}
	if len(action.Inputs) < 10 {
		t.Fatalf("read %d inputs", len(action.Inputs))
	}
	for name := range action.Inputs {
		variable := "INPUT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		used := 0
		for _, step := range action.Runs.Steps {
			got, ok := step.Env[variable]
			if !ok {
				continue
			}
			used++
			if got != "${{ inputs."+name+" }}" {
				t.Errorf("%s is %q", variable, got)
			}
			script, err := os.ReadFile(strings.Replace(step.Run, "${{ github.action_path }}", "../..", 1))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(script, []byte("$"+variable)) && !bytes.Contains(script, []byte("${"+variable)) {
				t.Errorf("%s does not use %s", step.Run, variable)
			}
		}
		if used == 0 {
			t.Errorf("no step has the input %s", name)
		}
	}
}

// TestRelease checks the workflow that releases, and that it publishes the image
// which the Job runs.
func TestRelease(t *testing.T) {
	path := "../../.github/workflows/release.yml"
	l, err := actionlint.NewLinter(&bytes.Buffer{}, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := l.LintFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Errorf("%v", f)
	}
	workflow, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	job := manifests(t, "../kubernetes/job.yaml")["Job/lapstrake"].(*batch.Job)
	image, _, _ := strings.Cut(job.Spec.Template.Spec.Containers[0].Image, ":")
	if !bytes.Contains(workflow, []byte("--tag "+image+":")) {
		t.Errorf("the workflow publishes no %s", image)
	}
}
