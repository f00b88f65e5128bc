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

// What a unit's steps printed can be read while they go on printing.
func TestLogTail(t *testing.T) {
	run, err := Create(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	run.Redactor().Add("hunter2hunter2")
	check := func(unit string, n int64, want string) {
		t.Helper()
		got, err := run.LogTail(unit, n)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", unit, got, err, want)
		}
	}
	check("a", 100, "")
	run.WriteLog("a", "RUN 1", []byte("one\ntwo"))
	run.WriteLog("b", "RUN 1", []byte("other\n"))
	run.WriteLog("a", "RUN 2", []byte("password hunter2"))
	check("a", 100, "RUN 1\none\ntwo\nRUN 2\npassword ")
	run.WriteLog("a", "RUN 2", []byte("hunter2!\n"))
	run.WriteLog("a", "RUN 1", []byte(" and three\n"))
	check("a", 100, "RUN 1\none\ntwo and three\nRUN 2\npassword ***!\n")
	check("a", 8, "ord ***!\n"[1:])
	run.WriteLog("a", "RUN 2", []byte(strings.Repeat("0123456789", 20000)))
	check("a", 12, "890123456789")
	check("b", 100, "RUN 1\nother\n")
}
