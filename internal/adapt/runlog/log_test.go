package runlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

func all(t testing.TB, r io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(r)
	must(t, err)
	return string(data)
}

func log(t testing.TB, dir, unit, step string) string {
	t.Helper()
	r, err := ReadLog(dir, unit, step)
	must(t, err)
	defer r.Close()
	return all(t, r)
}

func TestLogs(t *testing.T) {
	state := t.TempDir()
	r := create(t, state, "one")
	long := strings.Repeat("a line of output, then another\n", 20_000)
	write := func(unit, step, text string) {
		t.Helper()
		w := r.Log(unit, step)
		_, err := io.WriteString(w, text)
		must(t, err)
		must(t, w.Close())
	}
	write("", "RUN make", "shared\n")
	write("Django", "RUN make", "upper\n")
	write("django", "RUN make", "lower\n")
	write("django", "RUN make", "second time\n")
	write("a/../../b", strings.Repeat("RUN long ", 100), "odd names\n")
	write("django", "RUN seq", long)
	write("django", "RUN true", "")
	must(t, r.WriteLog("django", "RUN open", []byte("never closed")))
	must(t, r.Close())
	r, err := Open(state, "one")
	must(t, err)
	write("django", "RUN make", "resumed\n")
	must(t, r.Close())

	for _, c := range []struct{ unit, step, want string }{
		{"", "RUN make", "shared\n"},
		{"Django", "RUN make", "upper\n"},
		{"django", "RUN make", "lower\nsecond time\nresumed\n"},
		{"a/../../b", strings.Repeat("RUN long ", 100), "odd names\n"},
		{"django", "RUN seq", long},
		{"django", "RUN open", "never closed"},
	} {
		if d := cmp.Diff(c.want, log(t, r.Dir(), c.unit, c.step)); d != "" {
			t.Errorf("%s %s: %.500s", c.unit, c.step, d)
		}
	}
	if _, err := ReadLog(r.Dir(), "django", "RUN true"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a step without output: %v", err)
	}
	entries, err := os.ReadDir(filepath.Join(r.Dir(), logDir))
	must(t, err)
	if len(entries) != 7 {
		t.Errorf("%d log files, want 7", len(entries))
	}
}

// A frame that a dying machine left half written hides neither what came before
// it nor what a later process wrote.
func TestTornLog(t *testing.T) {
	state := t.TempDir()
	r := create(t, state, "one")
	must(t, r.WriteLog("u", "s", []byte("before\n")))
	must(t, r.CloseLog("u", "s"))
	must(t, r.WriteLog("u", "s", []byte(strings.Repeat("lost\n", 100))))
	must(t, r.Close())
	path := filepath.Join(r.Dir(), logDir, logName("u", "s", 1))
	st, err := os.Stat(path)
	must(t, err)
	must(t, os.Truncate(path, st.Size()-6))

	r, err = Open(state, "one")
	must(t, err)
	must(t, r.WriteLog("u", "s", []byte("after\n")))
	must(t, r.Close())
	got := log(t, r.Dir(), "u", "s")
	if !strings.HasPrefix(got, "before\n") || !strings.HasSuffix(got, "after\n") {
		t.Errorf("%q", got)
	}
}

func TestManyLogs(t *testing.T) {
	r := create(t, t.TempDir(), "one")
	const steps = 400
	part := strings.Repeat("x", 32<<10)
	var wg sync.WaitGroup
	for i := range steps {
		wg.Go(func() { soft(t, r.WriteLog(fmt.Sprint(i), "s", []byte(part+fmt.Sprint(i)))) })
	}
	wg.Wait()
	if r.logs.held >= heldLimit {
		t.Errorf("%d bytes are held back", r.logs.held)
	}
	must(t, r.Close())
	if r.logs.held != 0 {
		t.Errorf("%d bytes are held back after close", r.logs.held)
	}
	for i := range steps {
		if got := log(t, r.Dir(), fmt.Sprint(i), "s"); got != part+fmt.Sprint(i) {
			t.Fatalf("log %d has %d bytes", i, len(got))
		}
	}
}

func TestLogFailure(t *testing.T) {
	r := create(t, t.TempDir(), "one")
	must(t, os.WriteFile(filepath.Join(r.Dir(), logDir), nil, 0o600))
	w := r.Log("u", "s")
	_, err := io.WriteString(w, "x")
	must(t, err)
	if err := w.Close(); diag.KindOf(err) != diag.Infra {
		t.Errorf("close: %v", err)
	}
}
