//go:build linux

package engine_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// crossed is a recipe whose shared steps run on the worker's own platform, and
// whose layers are laid over bases of any.
const crossed = `ARG BASE_IMAGE
FROM --platform=$BUILDPLATFORM %s AS made
RUN mkdir /out && echo made > /out/made
FROM ${BASE_IMAGE}
ARG TARGETARCH
COPY --link --from=made /out /opt/made
COPY --link ${TARGETARCH}.txt /opt/arch.txt
LABEL for=$TARGETARCH
`

var twoPlatforms = []string{"linux/amd64", "linux/arm64"}

// several is a fleet for two platforms.
func (w *world) several(dir, repo string) *fleet.Fleet {
	f := w.fleet(dir, repo)
	f.Platform, f.Platforms = twoPlatforms[0], twoPlatforms
	return f
}

// index is what a tag names, as an index.
type index struct {
	digest    string
	MediaType string
	Manifests []struct {
		fact.Descriptor
		Platform struct{ OS, Architecture string }
	}
	Annotations map[string]string
}

// read returns a manifest or index and its digest.
func (w *world) read(ref string) (data []byte, digest string) {
	w.t.Helper()
	repo, tag := publish.Split(ref)
	_, path, _ := strings.Cut(repo, "/")
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, fmt.Sprintf("http://%s/v2/%s/manifests/%s", w.host, path, tag), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, kind := range []string{"oci.image.manifest.v1", "oci.image.index.v1", "docker.distribution.manifest.v2", "docker.distribution.manifest.list.v2"} {
		req.Header.Add("Accept", "application/vnd."+kind+"+json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, ""
	}
	return data, resp.Header.Get("Docker-Content-Digest")
}

func (w *world) index(ref string) index {
	w.t.Helper()
	var x index
	data, digest := w.read(ref)
	if err := json.Unmarshal(data, &x); err != nil {
		w.t.Fatal(err)
	}
	x.digest = digest
	return x
}

// counts are a plan's units by action.
func counts(p *plan.Plan) string {
	var out []string
	for _, a := range plan.Actions() {
		if n := p.Actions[a]; n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, a))
		}
	}
	return strings.Join(out, ", ")
}

// mustBuild builds, and wants a plan of these actions.
func (w *world) mustBuild(f *fleet.Fleet, opts engine.Options, want string) result {
	w.t.Helper()
	r := w.build(w.t.Context(), f, opts)
	if r.err != nil {
		w.t.Fatalf("%v: %+v", r.err, r.sum.Failures)
	}
	if got := counts(r.plan); got != want {
		w.t.Errorf("planned %s, want %s", got, want)
	}
	return r
}

