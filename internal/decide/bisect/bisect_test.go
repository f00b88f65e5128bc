package bisect_test

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/bisect"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// history is what a search does not know.
type history struct {
	plan       bisect.Plan
	value      map[string]float64
	untestable map[string]bool
	again      map[string]float64 // what a fresh probe gives instead
}

// answer carries out a probe.
func (h history) answer(p bisect.Probe) bisect.Event {
	if h.untestable[p.At] {
		return bisect.Event{Kind: bisect.Untestable, At: p.At, Fresh: p.Fresh, Detail: "it does not build"}
	}
	e := bisect.Event{Kind: bisect.Measured, At: p.At, Fresh: p.Fresh, Value: h.value[p.At]}
	if v, ok := h.again[p.At]; ok && p.Fresh {
		e.Value = v
	}
	return e
}

// run searches to the end. Next chooses which of the waiting probes ends first;
// watch sees every step.
func (h history) run(t *testing.T, next func(n int) int, watch func(bisect.Event, []bisect.Probe)) *bisect.Search {
	t.Helper()
	s := bisect.New()
	var waiting []bisect.Probe
	step := func(e bisect.Event) {
		probes, err := s.Step(e)
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, probes...)
		watch(e, probes)
	}
	step(bisect.Event{Kind: bisect.Begin, Plan: &h.plan})
	for len(waiting) > 0 {
		i := next(len(waiting))
		p := waiting[i]
		waiting = append(waiting[:i:i], waiting[i+1:]...)
		step(h.answer(p))
	}
	return s
}

// change is a checkpoint at which the value changes.
type change struct {
	at    int
	delta float64
}

// newHistory is n checkpoints with distinct fingerprints. Those in inert share
// the one of the checkpoint before.
func newHistory(n int, changes []change, untestable, inert map[int]bool) history {
	h := history{value: map[string]float64{}, untestable: map[string]bool{}}
	value, print := 100.0, ""
	for i := range n {
		for _, c := range changes {
			if c.at == i {
				value += c.delta
			}
		}
		if !inert[i] {
			print = fmt.Sprintf("f%d", i)
		}
		id := fmt.Sprintf("c%03d", i)
		h.plan.Checkpoints = append(h.plan.Checkpoints, bisect.Checkpoint{ID: id, Fingerprint: print})
		h.value[id] = value
		if untestable[i] {
			h.untestable[id] = true
		}
	}
	return h
}

// drawHistory is a history of 5 to 128 checkpoints with up to three changes and
// up to a tenth untestable.
func drawHistory(r *rand.Rand) (history, []change) {
	n := 5 + r.IntN(124)
	inert, untestable, at := map[int]bool{}, map[int]bool{}, map[int]bool{}
	var changes []change
	for range r.IntN(4) {
		c := change{at: 1 + r.IntN(n-1), delta: float64(1 + r.IntN(3))}
		if r.IntN(2) == 0 {
			c.delta = -c.delta
		}
		if !at[c.at] {
			at[c.at] = true
			changes = append(changes, c)
		}
	}
	share := float64(r.IntN(4)) / 10
	bad := float64(r.IntN(11)) / 100
	for i := 1; i < n; i++ {
		inert[i] = !at[i] && r.Float64() < share
	}
	for i := range n {
		// A group is testable as a whole, or not.
		untestable[i] = r.Float64() < bad
		if inert[i] {
			untestable[i] = untestable[i-1]
		}
	}
	h := newHistory(n, changes, untestable, inert)
	if r.IntN(2) == 0 {
		for i := range h.plan.Checkpoints {
			h.plan.Checkpoints[i].Weight = math.Exp(3 * r.NormFloat64())
		}
	}
	return h, changes
}

