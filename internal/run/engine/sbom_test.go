//go:build linux

package engine_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// lister is a scanner that lists the files of /opt, unless one is called broken.
const lister = `cd "$BUILDKIT_SCAN_SOURCE/opt"
[ ! -e broken ] || { echo "cannot read broken"; exit 3; }
files= sep=
for f in *; do files="$files$sep{\"fileName\": \"$f\"}"; sep=,; done
echo "{\"predicateType\": \"https://spdx.dev/Document\", \"predicate\": {\"files\": [$files]}}" > "$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json"
`

// scanner publishes an image that is the program, and returns its reference.
func (w *world) scanner(name, program string) string {
	w.t.Helper()
	dir := w.dockerfile("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY --link scan /scan\nENTRYPOINT [\"/bin/sh\", \"/scan\"]\n", map[string]string{"scan": program})
	f := w.fleet(dir, "scanner/"+name)
	f.Images = f.Images[:1]
	w.mustBuild(f, engine.Options{}, "1 append")
	return f.Images[0].Tags[0]
}

// sboms are the files that statements beside the manifests of an image list, by
// platform.
func (w *world) sboms(ref string) map[string]string {
	w.t.Helper()
	repo, _ := publish.Split(ref)
	out, platform := map[string]string{}, map[string]string{}
	for _, m := range w.index(ref).Manifests {
		subject := m.Annotations["vnd.docker.reference.digest"]
		if subject == "" {
			platform[string(m.Digest)] = m.Platform.OS + "/" + m.Platform.Architecture
			continue
		}
		data, _ := w.read(repo + "@" + string(m.Digest))
		var a struct{ Layers []fact.Descriptor }
		if err := json.Unmarshal(data, &a); err != nil {
			w.t.Fatal(err)
		}
		for _, l := range a.Layers {
			if l.Annotations["in-toto.io/predicate-type"] != "https://spdx.dev/Document" {
				continue
			}
			var s struct {
				Subject   []struct{ Digest map[string]string }
				Predicate struct{ Files []struct{ FileName string } }
			}
			w.statement(repo, l.Digest, &s)
			if len(s.Subject) != 1 || "sha256:"+s.Subject[0].Digest["sha256"] != subject {
				w.t.Errorf("%s: beside %s a statement about %+v", ref, subject, s.Subject)
			}
			var files []string
			for _, f := range s.Predicate.Files {
				files = append(files, f.FileName)
			}
			out[platform[subject]] = strings.Join(files, " ")
		}
	}
	return out
}

