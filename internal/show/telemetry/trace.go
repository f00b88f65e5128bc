package telemetry

import (
	"context"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// tracer makes spans of events. The run, its phases, releases and shared steps are
// one trace. Each image that something was done for is a trace of its own, with a
// link to the run: a fleet has tens of thousands, a trace that holds them all can
// not be looked at, and a sampler can take or leave each.
type tracer struct {
	trace.Tracer
	id       string
	run      trace.Span
	ctx      context.Context // of the run's span
	phases   map[string]*phase
	releases map[string]trace.Span // by worker
	images   map[string]*image
}

// phase is a phase that goes on, as often as it was begun.
type phase struct {
	span trace.Span
	open int
}

// image is an image that waits or is in work.
type image struct {
	span trace.Span
	ctx  context.Context
	// part is the part of its way that it is on, wait or publish; nil on none.
	part trace.Span
}

// newTracer begins the run's span. Where TRACEPARENT is set, as by a program that
// traces a whole pipeline, it is the parent.
func newTracer(t trace.Tracer, id, fleet string, at time.Time) *tracer {
	parent := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{
		"traceparent": os.Getenv("TRACEPARENT"), "tracestate": os.Getenv("TRACESTATE"),
	})
	f := &tracer{Tracer: t, id: id, phases: map[string]*phase{}, releases: map[string]trace.Span{}, images: map[string]*image{}}
	f.ctx, f.run = t.Start(parent, "BUILD "+fleet, trace.WithTimestamp(at), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(semconv.CICDPipelineName(fleet), semconv.CICDPipelineRunID(id), semconv.CICDPipelineActionNameBuild))
	return f
}

// event makes what an event says begin, end or happen.
func (f *tracer) event(e *journal.Event) {
	switch e.Kind {
	case journal.PhaseStarted, journal.PhaseEnded:
		with(e, func(d journal.PhaseData) { f.phase(e, d.Phase) })
	case journal.UnitQueued, journal.UnitStarted, journal.UnitBuilt, journal.UnitPut, journal.UnitPlaced, journal.UnitPublished, journal.UnitSkipped:
		with(e, func(d journal.UnitData) { f.unit(e, d) })
	case journal.UnitRetried, journal.UnitFailed:
		with(e, func(d journal.FailData) { f.unitFailed(e, d) })
	case journal.StepDone:
		with(e, func(d journal.StepData) { f.step(e, d) })
	case journal.WorkerLost:
		with(e, func(d journal.FailData) {
			f.run.AddEvent("worker lost", at(e), trace.WithAttributes(semconv.CICDWorkerName(e.Worker), semconv.ExceptionMessage(d.Cause)))
		})
	case journal.Releasing:
		_, f.releases[e.Worker] = f.Start(f.ctx, "release", at(e), trace.WithAttributes(semconv.CICDWorkerName(e.Worker)))
	case journal.Released:
		with(e, func(d journal.ReleaseData) { f.released(e, d) })
	case journal.RunEnded:
		with(e, func(d journal.EndData) { f.end(e, d) })
	}
}

// with decodes an event's data for use. Data that cannot be read, which a later
// version wrote, is passed over.
func with[T any](e *journal.Event, use func(T)) {
	var d T
	if len(e.Data) > 0 && e.Decode(&d) != nil {
		return
	}
	use(d)
}

func at(e *journal.Event) trace.SpanEventOption { return trace.WithTimestamp(e.Wall) }

// phase begins or ends a phase; parts of it that run at once are one span.
func (f *tracer) phase(e *journal.Event, name string) {
	p := f.phases[name]
	if e.Kind == journal.PhaseStarted {
		if p == nil {
			p = &phase{}
			_, p.span = f.Start(f.ctx, name, at(e))
			f.phases[name] = p
		}
		p.open++
		return
	}
	if p == nil {
		return
	}
	if p.open--; p.open == 0 {
		p.span.End(at(e))
		delete(f.phases, name)
	}
}

// unit follows an image from its place in the queue to its tags. Images that were
// in place have no trace: nothing was done.
func (f *tracer) unit(e *journal.Event, d journal.UnitData) {
	im := f.images[e.Unit]
	if im == nil {
		if e.Kind == journal.UnitSkipped {
			return
		}
		im = f.begin(e)
	}
	if d.Action != "" {
		im.span.SetName("image " + d.Action)
		im.span.SetAttributes(attribute.String("lapstrake.image.action", d.Action))
	}
	if d.Digest != "" {
		im.span.SetAttributes(semconv.OCIManifestDigest(string(d.Digest)))
	}
	if e.Worker != "" {
		im.span.SetAttributes(semconv.CICDWorkerName(e.Worker))
	}
	switch e.Kind {
	case journal.UnitQueued:
		f.turn(im, e, "wait")
	case journal.UnitPut:
		f.turn(im, e, "publish")
	case journal.UnitPublished, journal.UnitSkipped:
		if len(d.Tags) > 0 {
			im.span.SetAttributes(attribute.StringSlice("lapstrake.image.references", d.Tags))
		}
		if d.Temperature != "" {
			im.span.SetAttributes(attribute.String("lapstrake.image.temperature", d.Temperature))
		}
		im.span.SetAttributes(semconv.CICDPipelineTaskRunResultSuccess)
		f.finish(e, im)
	default:
		f.turn(im, e, "")
	}
}

