// Package lapstrake holds the tests of the whole: that the documentation runs, and
// that the architecture is kept, which is five wings, what each may import, what
// is pure, and which one package may use which foreign module.
package lapstrake

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/lapstrake/lapstrake/"

// wings says which wings a wing may import.
var wings = map[string][]string{
	"internal/model":  {"internal/model"},
	"internal/decide": {"internal/model", "internal/decide"},
	"internal/adapt":  {"internal/model", "internal/adapt/yamldoc"},
	"internal/run":    {"internal/model", "internal/decide", "internal/adapt", "internal/run"},
	"internal/show":   {"internal/model", "internal/decide", "internal/adapt", "internal/run", "internal/show"},
	"internal/testfleet": {"internal/model", "internal/decide", "internal/adapt", "internal/run",
		"internal/show", "internal/testfleet"},
	"cmd/lapstrake": {"internal/show/cli"},
	"bench":         {"internal/testfleet", "internal/run", "internal/adapt", "internal/model", "internal/decide"},
}

// pure wings have no I/O, clock, goroutine or log.
var pure = []string{"internal/model", "internal/decide"}

var impure = []string{"os", "net", "log", "io/ioutil", "os/exec", "syscall", "runtime", "sync"}

// foreign says which package alone may import a foreign module, or which ones.
// Test files and testfleet are free.
var foreign = map[string]string{
	"github.com/moby/buildkit/frontend/dockerfile":     "internal/adapt/dockerfile",
	"github.com/moby/buildkit/frontend/dockerui":       "internal/adapt/dockerfile",
	"github.com/moby/buildkit/frontend/gateway/client": "internal/adapt/dockerfile internal/adapt/buildkit",
	"github.com/moby/buildkit/frontend/attestations":   "internal/adapt/buildkit",
	"github.com/moby/buildkit/client/llb":              "internal/adapt/dockerfile internal/adapt/buildkit",
	"github.com/moby/buildkit/client":                  "internal/adapt/buildkit",
	"github.com/moby/buildkit/session":                 "internal/adapt/buildkit",
	"github.com/google/go-containerregistry":           "internal/adapt/registry",
	"github.com/distribution/distribution":             "internal/adapt/localregistry",
	"github.com/docker/cli":                            "internal/adapt/creds",
	"go.yaml.in/yaml":                                  "internal/adapt/yamldoc",
	"github.com/klauspost/compress":                    "internal/adapt/runlog internal/adapt/registry",
	"github.com/spf13/cobra":                           "internal/show/cli",
	"github.com/moby/patternmatcher":                   "internal/adapt/filetree",
	"github.com/distribution/reference":                "internal/adapt/fleetfile internal/adapt/docker",
	"gonum.org/v1/gonum":                               "internal/decide/stat",
	"github.com/rogpeppe/go-internal":                  "internal/show/cli",
	"github.com/hashicorp/hcl":                         "internal/adapt/bakefile",
	"github.com/parquet-go/parquet-go":                 "internal/adapt/rows",
	"charm.land":                                       "internal/show/screen",
	"github.com/charmbracelet":                         "internal/show/text",
	"go.opentelemetry.io":                              "internal/show/telemetry",
	"github.com/prometheus":                            "internal/show/telemetry",
	"github.com/go-logr/logr":                          "internal/show/telemetry",
}

// own says which wing alone may import one of our packages: what people are shown
// of a recorded run comes by way of internal/run/archive.
var own = map[string]string{"internal/adapt/runlog": "internal/run"}

type file struct {
	path string
	ast  *ast.File
	fset *token.FileSet
	test bool
}

// line is where a node of the file is.
func (f file) line(n ast.Node) int { return f.fset.Position(n.Pos()).Line }

func (f file) imports() []string {
	var out []string
	for _, s := range f.ast.Imports {
		p, _ := strconv.Unquote(s.Path.Value)
		out = append(out, p)
	}
	return out
}

