package stat_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// fixture reads the rows of a file that testdata/gen.py wrote.
func fixture[T any](t *testing.T, name string, least int) []T {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ Rows []T }
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Rows) < least {
		t.Fatalf("%s has %d rows", name, len(f.Rows))
	}
	return f.Rows
}

func near(x, y float64) bool { return math.Abs(x-y) <= 1e-9*max(1, math.Abs(y)) }

func TestStudentAgreesWithScipy(t *testing.T) {
	for _, r := range fixture[struct{ DF, P, T float64 }](t, "student.json", 200) {
		if got := stat.CDF(r.T, r.DF); !near(got, r.P) {
			t.Errorf("CDF(%v, %v) is %v, want %v", r.T, r.DF, got, r.P)
		}
		if r.P == 0 || r.P > 1-1e-6 {
			continue // a float64 so near to 0 or 1 does not tell t to nine digits
		}
		if got := stat.Quantile(r.P, r.DF); !near(got, r.T) {
			t.Errorf("Quantile(%v, %v) is %v, want %v", r.P, r.DF, got, r.T)
		}
	}
}

func TestIntervalAgreesWithScipy(t *testing.T) {
	type row struct {
		A, B                       []float64
		Alpha, P, Low, Value, High float64
	}
	for i, r := range fixture[row](t, "interval.json", 30) {
		// Without a margin the smallest chance of error is that of a difference.
		c := compare(t, stat.Metric{Kind: stat.Timed}, values(r.A...), values(r.B...), r.Alpha)
		if c.Ratio == nil || !near(c.Ratio.Low, r.Low) || !near(c.Ratio.Value, r.Value) || !near(c.Ratio.High, r.High) || !near(c.P, r.P) {
			t.Errorf("row %d: %+v and p = %v, want %+v", i, c.Ratio, c.P, r)
		}
	}
}

// TestBlocksAgreeWithScipy: runs on several machines are least squares with a level
// for each machine.
func TestBlocksAgreeWithScipy(t *testing.T) {
	type row struct {
		Blocks                     []string
		Sides                      []int
		Values                     []float64
		Alpha, P, Low, Value, High float64
	}
	for i, r := range fixture[row](t, "blocks.json", 10) {
		var sides [2][]stat.Value
		for k, v := range r.Values {
			sides[r.Sides[k]] = append(sides[r.Sides[k]], stat.Value{V: v, Block: r.Blocks[k]})
		}
		c := compare(t, stat.Metric{Kind: stat.Timed}, sides[0], sides[1], r.Alpha)
		if c.Ratio == nil || !near(c.Ratio.Low, r.Low) || !near(c.Ratio.Value, r.Value) || !near(c.Ratio.High, r.High) || !near(c.P, r.P) {
			t.Errorf("row %d: %+v and p = %v, want %+v", i, c.Ratio, c.P, r)
		}
	}
}

// TestBlocksApart: without a machine that ran both sides nothing is said of times,
// and order does not decide between machines.
func TestBlocksApart(t *testing.T) {
	on := func(block string, values []stat.Value) []stat.Value {
		for i := range values {
			values[i].Block = block
		}
		return values
	}
	c := compare(t, stat.Metric{Kind: stat.Timed}, on("a", values(1, 1.1, 1)), on("b", values(9, 9, 9.1)), 0)
	if c.Verdict != stat.Unknown || c.Why != stat.Few || c.More == 0 {
		t.Errorf("%+v", c)
	}
	c = compare(t, stat.Metric{Kind: stat.Timed}, on("a", values(1, 1.1, 1)), on("b", cut(90, 90)), 0)
	if c.Verdict != stat.Unknown || c.Why != stat.Cut {
		t.Errorf("%+v", c)
	}
}

func TestHolmAgreesWithItsDefinition(t *testing.T) {
	for _, r := range fixture[struct{ P, Adjusted []float64 }](t, "holm.json", 8) {
		if d := cmp.Diff(r.Adjusted, stat.Holm(r.P), cmpopts.EquateApprox(0, 1e-9)); d != "" {
			t.Errorf("%v: %s", r.P, d)
		}
	}
}

func values(v ...float64) []stat.Value {
	out := make([]stat.Value, len(v))
	for i, x := range v {
		out[i].V = x
	}
	return out
}

// cut is runs that were ended at v.
func cut(v ...float64) []stat.Value {
	out := values(v...)
	for i := range out {
		out[i].Censored = true
	}
	return out
}

