package walk_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/run/walk"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// verified is the agent on the bases of SWE-bench Verified, whose tags hold the
// bases' slugs.
func verified(t testing.TB, slug string) tree {
	at := agent().edit(t, "fleet.yaml", "ids: [one, two, three]", "from: ids.txt")
	at["ids.txt"] = strings.Join(testfleet.IDs(500), "\n") + "\n"
	at = at.edit(t, "fleet.yaml", "docker.io/bases/{{.id}}:latest", "docker.io/swebench/sweb.eval.x86_64.{{swebench .id}}:latest")
	return at.edit(t, "fleet.yaml", `agents:{{sha7 .source.commit}}-{{.id}}`, `cache:buildcache-{{`+slug+` .base}}`)
}

// TestFiveCheckpoints is the story of a bisection that was planned over five
// checkpoints, one of which came before the baseline, while at all of them the
// steps of every image were the same.
func TestFiveCheckpoints(t *testing.T) {
	h := newHistory(t)
	builder := func(at tree, text string) tree { return at.edit(t, "Dockerfile", "RUN uv build", "RUN uv build"+text) }
	at := verified(t, "slugFirst")
	commit := func(subject string) int { return h.commit("main", subject, at) }
	h.tag("c1", commit("checkpoint 1 to be, far too early"))
	commit("more")
	at = builder(at, " --one")
	h.tag("c2", commit("checkpoint 2"))
	for i := range 7 {
		at = at.with("README.md", fmt.Sprint(i))
		commit("work")
	}
	h.tag("baseline", commit("the fast run"))
	at = builder(at, " --two")
	h.tag("c1", commit("checkpoint 1"))
	at = builder(at, " --three")
	h.tag("c3", commit("checkpoint 3"))
	at = at.edit(t, "fleet.yaml", "slugFirst", "slug")
	commit("another slug")
	h.tag("c4", commit("checkpoint 4"))
	at = builder(at, " --four")
	h.tag("c5", commit("checkpoint 5"))
	w := h.walker(h.open())

	r, err := w.Refs(t.Context(), "--refs", "baseline", []string{"c1", "c2", "c3", "c4", "c5"})
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	for _, p := range r.Problems {
		text := p.Message
		for _, name := range []string{"c2", "baseline"} {
			text = strings.ReplaceAll(text, h.git("rev-parse", name)[:12], "…")
		}
		problems = append(problems, string(p.Code)+": "+text)
	}
	if d := cmp.Diff([]string{"history-ancestor: checkpoint 2, c2 (…), is an ancestor of the baseline baseline (…), 8 commits before it"}, problems); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[lineage.Verdict]int{lineage.Shared: 4, lineage.Renamed: 1}, r.Counts); d != "" {
		t.Error(d)
	}
	per := map[string]bool{}
	for _, s := range r.Spans {
		per[string(s.Fingerprint.PerImage)] = true
	}
	if len(per) != 1 {
		t.Errorf("the steps of every image are %d", len(per))
	}
	last := r.Entries[len(r.Entries)-1]
	got := fmt.Sprintf("%s: %d of %d refs at %s", last.Subject, last.Refs.Renamed, last.Refs.Total, last.Refs.Pos)
	if want := fmt.Sprintf("checkpoint 4: 392 of 500 refs at fleet.yaml:%d", lineOf(t, at["fleet.yaml"], "slug ")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if last.Refs.Bases != 0 || last.Inherit != (lineage.Steps{}) || len(last.Changes) != 0 {
		t.Errorf("%+v", last)
	}
}