// TestSBOM: what is in an image is listed beside it, the same whether it is appended,
// built, or was there before; only images whose index is written are scanned, and no
// step runs that was not planned.
func TestSBOM(t *testing.T) {
	t.Parallel()
	const n = 3
	w := newWorldOf(t, testfleet.Options{N: n, Index: n, Arch: "amd64"})
	dir := w.dockerfile(fmt.Sprintf(crossed, testfleet.Builder(w.host)), map[string]string{"amd64.txt": "sbom a", "arm64.txt": "sbom b"})
	f := w.fleet(dir, "listed")
	w.mustBuild(f, engine.Options{}, "3 append")
	_, bare := w.read(f.Images[0].Tags[0])

	f.Output.SBOM = w.scanner("lister", lister)
	build := func(want string, scanned int64, opts engine.Options) result {
		t.Helper()
		r := w.mustBuild(f, opts, want)
		if got := r.plan.Scans(); got != scanned {
			t.Errorf("%d scans are planned, want %d", got, scanned)
		}
		if ran := r.sum.StepsExecuted; ran != nil && *ran > r.plan.Executions.Planned {
			t.Errorf("%d steps ran, and %d were planned: %+v", *ran, r.plan.Executions.Planned, r.sum.Steps)
		}
		if asked := r.total(); asked > r.plan.Requests[w.host] {
			t.Errorf("%d requests, and %d were planned", asked, r.plan.Requests[w.host])
		}
		return r
	}
	listed := func(want map[string]string) {
		t.Helper()
		for _, im := range f.Images {
			for _, tag := range im.Tags {
				if d := cmp.Diff(want, w.sboms(tag)); d != "" {
					t.Errorf("%s (-want +got):\n%s", tag, d)
				}
			}
		}
	}
	one := map[string]string{"linux/amd64": "arch.txt env made"}
	build("3 retag", 3, engine.Options{})
	listed(one)
	if x := w.index(f.Images[0].Tags[0]); string(x.Manifests[0].Digest) != bare {
		t.Errorf("%+v over %s", x, bare)
	}
	if r := build("3 skip", 0, engine.Options{}); r.solves != 0 || r.requests["PUT manifest"] != 0 {
		t.Errorf("%d solves, requests %v", r.solves, r.requests)
	}

	// With another platform, another repository and another statement.
	f.Platforms, f.Output.Provenance = twoPlatforms, true
	for i, im := range f.Images {
		f.Images[i].Tags = append(im.Tags, w.host+"/elsewhere:"+strings.ToLower(im.ID))
	}
	both := map[string]string{"linux/amd64": "arch.txt env made", "linux/arm64": "arch.txt env made"}
	build("6 append", 6, engine.Options{})
	listed(both)
	was := w.index(f.Images[0].Tags[0])

	// Made by solves of their own, by a machine that knows nothing, they are the same.
	w.state = t.TempDir()
	build("6 build", 6, engine.Options{Planner: planner.Options{Skip: planner.SkipNever, BuildAll: true}})
	listed(both)
	if is := w.index(f.Images[0].Tags[0]); is.digest != was.digest {
		t.Errorf("the index is %s, and was %s", is.digest, was.digest)
	}

	// One platform changes, and both are listed anew, as the index is.
	if err := os.WriteFile(filepath.Join(dir, "arm64.txt"), []byte("sbom c"), 0o644); err != nil {
		t.Fatal(err)
	}
	build("3 retag, 3 append", 6, engine.Options{})
	listed(both)

	// What is gone is made again, and listed.
	w.remove("listed", w.index(f.Images[0].Tags[0]))
	f.Images = f.Images[:1]
	f.Images[0].Tags = f.Images[0].Tags[:1]
	w.mustBuild(f, engine.Options{}, "2 retag")
	listed(both)
}

// TestSBOMFails: an image of which the scanner makes nothing keeps the tag that it
// had; the others are published.
func TestSBOMFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	dir := w.dockerfile("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nARG FILE\nCOPY --link ${FILE} /opt/\n", map[string]string{"whole": "x", "broken": "x"})
	f := w.fleet(dir, "unlisted")
	f.Images[1].Args = map[string]string{"FILE": "broken"}
	f.Recipe.Args = map[string]string{"FILE": "whole"}
	for name, tt := range map[string]struct {
		program, cause string
		step           time.Duration
	}{
		"broken": {lister, "exit code 3", 0},
		"other":  {"echo '{\"predicateType\": \"https://example.com/other\", \"predicate\": {}}' > $BUILDKIT_SCAN_DESTINATION/x\n", "no SPDX document", 0},
		"silent": {"exit 0\n", "the scanner wrote nothing", 0},
		"slow":   {"sleep 97\n", "a step took too long: [sbom] ", 2 * time.Second},
	} {
		f.Output.SBOM = w.scanner(name, tt.program)
		r := w.build(t.Context(), f, engine.Options{Deadlines: fleet.Deadlines{Step: tt.step}})
		failed := 2
		if name == "broken" {
			failed = 1
		}
		if r.err == nil || r.sum.Failed != failed {
			t.Fatalf("%s: %v, %d failed", name, r.err, r.sum.Failed)
		}
		for _, is := range r.sum.Failures {
			if !strings.Contains(is.Cause, tt.cause) {
				t.Errorf("%s: %s", name, is.Cause)
			}
		}
		if _, digest := w.read(f.Images[1].Tags[0]); digest != "" {
			t.Errorf("%s: %s names %s", name, f.Images[1].Tags[0], digest)
		}
	}
}