func compare(t interface{ Fatal(...any) }, m stat.Metric, a, b []stat.Value, alpha float64) stat.Comparison {
	c, err := stat.Compare(m, stat.Sample{Values: a}, stat.Sample{Values: b}, alpha)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	exact  = stat.Metric{Name: "built", Kind: stat.Exact, Floor: 2}
	disk   = stat.Metric{Name: "disk.peak", Kind: stat.NearExact, Tolerance: 0.02}
	wall   = stat.Metric{Name: "wall", Kind: stat.Timed, Margin: 0.05}
	perH   = stat.Metric{Name: "images per hour", Kind: stat.Timed, Margin: 0.05, Higher: true}
	limit  = []stat.Value{{V: 100}, {V: 102}, {V: 300, Censored: true}}
	steady = values(100, 101, 99, 100)
)

func TestCompare(t *testing.T) {
	type want struct {
		verdict  stat.Verdict
		why      stat.Why
		relevant bool
	}
	for name, tt := range map[string]struct {
		metric stat.Metric
		a, b   []stat.Value
		want   want
	}{
		"exact, equal":                   {exact, values(500), values(500), want{stat.Same, "", false}},
		"exact, one run each":            {exact, values(500), values(387), want{stat.Changed, "", true}},
		"exact, below the floor":         {exact, values(500), values(499), want{stat.Changed, "", false}},
		"exact, zero":                    {exact, values(0), values(0, 0), want{stat.Same, "", false}},
		"exact, runs of a side differ":   {exact, values(500, 501), values(500), want{stat.Unknown, stat.Unsteady, false}},
		"exact, sides do not overlap":    {exact, values(500, 501), values(510, 511), want{stat.Changed, "", true}},
		"exact, no run":                  {exact, values(500), nil, want{stat.Unknown, stat.Few, false}},
		"exact, cut below":               {exact, values(500), cut(400), want{stat.Unknown, stat.Cut, false}},
		"exact, cut above":               {exact, values(500), cut(600), want{stat.Changed, "", true}},
		"exact, cut at the same":         {exact, values(500), cut(500), want{stat.Unknown, stat.Cut, false}},
		"exact, not a number":            {exact, values(math.NaN()), values(1), want{stat.Unknown, stat.NoNumber, false}},
		"near-exact, within":             {disk, values(100, 101), values(101.5), want{stat.Same, "", false}},
		"near-exact, beyond":             {disk, values(100, 101), values(110), want{stat.Changed, "", true}},
		"near-exact, some beyond":        {disk, values(100), values(101, 103), want{stat.Unknown, stat.Unsteady, false}},
		"near-exact, zero":               {disk, values(0), values(0), want{stat.Same, "", false}},
		"timed, slower":                  {wall, steady, values(120, 121, 119), want{stat.Regressed, "", true}},
		"timed, faster":                  {wall, steady, values(80, 81, 79), want{stat.Improved, "", true}},
		"timed, more is better":          {perH, steady, values(120, 121, 119), want{stat.Improved, "", true}},
		"timed, less is worse":           {perH, steady, values(80, 81, 79), want{stat.Regressed, "", true}},
		"timed, within the margin":       {wall, steady, values(101, 102, 101, 100), want{stat.Same, "", false}},
		"timed, real but in the margin":  {wall, steady, values(103, 102, 104, 103), want{stat.Same, "", false}},
		"timed, noise":                   {wall, values(100, 140, 80), values(120, 90, 150), want{stat.Unknown, stat.Spread, false}},
		"timed, one run each":            {wall, values(100), values(200), want{stat.Unknown, stat.Few, false}},
		"timed, one run beside many":     {wall, values(100), values(200, 201, 199), want{stat.Regressed, "", true}},
		"timed, no spread at all":        {wall, values(100, 100), values(100, 100), want{stat.Same, "", false}},
		"timed, zero":                    {wall, values(0, 1), values(1, 1), want{stat.Unknown, stat.NoNumber, false}},
		"timed, infinite":                {wall, values(1, 1), values(1, math.Inf(1)), want{stat.Unknown, stat.NoNumber, false}},
		"cut far above all":              {wall, steady, cut(300, 300), want{stat.Regressed, "", true}},
		"cut, one run":                   {wall, steady, cut(300), want{stat.Regressed, "", true}},
		"cut, the reference":             {wall, cut(300, 300), steady, want{stat.Improved, "", true}},
		"cut beside whole runs, above":   {wall, steady, append(values(250), cut(300)...), want{stat.Regressed, "", true}},
		"cut beside whole runs, between": {wall, steady, append(values(100), cut(300)...), want{stat.Unknown, stat.Cut, false}},
		"cut just above":                 {wall, steady, cut(101.5, 101.5), want{stat.Unknown, stat.Cut, false}},
		"cut above, in the margin":       {wall, values(100, 100.1, 99.9), cut(102, 102), want{stat.Unknown, stat.Cut, false}},
		"exact, the reference cut":       {exact, cut(400), values(500), want{stat.Unknown, stat.Cut, false}},
		"cut below":                      {wall, steady, cut(50, 50), want{stat.Unknown, stat.Cut, false}},
		"cut on both sides":              {wall, limit, cut(400, 400), want{stat.Unknown, stat.Cut, false}},
		"cut, and one run to go by":      {wall, values(100), cut(3000), want{stat.Unknown, stat.Cut, false}},
		"cut above noise":                {wall, values(100, 140, 80), cut(200, 200, 200), want{stat.Unknown, stat.Cut, false}},
	} {
		t.Run(name, func(t *testing.T) {
			c := compare(t, tt.metric, tt.a, tt.b, 0)
			if got := (want{c.Verdict, c.Why, c.Relevant}); got != tt.want {
				t.Errorf("%+v of %+v, want %+v", got, c, tt.want)
			}
			if _, err := json.Marshal(c); err != nil {
				t.Error(err)
			}
		})
	}
}

