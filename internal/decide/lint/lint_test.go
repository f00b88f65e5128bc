package lint_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lapstrake/lapstrake/internal/adapt/dockerfile"
	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/lint"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/rule"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

const standardFleet = `name: test
images:
  ids: [a, b, c]
  base: "registry.example.com/bases/{{.id}}@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  tag: "registry.example.com/agents:{{.id}}"
`

// config is that of every image but the bases whose name says that they have a
// more.
const config = `{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]%s},"rootfs":{"type":"layers","diff_ids":["sha256:1111111111111111111111111111111111111111111111111111111111111111"]}}`

func digest(s string) graph.Digest {
	return graph.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s))))
}

// open makes the input of a fleet in a folder, as the program does.
func open(t testing.TB, dir string) lint.Input { return openViews(t, dir, 1) }

// openViews is open with that many kinds of base, which take turns.
func openViews(t testing.TB, dir string, views int) lint.Input {
	t.Helper()
	fl, err := fleetfile.Load(dir, fleetfile.Options{Rows: rows.Read})
	if err != nil {
		t.Fatal(err)
	}
	r, err := dockerfile.Open(dockerfile.Options{Recipe: fl.Recipe, Platform: fl.Platform, Epoch: fl.Epoch, Images: func(_ context.Context, ref, _ string) (graph.Digest, []byte, error) {
		return digest(ref), fmt.Appendf(nil, config, ""), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	in := lint.Input{Fleet: fl, Outline: r.Outline(), Texts: map[string]string{}, Now: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)}
	for _, name := range []string{fl.File, fl.Recipe.Dockerfile} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		in.Texts[name] = string(data)
	}
	for i, im := range fl.Images {
		more := fmt.Sprintf(`,"WorkingDir":"/v%d"`, i%views)
		if strings.Contains(im.Base, "onbuild") {
			more += `,"OnBuild":["RUN make"]`
		}
		b := &fact.Base{Ref: im.Base, Digest: digest(im.Base), DiffIDs: []graph.Digest{"sha256:x"}, View: json.RawMessage(fmt.Sprintf(config, more))}
		v, err := r.Variant(context.Background(), b, im)
		if err != nil {
			t.Fatal(err)
		}
		in.Images = append(in.Images, planner.Facts{Image: im, Base: b, Variant: v})
	}
	cached(t, dir, &in)
	return in
}

// cached reads the file cache of a folder, where there is one: the repository that
// --cache names and, when there is a second word, the one that an earlier run of
// the same fleet kept its results in.
func cached(t testing.TB, dir string, in *lint.Input) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "cache"))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(text))
	in.Cache, in.Asked = words[0], true
	if len(words) > 1 {
		in.Kept = kept(words[1], in)
	}
}

// kept are the references that a build of the fleet keeps results under.
func kept(repo string, in *lint.Input) (refs []string) {
	for _, f := range in.Images {
		for _, r := range delta.CacheRefs(repo, &f.Variant.Graph, f.Files) {
			refs = append(refs, r.Ref)
		}
	}
	return refs
}

// unpack writes the files of an archive below a name to a fresh folder.
func unpack(t *testing.T, a *txtar.Archive, below string) string {
	t.Helper()
	dir := t.TempDir()
	files := append([]txtar.File{{Name: below + "/fleet.yaml", Data: []byte(standardFleet)}}, a.Files...)
	for _, f := range files {
		if name, ok := strings.CutPrefix(f.Name, below+"/"); ok {
			if err := os.WriteFile(filepath.Join(dir, name), f.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func render(list []lint.Finding, dir string) string {
	var b strings.Builder
	for _, f := range list {
		f.Pos.File = strings.TrimPrefix(f.Pos.File, dir+"/")
		fmt.Fprintf(&b, "%s: %s: %s [%s]\n", f.Pos, f.Severity, f.Message, f.Code)
		fmt.Fprintf(&b, "    | %s\n    %d executions, %d images\n", strings.TrimSpace(f.Source), f.Cost.Executions, f.Cost.Images)
		for _, s := range f.Inherit {
			fmt.Fprintf(&b, "    again %s\n", s)
		}
		fmt.Fprintf(&b, "    help: %s\n", f.Help)
		if f.Waiver != nil {
			fmt.Fprintf(&b, "    waived: %s\n", f.Waiver)
		}
	}
	return strings.ReplaceAll(b.String(), dir, "DIR")
}

// TestRules checks each rule by an archive of its name: what is in the folder
// bad is found, and what is in good is not. The file want has all findings of
// both.
func TestRules(t *testing.T) {
	for _, r := range rule.All() {
		t.Run(r.Code, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("testdata", r.Code+".txtar")
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, below := range []string{"bad", "good"} {
				dir := unpack(t, a, below)
				list := lint.Check(open(t, dir))
				text := render(list, dir)
				if has := strings.Contains(text, "["+r.Code+"]"); has != (below == "bad") {
					t.Errorf("%s: found is %v\n%s", below, has, text)
				}
				if strings.Contains(fmt.Sprintf("%+v", list), "hunter2") {
					t.Error("a secret is shown")
				}
				got.WriteString(below + "\n" + text)
			}
			golden.Part(t, path, a, got.String())
		})
	}
}
