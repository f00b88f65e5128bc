package record_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/evidence"
	"github.com/lapstrake/lapstrake/internal/decide/explain"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/archive"
	"github.com/lapstrake/lapstrake/internal/run/record"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(loopEnv); spec != "" {
		os.Exit(loopMain(spec))
	}
	os.Exit(m.Run())
}

// token is a secret that the loop hands to its builds.
const token = "never-to-be-seen"

// bases are some images on a registry of the test's own.
func bases(t *testing.T, n int) (host, builder string, refs []string) {
	t.Helper()
	reg, err := localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Stop(context.Background()) })
	set, err := testfleet.Bases(t.Context(), testfleet.Options{Host: reg.Host(), N: n, Seed: 3, Scale: 0.1})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range set.Images {
		refs = append(refs, b.Ref)
	}
	return reg.Host(), set.Builder, refs
}

func options(t *testing.T, command ...string) record.Options {
	t.Helper()
	w := workertest.Options(t)
	return record.Options{Command: command, State: t.TempDir(), Buildkitd: w.Buildkitd, Runc: w.Runc}
}

// runLoopUnder records the loop, and returns what it says that it did.
func runLoopUnder(t *testing.T, o record.Options, l loop) (record.Outcome, report, []journal.Event) {
	t.Helper()
	l.Dir, l.Report = t.TempDir(), filepath.Join(t.TempDir(), "report")
	spec, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	o.Command, o.Stdout, o.Stderr = []string{self}, &out, &errs
	o.Env = append(os.Environ(), loopEnv+"="+string(spec), "LOOP_TOKEN="+token)
	got, err := record.Run(t.Context(), o)
	if err != nil || got.Exit != l.Exit || out.String() != "the loop is done\n" {
		t.Fatalf("exit %d, %v\n%s%s", got.Exit, err, out.String(), errs.String())
	}
	var rep report
	data, err := os.ReadFile(l.Report)
	if err == nil {
		err = json.Unmarshal(data, &rep)
	}
	if err != nil {
		t.Fatal(err)
	}
	return got, rep, events(t, got.Dir)
}

