package walk_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/decide/lineage"
)

// TestVerdicts changes one thing at a time.
func TestVerdicts(t *testing.T) {
	docker := func(old, now string) func(tree) tree {
		return func(at tree) tree { return at.edit(t, "Dockerfile", old, now) }
	}
	fleet := func(old, now string) func(tree) tree {
		return func(at tree) tree { return at.edit(t, "fleet.yaml", old, now) }
	}
	tests := []struct {
		name string
		// before makes the tree that the change is made to.
		before, change func(tree) tree
		verdict        lineage.Verdict
		check          func(lineage.Finding) bool
	}{
		{name: "command", change: docker(`CMD ["agent"]`, `CMD ["other"]`), verdict: lineage.Config},
		{name: "label of every image", change: fleet("  args:\n", "  labels: {team: a}\n  args:\n"), verdict: lineage.Config},
		{name: "label of one image", change: fleet("  ids:", "  labels: {id: \"{{.id}}\"}\n  ids:"), verdict: lineage.Config},
		{name: "image added", change: fleet("three]", "three, four]"), verdict: lineage.Members,
			check: func(f lineage.Finding) bool {
				return f.Refs.Added == 1 && f.Refs.Removed == 0 && f.Refs.Total == 3 && f.Refs.Pos.String() == "fleet.yaml:6"
			}},
		{name: "image removed", change: fleet(", three]", "]"), verdict: lineage.Members,
			check: func(f lineage.Finding) bool { return f.Refs.Added == 0 && f.Refs.Removed == 1 && f.Refs.Renamed == 0 }},
		{name: "bases", change: fleet("docker.io/bases", "docker.io/others"), verdict: lineage.PerImage,
			check: func(f lineage.Finding) bool { return f.Refs.Bases == 3 && f.Refs.Renamed == 0 }},
		{name: "a second tag", change: fleet("  tag: ", "  tags: [\"registry.example.com/more:{{.id}}\", \"registry.example.com/agents:x-{{.id}}\"]\n#"), verdict: lineage.Renamed,
			check: func(f lineage.Finding) bool { return f.Refs.Renamed == 6 && f.Refs.Total == 6 }},
		{name: "argument of each image", change: func(at tree) tree {
			return fleet("  ids:", "  args: {WHO: \"{{.id}}\"}\n  ids:")(docker("RUN groupadd", "ARG WHO\nRUN groupadd")(at))
		}, verdict: lineage.PerImage,
			check: func(f lineage.Finding) bool {
				// The first step that sees it says so once for each image.
				return len(f.Changes) == 6 && f.Changes[0].Images == 1 && f.Changes[0].Causes[0].Name == "WHO"
			}},
		{name: "argument that nobody sees", change: fleet("  ids:", "  args: {WHO: \"{{.id}}\"}\n  ids:"), verdict: lineage.Inert},
		{name: "stages renamed", change: func(at tree) tree {
			return docker("--from=builder", "--from=maker")(docker("AS builder", "AS maker")(at))
		}, verdict: lineage.Inert},
		{name: "link into the context", before: func(at tree) tree { return at.with("conf/base.conf", "->real.conf", "conf/real.conf", "one") },
			change: func(at tree) tree { return at.with("conf/real.conf", "two") }, verdict: lineage.PerImage,
			check: func(f lineage.Finding) bool { return strings.Join(f.Changes[0].Files, " ") == "conf/real.conf" }},
		{name: "linked Dockerfile", before: func(at tree) tree { return at.with("real", at["Dockerfile"], "Dockerfile", "->real") },
			change: func(at tree) tree { return at.edit(t, "real", "MODE=fast", "MODE=slow") }, verdict: lineage.PerImage},
		{name: "left out by the step", before: docker("COPY src src", "COPY --exclude=*.txt src src"),
			change: func(at tree) tree { return at.with("src/notes.txt", "one") }, verdict: lineage.Inert},
		{name: "file for folder", change: func(at tree) tree { return at.with("src/tool.py", "", "src/tool.py/main.py", "one") }, verdict: lineage.Content,
			check: func(f lineage.Finding) bool {
				return strings.Join(f.Changes[0].Files, " ") == "src/tool.py src/tool.py/main.py"
			}},
		{name: "ignored now", change: func(at tree) tree { return at.edit(t, ".dockerignore", "docs\n", "docs\nsrc/tool.py\n") }, verdict: lineage.Content},
		{name: "ignored in other words", change: func(at tree) tree { return at.edit(t, ".dockerignore", "docs\n", "# the docs\n./docs/\n") }, verdict: lineage.Inert},
		{name: "named context", before: func(at tree) tree {
			return fleet("  args:\n", "  contexts: {tools: tools}\n  args:\n")(docker("RUN groupadd", "COPY --from=tools bin /tools\nRUN groupadd")(at)).with("tools/bin/a", "one", "tools/README", "one")
		}, change: func(at tree) tree { return at.with("tools/bin/a", "two", "tools/README", "two") }, verdict: lineage.PerImage,
			check: func(f lineage.Finding) bool { return strings.Join(f.Changes[0].Files, " ") == "tools/bin/a" }},
		{name: "list of ids", before: func(at tree) tree {
			return fleet("ids: [one, two, three]", "from: list.txt")(at).with("list.txt", "one\ntwo\n")
		},
			change: func(at tree) tree { return at.with("list.txt", "one\n") }, verdict: lineage.Members},
		{name: "prepared file", before: func(at tree) tree {
			return at.edit(t, "fleet.yaml", "images:\n", "prepare:\n- name: made\n  run: [make]\n  inputs: [src]\n  outputs: [made]\nimages:\n").edit(t, "Dockerfile", "COPY src src", "COPY src made ./")
		}, change: func(at tree) tree { return at.with("README.md", "two") }, verdict: lineage.Inert},
		{name: "other repository", change: fleet("source: {ref: main}", "source: {ref: main, git: /nowhere}"), verdict: lineage.Broken},
		{name: "commit moves up", before: docker("RUN --mount", "ARG GIT_SHA\nRUN --mount"),
			change: func(at tree) tree {
				return docker("RUN apt-get", "ARG GIT_SHA\nRUN apt-get")(docker("ARG GIT_SHA\n", "")(at))
			}, verdict: lineage.PerImage,
			check: func(f lineage.Finding) bool {
				return len(f.Moves) == 2 && f.Moves[0].Step.Text == "RUN apt-get update" && len(f.Stops) == 0
			}},
		{name: "commit gone", before: docker("RUN --mount", "ARG GIT_SHA\nRUN --mount"), change: docker("ARG GIT_SHA\n", ""), verdict: lineage.PerImage,
			check: func(f lineage.Finding) bool { return len(f.Moves) == 0 && len(f.Stops) == 1 }},
	}
	h := newHistory(t)
	for i, tt := range tests {
		at := agent()
		if tt.before != nil {
			at = tt.before(at)
		}
		h.tag(fmt.Sprint("before-", i), h.commit("main", tt.name, at))
		h.tag(fmt.Sprint("after-", i), h.commit("main", tt.name, tt.change(at)))
	}
	w := h.walker(h.open())
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := w.Refs(t.Context(), "--refs", fmt.Sprint("before-", i), []string{fmt.Sprint("after-", i)})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.FromProblems.Err(); err != nil {
				t.Fatal(err)
			}
			if r.Counts[tt.verdict] != 1 {
				t.Fatalf("%v, want %s: %+v", r.Counts, tt.verdict, r.Entries)
			}
			if tt.check != nil && !tt.check(r.Entries[0].Finding) {
				t.Errorf("%+v %+v", r.Entries[0].Finding, r.Entries[0].Refs)
			}
			if (r.Distinct == 1) != (tt.verdict == lineage.Inert) {
				t.Errorf("%d distinct fingerprints", r.Distinct)
			}
			if tt.name == "prepared file" && !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "prepare") }) {
				t.Errorf("notes: %q", r.Notes)
			}
		})
	}
}

// TestManyArguments looks at some of many different sets of arguments, and says so.
func TestManyArguments(t *testing.T) {
	h := newHistory(t)
	at := agent().edit(t, "fleet.yaml", "ids: [one, two, three]", "from: list.txt\n  args: {WHO: \"{{.id}}\"}").edit(t, "Dockerfile", "RUN groupadd", "ARG WHO\nRUN groupadd")
	for i := range 40 {
		at["list.txt"] += fmt.Sprintf("id%d\n", i)
	}
	h.tag("start", h.commit("main", "start", at))
	h.commit("main", "mode", at.edit(t, "Dockerfile", "MODE=fast", "MODE=slow"))
	r, err := h.walker(h.open()).Range(t.Context(), "--range", "start", "main")
	if err != nil {
		t.Fatal(err)
	}
	if r.Counts[lineage.PerImage] != 1 || !slices.Contains(r.Notes, "16 of 40 different sets of arguments and bases are looked at") {
		t.Errorf("%v, %q", r.Counts, r.Notes)
	}
}
