package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// run is a run whose events are written by hand, a second each.
type run struct {
	t   *testing.T
	sum *summary.Summary
	at  time.Time
	to  *Telemetry
}

func begin(t *testing.T) *run {
	t.Helper()
	r := &run{t: t, sum: summary.New(), at: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)}
	r.event(journal.RunStarted, "", journal.RunData{Run: "20260102-150405-bcdf", Fleet: "agents@0123456789ab"})
	var err error
	if r.to, err = Open(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := r.to.Begin(t.Context(), Run{Version: "v1", Read: func(use func(*summary.Summary) error) error { return use(r.sum) }}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *run) event(kind journal.Kind, unit string, data any) {
	r.t.Helper()
	raw, err := json.Marshal(data)
	if err != nil {
		r.t.Fatal(err)
	}
	r.at = r.at.Add(time.Second)
	e := journal.Event{Kind: kind, Unit: unit, Worker: "w", Wall: r.at, Data: raw}
	summary.Fold(r.sum, e)
	if r.to != nil {
		r.to.Observe(e)
	}
}

func collect(t *testing.T) *testfleet.Collector {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "OTEL_") || strings.HasPrefix(name, "TRACE") {
			t.Setenv(name, "")
		}
	}
	c := testfleet.StartCollector()
	t.Cleanup(c.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	return c
}