func events(t *testing.T, dir string) []journal.Event {
	t.Helper()
	var out []journal.Event
	for e, err := range runlog.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func decode[T any](t *testing.T, e journal.Event) T {
	t.Helper()
	var v T
	if err := e.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestLoop(t *testing.T) {
	t.Parallel()
	host, builder, refs := bases(t, 5)
	l := loop{Threshold: 9 << 20, Exit: 5}
	for i, base := range refs {
		l.Images = append(l.Images, loopImage{Ref: fmt.Sprintf("%s/out/i%d:v1", host, i), Base: base, Builder: builder})
	}
	l.Images[1].Fails = 1
	l.Images[4].Fails = 2
	o := options(t)
	o.Worker = testfleet.Loop(t, 512<<20)
	o.Disk = fleet.Disk{Bytes: 2 << 20}
	l.Disk = o.Worker
	got, rep, journaled := runLoopUnder(t, o, l)
	s := got.Summary

	if !decode[journal.RunData](t, journaled[0]).Observed {
		t.Error("the run is not marked as observed")
	}
	if s.Images != 5 || s.Built != 4 || s.Failed != 1 || s.Pending != 0 || rep.Builds != 7 {
		t.Errorf("%d images, %d built, %d failed, %d pending; %d builds", s.Images, s.Built, s.Failed, s.Pending, rep.Builds)
	}
	for i, im := range l.Images {
		u := s.Units[im.Ref]
		attempts := map[int]int{1: 2, 4: 2}[i]
		if u.Attempts != max(attempts, 1) || (u.State == summary.Published) != (i != 4) || u.State == summary.Published && u.Digest == "" || len(u.Tags) != 1 || u.Tags[0] != im.Ref {
			t.Errorf("%s: %+v", im.Ref, u)
		}
	}
	if len(s.Failures) != 1 || !strings.Contains(s.Failures[0].Step, "grep -v broken") || s.Failures[0].Kind != diag.Step.String() {
		t.Errorf("failures: %+v", s.Failures)
	}
	if s.Temperature == nil || s.Temperature.Cold != 4 {
		t.Errorf("temperatures: %+v", s.Temperature)
	}
	checkSteps(t, s, journaled, rep)
	checkPrunes(t, s, journaled, rep)
	checkExplained(t, got)
	checkDisk(t, s, journaled, rep)
	checkPhases(t, journaled, rep)
	checkSecret(t, got.Dir, token)
}

// checkSteps compares what was executed and found with what the loop saw.
func checkSteps(t *testing.T, s *summary.Summary, journaled []journal.Event, rep report) {
	t.Helper()
	executed, cached := map[string]int{}, map[string]int{}
	distinct := map[string]bool{}
	pulled := int64(0)
	for _, e := range journaled {
		if e.Kind != journal.StepDone {
			continue
		}
		d := decode[journal.StepData](t, e)
		pulled += d.Pulled
		if evidence.KindOf(d.Name) == "" {
			continue
		}
		if evidence.KindOf(d.Name).Source() { // looked up for every image
			distinct[e.Unit+string(e.Step)] = true
		}
		distinct[string(e.Step)] = !evidence.KindOf(d.Name).Source()
		if d.Cached {
			cached[d.Name]++
		} else {
			executed[d.Name]++
		}
	}
	masked := map[string]int{} // the loop knows the secret that a name holds
	for name, n := range rep.Executed {
		masked[strings.ReplaceAll(name, token, runlog.Mask)] = n
	}
	if d := cmp.Diff(masked, executed); d != "" {
		t.Errorf("executed (-loop +journal):\n%s", d)
	}
	if d := cmp.Diff(rep.Cached, cached); d != "" {
		t.Errorf("cached (-loop +journal):\n%s", d)
	}
	// The shared step ran once, and once more for every prune that was followed
	// by a build.
	shared := "[builder 3/3] RUN sh /src/tool > /out"
	if len(rep.Prunes) == 0 || executed[shared] != 1+len(rep.Prunes) {
		t.Errorf("the shared step ran %d times in spite of %d prunes: %v", executed[shared], len(rep.Prunes), executed)
	}
	maps.DeleteFunc(distinct, func(_ string, counts bool) bool { return !counts })
	if *s.StepsDistinct != int64(len(distinct)) || *s.Rework <= 1 {
		t.Errorf("%d distinct steps, want %d; rework %v", *s.StepsDistinct, len(distinct), *s.Rework)
	}
	if pulled == 0 || *s.BytesPulled != pulled {
		t.Errorf("%d bytes pulled in all of %d", *s.BytesPulled, pulled)
	}
	parts := map[string]bool{}
	for _, p := range s.Parts {
		parts[p.Name] = true
	}
	for _, name := range []string{journal.PartPull, journal.PartUnpack, journal.PartExport, journal.PartPush, "steps"} {
		if !parts[name] {
			t.Errorf("no time for %s among %v", name, parts)
		}
	}
}

// checkExplained: the run can be explained, each execution once, and what a prune
// made the loop do again is called by its name.
func checkExplained(t *testing.T, got record.Outcome) {
	t.Helper()
	r, err := archive.At(got.Dir).Explained()
	if err != nil {
		t.Fatal(err)
	}
	report := explain.Misses(r, nil, "")
	want := map[string]int64{}
	for _, st := range got.Summary.Steps {
		if k := evidence.KindOf(st.Name); k != "" && delta.Works(k) && st.Executed > 0 {
			want[st.Name] = st.Executed
		}
	}
	have, again := map[string]int64{}, 0
	for _, m := range report.Misses {
		if evidence.KindOf(m.Name) != "" {
			have[m.Name] += m.Executions
		}
		if m.Why == explain.Again {
			again++
		}
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("executed and explained: %s", d)
	}
	if (*got.Summary.Rework > 1) != (again > 0) {
		t.Errorf("rework is %v, and %d steps are said to have run again", *got.Summary.Rework, again)
	}
}

func checkPrunes(t *testing.T, s *summary.Summary, journaled []journal.Event, rep report) {
	t.Helper()
	var seen []pruned
	for _, e := range journaled {
		if e.Kind != journal.Released {
			continue
		}
		d := decode[journal.ReleaseData](t, e)
		seen = append(seen, pruned{d.Records, d.Bytes})
		var before, after int64
		for _, n := range d.Before {
			before += n
		}
		for _, n := range d.After {
			after += n
		}
		if before-after != d.Bytes || d.Took <= 0 || e.Worker == "" {
			t.Errorf("%+v", d)
		}
	}
	if d := cmp.Diff(rep.Prunes, seen); d != "" {
		t.Errorf("prunes (-loop +journal):\n%s", d)
	}
	var sum int64
	for _, p := range rep.Prunes {
		sum += p.Bytes
	}
	if *s.ReleasedBytes != sum {
		t.Errorf("%d bytes released, want %d", *s.ReleasedBytes, sum)
	}
}

// checkDisk compares the readings with the loop's own.
func checkDisk(t *testing.T, s *summary.Summary, journaled []journal.Event, rep report) {
	t.Helper()
	var peak, prunedTo int64
	released := false
	for _, e := range journaled {
		switch e.Kind {
		case journal.Released:
			released, prunedTo = true, peak
		case journal.Disk:
			d := decode[journal.DiskData](t, e)
			if peak = max(peak, d.Used); released {
				prunedTo = min(prunedTo, d.Used)
			}
			if d.Budget != 2<<20 || d.Total <= 0 {
				t.Fatalf("a reading: %+v", d)
			}
		}
	}
	const tolerance = 2 << 20 // what may have come and gone between two readings
	if peak < rep.MaxUsed-tolerance || *s.DiskPeakBytes < peak || len(s.DiskCurve) < 2 {
		t.Errorf("peak %d, in the summary %d; the loop saw %d; %d points", peak, *s.DiskPeakBytes, rep.MaxUsed, len(s.DiskCurve))
	}
	if len(rep.Prunes) > 0 && peak-prunedTo < rep.Prunes[0].Bytes/2 {
		t.Errorf("a prune of %+v shows as %d bytes less than %d", rep.Prunes, peak-prunedTo, peak)
	}
	remarks := 0
	for _, n := range s.Notes {
		if strings.Contains(n.Text, "budget") {
			remarks++
		}
	}
	if remarks != 1 {
		t.Errorf("%d remarks on the budget: %+v", remarks, s.Notes)
	}
}

// checkPhases: the phases of a loop that does one thing at a time follow each
// other without a gap.
func checkPhases(t *testing.T, journaled []journal.Event, rep report) {
	t.Helper()
	var order []string
	open := ""
	for _, e := range journaled {
		if e.Kind != journal.PhaseStarted && e.Kind != journal.PhaseEnded {
			continue
		}
		name := decode[journal.PhaseData](t, e).Phase
		if e.Kind == journal.PhaseEnded {
			if open != name {
				t.Errorf("phase %q ends in %q", name, open)
			}
			open = ""
			continue
		}
		if open != "" {
			t.Errorf("phase %q begins in %q", name, open)
		}
		open = name
		order = append(order, name)
	}
	count := map[string]int{}
	for _, name := range order {
		count[name]++
	}
	if open != "" || order[0] != "between" || count["images"] != rep.Builds || count["prune"] != len(rep.Prunes) {
		t.Errorf("%d builds and %d prunes, but the phases %v", rep.Builds, len(rep.Prunes), order)
	}
}

// checkSecret looks for a value that must not be in any file of a run.
func checkSecret(t *testing.T, dir, secret string) {
	t.Helper()
	files, masked := 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("%s holds a secret", path)
		}
		return err
	})
	for _, e := range events(t, dir) {
		if e.Kind != journal.StepDone {
			continue
		}
		name := decode[journal.StepData](t, e).Name
		r, err := runlog.ReadLog(dir, e.Unit, name)
		if err != nil {
			continue // it printed nothing
		}
		var log bytes.Buffer
		if _, err := log.ReadFrom(r); err != nil {
			t.Error(err)
		}
		r.Close()
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log of %s holds a secret", name)
		}
		masked += strings.Count(log.String(), runlog.Mask)
	}
	if err != nil || files < 3 || masked == 0 {
		t.Errorf("looked at %d files, %d places masked: %v", files, masked, err)
	}
}

