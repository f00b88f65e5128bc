package dockerfile

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
	"github.com/rogpeppe/go-internal/txtar"
)

const recorded = "testdata/graphs.golden"

// frontEnd is the version of the library that converts.
func frontEnd(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^\s*github\.com/moby/buildkit (v\S+)`).FindSubmatch(data)
	if m == nil {
		t.Fatal("BuildKit is not among the dependencies")
	}
	return string(m[1])
}

// fingerprint is what a case's graph comes to, with whether its image is built:
// then a change of the fingerprint makes its image again on every base.
func fingerprint(v *graph.Variant) string {
	g := &v.Graph
	last := g.Steps[len(g.Steps)-1].Digest
	kind := "build"
	if v.Shared != nil {
		kind = "append"
	}
	return fmt.Sprintf("%s %d steps %s", kind, len(g.Steps), g.Fingerprints(nil)[last])
}

// record is the recorded form of graphs by case.
func record(version string, graphs map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "BuildKit %s\n", version)
	for _, name := range slices.Sorted(maps.Keys(graphs)) {
		fmt.Fprintf(&b, "%s %s\n", name, graphs[name])
	}
	return b.String()
}

// moved says how graphs differ from those that were recorded; "" when they do
// not. A graph that moved makes every image of such a recipe again.
func moved(was, now string) string {
	if was == now {
		return ""
	}
	split := func(text string) (string, map[string]string) {
		head, rest, _ := strings.Cut(text, "\n")
		out := map[string]string{}
		for line := range strings.Lines(rest) {
			name, graph, _ := strings.Cut(strings.TrimSpace(line), " ")
			out[name] = graph
		}
		return strings.TrimPrefix(head, "BuildKit "), out
	}
	oldVersion, old := split(was)
	newVersion, graphs := split(now)
	var b strings.Builder
	changed, solves := 0, 0
	for _, name := range slices.Sorted(maps.Keys(graphs)) {
		switch old[name] {
		case graphs[name]:
		case "":
			fmt.Fprintf(&b, "  %s is not recorded\n", name)
		default:
			changed++
			if strings.HasPrefix(graphs[name], "build") {
				solves++
			}
			fmt.Fprintf(&b, "  %s was %s, is %s\n", name, old[name], graphs[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if graphs[name] == "" {
			fmt.Fprintf(&b, "  %s is gone\n", name)
		}
	}
	return fmt.Sprintf("BuildKit %s -> %s: the graphs of %d of %d recipes moved, so that an update makes their images again, %d of them by a solve each\n%s", oldVersion, newVersion, changed, len(graphs), solves, b.String())
}

// TestRecordedGraphs: a version of BuildKit that makes other graphs is seen as
// such, before it makes every image of every fleet again.
func TestRecordedGraphs(t *testing.T) {
	graphs := map[string]string{}
	for name, file := range cases(t) {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := load(t, a)
		r, err := Open(c.opt)
		if err != nil {
			continue // what is wrong has no graph
		}
		if v, err := r.Variant(t.Context(), c.base, c.Image); err == nil {
			graphs[name] = fingerprint(v)
		}
	}
	if len(graphs) < 30 {
		t.Fatalf("only %d graphs", len(graphs))
	}
	now := record(frontEnd(t), graphs)
	if golden.Update() {
		if err := os.WriteFile(recorded, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	was, err := os.ReadFile(filepath.FromSlash(recorded))
	if err != nil {
		t.Fatal(err)
	}
	if text := moved(string(was), now); text != "" {
		t.Errorf("%srecord them with -update when this is meant", text)
	}
}

// TestMoved: what is said of graphs that moved.
func TestMoved(t *testing.T) {
	was := record("v1", map[string]string{"a": "append 2 steps x", "b": "build 3 steps y", "c": "build 1 steps z", "d": "build 1 steps q"})
	if text := moved(was, was); text != "" {
		t.Errorf("nothing moved, and it says %s", text)
	}
	now := record("v2", map[string]string{"a": "append 2 steps X", "b": "build 3 steps Y", "c": "build 1 steps z", "e": "build 1 steps e"})
	want := "BuildKit v1 -> v2: the graphs of 2 of 4 recipes moved, so that an update makes their images again, 1 of them by a solve each\n" +
		"  a was append 2 steps x, is append 2 steps X\n  b was build 3 steps y, is build 3 steps Y\n  e is not recorded\n  d is gone\n"
	if got := moved(was, now); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if text := moved(was, strings.Replace(was, "v1", "v2", 1)); !strings.Contains(text, "0 of 4 recipes moved") {
		t.Errorf("only the version differs: %s", text)
	}
}
