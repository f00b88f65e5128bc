package telemetry

import (
	"context"
	"maps"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// add gives one value of a figure, with what tells it from its others.
type add func(value float64, attrs ...attribute.KeyValue)

// figure is a metric that is read from a summary. What was not measured has no
// value. The values of its attributes are few: states, causes, hosts, phases; an
// image is never one.
type figure struct {
	name, unit, help string
	counts           bool // it only grows
	read             func(*summary.Summary, add)
}

// otherHost stands for the hosts above maxHosts.
const (
	maxHosts  = 30
	otherHost = "_OTHER"
)

// figures are all metrics that summaries have, in the order of the reference.
func figures() []figure {
	return []figure{
		{"lapstrake.images", "{image}", "Images that are settled, by state: built, retagged, skipped, failed.", true, imagesSettled},
		{"lapstrake.images.planned", "{image}", "Images that the run is for.", false, func(s *summary.Summary, a add) { a(float64(s.Images)) }},
		{"lapstrake.images.pending", "{image}", "Images that are not settled yet.", false, func(s *summary.Summary, a add) { a(float64(s.Pending)) }},
		{"lapstrake.images.waiting", "{image}", "Images that wait for a solve.", false, func(s *summary.Summary, a add) { a(float64(s.Live.Waiting)) }},
		{"lapstrake.images.running", "{image}", "Images that are being solved or published.", false, func(s *summary.Summary, a add) { a(float64(s.Live.Running)) }},
		{"lapstrake.images.by.temperature", "{image}", "Images by what the daemon had of them: cold, partial, warm, skipped.", true, temperatures},
		{"lapstrake.steps", "{step}", "Steps by result: executed, cached.", true, steps},
		{"lapstrake.steps.distinct", "{step}", "Different steps of the plan.", false, func(s *summary.Summary, a add) { count(s.StepsDistinct, a) }},
		{"lapstrake.retries", "{retry}", "Images and shared steps that waited again, by cause.", true, func(s *summary.Summary, a add) {
			for cause, n := range s.RetriesByCause {
				a(float64(n), attribute.String("cause", cause))
			}
		}},
		{"lapstrake.worker.losses", "{loss}", "Daemons that went away.", true, func(s *summary.Summary, a add) {
			lost := 0
			for _, w := range s.Workers {
				lost += w.Lost
			}
			a(float64(lost))
		}},
		{"lapstrake.requests", "{request}", "Requests to registries, by host.", true, requests},
		{"lapstrake.request.retries", "{request}", "Requests to registries that were sent again.", true, func(s *summary.Summary, a add) { count(s.Retries, a) }},
		{"lapstrake.transferred", "By", "Bytes that were pulled, pushed, and mounted instead.", true, transferred},
		{"lapstrake.disk.used", "By", "Bytes used on the disk of the daemon that is nearest to its budget.", false, disk(func(d *journal.DiskData) int64 { return d.Used })},
		{"lapstrake.disk.budget", "By", "Bytes that may be used there.", false, disk(func(d *journal.DiskData) int64 { return d.Budget })},
		{"lapstrake.released", "By", "Bytes that daemons gave back.", true, func(s *summary.Summary, a add) { count(s.ReleasedBytes, a) }},
		{"lapstrake.run.duration", "s", "Time that the run was at work.", false, func(s *summary.Summary, a add) {
			if s.WallSeconds != nil {
				a(*s.WallSeconds)
			}
		}},
		{"lapstrake.run.forecast", "s", "Time that the run is thought to take in all.", false, func(s *summary.Summary, a add) {
			if n := len(s.Forecasts); n > 0 {
				a(s.Forecasts[n-1].WallSeconds.Value)
			}
		}},
		{"lapstrake.phase.duration", "s", "Time of each phase; phases may overlap.", false, func(s *summary.Summary, a add) {
			for name, seconds := range s.PhaseSeconds {
				a(seconds, attribute.String("phase", name))
			}
		}},
	}
}

func count(n *int64, a add, attrs ...attribute.KeyValue) {
	if n != nil {
		a(float64(*n), attrs...)
	}
}

func imagesSettled(s *summary.Summary, a add) {
	state := func(name string, n int) { a(float64(n), attribute.String("state", name)) }
	state("built", s.Built)
	state("retagged", s.Retagged)
	state("skipped", s.Skipped)
	state("failed", s.Failed)
}

func temperatures(s *summary.Summary, a add) {
	t := s.Temperature
	if t == nil {
		return
	}
	is := func(name string, n int) { a(float64(n), attribute.String("temperature", name)) }
	is("cold", t.Cold)
	is("partial", t.Partial)
	is("warm", t.Warm)
	is("skipped", t.Skipped)
}

func steps(s *summary.Summary, a add) {
	count(s.StepsExecuted, a, attribute.String("result", "executed"))
	count(s.StepsCached, a, attribute.String("result", "cached"))
}

func transferred(s *summary.Summary, a add) {
	count(s.BytesPulled, a, attribute.String("direction", "pulled"))
	count(s.BytesPushed, a, attribute.String("direction", "pushed"))
	count(s.BytesMounted, a, attribute.String("direction", "mounted"))
}

// requests are by host; hosts above maxHosts, by name, are one.
func requests(s *summary.Summary, a add) {
	others := 0.0
	for i, host := range slices.Sorted(maps.Keys(s.Requests)) {
		if n := float64(s.Requests[host]); i < maxHosts {
			a(n, semconv.ServerAddress(host))
		} else {
			others += n
		}
	}
	if others > 0 {
		a(others, semconv.ServerAddress(otherHost))
	}
}

// disk reads a figure of the last reading; 0 is one that is not there.
func disk(figure func(*journal.DiskData) int64) func(*summary.Summary, add) {
	return func(s *summary.Summary, a add) {
		if d := s.Live.Disk; d != nil && figure(d) > 0 {
			a(float64(figure(d)))
		}
	}
}

// register makes every metric known to m.
func register(m metric.Meter, read func(func(*summary.Summary) error) error) (*times, error) {
	for _, f := range figures() {
		callback := func(_ context.Context, o metric.Float64Observer) error {
			return read(func(s *summary.Summary) error {
				f.read(s, func(v float64, attrs ...attribute.KeyValue) { o.Observe(v, metric.WithAttributes(attrs...)) })
				return nil
			})
		}
		var err error
		if f.counts {
			_, err = m.Float64ObservableCounter(f.name, metric.WithUnit(f.unit), metric.WithDescription(f.help), metric.WithFloat64Callback(callback))
		} else {
			_, err = m.Float64ObservableGauge(f.name, metric.WithUnit(f.unit), metric.WithDescription(f.help), metric.WithFloat64Callback(callback))
		}
		if err != nil {
			return nil, err
		}
	}
	return newTimes(m)
}

// times are the histograms, which no summary has in full.
type times struct {
	steps, releases metric.Float64Histogram
}

func newTimes(m metric.Meter) (*times, error) {
	buckets := metric.WithExplicitBucketBoundaries(0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
	steps, err := m.Float64Histogram("lapstrake.step.duration", metric.WithUnit("s"), buckets,
		metric.WithDescription("Time of steps that were executed, by kind."))
	if err != nil {
		return nil, err
	}
	releases, err := m.Float64Histogram("lapstrake.release.duration", metric.WithUnit("s"), buckets,
		metric.WithDescription("Time in which daemons gave disk back."))
	return &times{steps, releases}, err
}

// event adds the time of a step that was planned and ran, or of a release.
func (t *times) event(e *journal.Event) {
	switch e.Kind {
	case journal.StepDone:
		with(e, func(d journal.StepData) {
			if d.Cached || d.Kind == "" {
				return
			}
			t.steps.Record(context.Background(), d.Took.Seconds(),
				metric.WithAttributes(attribute.String("kind", string(d.Kind)), attribute.Bool("shared", d.Shared)))
		})
	case journal.Released:
		with(e, func(d journal.ReleaseData) { t.releases.Record(context.Background(), d.Took.Seconds()) })
	}
}