// More runs of the same spread settle what is open, and one fewer does not.
func TestMoreSettles(t *testing.T) {
	a, b := values(100, 110, 95), values(104, 112, 101)
	c := compare(t, wall, a, b, 0)
	if c.Verdict != stat.Unknown || c.More < 2 {
		t.Fatalf("%+v", c)
	}
	for _, k := range []int{c.More - 1, c.More} {
		grown := compare(t, wall, grow(a, k), grow(b, k), 0)
		if settled := grown.Verdict != stat.Unknown; settled != (k == c.More) {
			t.Errorf("%d more runs: %+v", k, grown)
		}
	}
	if c := compare(t, wall, values(100), values(100), 0); c.More != 1 {
		t.Errorf("one run each wants %d more", c.More)
	}
	// The middle is on the margin: no number of runs would settle it.
	on := compare(t, wall, values(100, 110), values(105, 115.5), 0)
	if on.Verdict != stat.Unknown || on.More != 0 {
		t.Errorf("%+v", on)
	}
}

// grow adds k runs and keeps mean and spread of the logarithms.
func grow(v []stat.Value, k int) []stat.Value {
	var mean, squares float64
	for _, x := range v {
		mean += math.Log(x.V) / float64(len(v))
	}
	for _, x := range v {
		squares += math.Pow(math.Log(x.V)-mean, 2)
	}
	n := len(v) + k
	variance := squares / float64(len(v)-1)
	out := make([]stat.Value, n)
	for i := range out {
		// Two runs stand apart, the rest in the middle.
		d := 0.0
		if i < 2 {
			d = math.Sqrt(variance*float64(n-1)/2) * float64(1-2*i)
		}
		out[i].V = math.Exp(mean + d)
	}
	return out
}

// 200 comparisons of a thing with itself, where every difference would matter:
// at 5 %, 10 false verdicts are to be expected, and 19 or more are rarer than
// one time in 150.
func TestFalseVerdicts(t *testing.T) {
	r := rand.New(rand.NewPCG(504, 2026))
	for _, n := range []int{2, 3, 5, 10} {
		wrong := 0
		for range 200 {
			a, b := make([]stat.Value, n), make([]stat.Value, n)
			for i := range n {
				a[i].V, b[i].V = 600*math.Exp(0.1*r.NormFloat64()), 600*math.Exp(0.1*r.NormFloat64())
			}
			if v := compare(t, stat.Metric{Kind: stat.Timed}, a, b, 0.05).Verdict; v != stat.Unknown && v != stat.Same {
				wrong++
			}
		}
		if wrong == 0 || wrong > 18 {
			t.Errorf("%d runs a side: %d false verdicts of 200", n, wrong)
		}
	}
}

// Of 200 families of five comparisons of like things no more than as many
// families have a false verdict as one comparison would.
func TestFalseVerdictsOfFamilies(t *testing.T) {
	r := rand.New(rand.NewPCG(1979, 5))
	alone, together := 0, 0
	for range 200 {
		var family []stat.Comparison
		for range 5 {
			a, b := make([]stat.Value, 4), make([]stat.Value, 4)
			for i := range a {
				a[i].V, b[i].V = math.Exp(0.1*r.NormFloat64()), math.Exp(0.1*r.NormFloat64())
			}
			family = append(family, compare(t, stat.Metric{Kind: stat.Timed}, a, b, 0))
		}
		alone += min(1, decided(family))
		together += min(1, decided(stat.Together(family, 0)))
	}
	if alone < 30 || together > 18 {
		t.Errorf("%d families have a false verdict, %d after the correction", alone, together)
	}
}

