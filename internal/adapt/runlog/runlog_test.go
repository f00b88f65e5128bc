package runlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

func note(text string) journal.Event {
	data, err := json.Marshal(journal.NoteData{Level: "info", Text: text})
	if err != nil {
		panic(err)
	}
	return journal.Event{Kind: journal.Note, Data: data}
}

func event(kind journal.Kind, data any) journal.Event {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return journal.Event{Kind: kind, Data: raw}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// soft is must for goroutines beside the test's own.
func soft(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// create makes a run that is closed with the test, unless it was before.
func create(t testing.TB, state, id string) *Run {
	t.Helper()
	r, err := Create(state, id)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func read(t testing.TB, dir string) (events []journal.Event, errs []error) {
	t.Helper()
	for e, err := range Read(dir) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		events = append(events, e)
	}
	return events, errs
}

func texts(events []journal.Event) []string {
	out := []string{}
	for _, e := range events {
		var d journal.NoteData
		if e.Kind != journal.Note || e.Decode(&d) != nil {
			out = append(out, string(e.Kind))
			continue
		}
		out = append(out, d.Text)
	}
	return out
}

func TestAppendAndRead(t *testing.T) {
	r := create(t, t.TempDir(), "one")
	unknown := journal.Event{Kind: "of.the.future", Unit: "django-1", Step: "sha256:aa", Worker: "w", Attempt: 2, Data: json.RawMessage(`{"x":[1,2,{"y":null}]}`)}
	must(t, r.Append(note("first")))
	must(t, r.AppendDurable(unknown))
	must(t, r.Append(journal.Event{Kind: journal.Note}))
	must(t, r.Close())

	got, errs := read(t, r.Dir())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	want := []journal.Event{note("first"), unknown, {Kind: journal.Note}}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(journal.Event{}, "V", "Seq", "Wall", "Mono")); d != "" {
		t.Error(d)
	}
	for i, e := range got {
		if e.V != journal.Version || e.Seq != int64(i+1) || e.Wall.IsZero() || e.Wall.Location() != time.UTC {
			t.Errorf("event %d: v %d, seq %d, wall %v", i, e.V, e.Seq, e.Wall)
		}
		if i > 0 && e.Mono < got[i-1].Mono {
			t.Errorf("event %d: mono %d after %d", i, e.Mono, got[i-1].Mono)
		}
	}
	if got[0].Mono != 0 {
		t.Errorf("mono begins at %d", got[0].Mono)
	}
	if err := r.Append(note("late")); diag.KindOf(err) != diag.Internal {
		t.Errorf("append after close: %v", err)
	}
}

func TestResumeGoesOn(t *testing.T) {
	state := t.TempDir()
	r := create(t, state, "one")
	must(t, r.Append(note("a")))
	must(t, r.Append(note("b")))
	must(t, r.Close())
	last, _ := read(t, r.Dir())

	var seen []int64
	again, err := Options{OnEvent: func(e journal.Event) { seen = append(seen, e.Seq) }}.Open(state, "one")
	must(t, err)
	must(t, again.Append(note("c")))
	must(t, again.Close())
	got, errs := read(t, r.Dir())
	if d := cmp.Diff([]string{"a", "b", "c"}, texts(got)); d != "" || errs != nil {
		t.Fatal(d, errs)
	}
	if got[2].Seq != 3 || got[2].Mono < last[1].Mono {
		t.Errorf("seq %d, mono %d after %d", got[2].Seq, got[2].Mono, last[1].Mono)
	}
	if !slices.Equal(seen, []int64{3}) {
		t.Errorf("OnEvent saw %v", seen)
	}
}

func TestConcurrentAppend(t *testing.T) {
	const workers, each = 32, 40
	var mu sync.Mutex
	after := map[int64]int{}
	var order []int64
	r, err := Options{
		AfterAppend: func(seq int64) { mu.Lock(); after[seq]++; mu.Unlock() },
		OnEvent:     func(e journal.Event) { order = append(order, e.Seq) },
	}.Create(t.TempDir(), "")
	must(t, err)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				e := note(fmt.Sprintf("%d/%d", w, i))
				if i%4 == 0 {
					soft(t, r.AppendDurable(e))
				} else {
					soft(t, r.Append(e))
				}
			}
		})
	}
	wg.Wait()
	must(t, r.Close())

	events, errs := read(t, r.Dir())
	if len(events) != workers*each || errs != nil {
		t.Fatalf("%d events, %v", len(events), errs)
	}
	next := map[string]int{} // each worker's events keep their order
	for i, e := range events {
		if order[i] != e.Seq || after[e.Seq] != 1 {
			t.Fatalf("event %d: OnEvent saw seq %d, AfterAppend ran %d times", e.Seq, order[i], after[e.Seq])
		}
		worker, n, _ := strings.Cut(texts(events[i : i+1])[0], "/")
		if n != strconv.Itoa(next[worker]) {
			t.Fatalf("worker %s: event %s before %d", worker, n, next[worker])
		}
		next[worker]++
	}
}

