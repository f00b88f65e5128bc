package fleetfile_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// memory reads files from a map.
func memory(files map[string]string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if s, ok := files[filepath.ToSlash(name)]; ok {
			return []byte(s), nil
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
}

func TestLoadPlaces(t *testing.T) {
	dir := unpack(t, []txtar.File{
		{Name: "sub/fleet.yaml", Data: []byte("images: {from: ids.txt, base: debian, tag: \"example.com/o:{{.id}}\"}\n")},
		{Name: "sub/ids.txt", Data: []byte("a\n")},
		{Name: "sub/Dockerfile"},
		{Name: "empty/x"},
	})
	for _, tt := range []struct{ name, path, pos string }{
		{"a folder", "sub", "sub/ids.txt:1:1"},
		{"a file", "sub/fleet.yaml", "sub/ids.txt:1:1"},
		{"a file in another folder", "empty/../sub/fleet.yaml", "sub/ids.txt:1:1"},
		{"an absolute path", filepath.Join(dir, "sub"), filepath.Join(dir, "sub/ids.txt") + ":1:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fl, err := fleetfile.Load(tt.path, fleetfile.Options{Rows: rows.Read})
			if err != nil {
				t.Fatal(err)
			}
			if got := fl.Images[0].Pos.String(); got != tt.pos {
				t.Errorf("declared at %s, want %s", got, tt.pos)
			}
			if fl.Name != "sub" || fl.File != filepath.Join(dir, "sub/fleet.yaml") || fl.Recipe.Context != filepath.Join(dir, "sub") {
				t.Errorf("%s %s %s", fl.Name, fl.File, fl.Recipe.Context)
			}
		})
	}
	for path, want := range map[string]string{
		"gone.yaml":      "gone.yaml: the fleet file does not exist [fleet-not-found]\n    help: name a fleet file, or a folder with a fleet.yaml",
		"empty":          "empty/fleet.yaml: the fleet file does not exist [fleet-not-found]\n    help: name a fleet file, or a folder with a fleet.yaml",
		"empty/x/y.yaml": "empty/x/y.yaml: the fleet file cannot be read: not a directory [fleet-not-found]\n    help: name a fleet file, or a folder with a fleet.yaml",
	} {
		_, err := fleetfile.Load(path, fleetfile.Options{Rows: rows.Read})
		if diag.KindOf(err) != diag.File {
			t.Fatalf("%s: kind %s", path, diag.KindOf(err))
		}
		if d := cmp.Diff(want, err.Error()); d != "" {
			t.Error(d)
		}
	}
}

func TestHomeFolder(t *testing.T) {
	t.Setenv("HOME", "/home/of/test")
	fl, err := fleetfile.Parse("fleet.yaml", []byte(`images: {ids: [a], base: debian, tag: "example.com/o:{{.id}}"}
secrets: [{id: npm, file: ~/.npmrc}]
ssh: [{paths: [~/.ssh/id, keys/id]}]
`), memory(nil), fleetfile.Options{Rows: rows.Read})
	if err != nil {
		t.Fatal(err)
	}
	here, _ := os.Getwd()
	want := []string{"/home/of/test/.npmrc", "/home/of/test/.ssh/id", filepath.Join(here, "keys/id")}
	if d := cmp.Diff(want, append([]string{fl.Secrets[0].File}, fl.SSH[0].Paths...)); d != "" {
		t.Error(d)
	}
}

