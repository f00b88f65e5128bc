package cli_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/rogpeppe/go-internal/testscript"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/lapstrake/lapstrake/internal/testfleet"
)

type collectorKey struct{}

// collector receives what OpenTelemetry's exporters send, to the end of the script.
func collector(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: collector")
	}
	c := testfleet.StartCollector()
	ts.Defer(c.Close)
	*ts.Value(collectorKey{}).(**testfleet.Collector) = c
	ts.Setenv("OTLP", c.URL)
}

func collectorOf(ts *testscript.TestScript) *testfleet.Collector {
	c := *ts.Value(collectorKey{}).(**testfleet.Collector)
	if c == nil {
		ts.Fatalf("there is no collector")
	}
	return c
}

// received prints what came since the collector began: the kinds of traces with
// their number, the names of the spans in each, and the metrics that are asked for.
func received(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: received METRIC...")
	}
	c := collectorOf(ts)
	spans := c.Spans()
	if name := c.Resource("service.name"); name != "" {
		fmt.Fprintln(ts.Stdout(), "service", name)
	}
	if len(spans) == 0 {
		fmt.Fprintln(ts.Stdout(), "no spans")
	}
	byID := map[string]*trace.Span{}
	for _, s := range spans {
		byID[string(s.SpanId)] = s
	}
	lines := map[string]int{}
	for _, s := range spans {
		if s.EndTimeUnixNano < s.StartTimeUnixNano || s.StartTimeUnixNano == 0 {
			ts.Fatalf("the span %s is from %d to %d", s.Name, s.StartTimeUnixNano, s.EndTimeUnixNano)
		}
		path, root := spanPath(byID, s)
		if s == root {
			lines[path+about(byID, s)]++
		} else {
			lines[path] = 0
		}
	}
	for _, path := range slices.Sorted(maps.Keys(lines)) {
		if n := lines[path]; n > 0 {
			path = fmt.Sprintf("%d x %s", n, path)
		}
		fmt.Fprintln(ts.Stdout(), worldOf(ts).scrub(path))
	}
	for _, name := range args {
		m := c.Metric(name)
		if m == nil {
			ts.Fatalf("no metric %s came", name)
		}
		for _, line := range points(m) {
			fmt.Fprintln(ts.Stdout(), line)
		}
	}
}

// spanPath are the names from the root of the trace, in as far as it came, to s.
func spanPath(byID map[string]*trace.Span, s *trace.Span) (path string, root *trace.Span) {
	parent := byID[string(s.ParentSpanId)]
	if parent == nil || !bytes.Equal(parent.TraceId, s.TraceId) {
		return s.Name, s
	}
	path, root = spanPath(byID, parent)
	return path + " / " + s.Name, root
}

// about says of the root of a trace how it ended and what it belongs to.
func about(byID map[string]*trace.Span, s *trace.Span) string {
	out := ""
	for _, a := range s.Attributes {
		if strings.HasSuffix(a.Key, ".result") {
			out += ": " + a.Value.GetStringValue()
		}
	}
	if len(s.ParentSpanId) > 0 {
		out += fmt.Sprintf(", in trace %x", s.TraceId)
	}
	for _, l := range s.Links {
		if to := byID[string(l.SpanId)]; to != nil {
			out += ", linked to " + to.Name
		}
	}
	if s.Status.GetCode() == trace.Status_STATUS_CODE_ERROR {
		out += ", error " + s.Status.Message
	}
	return out
}

// points renders a metric, a value a line.
func points(m *metrics.Metric) []string {
	data := m.GetSum().GetDataPoints()
	if data == nil {
		data = m.GetGauge().GetDataPoints()
	}
	var out []string
	for _, p := range data {
		out = append(out, fmt.Sprintf("%s{%s} %v", m.Name, attributes(p.Attributes), p.GetAsDouble()))
	}
	for _, p := range m.GetHistogram().GetDataPoints() {
		out = append(out, fmt.Sprintf("%s{%s} of %d", m.Name, attributes(p.Attributes), p.Count))
	}
	slices.Sort(out)
	return out
}

func attributes(list []*common.KeyValue) string {
	var out []string
	for _, a := range list {
		out = append(out, strings.ReplaceAll(fmt.Sprint(a.Key, "=", a.Value), " ", ""))
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// withheld fails when a text came to the collector.
func withheld(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: withheld TEXT")
	}
	if collectorOf(ts).Holds(args[0]) {
		ts.Fatalf("the collector was sent %q", args[0])
	}
}

// lines collects what a program writes, for others to wait for.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// scrape runs lapstrake, and while a request is kept from the registry prints what
// its metrics are, and asks for its profiles.
func scrape(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[2] != "lapstrake" {
		ts.Fatalf("usage: scrape METHOD PATH lapstrake ARG...")
	}
	w := worldOf(ts)
	held := w.registry(ts, nil).proxy.Hold(args[0], args[1], false)
	defer held.Release()
	cmd := start(ts, args[3:])
	var errs lines
	cmd.Stderr = &errs
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	arrived := make(chan error, 1)
	go func() { arrived <- held.Wait(w.t.Context(), 1) }()
	select {
	case err := <-arrived:
		ts.Check(err)
	case err := <-ended:
		ts.Fatalf("no %s %s arrived: %v\n%s", args[0], args[1], err, errs.String())
	}
	urls := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(metrics|pprof): (http://127\.0\.0\.1:\d+/\S+)$`).FindAllStringSubmatch(errs.String(), -1) {
		urls[m[1]] = m[2]
	}
	families(ts, fetch(ts, urls["metrics"], http.StatusOK))
	if page := fetch(ts, urls["pprof"], http.StatusOK); !strings.Contains(page, "goroutine") {
		ts.Fatalf("no profiles: %s", page)
	}
	fetch(ts, urls["pprof"]+"cmdline", http.StatusNotFound)
	held.Release()
	if err := <-ended; err != nil {
		ts.Fatalf("%v\n%s", err, errs.String())
	}
	if _, err := http.Get(urls["metrics"]); err == nil {
		ts.Fatalf("metrics are served when the run is over")
	}
}

func fetch(ts *testscript.TestScript, url string, status int) string {
	if url == "" {
		ts.Fatalf("no address was printed")
	}
	resp, err := http.Get(url)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if resp.StatusCode != status {
		ts.Fatalf("%s: %s\n%s", url, resp.Status, body)
	}
	return string(body)
}

// families prints metrics in Prometheus' format: type, name and labels, and values
// where a moment does not change them.
func families(ts *testscript.TestScript, page string) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(page))
	ts.Check(err)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var rows []string
		for _, m := range all[name].Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			row := fmt.Sprintf("%s %s{%s}", strings.ToLower(all[name].GetType().String()), name, strings.Join(labels, ","))
			if name == "lapstrake_images_total" || name == "lapstrake_images_planned" {
				row += fmt.Sprintf(" %v", m.GetCounter().GetValue()+m.GetGauge().GetValue())
			}
			rows = append(rows, row)
		}
		slices.Sort(rows)
		fmt.Fprintln(ts.Stdout(), worldOf(ts).scrub(strings.Join(rows, "\n")))
	}
}