func TestSimulatedHistories(t *testing.T) {
	r := rand.New(rand.NewPCG(504, 1000))
	culprits, sets, hidden := 0, 0, 0
	for i := range 1000 {
		h, changes := drawHistory(r)
		values := map[string]float64{}
		s := h.run(t, r.IntN, func(e bisect.Event, _ []bisect.Probe) {
			if e.Kind == bisect.Measured && !e.Fresh {
				values[e.At] = e.Value
			}
		})
		res := s.Result()
		if !res.Done {
			t.Fatalf("history %d: not done", i)
		}
		position := map[string]int{}
		for j, c := range h.plan.Checkpoints {
			position[c.ID] = j
		}
		covered := map[int]bool{}
		for _, f := range res.Findings {
			from, to := position[f.Parent]+1, position[f.OneOf[len(f.OneOf)-1]]
			real := 0
			for _, c := range changes {
				if from <= c.at && c.at <= to {
					real++
					covered[c.at] = true
				}
			}
			if real == 0 || f.State != bisect.Confirmed || f.Before == f.After {
				t.Errorf("history %d: invented %+v", i, f)
			}
			if len(f.OneOf) == 1 {
				culprits++
			} else {
				sets++
			}
		}
		// Every change was found or lies in a part that is said to be unexamined.
		for _, span := range res.Unexamined {
			for _, c := range changes {
				if position[span.From] < c.at && c.at <= position[span.To] && !covered[c.at] {
					covered[c.at] = true
					hidden++
				}
			}
		}
		for _, c := range changes {
			if !covered[c.at] {
				t.Errorf("history %d: %+v is neither found nor named unexamined: %+v", i, c, res)
			}
		}
		if want := steps(h.plan, values); len(res.Findings) != want {
			t.Errorf("history %d: %d neighbours that were measured differ, %d findings", i, want, len(res.Findings))
		}
		replayed(t, s)
	}
	if culprits < 800 || sets < 50 || hidden < 100 {
		t.Errorf("%d culprits, %d sets, %d in spans not examined: the histories are too easy", culprits, sets, hidden)
	}
}

// steps counts the measured neighbours that differ.
func steps(p bisect.Plan, values map[string]float64) int {
	n, before, ok := 0, 0.0, false
	for _, c := range p.Checkpoints {
		v, measured := values[c.ID]
		if measured && ok && v != before {
			n++
		}
		if measured {
			before, ok = v, true
		}
	}
	return n
}

// replayed makes sure that a log, written and read, gives the same search.
func replayed(t *testing.T, s *bisect.Search) {
	t.Helper()
	data, err := bisect.Encode(s.Log())
	if err != nil {
		t.Fatal(err)
	}
	log, err := bisect.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := bisect.Replay(log)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s.Result(), again.Result()) + cmp.Diff(s.Pending(), again.Pending()); d != "" {
		t.Error(d)
	}
}

// One culprit costs no more than halving, the two ends, and what was asked in
// vain; whatever the weights are.
func TestProbesOfOneCulprit(t *testing.T) {
	r := rand.New(rand.NewPCG(16, 128))
	most := 0
	for n := 17; n <= 128; n++ {
		for at := 1; at < n; at++ {
			h := newHistory(n, []change{{at, 5}}, nil, nil)
			if at%2 == 0 {
				for i := range h.plan.Checkpoints {
					h.plan.Checkpoints[i].Weight = math.Exp(4 * r.NormFloat64())
				}
			}
			res := h.run(t, first, func(bisect.Event, []bisect.Probe) {}).Result()
			limit := bits.Len(uint(n-1)) + 2
			if res.Probes > limit || res.Again != 2 {
				t.Errorf("%d checkpoints, culprit %d: %d probes and %d again, at most %d", n, at, res.Probes, res.Again, limit)
			}
			most = max(most, res.Probes)
			if len(res.Findings) != 1 || res.Findings[0].OneOf[0] != fmt.Sprintf("c%03d", at) || len(res.Findings[0].OneOf) != 1 {
				t.Errorf("%d checkpoints, culprit %d: %+v", n, at, res.Findings)
			}
		}
	}
	if most != 9 {
		t.Errorf("the most probes of 128 checkpoints were %d", most)
	}
	for range 300 {
		n := 17 + r.IntN(112)
		bad := map[int]bool{}
		for i := range n {
			bad[i] = r.Float64() < 0.1
		}
		h := newHistory(n, []change{{1 + r.IntN(n-1), -5}}, bad, nil)
		res := h.run(t, first, func(bisect.Event, []bisect.Probe) {}).Result()
		vain := 0
		for _, id := range res.Untestable {
			if h.untestable[id] {
				vain++
			}
		}
		if limit := bits.Len(uint(n-1)) + 3 + vain; res.Probes > limit {
			t.Errorf("%d checkpoints, %d in vain: %d probes, at most %d", n, vain, res.Probes, limit)
		}
	}
}

func first(int) int { return 0 }