func decided(family []stat.Comparison) int {
	n := 0
	for _, c := range family {
		if c.Verdict != stat.Unknown {
			n++
		}
	}
	return n
}

func TestTogether(t *testing.T) {
	sure := compare(t, wall, steady, values(120, 121, 119), 0)
	alone := compare(t, wall, steady, values(102, 115, 112), 0)
	if alone.Verdict != stat.Regressed || alone.P < 0.01 {
		t.Fatalf("%+v", alone)
	}
	count := compare(t, exact, values(500), values(387), 0)
	family := []stat.Comparison{count, alone, sure, sure, sure, sure, alone, alone, alone}
	got := stat.Together(family, 0)
	if got[0].Verdict != stat.Changed || got[0].Adjusted != 0 {
		t.Errorf("what has no noise is not adjusted: %+v", got[0])
	}
	if c := got[1]; c.Verdict != stat.Unknown || c.Why != stat.Family || c.Relevant || c.More == 0 || c.Adjusted <= c.P {
		t.Errorf("%+v", c)
	}
	if c := got[2]; c.Verdict != stat.Regressed || c.Adjusted <= c.P || c.Adjusted > 0.05 {
		t.Errorf("%+v", c)
	}
	if family[1].Verdict != stat.Regressed {
		t.Error("the comparisons that were given changed")
	}
	if c := stat.Together([]stat.Comparison{alone}, 0)[0]; c.Verdict != stat.Regressed || c.Adjusted != c.P {
		t.Errorf("alone: %+v", c)
	}
}

func TestConditions(t *testing.T) {
	like := stat.Conditions{Temperature: "cold", Concurrency: 8, Plan: "p", Daemon: "v0.34.2"}
	unlike := stat.Conditions{Temperature: "warm", Concurrency: 4, Plan: "q", Daemon: "v0.33.0"}
	if err := like.Against(like); err != nil {
		t.Error(err)
	}
	_, err := stat.Compare(wall, stat.Sample{Conditions: like, Values: steady}, stat.Sample{Conditions: unlike, Values: steady}, 0)
	var r *stat.Refusal
	if !errors.As(err, &r) || diag.KindOf(err) != diag.Usage || diag.HelpOf(err) == "" {
		t.Fatalf("%v", err)
	}
	if len(r.Differences) != 4 {
		t.Errorf("%+v", r.Differences)
	}
	want := "trials that differ in temperature (cold, warm), concurrency (8, 4), plan (p, q), daemon version (v0.34.2, v0.33.0) cannot be compared"
	if err.Error() != want {
		t.Errorf("%q", err)
	}
	unlike = like
	unlike.Daemon = "v0.33.0"
	if err := like.Against(unlike); !errors.As(err, &r) || len(r.Differences) != 1 || r.Differences[0] != (stat.Difference{Field: "daemon version", A: "v0.34.2", B: "v0.33.0"}) {
		t.Errorf("%v", err)
	}
}

func TestDemote(t *testing.T) {
	for name, tt := range map[string]struct {
		metric stat.Metric
		runs   []stat.Value
		want   *stat.Warning
	}{
		"steady":                    {exact, values(5, 5, 5), nil},
		"not steady":                {exact, values(5, 6), &stat.Warning{Code: stat.Demoted, Metric: "built", Low: 5, High: 6}},
		"within the tolerance":      {disk, values(100, 101), nil},
		"beyond the tolerance":      {disk, values(100, 110), &stat.Warning{Code: stat.Demoted, Metric: "disk.peak", Low: 100, High: 110}},
		"timed metrics are allowed": {wall, values(100, 200), nil},
		"nothing to look at":        {exact, nil, nil},
		"one was cut short":         {exact, []stat.Value{{V: 5}, {V: 3, Censored: true}, {V: 5}}, nil},
		"two were, and differ":      {exact, []stat.Value{{V: 4, Censored: true}, {V: 3, Censored: true}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m, w := stat.Demote(tt.metric, tt.runs)
			if d := cmp.Diff(tt.want, w); d != "" {
				t.Error(d)
			}
			if demoted := m.Kind != tt.metric.Kind; demoted != (w != nil) || demoted && (m.Kind != stat.Timed || m.Margin < stat.DefaultMargin) {
				t.Errorf("%+v", m)
			}
		})
	}
}

