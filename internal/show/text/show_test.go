package text

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Whatever was not measured, the rest is shown.
func TestShowWithHalfOfIt(t *testing.T) {
	full := folded(t, "scheduled")
	fields := reflect.VisibleFields(reflect.TypeOf(*full))
	rapid.Check(t, func(t *rapid.T) {
		s := summary.New()
		from, to := reflect.ValueOf(full).Elem(), reflect.ValueOf(s).Elem()
		var kept []string
		for _, f := range fields {
			if f.IsExported() && rapid.Bool().Draw(t, f.Name) {
				to.FieldByIndex(f.Index).Set(from.FieldByIndex(f.Index))
				kept = append(kept, f.Name)
			}
		}
		page := shown(t, s)
		if f := fault(page, 80); f != "" {
			t.Fatalf("%s\nwith only %q", f, kept)
		}
		if slices.Contains(kept, "Steps") != strings.Contains(page, "RUN adduser agent") {
			t.Fatalf("with only %q:\n%s", kept, page)
		}
	})
}

func shown(t *rapid.T, s *summary.Summary) string {
	var b strings.Builder
	if err := Show(&b, s, Options{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// drawn is a chart in few columns, without the axes.
func drawn(s *summary.Summary, cols int) []string {
	g := newPage(Options{Width: chartLeft + 2 + cols})
	chart(g, s)
	return strings.Split(strings.Trim(g.b.String(), "\n"), "\n")
}

func TestChart(t *testing.T) {
	curve := func(used ...int64) *summary.Summary {
		s := summary.New()
		s.DiskPeakBytes = ptr(slices.Max(used))
		for i, n := range used {
			s.DiskCurve = append(s.DiskCurve, summary.DiskPoint{AtSeconds: float64(i), UsedBytes: n})
		}
		return s
	}
	over := curve(60, 120, 60)
	over.DiskBudgetBytes = ptr(int64(80))
	over.DiskCurve[2].ReleasedBytes = 60
	far := curve(1, 2, 3, 4)
	far.DiskBudgetBytes = ptr(int64(1 << 30))
	steps := make([]int64, 28)
	for i := range steps {
		steps[i] = int64(i+1) * 48 / 28
	}
	for _, c := range []struct {
		name string
		s    *summary.Summary
		want []string
	}{
		{"none", summary.New(), []string{""}},
		{"too little", curve(1, 2), []string{""}},
		{"a slope", curve(steps...), []string{
			"disk",
			"     48 B ┤                       ▁▂▄▆█",
			"          ┤                   ▂▄▅▇█████",
			"          ┤              ▁▃▅▆██████████",
			"          ┤         ▁▂▄▆███████████████",
			"          ┤     ▂▄▅▇███████████████████",
			"        0 ┤▁▃▅▆████████████████████████",
			"           0 s                     27 s",
		}},
		{"over the budget, with a release", over, []string{
			"disk, budget 80 B",
			"    120 B ┤              █████████████ ",
			"          ┤┄┄┄┄┄┄┄┄┄┄┄┄┄┄█████████████┄",
			"          ┤              █████████████ ",
			"          ┤████████████████████████████",
			"          ┤████████████████████████████",
			"        0 ┤████████████████████████████",
			" released                             ▼",
			"           0 s                    2.0 s",
		}},
		{"a budget far above", far, []string{"disk, budget 1.0 GiB (far above)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := drawn(c.s, 28)
			for i, want := range c.want {
				if want = strings.TrimRight(want, " "); i >= len(got) || got[i] != want {
					t.Fatalf("line %d is not %q:\n%s", i+1, want, strings.Join(got, "\n"))
				}
			}
		})
	}
}

func TestForecastRows(t *testing.T) {
	s := summary.New()
	s.Images, s.Pending = 100, 60
	s.WallSeconds = ptr(60.0)
	forecast := func(done int, low, value, high float64) *summary.Forecast {
		return &summary.Forecast{Done: done, WallSeconds: summary.Range{Low: low, Value: value, High: high}}
	}
	s.Forecasts = []*summary.Forecast{forecast(2, 50, 200, 400), forecast(11, 80, 100, 120), forecast(40, 90, 100, 110)}
	check := func(what, want string) {
		t.Helper()
		if got := fmt.Sprint(forecastRows(s)); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	check("goes on", "[[forecast after 11 of 100 images: 1 min 40 s [1 min 20 s to 2 min]; now 1 min]]")
	s.Exit, s.Pending = ptr(0), 0
	check("outside", "[[forecast after 11 of 100 images: 1 min 40 s [1 min 20 s to 2 min]; it was 1 min, outside]]")
	s.WallSeconds, s.Forecasts[1].PeakBytes = nil, &summary.Range{Low: 1, Value: 2, High: 3}
	s.DiskPeakBytes = ptr(int64(3))
	check("a peak only", "[[forecast after 11 of 100 images: 1 min 40 s [1 min 20 s to 2 min]] [ disk 2 B [1 B to 3 B]; it was 3 B, inside]]")
}

func TestRetryParts(t *testing.T) {
	got := strings.Join(retryParts(map[string]int{journal.RetryDisk: 2, journal.RetryPassing: 1200, "odd": 1, journal.RetryWorker: 0}), ", ")
	if want := "1,200 for what passes, 2 as the disk was full, 1 odd"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
