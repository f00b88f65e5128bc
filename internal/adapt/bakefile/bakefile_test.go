package bakefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lapstrake/lapstrake/internal/adapt/dockerfile"
	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// buildx is the real program.
func buildx(t testing.TB) string {
	t.Helper()
	path := filepath.Join(workertest.Root(t), "bin", "buildx")
	if !isProgram(path) {
		t.Fatalf("%s is not there: make bin/buildx", path)
	}
	return path
}

// archive is a test case: files, and what is asked of them.
type archive struct {
	path    string
	parsed  *txtar.Archive
	request Request
}

// unpack writes the files of an archive to a folder of its own. The file
// "request" has a line for each part of it: file, target, set and env. Without
// one the first file is meant.
func unpack(t *testing.T, path string) *archive {
	t.Helper()
	a := &archive{path: path, request: Request{Dir: t.TempDir(), Program: buildx(t)}}
	var err error
	first := ""
	if a.parsed, err = txtar.ParseFile(path); err != nil {
		t.Fatal(err)
	}
	for _, f := range a.parsed.Files {
		switch f.Name {
		case "want":
			continue
		case "request":
			for line := range strings.Lines(string(f.Data)) {
				what, value, _ := strings.Cut(strings.TrimSpace(line), " ")
				switch what {
				case "file":
					a.request.Files = append(a.request.Files, value)
				case "target":
					a.request.Targets = append(a.request.Targets, value)
				case "set":
					a.request.Set = append(a.request.Set, value)
				case "env":
					name, value, _ := strings.Cut(value, "=")
					t.Setenv(name, value)
				default:
					t.Fatalf("%s: request: what is %q?", path, line)
				}
			}
			continue
		}
		at := filepath.Join(a.request.Dir, f.Name)
		if first == "" {
			first = f.Name
		}
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.request.Files) == 0 {
		a.request.Files = []string{first}
	}
	return a
}

// outcome is the fleet with its notes as JSON, or every problem.
func (a *archive) outcome(t *testing.T) string {
	t.Helper()
	options := Options{Outline: dockerfile.ReadOutline, From: dockerfile.FromName, Base: fleetfile.BaseReference, Tag: fleetfile.TagReference}
	f, err := Load(t.Context(), a.request, options)
	var out string
	var l diag.List
	switch {
	case errors.As(err, &l):
		out = l.Error() + "\n"
	case err != nil:
		out = fmt.Sprintf("%s: %v\nhelp: %s\n", diag.KindOf(err), err, diag.HelpOf(err))
	default:
		text, err := json.MarshalIndent(f.Fleet, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		out = string(text) + "\n"
		if f.Inline != "" {
			out += "inline: " + strings.TrimSpace(f.Inline) + "\n"
		}
		if len(f.Notes) > 0 {
			out += f.Notes.Error() + "\n"
		}
	}
	return strings.NewReplacer(a.request.Dir, "DIR", `"name": "`+filepath.Base(a.request.Dir)+`"`, `"name": "DIR"`).Replace(out)
}

// TestGolden makes fleets of every archive of testdata. Its file "want" is the
// fleet with its notes, or every problem as a person sees it. The targets are
// those that the real program prints.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 40 {
		t.Fatalf("%d archives, %v", len(paths), err)
	}
	targets := 0
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a := unpack(t, path)
			targets += asPrinted(t, a.request)
			got := a.outcome(t)
			if good := strings.HasPrefix(filepath.Base(path), "good-"); good != strings.HasPrefix(got, "{") {
				t.Errorf("an archive called %s gives\n%s", path, got)
			}
			golden.Part(t, path, a.parsed, got)
		})
	}
	if targets < 100 {
		t.Errorf("compared only %d targets with what bake prints", targets)
	}
}

// asPrinted fails when the targets that are read from what the real program
// prints lack anything of it, and tells how many were compared. Where the program
// fails, so must we.
func asPrinted(t *testing.T, r Request) int {
	t.Helper()
	args := []string{"bake", "--progress=quiet", "--print"}
	for _, f := range r.Files {
		args = append(args, "-f", f)
	}
	for _, s := range r.Set {
		args = append(args, "--set", s)
	}
	printed, err := r.run(t.Context(), append(args, r.Targets...))
	d := &Definition{request: r}
	if d.places.files, _ = read(r); err == nil {
		err = d.places.find()
	}
	if err == nil {
		err = d.decode(printed)
	}
	if len(printed) == 0 {
		return 0
	}
	if err != nil {
		t.Errorf("bake does not fail: %v", err)
		return 0
	}
	return compared(t, d, printed)
}

// compared compares a definition with what it was read from.
func compared(t *testing.T, d *Definition, printed []byte) int {
	t.Helper()
	var theirs struct {
		Target map[string]map[string]any `json:"target"`
	}
	if err := json.Unmarshal(printed, &theirs); err != nil {
		t.Fatal(err)
	}
	ours := map[string]Target{}
	for _, target := range d.Targets {
		ours[target.Name] = target
	}
	for name, want := range theirs.Target {
		got, ok := ours[name]
		if !ok && !strings.Contains(string(printed), `"target:`+name+`"`) {
			t.Errorf("target %s is missing", name)
		}
		if !ok { // it is there because another one uses it
			raw, err := json.Marshal(want)
			if err == nil {
				got, err = decodeTarget(name, raw)
			}
			if err != nil {
				t.Error(err)
			}
		}
		if d := cmp.Diff(want, printedAgain(t, got)); d != "" {
			t.Errorf("target %s (-bake +us):\n%s", name, d)
		}
	}
	if len(ours) > len(theirs.Target) {
		t.Errorf("%d targets, bake prints %d", len(ours), len(theirs.Target))
	}
	return len(theirs.Target)
}

