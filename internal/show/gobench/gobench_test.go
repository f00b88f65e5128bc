package gobench_test

import (
	"bytes"
	"encoding/csv"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/perf/benchfmt"

	"github.com/lapstrake/lapstrake/internal/adapt/labfile"
	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/decide/trials"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/show/gobench"
)

func ptr[T any](v T) *T { return &v }

// results are n trials of every cell of an experiment whose settings have names like
// those of images.
func results(t testing.TB, n int) (*experiment.Experiment, trials.Results) {
	t.Helper()
	e, err := labfile.Parse("lab.yaml", []byte(`
fleet: f
factors:
  agent: {kind: argument, target: A, levels: {old: "1", new: "2"}}
cells:
  django-11099: {}
  django-11133: {levels: {agent: new}}
temperatures: [cold, warm-remote]
`), nil, labfile.Language{Metrics: metric.Names()})
	if err != nil {
		t.Fatal(err)
	}
	e.Name = "two  words" // as that of a folder may be
	r := rand.New(rand.NewPCG(1, 2))
	var list trials.Results
	for i, c := range e.Cells {
		if c.Control {
			i = 0 // it is the first cell again
		}
		for k := range n {
			wall := float64(100+40*i) * math.Exp(0.02*r.NormFloat64())
			list = append(list, trials.Outcome{
				Trial:      trials.Trial{ID: experiment.TrialID(e.Digest(), c, k+1), Cell: c.ID(), Replicate: k + 1},
				Conditions: stat.Conditions{Temperature: string(c.Temperature)},
				Summary: &summary.Summary{Exit: ptr(0), Images: 3, Built: 3, WallSeconds: &wall, PhaseSeconds: map[string]float64{"images": wall / 3},
					StepsExecuted: ptr(int64(9 + i)), StepsDistinct: ptr(int64(9 + k)), DiskPeakBytes: ptr(int64(3 << 30)), BytesPulled: ptr(int64(12345678901)), Rework: ptr(1.0)},
			})
		}
	}
	return e, list
}

func export(t testing.TB, e *experiment.Experiment, list trials.Results) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := gobench.Write(&b, answer.New(e, list)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestReads: the reader of x/perf reads every value to the last bit, finds nothing
// wrong, and knows what is exact and which way is better.
func TestReads(t *testing.T) {
	e, list := results(t, 6)
	spoilt := list[0]
	spoilt.Faults = []trials.Fault{{Code: trials.SharedState}}
	cut := list[0]
	cut.Summary = &summary.Summary{Exit: ptr(130), WallSeconds: ptr(9000.0)}
	r := benchfmt.NewReader(bytes.NewReader(export(t, e, append(slices.Clone(list), spoilt, cut))), "export")
	read := 0
	for r.Scan() {
		switch rec := r.Result().(type) {
		case *benchfmt.SyntaxError:
			t.Error(rec)
		case *benchfmt.Result:
			o := list[read]
			read++
			c, _ := e.Cell(o.Cell)
			temperature := strings.TrimSuffix(rec.GetConfig("temperature"), "+aa")
			if string(rec.Name) != "Trial" || rec.GetConfig("setting") != c.Setting || temperature != string(c.Temperature) || rec.GetConfig("experiment") != "two words" || rec.GetConfig("spec") != string(e.Digest()) {
				t.Errorf("%s %v", rec.Name, rec.Config)
			}
			want := 0
			for _, m := range metric.Every() {
				if v, ok := m.Of(o.Summary); ok && v.V != 0 {
					want++
					if got, ok := rec.Value(gobench.Unit(m)); !ok || got != v.V {
						t.Errorf("%s: %v, want %v", m.Name, got, v.V)
					}
				}
			}
			if want != 10 || len(rec.Values) != want {
				t.Errorf("%d values, want %d", len(rec.Values), want)
			}
		}
	}
	if r.Err() != nil || read != len(list) {
		t.Errorf("%d of %d trials, %v", read, len(list), r.Err())
	}
	units := r.Units()
	for unit, want := range map[string]string{"stepsExecuted": "exact", "images": "exact", "pulled-B": "exact", "stepsDistinct": "", "wall-sec": "", "diskPeak-B": "exact"} {
		got := ""
		if u := units.Get(unit, "assume"); u != nil {
			got = u.Value
		}
		if got != want {
			t.Errorf("%s is assumed %q, want %q", unit, got, want)
		}
	}
	if up, down := units.Get("images/h", "better"), units.Get("wall-sec", "better"); up == nil || up.Value != "higher" || down == nil || down.Value != "lower" {
		t.Errorf("%v %v", up, down)
	}
}

// TestUnits: every metric has a unit of its own, in one word.
func TestUnits(t *testing.T) {
	seen := map[string]string{}
	for _, m := range metric.Every() {
		u := gobench.Unit(m)
		if strings.ContainsAny(u, " \t=") || u == "" || seen[u] != "" {
			t.Errorf("%s has the unit %q, as %s has", m.Name, u, seen[u])
		}
		seen[u] = m.Name
	}
	if len(seen) < 30 {
		t.Errorf("only %d", len(seen))
	}
}

// TestBenchstat: benchstat itself reads the export without a warning, keeps cells
// apart, and its figures are those of the trials.
func TestBenchstat(t *testing.T) {
	e, list := results(t, 6)
	path := filepath.Join(t.TempDir(), "trials.txt")
	if err := os.WriteFile(path, export(t, e, list), 0o644); err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{} // by temperature, unit and setting
	temperature, unit := "", ""
	var settings []string
	for _, row := range benchstat(t, "-col=setting", path) {
		switch {
		case strings.HasPrefix(row[0], "temperature: "):
			temperature = strings.TrimPrefix(row[0], "temperature: ")
		case len(row) > 1 && row[0] == "" && strings.HasPrefix(row[1], "django"):
			settings = slices.DeleteFunc(slices.Clone(row), func(s string) bool { return s == "" })
		case len(row) > 1 && row[0] == "":
			unit = row[1]
		case row[0] == "Trial":
			for i, col := range []int{1, 3}[:len(settings)] {
				v, err := strconv.ParseFloat(row[col], 64)
				if err != nil {
					t.Fatalf("%v: %v", row, err)
				}
				got[temperature+" "+unit+" "+settings[i]] = v
			}
		}
	}
	checked := 0
	for _, c := range e.Cells {
		if c.Control {
			continue
		}
		for _, m := range metric.Every() {
			var values []float64
			for _, o := range list.Of(c.ID()) {
				if v, ok := m.Of(o.Summary); ok {
					values = append(values, v.V)
				}
			}
			if len(values) == 0 || values[0] == 0 {
				continue
			}
			slices.Sort(values)
			key := string(c.Temperature) + " " + gobench.Unit(m) + " " + c.Setting
			// It shows medians, in nine digits.
			if v, ok := got[key]; !ok || math.Abs(v-(values[2]+values[3])/2) > 1e-8*v {
				t.Errorf("%s is %v, want the median of %v", key, v, values)
			}
			checked++
		}
	}
	if checked != 4*10 {
		t.Errorf("%d figures", checked)
	}
	// Nor is there a warning when all cells are shown, each by itself.
	benchstat(t, path)
}

// benchstat runs benchstat, which must have nothing to say beside its tables.
func benchstat(t *testing.T, args ...string) [][]string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"tool", "benchstat", "-format=csv"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("%v: %s", err, errs.String())
	}
	rows := csv.NewReader(&out)
	rows.FieldsPerRecord = -1
	all, err := rows.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all
}