// The first writer's sync is held up while all others write; one more sync must
// serve them all.
func TestOneSyncServesAllWaiters(t *testing.T) {
	r := create(t, t.TempDir(), "one")
	const waiters = 50
	begun, release := make(chan bool, 10), make(chan bool)
	var syncs int
	real := r.group.sync
	r.group.sync = func() error {
		syncs++
		begun <- true
		<-release
		return real()
	}
	var wg sync.WaitGroup
	wg.Go(func() { soft(t, r.AppendDurable(note("first"))) })
	<-begun
	wrote := make(chan int64, waiters)
	r.opts.OnEvent = func(e journal.Event) { wrote <- e.Seq }
	for range waiters {
		wg.Go(func() { soft(t, r.AppendDurable(note("later"))) })
	}
	for range waiters {
		<-wrote
	}
	if r.group.synced != 0 {
		t.Error("an event counts as durable before its sync ended")
	}
	release <- true
	<-begun
	close(release)
	wg.Wait()
	if syncs != 2 {
		t.Errorf("%d syncs for %d durable events, want 2", syncs, waiters+1)
	}
}

func TestFailedSyncIsFinal(t *testing.T) {
	r := create(t, t.TempDir(), "one")
	r.group.sync = func() error { return syscall.EIO }
	for range 2 {
		err := r.AppendDurable(note("x"))
		if diag.KindOf(err) != diag.Infra || !errors.Is(err, syscall.EIO) {
			t.Errorf("durable append after a failed sync: %v", err)
		}
		r.group.sync = func() error { return nil }
	}
}

func TestBadEventIsRefusedWhole(t *testing.T) {
	r := create(t, t.TempDir(), "one")
	must(t, r.Append(note("a")))
	for name, e := range map[string]journal.Event{
		"data that is not JSON": {Kind: journal.Note, Data: json.RawMessage(`{"a":`)},
		"an endless line":       note(strings.Repeat("x", maxLine)),
	} {
		if err := r.Append(e); diag.KindOf(err) != diag.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, r.Append(note("b")))
	got, errs := read(t, r.Dir())
	if d := cmp.Diff([]string{"a", "b"}, texts(got)); d != "" || errs != nil {
		t.Error(d, errs)
	}
}

func TestLock(t *testing.T) {
	state := t.TempDir()
	r := create(t, state, "one")
	_, err := Open(state, "one")
	if want := fmt.Sprintf("run one is in use by pid %d", os.Getpid()); diag.KindOf(err) != diag.Infra || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	must(t, r.Close())
	again, err := Open(state, "one")
	must(t, err)
	must(t, again.Close())
}

func TestOpenAndCreateErrors(t *testing.T) {
	state := t.TempDir()
	create(t, state, "one")
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		name string
		do   func(string, string) (*Run, error)
		dir  string
		id   string
		kind diag.Kind
		text string
	}{
		{"create twice", Create, state, "one", diag.Usage, "run one exists"},
		{"create outside", Create, state, "../x", diag.Usage, `"../x" cannot be the id of a run`},
		{"create in a file", Create, file, "", diag.Infra, "state folder"},
		{"open nothing", Open, state, "two", diag.Usage, "no run two"},
		{"open outside", Open, state, "../runs/one", diag.Usage, "is not the id of a run"},
		{"open empty", Open, state, "", diag.Usage, "is not the id of a run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.do(c.dir, c.id)
			if err == nil || diag.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %v: %s", err, c.kind, c.text)
			}
		})
	}
}

func TestIDs(t *testing.T) {
	state := t.TempDir()
	var mu sync.Mutex
	ids := map[string]bool{}
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			r, err := Create(state, "")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			ids[r.ID()] = true
			mu.Unlock()
			soft(t, r.Close())
		})
	}
	wg.Wait()
	if len(ids) != 40 {
		t.Errorf("40 runs have %d ids", len(ids))
	}
	shape := regexp.MustCompile(`^\d{8}-\d{6}-[a-z]{4}$`)
	for id := range ids {
		if !shape.MatchString(id) || !validID(id) {
			t.Errorf("id %q", id)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		b := a.Add(time.Duration(rapid.Int64Range(7000, 1<<50).Draw(t, "later")))
		if !(ID(a) < ID(b)) {
			t.Fatalf("%s (%v) does not sort before %s (%v)", ID(a), a, ID(b), b)
		}
	})
}