// TestPlatforms: an image for two platforms is an index of what fleets for one of
// them make, byte for byte; it is skipped as long as nothing changes, and when
// one platform changes the other's manifest stays.
func TestPlatforms(t *testing.T) {
	t.Parallel()
	const n = 12
	w := newWorldOf(t, testfleet.Options{N: n, Index: n, Arch: "amd64"})
	dir := w.dockerfile(fmt.Sprintf(crossed, testfleet.Builder(w.host)), map[string]string{"amd64.txt": "a", "arm64.txt": "b"})
	f := w.several(dir, "both")
	first := w.mustBuild(f, engine.Options{}, "24 append")
	if first.sum.Built != 2*n || len(first.sum.Indexes) != n {
		t.Errorf("built %d, indexes %d", first.sum.Built, len(first.sum.Indexes))
	}

	single := map[string]*fleet.Fleet{}
	for _, p := range twoPlatforms {
		single[p] = w.fleet(dir, "only-"+strings.TrimPrefix(p, "linux/"))
		single[p].Platform = p
		w.mustBuild(single[p], engine.Options{}, fmt.Sprintf("%d append", n))
	}
	for i, im := range f.Images {
		x := w.index(im.Tags[0])
		if len(x.Manifests) != 2 || x.MediaType != "application/vnd.oci.image.index.v1+json" || x.Annotations[fact.KeyAnnotation] == "" {
			t.Fatalf("%s is %+v", im.Tags[0], x)
		}
		for j, m := range x.Manifests {
			if at := m.Platform.OS + "/" + m.Platform.Architecture; at != twoPlatforms[j] {
				t.Errorf("%s: manifest %d is for %s", im.ID, j, at)
			}
			if _, alone := w.read(single[twoPlatforms[j]].Images[i].Tags[0]); string(m.Digest) != alone {
				t.Errorf("%s for %s is %s, alone it is %s", im.ID, twoPlatforms[j], m.Digest, alone)
			}
		}
		if st := first.sum.Indexes[im.ID]; string(st.Digest) != x.digest {
			t.Errorf("%s: the journal says %s, the registry %s", im.ID, st.Digest, x.digest)
		}
	}

	second := w.mustBuild(f, engine.Options{}, "24 skip")
	// Each base and each tag is asked about once, and so are the builder, the list
	// of tags, and the registry itself.
	if second.solves != 0 || second.total() != 2*n+3 {
		t.Errorf("%d solves, requests %v", second.solves, second.requests)
	}
	// A machine without state reads each base's index, two manifests and two
	// configs, and each tag's index.
	w.state = t.TempDir()
	if fresh := w.mustBuild(f, engine.Options{}, "24 skip"); fresh.solves != 0 {
		t.Errorf("%d solves", fresh.solves)
	}

	if err := os.WriteFile(filepath.Join(dir, "arm64.txt"), []byte("c"), 0o644); err != nil {
		t.Fatal(err)
	}
	was := w.index(f.Images[0].Tags[0])
	w.mustBuild(f, engine.Options{}, "12 retag, 12 append")
	is := w.index(f.Images[0].Tags[0])
	if was.digest == is.digest || was.Manifests[0].Digest != is.Manifests[0].Digest || was.Manifests[1].Digest == is.Manifests[1].Digest {
		t.Errorf("was %+v, is %+v", was, is)
	}

	// Without the index, the tag of one platform is what the index held.
	f.Platforms = nil
	w.mustBuild(f, engine.Options{}, "12 retag")
	if _, d := w.read(f.Images[0].Tags[0]); d != string(is.Manifests[0].Digest) {
		t.Errorf("the tag names %s", d)
	}
}

// TestPlatformsDocker: Docker's manifest lists have no place for keys, and are
// skipped and reused all the same.
func TestPlatformsDocker(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, testfleet.Options{N: 2, Index: 2, Arch: "amd64"})
	dir := w.dockerfile("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nARG TARGETARCH\nCOPY --link ${TARGETARCH}.txt /opt/arch.txt\n", map[string]string{"amd64.txt": "docker a", "arm64.txt": "docker b"})
	f := w.several(dir, "lists")
	f.Output.MediaTypes = "docker"
	w.mustBuild(f, engine.Options{}, "4 append")
	if x := w.index(f.Images[0].Tags[0]); x.MediaType != "application/vnd.docker.distribution.manifest.list.v2+json" || x.Annotations != nil || len(x.Manifests) != 2 {
		t.Errorf("%+v", x)
	}
	w.state = t.TempDir()
	w.mustBuild(f, engine.Options{}, "4 skip")
	if err := os.WriteFile(filepath.Join(dir, "arm64.txt"), []byte("docker c"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.mustBuild(f, engine.Options{}, "2 retag, 2 append")
}

// TestPlatformFails: an image of which one platform cannot be made keeps its tag,
// and is not tagged when it has none; the others are published. What was made of it
// is used when the rest can be.
func TestPlatformFails(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, testfleet.Options{N: 3, Index: 2, Arch: "amd64"}) // the third base is for amd64 alone
	dir := w.dockerfile("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY --link a /opt/a\n", map[string]string{"a": "fails"})
	f := w.several(dir, "half")
	r := w.build(t.Context(), f, engine.Options{})
	if r.err == nil || counts(r.plan) != "5 append, 1 block" || len(r.sum.Failures) != 1 || !strings.Contains(r.sum.Failures[0].Cause, "not for linux/arm64") {
		t.Errorf("%v, planned %s, %+v", r.err, counts(r.plan), r.sum.Failures)
	}
	for i, im := range f.Images {
		if _, digest := w.read(im.Tags[0]); (digest != "") != (i < 2) {
			t.Errorf("%s names %q", im.Tags[0], digest)
		}
	}
	f.Platform, f.Platforms = "linux/amd64", nil
	if r := w.build(t.Context(), f, engine.Options{}); r.err != nil || counts(r.plan) != "3 retag" {
		t.Errorf("%v, planned %s", r.err, counts(r.plan))
	}
}

