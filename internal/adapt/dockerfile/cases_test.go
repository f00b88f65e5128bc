package dockerfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
	"github.com/rogpeppe/go-internal/txtar"
)

// testCase is the options.json of a case.
type testCase struct {
	Args     map[string]string
	Labels   map[string]string
	Contexts map[string]string
	Target   string
	BaseFrom string
	Network  string
	Platform string
	Epoch    int64
	Image    fleet.Image
	View     json.RawMessage
	Layers   *int
}

const defaultView = `{"architecture":"amd64","config":{"Env":["PATH=/usr/local/bin:/usr/bin:/bin","HOME=/root"]},"os":"linux"}`

var unique = map[string]string{"context": "sha256:main", "assets": "sha256:assets"}

// testImages answers for any image but those whose name says that it is missing.
func testImages(_ context.Context, ref, _ string) (graph.Digest, []byte, error) {
	if strings.Contains(ref, "missing") {
		return "", nil, diag.Errorf(diag.Infra, "push it first", "resolve %s: not found", ref)
	}
	return graph.Digest(sum([]byte(ref))), []byte(`{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:1111111111111111111111111111111111111111111111111111111111111111"]}}`), nil
}

type loaded struct {
	testCase
	dir  string
	opt  Options
	base *fact.Base
}

// load writes a case's files and makes the options that it asks for.
func load(t testing.TB, a *txtar.Archive) loaded {
	t.Helper()
	c := loaded{dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(c.dir, "ctx"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		switch f.Name {
		case "want":
		case "options.json":
			if err := json.Unmarshal(bytes.ReplaceAll(f.Data, []byte("$DIR"), []byte(c.dir)), &c.testCase); err != nil {
				t.Fatal(err)
			}
		default:
			name := filepath.Join(c.dir, f.Name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, f.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.opt = Options{
		Recipe: fleet.Recipe{
			Dockerfile: filepath.Join(c.dir, "Dockerfile"), Context: filepath.Join(c.dir, "ctx"), BaseArg: "BASE_IMAGE",
			Target: c.Target, Args: c.Args, Contexts: c.Contexts, Labels: c.Labels, Network: c.Network,
		},
		Unique:   unique,
		Images:   testImages,
		Platform: c.Platform,
	}
	if c.BaseFrom != "" {
		c.opt.Recipe.BaseArg, c.opt.Recipe.BaseFrom = "", c.BaseFrom
	}
	if c.Epoch != 0 {
		e := time.Unix(c.Epoch, 0).UTC()
		c.opt.Epoch = &e
	}
	if c.View == nil {
		c.View = json.RawMessage(defaultView)
	}
	if c.Image.Base == "" {
		c.Image.Base = "registry.example.com:5000/org/app:v1"
	}
	c.base = baseOf(c.Image.Base, c.View)
	if _, d, ok := strings.Cut(c.Image.Base, "@"); ok {
		c.base.Digest = graph.Digest(d)
	}
	if c.Layers != nil && *c.Layers == 0 {
		c.base.DiffIDs, c.base.Layers = nil, nil
	}
	return c
}

func baseOf(ref string, view json.RawMessage) *fact.Base {
	return &fact.Base{Ref: ref, Digest: graph.Digest(sum([]byte(ref))), DiffIDs: []graph.Digest{"sha256:x"}, View: view}
}

func cases(t testing.TB) map[string]string {
	t.Helper()
	names, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(names) < 30 {
		t.Fatalf("%d cases, %v", len(names), err)
	}
	out := map[string]string{}
	for _, n := range names {
		out[strings.TrimSuffix(filepath.Base(n), ".txtar")] = n
	}
	return out
}

// TestCases compares what each small Dockerfile becomes with the golden part of
// its file, and checks what must hold for all.
func TestCases(t *testing.T) {
	for name, file := range cases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := load(t, a)
			r, err := Open(c.opt)
			var v *graph.Variant
			if err == nil {
				v, err = r.Variant(t.Context(), c.base, c.Image)
			}
			var got string
			if err != nil {
				got = renderError(err)
			} else {
				got = render(v)
				checkVariant(t, c, r, v)
			}
			golden.Part(t, file, a, strings.ReplaceAll(got, c.dir, "$DIR"))
		})
	}
}

func renderError(err error) string {
	var l diag.List
	if errors.As(err, &l) {
		return "file\n" + l.Error() + "\n"
	}
	return fmt.Sprintf("%s\n%v\nhelp: %s\n", diag.KindOf(err), err, diag.HelpOf(err))
}

// render writes a variant with the numbers of steps in place of digests, which
// change with every version of BuildKit.
func render(v *graph.Variant) string {
	var b strings.Builder
	number := map[graph.Digest]int{}
	for i, s := range v.Graph.Steps {
		number[s.Digest] = i
		bound := " "
		if s.BaseBound {
			bound = "*"
		}
		fmt.Fprintf(&b, "%2d %s %-5s %s:%d %q line %d", i, bound, s.Kind, s.Key.Stage, s.Key.Ordinal, s.Key.Text, s.Pos.Line)
		for _, in := range s.Inputs {
			fmt.Fprintf(&b, " <%d", number[in])
		}
		b.WriteString("\n")
		if s.Source != "" && !s.BaseBound {
			fmt.Fprintf(&b, "     reads %s\n", s.Source)
		}
		for _, u := range s.Uses {
			data, _ := json.Marshal(u)
			fmt.Fprintf(&b, "     uses %s\n", data)
		}
		if len(s.Secrets)+len(s.SSH) > 0 {
			fmt.Fprintf(&b, "     secrets %q ssh %q\n", s.Secrets, s.SSH)
		}
	}
	if v.Shared != nil {
		b.WriteString("append")
		for _, in := range v.Shared.Inputs {
			fmt.Fprintf(&b, " %d", number[in])
		}
		b.WriteString("\n")
	} else {
		b.WriteString("build\n")
	}
	for _, bl := range v.Build {
		fmt.Fprintf(&b, "     %s step %d line %d: %s\n", bl.Code, number[bl.Step], bl.Pos.Line, bl.Detail)
	}
	fmt.Fprintf(&b, "config %s\n", v.Config)
	for _, h := range v.History {
		data, _ := json.Marshal(h)
		fmt.Fprintf(&b, "history %s\n", data)
	}
	for _, n := range v.Notes {
		fmt.Fprintf(&b, "note %s\n", n.Error())
	}
	return b.String()
}