// TestTranscripts keeps a few searches as text.
func TestTranscripts(t *testing.T) {
	flaky := newHistory(20, []change{{7, 30}}, nil, nil)
	flaky.again = map[string]float64{"c006": 130}
	heavy := newHistory(32, []change{{9, 50}, {23, -50}}, nil, nil)
	heavy.plan.Inside = 5
	for i := range heavy.plan.Checkpoints {
		heavy.plan.Checkpoints[i].Weight = 1
	}
	heavy.plan.Checkpoints[9].Weight = 8
	few := newHistory(5, []change{{2, 10}, {4, -10}}, nil, map[int]bool{1: true})
	for name, h := range map[string]history{
		"few":        few,
		"one":        newHistory(64, []change{{41, 250}}, nil, nil),
		"two":        newHistory(40, []change{{11, 5}, {29, 7}}, nil, nil),
		"cancelling": newHistory(32, []change{{9, 50}, {23, -50}}, nil, nil),
		"heavy":      heavy,
		"untestable": newHistory(24, []change{{12, 40}}, map[int]bool{0: true, 11: true, 12: true, 13: true, 23: true}, nil),
		"flaky":      flaky,
		"inert":      newHistory(12, nil, nil, map[int]bool{1: true, 2: true, 3: true, 4: true, 5: true, 6: true, 7: true, 8: true, 9: true, 10: true, 11: true}),
		"hopeless":   newHistory(3, []change{{1, 1}}, map[int]bool{0: true, 1: true, 2: true}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			s := h.run(t, first, func(e bisect.Event, probes []bisect.Probe) { transcribe(&b, e, probes) })
			conclude(&b, s.Result())
			golden.Text(t, filepath.Join("testdata", name+".txt"), b.String())
		})
	}
}

func transcribe(b *strings.Builder, e bisect.Event, probes []bisect.Probe) {
	again := ""
	if e.Fresh {
		again = " again"
	}
	switch e.Kind {
	case bisect.Begin:
		fmt.Fprintf(b, "begin with %d checkpoints\n", len(e.Plan.Checkpoints))
	case bisect.Measured:
		fmt.Fprintf(b, "%s%s is %v\n", e.At, again, e.Value)
	default:
		fmt.Fprintf(b, "%s%s: %s, %s\n", e.At, again, e.Kind, e.Detail)
	}
	for _, p := range probes {
		fmt.Fprintf(b, "    probe %s: %s\n", p.At, p.Why)
	}
}

func conclude(b *strings.Builder, r bisect.Result) {
	fmt.Fprintf(b, "\n%d groups, %d probes, %d again\n", r.Groups, r.Probes, r.Again)
	for _, f := range r.Findings {
		fmt.Fprintf(b, "%s: %v after %s, %v -> %v\n", f.State, f.OneOf, f.Parent, f.Before, f.After)
	}
	for _, s := range r.Unexamined {
		fmt.Fprintf(b, "not examined: %s .. %s, %d changes, the heaviest %v: %s\n", s.From, s.To, s.Changes, s.Weight, s.Why)
	}
	if len(r.Untestable) > 0 {
		fmt.Fprintf(b, "untestable: %v\n", r.Untestable)
	}
}

// A person skips a checkpoint: another of its group speaks for it, or none.
func TestSkip(t *testing.T) {
	h := newHistory(6, []change{{3, 1}}, nil, map[int]bool{4: true})
	h.plan.All = 2
	s := bisect.New()
	say := func(e bisect.Event, want ...string) {
		t.Helper()
		probes, err := s.Step(e)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range probes {
			got = append(got, p.At)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	}
	value := func(at string, v float64) bisect.Event {
		return bisect.Event{Kind: bisect.Measured, At: at, Value: v}
	}
	say(bisect.Event{Kind: bisect.Begin, Plan: &h.plan}, "c000", "c005")
	say(value("c000", 100))
	say(value("c005", 101), "c002")
	say(value("c002", 100), "c003")
	say(bisect.Event{Kind: bisect.Skip, At: "c003"}, "c004")
	say(value("c003", 7)) // it was under way, and does not count
	say(bisect.Event{Kind: bisect.Skip, At: "c004"}, "c002", "c005")
	replayed(t, s)
	r := s.Result()
	if d := cmp.Diff([]bisect.Finding{{Parent: "c002", OneOf: []string{"c003", "c005"}, Before: 100, After: 101, State: bisect.Unconfirmed}}, r.Findings); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"c003", "c004"}, r.Untestable); d != "" || r.Probes != 3 {
		t.Error(d, r.Probes)
	}
	// Of what is not needed any more a value may still be told.
	say(value("c001", 100))
	// A value that was measured can be taken back.
	say(bisect.Event{Kind: bisect.Skip, At: "c002"}, "c001")
}

