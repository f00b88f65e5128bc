package labfile_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lapstrake/lapstrake/internal/adapt/labfile"
	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// language is that of the program.
func language() labfile.Language {
	return labfile.Language{Metrics: metric.Names(), Check: func(claims []experiment.Claim, cells []string) diag.List {
		_, err := gate.New(claims, gate.Names{Metrics: metric.Names(), Cells: cells})
		var l diag.List
		errors.As(err, &l)
		return l
	}}
}

// TestGolden loads every archive of testdata. Its file "want" is the experiment
// as JSON, or every problem as a person sees it.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 20 {
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
			unpack(t, files)
			got := outcome(t)
			if good := strings.HasPrefix(filepath.Base(name), "good-"); good != strings.HasPrefix(got, "{") {
				t.Errorf("a file called %s gives\n%s", name, got)
			}
			golden.Part(t, path, arc, got)
		})
	}
}

// unpack writes files to a fresh folder named work, and goes there.
func unpack(t *testing.T, files []txtar.File) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "work")
	for _, f := range files {
		full := filepath.Join(dir, f.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, f.Data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// outcome loads the lab file of the folder work.
func outcome(t *testing.T) string {
	t.Helper()
	e, err := labfile.Load("../work", language())
	if err != nil {
		var l diag.List
		if !errors.As(err, &l) || diag.KindOf(err) != diag.File {
			t.Fatalf("error %v is not a list of problems", err)
		}
		for _, p := range l {
			if p.Source == "" && p.Code != diag.LabNotFound && p.Code != diag.LabEmpty {
				t.Errorf("no line of %v", p)
			}
		}
		return err.Error() + "\n"
	}
	if err := e.Check(); err != nil {
		t.Error(err)
	}
	var cells []string
	for _, c := range e.Cells {
		cells = append(cells, c.ID())
	}
	data, err := json.MarshalIndent(struct {
		Cells      []string `json:"ids"`
		Experiment any      `json:"experiment"`
	}{cells, e}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data) + "\n"
}

// TestEveryCodeHasAGolden fails when no archive shows a code that the lab file
// can have.
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
	for _, code := range []diag.Code{diag.LabSyntax, diag.LabUnknown, diag.LabType, diag.LabMissing, diag.LabValue,
		diag.LabDuplicate, diag.LabEmpty, diag.LabNotFound, diag.LabName, diag.GateSyntax, diag.GateUnknown, diag.GateWaiver} {
		if !strings.Contains(all.String(), "["+string(code)+"]") {
			t.Errorf("no archive shows %s", code)
		}
	}
}

// FuzzParse: whatever the text, there is an experiment that keeps its invariants
// or a list of problems in their order, each in the file or without a place.
func FuzzParse(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.txtar")
	for _, name := range names {
		arc, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(arc.Files[0].Data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<16 {
			return
		}
		noFile := func(string) ([]byte, error) { return nil, fs.ErrNotExist }
		e, err := labfile.Parse("lab.yaml", []byte(text), noFile, language())
		if err == nil {
			if err := e.Check(); err != nil {
				t.Fatal(err)
			}
			if again, _ := labfile.Parse("lab.yaml", []byte(text), noFile, language()); again.Digest() != e.Digest() {
				t.Fatal("another digest the second time")
			}
			return
		}
		l, ok := err.(diag.List)
		if !ok || len(l) == 0 {
			t.Fatalf("%v", err)
		}
		lines := strings.Count(text, "\n") + 1
		for i, p := range l {
			if p.Pos.File != "lab.yaml" || p.Pos.Line > lines || i > 0 && p.Pos.Line < l[i-1].Pos.Line {
				t.Fatalf("%d: %v of %d lines", i, p.Pos, lines)
			}
		}
	})
}