// TestStepsForAnotherPlatform: a daemon that cannot run a platform's programs says
// so for each image that needs them, and the images that do not are made.
func TestStepsForAnotherPlatform(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, testfleet.Options{N: 2, Index: 2, Arch: "amd64"})
	f := w.fleet(w.dockerfile("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN true\n", map[string]string{}), "foreign")
	f.Platform, f.Platforms = "linux/amd64", []string{"linux/amd64", "linux/arm64"}
	w.platforms = []string{"linux/amd64", "linux/386"}
	r := w.build(t.Context(), f, engine.Options{})
	if r.err == nil || r.sum.Failed != 2 || r.sum.Built != 2 || len(r.sum.Failures) != 1 {
		t.Fatalf("%v, failed %d, built %d, %+v", r.err, r.sum.Failed, r.sum.Built, r.sum.Failures)
	}
	if is := r.sum.Failures[0]; !strings.Contains(is.Cause, "steps are for linux/arm64") || !strings.Contains(is.Help, "binfmt") {
		t.Errorf("said %q, %q", is.Cause, is.Help)
	}
	var codes []string
	for _, warning := range r.plan.Warnings {
		codes = append(codes, warning.Code)
	}
	if d := cmp.Diff([]string{plan.Emulated}, codes); d != "" {
		t.Error(d)
	}
	if st := r.units[f.Images[0].ID+"/linux/amd64"]; st.State != summary.Published {
		t.Errorf("%+v", st)
	}
}

// TestKilledBeforeAnIndex: a build that dies when the parts of an index are there and
// the index is being sent goes on with these parts, and no tag ever had two
// contents.
func TestKilledBeforeAnIndex(t *testing.T) {
	t.Parallel()
	r := newRangeOf(t, testfleet.Options{N: 3, Index: 3, Arch: "amd64"})
	for _, tt := range []struct {
		name  string
		after bool // the index arrived before the build died
	}{{"before", false}, {"after", true}} {
		t.Run(tt.name, func(t *testing.T) {
			repo := "index/" + tt.name
			dir := t.TempDir()
			text := fmt.Sprintf("name: killed\nplatforms: [linux/amd64, linux/arm64]\nimages:\n  ids: [%s]\n  base: %q\n  tags: [%q, %q]\n", strings.Join(testfleet.IDs(3), ", "),
				r.host+"/swebench/sweb.eval.x86_64.{{swebench .id}}:latest", r.host+"/"+repo+":{{lower .id}}", r.host+"/"+repo+":also-{{lower .id}}")
			for name, content := range map[string]string{"fleet.yaml": text, "amd64.txt": tt.name, "arm64.txt": tt.name, "Dockerfile": fmt.Sprintf(crossed, testfleet.Builder(r.host))} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			file, state := filepath.Join(dir, "fleet.yaml"), t.TempDir()
			p := killPoint{method: http.MethodPut, path: "^/v2/REPO/manifests/[^:]+$", after: tt.after, waiting: 1}
			r.untilKilled(t, p, repo, file, state)
			awaitNothing(t, state)
			before, _ := readRun(t, state)
			b := r.start(t, killPoint{}, file, state)
			if err := b.wait(); err != nil {
				t.Fatalf("again: %v\n%s", err, b.output())
			}
			after, _ := readRun(t, state)
			r.checkSummary(t, before, after)
			tags := r.ledger.tags(repo)
			for tag, digests := range tags {
				if len(digests) != 1 {
					t.Errorf("%s had several contents: %v", tag, digests)
				}
			}
			if len(tags) != 6 || len(after.Indexes) != 3 {
				t.Errorf("%d tags, %d indexes", len(tags), len(after.Indexes))
			}
			for id, x := range after.Indexes {
				for _, tag := range []string{"", "also-"} {
					if got := tags[tag+strings.ToLower(id)]; len(got) != 1 || got[0] != string(x.Digest) {
						t.Errorf("%s is %v, and told to be %s", id, got, x.Digest)
					}
				}
			}
		})
	}
}