// TestSBOMBudget: scans keep to the disk budget, as each takes an image's room.
func TestSBOMBudget(t *testing.T) {
	t.Parallel()
	const n, budget = 10, 480 << 20
	w := newSmall(t, n, 900<<20)
	f := w.fleet(w.dockerfile(fmt.Sprintf(eachGrows, testfleet.Builder(w.host)), map[string]string{}), "grown")
	if r, _ := w.build(t.Context(), f, engine.Options{Disk: fleet.Disk{Bytes: budget}}); r.err != nil {
		t.Fatal(r.err)
	}
	f.Output.SBOM = w.scanner("lister", lister)
	r, peak := w.build(t.Context(), f, engine.Options{Disk: fleet.Disk{Bytes: budget}})
	if r.err != nil || counts(r.plan) != "10 retag" || r.plan.Scans() != n {
		t.Fatalf("%v: %s, %d scans, %+v", r.err, counts(r.plan), r.plan.Scans(), r.sum.Failures[0])
	}
	t.Logf("peak %d of %d, released %d", peak>>20, budget>>20, *r.sum.ReleasedBytes>>20)
	if peak > budget {
		t.Errorf("%d bytes were used, %d over the budget", peak, peak-budget)
	}
	if got := w.sboms(f.Images[n-1].Tags[0])["linux/amd64"]; got != "env payload" {
		t.Errorf("listed %q", got)
	}
}

// TestSBOMKilled: a build that dies while images are scanned makes none of them again.
func TestSBOMKilled(t *testing.T) {
	t.Parallel()
	r := newRangeOf(t, testfleet.Options{N: 4})
	made := func(repo, output, dockerfile string, files map[string]string) (file string) {
		t.Helper()
		dir := t.TempDir()
		files["Dockerfile"] = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n" + dockerfile
		files["fleet.yaml"] = fmt.Sprintf("name: killed\n%simages:\n  ids: [%s]\n  base: %q\n  tag: %q\n", output, strings.Join(testfleet.IDs(4), ", "),
			r.host+"/swebench/sweb.eval.x86_64.{{swebench .id}}:latest", r.host+"/"+repo+":{{lower .id}}")
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return filepath.Join(dir, "fleet.yaml")
	}
	scanner := made("scanner", "", "COPY --link scan /scan\nENTRYPOINT [\"/bin/sh\", \"/scan\"]\n", map[string]string{"scan": lister})
	if b := r.start(t, killPoint{}, scanner, t.TempDir()); b.wait() != nil {
		t.Fatalf("%v\n%s", b.err, b.output())
	}
	output := fmt.Sprintf("output: {sbom: %q}\n", r.host+"/scanner:"+strings.ToLower(testfleet.IDs(1)[0]))
	file, state := made("images", output, "COPY --link a.txt /opt/\n", map[string]string{"a.txt": t.Name()}), t.TempDir()
	r.untilKilled(t, killPoint{method: http.MethodHead, path: "^/v2/scanner/manifests/", waiting: 1}, "images", file, state)
	awaitNothing(t, state)
	before, _ := readRun(t, state)
	sent := r.ledger.stored("images", 0)
	b := r.start(t, killPoint{}, file, state)
	if err := b.wait(); err != nil {
		t.Fatalf("again: %v\n%s", err, b.output())
	}
	after, _ := readRun(t, state)
	r.checkSummary(t, before, after)
	once := map[string]bool{}
	for _, e := range sent {
		once[e.Digest] = true
	}
	for _, e := range r.ledger.stored("images", len(sent)) {
		if once[e.Digest] {
			t.Errorf("%s %s was sent again", e.Ref, e.Digest)
		}
	}
	if len(sent) == 0 || len(r.ledger.tags("images")) != 4 {
		t.Errorf("%d entries before, tags %v", len(sent), r.ledger.tags("images"))
	}
}