// A culprit that was confirmed by a checkpoint that is then skipped is measured
// and confirmed by another of its group.
func TestSkipConfirmed(t *testing.T) {
	h := newHistory(3, []change{{1, 5}}, nil, map[int]bool{2: true})
	s := h.run(t, first, func(bisect.Event, []bisect.Probe) {})
	if r := s.Result(); r.Findings[0].State != bisect.Confirmed || r.Probes != 2 || r.Again != 2 {
		t.Fatalf("%+v", r)
	}
	var asked []bisect.Probe
	for e := (bisect.Event{Kind: bisect.Skip, At: "c001"}); ; e = h.answer(asked[len(asked)-1]) {
		probes, err := s.Step(e)
		if err != nil {
			t.Fatal(err)
		}
		if asked = append(asked, probes...); len(probes) == 0 {
			break
		}
	}
	want := []bisect.Probe{{At: "c002", Why: bisect.End}, {At: "c002", Fresh: true, Why: bisect.Sandwich}}
	if d := cmp.Diff(want, asked); d != "" {
		t.Error(d)
	}
	if r := s.Result(); !r.Done || r.Findings[0].State != bisect.Confirmed {
		t.Errorf("%+v", r)
	}
}

// What cannot be true is refused and changes nothing.
func TestRefusals(t *testing.T) {
	h := newHistory(20, []change{{7, 30}}, nil, nil)
	begin := bisect.Event{Kind: bisect.Begin, Plan: &h.plan}
	for name, tt := range map[string]struct {
		log  []bisect.Event
		want string
	}{
		"no beginning":      {[]bisect.Event{{Kind: bisect.Measured, At: "c000"}}, "one beginning"},
		"two":               {[]bisect.Event{begin, begin}, "one beginning"},
		"no plan":           {[]bisect.Event{{Kind: bisect.Begin}}, "has a plan"},
		"a plan of one":     {[]bisect.Event{{Kind: bisect.Begin, Plan: &bisect.Plan{Checkpoints: h.plan.Checkpoints[:1]}}}, "fewer than two"},
		"unknown":           {[]bisect.Event{begin, {Kind: bisect.Measured, At: "d000"}}, `"d000" is no checkpoint`},
		"unknown kind":      {[]bisect.Event{begin, {Kind: "guessed", At: "c000"}}, `no event "guessed"`},
		"not a number":      {[]bisect.Event{begin, {Kind: bisect.Measured, At: "c000", Value: math.NaN()}}, "not a number"},
		"twice":             {[]bisect.Event{begin, {Kind: bisect.Measured, At: "c000"}, {Kind: bisect.Untestable, At: "c000"}}, "nobody asked"},
		"fresh, never seen": {[]bisect.Event{begin, {Kind: bisect.Measured, At: "c000", Fresh: true}}, "nobody asked"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bisect.Replay(tt.log)
			if err == nil || !strings.Contains(err.Error(), tt.want) || diag.KindOf(err) != diag.Usage {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			s, err := bisect.Replay(tt.log[:len(tt.log)-1])
			if err != nil {
				t.Fatal(err)
			}
			before := s.Result()
			if _, err := s.Step(tt.log[len(tt.log)-1]); err == nil {
				t.Error("no error")
			}
			if d := cmp.Diff(before, s.Result()); d != "" || len(s.Log()) != len(tt.log)-1 {
				t.Error(d)
			}
		})
	}
}

// FuzzDecode reads any log, replays it as far as it goes, and holds that what
// was taken in replays to the same state.
func FuzzDecode(f *testing.F) {
	h := newHistory(12, []change{{7, 30}}, map[int]bool{5: true}, map[int]bool{2: true})
	s := bisect.New()
	if _, err := s.Step(bisect.Event{Kind: bisect.Begin, Plan: &h.plan}); err != nil {
		f.Fatal(err)
	}
	for len(s.Pending()) > 0 {
		if _, err := s.Step(h.answer(s.Pending()[0])); err != nil {
			f.Fatal(err)
		}
	}
	data, err := bisect.Encode(s.Log())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"kind":"begin","plan":{"checkpoints":[{"id":"a"},{"id":"b","weight":2}],"inside":1}}` + "\n\n" + `{"kind":"skip","at":"a"}`))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		log, err := bisect.Decode(data)
		if err != nil {
			if diag.KindOf(err) != diag.File {
				t.Errorf("kind of %v", err)
			}
			return
		}
		s := bisect.New()
		for _, e := range log {
			_, _ = s.Step(e) // what is refused changes nothing
		}
		s.Result()
		replayed(t, s)
	})
}
