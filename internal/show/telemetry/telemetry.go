// Package telemetry tells OpenTelemetry and Prometheus what a run does. Spans are
// made from the journal's events, with the times that these carry, and metrics are
// read from the run's summary, so that nothing else of the program knows of it.
//
// The standard environment variables say what is sent and where to. Nothing is
// sent when none of them asks for it: an exporter's default, which is to send to
// this machine, does not apply.
//
// No provider is made the global one, and no span is ever in a context. So no
// library makes spans of its own, and a daemon that builds gets no trace to join:
// one that keeps a history would keep, with each solve, the whole of the trace
// that the solve belongs to.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// scope names what made a span or a metric.
const scope = "github.com/lapstrake/lapstrake"

// maxWaiting is the number of spans that may wait to be sent, unless
// OTEL_BSP_MAX_QUEUE_SIZE says otherwise. What comes above is lost: a build does
// not wait for a collector.
const maxWaiting = 1 << 16

// Telemetry sends what one run does. It is safe for concurrent use; the zero value
// sends nothing.
type Telemetry struct {
	spans   sdktrace.SpanExporter
	readers []sdkmetric.Reader
	scrape  http.Handler

	traces  *sdktrace.TracerProvider
	metrics *sdkmetric.MeterProvider
	// fold is what events change; it is nil where nothing is sent.
	fold  *tracer
	times *times

	mu     sync.Mutex
	errors int
	first  error
}

// Open reads the environment and makes the exporters. With serve there are also
// metrics for [Telemetry.Handler], whatever the environment says. A value of the
// environment that is not understood is of kind diag.Usage.
func Open(ctx context.Context, serve bool) (*Telemetry, error) {
	t := &Telemetry{}
	// Only the SDK's own remarks go there, in which there may be headers.
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(t.failed))
	const help = "see docs/reference/telemetry.md, or set OTEL_SDK_DISABLED=true"
	if wanted("TRACES") {
		var err error
		if t.spans, err = autoexport.NewSpanExporter(ctx); err != nil {
			return nil, diag.Errorf(diag.Usage, help, "OTEL_TRACES_EXPORTER: %w", err)
		}
	}
	if wanted("METRICS") {
		r, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return nil, diag.Errorf(diag.Usage, help, "OTEL_METRICS_EXPORTER: %w", err)
		}
		t.readers = append(t.readers, r)
	}
	if serve {
		registry := prometheus.NewRegistry()
		r, err := promexporter.New(promexporter.WithRegisterer(registry), promexporter.WithoutScopeInfo())
		if err != nil {
			return nil, diag.Wrap(diag.Internal, "metrics", err)
		}
		t.readers = append(t.readers, r)
		t.scrape = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	}
	return t, nil
}

// wanted tells whether the environment asks for a signal, TRACES or METRICS.
func wanted(signal string) bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	if exporter := os.Getenv("OTEL_" + signal + "_EXPORTER"); exporter != "" {
		return exporter != "none"
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
}

// Handler answers with the metrics in Prometheus' format; nil unless Open was
// told to serve. Before Begin there are none.
func (t *Telemetry) Handler() http.Handler { return t.scrape }

// Run is the run that is told of.
type Run struct {
	// Version is the program's.
	Version string
	// Read calls use with the run's summary so far, and returns what use returns.
	// It is called at any time until [Telemetry.Close] has returned.
	Read func(use func(*summary.Summary) error) error
}

// Begin begins the run's trace and its metrics. The first event of the run has been
// folded into its summary; those that follow go to [Telemetry.Observe].
func (t *Telemetry) Begin(ctx context.Context, run Run) error {
	if t.spans == nil && len(t.readers) == 0 {
		return nil
	}
	var id, fleet string
	var at time.Time
	run.Read(func(s *summary.Summary) error {
		id, at = s.Run, *s.Last
		fleet, _, _ = strings.Cut(s.Fleet, "@")
		return nil
	})
	res, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName("lapstrake"), semconv.ServiceVersion(run.Version), semconv.CICDPipelineRunID(id)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return diag.Errorf(diag.Usage, "OTEL_RESOURCE_ATTRIBUTES is a list of NAME=VALUE", "send telemetry: %w", err)
	}
	if t.spans != nil {
		var opts []sdktrace.BatchSpanProcessorOption
		if os.Getenv("OTEL_BSP_MAX_QUEUE_SIZE") == "" {
			opts = append(opts, sdktrace.WithMaxQueueSize(maxWaiting))
		}
		t.traces = sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithBatcher(t.spans, opts...))
		t.fold = newTracer(t.traces.Tracer(scope), id, fleet, at)
	}
	if len(t.readers) > 0 {
		opts := []sdkmetric.Option{sdkmetric.WithResource(res)}
		for _, r := range t.readers {
			opts = append(opts, sdkmetric.WithReader(r))
		}
		t.metrics = sdkmetric.NewMeterProvider(opts...)
		if t.times, err = register(t.metrics.Meter(scope), run.Read); err != nil {
			return diag.Wrap(diag.Internal, "metrics", err)
		}
	}
	return nil
}

// Observe takes an event. Events come in the journal's order and one at a time. It
// does not wait for anything.
func (t *Telemetry) Observe(e journal.Event) {
	if t.fold != nil {
		t.fold.event(&e)
	}
	if t.times != nil {
		t.times.event(&e)
	}
}

// Close sends what is left, for as long as ctx allows, and says what could not be
// sent in the whole time, which is no reason for a run to fail.
func (t *Telemetry) Close(ctx context.Context) error {
	var errs []error
	if t.traces != nil {
		errs = append(errs, t.traces.Shutdown(ctx))
	}
	if t.metrics != nil {
		errs = append(errs, t.metrics.Shutdown(ctx))
	}
	for _, err := range errs {
		if err != nil {
			t.failed(err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.errors == 0:
		return nil
	case errors.Is(t.first, context.DeadlineExceeded):
		return fmt.Errorf("OpenTelemetry: not everything was sent in time: %w", t.first)
	}
	return fmt.Errorf("OpenTelemetry: not everything was sent (%d errors): %w", t.errors, t.first)
}

// failed takes what exporters report.
func (t *Telemetry) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.errors++; t.first == nil {
		t.first = err
	}
}
