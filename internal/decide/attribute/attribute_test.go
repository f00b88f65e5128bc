package attribute_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/attribute"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

type set = attribute.Set

var names = []string{"agent", "sdk", "apt", "disk"}

// truth is the interaction terms of a world; the empty set's is the old value.
type truth map[set]float64

// value is what the world gives in a cell.
func (w truth) value(s set) float64 {
	v := 0.0
	for t, x := range w {
		if t&^s == 0 {
			v += x
		}
	}
	return v
}

// ask answers until there is an answer, and counts the cells.
func ask(t interface{ Fatal(...any) }, in attribute.Input, value func(set) float64) (attribute.Answer, int) {
	in.Values = map[set]float64{}
	for {
		a, err := attribute.Explain(in)
		if err != nil {
			t.Fatal(err)
		}
		if a.Verdict != attribute.Open {
			return a, len(in.Values)
		}
		for _, s := range a.Next {
			in.Values[s] = value(s)
		}
	}
}

// The synthetic truths, each with noise-free values, give their verdicts; so they
// do as times, with noise within the margin.
func TestVerdicts(t *testing.T) {
	for name, tt := range map[string]struct {
		factors  int
		world    truth
		want     attribute.Verdict
		sentence string
		cells    int
	}{
		"one factor":           {1, truth{0: 400, 1: 140}, attribute.Single, "agent alone changes it, by +140", 2},
		"one factor, inert":    {1, truth{0: 400}, attribute.None, "nothing of agent changes it", 2},
		"one of two":           {2, truth{0: 400, 2: 140}, attribute.Single, "sdk alone changes it, by +140", 4},
		"one of four":          {4, truth{0: 400, 4: -140}, attribute.Single, "apt alone changes it, by -140", 10},
		"none of four":         {4, truth{0: 400}, attribute.None, "nothing of agent, sdk, apt and disk changes it", 10},
		"two add up":           {2, truth{0: 400, 1: 103, 2: 38}, attribute.Additive, "agent (+103) and sdk (+38) add up to +141", 4},
		"three of four add up": {4, truth{0: 400, 1: 103, 2: 38, 8: 50}, attribute.Additive, "agent (+103), sdk (+38) and disk (+50) add up to +191", 10},
		"up and down":          {2, truth{0: 400, 1: 103, 2: -38}, attribute.Additive, "agent (+103) and sdk (-38) add up to +65", 4},
		"only together":        {2, truth{0: 400, 3: 200}, attribute.Combination, "agent and sdk change it together, by +200: none of them does anything alone", 4},
		"only two of three":    {3, truth{0: 400, 5: 200}, attribute.Combination, "agent and apt change it together, by +200: none of them does anything alone", 8},
		"all three together":   {3, truth{0: 400, 7: 200}, attribute.Combination, "agent, sdk and apt change it together, by +200: none of them does anything alone", 8},
		"two pairs of four":    {4, truth{0: 400, 3: 200, 12: 90}, attribute.Combination, "agent and sdk change it together, by +200; apt and disk change it together, by +90: none of them does anything alone", 16},
		"two that cancel":      {2, truth{0: 400, 1: 100, 2: -100}, attribute.Masking, "agent (+100) and sdk (-100) hide each other: together they change it by +0", 4},
		"one hides the other":  {2, truth{0: 400, 1: 100, 3: -100}, attribute.Masking, "agent (+100) changes it alone, but not when all else is new as well: together it is +0", 4},
		"either is enough":     {2, truth{0: 400, 1: 100, 2: 100, 3: -100}, attribute.Masking, "agent (+100) and sdk (+100) change it alone, but each adds nothing when all else is new as well: together it is +100", 4},
		"turns round":          {2, truth{0: 400, 1: 100, 3: -180}, attribute.Crossover, "agent turns round: it does +100 alone, and -80 beside sdk", 4},
		"one or the other":     {2, truth{0: 400, 1: 100, 2: 100, 3: -200}, attribute.Crossover, "agent turns round: it does +100 alone, and -100 beside sdk", 4},
		"more than the sum":    {2, truth{0: 400, 1: 100, 2: 50, 3: 300}, attribute.Mixed, "agent (+100) and sdk (+50) change it alone, and together it is +450, not the sum +150", 4},
		"less than the sum":    {3, truth{0: 400, 1: 100, 2: 80, 3: -40}, attribute.Mixed, "agent (+100) and sdk (+80) change it alone, and together it is +140, not the sum +180", 8},
	} {
		t.Run(name, func(t *testing.T) {
			in := attribute.Input{Factors: names[:tt.factors]}
			a, cells := ask(t, in, tt.world.value)
			if a.Verdict != tt.want || a.Sentence != tt.sentence || cells != tt.cells {
				t.Errorf("%s after %d cells: %s", a.Verdict, cells, a.Sentence)
			}
			if len(a.Assumed)+cells != 1<<tt.factors {
				t.Errorf("%d cells and %v assumed", cells, a.Assumed)
			}
			for _, term := range a.Terms {
				if math.Abs(term.Value-tt.world[term.Set]) > 1e-9 {
					t.Errorf("term %v is %v, want %v", term.Set.Names(names), term.Value, tt.world[term.Set])
				}
			}
			in.Margin = 12
			noisy := func(s set) float64 { return tt.world.value(s) + 4*math.Sin(37*float64(s+1)) }
			if a, _ := ask(t, in, noisy); a.Verdict != tt.want {
				t.Errorf("with noise: %s, %s", a.Verdict, a.Sentence)
			}
		})
	}
}

