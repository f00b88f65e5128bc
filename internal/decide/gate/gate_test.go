package gate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/waiver"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// facts are the evidence of the tests, by metric(cell).
var facts = map[string]gate.Value{
	"failed(cold)":          gate.Exactly(0, "t1"),
	"rework(cold)":          gate.Exactly(1.02, "t1"),
	"disk.peak(cold)":       gate.Exactly(520<<30, "t1"),
	"disk.final(cold)":      gate.Exactly(500<<30, "t1"),
	"budget(cold)":          gate.Exactly(600<<30, "t1"),
	"wall(cold)":            {Low: 3000, High: 3300, Trials: []string{"t1", "t2"}},
	"executed(warm)":        gate.Exactly(0, "t3"),
	"wall(warm)":            {Low: 400, High: 420, Trials: []string{"t3", "t4"}},
	"wall(noisy)":           {Low: 600, High: 900, Trials: []string{"t5"}},
	"wall(cut)":             {Low: 21600, High: math.Inf(1), Trials: []string{"t6"}},
	"wall(foreign)":         {Low: 10, High: 11, Unattested: "7 steps came from another trial's cache", Trials: []string{"t7"}},
	"fingerprint(A)":        {Text: "sha256:a"},
	"fingerprint(B)":        {Text: "sha256:b"},
	"fingerprint(C)":        {Text: "sha256:a"},
	"fingerprint(foreign)":  {Text: "sha256:a", Unattested: "the plan is not locked"},
	"zero(cold)":            {Low: -1, High: 1},
	"broken(cold)":          {Low: 2, High: 1},
	"huge(cold)":            gate.Exactly(1e308),
	"plain":                 gate.Exactly(7),
	"wall(single)":          {Lacks: "one run", Trials: []string{"t8"}},
	"wall(single.foreign)":  {Lacks: "one run", Unattested: "foreign", Trials: []string{"t9"}},
	"wall(bump/sdk:b4-1.0)": gate.Exactly(100),
}

func evidence(metric, cell string) (gate.Value, bool) {
	if cell != "" {
		metric += "(" + cell + ")"
	}
	v, ok := facts[metric]
	return v, ok
}

func judge(t interface{ Fatal(...any) }, text, cell string) gate.Finding {
	g, err := gate.New([]gate.Claim{{Name: "c", Cell: cell, Text: text}}, gate.Names{})
	if err != nil {
		t.Fatal(err)
	}
	return g.Judge(evidence, time.Time{}).Findings[0]
}

