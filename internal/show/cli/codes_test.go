package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// constants are the values of the string constants of a file, in its order.
func constants(t *testing.T, path string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			for _, v := range s.(*ast.ValueSpec).Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					value, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					out = append(out, value)
				}
			}
		}
	}
	return out
}

// sourceFiles calls visit with every file below internal.
func sourceFiles(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			visit(filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryCodeHasACase fails on a code that no test shows: codes of problems in
// brackets in a golden file, codes of reasons as a word in a golden file or a test.
func TestEveryCodeHasACase(t *testing.T) {
	problem := regexp.MustCompile(`\[([a-z]+(-[a-z]+)+)\]`)
	reason := regexp.MustCompile(`[a-z]+(-[a-z]+)+|blocked`)
	problems, reasons := map[string]bool{}, map[string]bool{}
	sourceFiles(t, func(path string) {
		golden := strings.Contains(path, "/testdata/")
		if !golden && !strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/show/text/") {
			return // texts are rendered from values that were made up
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range problem.FindAllSubmatch(data, -1) {
			problems[string(m[1])] = problems[string(m[1])] || golden
		}
		for _, w := range reason.FindAll(data, -1) {
			reasons[string(w)] = true
		}
	})
	codes := diag.Codes()
	for code := range codes {
		if !problems[string(code)] {
			t.Errorf("no golden file shows a problem [%s]", code)
		}
	}
	if n := len(constants(t, "../../model/diag/codes.go")); n != len(codes) || n < 20 {
		t.Errorf("diag: %d constants, %d codes", n, len(codes))
	}
	for code := range plan.Reasons() {
		if !reasons[code] {
			t.Errorf("no test and no golden file shows the reason %s", code)
		}
	}
	if n := len(constants(t, "../../model/plan/reason.go")); n != len(plan.Reasons()) || n < 20 {
		t.Errorf("plan: %d constants, %d reasons", n, len(plan.Reasons()))
	}
}

// TestCodesAreConstants fails on a code that is written where it is used: it
// would be in no list.
func TestCodesAreConstants(t *testing.T) {
	seen := 0
	sourceFiles(t, func(path string) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/testdata/") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			kv, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			if id, ok := kv.Key.(*ast.Ident); ok && id.Name == "Code" {
				seen++
				if lit, ok := kv.Value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					t.Errorf("%s: the code %s is not a constant of diag or plan", path, lit.Value)
				}
			}
			return true
		})
	})
	if seen < 10 {
		t.Errorf("found only %d codes in the source", seen)
	}
}
