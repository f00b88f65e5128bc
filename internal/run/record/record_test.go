package record

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

func testLog(t *testing.T) *log {
	t.Helper()
	l, err := newLog(t.TempDir(), "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// kinds are the events of a run, with what tells them apart.
func kinds(t *testing.T, l *log) (out []string) {
	t.Helper()
	for e, err := range runlog.Read(l.Dir()) {
		if err != nil {
			t.Fatal(err)
		}
		var d struct{ Phase, Temperature string }
		_ = e.Decode(&d)
		out = append(out, strings.TrimSpace(strings.Join([]string{string(e.Kind), e.Unit, d.Phase, d.Temperature}, " ")))
	}
	return out
}

func TestCalled(t *testing.T) {
	for want, b := range map[string]buildkit.Build{
		"host/a:1":   {Names: []string{"host/a:1", "host/b"}, Attrs: map[string]string{"target": "t"}},
		"t":          {Attrs: map[string]string{"target": "t", "context": "https://x/y.git"}},
		"y":          {Attrs: map[string]string{"context": "https://user@x/y.git?token=secret", "filename": "D"}},
		"Dockerfile": {Attrs: map[string]string{"filename": "Dockerfile"}},
		"build":      {},
	} {
		if got := called(b); got != want {
			t.Errorf("%+v is called %q, want %q", b, got, want)
		}
	}
}

// Builds of one name: a failed one is tried again, any other is another image,
// also when they overlap.
func TestIdentify(t *testing.T) {
	b := newBuilds(testLog(t), &phases{})
	b.phases.log = b.log
	begin := func(ref string) *image {
		b.began(buildkit.Build{Ref: ref, Names: []string{"a"}})
		return b.image(ref)
	}
	end := func(ref string, failed bool) {
		x := buildkit.Build{Ref: ref, Names: []string{"a"}}
		if failed {
			x.Err = diag.Errorf(diag.Infra, "", "no")
		}
		b.ended(x)
	}
	type id struct {
		ID      string
		Attempt int
	}
	var got []id
	for _, step := range []struct {
		ref    string
		failed bool
	}{{"1", true}, {"2", true}, {"3", false}, {"4", false}, {"5", true}, {"6", false}} {
		im := begin(step.ref)
		got = append(got, id{im.id, im.attempt})
		end(step.ref, step.failed)
	}
	// Two at once, of which the first fails: the third is not its repetition.
	for _, ref := range []string{"7", "8"} {
		im := begin(ref)
		got = append(got, id{im.id, im.attempt})
	}
	end("7", true)
	im := begin("9")
	got = append(got, id{im.id, im.attempt})
	end("8", false)
	end("9", false)
	want := []id{{"a", 1}, {"a", 2}, {"a", 3}, {"a#2", 1}, {"a#3", 1}, {"a#3", 2}, {"a#4", 1}, {"a#5", 1}, {"a#6", 1}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if b.images != 6 {
		t.Errorf("%d images", b.images)
	}
}

// The digests of two sessions are others, and the steps are the same: they are
// known by what they rest on.
func TestIdentities(t *testing.T) {
	session := func(salt, base string) (map[graph.Digest]journal.StepRecord, map[graph.Digest][]graph.Digest) {
		d := func(s string) graph.Digest { return graph.Digest(salt + s) }
		return map[graph.Digest]journal.StepRecord{
			d("from"): {Name: "FROM " + base}, d("ctx"): {Name: "[internal] load build context"},
			d("copy"): {Name: "COPY a b"}, d("run"): {Name: "RUN x"},
		}, map[graph.Digest][]graph.Digest{d("copy"): {d("from"), d("ctx")}, d("run"): {d("copy")}}
	}
	one, oneIn := session("1", "x@sha256:1")
	two, twoIn := session("2", "x@sha256:1")
	other, otherIn := session("3", "x@sha256:2")
	a, b, c := identities(one, oneIn), identities(two, twoIn), identities(other, otherIn)
	for _, step := range []graph.Digest{"from", "ctx", "copy", "run"} {
		if a["1"+step] != b["2"+step] {
			t.Errorf("%s is another step in another session", step)
		}
		if (a["1"+step] == c["3"+step]) != (step == "ctx") {
			t.Errorf("%s of another base: %s and %s", step, a["1"+step], c["3"+step])
		}
	}
	distinct := map[graph.Digest]bool{}
	for _, id := range a {
		distinct[id] = true
	}
	if len(distinct) != 4 {
		t.Errorf("4 steps have %d identities", len(distinct))
	}
	// A circle, which no daemon should report, ends.
	identities(map[graph.Digest]journal.StepRecord{"x": {Name: "x"}, "y": {Name: "y"}}, map[graph.Digest][]graph.Digest{"x": {"y"}, "y": {"x"}})
}

// One execution that two builds waited for is written once; what this recording
// executed for one image does not make the next one warm.
func TestSharedSteps(t *testing.T) {
	l := testLog(t)
	b := newBuilds(l, &phases{log: l})
	at := time.Unix(100, 0)
	step := func(ref string, digest graph.Digest, cached bool, started time.Time) {
		b.step(ref, journal.StepRecord{Digest: digest, Name: "RUN x", Cached: cached, Started: started, Completed: started.Add(time.Second)})
	}
	for _, ref := range []string{"a", "b", "c"} {
		b.began(buildkit.Build{Ref: ref, Names: []string{ref}})
	}
	step("a", "1", false, at)
	step("b", "2", false, at)
	step("c", "3", true, at.Add(time.Minute))
	for _, ref := range []string{"a", "b", "c"} {
		b.ended(buildkit.Build{Ref: ref, Names: []string{ref}})
	}
	b.total()
	want := []string{
		"unit.started a", "unit.started b", "unit.started c",
		"step.done a", "unit.published a  cold", "unit.published b  cold", "step.done c", "unit.published c  cold", "planned",
	}
	if d := cmp.Diff(want, kinds(t, l)); d != "" {
		t.Error(d)
	}
	if n := *l.sum.StepsDistinct; n != 1 || *l.sum.Rework != 1 {
		t.Errorf("%d distinct steps, rework %v", n, *l.sum.Rework)
	}
}

func TestPhases(t *testing.T) {
	l := testLog(t)
	p := &phases{log: l}
	p.pruned(1) // before the command nothing is written
	p.pruned(-1)
	p.begin()
	p.built(1)
	p.pruned(1)
	p.built(1)
	p.built(-1)
	p.built(-1)
	p.pruned(-1)
	p.end()
	p.built(1)
	var want []string
	for _, name := range []string{"between", "images", "prune", "between"} {
		want = append(want, "phase.started  "+name, "phase.ended  "+name)
	}
	if d := cmp.Diff(want, kinds(t, l)); d != "" {
		t.Error(d)
	}
}

func TestBudget(t *testing.T) {
	const total, others = 1000, 100
	for _, c := range []struct {
		disk fleet.Disk
		want int64
	}{
		{fleet.Disk{}, 0},
		{fleet.Disk{Bytes: 300}, 300},
		{fleet.Disk{Share: 0.5}, 500},
		{fleet.Disk{LeaveFree: 200}, 700},
		{fleet.Disk{LeaveFree: 950}, 1}, // nothing is left for the daemon
		{fleet.Disk{Bytes: 800, Share: 0.9, LeaveFree: 200}, 700},
	} {
		if got := budget(c.disk, total, others); got != c.want {
			t.Errorf("%s is %d, want %d", c.disk, got, c.want)
		}
	}
}

func TestUsage(t *testing.T) {
	before, after := usage([]buildkit.Record{{ID: "a", Type: "regular", Bytes: 5}, {ID: "b", Type: "regular", Bytes: 7}, {ID: "c", Type: "source.local", Bytes: 1}},
		[]buildkit.Record{{ID: "b", Bytes: 7}, {ID: "c", Bytes: 1}, {ID: "unknown"}})
	if d := cmp.Diff([]map[string]int64{{"regular": 12, "source.local": 1}, {"regular": 5}}, []map[string]int64{before, after}); d != "" {
		t.Error(d)
	}
}

func TestSecrets(t *testing.T) {
	got := secrets([]string{"PATH=/bin:/usr/bin", "GH_TOKEN=ghp_12345678", "MY_PASSWORD=short", "aws_secret_access_key=abcdefghij", "EMPTY_TOKEN=", "KEYBOARD=qwertyuiop"})
	if d := cmp.Diff([]string{"ghp_12345678", "abcdefghij"}, got); d != "" {
		t.Error(d)
	}
}

func TestTitle(t *testing.T) {
	if got := title([]string{"sh", "-c", "for i in 1\n 2; do\n\techo\ndone"}); got != "sh -c for i in 1 2; do echo done" {
		t.Error(got)
	}
	if got := title([]string{strings.Repeat("é", 500)}); len([]rune(got)) != 200 || !strings.HasSuffix(got, "…") {
		t.Error(got)
	}
}

// The command finds the daemon by every way, under every name that its user has
// for a builder.
func TestEnvironment(t *testing.T) {
	docker, run := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(docker, "buildx", instances, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(docker, "buildx", instances, "mine"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	env, err := environment([]string{"PATH=/bin", "BUILDKIT_HOST=tcp://other", "DOCKER_CONFIG=" + docker, "BUILDX_BUILDER=mine"}, run, "unix:///s")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(run, "buildx")
	want := []string{"PATH=/bin", "DOCKER_CONFIG=" + docker, "BUILDKIT_HOST=unix:///s", "BUILDX_CONFIG=" + config, "BUILDX_BUILDER=lapstrake"}
	if d := cmp.Diff(want, env); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"lapstrake", "mine"} {
		data, err := os.ReadFile(filepath.Join(config, instances, name))
		var g group
		if err == nil {
			err = json.Unmarshal(data, &g)
		}
		if d := cmp.Diff(group{name, "remote", []node{{name + "0", "unix:///s"}}, false}, g); d != "" || err != nil {
			t.Error(err, d)
		}
	}
	for _, c := range []struct {
		name string
		env  []string
		want []string
	}{
		{"by BUILDX_CONFIG", []string{"DOCKER_CONFIG=/nowhere", "BUILDX_CONFIG=" + filepath.Join(docker, "buildx")}, []string{"mine"}},
		{"none", []string{"HOME=" + run}, nil},
		{"nowhere", nil, nil},
	} {
		if d := cmp.Diff(c.want, builders(c.env)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// command runs a shell line as the command, with signals that are sent as soon
// as it has printed a line.
func command(t *testing.T, line string, terminal bool, send ...os.Signal) (exit int, out string) {
	t.Helper()
	signals := make(chan os.Signal, len(send))
	w := &firstLine{then: func() {
		for _, s := range send {
			signals <- s
		}
	}}
	r := &recorder{o: Options{Command: []string{"sh", "-c", line}, Stdout: w, Signals: signals, Terminal: terminal}}
	exit, err := r.command("/bin/sh", os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	return exit, w.out.String()
}

type firstLine struct {
	out  bytes.Buffer
	then func()
}

func (f *firstLine) Write(p []byte) (int, error) {
	if f.then != nil && slices.Contains(p, '\n') {
		f.then()
		f.then = nil
	}
	return f.out.Write(p)
}

func TestCommand(t *testing.T) {
	for _, c := range []struct {
		name     string
		line     string
		terminal bool
		send     []os.Signal
		exit     int
		out      string
	}{
		{"ends well", "echo out", false, nil, 0, "out\n"},
		{"ends with a code", "exit 7", false, nil, 7, ""},
		{"is killed", "kill -KILL $$", false, nil, 128 + 9, ""},
		{"takes a signal", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done", false, []os.Signal{syscall.SIGTERM}, 3, "ready\nbye\n"},
		{"dies of a signal", "echo ready; while :; do sleep 0.01; done", false, []os.Signal{syscall.SIGUSR1}, 128 + int(syscall.SIGUSR1), "ready\n"},
		{"has the interrupt from its terminal", "trap 'exit 4' INT; trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done", true, []os.Signal{os.Interrupt, syscall.SIGTERM}, 5, "ready\n"},
		{"leaves a child with its output", "sleep 1000 & echo $!", false, nil, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			exit, out := command(t, c.line, c.terminal, c.send...)
			if exit != c.exit || c.out != "" && out != c.out {
				t.Errorf("exit %d, printed %q", exit, out)
			}
			if pid, err := strconv.Atoi(strings.TrimSpace(out)); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
	}
}

func TestExitText(t *testing.T) {
	for exit, want := range map[int]string{3: "the command ended with exit code 3", 143: "the command was ended by signal 15 (terminated)"} {
		if got := exitText(exit); got != want {
			t.Error(got)
		}
	}
}

// What cannot be run is told before anything is begun.
func TestNothingToRun(t *testing.T) {
	for _, c := range [][]string{nil, {"no-such-program-anywhere"}, {"/etc/passwd"}} {
		state := t.TempDir()
		_, err := Run(t.Context(), Options{Command: c, State: state, Buildkitd: "/nowhere"})
		if diag.KindOf(err) != diag.Usage || diag.HelpOf(err) == "" {
			t.Errorf("%v: %v", c, err)
		}
		if left, _ := os.ReadDir(state); len(left) > 0 {
			t.Errorf("%v left %v", c, left)
		}
	}
}