// shown renders the spans that came: name, seconds since the run began, what
// happened on the way, and how it ended.
func shown(c *testfleet.Collector, begun time.Time) string {
	var out []string
	for _, s := range c.Spans() {
		since := func(nano uint64) float64 { return time.Unix(0, int64(nano)).Sub(begun).Seconds() }
		line := fmt.Sprintf("%s %g-%g", s.Name, since(s.StartTimeUnixNano), since(s.EndTimeUnixNano))
		for _, e := range s.Events {
			line += fmt.Sprintf(" %s@%g", e.Name, since(e.TimeUnixNano))
		}
		for _, a := range s.Attributes {
			if strings.HasSuffix(a.Key, ".result") || a.Key == "error.type" {
				line += " " + a.Value.GetStringValue()
			}
		}
		if s.Status.Message != "" {
			line += " (" + s.Status.Message + ")"
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func TestTraces(t *testing.T) {
	c := collect(t)
	r := begin(t)
	begun := r.at
	r.event(journal.PhaseStarted, "", journal.PhaseData{Phase: "images"})
	r.event(journal.PhaseStarted, "", journal.PhaseData{Phase: "images"})
	r.event(journal.PhaseEnded, "", journal.PhaseData{Phase: "images"})
	r.event(journal.UnitQueued, "a", journal.QueuedData{})
	r.event(journal.UnitStarted, "a", journal.UnitData{Action: "build"})
	r.event(journal.StepDone, "a", journal.StepData{Name: "[2/2] RUN make", Kind: "exec", Began: r.at.Add(500 * time.Millisecond), Took: 250 * time.Millisecond})
	r.event(journal.StepDone, "", journal.StepData{Name: "[builder 1/1] RUN make", Shared: true, Took: time.Second})
	r.event(journal.UnitRetried, "a", journal.FailData{Kind: "infrastructure", Cause: "full", Reason: journal.RetryDisk})
	r.event(journal.UnitStarted, "a", journal.UnitData{Action: "build"})
	r.event(journal.UnitPut, "a", journal.UnitData{})
	r.event(journal.UnitPublished, "a", journal.UnitData{Tags: []string{"r/a:1"}})
	r.event(journal.UnitSkipped, "b", journal.UnitData{Action: "skip"})
	r.event(journal.UnitFailed, "c", journal.FailData{Kind: "step", Cause: "exit code 1"})
	r.event(journal.UnitQueued, "d", journal.QueuedData{})
	r.event(journal.Releasing, "", nil)
	r.event(journal.Released, "", journal.ReleaseData{Records: 1, Error: "busy"})
	r.event(journal.Releasing, "", nil)
	r.event("of.another.version", "a", nil)
	r.event(journal.WorkerLost, "", journal.FailData{Cause: "killed"})
	r.event(journal.PhaseStarted, "", json.RawMessage(`{"phase":7}`))
	r.event(journal.RunEnded, "", journal.EndData{Exit: 130, Cause: "interrupted\nby hand"})
	if err := r.to.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := `BUILD agents 0-21 worker lost@19 cancellation (interrupted)
[2/2] RUN make 5.5-5.75
[builder 1/1] RUN make 6-7
image 13-13 step failure (exit code 1)
image 14-21 cancellation
image build 4-11 retry@8 success
images 1-21
publish 10-11
release 15-16 (busy)
release 17-21
wait 14-21
wait 4-5
wait 8-9`
	if d := cmp.Diff(want, shown(c, begun)); d != "" {
		t.Errorf("spans (-want +got):\n%s", d)
	}
	if m := c.Metric("lapstrake.retries"); m == nil || m.GetSum().DataPoints[0].GetAsDouble() != 1 || !m.GetSum().IsMonotonic {
		t.Errorf("retries: %v", m)
	}
}

// TestNoContext holds that no other library gets a span to continue.
func TestNoContext(t *testing.T) {
	collect(t)
	r := begin(t)
	defer r.to.Close(t.Context())
	r.event(journal.UnitStarted, "a", journal.UnitData{Action: "build"})
	ctx, span := otel.Tracer("another").Start(t.Context(), "x")
	if span.SpanContext().IsValid() {
		t.Error("the global provider makes spans")
	}
	header := propagation.HeaderCarrier(http.Header{})
	propagation.TraceContext{}.Inject(ctx, header)
	otel.GetTextMapPropagator().Inject(trace.ContextWithSpan(ctx, span), header)
	if len(header) > 0 {
		t.Errorf("requests carry %v", header)
	}
}

// TestBounded holds that no label grows with the fleet.
func TestBounded(t *testing.T) {
	s := summary.New()
	fold := func(kind journal.Kind, unit string, data any) {
		raw, _ := json.Marshal(data)
		summary.Fold(s, journal.Event{Kind: kind, Unit: unit, Data: raw})
	}
	hosts := map[string]int64{}
	for i := range 500 {
		image := fmt.Sprintf("image-%d", i)
		hosts[image+".example.com"] = 1
		fold(journal.UnitStarted, image, journal.UnitData{Action: "build"})
		fold(journal.UnitRetried, image, journal.FailData{Reason: journal.RetryPassing})
		fold(journal.UnitPublished, image, journal.UnitData{Action: "build", Temperature: "cold"})
	}
	fold(journal.Requests, "", journal.RequestData{Hosts: hosts})
	name := regexp.MustCompile(`^lapstrake(\.[a-z]+)+$`)
	for _, f := range figures() {
		values, total := 0, 0.0
		f.read(s, func(v float64, _ ...attribute.KeyValue) { values, total = values+1, total+v })
		if values > maxHosts+1 {
			t.Errorf("%s has %d values", f.name, values)
		}
		if f.name == "lapstrake.requests" && total != 500 {
			t.Errorf("requests sum up to %v", total)
		}
		if !name.MatchString(f.name) || f.help == "" || f.unit == "" || strings.HasSuffix(f.name, ".total") {
			t.Errorf("%s: %q, %q", f.name, f.unit, f.help)
		}
	}
}

func TestWrongEnvironment(t *testing.T) {
	for name, value := range map[string]string{"OTEL_TRACES_EXPORTER": "smoke", "OTEL_METRICS_EXPORTER": "smoke", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"} {
		t.Run(name, func(t *testing.T) {
			collect(t)
			t.Setenv(name, value)
			if _, err := Open(t.Context(), false); diag.KindOf(err) != diag.Usage || diag.HelpOf(err) == "" {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestCollectorFails holds that a collector that answers with errors is told of,
// once, without what authorises us there.
func TestCollectorFails(t *testing.T) {
	collect(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }))
	defer s.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cr3t")
	r := begin(t)
	r.event(journal.RunEnded, "", journal.EndData{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := r.to.Close(ctx)
	if err == nil || !strings.Contains(err.Error(), "not everything was sent") || strings.Contains(err.Error(), "s3cr3t") || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
