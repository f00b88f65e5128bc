package text_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/lint"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/model/rule"
	"github.com/lapstrake/lapstrake/internal/model/waiver"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func TestLint(t *testing.T) {
	seconds, bytesOf := 7200.0, int64(3<<30)
	inherit := make([]string, 7)
	for i := range inherit {
		inherit[i] = fmt.Sprintf("Dockerfile:%d RUN step", i+3)
	}
	r := lint.Report{
		Images: 499, Conversions: 60, NotSeen: 1, Waived: 1, Problems: []string{"/w/x: not found\nmore"},
		Counts: map[rule.Severity]int{rule.Error: 1, rule.Info: 2},
		Findings: []lint.Finding{
			{Code: rule.ValueEarly, Severity: rule.Error, Pos: diag.Pos{File: "/w/Dockerfile", Line: 2, Col: 5}, Source: "ARG SHA\x1b[2J", Message: "m", Help: "h", Cost: lint.Cost{Executions: 1500, Images: 499, Seconds: &seconds, Bytes: &bytesOf}, Inherit: inherit},
			{Code: rule.BaseFloats, Severity: rule.Info, Pos: diag.Pos{File: "/w/fleet.yaml"}, Message: "m", Help: "h", Cost: lint.Cost{Images: 2}},
			{Code: plan.RunOnBase, Severity: rule.Warning, Pos: diag.Pos{File: "/w/Dockerfile", Line: 9, Col: 1}, Source: "RUN x", Message: "m", Help: "h", Waiver: &waiver.Waiver{Owner: "ana", Reason: "known"}},
		},
	}
	want := `Dockerfile:2:5: error: m [value-early]
    ARG SHA
        ^
    cost: 1,500 executions in a build of 499 images, 2 h of solving, 3.0 GiB of disk
    again: Dockerfile:3 RUN step
    again: Dockerfile:4 RUN step
    again: Dockerfile:5 RUN step
    again: Dockerfile:6 RUN step
    again: Dockerfile:7 RUN step
    and 2 more
    help: h
fleet.yaml: info: m [base-without-digest]
    help: h
Dockerfile:9:1: waived: m [run-on-base]
    RUN x
    ^
    reason: known (ana)
not looked at: x: not found
1 error, 2 notes, 1 waived; 499 images, 60 conversions, 1 not looked at
`
	var b bytes.Buffer
	if err := text.Lint(&b, r, text.Options{Width: 100, Dir: "/w"}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	b.Reset()
	if err := text.Lint(&b, lint.Report{Images: 1, Conversions: 1}, text.Options{}); err != nil || b.String() != "nothing found; 1 image, 1 conversion\n" {
		t.Errorf("%v: %q", err, b.String())
	}
}

func TestMended(t *testing.T) {
	var b bytes.Buffer
	list := []lint.Proof{{Code: plan.CopyWithoutLink, Pos: diag.Pos{File: "/w/Dockerfile", Line: 2}, Before: 1500, After: 500}, {Code: rule.ValueEarly, Pos: diag.Pos{File: "/w/Dockerfile", Line: 4}, Before: 1}}
	for _, l := range [][]lint.Proof{list, nil} {
		if err := text.Mended(&b, l, text.Options{Width: 200, Dir: "/w"}); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Join([]string{
		"mended: Dockerfile:2 [copy-without-link]: steps on a base 1,500 -> 500 in a build of the fleet, and nothing else differs",
		"mended: Dockerfile:4 [value-early]: commands that see the value 1 -> 0 in a build of the fleet, and nothing else differs",
		"nothing to mend safely", "",
	}, "\n")
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}