func TestTornTail(t *testing.T) {
	cases := []struct{ name, tail string }{
		{"half a line", `{"v":1,"seq":3,"wall":"2026-01-`},
		{"a whole event without a line end", `{"v":1,"seq":3,"wall":"2026-01-02T15:04:05Z","mono":5,"kind":"note"}`},
		{"rubbish with a line end", "{\"v\":1,\"se\n"},
		{"zeros after a power cut", strings.Repeat("\x00", 300)},
		{"an empty line", "\n"},
		{"a line that is no event", "{}\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			state := t.TempDir()
			r := create(t, state, "one")
			must(t, r.Append(note("a")))
			must(t, r.Append(note("b")))
			must(t, r.Close())
			path := filepath.Join(r.Dir(), journalFile)
			whole, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, append(slices.Clone(whole), c.tail...), 0o600))

			got, errs := read(t, r.Dir()) // a reader needs no repair
			if d := cmp.Diff([]string{"a", "b"}, texts(got)); d != "" || errs != nil {
				t.Error(d, errs)
			}
			r, err = Open(state, "one")
			must(t, err)
			must(t, r.Append(note("c")))
			must(t, r.Close())
			r, err = Open(state, "one") // repaired: nothing to say any more
			must(t, err)
			must(t, r.Close())
			got, errs = read(t, r.Dir())
			said := fmt.Sprintf("the journal ended in a torn line of %d bytes, which was cut off", len(c.tail))
			if d := cmp.Diff([]string{"a", "b", said, "c"}, texts(got)); d != "" || errs != nil {
				t.Error(d, errs)
			}
			if now, _ := os.ReadFile(path); !strings.HasPrefix(string(now), string(whole)) {
				t.Error("whole events were changed")
			}
		})
	}
}

func TestBrokenMiddle(t *testing.T) {
	line := func(seq int, text string) string {
		return fmt.Sprintf(`{"v":1,"seq":%d,"wall":"2026-01-02T15:04:05Z","mono":1,"kind":"note","data":{"level":"info","text":%q}}`+"\n", seq, text)
	}
	cases := []struct {
		name, journal string
		after         []string
		errs          []string
	}{
		{"rubbish", line(1, "a") + "rubbish\n" + line(3, "c"), []string{"a", "c"}, []string{":2: not an event"}},
		{"two broken lines", line(1, "a") + "x\ny\n" + line(4, "d"), []string{"a", "d"}, []string{":2: not an event", ":3: not an event"}},
		{"a gap", line(1, "a") + line(3, "c") + line(4, "d"), []string{"a", "c", "d"}, []string{":2: event 3 after event 1"}},
		{"a repetition", line(1, "a") + line(1, "a"), []string{"a", "a"}, []string{":2: event 1 after event 1"}},
		{"a beginning that is missing", line(2, "b"), []string{"b"}, []string{":1: event 2 after event 0"}},
		{"a newer version", line(1, "a") + `{"v":99,"seq":2,"kind":"note"}` + "\n" + line(3, "c"), []string{"a"}, []string{":2: journal version 99"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			state := t.TempDir()
			path := filepath.Join(Dir(state, "one"), journalFile)
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.WriteFile(path, []byte(c.journal), 0o600))
			got, errs := read(t, Dir(state, "one"))
			if d := cmp.Diff(c.after, texts(got)); d != "" {
				t.Error(d)
			}
			if len(errs) != len(c.errs) {
				t.Fatalf("errors %v, want %q", errs, c.errs)
			}
			for i, err := range errs {
				if diag.KindOf(err) != diag.Infra || !strings.Contains(err.Error(), path+c.errs[i]) {
					t.Errorf("error %v, want %s", err, path+c.errs[i])
				}
			}
			if _, err := Open(state, "one"); err == nil || err.Error() != errs[0].Error() {
				t.Errorf("open: %v, want %v", err, errs[0])
			}
			if now, _ := os.ReadFile(path); string(now) != c.journal {
				t.Error("the journal was changed")
			}
			for range Read(Dir(state, "one")) {
				break // stopping early must be allowed
			}
		})
	}
}