func TestNotUTF8(t *testing.T) {
	for _, tt := range []struct {
		name string
		text []byte
		want string
	}{
		{"latin 1", []byte("name: x\n# \xe9\n"), "fleet.yaml:2:3"},
		{"utf-16", []byte("n\x00a\x00"), "fleet.yaml:1:2"},
		{"a control character", []byte("name: x\nimages: \x01\n"), "fleet.yaml:2:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := fleetfile.Parse("fleet.yaml", tt.text, memory(nil), fleetfile.Options{Rows: rows.Read})
			var l diag.List
			if !errors.As(err, &l) || len(l) != 1 || l[0].Code != diag.FleetSyntax || l[0].Pos.String() != tt.want {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestSyntaxInALargeFile breaks one line of many and expects it to be named,
// also after values that go on over several lines.
func TestSyntaxInALargeFile(t *testing.T) {
	var good strings.Builder
	good.WriteString("images:\n  base: [a,\n    b,\n    c]\n  ids:\n")
	for i := range 3000 {
		fmt.Fprintf(&good, "    - id-%d\n", i)
	}
	lines := strings.Split(good.String(), "\n")
	for _, at := range []int{6, 7, 500, 2999} {
		broken := append([]string(nil), lines...)
		broken[at-1] = "    id: 'x"
		_, err := fleetfile.Parse("fleet.yaml", []byte(strings.Join(broken, "\n")), memory(nil), fleetfile.Options{Rows: rows.Read})
		var l diag.List
		if !errors.As(err, &l) || len(l) != 1 || l[0].Pos.Line != at || l[0].Code != diag.FleetSyntax {
			t.Errorf("line %d: %v", at, err)
		}
	}
}

func TestRowReaderErrors(t *testing.T) {
	text := []byte("images: {from: ids.txt, base: debian, tag: \"example.com/o:{{.id}}\"}\n")
	files := memory(map[string]string{"ids.txt": "a"})
	for name, read := range map[string]fleetfile.ReadRows{
		"none":            nil,
		"not a list":      func(string, string, []byte) ([]fleet.Row, error) { return nil, errors.New("broken") },
		"rows and errors": func(string, string, []byte) ([]fleet.Row, error) { return []fleet.Row{{}}, errors.New("broken") },
	} {
		if _, err := fleetfile.Parse("fleet.yaml", text, files, fleetfile.Options{Rows: read}); diag.KindOf(err) != diag.File {
			t.Errorf("%s: %s %v", name, diag.KindOf(err), err)
		}
	}
}

// example is a random fleet of several blocks with what it must turn into.
type example struct {
	text  string
	files map[string]string
	ids   []string
}

func drawExample(t *rapid.T) example {
	ex := example{files: map[string]string{}}
	ids := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9][a-z0-9_.\-]{0,12}`), 1, 30, rapid.ID).Draw(t, "ids")
	var b strings.Builder
	b.WriteString("recipe: {args: {V: \"1.0\"}}\nimages:\n")
	for n := 0; len(ids) > 0; n++ {
		take := ids[:rapid.IntRange(1, len(ids)).Draw(t, "take")]
		ids = ids[len(take):]
		fmt.Fprintf(&b, "  - base: \"example.com/base:{{.id}}\"\n    tags: [\"example.com/o:{{.id}}-{{.args.V}}\"]\n    args: {I: \"{{.index}}\", ID: \"{{.id}}\"}\n")
		excluded := map[string]bool{}
		for _, id := range take {
			if rapid.IntRange(0, 4).Draw(t, "exclude") == 0 {
				excluded[id] = true
			} else {
				ex.ids = append(ex.ids, id)
			}
		}
		if len(excluded) > 0 {
			b.WriteString("    exclude:\n")
			for id := range excluded {
				fmt.Fprintf(&b, "      - %q\n", id)
			}
		}
		if rapid.Bool().Draw(t, "inline") {
			fmt.Fprintf(&b, "    ids: [\"%s\"]\n", strings.Join(take, "\", \""))
			continue
		}
		name := fmt.Sprintf("rows%d.jsonl", n)
		fmt.Fprintf(&b, "    from: %s\n", name)
		for _, id := range take {
			ex.files[name] += fmt.Sprintf("{\"id\": %q}\n", id)
		}
	}
	ex.text = b.String()
	return ex
}

// TestFleetProperties: images are in declared order, ids and tags are unique,
// every image is complete, and a second reading gives the same fleet.
func TestFleetProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ex := drawExample(t)
		read := func() (*fleet.Fleet, error) {
			return fleetfile.Parse("fleet.yaml", []byte(ex.text), memory(ex.files), fleetfile.Options{Rows: rows.Read})
		}
		fl, err := read()
		if len(ex.ids) == 0 {
			if err == nil {
				t.Fatal("a fleet without images has no problem")
			}
			return
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, ex.text)
		}
		var ids []string
		seen := map[string]bool{}
		for _, im := range fl.Images {
			ids = append(ids, im.ID)
			want := fleet.Image{ID: im.ID, Pos: im.Pos, Base: "example.com/base:" + im.ID,
				Tags: []string{"example.com/o:" + im.ID + "-1.0"}, Args: map[string]string{"I": im.Args["I"], "ID": im.ID}}
			if d := cmp.Diff(want, im); d != "" {
				t.Fatal(d)
			}
			if seen[im.Tags[0]] || im.Pos.Line == 0 {
				t.Fatalf("%s at %s", im.Tags[0], im.Pos)
			}
			seen[im.Tags[0]] = true
		}
		if d := cmp.Diff(ex.ids, ids); d != "" {
			t.Fatal(d)
		}
		again, err := read()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(fl, again); d != "" {
			t.Fatal(d)
		}
	})
}

// TestProblemsAreDeterministic reads a file with problems of many kinds again
// and again.
func TestProblemsAreDeterministic(t *testing.T) {
	text := []byte(`images:
  from: rows.jsonl
  base: "example.com/{{.a}}{{.b}}"
  tag: "example.com/o:{{.c}}"
  args: {A: "{{.x}}", B: "{{.y}}", C: "{{.z}}"}
  labels: {a: "{{.x}}", b: "{{.y}}"}
  exclude: [p, q, r]
`)
	files := memory(map[string]string{"rows.jsonl": "{\"id\": \"1\", \"a\": 1}\n{\"id\": \"2\", \"x\": 1}\n{\"id\": \"3\", \"y\": 1, \"z\": {}}\n"})
	var first string
	for i := range 30 {
		_, err := fleetfile.Parse("fleet.yaml", text, files, fleetfile.Options{Rows: rows.Read})
		if err == nil {
			t.Fatal("no problems")
		}
		if i == 0 {
			first = err.Error()
		} else if d := cmp.Diff(first, err.Error()); d != "" {
			t.Fatal(d)
		}
	}
}

// TestManyProblemsAreBounded expects a fleet of which every image has a problem
// to say so briefly.
func TestManyProblemsAreBounded(t *testing.T) {
	var list strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&list, "{\"id\": \"A%d\", \"n\": %d}\n", i/2, i)
	}
	_, err := fleetfile.Parse("fleet.yaml", []byte("images: {from: r.jsonl, base: \"example.com/{{.id}}\", tag: \"example.com/o:{{.id}}\"}\n"),
		memory(map[string]string{"r.jsonl": list.String()}), fleetfile.Options{Rows: rows.Read})
	var l diag.List
	if !errors.As(err, &l) || len(l) != 42 {
		t.Fatalf("%d problems", len(l))
	}
	for _, code := range []diag.Code{diag.ImageDuplicate, diag.FleetReference} {
		count := 0
		last := ""
		for _, p := range l {
			if p.Code == code {
				count++
				last = p.Message
			}
		}
		if count != 21 || last != "4980 more problems of this kind begin here" {
			t.Errorf("%s: %d problems, the last says %q", code, count, last)
		}
	}
}

// FuzzParse asserts that no text makes the parser panic, that what it accepts
// is complete and that what it refuses points into the file.
func FuzzParse(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.txtar")
	for _, name := range names {
		arc, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		var list string
		for _, file := range arc.Files {
			if strings.HasPrefix(file.Name, "rows.") || file.Name == "ids.txt" {
				list = string(file.Data)
			}
		}
		f.Add(arc.Files[0].Data, list)
	}
	f.Fuzz(func(t *testing.T, text []byte, list string) {
		read := func(string) ([]byte, error) { return []byte(list), nil }
		fl, err := fleetfile.Parse("fleet.yaml", text, read, options())
		if err == nil {
			ids, tags := map[string]bool{}, map[string]bool{}
			for _, im := range fl.Images {
				if im.ID == "" || im.Base == "" || len(im.Tags) == 0 || ids[im.ID] {
					t.Errorf("image %+v", im)
				}
				ids[im.ID] = true
				for _, tag := range im.Tags {
					if tags[tag] {
						t.Errorf("tag %s twice", tag)
					}
					tags[tag] = true
				}
			}
			if len(fl.Images) == 0 || fl.Platform == "" || (fl.Recipe.BaseArg == "") == (fl.Recipe.BaseFrom == "") {
				t.Errorf("fleet %+v", fl)
			}
			return
		}
		var l diag.List
		if !errors.As(err, &l) {
			t.Fatalf("error %v is not a list of problems", err)
		}
		if len(err.Error()) > 1<<20+100*len(text) {
			t.Errorf("the problems take %d bytes", len(err.Error()))
		}
		for _, p := range l {
			if p.Message == "" || p.Pos.File == "" || p.Pos.Line < 0 {
				t.Errorf("problem %+v", p)
			}
		}
	})
}

func BenchmarkParse10000(b *testing.B) {
	var list strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&list, "{\"instance_id\": \"org%d__Repo-%d\", \"repo\": \"org/repo\", \"version\": \"4.2\", \"n\": %d}\n", i%100, i, i)
	}
	text := []byte(`images:
  from: rows.jsonl
  id: "{{.instance_id}}"
  base: "docker.io/swebench/sweb.eval.x86_64.{{swebench .id}}:latest"
  tags: ["registry.example.com/agents:{{lower .id}}", "registry.example.com/agents:{{.index}}-x"]
  args: {INSTANCE: "{{.id}}"}
`)
	files := memory(map[string]string{"rows.jsonl": list.String()})
	for b.Loop() {
		fl, err := fleetfile.Parse("fleet.yaml", text, files, fleetfile.Options{Rows: rows.Read})
		if err != nil || len(fl.Images) != 10000 {
			b.Fatal(err)
		}
	}
}
