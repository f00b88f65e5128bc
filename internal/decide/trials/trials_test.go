package trials_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/adapt/labfile"
	"github.com/lapstrake/lapstrake/internal/decide/bisect"
	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

func parse(t testing.TB, text string) *experiment.Experiment {
	t.Helper()
	language := labfile.Language{Metrics: metric.Names(), Check: func(claims []experiment.Claim, cells []string) diag.List {
		_, err := gate.New(claims, gate.Names{Metrics: metric.Names(), Cells: cells})
		var l diag.List
		errors.As(err, &l)
		return l
	}}
	e, err := labfile.Parse("lab.yaml", []byte(text), func(string) ([]byte, error) { return []byte("diff"), nil }, language)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// known are the facts of a golden file. A commit of history is its place in it;
// commits of side branch off after the first.
type known struct {
	History      []string
	Side         []string
	Commits      map[string]string
	Fingerprints map[string]graph.Digest
	Took         map[string]struct {
		Minutes      int
		Peak, Budget int64
	}
}

func (k known) facts() trials.Facts {
	return trials.Facts{
		Commit: func(_ experiment.Factor, l experiment.Level) (string, bool) {
			c, ok := k.Commits[l.Value]
			return c, ok
		},
		Relate: func(_ experiment.Factor, a, b string) (bisect.Relation, bool) {
			i, j := slices.Index(k.History, a), slices.Index(k.History, b)
			switch {
			case i >= 0 && j >= 0:
				return bisect.Relation{Ahead: max(0, j-i), Behind: max(0, i-j)}, true
			case i >= 0 && slices.Contains(k.Side, b):
				return bisect.Relation{Ahead: 1, Behind: i}, true
			}
			return bisect.Relation{}, false
		},
		Fingerprint: func(setting string) (graph.Digest, bool) {
			f, ok := k.Fingerprints[setting]
			return f, ok
		},
		Expect: func(c experiment.Cell) (trials.Expectation, bool) {
			x, ok := k.Took[c.ID()]
			return trials.Expectation{Time: time.Duration(x.Minutes) * time.Minute, Peak: x.Peak, Budget: x.Budget}, ok
		},
	}
}

// TestGolden plans every archive of testdata: a lab file, what is known, and the
// findings and totals that are wanted.
func TestGolden(t *testing.T) {
	data, err := txtar.ParseFile("testdata/findings.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(data.Files)%3 != 0 || len(data.Files) < 30 {
		t.Fatalf("%d files", len(data.Files))
	}
	shown := map[diag.Code]bool{}
	for i := 0; i < len(data.Files); i += 3 {
		name := strings.TrimSuffix(data.Files[i].Name, "/lab.yaml")
		t.Run(name, func(t *testing.T) {
			text := string(data.Files[i].Data)
			var k known
			if err := json.Unmarshal(data.Files[i+1].Data, &k); err != nil {
				t.Fatal(err)
			}
			p := trials.Make(parse(t, text), k.facts())
			var b strings.Builder
			for _, l := range []struct {
				kind string
				list diag.List
			}{{"refused", p.Refusals}, {"warning", p.Warnings}} {
				for _, x := range l.list.WithSource("lab.yaml", []byte(text)) {
					shown[x.Code] = true
					if x.Source == "" {
						t.Errorf("%v points to no line", x)
					}
					fmt.Fprintf(&b, "%s: %s\n", l.kind, x.Error())
				}
			}
			if p.Seconds != nil {
				fmt.Fprintf(&b, "%v seconds\n", *p.Seconds)
			}
			if p.Bytes != nil {
				fmt.Fprintf(&b, "%v bytes\n", *p.Bytes)
			}
			fmt.Fprintf(&b, "%d trials, %s, after the seeds %q\n", len(p.Trials), p.Order, p.Seeds)
			if golden.Update() {
				data.Files[i+2].Data = []byte(b.String())
			} else if d := cmp.Diff(string(data.Files[i+2].Data), b.String()); d != "" {
				t.Error(d)
			}
		})
	}
	if golden.Update() {
		if err := os.WriteFile("testdata/findings.txtar", txtar.Format(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, code := range []diag.Code{diag.LabBaseline, diag.LabDiverged, diag.LabUnpinned, diag.LabConfounded, diag.LabConcurrency,
		diag.LabBudget, diag.LabNoBump, diag.LabInert, diag.LabCliff, diag.LabFew, diag.LabDuplicate} {
		if !shown[code] {
			t.Errorf("no case shows %s", code)
		}
	}
}

// TestNothingKnown: without facts nothing is concluded, and what is not known is
// null.
func TestNothingKnown(t *testing.T) {
	p := trials.Make(parse(t, "fleet: f\n"), trials.Facts{})
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"seconds":null,"bytes":null`, `"refusals":[]`, `"order":"parallel"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s is not in %s", want, data)
		}
	}
}

// TestAnswersOfEveryTemperature: each says what it shows and what it does not.
func TestAnswersOfEveryTemperature(t *testing.T) {
	seen := map[string]bool{}
	for _, temperature := range experiment.Temperatures() {
		shows, blind := trials.Sees(temperature)
		if shows == "" || blind == "" || seen[shows] {
			t.Errorf("%s shows %q and is blind to %q", temperature, shows, blind)
		}
		seen[shows] = true
	}
}

// TestOrderProperty: every cell has its replicates, in blocks one each; the seed
// alone decides; of two cells every second block is the one before, mirrored.
func TestOrderProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		levels := rapid.IntRange(1, 4).Draw(r, "levels")
		replicates := rapid.IntRange(1, 9).Draw(r, "replicates")
		isTimed := rapid.Bool().Draw(r, "timed")
		e := drawn(t, levels, replicates, rapid.IntRange(1, 1<<20).Draw(r, "seed"), isTimed)
		p := trials.Make(e, trials.Facts{})
		if again := trials.Make(e, trials.Facts{}); !cmp.Equal(p.Trials, again.Trials) {
			r.Fatal("another order with the same seed")
		}
		n := len(e.Cells)
		if len(p.Trials) != n*replicates {
			r.Fatalf("%d trials of %d cells", len(p.Trials), n)
		}
		ids := map[string]bool{}
		for i, x := range p.Trials {
			ids[x.ID] = true
			if isTimed != (x.Block > 0) || isTimed && x.Block != i/n+1 || x.Replicate != i/n+1 {
				r.Fatalf("trial %d is %+v", i, x)
			}
		}
		for b := range replicates {
			block := p.Trials[b*n : b*n+n]
			if isTimed && levels == 2 && b%2 == 1 {
				for i, x := range block {
					if x.Cell != p.Trials[b*n-1-i].Cell {
						r.Fatalf("block %d is not the mirror of the one before", b+1)
					}
				}
			}
		}
		if len(ids) != len(p.Trials) {
			r.Fatal("two trials of one name")
		}
		want := trials.Parallel
		if isTimed {
			want = trials.Blocks
			if levels == 2 {
				want = trials.Mirrored
			}
		}
		if p.Order != want || p.Timed != isTimed {
			r.Fatalf("order %s", p.Order)
		}
	})
}

// drawn is an experiment with so many cells, and a control.
func drawn(t *testing.T, levels, replicates, seed int, timed bool) *experiment.Experiment {
	text := fmt.Sprintf("fleet: f\ntemperatures: [cold]\nreplicates: %d\nseed: %d\n", replicates, seed)
	if timed {
		text += "metrics: [wall]\n"
	}
	if levels > 1 {
		text += "factors:\n  a: {kind: argument, target: A, levels: {"
		for i := range levels {
			text += fmt.Sprintf("l%d: %d, ", i, i)
		}
		text += "}}\n"
	}
	return parse(t, text)
}

// TestSeedsDiffer: different seeds give different orders, or nothing is random.
func TestSeedsDiffer(t *testing.T) {
	orders := map[string]bool{}
	for seed := 1; seed <= 20; seed++ {
		var cells []string
		for _, x := range trials.Make(drawn(t, 4, 3, seed, true), trials.Facts{}).Trials {
			cells = append(cells, x.Cell)
		}
		orders[strings.Join(cells, " ")] = true
	}
	if len(orders) < 15 {
		t.Errorf("20 seeds give %d orders", len(orders))
	}
}