// Whatever byte a crash cuts the journal at, the whole lines before it remain
// and the run goes on behind them.
func TestCutAnywhere(t *testing.T) {
	state := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		id := fmt.Sprintf("r%d", time.Now().UnixNano())
		r, err := Create(state, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range rapid.SliceOfN(rapid.String(), 1, 8).Draw(t, "texts") {
			if err := r.Append(note(s)); err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
		path := filepath.Join(r.Dir(), journalFile)
		data, _ := os.ReadFile(path)
		cut := rapid.IntRange(0, len(data)).Draw(t, "cut")
		if err := os.Truncate(path, int64(cut)); err != nil {
			t.Fatal(err)
		}
		whole := strings.Count(string(data[:cut]), "\n")
		torn := cut > 0 && data[cut-1] != '\n'
		r, err = Open(state, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Append(note("after")); err != nil {
			t.Fatal(err)
		}
		r.Close()
		want := whole + 1
		if torn {
			want++
		}
		n := 0
		for e, err := range Read(r.Dir()) {
			if n++; err != nil || e.Seq != int64(n) {
				t.Fatalf("event %d: seq %d, %v", n, e.Seq, err)
			}
		}
		if n != want {
			t.Fatalf("%d events after a cut at %d of %d, want %d", n, cut, len(data), want)
		}
	})
}

// The process kills itself from the hook; every event up to that one must be
// there, and the next process goes on.
func TestKilledProcess(t *testing.T) {
	if state := os.Getenv("RUNLOG_TEST_STATE"); state != "" {
		at, _ := strconv.ParseInt(os.Getenv("RUNLOG_TEST_AT"), 10, 64)
		o := Options{AfterAppend: func(seq int64) {
			if seq == at {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}}
		r, err := o.Create(state, "one")
		must(t, err)
		io.WriteString(r.Log("u", "s"), strings.Repeat("output\n", 20_000))
		for i := range 10 {
			if i%2 == 0 {
				must(t, r.AppendDurable(note(strconv.Itoa(i))))
			} else {
				must(t, r.Append(note(strconv.Itoa(i))))
			}
		}
		t.Fatal("not killed")
	}
	for at := 1; at <= 10; at += 3 {
		t.Run(strconv.Itoa(at), func(t *testing.T) {
			state := t.TempDir()
			c := exec.Command(os.Args[0], "-test.run=^TestKilledProcess$")
			c.Env = append(os.Environ(), "RUNLOG_TEST_STATE="+state, "RUNLOG_TEST_AT="+strconv.Itoa(at))
			out, err := c.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("%v\n%s", err, out)
			}
			r, err := Open(state, "one")
			must(t, err)
			must(t, r.Append(note("resumed")))
			must(t, r.Close())
			events, errs := read(t, r.Dir())
			if errs != nil || len(events) != at+1 || events[at].Seq != int64(at+1) {
				t.Errorf("%d events, %v", len(events), errs)
			}
			log, err := ReadLog(r.Dir(), "u", "s")
			must(t, err)
			defer log.Close()
			text, err := io.ReadAll(log)
			if err != nil || len(text) < frameSize || strings.Trim(string(text), "output\n") != "" {
				t.Errorf("%d bytes of log, %v", len(text), err)
			}
		})
	}
}

func TestWriteFile(t *testing.T) {
	state := t.TempDir()
	r := create(t, state, "one")
	must(t, r.WriteFile("plan.json", []byte("old")))
	must(t, r.WriteFile("plan.json", []byte("new")))
	if data, err := os.ReadFile(filepath.Join(r.Dir(), "plan.json")); err != nil || string(data) != "new" {
		t.Errorf("%q, %v", data, err)
	}
	for _, name := range []string{"", "../x", "a/b", ".hidden", journalFile, lockFile, logDir} {
		if err := r.WriteFile(name, nil); diag.KindOf(err) != diag.Internal {
			t.Errorf("write %q: %v", name, err)
		}
	}
	must(t, os.Mkdir(filepath.Join(r.Dir(), "taken"), 0o700))
	if err := r.WriteFile("taken", nil); diag.KindOf(err) != diag.Infra {
		t.Errorf("write over a folder: %v", err)
	}
	must(t, r.Close())
	must(t, os.WriteFile(filepath.Join(r.Dir(), tempPrefix+"plan.json-1"), []byte("half"), 0o600))
	again, err := Open(state, "one")
	must(t, err)
	must(t, again.Close())
	names := []string{}
	entries, err := os.ReadDir(r.Dir())
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if d := cmp.Diff([]string{journalFile, lockFile, "plan.json", "taken"}, names); d != "" {
		t.Error(d)
	}
}

func TestList(t *testing.T) {
	state := t.TempDir()
	if runs, err := List(state); runs != nil || err != nil {
		t.Fatal(runs, err)
	}
	if _, ok, err := Latest(state, nil); ok || err != nil {
		t.Fatal(ok, err)
	}
	run := func(id, fleet string, events ...journal.Event) *Run {
		r := create(t, state, id)
		must(t, r.Append(event(journal.RunStarted, journal.RunData{Run: id, Fleet: fleet, Command: []string{"lapstrake", "build"}})))
		for _, e := range events {
			must(t, r.Append(e))
		}
		return r
	}
	end := event(journal.RunEnded, journal.EndData{Exit: 3, Cause: "some images failed"})
	must(t, run("20260101-000000-bbbb", "a", end).Close())
	must(t, run("20260102-000000-bbbb", "a", end, note(strings.Repeat("x", 200<<10))).Close())
	live := run("20260103-000000-bbbb", "b", note("at work"))
	must(t, create(t, state, "20260104-000000-bbbb").Close())
	must(t, os.WriteFile(filepath.Join(state, runsDir, "a file"), nil, 0o600))

	got, err := List(state)
	must(t, err)
	command := []string{"lapstrake", "build"}
	want := []Info{
		{ID: "20260104-000000-bbbb"},
		{ID: "20260103-000000-bbbb", Fleet: "b", Command: command, Events: 2, InUse: true, PID: os.Getpid()},
		{ID: "20260102-000000-bbbb", Fleet: "a", Command: command, Events: 3},
		{ID: "20260101-000000-bbbb", Fleet: "a", Command: command, Events: 2, Ended: true, Exit: 3, Cause: "some images failed"},
	}
	for i := range want {
		want[i].Dir = Dir(state, want[i].ID)
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Info{}, "Started", "Last")); d != "" {
		t.Error(d)
	}
	if got[1].Started.IsZero() || got[1].Last.Before(got[1].Started) || !got[0].Started.IsZero() {
		t.Errorf("times %v %v %v", got[1].Started, got[1].Last, got[0].Started)
	}
	found, ok, err := Latest(state, func(i Info) bool { return i.Fleet == "a" && !i.InUse })
	if err != nil || !ok || found.ID != "20260102-000000-bbbb" {
		t.Error(found, ok, err)
	}
	// A look at the list must not shut a writer out.
	must(t, live.Close())
	var wg sync.WaitGroup
	stop := make(chan bool)
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				List(state)
			}
		}
	})
	for range 50 {
		r, err := Open(state, live.ID())
		must(t, err)
		must(t, r.Close())
	}
	close(stop)
	wg.Wait()
}

