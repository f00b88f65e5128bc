package labfile_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lapstrake/lapstrake/internal/adapt/labfile"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

func manual(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../../docs/reference/lab.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var fence = regexp.MustCompile("(?ms)^```yaml(?: \\S+)?\n(.*?)^```$")

// TestManualExamples loads every example of the manual.
func TestManualExamples(t *testing.T) {
	examples := fence.FindAllStringSubmatch(manual(t), -1)
	if len(examples) < 3 {
		t.Fatalf("%d examples", len(examples))
	}
	unpack(t, []txtar.File{{Name: "fleet.yaml"}, {Name: "agent/x"}, {Name: "fix.patch"}})
	for i, m := range examples {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			if err := os.WriteFile(labfile.FileName, []byte(m[1]), 0o644); err != nil {
				t.Fatal(err)
			}
			e, err := labfile.Load(".", language())
			if err != nil {
				t.Fatalf("%v\n%s", err, m[1])
			}
			if err := e.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestManualIsComplete looks in the manual for every field that the source reads,
// and in its first example; and for every word that a field may have.
func TestManualIsComplete(t *testing.T) {
	text := manual(t)
	full := fence.FindStringSubmatch(text)[1]
	fields := sourceFields(t)
	if len(fields) < 20 {
		t.Fatalf("found %d fields in the source", len(fields))
	}
	for _, name := range fields {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("the manual does not explain the field %s", name)
		}
		if name != "command" && !regexp.MustCompile(`\b`+name+`:`).MatchString(full) { // excluded by fleet
			t.Errorf("the first example has no field %s", name)
		}
	}
	var words []string
	for _, k := range experiment.Kinds() {
		words = append(words, string(k))
	}
	for _, k := range experiment.Temperatures() {
		words = append(words, string(k))
	}
	for k, values := range experiment.Knobs() {
		words = append(append(words, k), values...)
	}
	for _, m := range metric.All() {
		if m.Short != "" {
			words = append(words, m.Short)
		}
	}
	for _, w := range words {
		if !strings.Contains(text, "`"+w+"`") {
			t.Errorf("the manual does not explain %s", w)
		}
	}
}

// sourceFields reads the names that are passed to Object from the source.
func sourceFields(t *testing.T) []string {
	var out []string
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
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Object" && len(call.Args) > 2 {
				for _, a := range call.Args[2:] {
					if lit, ok := a.(*ast.BasicLit); ok {
						v, _ := strconv.Unquote(lit.Value)
						out = append(out, v)
					}
				}
			}
			return true
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}
