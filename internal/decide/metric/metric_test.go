package metric_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/stat"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
)

func ptr[T any](v T) *T { return &v }

// full is a summary in which every figure has a value of its own.
func full() *summary.Summary {
	return &summary.Summary{
		Exit: ptr(0), Images: 1, Built: 2, Skipped: 3, Retagged: 4, Failed: 5, Pending: 6,
		WallSeconds: ptr(7.5), PhaseSeconds: map[string]float64{"images": 8.5},
		StepsExecuted: ptr(int64(9)), StepsCached: ptr(int64(10)), StepsDistinct: ptr(int64(11)), Rework: ptr(1.25), Repull: ptr(1.5),
		DiskPeakBytes: ptr(int64(14)), DiskFinalBytes: ptr(int64(15)), DiskBudgetBytes: ptr(int64(16)),
		ReleasedBytes: ptr(int64(17)), ReleaseSeconds: ptr(18.5),
		BytesPulled: ptr(int64(19)), BytesPushed: ptr(int64(20)), BytesMounted: ptr(int64(21)),
		Requests: map[string]int64{"a": 22, "b": 1}, Retries: ptr(int64(24)), MountsRefused: ptr(int64(25)),
	}
}

// TestNamesAreTheSummarys: a metric has the name and the value of a field of the
// summary, and every figure of a summary is a metric.
func TestNamesAreTheSummarys(t *testing.T) {
	s := full()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	for _, m := range metric.All() {
		v, ok := m.Of(s)
		want := fields[m.Name]
		switch m.Name {
		case "requests":
			want = 23.0
		case "imagesPerHour":
			want = 960.0
		}
		if !ok || v.V != want || v.Censored {
			t.Errorf("%s is %v, %v; the summary says %v", m.Name, v, ok, want)
		}
		delete(fields, m.Name)
	}
	for name, v := range fields {
		if _, number := v.(float64); number && !slices.Contains([]string{"v", "starts", "exit", "ignored"}, name) {
			t.Errorf("the summary's figure %s is no metric", name)
		}
	}
}

func TestFind(t *testing.T) {
	names := metric.Names()
	if len(names) < 30 {
		t.Fatalf("%d names", len(names))
	}
	for i, n := range names {
		if m, ok := metric.Find(n); !ok || m.Name != n && m.Short != n {
			t.Errorf("%s is found as %s", n, m.Name)
		}
		if slices.Index(names, n) != i {
			t.Errorf("%s is there twice", n)
		}
	}
	for _, n := range []string{"", "moon", "phaseSeconds", "phaseSeconds.moon"} {
		if _, ok := metric.Find(n); ok {
			t.Errorf("%q is found", n)
		}
	}
	if m, _ := metric.Find("phaseSeconds.images"); m.Kind != stat.Timed {
		t.Errorf("%+v", m)
	} else if v, ok := m.Of(full()); !ok || v.V != 8.5 {
		t.Errorf("%v", v)
	}
	if m, _ := metric.Find("phaseSeconds.shared"); m.Unit != metric.Seconds {
		t.Errorf("%+v", m)
	} else if _, ok := m.Of(full()); ok {
		t.Error("a phase that did not begin has a time")
	}
}

// TestAbsent: what was not measured is not zero.
func TestAbsent(t *testing.T) {
	var told []string
	for _, m := range metric.All() {
		if _, ok := m.Of(&summary.Summary{Exit: ptr(0)}); ok {
			told = append(told, m.Name)
		}
	}
	if got := strings.Join(told, " "); got != "images built skipped retagged failed pending" {
		t.Errorf("an empty summary tells %s", got)
	}
}

// TestCut: a run that was cut short tells what only grows, as "at least".
func TestCut(t *testing.T) {
	for _, exit := range []*int{nil, ptr(130)} {
		s := full()
		s.Exit = exit
		if !metric.Cut(s) {
			t.Errorf("exit %v is not cut", exit)
		}
		for _, m := range metric.All() {
			v, ok := m.Of(s)
			if ok != m.Grows || ok && !v.Censored {
				t.Errorf("%s of a run that was cut is %v, %v", m.Name, v, ok)
			}
		}
	}
	if metric.Cut(&summary.Summary{Exit: ptr(3)}) {
		t.Error("a run with failures is whole")
	}
}
