package testfleet

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	metricscollector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracecollector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector receives OpenTelemetry's data over HTTP, as OTLP in its binary form,
// and keeps it. It is safe for concurrent use.
type Collector struct {
	*httptest.Server

	mu       sync.Mutex
	spans    []*trace.Span
	metrics  map[string]*metrics.Metric
	resource map[string]string
	raw      [][]byte
}

// StartCollector serves a collector, whose URL is for OTEL_EXPORTER_OTLP_ENDPOINT,
// until it is closed.
func StartCollector() *Collector {
	c := &Collector{metrics: map[string]*metrics.Metric{}, resource: map[string]string{}}
	m := http.NewServeMux()
	m.HandleFunc("POST /v1/traces", c.receive(c.traces))
	m.HandleFunc("POST /v1/metrics", c.receive(c.measures))
	c.Server = httptest.NewServer(m)
	return c
}

func (c *Collector) receive(take func([]byte) (proto.Message, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if q.Header.Get("Content-Type") != "application/x-protobuf" {
			err = errors.Join(err, errors.New("not protobuf"))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw = append(c.raw, body)
		answer, err := take(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out, _ := proto.Marshal(answer)
		w.Header().Set("Content-Type", "application/x-protobuf")
		w.Write(out)
	}
}

func (c *Collector) traces(body []byte) (proto.Message, error) {
	var q tracecollector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &q); err != nil {
		return nil, err
	}
	for _, r := range q.ResourceSpans {
		for _, a := range r.Resource.Attributes {
			c.resource[a.Key] = a.Value.GetStringValue()
		}
		for _, s := range r.ScopeSpans {
			c.spans = append(c.spans, s.Spans...)
		}
	}
	return &tracecollector.ExportTraceServiceResponse{}, nil
}

func (c *Collector) measures(body []byte) (proto.Message, error) {
	var q metricscollector.ExportMetricsServiceRequest
	if err := proto.Unmarshal(body, &q); err != nil {
		return nil, err
	}
	for _, r := range q.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				c.metrics[m.Name] = m
			}
		}
	}
	return &metricscollector.ExportMetricsServiceResponse{}, nil
}

// Spans are all that came, in the order in which they came.
func (c *Collector) Spans() []*trace.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Metric is the last state of a metric; nil when none of the name came.
func (c *Collector) Metric(name string) *metrics.Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.metrics[name]
}

// Resource is an attribute of what sent the spans; "" when it is not there.
func (c *Collector) Resource(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resource[key]
}

// Holds tells whether a text occurs in anything that came.
func (c *Collector) Holds(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.raw, func(b []byte) bool { return strings.Contains(string(b), text) })
}
