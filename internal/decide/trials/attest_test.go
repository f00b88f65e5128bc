package trials_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
)

// attested is a trial with nothing wrong, of a cell that begins with nothing or of
// one that begins with a state.
func attested(t experiment.Temperature) (trials.Wanted, trials.Seen, *summary.Summary) {
	want := trials.Wanted{Cell: experiment.Cell{Temperature: t}, Inputs: "sha256:i", Jobs: 2, Daemon: "v1"}
	seen := trials.Seen{Steps: trials.Census{Executed: 9, Intra: 4}, Inputs: "sha256:i", Jobs: 2}
	if t != experiment.Cold {
		want.SeedMark, seen.SeedMark, seen.Steps.Seed = "m", "m", 5
	}
	if t == experiment.Warm || t == experiment.Bump {
		seen.Held, seen.CanaryHit = 5, true
	}
	return want, seen, &summary.Summary{Images: 3, Built: 3, Versions: map[string]string{trials.Daemon: "v1"}}
}

// TestAttest has a case for every way to contaminate a trial, and holds that nothing
// else is found then.
func TestAttest(t *testing.T) {
	type parts struct {
		want *trials.Wanted
		seen *trials.Seen
		sum  *summary.Summary
	}
	covered := map[trials.FaultCode]bool{}
	for name, c := range map[string]struct {
		at   experiment.Temperature
		harm func(*parts)
		want []trials.FaultCode
	}{
		"a clean cold trial":         {experiment.Cold, nil, nil},
		"a clean warm trial":         {experiment.Warm, nil, nil},
		"a clean bump":               {experiment.Bump, nil, nil},
		"a clean warm-remote trial":  {experiment.WarmRemote, nil, nil},
		"state of another trial":     {experiment.Cold, func(p *parts) { p.seen.Held = 1 }, []trials.FaultCode{trials.SharedState}},
		"state beside the registry":  {experiment.WarmRemote, func(p *parts) { p.seen.Held = 1 }, []trials.FaultCode{trials.SharedState}},
		"a warm trial without state": {experiment.Warm, func(p *parts) { p.seen.Held = 0 }, []trials.FaultCode{trials.NoState}},
		"a canary that is known":     {experiment.Cold, func(p *parts) { p.seen.CanaryHit = true }, []trials.FaultCode{trials.CanaryWrong}},
		"a canary that is not":       {experiment.Bump, func(p *parts) { p.seen.CanaryHit = false }, []trials.FaultCode{trials.CanaryWrong}},
		"another seed":               {experiment.Bump, func(p *parts) { p.seen.SeedMark = "n" }, []trials.FaultCode{trials.WrongSeed}},
		"a seed for a cold trial":    {experiment.Cold, func(p *parts) { p.seen.SeedMark = "n" }, []trials.FaultCode{trials.WrongSeed}},
		"no seed for a warm one":     {experiment.Warm, func(p *parts) { p.seen.SeedMark = "" }, []trials.FaultCode{trials.WrongSeed}},
		"names that are taken":       {experiment.Cold, func(p *parts) { p.seen.Refs = []string{"r"} }, []trials.FaultCode{trials.SharedRef}},
		"a cache that is not new":    {experiment.Cold, func(p *parts) { p.seen.CacheRefs = []string{"r"} }, []trials.FaultCode{trials.SharedCache}},
		"a foreign cache import":     {experiment.Warm, func(p *parts) { p.seen.Foreign = []string{"r"} }, []trials.FaultCode{trials.ForeignRef}},
		"a mount that was left":      {experiment.Cold, func(p *parts) { p.seen.Mounts = []string{"/m"} }, []trials.FaultCode{trials.LeftMount}},
		"images that were skipped":   {experiment.Cold, func(p *parts) { p.sum.Skipped = 1 }, []trials.FaultCode{trials.Skips}},
		"images that were retagged":  {experiment.Warm, func(p *parts) { p.sum.Retagged = 1 }, []trials.FaultCode{trials.Skips}},
		"skipping is the factor":     {experiment.Warm, func(p *parts) { p.sum.Skipped, p.want.Skips = 1, true }, nil},
		"steps from nowhere":         {experiment.Warm, func(p *parts) { p.seen.Steps.Foreign = 1 }, []trials.FaultCode{trials.ForeignSteps}},
		"a cold trial that was warm": {experiment.Cold, func(p *parts) { p.seen.Steps.Seed = 1 }, []trials.FaultCode{trials.NotCold}},
		"other sources":              {experiment.Cold, func(p *parts) { p.seen.Inputs = "sha256:j" }, []trials.FaultCode{trials.OtherInputs}},
		"the first of its setting":   {experiment.Cold, func(p *parts) { p.want.Inputs = "" }, nil},
		"other concurrency":          {experiment.Cold, func(p *parts) { p.seen.Jobs = 3 }, []trials.FaultCode{trials.OtherJobs}},
		"concurrency is not said":    {experiment.Cold, func(p *parts) { p.seen.Jobs = 0 }, nil},
		"another daemon":             {experiment.Cold, func(p *parts) { p.sum.Versions[trials.Daemon] = "v2" }, []trials.FaultCode{trials.OtherDaemon}},
		"a run that left nothing":    {experiment.Cold, func(p *parts) { p.sum = nil }, []trials.FaultCode{trials.NoSummary}},
		"several, in their order": {experiment.Cold, func(p *parts) { p.seen.Held, p.seen.Mounts, p.seen.Jobs = 1, []string{"/a", "/b", "/c", "/d"}, 9 },
			[]trials.FaultCode{trials.SharedState, trials.LeftMount, trials.OtherJobs}},
	} {
		t.Run(name, func(t *testing.T) {
			want, seen, sum := attested(c.at)
			p := &parts{&want, &seen, sum}
			if c.harm != nil {
				c.harm(p)
			}
			var got []trials.FaultCode
			for _, f := range trials.Attest(want, seen, p.sum) {
				got = append(got, f.Code)
				covered[f.Code] = true
				if f.Detail == "" || strings.Contains(f.Detail, "/d") {
					t.Errorf("%+v", f)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	codes := faultCodes(t)
	for _, code := range codes {
		if !covered[code] {
			t.Errorf("no case has the fault %s", code)
		}
	}
	if len(codes) < 12 || len(covered) != len(codes) {
		t.Errorf("%d codes, %d in cases", len(codes), len(covered))
	}
}

// faultCodes are the constants of the type FaultCode.
func faultCodes(t *testing.T) []trials.FaultCode {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "attest.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []trials.FaultCode
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "FaultCode" {
				s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, trials.FaultCode(s))
			}
		}
		return true
	})
	return out
}

// TestResultsEvidence: a gate is told of the trials that count; of a cell of which
// none does, the evidence is not valid. What was attested is not judged again by
// what its summary says of its cache.
func TestResultsEvidence(t *testing.T) {
	e := parse(t, "fleet: f\n")
	result := func(cell, id string, bad bool) trials.Outcome {
		o := trials.Outcome{Trial: trials.Trial{ID: id, Cell: cell}, Summary: run(id, func(s *summary.Summary) { s.Temperature = &summary.Temperatures{Cold: 1, Partial: 2} }).Summary}
		if bad {
			o.Faults = []trials.Fault{{Code: trials.SharedState, Detail: "the daemon held 5 bytes before it"}}
		}
		return o
	}
	list := trials.Results{result("cold", "a", false), result("cold", "b", true), result("warm", "c", true)}
	value, warnings := list.Evidence(e)
	if v, ok := value("built", "cold"); !ok || v.Unattested != "" || v.Low != 3 || len(v.Trials) != 1 || len(warnings) != 0 {
		t.Errorf("%+v %v", v, warnings)
	}
	if v, ok := value("built", "warm"); !ok || v.Unattested != "trial c: the daemon held 5 bytes before it" || v.Lacks == "" || len(v.Trials) != 1 {
		t.Errorf("%+v", v)
	}
	if v, ok := value("built", "cold+aa"); !ok || v.Unattested != "" || v.Lacks == "" {
		t.Errorf("%+v", v)
	}
	if n := len(list.Contaminated()); n != 2 || len(list.Of("cold")) != 2 || len(list.Runs()["warm"]) != 0 {
		t.Errorf("%d contaminated", n)
	}
}