// TestProvenance: what an image was made from is attested beside it, in the same bytes
// whoever made it; the image itself stays as it is without.
func TestProvenance(t *testing.T) {
	t.Parallel()
	const n = 2
	w := newWorldOf(t, testfleet.Options{N: n, Index: n, Arch: "amd64"})
	dir := w.dockerfile(fmt.Sprintf(crossed, testfleet.Builder(w.host)), map[string]string{"amd64.txt": "provenance a", "arm64.txt": "provenance b"})
	f := w.fleet(dir, "attested")
	f.Recipe.Args = map[string]string{"BUILD_TOKEN": "hunter22"}
	w.mustBuild(f, engine.Options{}, "2 append")
	_, bare := w.read(f.Images[0].Tags[0])

	f.Output.Provenance = true
	w.mustBuild(f, engine.Options{}, "2 retag")
	one := w.index(f.Images[0].Tags[0])
	if len(one.Manifests) != 2 || string(one.Manifests[0].Digest) != bare {
		t.Errorf("%+v over %s", one, bare)
	}
	w.attests(f, f.Images[0], one, 0, 1)
	if r := w.mustBuild(f, engine.Options{}, "2 skip"); r.requests["PUT manifest"] != 0 || r.sum.Indexes[f.Images[0].ID].Digest == "" {
		t.Errorf("%v, %+v", r.requests, r.sum.Indexes)
	}

	f.Platforms = twoPlatforms
	w.mustBuild(f, engine.Options{}, "2 retag, 2 append")
	both := w.index(f.Images[0].Tags[0])
	if len(both.Manifests) != 4 {
		t.Fatalf("%+v", both)
	}
	if both.Manifests[2].Digest != one.Manifests[1].Digest {
		t.Error("the same image is attested in other bytes")
	}
	w.attests(f, f.Images[0], both, 0, 2)
	w.attests(f, f.Images[0], both, 1, 3)

	// Made by a solve of its own, by a machine that knows nothing, it is the same.
	w.state = t.TempDir()
	w.mustBuild(f, engine.Options{Planner: planner.Options{Skip: planner.SkipNever, BuildAll: true}}, "4 build")
	if again := w.index(f.Images[0].Tags[0]); again.digest != both.digest {
		t.Errorf("the index is %s, and was %s", again.digest, both.digest)
	}
}

// attests looks at the manifest of an index that is to attest another one there.
func (w *world) attests(f *fleet.Fleet, im fleet.Image, x index, subject, by int) {
	w.t.Helper()
	a := x.Manifests[by]
	if a.Platform.OS != "unknown" || a.Platform.Architecture != "unknown" || a.Annotations["vnd.docker.reference.type"] != "attestation-manifest" ||
		a.Annotations["vnd.docker.reference.digest"] != string(x.Manifests[subject].Digest) {
		w.t.Errorf("%+v does not attest %+v", a, x.Manifests[subject])
	}
	repo, _ := publish.Split(im.Tags[0])
	data, _ := w.read(repo + "@" + string(a.Digest))
	var m struct{ Layers []fact.Descriptor }
	if err := json.Unmarshal(data, &m); err != nil || len(m.Layers) != 1 {
		w.t.Fatalf("%v: %s", err, data)
	}
	var s struct {
		Subject   []struct{ Digest map[string]string }
		Predicate struct {
			BuildDefinition struct {
				ExternalParameters struct {
					Platform   string
					Args       map[string]string
					Dockerfile struct{ Name string }
				}
				ResolvedDependencies []struct {
					Name, URI string
					Digest    map[string]string
				}
			}
		}
	}
	w.statement(repo, m.Layers[0].Digest, &s)
	def := s.Predicate.BuildDefinition
	if len(s.Subject) != 1 || "sha256:"+s.Subject[0].Digest["sha256"] != string(x.Manifests[subject].Digest) {
		w.t.Errorf("subject %+v", s.Subject)
	}
	at := x.Manifests[subject].Platform
	if p := def.ExternalParameters; p.Platform != at.OS+"/"+at.Architecture || p.Dockerfile.Name != "Dockerfile" || !strings.HasPrefix(p.Args["BUILD_TOKEN"], "sha256:") {
		w.t.Errorf("%+v", p)
	}
	var names []string
	for _, r := range def.ResolvedDependencies {
		names = append(names, r.Name+strings.TrimSuffix(r.URI, "@sha256:"+r.Digest["sha256"]))
	}
	if d := cmp.Diff([]string{"basedocker-image://" + im.Base, "context", "docker-image://" + testfleet.Builder(w.host)}, names); d != "" {
		w.t.Errorf("dependencies (-want +got):\n%s", d)
	}
}