func (f *tracer) begin(e *journal.Event) *image {
	im := &image{}
	im.ctx, im.span = f.Start(context.Background(), "image", trace.WithNewRoot(), at(e),
		trace.WithLinks(trace.Link{SpanContext: f.run.SpanContext()}),
		trace.WithAttributes(semconv.CICDPipelineRunID(f.id), semconv.CICDPipelineTaskName(e.Unit), semconv.CICDPipelineTaskTypeBuild))
	f.images[e.Unit] = im
	return im
}

// turn ends the part that an image is on, and begins another unless it is "".
func (f *tracer) turn(im *image, e *journal.Event, to string) {
	if im.part != nil {
		im.part.End(at(e))
		im.part = nil
	}
	if to != "" {
		_, im.part = f.Start(im.ctx, to, at(e))
	}
}

func (f *tracer) finish(e *journal.Event, im *image) {
	f.turn(im, e, "")
	im.span.End(at(e))
	delete(f.images, e.Unit)
}

func (f *tracer) unitFailed(e *journal.Event, d journal.FailData) {
	im := f.images[e.Unit]
	if im == nil {
		im = f.begin(e)
	}
	if e.Kind == journal.UnitRetried {
		im.span.AddEvent("retry", at(e), trace.WithAttributes(semconv.ErrorTypeKey.String(d.Reason), semconv.ExceptionMessage(d.Cause)))
		f.turn(im, e, "wait")
		return
	}
	im.span.SetStatus(codes.Error, d.Cause)
	im.span.SetAttributes(semconv.ErrorTypeKey.String(d.Kind), semconv.CICDPipelineTaskRunResultFailure)
	f.finish(e, im)
}

// step makes a span of a step that ended: of its image, or of the run when its
// solve serves many.
func (f *tracer) step(e *journal.Event, d journal.StepData) {
	ctx := f.ctx
	if im := f.images[e.Unit]; im != nil {
		ctx = im.ctx
	}
	began := d.Began
	if began.IsZero() {
		began = e.Wall.Add(-d.Took)
	}
	attrs := []attribute.KeyValue{
		attribute.String("lapstrake.step.digest", string(e.Step)),
		attribute.Bool("lapstrake.step.cached", d.Cached),
		attribute.Bool("lapstrake.step.shared", d.Shared),
	}
	if d.Kind != "" {
		attrs = append(attrs, attribute.String("lapstrake.step.kind", string(d.Kind)))
	}
	if d.Pulled > 0 {
		attrs = append(attrs, attribute.Int64("lapstrake.step.pulled", d.Pulled))
	}
	if e.Worker != "" {
		attrs = append(attrs, semconv.CICDWorkerName(e.Worker))
	}
	_, span := f.Start(ctx, summary.StepName(d), trace.WithTimestamp(began), trace.WithAttributes(attrs...))
	for name, took := range d.Parts {
		span.SetAttributes(attribute.Float64("lapstrake.step."+name+".seconds", took.Seconds()))
	}
	if d.Error != "" {
		span.SetStatus(codes.Error, d.Error)
		span.SetAttributes(semconv.ErrorTypeKey.String(diag.Step.String()))
	}
	span.End(trace.WithTimestamp(began.Add(d.Took)))
}

func (f *tracer) released(e *journal.Event, d journal.ReleaseData) {
	span := f.releases[e.Worker]
	if span == nil {
		return
	}
	delete(f.releases, e.Worker)
	span.SetAttributes(attribute.Int("lapstrake.release.records", d.Records), attribute.Int64("lapstrake.release.bytes", d.Bytes))
	if d.Error != "" {
		span.SetStatus(codes.Error, d.Error)
	}
	span.End(at(e))
}

// end ends the run, and what its end interrupts.
func (f *tracer) end(e *journal.Event, d journal.EndData) {
	for name, im := range f.images {
		im.span.SetAttributes(semconv.CICDPipelineTaskRunResultCancellation)
		f.finish(&journal.Event{Unit: name, Wall: e.Wall}, im)
	}
	for _, p := range f.phases {
		p.span.End(at(e))
	}
	for _, span := range f.releases {
		span.End(at(e))
	}
	result := semconv.CICDPipelineResultError
	switch d.Exit {
	case 0:
		result = semconv.CICDPipelineResultSuccess
	case diag.Step.ExitCode(), diag.Gate.ExitCode():
		result = semconv.CICDPipelineResultFailure
	case diag.Interrupted.ExitCode():
		result = semconv.CICDPipelineResultCancellation
	}
	f.run.SetAttributes(result, semconv.ProcessExitCode(d.Exit))
	if d.Exit != 0 {
		line, _, _ := strings.Cut(d.Cause, "\n")
		f.run.SetStatus(codes.Error, line)
	}
	f.run.End(at(e))
}