// The figures of a worked 2 x 2 example (Jain 1991, section 17.1: memory and
// cache; 15, 45, 25 and 75 MIPS): shares 76 %, 19 % and 5 %.
func TestShares(t *testing.T) {
	a, err := attribute.Explain(attribute.Input{Factors: []string{"memory", "cache"}, Values: map[set]float64{0: 15, 1: 45, 2: 25, 3: 75}})
	if err != nil {
		t.Fatal(err)
	}
	var got []float64
	for _, term := range a.Terms {
		got = append(got, term.Share)
	}
	if d := cmp.Diff([]float64{1600. / 2100, 400. / 2100, 100. / 2100}, got, cmpopts.EquateApprox(0, 1e-12)); d != "" {
		t.Error(d)
	}
	want := []attribute.Factor{{Name: "memory", Alone: 30, Last: 50, Shapley: 40}, {Name: "cache", Alone: 10, Last: 30, Shapley: 20}}
	if d := cmp.Diff(want, a.Factors); d != "" {
		t.Error(d)
	}
}

// Noise adds up: what four effects alone miss together may be more than the
// margin of one.
func TestNoiseAddsUp(t *testing.T) {
	drift := map[set]float64{1: 3, 2: 3, 4: 3, 8: 3, 15: 6}
	world := func(s set) float64 { return 400 + drift[s] }
	a, cells := ask(t, attribute.Input{Factors: names, Margin: 5}, world)
	if a.Verdict != attribute.Additive || cells != 10 || a.Sentence != "agent (+3), sdk (+3), apt (+3) and disk (+3) add up to +6" {
		t.Errorf("%s after %d cells: %s", a.Verdict, cells, a.Sentence)
	}
	// No cell stands apart, whatever the sums do.
	drift = map[set]float64{1: 4, 2: 4, 4: 4, 8: 4}
	if a, cells := ask(t, attribute.Input{Factors: names, Margin: 5}, world); a.Verdict != attribute.None || cells != 10 {
		t.Errorf("%s after %d cells: %s", a.Verdict, cells, a.Sentence)
	}
}

func TestMissing(t *testing.T) {
	in := attribute.Input{Factors: names[:2], Values: map[set]float64{0: 1, 3: 5}}
	a, err := attribute.Explain(in)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(attribute.Answer{Verdict: attribute.Open, Next: []set{1, 2}, Sentence: "to be measured yet: agent, sdk"}, a); d != "" {
		t.Error(d)
	}
	in.Untestable = []set{2}
	if a, err = attribute.Explain(in); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(attribute.Answer{Verdict: attribute.Unknown, Lacking: []set{2}, Sentence: "it cannot be told: sdk cannot be tested"}, a); d != "" {
		t.Error(d)
	}
	if a, _ := attribute.Explain(attribute.Input{Factors: names[:1]}); a.Sentence != "to be measured yet: nothing new, agent" {
		t.Errorf("%q", a.Sentence)
	}
	// A cell that is needed for an answer only when effects do not add up.
	four := attribute.Input{Factors: names, Untestable: []set{3}}
	if a, n := ask(t, four, truth{0: 1, 1: 5, 2: 6}.value); a.Verdict != attribute.Additive || n != 10 {
		t.Errorf("%+v after %d", a, n)
	}
	if a, _ := ask(t, four, truth{0: 1, 1: 5, 7: 6}.value); a.Verdict != attribute.Unknown || len(a.Lacking) != 1 || a.Lacking[0] != 3 {
		t.Errorf("%+v", a)
	}
}

