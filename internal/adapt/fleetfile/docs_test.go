package fleetfile_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

func manual(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../../docs/reference/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var fence = regexp.MustCompile("(?ms)^```(\\w+)(?: (\\S+))?\n(.*?)^```$")

// TestManualExamples loads every example of the manual in a folder with the
// files that the manual shows. A fence "```csv table.csv" is such a file.
func TestManualExamples(t *testing.T) {
	text := manual(t)
	files := []txtar.File{
		{Name: "Dockerfile", Data: []byte("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n")},
		{Name: "docker/Dockerfile"}, {Name: "agent/pyproject.toml"}, {Name: "shared/x"}, {Name: "ca.pem"}, {Name: "cert.pem"}, {Name: "key.pem"},
	}
	var examples []string
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[2] != "" {
			files = append(files, txtar.File{Name: m[2], Data: []byte(m[3])})
		} else if m[1] == "yaml" {
			examples = append(examples, m[3])
		}
	}
	unpack(t, files)
	if len(examples) < 4 || len(files) < 8 {
		t.Fatalf("%d examples and %d files", len(examples), len(files))
	}
	for i, e := range examples {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			if err := os.WriteFile(fleetfile.FileName, []byte(e), 0o644); err != nil {
				t.Fatal(err)
			}
			fl, err := fleetfile.Load(".", options())
			if err != nil {
				t.Fatalf("%v\n%s", err, e)
			}
			if len(fl.Images) == 0 || len(fl.Images[0].Tags) == 0 {
				t.Error("no images")
			}
		})
	}
}

// TestManualIsComplete takes the names of fields and functions from the source
// and looks for each in the manual and, for fields, in its full example.
func TestManualIsComplete(t *testing.T) {
	text := manual(t)
	var full string
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[1] == "yaml" && strings.HasPrefix(m[3], "name:") {
			full = m[3]
		}
	}
	fields, functions := sourceNames(t)
	if len(fields) < 40 || len(functions) < 15 {
		t.Fatalf("found %d fields and %d functions in the source", len(fields), len(functions))
	}
	for name := range fields {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("the manual does not explain the field %s", name)
		}
		// Those exclude another one of the same block.
		if name != "ids" && name != "tag" && name != "baseFrom" && name != "platform" && !regexp.MustCompile(`\b`+name+`:`).MatchString(full) {
			t.Errorf("the full example has no field %s", name)
		}
	}
	for name := range functions {
		if !regexp.MustCompile("`" + name + "[` ]").MatchString(text) {
			t.Errorf("the manual does not explain the function %s", name)
		}
	}
	for _, f := range fleet.Formats() {
		if !strings.Contains(text, "| `"+string(f)+"`") && !strings.Contains(text, ", `"+string(f)+"` |") {
			t.Errorf("the manual has no row for the format %s", f)
		}
	}
}

// sourceNames reads the names that are passed to object and the keys of the
// function map from the package's source.
func sourceNames(t *testing.T) (fields, functions map[string]bool) {
	fields, functions = map[string]bool{}, map[string]bool{}
	names, _ := filepath.Glob("*.go")
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Object" && len(n.Args) > 2 {
					for _, a := range n.Args[2:] {
						if lit, ok := a.(*ast.BasicLit); ok {
							v, _ := strconv.Unquote(lit.Value)
							fields[v] = true
						}
					}
				}
			case *ast.CompositeLit:
				if s, ok := n.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "FuncMap" {
					for _, e := range n.Elts {
						v, _ := strconv.Unquote(e.(*ast.KeyValueExpr).Key.(*ast.BasicLit).Value)
						functions[v] = true
					}
				}
			}
			return true
		})
	}
	return fields, functions
}

// options reads fleet files of examples: every repository has one commit.
func options() fleetfile.Options {
	return fleetfile.Options{Rows: rows.Read, Resolve: func(fleet.Source) (string, error) { return strings.Repeat("0123456789", 4), nil }}
}