func TestJudge(t *testing.T) {
	for text, want := range map[string]struct {
		status gate.Status
		why    string
	}{
		"failed == 0":                            {gate.Pass, ""},
		"failed != 0":                            {gate.Fail, ""},
		"rework <= 1.05":                         {gate.Pass, ""},
		"rework <= 102%":                         {gate.Pass, ""},
		"rework < 1.02":                          {gate.Fail, ""},
		"disk.peak <= 0.85 * budget":             {gate.Fail, ""},
		"disk.peak <= 0.9 * budget":              {gate.Pass, ""},
		"disk.peak <= 520G":                      {gate.Pass, ""},
		"disk.peak < 520GiB":                     {gate.Fail, ""},
		"wall(warm) <= 0.25 * wall(cold)":        {gate.Pass, ""},
		"wall(noisy) <= 0.25 * wall(cold)":       {gate.Unknown, "what is known of the values leaves both possible"},
		"wall(warm) > 6m30s":                     {gate.Pass, ""},
		"wall(single) > 0":                       {gate.Unknown, "wall(single): one run"},
		"wall(single.foreign) > 0":               {gate.Invalid, "wall(single.foreign): foreign"},
		"wall(warm) > 405s":                      {gate.Unknown, "what is known of the values leaves both possible"},
		"wall(warm) <= 400":                      {gate.Unknown, "what is known of the values leaves both possible"},
		"wall(warm) < 400":                       {gate.Fail, ""},
		"wall(cold) / wall(noisy) <= 5.2":        {gate.Unknown, "what is known of the values leaves both possible"},
		"wall(cold) / wall(noisy) <= 5.5":        {gate.Pass, ""},
		"wall(warm) == wall(noisy)":              {gate.Fail, ""},
		"wall(warm) == wall(warm)":               {gate.Unknown, "what is known of the values leaves both possible"},
		"wall(warm) != wall(noisy)":              {gate.Pass, ""},
		"wall(cut) <= 3h":                        {gate.Fail, ""},
		"wall(cut) >= 3h":                        {gate.Pass, ""},
		"wall(cut) <= 10h":                       {gate.Unknown, "what is known of the values leaves both possible"},
		"wall(cut) - wall(cut) == 0":             {gate.Unknown, "what is known of the values leaves both possible"},
		"0 * wall(cut) == 0":                     {gate.Unknown, "what is known of the values leaves both possible"},
		"10 / wall(cut) < 1":                     {gate.Pass, ""},
		"fingerprint(A) == fingerprint(C)":       {gate.Pass, ""},
		"fingerprint(A) == fingerprint(B)":       {gate.Fail, ""},
		"fingerprint(A) != fingerprint(B)":       {gate.Pass, ""},
		"fingerprint(A) < fingerprint(B)":        {gate.Unknown, "texts have no order: compare them with == or !="},
		"fingerprint(A) == 1":                    {gate.Unknown, "a text is compared with a number"},
		"-fingerprint(A) == 1":                   {gate.Unknown, "fingerprint(A) is a text, and cannot be reckoned with"},
		"abs(wall(warm)/wall(cold) - 1) <= 0.9":  {gate.Pass, ""},
		"abs(zero) <= 1":                         {gate.Pass, ""},
		"abs(-2 - zero) >= 1":                    {gate.Pass, ""},
		"1 / zero > 0":                           {gate.Unknown, "zero may be 0, and is divided by"},
		"huge * huge > 0":                        {gate.Unknown, "what is known of the values leaves both possible"},
		"broken > 0":                             {gate.Unknown, "there is no value of broken(cold)"},
		"missing == 0":                           {gate.Unknown, "there is no value of missing(cold)"},
		"abs(missing) >= 0":                      {gate.Unknown, "there is no value of missing(cold)"},
		"wall(foreign) < 60":                     {gate.Invalid, "wall(foreign): 7 steps came from another trial's cache"},
		"missing + wall(foreign) < 60":           {gate.Invalid, "wall(foreign): 7 steps came from another trial's cache"},
		"fingerprint(foreign) == fingerprint(A)": {gate.Invalid, "fingerprint(foreign): the plan is not locked"},
		"wall( bump/sdk:b4-1.0 ) == 100":         {gate.Pass, ""},
		"2 + 3 * 4 - 6 / 3 == 12":                {gate.Pass, ""},
		"2 - 3 - 4 == -5":                        {gate.Pass, ""},
		"(2 - 3) * --4 == -4":                    {gate.Pass, ""},
		"12 / 3 / 2 == 2":                        {gate.Pass, ""},
		"1K == 1024":                             {gate.Pass, ""},
	} {
		t.Run(text, func(t *testing.T) {
			f := judge(t, text, "cold")
			if f.Status != want.status || f.Why != want.why {
				t.Errorf("%s %q, want %s %q", f.Status, f.Why, want.status, want.why)
			}
			if _, err := json.Marshal(f); err != nil {
				t.Error(err)
			}
		})
	}
	if f := judge(t, "plain == 7", ""); f.Status != gate.Pass {
		t.Errorf("without a cell: %+v", f)
	}
	f := judge(t, "wall(warm) <= 0.25 * wall(cold)", "")
	low, high, least, most := 400.0, 420.0, 750.0, 825.0
	want := gate.Finding{
		Name: "c", Text: "wall(warm) <= 0.25 * wall(cold)", Status: gate.Pass, Trials: []string{"t1", "t2", "t3", "t4"},
		Left: gate.Side{Low: &low, High: &high}, Right: gate.Side{Low: &least, High: &most},
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
}

// TestProblems shows every problem that claims can have.
func TestProblems(t *testing.T) {
	var src strings.Builder
	var claims []gate.Claim
	add := func(c gate.Claim) {
		c.Pos = diag.Pos{File: "gate", Line: len(claims) + 1, Col: 1}
		if c.Waiver != nil {
			c.Waiver.Pos = c.Pos
		}
		claims = append(claims, c)
		src.WriteString(c.Text + "\n")
	}
	for _, text := range []string{
		"", "failed", "failed = 0", "failed == ", "failed == 0 0", "failed == 0 == 0", "== 0", "(failed == 0", "failed) == 0",
		"abs(failed == 0", "wall() == 0", "wall(a b) == 0", "wall(cold == 0", "failed == 20X", "failed == 1.2.3", "failed == 5x%",
		"failed == é", "failed && 1", "1e400 == 1", "* 2 == 1", strings.Repeat("(", 60) + "1",
		"faild == 0", "failed(cldo) == 0", "zebra + 2 * quagga <= 0",
	} {
		add(gate.Claim{Name: fmt.Sprint("claim ", len(claims)), Cell: "cold", Text: text})
	}
	add(gate.Claim{Name: "no cell", Text: "failed == 0"})
	add(gate.Claim{Name: "no cell", Text: "failed(warm) == 0"})
	for _, w := range []waiver.Waiver{
		{Reason: "r", Expires: time.Unix(1, 0)}, {Owner: "o", Expires: time.Unix(1, 0)}, {Owner: "o", Reason: "r"},
	} {
		add(gate.Claim{Name: fmt.Sprint("waiver ", len(claims)), Cell: "cold", Text: "failed == 0", Waiver: &w})
	}
	_, err := gate.New(claims, gate.Names{Metrics: []string{"failed", "wall"}, Cells: []string{"cold", "warm"}})
	var list diag.List
	if !errors.As(err, &list) || diag.KindOf(err) != diag.File {
		t.Fatalf("%v", err)
	}
	got := list.WithSource("gate", []byte(src.String())).Error() + "\n"
	golden.Text(t, "testdata/problems.txt", got)
}

func TestReport(t *testing.T) {
	now := time.Date(2026, 3, 20, 12, 0, 0, 0, time.UTC)
	claim := func(name, text string) gate.Claim { return gate.Claim{Name: name, Cell: "cold", Text: text} }
	waived := func(c gate.Claim, expires time.Time) gate.Claim {
		c.Waiver = &waiver.Waiver{Owner: "ana", Reason: "the runner is small", Expires: expires}
		return c
	}
	pass, fail := claim("pass", "failed == 0"), claim("fail", "failed == 1")
	open, invalid := claim("open", "missing == 0"), claim("invalid", "wall(foreign) < 60")
	later := now.Add(time.Second)
	for name, tt := range map[string]struct {
		claims []gate.Claim
		exit   int
		want   string
	}{
		"all pass":              {[]gate.Claim{pass}, 0, ""},
		"one fails":             {[]gate.Claim{pass, fail}, 7, "gate: of 2 claims 1 failed"},
		"one is open":           {[]gate.Claim{pass, open}, 8, "gate: of 2 claims 1 undecided"},
		"fail before open":      {[]gate.Claim{open, fail}, 7, "gate: of 2 claims 1 failed, 1 undecided"},
		"invalid before all":    {[]gate.Claim{open, fail, invalid}, 9, "gate: of 3 claims 1 invalid, 1 failed, 1 undecided"},
		"waived failure":        {[]gate.Claim{pass, waived(fail, later)}, 0, ""},
		"waived open":           {[]gate.Claim{waived(open, later)}, 0, ""},
		"waiver just over":      {[]gate.Claim{waived(fail, now)}, 7, "gate: of 1 claims 1 failed"},
		"nobody waives invalid": {[]gate.Claim{waived(invalid, later)}, 9, "gate: of 1 claims 1 invalid"},
		"waiver of a pass":      {[]gate.Claim{waived(pass, now)}, 0, ""},
		"no claims":             {nil, 8, "gate: there are no claims"},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := gate.New(tt.claims, gate.Names{})
			if err != nil {
				t.Fatal(err)
			}
			r := g.Judge(evidence, now)
			err = r.Err()
			if err == nil && tt.exit != 0 || err != nil && (diag.KindOf(err).ExitCode() != tt.exit || err.Error() != tt.want) {
				t.Errorf("%v, want %d %s", err, tt.exit, tt.want)
			}
			for _, f := range r.Findings {
				needed := f.Waiver != nil && (f.Status == gate.Fail || f.Status == gate.Unknown)
				if f.Waived != (needed && f.Waiver.Expires.After(now)) || f.Expired != (needed && !f.Waived) {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// The exit criteria of a fleet: a cold run that completes without thrash, a warm
// one that is fast in a stable envelope, and a refactor that is inert.
func TestExitCriteria(t *testing.T) {
	claims := []gate.Claim{
		{Name: "cold completes", Cell: "cold", Text: "failed == 0"},
		{Name: "no thrash", Cell: "cold", Text: "rework <= 1.05"},
		{Name: "room on the disk", Cell: "cold", Text: "disk.peak <= 0.85 * budget"},
		{Name: "warm does nothing", Cell: "warm", Text: "executed == 0"},
		{Name: "warm is fast", Text: "wall(warm) <= 0.25 * wall(cold)"},
		{Name: "stable envelope", Text: "disk.final(warm) <= 1.05 * disk.final(cold)"},
		{Name: "the refactor is inert", Text: "fingerprint(A) == fingerprint(C)"},
	}
	g, err := gate.New(claims, gate.Names{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range g.Judge(evidence, time.Time{}).Findings {
		got = append(got, string(f.Status)+" "+f.Name)
	}
	want := []string{
		"PASS cold completes", "PASS no thrash", "FAIL room on the disk", "PASS warm does nothing",
		"PASS warm is fast", "UNKNOWN stable envelope", "PASS the refactor is inert",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// What is decided of an interval holds for every value in it: a claim that is
// PASS or FAIL stays so wherever in their bounds the values are.
func TestPropertyDecided(t *testing.T) {
	texts := []string{
		"a <= 2 * b", "a - b > 1", "a * b != 3", "a / (b + 7) < a", "abs(a - b) >= 2", "-a == b", "abs(a) + abs(b) >= 3", "(a + b) * (a - b) <= 5",
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom(texts).Draw(t, "text")
		wide, exact := map[string]gate.Value{}, map[string]gate.Value{}
		for _, m := range []string{"a", "b"} {
			low := float64(rapid.IntRange(-6, 6).Draw(t, "low"))
			width := float64(rapid.IntRange(0, 4).Draw(t, "width"))
			wide[m] = gate.Value{Low: low, High: low + width}
			exact[m] = gate.Exactly(low + width*rapid.Float64Range(0, 1).Draw(t, "where"))
		}
		g, err := gate.New([]gate.Claim{{Text: text}}, gate.Names{})
		if err != nil {
			t.Fatal(err)
		}
		status := func(values map[string]gate.Value) gate.Status {
			look := func(metric, _ string) (gate.Value, bool) { v, ok := values[metric]; return v, ok }
			return g.Judge(look, time.Time{}).Findings[0].Status
		}
		if s, e := status(wide), status(exact); s != gate.Unknown && e != s {
			t.Fatalf("%s of %v, %s of %v", s, wide, e, exact)
		}
	})
}

// FuzzParse reads any text. What parses is written in a way that parses to the
// same, and a problem points into the text.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"failed == 0", "disk.peak <= 0.85 * budget", "wall(warm) <= 25% * wall(cold)", "abs(wall(a-b)/wall(c) - 1) <= 5%",
		"fingerprint(A) != fingerprint(C)", "-(-1) + 20G >= 1h30m / x_1", "((", "é", "wall(", "1e9 < 3",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, problems := gate.Parse(text, diag.Pos{File: "f", Line: 1, Col: 1})
		if problems != nil {
			if p := problems[0]; len(problems) != 1 || p.Code != diag.GateSyntax || p.Pos.Col < 1 || p.Pos.Col > len(text)+1 || e.String() != "" {
				t.Fatalf("%+v", problems)
			}
			return
		}
		again, problems := gate.Parse(e.String(), diag.Pos{})
		if problems != nil || again.String() != e.String() {
			t.Fatalf("%q is written %q, and that %q: %v", text, e, again, problems)
		}
		judge(t, text, "cold")
	})
}

func TestUses(t *testing.T) {
	e, problems := gate.Parse("abs(wall(b) / wall - 1) <= 5%", diag.Pos{})
	if problems != nil {
		t.Fatal(problems)
	}
	want := []gate.Use{{Metric: "wall", Cell: "b", At: 4}, {Metric: "wall", Cell: "own", At: 14}}
	if d := cmp.Diff(want, e.Uses("own")); d != "" {
		t.Error(d)
	}
}

// TestChecks judges claims that a program answers.
func TestChecks(t *testing.T) {
	claims := []gate.Claim{
		{Name: "whole", Text: "failed == 0"},
		{Name: "holds", Text: "a b", Command: []string{"a", "b"}},
		{Name: "not", Text: "c", Command: []string{"c"}},
		{Name: "waived", Text: "c", Command: []string{"c"}, Waiver: &waiver.Waiver{Owner: "me", Reason: "soon", Expires: time.Unix(100, 0)}},
		{Name: "open", Text: "rework ==", Command: []string{"d"}},
	}
	g, err := gate.New(claims, gate.Names{Metrics: []string{"failed"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Checks(); len(got) != 4 || got[0].Name != "holds" {
		t.Errorf("the checks are %v", got)
	}
	results := map[string]gate.Result{"holds": {Status: gate.Pass}, "not": {Status: gate.Fail, Detail: "it is red"}, "waived": {Status: gate.Fail}}
	evidence := func(string, string) (gate.Value, bool) { return gate.Exactly(0, "t1"), true }
	r := g.With(results).Judge(evidence, time.Unix(1, 0))
	var got []string
	for _, f := range r.Findings {
		got = append(got, fmt.Sprint(f.Name, " ", f.Status, " ", f.Check, " ", f.Waived, " ", f.Why))
	}
	want := []string{"whole PASS false false ", "holds PASS true false ", "not FAIL true false it is red", "waived FAIL true true ", "open UNKNOWN true false it was not run"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if err := r.Err(); diag.KindOf(err) != diag.Gate {
		t.Errorf("%v", err)
	}
	if _, err := gate.New(append(claims, gate.Claim{Name: "whole", Command: []string{"x"}}), gate.Names{}); err == nil {
		t.Error("two claims of a name")
	}
}
