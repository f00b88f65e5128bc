package lint_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/dockerfile"
	"github.com/lapstrake/lapstrake/internal/decide/lint"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// modules are projects whose Dockerfiles are in the module cache whenever this
// program can be built, by the folder of the go.mod that brings them.
var modules = map[string][]string{
	".":          {"github.com/moby/buildkit", "github.com/distribution/distribution/v3", "github.com/opencontainers/runc", "github.com/containerd/containerd/v2", "github.com/docker/cli"},
	"bench/peer": {"github.com/docker/buildx"},
}

// knownFiles are Dockerfiles of well-known projects.
func knownFiles(t *testing.T) []string {
	t.Helper()
	var out []string
	for dir, list := range modules {
		cmd := exec.Command("go", append([]string{"list", "-mod=readonly", "-m", "-f", "{{.Dir}}"}, list...)...)
		cmd.Dir = filepath.Join("../../..", dir)
		dirs, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, d := range strings.Fields(string(dirs)) {
			err := filepath.WalkDir(d, func(path string, e fs.DirEntry, err error) error {
				name := e.Name()
				if e.IsDir() && e.Name() == "testfiles" {
					return fs.SkipDir // of a parser
				}
				if err == nil && e.Type().IsRegular() && !slices.Contains([]string{".md", ".go", ".dockerignore"}, filepath.Ext(name)) &&
					(strings.HasPrefix(name, "Dockerfile") || strings.HasSuffix(name, ".Dockerfile")) {
					out = append(out, path)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.Sort(out)
	return out
}

var (
	fromLine   = regexp.MustCompile(`(?i)^(FROM\s+(?:--\S+\s+)*)(\S+)(?:(\s+AS\s+)(\S+))?\s*$`)
	syntaxLine = regexp.MustCompile(`(?m)^#\s*syntax\s*=.*$`)
)

// onBase puts the last stage of a Dockerfile on a base: what the first of the
// stages that it is built on is FROM. Lines keep their numbers but for one more
// above the first FROM.
func onBase(text string) string {
	lines := strings.Split(text, "\n")
	stage := map[string]int{}
	first, at := -1, -1
	for i, line := range lines {
		m := fromLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if first < 0 {
			first = i
		}
		at = i
		if parent, ok := stage[strings.ToLower(m[2])]; ok {
			at = parent
		}
		stage[strings.ToLower(m[4])] = at
	}
	if first < 0 {
		return text
	}
	lines[at] = fromLine.ReplaceAllString(lines[at], "${1}$${BASE_IMAGE}${3}${4}")
	return strings.Join(slices.Insert(lines, first, "ARG BASE_IMAGE"), "\n")
}

// knownInput is the input that three images of a recipe make.
func knownInput(t *testing.T, file, text string) (lint.Input, error) {
	t.Helper()
	opt := dockerfile.Options{
		Recipe: fleet.Recipe{Dockerfile: file, Context: filepath.Dir(file), BaseArg: "BASE_IMAGE", Args: map[string]string{"GIT_COMMIT": "0a1b2c3"}},
		ReadFile: func(path string) ([]byte, error) {
			if path == file {
				return []byte(text), nil
			}
			return os.ReadFile(path)
		},
		Images: func(_ context.Context, ref, _ string) (graph.Digest, []byte, error) {
			return digest(ref), fmt.Appendf(nil, config, ""), nil
		},
	}
	in := lint.Input{Fleet: &fleet.Fleet{Recipe: opt.Recipe}, Texts: map[string]string{file: text}}
	r, err := dockerfile.Open(opt)
	if err != nil {
		return in, err
	}
	in.Outline = r.Outline()
	for i := range 3 {
		f := planner.Facts{Image: fleet.Image{ID: fmt.Sprint(i), Base: fmt.Sprintf("registry.example.com/base:%d", i)}}
		f.Base = &fact.Base{Ref: f.Image.Base, Digest: digest(f.Image.Base), DiffIDs: []graph.Digest{"sha256:x"}, View: fmt.Appendf(nil, config, "")}
		if f.Variant, err = r.Variant(t.Context(), f.Base, f.Image); err != nil {
			return in, err
		}
		in.Images = append(in.Images, f)
	}
	return in, nil
}

// TestKnownDockerfiles: what other people write is looked at, and what the front
// end refuses is told with its place.
func TestKnownDockerfiles(t *testing.T) {
	files := knownFiles(t)
	findings, looked, refused, mended := 0, 0, 0, 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := onBase(string(data))
		in, err := knownInput(t, file, text)
		if err != nil {
			refused++
			told(t, file, err)
			text = syntaxLine.ReplaceAllString(text, "#")
			if in, err = knownInput(t, file, text); err != nil {
				told(t, file, err)
				t.Logf("%s: %v", file, err)
				continue
			}
		}
		looked++
		for _, f := range lint.Check(in) {
			findings++
			placed(t, in, f)
			if text, ok := lint.Mend(in, f); ok {
				next, err := knownInput(t, file, text)
				if err != nil {
					t.Errorf("%s: mending %s: %v", f.Pos, f.Code, err)
				} else if _, err := lint.Prove(in, next, f); err == nil {
					mended++
				}
			}
		}
	}
	t.Logf("%d files: %d looked at, %d refused at first, %d findings, %d mended", len(files), looked, refused, findings, mended)
	if looked < 20 || findings < 50 {
		t.Errorf("only %d of %d files were looked at, with %d findings", looked, len(files), findings)
	}
}

// told checks that an error is a list of problems of a file.
func told(t *testing.T, file string, err error) {
	t.Helper()
	var l diag.List
	if !errors.As(err, &l) {
		t.Errorf("%s: %v is no list of problems", file, err)
		return
	}
	for _, p := range l {
		if p.Pos.File != file || p.Message == "" {
			t.Errorf("%s: a problem without a place: %v", file, p)
		}
	}
}

// placed checks that a finding is at a place of its file.
func placed(t *testing.T, in lint.Input, f lint.Finding) {
	t.Helper()
	if f.Pos.File == "" && f.Pos.Line == 0 {
		return // a step that belongs to no instruction
	}
	lines := strings.Split(in.Texts[f.Pos.File], "\n")
	if f.Pos.Line < 1 || f.Pos.Line > len(lines) || f.Pos.Col < 1 || f.Pos.Col > len(lines[f.Pos.Line-1])+1 {
		if f.Code != "base-without-digest" && f.Code != "argument-unused" { // there is no fleet file here
			t.Errorf("%s [%s] is no place", f.Pos, f.Code)
		}
	}
	if f.Message == "" || f.Help == "" || f.Cost.Images < 1 {
		t.Errorf("%+v", f)
	}
}

// FuzzDockerfile: whatever the front end takes is looked at, findings are at
// places, and what is mended is taken too.
func FuzzDockerfile(f *testing.F) {
	f.Add(dear)
	f.Add("ARG BASE_IMAGE\nFROM $BASE_IMAGE\nARG GIT_SHA=x \\\n  A=1\nRUN <<E\necho $GIT_SHA\nE\nCOPY . /\nWORKDIR x\nRUN y")
	f.Add("ARG BASE_IMAGE\nFROM $BASE_IMAGE AS a\nENV A_TOKEN=é X=1\nFROM a\nCOPY --link --from=a [\"b c\", \"/d e/\"]\n\n# c\nADD https://x/y /z")
	f.Fuzz(func(t *testing.T, text string) {
		in, err := knownInput(t, "Dockerfile", text)
		if err != nil {
			return
		}
		for _, x := range lint.Check(in) {
			placed(t, in, x)
			if mended, ok := lint.Mend(in, x); ok {
				if _, err := knownInput(t, "Dockerfile", mended); err != nil {
					t.Errorf("mending %s of %q gives %q: %v", x.Code, text, mended, err)
				}
			}
		}
	})
}
