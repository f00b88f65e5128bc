package walk_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/run/walk"
)

// agent is a recipe with a shared builder and steps on each base.
func agent() tree {
	return tree{
		"fleet.yaml": `recipe:
  source: {ref: main}
  args:
    GIT_SHA: "{{.source.commit}}"
images:
  ids: [one, two, three]
  base: "docker.io/bases/{{.id}}:latest"
  tag: "registry.example.com/agents:{{sha7 .source.commit}}-{{.id}}"
`,
		"Dockerfile": `ARG BASE_IMAGE
FROM docker.io/library/python:3.12 AS builder
WORKDIR /src
COPY uv.lock pyproject.toml ./
RUN uv sync
COPY src src
RUN uv build

FROM ${BASE_IMAGE} AS final
ENV MODE=fast
RUN apt-get update
COPY conf/base.conf /etc/base.conf
RUN groupadd agent
USER agent
WORKDIR /agent
RUN --mount=type=cache,target=/cache pip install agent
COPY --link conf/agent.conf /agent/agent.conf
COPY --link --from=builder /src/dist /agent/dist
CMD ["agent"]
`,
		".dockerignore": "docs\ntests\n**/*.md\n",
		"uv.lock":       "one", "pyproject.toml": "one", "src/agent.py": "one", "src/tool.py": "one", "src/README.md": "one",
		"conf/base.conf": "one", "conf/agent.conf": "one", "docs/index.html": "one", "docs/package-lock.json": "one",
		"tests/agent_test.py": "one", "README.md": "one",
	}
}

// step is a commit of the history with what must be said of it.
type step struct {
	subject string
	next    func(tree) tree
	verdict lineage.Verdict
	// at is part of the line of the Dockerfile that is to be named.
	at   string
	kind graph.FacetKind
	name string
}

func fortySteps(t testing.TB) []step {
	file := func(name, text string) func(tree) tree { return func(tr tree) tree { return tr.with(name, text) } }
	line := func(old, now string) func(tree) tree {
		return func(tr tree) tree { return tr.edit(t, "Dockerfile", old, now) }
	}
	fleet := func(old, now string) func(tree) tree {
		return func(tr tree) tree { return tr.edit(t, "fleet.yaml", old, now) }
	}
	per, shared, content, inert := lineage.PerImage, lineage.Shared, lineage.Content, lineage.Inert
	return []step{
		{"readme", file("README.md", "two"), inert, "", "", ""},
		{"sync faster", line("RUN uv sync", "RUN uv sync --frozen"), shared, "RUN uv sync", graph.FacetInstruction, ""},
		{"docs", file("docs/index.html", "two"), inert, "", "", ""},
		{"the commit in every image", line("RUN apt-get update", "ARG GIT_SHA\nRUN apt-get update"), per, "ARG GIT_SHA", graph.FacetArgument, "GIT_SHA"},
		{"comment", line("ARG BASE_IMAGE\n", "# the agent\nARG BASE_IMAGE\n"), inert, "", "", ""},
		{"a test", file("tests/agent_test.py", "two"), inert, "", "", ""},
		{"no link", line("COPY --link conf/agent.conf", "COPY conf/agent.conf"), per, "COPY conf/agent.conf", graph.FacetInstruction, ""},
		{"python 3.13", line("python:3.12", "python:3.13"), shared, "FROM docker.io/library/python", graph.FacetSource, ""},
		{"new test", file("tests/tool_test.py", "one"), inert, "", "", ""},
		{"unused argument", fleet("  args:\n", "  args:\n    NOBODY: sees it\n"), inert, "", "", ""},
		{"work elsewhere", line("WORKDIR /agent\n", "WORKDIR /opt/agent\n"), per, "WORKDIR /opt/agent", graph.FacetInstruction, ""},
		{"source", file("src/agent.py", "two"), content, "COPY src src", graph.FacetFiles, "src"},
		{"readme in src", file("src/README.md", "two"), inert, "", "", ""},
		{"lock of the docs", file("docs/package-lock.json", "two"), inert, "", "", ""},
		{"upgrade", line("RUN apt-get update", "RUN apt-get update && apt-get upgrade"), per, "RUN apt-get", graph.FacetInstruction, ""},
		{"build wheels", line("RUN uv build", "RUN uv build --wheel"), shared, "RUN uv build", graph.FacetInstruction, ""},
		{"unused argument again", fleet("NOBODY: sees it", "NOBODY: looks"), inert, "", "", ""},
		{"mode", line("ENV MODE=fast", "ENV MODE=slow"), per, "ENV MODE=slow", graph.FacetEnvironment, "MODE"},
		{"more docs", file("docs/more.html", "one"), inert, "", "", ""},
		{"cache the sync", line("RUN uv sync", "RUN --mount=type=cache,target=/uv uv sync"), shared, "uv sync", graph.FacetInstruction, ""},
		{"comment below", line("CMD [\"agent\"]\n", "# what runs\nCMD [\"agent\"]\n"), inert, "", "", ""},
		{"copy first", func(tr tree) tree {
			tr = tr.edit(t, "Dockerfile", "COPY conf/base.conf /etc/base.conf\n", "")
			return tr.edit(t, "Dockerfile", "ENV MODE=slow\n", "ENV MODE=slow\nCOPY conf/base.conf /etc/base.conf\n")
		}, per, "COPY conf/base.conf", graph.FacetInput, ""},
		{"licence", file("LICENSE", "one"), inert, "", "", ""},
		{"variable of the builder", line("RUN uv build", "ENV UV_QUIET=1\nRUN uv build"), shared, "ENV UV_QUIET", graph.FacetEnvironment, "UV_QUIET"},
		{"base conf", file("conf/base.conf", "two"), per, "COPY conf/base.conf", graph.FacetFiles, "conf/base.conf"},
		{"ci", file(".ci/build.yml", "one"), inert, "", "", ""},
		{"lock", file("uv.lock", "two"), content, "COPY uv.lock", graph.FacetFiles, "uv.lock pyproject.toml"},
		{"no more tests", file("tests/tool_test.py", ""), inert, "", "", ""},
		{"cache elsewhere", line("target=/cache", "target=/cache/pip"), per, "RUN --mount=type=cache,target=/cache/pip", graph.FacetInstruction, ""},
		{"unused default", line("FROM docker.io", "ARG NEVER=1\nFROM docker.io"), inert, "", "", ""},
		{"builder elsewhere", line("WORKDIR /src", "WORKDIR /work"), shared, "WORKDIR /work", graph.FacetInstruction, ""},
		{"spaces", line("ENV MODE=slow", "ENV  MODE=slow"), inert, "", "", ""},
		{"nobody", line("USER agent", "USER nobody"), per, "USER nobody", graph.FacetUser, ""},
		{"readme again", file("README.md", "three"), inert, "", "", ""},
		{"tool", file("src/tool.py", "two"), content, "COPY src src", graph.FacetFiles, "src"},
		{"unused default again", line("ARG NEVER=1", "ARG NEVER=2"), inert, "", "", ""},
		{"another package", line("pip install agent", "pip install agent boto3"), per, "pip install agent boto3", graph.FacetInstruction, ""},
		{"docs at last", file("docs/index.html", "three"), inert, "", "", ""},
		{"strip", line("RUN uv build --wheel", "RUN uv build --wheel && strip dist"), shared, "RUN uv build", graph.FacetInstruction, ""},
		{"the end", file("docs/end.html", "one"), inert, "", "", ""},
	}
}