// printedAgain is a target as bake would print it.
func printedAgain(t *testing.T, target Target) map[string]any {
	t.Helper()
	escaped := strings.NewReplacer("${", "$${", "%{", "%%{").Replace
	for i, a := range target.Annotations {
		target.Annotations[i] = escaped(a)
	}
	target.DockerfileInline = escaped(target.DockerfileInline)
	for _, m := range []map[string]*string{target.Args, target.Labels, target.ExtraHosts} {
		for _, v := range m {
			if v != nil {
				*v = escaped(*v)
			}
		}
	}
	text, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestBuildxModule resolves the files in the module that buildx is built from, and
// those that its own tests hold, as the real program prints them.
func TestBuildxModule(t *testing.T) {
	program := buildx(t)
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/docker/buildx")
	list.Dir = filepath.Join(workertest.Root(t), "bench", "peer")
	out, err := list.Output()
	module := strings.TrimSpace(string(out))
	if err != nil || module == "" {
		t.Fatalf("buildx's module is not in the cache: make bin/buildx (%v)", err)
	}
	definitions := map[string][]byte{}
	for _, name := range []string{"docker-bake.hcl", "hack/demo-env/examples/compose/docker-compose.yml"} {
		if definitions[name], err = os.ReadFile(filepath.Join(module, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bake_test.go", "hcl_test.go", "compose_test.go"} {
		for i, text := range literals(t, filepath.Join(module, "bake", name)) {
			definitions[fmt.Sprintf("%s-%03d%s", strings.TrimSuffix(name, ".go"), i, extension(text))] = []byte(text)
		}
	}
	dir := t.TempDir()
	var files, targets atomic.Int64
	t.Run("files", func(t *testing.T) {
		for name, text := range definitions {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				name := strings.ReplaceAll(name, "/", "-")
				if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
					t.Fatal(err)
				}
				if n := asPrinted(t, Request{Files: []string{name}, Dir: dir, Targets: []string{"*"}, Program: program}); n > 0 {
					files.Add(1)
					targets.Add(int64(n))
				}
			})
		}
	})
	if files.Load() < 100 || targets.Load() < 200 {
		t.Errorf("compared only %d targets of %d files", targets.Load(), files.Load())
	}
	t.Logf("compared %d targets of %d files", targets.Load(), files.Load())
}

// literals are the texts of a Go file that look like definitions with targets.
func literals(t *testing.T, path string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING || !strings.HasPrefix(lit.Value, "`") {
			return true
		}
		text, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		if extension(text) != "" {
			out = append(out, text)
		}
		return true
	})
	return out
}

// extension is how a definition is written; "" when a text is none.
func extension(text string) string {
	switch {
	case composeField.MatchString(text):
		return ".yaml"
	case strings.HasPrefix(strings.TrimSpace(text), "{") && strings.Contains(text, `"target"`):
		return ".json"
	case strings.Contains(text, `target "`):
		return ".hcl"
	}
	return ""
}

// FuzzParse: whatever files hold and bake says, everything is a definition or an
// error.
func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			switch filepath.Ext(file.Name) {
			case ".hcl", ".json", ".yaml":
				f.Add(file.Name, file.Data, "ERROR: docker-bake.hcl:2,3-4: Unknown variable; There is none., and 1 other diagnostic(s)", []byte(`{"group":{"default":{"targets":["a"]}},"target":{"a":{"args":{"A":"$${b}"}}}}`))
			}
		}
	}
	f.Fuzz(func(t *testing.T, name string, text []byte, stderr string, printed []byte) {
		Is(name, text)
		d := &Definition{places: places{files: []file{{name, text}}}}
		if err := d.places.find(); err != nil {
			return
		}
		if d.places.problem(said(stderr)) == nil || d.places.unknown(stderr) == nil {
			t.Error("what bake says is no error")
		}
		if d.decode(printed) != nil {
			return
		}
		m := &maker{Definition: d, outlines: map[string]*graph.Outline{}, opt: Options{
			Outline: dockerfile.ReadOutline, Base: fleetfile.BaseReference, Tag: fleetfile.TagReference}}
		fl, err := m.fleet()
		if err == nil && (len(fl.Images) != len(d.Targets) || len(fl.Images) == 0) {
			t.Errorf("%d images of %d targets", len(fl.Images), len(d.Targets))
		}
	})
}

// TestIs tells fleet files from others.
func TestIs(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want bool
	}{
		"docker-bake.hcl": {"", true}, "x.HCL": {"", true}, "docker-bake.json": {"{", true}, "x.json": {`{"target": {}}`, true}, "y.json": {`{"images": {}, "target": {}}`, false},
		"z.json": {"{", false}, "compose.yaml": {"name: x\nservices:\n  a: {}\n", true}, "quoted.yaml": {"'services' :\n", true}, "fleet.yaml": {"images:\n  ids: [services]\n", false},
		"both.yaml": {"services: {}\nimages: {}\n", false}, "nested.yaml": {"x:\n  services:\n", false}, "empty": {"", false},
	} {
		if got := Is(name, []byte(tt.text)); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestProgram finds a plugin of Docker's, and says what to do without one.
func TestProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	if path, err := Program(); err == nil && strings.HasPrefix(path, config) || err != nil && (diag.KindOf(err) != diag.Infra || diag.HelpOf(err) == "") {
		t.Errorf("%s, %v", path, err)
	}
	plugin := filepath.Join(config, "cli-plugins", "docker-buildx")
	if err := os.MkdirAll(filepath.Dir(plugin), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plugin, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if path, err := Program(); path != plugin {
		t.Errorf("%s, %v", path, err)
	}
}