func TestStill(t *testing.T) {
	for name, tt := range map[string]struct {
		cells [][]stat.Value
		dead  bool
	}{
		"moves":          {[][]stat.Value{values(5), values(6)}, false},
		"never moves":    {[][]stat.Value{values(5, 5), values(5)}, true},
		"one cell":       {[][]stat.Value{values(5, 5)}, false},
		"one with runs":  {[][]stat.Value{values(5, 5), nil}, false},
		"moves in a one": {[][]stat.Value{values(5, 6), values(5)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if w := stat.Still(exact, tt.cells...); (w != nil) != tt.dead || w != nil && (w.Code != stat.Dead || w.Low != 5) {
				t.Errorf("%+v", w)
			}
		})
	}
}

// drawRuns draws runs of a timed metric.
func drawRuns(t *rapid.T, name string) []stat.Value {
	return values(rapid.SliceOfN(rapid.Float64Range(1, 1e4), 1, 6).Draw(t, name)...)
}

// Whatever the runs are: sides that change places give the opposite answer,
// another unit gives the same, and a verdict says what its interval says.
func TestPropertyTimed(t *testing.T) {
	opposite := map[stat.Verdict]stat.Verdict{
		stat.Regressed: stat.Improved, stat.Improved: stat.Regressed, stat.Same: stat.Same, stat.Unknown: stat.Unknown,
	}
	rapid.Check(t, func(t *rapid.T) {
		m := stat.Metric{Kind: stat.Timed, Margin: rapid.Float64Range(0, 0.5).Draw(t, "margin")}
		a, b := drawRuns(t, "a"), drawRuns(t, "b")
		c, back := compare(t, m, a, b, 0), compare(t, m, b, a, 0)
		if back.Verdict != opposite[c.Verdict] || back.Why != c.Why || back.More != c.More {
			t.Fatalf("%+v and back %+v", c, back)
		}
		double := func(v []stat.Value) []stat.Value {
			out := make([]stat.Value, len(v))
			for i := range v {
				out[i].V = 2 * v[i].V
			}
			return out
		}
		if other := compare(t, m, double(a), double(b), 0); other.Verdict != c.Verdict && math.Abs(c.P-stat.DefaultAlpha) > 1e-9 {
			t.Fatalf("%+v and in another unit %+v", c, other)
		}
		r := c.Ratio
		switch {
		case r == nil:
			if c.Verdict != stat.Unknown {
				t.Fatalf("%+v", c)
			}
		case c.Verdict == stat.Regressed && r.Low < 1-1e-9, c.Verdict == stat.Improved && r.High > 1+1e-9,
			c.Verdict == stat.Same && (r.High > 1+m.Margin+1e-9 || r.Low < 1/(1+m.Margin)-1e-9):
			t.Fatalf("%+v %+v", c, r)
		}
	})
}

func TestPropertyStudent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		df := rapid.Float64Range(1, 500).Draw(t, "df")
		p := rapid.Float64Range(0.0001, 0.9999).Draw(t, "p")
		if back := stat.CDF(stat.Quantile(p, df), df); math.Abs(back-p) > 1e-11 {
			t.Fatalf("CDF(Quantile(%v, %v)) is %v", p, df, back)
		}
		x := rapid.Float64Range(-60, 60).Draw(t, "t")
		if sum := stat.CDF(x, df) + stat.CDF(-x, df); math.Abs(sum-1) > 1e-12 {
			t.Fatalf("CDF(%v, %v) and its mirror add up to %v", x, df, sum)
		}
	})
}

// TestMiddle holds an interval that Student's t gives by hand, and what has none.
func TestMiddle(t *testing.T) {
	runs := []stat.Value{{V: 100}, {V: 110}, {V: 121}}
	got, ok := stat.Middle(runs, 0)
	// log: mean log(110), sd log(1.1), t(0.975, 2) = 4.302653, half = 4.302653 * log(1.1) / sqrt(3)
	half := math.Exp(4.30265273 * math.Log(1.1) / math.Sqrt(3))
	for _, x := range [][2]float64{{got.Low, 110 / half}, {got.Value, 110}, {got.High, 110 * half}} {
		if math.Abs(x[0]/x[1]-1) > 1e-8 {
			t.Errorf("%v, want %v", x[0], x[1])
		}
	}
	if !ok {
		t.Error("no interval")
	}
	for name, runs := range map[string][]stat.Value{"one": {{V: 1}}, "cut": {{V: 1}, {V: 2, Censored: true}}, "zero": {{V: 1}, {V: 0}}, "none": nil} {
		if _, ok := stat.Middle(runs, 0); ok {
			t.Errorf("%s: an interval", name)
		}
	}
}
