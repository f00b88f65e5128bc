package fleetfile_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

const schemaFile = "../../../docs/reference/fleet.schema.json"

// compiledSchema generates the schema file, and compiles it.
func compiledSchema(t *testing.T) (*jsonschema.Schema, any) {
	t.Helper()
	text, err := fleetfile.Schema()
	if err != nil {
		t.Fatal(err)
	}
	if golden.Update() {
		if err := os.WriteFile(schemaFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(schemaFile); err != nil || string(got) != string(text) {
		t.Errorf("%s is not what the program says; run this test with -update (%v)", schemaFile, err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("fleet.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("fleet.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s, doc
}

// structural are archives whose fleet file has a wrong structure, which a schema
// can see; in the others a value is wrong.
var structural = []string{"bad-unknown", "bad-type", "bad-missing", "bad-images-text", "bad-images-shape", "bad-no-images", "bad-scalar", "bad-limits-type", "bad-source-shape"}

// TestSchema: every good fleet file is valid, and no file of a wrong structure.
func TestSchema(t *testing.T) {
	s, _ := compiledSchema(t)
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		good := strings.HasPrefix(name, "good-")
		if !good && !slices.Contains(structural, name) {
			continue
		}
		seen++
		arc, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range arc.Files {
			if f.Name != fleetfile.FileName {
				continue
			}
			var v any
			if err := yaml.Unmarshal(f.Data, &v); err != nil && good {
				t.Errorf("%s: %v", name, err)
			} else if err != nil {
				continue // an editor says that, too
			}
			if err := s.Validate(asDecoded(v)); (err == nil) != good {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if seen < 11+len(structural) {
		t.Errorf("looked at only %d archives", seen)
	}
}

// asDecoded is a YAML value as the JSON decoder would give it: times are text.
func asDecoded(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = asDecoded(v[k])
		}
		return v
	case map[any]any:
		m := map[string]any{}
		for k, x := range v {
			m[fmt.Sprint(k)] = asDecoded(x)
		}
		return m
	case []any:
		for i := range v {
			v[i] = asDecoded(v[i])
		}
		return v
	case interface{ Unix() int64 }:
		return "a time"
	}
	return v
}

// TestSchemaFields: the schema has the fields that the reader knows, no more and
// no fewer.
func TestSchemaFields(t *testing.T) {
	_, doc := compiledSchema(t)
	var inSchema []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if p, ok := v["properties"].(map[string]any); ok && v["additionalProperties"] == false {
				var names []string
				for n := range p {
					names = append(names, n)
				}
				slices.Sort(names)
				inSchema = append(inSchema, strings.Join(names, " "))
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(doc)
	var inReader []string
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if fn, ok := call.Fun.(*ast.SelectorExpr); !ok || fn.Sel.Name != "Object" || len(call.Args) < 4 {
				return true
			}
			var names []string
			for _, a := range call.Args[2:] {
				if lit, ok := a.(*ast.BasicLit); ok {
					name, _ := strconv.Unquote(lit.Value)
					names = append(names, name)
				}
			}
			slices.Sort(names)
			inReader = append(inReader, strings.Join(names, " "))
			return true
		})
	}
	for _, l := range []*[]string{&inSchema, &inReader} {
		slices.Sort(*l)
		*l = slices.Compact(*l)
	}
	if d := cmp.Diff(inReader, inSchema); d != "" || len(inReader) < 15 {
		t.Errorf("(-reader +schema):\n%s", d)
	}
}
