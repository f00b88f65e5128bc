package localregistry

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	stdlog "log"
	"reflect"
	"sync"
	"unsafe"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the storage driver, found by name
	"github.com/sirupsen/logrus"
)

// app is the registry's handler with what its own shutdown leaves behind.
type app struct {
	*handlers.App
}

// newApp makes the handler. The library panics on settings that it does not
// like; that becomes an error.
func newApp(ctx context.Context, root string, auth *authority, durable bool) (a *app, err error) {
	c := settings(root, auth)
	if !durable {
		if err := registerQuick(); err != nil {
			return nil, err
		}
		c.Middleware = quickSettings(root)
	}
	defer func() {
		if p := recover(); p != nil {
			a, err = nil, fmt.Errorf("registry: %v", p)
		}
	}()
	return &app{handlers.NewApp(ctx, c)}, nil
}

// settings are the registry's. The cache of descriptors is in memory and
// follows deletions, because nobody else writes to the folder.
func settings(root string, auth *authority) *configuration.Configuration {
	c := &configuration.Configuration{
		Catalog: configuration.Catalog{MaxEntries: 1000}, // what the program itself has

		Storage: configuration.Storage{
			"filesystem": configuration.Parameters{"rootdirectory": root, "maxthreads": 256},
			"cache":      configuration.Parameters{"blobdescriptor": "inmemory", "blobdescriptorsize": 1 << 17},
			"delete":     configuration.Parameters{"enabled": true},
			"redirect":   configuration.Parameters{"disable": true},
			"maintenance": configuration.Parameters{
				"uploadpurging": map[any]any{"enabled": false},
			},
		},
	}
	// Signs the state of uploads; they do not outlive the registry.
	c.HTTP.Secret = rand.Text()
	// Relative locations of uploads survive a proxy in front of the registry.
	c.HTTP.RelativeURLs = true
	if auth != nil {
		c.Auth = auth.settings()
	}
	return c
}

// close ends the handler's goroutines.
func (a *app) close() error {
	err := a.Shutdown()
	// The handler starts a broadcaster of events, even without anybody to tell,
	// and never closes it. There is no way to it but this.
	v := reflect.ValueOf(a.App).Elem().FieldByName("events")
	if !v.IsValid() {
		return err
	}
	if v = v.FieldByName("sink"); !v.IsValid() || !v.CanAddr() {
		return err
	}
	sink := reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem().Interface()
	if c, ok := sink.(io.Closer); ok {
		_ = c.Close()
	}
	return err
}

// logContext answers the library's question for its logger. The key is a type
// that only the library can name; without an answer it would write to the
// logger that the whole process shares.
type logContext struct {
	context.Context
	entry *logrus.Entry
}

// Value returns the registry's own logger for the library's key.
func (c logContext) Value(key any) any {
	t := reflect.TypeOf(key)
	if t != nil && t.Name() == "loggerKey" && t.PkgPath() == "github.com/distribution/distribution/v3/internal/dcontext" {
		return c.entry
	}
	return c.Context.Value(key)
}

// withLog returns a context that makes the library log its faults to w, and a
// logger for the HTTP server that writes there too. A nil w discards.
func withLog(ctx context.Context, w io.Writer) (context.Context, *stdlog.Logger) {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.SetLevel(logrus.PanicLevel)
	std := stdlog.New(io.Discard, "", 0)
	if w != nil {
		shared := &lockedWriter{w: w}
		l.SetOutput(shared)
		l.SetLevel(logrus.WarnLevel)
		l.SetFormatter(ownFaults{&logrus.TextFormatter{DisableColors: true}})
		std.SetOutput(shared)
	}
	return logContext{ctx, logrus.NewEntry(l)}, std
}

// ownFaults keeps to what is the registry's affair: answers of 500 and more,
// which carry their cause, and what no request brought about. The library logs
// wrong passwords and missing manifests as warnings and errors too.
type ownFaults struct{ logrus.Formatter }

// Format returns the line for an entry, or nothing.
func (f ownFaults) Format(e *logrus.Entry) ([]byte, error) {
	_, asked := e.Data["http.request.method"]
	status, _ := e.Data["http.response.status"].(int)
	if asked && status < 500 {
		return nil, nil
	}
	return f.Formatter.Format(e)
}

// lockedWriter lets the two loggers share a writer that need not be safe for
// concurrent use.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write writes p in one piece, if there is anything in it.
func (l *lockedWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