// A second recording on the same daemon's state finds what the first built.
func TestWarm(t *testing.T) {
	t.Parallel()
	host, builder, refs := bases(t, 2)
	o := options(t)
	l := loop{}
	for i, base := range refs {
		l.Images = append(l.Images, loopImage{Ref: fmt.Sprintf("%s/out/i%d:v1", host, i), Base: base, Builder: builder})
	}
	first, _, _ := runLoopUnder(t, o, l)
	if s := first.Summary; s.Rework == nil || *s.Rework != 1 || s.Temperature.Cold != 2 {
		t.Errorf("nothing was pruned, but rework is %v; %+v", s.Rework, s.Temperature)
	}
	// The same image twice: the second is an image of its own.
	l.Images = append(l.Images, l.Images[0])
	got, _, _ := runLoopUnder(t, o, l)
	s := got.Summary
	if s.Images != 3 || s.Built != 3 || s.Temperature.Warm != 3 || s.Releases != nil || s.DiskBudgetBytes != nil {
		t.Errorf("%d images, %d built, %+v, releases %+v", s.Images, s.Built, s.Temperature, s.Releases)
	}
	if _, ok := s.Units[l.Images[0].Ref+"#2"]; !ok {
		t.Errorf("%+v", s.Units)
	}
	runs, err := runlog.List(o.State)
	if err != nil || len(runs) != 2 || !runs[0].Ended || runs[0].Exit != 0 {
		t.Errorf("%+v, %v", runs, err)
	}
}