// TestForty names each of ten regressions at its commit, line and cause among
// thirty commits that cost nothing per image.
func TestForty(t *testing.T) {
	h := newHistory(t)
	at := agent()
	h.tag("start", h.commit("main", "start", at))
	steps := fortySteps(t)
	want := map[string]string{}
	counts := map[lineage.Verdict]int{}
	for _, s := range steps {
		at = s.next(at)
		h.commit("main", s.subject, at)
		counts[s.verdict]++
		if s.verdict != lineage.Inert {
			want[s.subject] = fmt.Sprintf("%s Dockerfile:%d %s %s", s.verdict, lineOf(t, at["Dockerfile"], s.at), s.kind, s.name)
		}
	}
	w := h.walker(h.open())
	r, err := w.Range(t.Context(), "--range", "start", "main")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.FromProblems.Err(); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range r.Entries {
		c := e.Changes[0]
		got[e.Subject] = fmt.Sprintf("%s %s %s %s", e.Verdict, c.Causes[0].Pos, c.Causes[0].Kind, c.Causes[0].Name)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff(counts, r.Counts); d != "" || len(steps) != 40 || counts[lineage.PerImage] != 10 || counts[lineage.Inert] != 20 {
		t.Errorf("%d steps, %v: %s", len(steps), counts, d)
	}
	factors := ""
	for _, f := range r.Factors {
		factors += fmt.Sprintf("%s %s %d; ", f.Kind, f.Name, f.Commits)
	}
	if factors != "argument NEVER 2; argument NOBODY 2; lock file docs/package-lock.json 1; " {
		t.Errorf("inert factors: %s", factors)
	}
	if len(r.Moving) != 3 || r.Moving[0].Causes[0].Name != "GIT_SHA" || r.MovingRefs != 3 {
		t.Errorf("at every commit: %+v, %d refs", r.Moving, r.MovingRefs)
	}
	for i, e := range r.Entries {
		if (e.Verdict == lineage.PerImage) != (i < 10) {
			t.Errorf("entry %d is %s", i, e.Verdict)
		}
		if moves := len(e.Moves) > 0; moves != (e.Subject == "the commit in every image") {
			t.Errorf("%s: %v", e.Subject, e.Moves)
		}
		if e.Subject == "lock" && strings.Join(e.Changes[0].Locks, " ") != "uv.lock" {
			t.Errorf("lock files: %v", e.Changes[0].Locks)
		}
	}
	// 24 commits have a Dockerfile or values of their own: a conversion for each,
	// and one for another commit. The blobs are a Dockerfile for each conversion,
	// each of 3 fleet files twice, and the ignore file.
	if d := cmp.Diff(walk.Stats{Commits: 41, Changes: 54, Fleets: 3, Conversions: 48, Blobs: 55}, w.Stats()); d != "" {
		t.Error(d)
	}
}

// lineOf is the line of a text that holds another.
func lineOf(t testing.TB, text, part string) int {
	t.Helper()
	for i, l := range strings.Split(text, "\n") {
		if strings.Contains(l, part) {
			return i + 1
		}
	}
	t.Fatalf("no line holds %q", part)
	return 0
}
