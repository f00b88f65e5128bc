package text

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

func TestAnnotations(t *testing.T) {
	s := &summary.Summary{Failures: []*summary.Failure{
		{Cause: "Dockerfile:3: exit code 7\n100 % of it", Pos: diag.Pos{File: "/src/a,b:c/Dockerfile", Line: 3}, Images: []string{"a", "b"}},
		{Cause: "404 Not Found", Images: []string{"c"}},
	}}
	var b strings.Builder
	if err := FailureAnnotations(&b, s, Options{Dir: "/src"}); err != nil {
		t.Fatal(err)
	}
	if err := ProblemAnnotations(&b, diag.List{{Code: "yaml", Pos: diag.Pos{File: "fleet.yaml", Line: 2, Col: 5}, Message: "no such key"}}, Options{}); err != nil {
		t.Fatal(err)
	}
	want := `::error file=a%2Cb%3Ac/Dockerfile,line=3,title=2 images failed::Dockerfile:3: exit code 7%0A100 %25 of it
::error title=1 image failed::404 Not Found
::error file=fleet.yaml,line=2,col=5,title=yaml::no such key
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	for range 30 {
		s.Failures = append(s.Failures, s.Failures[0])
	}
	b.Reset()
	if err := FailureAnnotations(&b, s, Options{}); err != nil || strings.Count(b.String(), "::error ") != maxAnnotations {
		t.Errorf("%v, %s", err, b.String())
	}
}

// Nothing in a summary is read as Markdown or HTML, and all of it is said.
func TestSummaryMarkdown(t *testing.T) {
	wall := 93.0
	s := &summary.Summary{Run: "20260102-150405-bcdf", Fleet: "agents@0123", Images: 6, Built: 3, Failed: 2, Pending: 1, WallSeconds: &wall,
		Strategies: map[string]int{"build": 3}, PhaseSeconds: map[string]float64{"images": 90},
		Failures: []*summary.Failure{{Cause: "Dockerfile:3: step <b>*x*</b>: exit code 7", Help: "look | here", Images: []string{"b_1", "a_1"}, Log: "</pre><script>\nthe reason\r\n"}},
	}
	var b strings.Builder
	if err := SummaryMarkdown(&b, s, Options{}); err != nil {
		t.Fatal(err)
	}
	const path = "testdata/summary.md"
	golden.Text(t, path, b.String())
}