// A shell loop around buildx, as most people have it: with the active builder,
// one that it names, bake, and a prune.
func TestBuildx(t *testing.T) {
	t.Parallel()
	buildx := filepath.Join(workertest.Root(t), "bin", "buildx")
	if _, err := os.Stat(buildx); err != nil {
		t.Fatal("bin/buildx is not there: make bin/buildx")
	}
	host, builder, refs := bases(t, 3)
	dir, docker := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "Dockerfile"), loopDockerfile)
	write(filepath.Join(dir, "name.txt"), "name\n")
	write(filepath.Join(dir, "tool"), "echo the tool")
	write(filepath.Join(docker, "buildx", "instances", "mine"), `{"Name":"mine","Driver":"remote","Nodes":[{"Name":"mine0","Endpoint":"unix:///nowhere.sock"}]}`)
	bake := map[string]any{}
	for i, base := range refs[1:] {
		bake[fmt.Sprint("t", i)] = map[string]any{"args": map[string]string{"BASE": base, "BUILDER": builder}, "output": []string{fmt.Sprintf("type=image,push=true,name=%s/bake/%d:v1", host, i)}}
	}
	data, err := json.Marshal(map[string]any{"target": bake, "group": map[string]any{"default": map[string]any{"targets": []string{"t0", "t1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(dir, "docker-bake.json"), string(data))

	const script = `set -e
cd "$DIR"
one() { "$BUILDX" build "$@" --build-arg BASE="$BASE" --build-arg BUILDER="$BUILDER" . ; }
one --push -t "$HOST/loop/a:v1" -t "$HOST/loop/a:v2"
one --builder mine --metadata-file meta.json --target builder
"$BUILDX" prune --all --force
"$BUILDX" bake -f docker-bake.json
! one -t "$HOST/loop/none" --target none
`
	o := options(t, "sh", "-c", script)
	o.Env = append(os.Environ(), "DIR="+dir, "BUILDX="+buildx, "HOST="+host, "BASE="+refs[0], "BUILDER="+builder, "DOCKER_CONFIG="+docker, "BUILDX_NO_DEFAULT_ATTESTATIONS=1")
	var out bytes.Buffer
	o.Stdout, o.Stderr = &out, &out
	got, err := record.Run(t.Context(), o)
	if err != nil || got.Exit != 0 {
		t.Fatalf("exit %d: %v\n%s", got.Exit, err, out.String())
	}
	s := got.Summary
	want := map[string]summary.State{
		host + "/loop/a:v1": summary.Published, "builder": summary.Published, "none": summary.Failed,
		host + "/bake/0:v1": summary.Published, host + "/bake/1:v1": summary.Published,
	}
	states := map[string]summary.State{}
	for id, u := range s.Units {
		states[id] = u.State
	}
	if d := cmp.Diff(want, states); d != "" {
		t.Errorf("%s\n%s", d, out.String())
	}
	if u := s.Units[host+"/loop/a:v1"]; len(u.Tags) != 2 || u.Digest == "" {
		t.Errorf("%+v", u)
	}
	if s.Releases == nil || s.Releases.Count != 1 || s.Releases.Records == 0 || *s.ReleasedBytes == 0 {
		t.Errorf("releases %+v", s.Releases)
	}
	if meta, err := os.ReadFile(filepath.Join(dir, "meta.json")); err != nil || !bytes.Contains(meta, []byte("buildx.build.ref")) {
		t.Errorf("the metadata file: %v %s", err, meta)
	}
	// The builder's step ran, was found, and ran again after the prune.
	for _, x := range s.Steps {
		if strings.HasSuffix(x.Name, "RUN sh /src/tool > /out") && (x.Executed != 2 || x.Cached < 1) {
			t.Errorf("%+v\n%s", x, out.String())
		}
	}
}

// A daemon that is lost in the middle is written down; the command goes on.
func TestDaemonLost(t *testing.T) {
	t.Parallel()
	o := options(t, "sh", "-c", `for p in /proc/[0-9]*; do
  case "$(tr '\0' ' ' < $p/cmdline 2>/dev/null)" in *buildkitd*"$STATE/worker/"*) kill -KILL "${p#/proc/}";; esac
done
until grep -q '"kind":"worker.lost"' "$STATE"/runs/*/journal.jsonl; do :; done
exit 6`)
	o.Env = append(os.Environ(), "STATE="+o.State)
	got, err := record.Run(t.Context(), o)
	if err != nil || got.Exit != 6 {
		t.Fatalf("exit %d: %v", got.Exit, err)
	}
	if w := got.Summary.Workers; len(w) != 1 || w[0].Lost != 1 || w[0].LostCause == "" {
		t.Errorf("%+v", *w[0])
	}
}
