package sarif_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/decide/lint"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/model/rule"
	"github.com/lapstrake/lapstrake/internal/model/waiver"
	"github.com/lapstrake/lapstrake/internal/show/sarif"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

func report() lint.Report {
	seconds := 12.5
	return lint.Report{Findings: []lint.Finding{
		{Code: plan.RunOnBase, Severity: rule.Error, Pos: diag.Pos{File: "/w/a b/Dockerfile", Line: 3, Col: 4}, Source: "é RUN x", Message: "m", Help: "h", Cost: lint.Cost{Executions: 2, Images: 2, Seconds: &seconds}, Inherit: []string{"Dockerfile:4 RUN y"}},
		{Code: rule.BaseFloats, Severity: rule.Info, Pos: diag.Pos{File: "/w/fleet.yaml"}, Message: "m", Help: "h"},
		{Code: rule.ValueEarly, Severity: rule.Warning, Pos: diag.Pos{File: "/other/Dockerfile", Line: 1}, Message: "m", Help: "h", Waiver: &waiver.Waiver{Reason: "known"}},
		{Code: plan.StepOnBase, Severity: rule.Warning, Message: "m", Help: "h"},
	}}
}

func write(t *testing.T, r lint.Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := sarif.Write(&b, r, sarif.Options{Dir: "/w", Version: "v1"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// object is a JSON object of the log.
type object map[string]any

// in is the object at a path of names.
func (o object) in(t *testing.T, path ...string) object {
	t.Helper()
	for _, name := range path {
		next, ok := o[name].(map[string]any)
		if !ok {
			t.Fatalf("%s is no object in %v", name, o)
		}
		o = next
	}
	return o
}

func (o object) list(t *testing.T, name string) []object {
	t.Helper()
	raw, ok := o[name].([]any)
	if !ok {
		t.Fatalf("%s is no list in %v", name, o)
	}
	var out []object
	for _, x := range raw {
		out = append(out, x.(map[string]any))
	}
	return out
}

func (o object) text(t *testing.T, name string) string {
	t.Helper()
	s, ok := o[name].(string)
	if !ok || s == "" {
		t.Errorf("%s is no text in %v", name, o)
	}
	return s
}

// TestStructure checks what SARIF 2.1.0 demands of a log, by the numbers of its
// sections.
func TestStructure(t *testing.T) {
	var log object
	if err := json.Unmarshal(write(t, report()), &log); err != nil {
		t.Fatal(err)
	}
	if log.text(t, "version") != "2.1.0" { // 3.13.2
		t.Error("another version")
	}
	if _, err := url.ParseRequestURI(log.text(t, "$schema")); err != nil { // 3.13.3
		t.Error(err)
	}
	runs := log.list(t, "runs")
	if len(runs) != 1 {
		t.Fatalf("%d runs", len(runs))
	}
	run := runs[0]
	driver := run.in(t, "tool", "driver") // 3.14.6, 3.18.2
	driver.text(t, "name")                // 3.19.8
	if !slices.Contains([]string{"utf16CodeUnits", "unicodeCodePoints"}, run.text(t, "columnKind")) {
		t.Error("columnKind") // 3.14.17
	}
	levels := []string{"none", "note", "warning", "error"} // 3.27.10
	var ids []string
	for _, r := range driver.list(t, "rules") {
		id := r.text(t, "id") // 3.49.3
		if slices.Contains(ids, id) {
			t.Errorf("two rules are %s", id) // 3.19.23: no two descriptors have one id
		}
		ids = append(ids, id)
		r.in(t, "shortDescription").text(t, "text") // 3.49.9
		r.in(t, "help").text(t, "text")             // 3.49.13
		if !slices.Contains(levels, r.in(t, "defaultConfiguration").text(t, "level")) {
			t.Errorf("level of %s", id) // 3.50.3
		}
	}
	results := run.list(t, "results")
	for _, r := range results {
		if i := int(r["ruleIndex"].(float64)); i < 0 || i >= len(ids) || ids[i] != r.text(t, "ruleId") {
			t.Errorf("ruleIndex %d is not %v", i, r["ruleId"]) // 3.27.5, 3.27.6
		}
		if !slices.Contains(levels, r.text(t, "level")) {
			t.Errorf("level %v", r["level"])
		}
		r.in(t, "message").text(t, "text") // 3.27.11
		located(t, r)
		if r["suppressions"] != nil {
			for _, s := range r.list(t, "suppressions") {
				if k := s.text(t, "kind"); k != "inSource" && k != "external" {
					t.Errorf("kind %s", k) // 3.35.2
				}
			}
		}
	}
	if len(results) != 4 {
		t.Errorf("%d results", len(results))
	}
	var empty object
	if err := json.Unmarshal(write(t, lint.Report{}), &empty); err != nil || empty.list(t, "runs")[0]["results"] == nil {
		t.Error("a run that found nothing has no results, which says that it did not look") // 3.14.23
	}
}

// located checks the places of a result.
func located(t *testing.T, r object) {
	t.Helper()
	if r["locations"] == nil {
		return
	}
	for _, l := range r.list(t, "locations") {
		p := l.in(t, "physicalLocation")
		uri := p.in(t, "artifactLocation").text(t, "uri") // 3.4.3
		if u, err := url.Parse(uri); err != nil || strings.Contains(uri, "\\") || !u.IsAbs() && strings.HasPrefix(uri, "/") {
			t.Errorf("uri %s: %v", uri, err)
		}
		if p["region"] == nil {
			continue
		}
		region := p.in(t, "region")
		if n, ok := region["startLine"].(float64); !ok || n < 1 { // 3.30.5
			t.Errorf("region %v", region)
		}
		if n, ok := region["startColumn"].(float64); ok && n < 1 { // 3.30.6
			t.Errorf("region %v", region)
		}
	}
}

// TestGolden shows a log whole, rules but the first left out.
func TestGolden(t *testing.T) {
	var log object
	if err := json.Unmarshal(write(t, report()), &log); err != nil {
		t.Fatal(err)
	}
	driver := log.list(t, "runs")[0].in(t, "tool", "driver")
	driver["rules"] = driver["rules"].([]any)[:1]
	got, err := json.MarshalIndent(log, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Text(t, "testdata/report.json", string(got)+"\n")
}