// statement reads a blob that is JSON.
func (w *world) statement(repo string, digest graph.Digest, into any) {
	w.t.Helper()
	resp, err := http.Get("http://" + strings.Replace(repo, "/", "/v2/", 1) + "/blobs/" + string(digest))
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		w.t.Fatal(err)
	}
}

// TestPartsElsewhere: an index in two repositories, appended or built, has its parts in
// both; a machine without state finds it by its key tag; and a part that is gone, of
// which an earlier run tells, is made again.
func TestPartsElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, testfleet.Options{N: 1, Index: 1, Arch: "amd64"})
	dir := w.dockerfile(fmt.Sprintf(crossed, testfleet.Builder(w.host)), map[string]string{"amd64.txt": "elsewhere a", "arm64.txt": "elsewhere b"})
	f := w.several(dir, "here")
	im := &f.Images[0]
	im.Tags = append(im.Tags, w.host+"/there:1", w.host+"/there:2")
	for _, built := range []bool{false, true} {
		want := map[bool]string{false: "2 append", true: "2 build"}[built]
		w.mustBuild(f, engine.Options{Planner: planner.Options{BuildAll: built, Skip: planner.SkipNever}}, want)
		here := w.index(im.Tags[0])
		for _, tag := range im.Tags[1:] {
			if there := w.index(tag); there.digest != here.digest {
				t.Errorf("%s is %s, not %s", tag, there.digest, here.digest)
			}
		}
		for _, m := range here.Manifests {
			if _, digest := w.read(w.host + "/there@" + string(m.Digest)); digest == "" {
				t.Errorf("%s is not there", m.Digest)
			}
		}
		for _, repo := range []string{"here", "there"} {
			w.remove(repo, here)
		}
	}

	f.Output.KeyTag, im.Tags = true, []string{w.host + "/keyed:1"}
	w.mustBuild(f, engine.Options{}, "2 append")
	was := w.index(im.Tags[0])
	w.state, im.Tags = t.TempDir(), []string{w.host + "/keyed:2"}
	if r := w.mustBuild(f, engine.Options{}, "2 skip"); r.requests["PUT manifest"] != 1 || r.sum.Indexes[im.ID].Action != string(plan.Retag) {
		t.Errorf("%v, %+v", r.requests, r.sum.Indexes)
	}
	if is := w.index(im.Tags[0]); is.digest != was.digest {
		t.Errorf("the index is %s, and was %s", is.digest, was.digest)
	}

	w.remove("keyed", was)
	r := w.mustBuild(f, engine.Options{}, "2 retag")
	if is := w.index(im.Tags[0]); is.digest != was.digest || r.sum.Built != 2 {
		t.Errorf("the index is %s, and was %s; built %d", is.digest, was.digest, r.sum.Built)
	}
}

// remove deletes an index and its parts, and so their tags.
func (w *world) remove(repo string, x index) {
	w.t.Helper()
	digests := []string{x.digest}
	for _, m := range x.Manifests {
		digests = append(digests, string(m.Digest))
	}
	for _, d := range digests {
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodDelete, "http://"+w.host+"/v2/"+repo+"/manifests/"+d, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			w.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			w.t.Fatalf("delete %s: %s", d, resp.Status)
		}
	}
}