// FuzzRead reads any bytes as a journal: no panic, every byte is accounted for,
// and what stays of a sound journal after its torn end is cut off reads the same.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"v":1,"seq":1,"wall":"2026-01-02T15:04:05Z","mono":1,"kind":"note"}` + "\n{"))
	f.Add([]byte("\n\n\x00"))
	f.Add([]byte(`{"v":1,"seq":1,"kind":"a"}` + "\n" + `{"v":1,"seq":2,"kind":"a","data":{"x":"\ud800"}}` + "\n"))
	f.Add([]byte(`{"v":1,"seq":1,"kind":"a"}` + "\nx\n" + `{"v":1,"seq":9,"kind":"a"}` + "\n" + `{"v":2,"seq":10,"kind":"a"}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		scan := func(data []byte) (events []journal.Event, errs int, s *scanner) {
			s = newScanner(bytes.NewReader(data), "j")
			for {
				e, err := s.next()
				switch {
				case err == errEnd || err != nil && s.stop:
					return events, errs, s
				case err != nil:
					errs++
				case e.Seq < 1 || e.V < 1 || e.Kind == "":
					t.Fatalf("event %+v", e)
				default:
					events = append(events, e)
				}
			}
		}
		events, errs, s := scan(data)
		if !s.stop && s.good+s.torn != int64(len(data)) {
			t.Fatalf("%d whole and %d torn bytes of %d", s.good, s.torn, len(data))
		}
		if errs > 0 || s.stop {
			return
		}
		again, errs, s2 := scan(data[:s.good])
		if d := cmp.Diff(events, again); d != "" || errs > 0 || s2.torn != 0 {
			t.Fatalf("%d errors and %d torn bytes the second time; %s", errs, s2.torn, d)
		}
	})
}