// sources parses every Go file of the module itself: asking the go command
// would be cached and would miss a violation.
func sources(t *testing.T) []file {
	t.Helper()
	var out []file
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "peer" || strings.HasPrefix(d.Name(), ".") && p != ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		out = append(out, file{filepath.ToSlash(p), f, fset, strings.HasSuffix(p, "_test.go") || strings.HasSuffix(path.Dir(filepath.ToSlash(p)), "test") || strings.HasPrefix(p, "internal/testfleet") || strings.HasPrefix(p, "bench")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("found only %d Go files", len(out))
	}
	return out
}

func wingOf(p string) string {
	for w := range wings {
		if p == w || strings.HasPrefix(p, w+"/") {
			return w
		}
	}
	return ""
}

func TestWings(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || !strings.Contains(f.path, "/") {
			continue
		}
		wing := wingOf(f.path)
		if wing == "" {
			t.Errorf("%s is in no wing", f.path)
			continue
		}
		for _, imp := range f.imports() {
			rel, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			to := wingOf(rel)
			if owner := own[rel]; owner != "" && wing != owner {
				t.Errorf("%s imports %s, which only %s may", f.path, rel, owner)
			}
			if rel == path.Dir(f.path) || slices.Contains(wings[wing], to) || slices.Contains(wings[wing], rel) {
				continue
			}
			t.Errorf("%s imports %s: %s may import only %v", f.path, rel, wing, wings[wing])
		}
	}
}

func TestPure(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || !slices.Contains(pure, wingOf(f.path)) {
			continue
		}
		for _, imp := range f.imports() {
			for _, bad := range impure {
				if imp == bad || strings.HasPrefix(imp, bad+"/") {
					t.Errorf("%s imports %s: model and decide are pure", f.path, imp)
				}
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine: model and decide are pure", f.path)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "Tick", "NewTimer", "NewTicker"}, n.Sel.Name) {
					t.Errorf("%s reads the clock with time.%s: model and decide are pure", f.path, n.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestForeign(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		for _, imp := range f.imports() {
			owner, prefix := "", ""
			for p, o := range foreign {
				if (imp == p || strings.HasPrefix(imp, p+"/")) && len(p) > len(prefix) {
					owner, prefix = o, p
				}
			}
			if owner != "" && !slices.ContainsFunc(strings.Fields(owner), func(o string) bool { return strings.HasPrefix(f.path, o+"/") }) {
				t.Errorf("%s imports %s, which only %s may", f.path, imp, owner)
			}
		}
	}
}

// programs says which package alone may run a program by its name.
var programs = map[string]string{"git": "internal/adapt/gitrepo", "docker": "internal/adapt/docker"}

func TestPrograms(t *testing.T) {
	runs := 0
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			fn, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !strings.HasPrefix(fn.Sel.Name, "Command") {
				return true
			}
			for _, a := range call.Args {
				lit, ok := a.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					continue
				}
				name, _ := strconv.Unquote(lit.Value)
				if owner := programs[name]; owner != "" {
					runs++
					if path.Dir(f.path) != owner {
						t.Errorf("%s runs %s, which only %s may", f.path, name, owner)
					}
				}
			}
			return true
		})
	}
	if runs == 0 {
		t.Error("found no program that is run")
	}
}

// TestDocumented asks for a doc comment on every package and exported name.
func TestDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		dir := path.Dir(f.path)
		documented[dir] = documented[dir] || f.ast.Doc != nil
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
					t.Errorf("%s: %s has no doc comment", f.path, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if ts, ok := s.(*ast.TypeSpec); ok && ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil {
						t.Errorf("%s: %s has no doc comment", f.path, ts.Name.Name)
					}
					if vs, ok := s.(*ast.ValueSpec); ok && vs.Names[0].IsExported() && d.Doc == nil && vs.Doc == nil {
						t.Errorf("%s: %s has no doc comment", f.path, vs.Names[0].Name)
					}
				}
			}
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc comment", dir)
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	if s, ok := typ.(*ast.StarExpr); ok {
		typ = s.X
	}
	if ix, ok := typ.(*ast.IndexExpr); ok {
		typ = ix.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

// TestNoInit forbids init functions: nothing happens because a package is imported.
func TestNoInit(t *testing.T) {
	for _, f := range sources(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function", f.path)
			}
		}
	}
}