func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		in   attribute.Input
		want string
	}{
		"no factor":          {attribute.Input{}, "0 factors"},
		"five":               {attribute.Input{Factors: append(names, "five")}, "5 factors"},
		"one name twice":     {attribute.Input{Factors: []string{"a", "a"}}, "names of their own"},
		"no name":            {attribute.Input{Factors: []string{""}}, "names of their own"},
		"margin":             {attribute.Input{Factors: names, Margin: math.NaN()}, "margin"},
		"value":              {attribute.Input{Factors: names, Values: map[set]float64{0: math.Inf(1)}}, "value +Inf of cell 0"},
		"no such cell":       {attribute.Input{Factors: names[:2], Values: map[set]float64{4: 1}}, "of cell 4"},
		"untestable outside": {attribute.Input{Factors: names[:2], Untestable: []set{4}}, "cell 4"},
		"both":               {attribute.Input{Factors: names[:2], Values: map[set]float64{1: 1}, Untestable: []set{1}}, "cell 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := attribute.Explain(tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) || diag.KindOf(err) != diag.Usage {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestShow(t *testing.T) {
	in := attribute.Input{Factors: names[:1], Values: map[set]float64{0: 60, 1: 200}, Show: func(v float64) string { return fmt.Sprintf("%+.0f s", v) }}
	if a, err := attribute.Explain(in); err != nil || a.Sentence != "agent alone changes it, by +140 s" {
		t.Errorf("%q %v", a.Sentence, err)
	}
}

// Whatever the cells are: terms and shares of the factors add up to the whole
// change, the terms give every cell back, a factor that never matters gets
// nothing, and the shares of variation are a whole.
func TestPropertyAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "factors")
		idle := rapid.IntRange(0, n-1).Draw(t, "idle")
		values := map[set]float64{}
		for s := range set(1 << n) {
			values[s] = float64(rapid.IntRange(-1000, 1000).Draw(t, "value"))
		}
		for s := range values {
			values[s|1<<idle] = values[s&^(1<<idle)]
		}
		margin := rapid.SampledFrom([]float64{0, 100, 500, 1500, 3000}).Draw(t, "margin")
		a, err := attribute.Explain(attribute.Input{Factors: names[:n], Values: values, Margin: margin})
		if err != nil {
			t.Fatal(err)
		}
		terms, shapley, share := 0.0, 0.0, 0.0
		cells := map[set]float64{}
		for _, term := range a.Terms {
			terms += term.Value
			share += term.Share
			for s := range values {
				if term.Set&^s == 0 {
					cells[s] += term.Value
				}
			}
		}
		for _, f := range a.Factors {
			shapley += f.Shapley
		}
		total := values[1<<n-1] - values[0]
		if a.Total != total || terms != total || math.Abs(shapley-total) > 1e-9 || math.Abs(a.Factors[idle].Shapley) > 1e-9 {
			t.Fatalf("%v: terms %v, factors %v", total, terms, a.Factors)
		}
		for s, v := range values {
			if cells[s] != v-values[0] {
				t.Fatalf("cell %v is %v, its terms %v", s, v-values[0], cells[s])
			}
		}
		if math.Abs(share-1) > 1e-9 && share != 0 {
			t.Fatalf("shares of variation: %v", share)
		}
		if a.Sentence == "" || strings.HasPrefix(a.Sentence, ":") || a.Verdict == attribute.Open || a.Verdict == attribute.Unknown {
			t.Fatalf("%+v", a)
		}
	})
}

func TestAmplify(t *testing.T) {
	const hour, gib = 3600, 1 << 30
	reading := func(hours, gibs float64) attribute.Reading {
		return attribute.Reading{Cost: hours * hour, Bytes: gibs * gib}
	}
	for name, tt := range map[string]struct {
		reference, last, doubled attribute.Reading
		want                     attribute.Cause
		back                     float64
	}{
		"disk cliff":         {reading(1, 400), reading(6, 600), reading(1.1, 600), attribute.DiskCliff, 0.98},
		"no more bytes":      {reading(1, 600), reading(6, 600), reading(1, 600), attribute.SmallDisk, 1},
		"bytes change":       {reading(1, 400), reading(6, 600), reading(1, 420), attribute.Unclear, 1},
		"back within noise":  {reading(1, 400), reading(6, 600), reading(1.15, 600), attribute.DiskCliff, 0.97},
		"a part comes back":  {reading(1, 400), reading(6, 600), reading(3.5, 600), attribute.Partly, 0.5},
		"as slow":            {reading(1, 400), reading(6, 600), reading(6, 600), attribute.Direct, 0},
		"slower still":       {reading(1, 400), reading(6, 600), reading(7, 600), attribute.Direct, -0.2},
		"not slower at all":  {reading(1, 400), reading(1.1, 600), reading(1, 600), attribute.NoExcess, 0},
		"as fast to the bit": {reading(1, 400), reading(1, 600), reading(1, 600), attribute.NoExcess, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := attribute.Amplify(attribute.Amplifier{Reference: tt.reference, Last: tt.last, Doubled: tt.doubled, CostMargin: 0.15 * hour, BytesMargin: 0.02})
			if err != nil || a.Cause != tt.want || math.Abs(a.Back-tt.back) > 1e-9 || a.Sentence == "" {
				t.Errorf("%+v %v", a, err)
			}
		})
	}
	for _, bad := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		_, err := attribute.Amplify(attribute.Amplifier{Reference: reading(1, 1), Last: reading(1, bad), Doubled: reading(1, 1)})
		if diag.KindOf(err) != diag.Usage || err == nil {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
