package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/show/eventlog"
	"github.com/lapstrake/lapstrake/internal/show/telemetry"
)

// observeFlags say how machines watch a run.
type observeFlags struct {
	metrics, pprof string
	format, level  string
}

func (o *observeFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.metrics, "metrics", "", "serve metrics for Prometheus at `host:port`/metrics while the run goes on; without a host, on this machine only")
	f.StringVar(&o.pprof, "pprof", "", "serve Go's profiles at `host:port`/debug/pprof/ while the run goes on; without a host, on this machine only")
	f.StringVar(&o.format, "log-format", "", "write log records to the standard error instead of text for people: `json|text`")
	f.StringVar(&o.level, "log-level", "info", "log records of this `level` and above: debug, info, warn, error")
}

// sendWithin is how long the end of a run may wait for a collector.
const sendWithin = 5 * time.Second

// observer lets machines watch a run.
type observer struct {
	a         *app
	telemetry *telemetry.Telemetry
	servers   []*http.Server
	unwatch   func()
}

// observe makes everything ready that can be wrong before a run starts. From then
// on notes and errors are log records when the flags ask for them.
func (a *app) observe(ctx context.Context, flags observeFlags) (*observer, error) {
	o := &observer{a: a, unwatch: func() {}}
	if flags.format != "" {
		h, err := eventlog.New(a.Err, flags.format, flags.level)
		if err != nil {
			return nil, err
		}
		a.log = slog.New(h)
	}
	var err error
	if o.telemetry, err = telemetry.Open(ctx, flags.metrics != ""); err != nil {
		return nil, err
	}
	if flags.metrics != "" {
		if err := o.serve("--metrics", flags.metrics, "/metrics", o.telemetry.Handler()); err != nil {
			return nil, err
		}
	}
	if flags.pprof != "" {
		if err := o.serve("--pprof", flags.pprof, "/debug/pprof/", profiles()); err != nil {
			o.close()
			return nil, err
		}
	}
	return o, nil
}

// profiles are Go's but for the command line, which may hold what is nobody's
// business.
func profiles() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/debug/pprof/", pprof.Index)
	m.HandleFunc("/debug/pprof/cmdline", http.NotFound)
	m.HandleFunc("/debug/pprof/profile", pprof.Profile)
	m.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	m.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return m
}

// serve answers at an address until the observer is closed.
func (o *observer) serve(flag, address, path string, h http.Handler) error {
	const help = "give HOST:PORT, or :PORT for this machine only"
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return diag.Errorf(diag.Usage, help, "%s %q is not an address", flag, address)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return diag.Errorf(diag.Usage, help, "%s: %w", flag, err)
	}
	m := http.NewServeMux()
	m.Handle(path, h)
	s := &http.Server{Handler: m, ReadHeaderTimeout: 10 * time.Second}
	o.servers = append(o.servers, s)
	go s.Serve(l)
	o.a.say("", fmt.Sprintf("%s: http://%s%s", strings.TrimLeft(flag, "-"), l.Addr(), path))
	return nil
}

// watch begins with a run.
func (o *observer) watch(ctx context.Context, run *engine.Record) error {
	if err := o.telemetry.Begin(ctx, telemetry.Run{Version: Version, Read: run.Summary}); err != nil {
		return err
	}
	log := o.a.log
	if log != nil {
		log = log.With("run", run.ID())
		o.a.log = log
	}
	o.unwatch = run.Watch(func(e journal.Event) {
		o.telemetry.Observe(e)
		if log != nil {
			// A standard error that is gone is no reason to stop.
			_ = eventlog.Write(log.Handler(), e)
		}
	})
	return nil
}

// close sends what is left and stops serving.
func (o *observer) close() {
	o.unwatch()
	// Also after an interrupt: the run's end is what is sent last.
	ctx, cancel := context.WithTimeout(context.Background(), sendWithin)
	defer cancel()
	if err := o.telemetry.Close(ctx); err != nil {
		o.a.say("note: ", err.Error())
	}
	for _, s := range o.servers {
		s.Close()
	}
}

// say tells people a text after a prefix, or the log the text alone.
func (a *app) say(prefix, text string) {
	if a.log != nil {
		a.log.Info(text)
		return
	}
	fmt.Fprintln(a.Err, prefix+text)
}
