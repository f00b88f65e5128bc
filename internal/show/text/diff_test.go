package text

import (
	"bytes"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/explain"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// shaCause is the classic: a commit put before an expensive step.
var shaCause = delta.Cause{Kind: graph.FacetArgument, Name: "BUILD_GIT_SHA", New: "0123456789abcdef0123456789abcdef01234567", Pos: diag.Pos{File: "/src/fleet/Dockerfile", Line: 21}}

// bigDiff is a report with every kind of line.
func bigDiff() *delta.Report {
	r := &delta.Report{
		V: 1, Old: "main", New: "fleet.yaml", Images: 500, Unchanged: 8, Added: []string{"a"}, Gone: []string{"b", "c"}, ConfigOnly: 3,
		Executions: delta.Executions{Shared: 2, BaseBound: 982, Maybe: 1, Released: 491, PerImage: 1.968, Seconds: ptr(70220.5)},
		Moves: []delta.Move{
			{What: "tags", Moved: 392, Of: 500, Same: 392, Old: "ghcr.io/org/agent:django_1776_django-11099_tag_lates-06043de4faf0", New: "ghcr.io/org/agent:django_1776_django-1109_tag_latest-06043de4faf0"},
			{What: "content keys", Moved: 491, Of: 499, Old: "v1:00", New: "v1:01"}, {What: "bases", Moved: 3, Of: 499, Same: 1, Old: "a", New: "b"},
		},
	}
	r.Shape.Old.PerImage, r.Shape.New.PerImage = 2, 3
	r.Steps = []delta.StepChange{
		{Name: "[final 2/4] RUN apt-get update && apt-get install -y git curl && rm -rf /var/lib/apt/lists/*", Pos: shaCause.Pos, Status: delta.Changed, Causes: []delta.Cause{shaCause}, Images: 491, Executions: 491, Seconds: ptr(50573.0)},
		{Name: "[builder 3/3] COPY src /src", Shared: true, Status: delta.Changed, Causes: []delta.Cause{{Kind: graph.FacetFiles, Name: "src", Old: "sha256:1", New: "sha256:2", Pos: diag.Pos{File: "/src/fleet/Dockerfile", Line: 5}}}, Files: []string{"src/a", "src/b", "src/c", "src/d", "src/e", "src/f", "src/g"}, Images: 491, Executions: 1},
		{Name: "RUN a", Status: delta.Changed, Causes: []delta.Cause{{Kind: graph.FacetUser, Old: "root"}, {Kind: graph.FacetWorkdir, Old: "/a", New: "/b"}, {Kind: graph.FacetOption}, {Kind: graph.FacetNetwork}, {Kind: graph.FacetPlatform}}, Images: 1, Executions: 1},
		{Name: "RUN b", Status: delta.Added, Images: 1, Executions: 1}, {Name: "RUN c", Status: delta.Gone, Images: 1},
		{Name: "COPY --from=builder /src /src", Shared: true, Maybe: true, Status: delta.Inherited, From: []string{"[builder 3/3] COPY src /src"}, Images: 491, Executions: 1},
		{Name: "RUN npm ci", Status: delta.Inherited, From: []string{"RUN a", "RUN b", "RUN c", "RUN d"}, Images: 491, Executions: 491},
		{Name: "RUN useradd agent", Status: delta.Same, Images: 491, Executions: 491},
	}
	return r
}

func bigExplanation() *explain.Report {
	return &explain.Report{V: 1, Run: "20260102-150405-bcdf", Against: "20260101-150405-bcdf", Executed: 984, Cached: 20, Misses: []explain.Miss{
		{Name: "[final 2/4] RUN apt-get install -y git", Why: explain.Changed, Detail: "the step itself changed", Causes: []delta.Cause{shaCause, {Kind: graph.FacetUser, Old: "a", New: "b"}, {Kind: graph.FacetOption}, {Kind: graph.FacetOption}}, Executions: 491, Images: 491, Seconds: 50573, InheritedExecutions: 491, InheritedSeconds: 18658},
		{Name: "RUN useradd agent", Why: explain.Released, Detail: "its result was released after its image was published, at 2026-01-01T15:04:05Z at the latest", Executions: 1, Images: 1, Seconds: 0.4},
		{Name: "RUN npm ci", Why: explain.Inherited, Detail: "something that it rests on changed", From: []string{"[final 2/4] RUN apt-get install -y git"}, Executions: 491, Images: 491, Seconds: 18658},
	}}
}

func bigDifference() *explain.Difference {
	return &explain.Difference{V: 1, Old: "one", New: "two", Notes: []string{"the images were not equally cold"},
		Wall: &explain.Split{Old: 3120, New: 20940, Unexplained: 0.25, Parts: []explain.Part{
			{Name: "[final 2/4] RUN apt-get install -y git", Amount: 17000, Detail: explain.Detail{NewCount: 500, NewEach: 103.2}},
			{Name: "waiting, and another number of things at once", Amount: 850}, {Name: "phase resolve", Amount: -30.25}}},
		Disk: &explain.Split{Old: 55 << 30, New: 599 << 30, Unexplained: 544 << 30, Parts: []explain.Part{}}}
}

// TestMarkdown: a comment says the verdict, a row for each step and the limits
// that are exceeded, and nothing in a name becomes a tag or a column.
func TestMarkdown(t *testing.T) {
	r := bigDiff()
	r.Steps[0].Name = "RUN a | b <script> `c` *d* _e_\n"
	var b bytes.Buffer
	if err := DiffMarkdown(&b, r, []string{"3 steps on each base, at most 2"}, Options{Dir: "/src/fleet"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"### Images: 491 images of 500 to be made again, 1 new image, 2 images no longer there; 984 executions: 2 shared, 982 on bases",
		"**Limit exceeded:** 3 steps on each base, at most 2\n",
		"| RUN a \\| b &lt;script&gt; \\`c\\` \\*d\\* \\_e\\_ | runs 491 times, 14 h 3 min | Dockerfile:21: argument BUILD\\_GIT\\_SHA is new: 0123456789abcdef0123456789abcdef01234567 |\n",
		"- moved: tags: 392 of 500, none of their content changed; the first from ghcr.io/org/agent:",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("lacks %q\n%s", want, b.String())
		}
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if strings.HasPrefix(line, "|") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 4 {
			t.Errorf("not three columns: %s", line)
		}
	}
}