// TestMerges names a change where it was made, not again where it is merged; a
// merge that makes something of its own is named.
func TestMerges(t *testing.T) {
	h := newHistory(t)
	at := agent()
	run := func(at tree, text string) tree {
		return at.edit(t, "Dockerfile", "RUN groupadd agent", "RUN groupadd agent"+text)
	}
	start := h.commit("main", "start", at)
	h.tag("start", start)
	side := run(at, " side")
	h.branch("side", start, at)
	one := h.commit("side", "side", side)
	h.branch("main", start, at)
	source := at.with("src/agent.py", "two")
	h.commit("main", "source", source)
	both := run(source, " side")
	merged := h.commit("main", "merge", both, one)
	h.branch("other", merged, both)
	two := h.commit("other", "docs", both.with("README.md", "two"))
	h.branch("main", merged, both)
	h.commit("main", "lib", both.with("src/lib.py", "one"))
	h.commit("main", "evil", run(both.with("src/lib.py", "one", "README.md", "two"), " evil"), two)
	r, err := h.walker(h.open()).Range(t.Context(), "--range", "start", "main")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range r.Entries {
		got[e.Subject] = fmt.Sprint(e.Verdict, " ", e.Merge)
	}
	want := map[string]string{"side": "per-image false", "source": "content false", "merge": "content true", "lib": "content false", "evil": "per-image true"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestOrder tells a list of commits that is none.
func TestOrder(t *testing.T) {
	h := newHistory(t)
	at := agent()
	var marks []int
	for i := range 4 {
		at = at.with("README.md", fmt.Sprint(i))
		marks = append(marks, h.commit("main", "work", at))
		h.tag(fmt.Sprintf("v%d", i), marks[i])
	}
	h.branch("side", marks[1], at)
	h.tag("parted", h.commit("side", "side", at.with("README.md", "side")))
	repo := h.open()
	tests := []struct {
		name, baseline string
		refs           []string
		want           string
	}{
		{name: "in order", baseline: "v0", refs: []string{"v1", "v2", "v3"}},
		{name: "no baseline", refs: []string{"v1", "v3"}},
		{name: "before the baseline", baseline: "v2", refs: []string{"v0", "v3"}, want: "history-ancestor"},
		{name: "the baseline", baseline: "v2", refs: []string{"v2"}, want: "history-duplicate"},
		{name: "twice", refs: []string{"v1", "v2", "v1"}, want: "history-duplicate"},
		{name: "backwards", refs: []string{"v2", "v1"}, want: "history-order"},
		{name: "parted", refs: []string{"v3", "parted"}, want: "history-diverged"},
		{name: "parted from the baseline", baseline: "v3", refs: []string{"parted"}, want: "history-diverged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := h.walker(repo).Refs(t.Context(), "--refs", tt.baseline, tt.refs)
			if err != nil {
				t.Fatal(err)
			}
			var codes []string
			for _, p := range r.Problems {
				codes = append(codes, string(p.Code))
			}
			if got := strings.Join(codes, " "); got != tt.want {
				t.Errorf("%q, want %q: %v", got, tt.want, r.Problems)
			}
		})
	}
	for span, want := range map[string]string{"v0 v2": "", "v2 v0": "history-order", "v1 v1": "history-duplicate", "v3 parted": "history-diverged"} {
		from, to, _ := strings.Cut(span, " ")
		r, err := h.walker(repo).Range(t.Context(), "--range", from, to)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(r.Problems); (want == "") != (len(r.Problems) == 0) || !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", span, got, want)
		}
	}
}

// TestBroken goes over commits at which the fleet cannot be planned.
func TestBroken(t *testing.T) {
	h := newHistory(t)
	at := agent()
	h.tag("start", h.commit("main", "start", at))
	h.commit("main", "typo", at.edit(t, "Dockerfile", "RUN uv sync", "RAN uv sync"))
	h.commit("main", "still", at.edit(t, "Dockerfile", "RUN uv sync", "RAN uv sync").with("README.md", "x"))
	h.commit("main", "mended", at)
	h.commit("main", "no file", at.with("conf/base.conf", ""))
	h.commit("main", "back, and more", at.edit(t, "Dockerfile", "RUN uv build", "RUN uv build -v"))
	h.commit("main", "no fleet", at.with("fleet.yaml", ""))
	h.commit("main", "ignored", at.with(".dockerignore", "conf/["))
	r, err := h.walker(h.open()).Range(t.Context(), "--range", "start", "main")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range r.Entries {
		got[e.Subject] = string(e.Verdict)
		for _, p := range e.Problems {
			got[e.Subject] += fmt.Sprintf(" %s %s", p.Pos, p.Code)
		}
	}
	line := func(part string) int { return lineOf(t, at["Dockerfile"], part) }
	want := map[string]string{
		"typo":           fmt.Sprintf("broken Dockerfile:%d:1 recipe-syntax", line("RUN uv sync")),
		"no file":        fmt.Sprintf("broken Dockerfile:%d recipe-source", line("COPY conf/base.conf")),
		"back, and more": "shared",
		"no fleet":       "broken fleet.yaml fleet-not-found",
		"ignored":        "broken .dockerignore:1:1 ignore-syntax",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if r.Counts[lineage.Broken] != 5 || r.Counts[lineage.Inert] != 1 {
		t.Errorf("%v", r.Counts)
	}
}

// TestClone walks over a bare clone of a repository, with the same report.
func TestClone(t *testing.T) {
	h := newHistory(t)
	at := agent()
	h.tag("start", h.commit("main", "start", at))
	h.commit("main", "mode", at.edit(t, "Dockerfile", "MODE=fast", "MODE=slow"))
	h.commit("main", "and back", at)
	report := func(w *walk.Walker) *lineage.Report {
		r, err := w.Range(t.Context(), "--range", "start", "main")
		if err != nil {
			t.Fatal(err)
		}
		r.Repository = ""
		return r
	}
	first := report(h.walker(h.open()))
	clone := t.TempDir() + "/clone.git"
	h.git("clone", "-q", "--bare", h.dir, clone)
	repo, err := gitrepo.Open(t.Context(), clone)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, report(h.walker(repo))); d != "" {
		t.Error(d)
	}
	if back := first.Entries[1].Back; back != first.From.Hash || first.Distinct != 2 || len(first.Spans) != 3 {
		t.Errorf("back to %q, %d distinct", back, first.Distinct)
	}
}
