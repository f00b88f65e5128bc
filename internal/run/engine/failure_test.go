//go:build linux

package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// failedImages are the ids of the images that failed, by cause.
func failedImages(s summary.Summary) [][]string {
	var out [][]string
	for _, f := range s.Failures {
		out = append(out, slices.Sorted(slices.Values(f.Images)))
	}
	return out
}

// TestMissingBase has one base that does not exist among good ones.
func TestMissingBase(t *testing.T) {
	t.Parallel()
	s := newSite(t, 4)
	f := s.fleet(s.recipe("linked"), "missing")
	f.Images[2].Base = s.host + "/swebench/nothing:latest"
	o := s.build(t.Context(), command{fleet: f, state: t.TempDir()})
	o.kind(t, diag.Step)
	if o.sum.Built != 3 || o.sum.Failed != 1 || o.plan.Actions[plan.Block] != 1 {
		t.Errorf("built %d, failed %d, planned %v", o.sum.Built, o.sum.Failed, o.plan.Actions)
	}
	if diff := cmp.Diff([][]string{{f.Images[2].ID}}, failedImages(o.sum)); diff != "" {
		t.Fatalf("failed images (-want +got):\n%s", diff)
	}
	if c := o.sum.Failures[0].Cause; !strings.Contains(c, "swebench/nothing") || !strings.Contains(c, "404 Not Found") {
		t.Errorf("the cause does not say which base is missing: %s", c)
	}
	if got := len(s.tagsOf("missing")); got != 3 {
		t.Errorf("%d tags were published", got)
	}
	o.predicted(t, s.host)
}

// TestStepFailsOnOneBase has a step that fails on one base only.
func TestStepFailsOnOneBase(t *testing.T) {
	t.Parallel()
	s := newSite(t, 4)
	bad := s.bases[1]
	dir := s.dockerfile(fmt.Sprintf(`ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN echo before; if grep -q %s /testbed/instance; then echo the reason is here >&2; exit 7; fi
`, bad.ID))
	o := s.build(t.Context(), command{fleet: s.fleet(dir, "onebad"), state: t.TempDir()})
	o.kind(t, diag.Step)
	if o.sum.Built != 3 || o.sum.Failed != 1 || o.sum.Pending != 0 {
		t.Errorf("built %d, failed %d, pending %d", o.sum.Built, o.sum.Failed, o.sum.Pending)
	}
	if diff := cmp.Diff([][]string{{bad.ID}}, failedImages(o.sum)); diff != "" {
		t.Fatalf("failed images (-want +got):\n%s", diff)
	}
	got := o.sum.Failures[0]
	if want := "Dockerfile:3"; !strings.Contains(got.Cause, want) || !strings.Contains(got.Cause, "exit code 7") {
		t.Errorf("the cause has neither %s nor the exit code: %s", want, got.Cause)
	}
	if !strings.Contains(got.Log, "the reason is here") || got.Shared || got.Kind != diag.Step.String() {
		t.Errorf("the failure: %+v", got)
	}
	if tags := s.tagsOf("onebad"); len(tags) != 3 || slices.Contains(tags, strings.ToLower(bad.ID)) {
		t.Errorf("tags %v", tags)
	}
}

// TestSharedStepFails has a step that some images share and that fails.
func TestSharedStepFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, last string
		action     plan.Action
	}{
		{name: "append", last: "COPY --link --from=chosen /out /out", action: plan.Append},
		{name: "build", last: "COPY --from=chosen /out /out", action: plan.Build},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 5)
			dir := s.dockerfile(`ARG BASE_IMAGE
ARG FLAVOUR=good
FROM BUILDER AS good
RUN echo good > /out
FROM BUILDER AS bad
RUN echo it is broken; exit 9
FROM ${FLAVOUR} AS chosen
FROM ${BASE_IMAGE}
` + tt.last + "\n")
			f := s.fleet(dir, "shared")
			var want []string
			for _, i := range []int{1, 3, 4} {
				f.Images[i].Args = map[string]string{"FLAVOUR": "bad"}
				want = append(want, f.Images[i].ID)
			}
			o := s.build(t.Context(), command{fleet: f, state: t.TempDir()})
			o.kind(t, diag.Step)
			if o.plan.Actions[tt.action] != 5 || o.sum.Built != 2 || o.sum.Failed != 3 {
				t.Errorf("planned %v, built %d, failed %d", o.plan.Actions, o.sum.Built, o.sum.Failed)
			}
			slices.Sort(want)
			if diff := cmp.Diff([][]string{want}, failedImages(o.sum)); diff != "" {
				t.Fatalf("failed images by cause (-want +got):\n%s%s", diff, failures(o.sum))
			}
			if got := o.sum.Failures[0]; !got.Shared || !strings.Contains(got.Cause, "Dockerfile:6") || !strings.Contains(got.Log, "it is broken") {
				t.Errorf("the failure: %+v", got)
			}
		})
	}
}

// TestRefusedPush has a registry that lets nobody push.
func TestRefusedPush(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		for _, kind := range []string{"linked", "mixed"} {
			t.Run(fmt.Sprint(status, " ", kind), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, 2)
				f := s.fleet(s.recipe(kind), "closed")
				var rules []testfleet.Rule
				for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch} {
					rules = append(rules, testfleet.Rule{Method: method, Path: "^/v2/closed/", Status: status})
				}
				s.trouble(rules...)
				c := command{fleet: f, state: t.TempDir()}
				o := s.build(t.Context(), c)
				o.kind(t, diag.Infra)
				if o.sum.Failed != 2 || len(s.ledger.stored("closed", 0)) != 0 {
					t.Errorf("failed %d, stored %v", o.sum.Failed, s.ledger.stored("closed", 0))
				}
				for _, got := range o.sum.Failures {
					if !strings.Contains(got.Help, "credentials") || !strings.Contains(got.Cause, fmt.Sprint(status)) {
						t.Errorf("the failure: %s (%s)", got.Cause, got.Help)
					}
				}
				s.trouble()
				o = s.build(t.Context(), c)
				if o.err != nil || o.sum.Built != 2 {
					t.Errorf("with the right to push: %v, built %d, failures %s", o.err, o.sum.Built, failures(o.sum))
				}
			})
		}
	}
}

// TestTroubleInPassing has a registry with troubles that a build survives.
func TestTroubleInPassing(t *testing.T) {
	tests := []struct {
		name  string
		rules []testfleet.Rule
		// least is how often the first rule must have applied.
		least int
	}{
		{name: "too many requests, four times", rules: []testfleet.Rule{{Status: http.StatusTooManyRequests, RetryAfter: "1", Times: 4}}, least: 4},
		{name: "too many requests while publishing", rules: []testfleet.Rule{{Method: http.MethodPut, Path: "^/v2/troubled/manifests/[^:]+$", Status: http.StatusTooManyRequests, RetryAfter: "1", Times: 4}}, least: 4},
		{name: "one request in ten fails", rules: []testfleet.Rule{{Status: http.StatusBadGateway, Chance: 0.1, Seed: 1}}, least: 4},
		{name: "one connection in ten is reset", rules: []testfleet.Rule{{Fault: testfleet.FaultResetBefore, Chance: 0.1, Seed: 2}}, least: 4},
		{name: "one answer in ten is lost", rules: []testfleet.Rule{{Fault: testfleet.FaultResetAfter, Chance: 0.1, Seed: 3}}, least: 4},
		{name: "a storm of errors while publishing", rules: []testfleet.Rule{{Method: http.MethodPut, Path: "^/v2/troubled/", Status: http.StatusServiceUnavailable, Chance: 0.3, Seed: 4}}, least: 1},
	}
	for _, tt := range tests {
		for _, kind := range []string{"linked", "mixed"} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				t.Parallel()
				n := map[string]int{"linked": 8, "mixed": 2}[kind]
				s := newSite(t, n)
				f := s.fleet(s.recipe(kind), "troubled")
				p := s.trouble(tt.rules...)
				o := s.build(t.Context(), command{fleet: f, state: t.TempDir()})
				o.done(t, map[plan.Action]int{map[string]plan.Action{"linked": plan.Append, "mixed": plan.Build}[kind]: n})
				s.onlyOne(t, "troubled")
				if got := p.Applied()[0]; kind == "linked" && got < tt.least {
					t.Errorf("only %d requests met trouble", got)
				}
				if kind == "linked" && (o.sum.Retries == nil || *o.sum.Retries == 0) {
					t.Error("nothing was repeated")
				}
			})
		}
	}
}

// TestRegistryDies has a registry that dies while images are published, and is
// back for the second start.
func TestRegistryDies(t *testing.T) {
	t.Parallel()
	const n = 6 // as many as are published at once fail at the end, after all patience
	s := newSite(t, n)
	f := s.fleet(s.recipe("linked"), "dying")
	// The registry takes three tags and is gone before it answers.
	held := s.faults.Load().Hold(http.MethodPut, "^/v2/dying/manifests/[^:]+$", true)
	c := command{fleet: f, state: t.TempDir(), options: engine.Options{Publishers: 3}}
	ended := make(chan outcome, 1)
	go func() { ended <- s.build(t.Context(), c) }()
	if err := held.Wait(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	s.trouble(testfleet.Rule{Fault: testfleet.FaultResetBefore})
	o := <-ended
	o.kind(t, diag.Infra)
	before := len(s.ledger.stored("dying", 0))
	if o.sum.Built != 3 || o.sum.Failed != n-3 {
		t.Errorf("built %d, failed %d; failures %s", o.sum.Built, o.sum.Failed, failures(o.sum))
	}
	s.trouble()
	again := s.build(t.Context(), c)
	if again.err != nil || again.daemons != 0 {
		t.Fatalf("again: %v, %d daemons; failures %s", again.err, again.daemons, failures(again.sum))
	}
	again.done(t, map[plan.Action]int{plan.Skip: 3, plan.Append: n - 3})
	s.onlyOne(t, "dying")
	sent := 0
	for _, e := range s.ledger.stored("dying", before) {
		if e.tagged() {
			sent++
		}
	}
	if sent != n-3 || len(s.tagsOf("dying")) != n {
		t.Errorf("%d tags were sent again, and there are %d", sent, len(s.tagsOf("dying")))
	}
}

// TestCancel ends a build while a step runs on the daemon.
func TestCancel(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"append", "build"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 2)
			ask := fmt.Sprintf("RUN wget -q -O /dev/null http://HOST%s%s && echo done > /out", gatePath, kind)
			text := "ARG BASE_IMAGE\nFROM BUILDER AS b\n" + ask + "\nFROM ${BASE_IMAGE}\nCOPY --link --from=b /out /out\n"
			if kind == "build" {
				text = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n" + ask + "\n"
			}
			c := command{fleet: s.fleet(s.dockerfile(text), "cancelled"), state: t.TempDir(), options: engine.Options{Jobs: 2}}
			held := s.faults.Load().Hold(http.MethodGet, gatePath, false)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			ended := make(chan outcome, 1)
			go func() { ended <- s.build(ctx, c) }()
			if err := held.Wait(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			steps := askers(s.host + gatePath + kind)
			if len(steps) == 0 {
				t.Fatal("no process asks what is held")
			}
			cancel(errors.New("that is enough"))
			o := <-ended
			o.kind(t, diag.Interrupted)
			if !strings.Contains(o.err.Error(), "that is enough") {
				t.Errorf("the error does not say why: %v", o.err)
			}
			for _, pid := range steps {
				if err := awaitEnd(pid, killWithin); err != nil {
					t.Errorf("a step of the cancelled build runs on: %v", err)
				}
			}
			if left := askers(s.host + gatePath + kind); len(left) > 0 {
				t.Errorf("steps run on: %v", left)
			}
			if o.sum.Failed != 0 {
				t.Errorf("%d images count as failed: %s", o.sum.Failed, failures(o.sum))
			}
			held.Release()
			again := s.build(t.Context(), c)
			if again.err != nil || again.sum.Built != 2 || again.sum.Starts != 2 {
				t.Errorf("again: %v, built %d in start %d; failures %s", again.err, again.sum.Built, again.sum.Starts, failures(again.sum))
			}
		})
	}
}

// askers lists the processes with the text among their arguments.
func askers(text string) []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []int
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !bytes.Contains(data, []byte(text)) {
			continue
		}
		var pid int
		if _, err := fmt.Sscan(filepath.Base(dir), &pid); err == nil && pid != os.Getpid() {
			out = append(out, pid)
		}
	}
	return out
}

// TestForeignTag has a tag that somebody else published.
func TestForeignTag(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	f := s.fleet(s.recipe("linked"), "foreign")
	// Somebody copied a base there.
	other := s.fleet(s.dockerfile("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n"), "foreign")
	other.Images = other.Images[:1]
	first := s.build(t.Context(), command{fleet: other, state: t.TempDir()})
	first.done(t, map[plan.Action]int{plan.Append: 1})
	s.strip(t, "foreign", strings.ToLower(f.Images[0].ID))

	o := s.build(t.Context(), command{fleet: f, state: t.TempDir()})
	o.done(t, map[plan.Action]int{plan.Append: 3})
	if !slices.ContainsFunc(o.plan.Units[0].Why, func(r plan.Reason) bool {
		return r.Code == "tag-foreign" && strings.Contains(r.Detail, "carries no content key")
	}) {
		t.Errorf("why: %+v", o.plan.Units[0].Why)
	}
	o.predicted(t, s.host)
	again := s.build(t.Context(), command{fleet: f, state: t.TempDir()})
	again.done(t, map[plan.Action]int{plan.Skip: 3})
	again.predicted(t, s.host)
}

// strip puts a manifest without annotations under a tag.
func (s *site) strip(t *testing.T, repo, tag string) {
	t.Helper()
	url := fmt.Sprintf("http://%s/v2/%s/manifests/%s", s.host, repo, tag)
	q, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(a.Body)
	a.Body.Close()
	at := bytes.Index(data, []byte(`"annotations"`))
	if err != nil || at < 0 {
		t.Fatalf("manifest %s: %v", data, err)
	}
	data = append(bytes.TrimRight(data[:at], ", \n"), "}"...)
	q, err = http.NewRequest(http.MethodPut, url, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", a.Header.Get("Content-Type"))
	if a, err = http.DefaultClient.Do(q); err != nil || a.StatusCode != http.StatusCreated {
		t.Fatalf("%v: %v", a, err)
	}
	a.Body.Close()
}

// TestTwoAtOnce starts a fleet while it is being built.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	c := command{fleet: s.fleet(s.recipe("linked"), "twice"), state: t.TempDir()}
	held := s.faults.Load().Hold(http.MethodPut, "^/v2/twice/manifests/[^:]+$", false)
	ended := make(chan outcome, 1)
	go func() { ended <- s.build(t.Context(), c) }()
	if err := held.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	second := s.build(t.Context(), c)
	second.kind(t, diag.Infra)
	if second.err == nil || !strings.Contains(second.err.Error(), fmt.Sprintf("in use by pid %d", os.Getpid())) {
		t.Errorf("the second build: %v", second.err)
	}
	held.Release()
	first := <-ended
	first.done(t, map[plan.Action]int{plan.Append: 2})
	if first.sum.Starts != 1 {
		t.Errorf("the run was started %d times", first.sum.Starts)
	}
}

// TestForcedAndInterrupted makes everything again, is interrupted, and goes on:
// what it had made is not made a second time.
func TestForcedAndInterrupted(t *testing.T) {
	t.Parallel()
	const n = 4
	for _, kind := range []string{"linked", "mixed"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, n)
			action := map[string]plan.Action{"linked": plan.Append, "mixed": plan.Build}[kind]
			c := command{fleet: s.fleet(s.recipe(kind), "forced"), state: t.TempDir()}
			s.build(t.Context(), c).done(t, map[plan.Action]int{action: n})

			c.options, c.choices = engine.Options{Planner: planner.Options{Skip: planner.SkipNever}, Jobs: 1, Publishers: 1}, "force"
			last := "^/v2/forced/manifests/" + strings.ToLower(c.fleet.Images[2].ID) + "$"
			held := s.faults.Load().Hold(http.MethodPut, last, false)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			ended := make(chan outcome, 1)
			go func() { ended <- s.build(ctx, c) }()
			if err := held.Wait(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			cancel(errors.New("stop"))
			stopped := <-ended
			stopped.kind(t, diag.Interrupted)
			held.Release()
			made := map[string]bool{}
			for id, u := range stopped.sum.Units {
				if u.State == summary.Published {
					made[strings.ToLower(id)] = true
				}
			}
			if len(made) != 2 {
				t.Fatalf("published before the interruption: %v", made)
			}

			before := len(s.ledger.stored("forced", 0))
			again := s.build(t.Context(), c)
			if again.err != nil || again.sum.Built != n || again.sum.Starts != 2 {
				t.Fatalf("again: %v, built %d, start %d; failures %s", again.err, again.sum.Built, again.sum.Starts, failures(again.sum))
			}
			sent := 0
			for _, e := range s.ledger.stored("forced", before) {
				if e.tagged() {
					sent++
				}
				if made[e.Ref] {
					t.Errorf("%s was made again", e.Ref)
				}
			}
			if sent != n-2 {
				t.Errorf("%d tags were sent after the interruption", sent)
			}
			fresh := s.build(t.Context(), c)
			fresh.done(t, map[plan.Action]int{action: n})
			if fresh.sum.Starts != 1 || fresh.sum.Built != n {
				t.Errorf("forced once more: built %d in start %d", fresh.sum.Built, fresh.sum.Starts)
			}
		})
	}
}

// TestLostContent has a registry that lost what the journal remembers.
func TestLostContent(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"linked", "mixed"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 2)
			c := command{fleet: s.fleet(s.recipe(kind), "lost"), state: t.TempDir()}
			first := s.build(t.Context(), c)
			if first.err != nil {
				t.Fatal(first.err)
			}
			for _, e := range s.ledger.stored("lost", 0) {
				if e.Ref == "" {
					continue
				}
				q, err := http.NewRequest(http.MethodDelete, fmt.Sprintf("http://%s/v2/lost/manifests/%s", s.host, e.Digest), nil)
				if err != nil {
					t.Fatal(err)
				}
				a, err := http.DefaultClient.Do(q)
				if err != nil {
					t.Fatal(err)
				}
				a.Body.Close()
			}
			again := s.build(t.Context(), c)
			if again.err != nil || again.sum.Built+again.sum.Retagged != 2 {
				t.Fatalf("again: %v, built %d, planned %v; failures %s", again.err, again.sum.Built, again.plan.Actions, failures(again.sum))
			}
			for _, im := range c.fleet.Images {
				if s.digest(t, im.Tags[0]) == "" {
					t.Errorf("%s is not there", im.Tags[0])
				}
			}
		})
	}
}

// digest is what a tag has in the registry, empty when it is not there.
func (s *site) digest(t *testing.T, ref string) string {
	t.Helper()
	host, rest, _ := strings.Cut(ref, "/")
	i := strings.LastIndexByte(rest, ':')
	q, err := http.NewRequest(http.MethodHead, fmt.Sprintf("http://%s/v2/%s/manifests/%s", host, rest[:i], rest[i+1:]), nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	return a.Header.Get("Docker-Content-Digest")
}

// TestSecret has steps that print a secret, whole and in pieces, one that fails,
// and looks for its value in everything that is kept.
func TestSecret(t *testing.T) {
	const value = "hunter2-plain-text-value"
	t.Setenv("LAPSTRAKE_TEST_SECRET", value)
	s := newSite(t, 2)
	dir := s.dockerfile(fmt.Sprintf(`ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN --mount=type=secret,id=token cat /run/secrets/token; for i in 1 2 3; do cat /run/secrets/token; echo; done; cat /run/secrets/token >&2
RUN --mount=type=secret,id=token if grep -q %s /testbed/instance; then cat /run/secrets/token; exit 3; fi
`, s.bases[1].ID))
	f := s.fleet(dir, "secret")
	f.Secrets = []fleet.Secret{{ID: "token", Env: "LAPSTRAKE_TEST_SECRET"}}
	c := command{fleet: f, state: t.TempDir()}
	o := s.build(t.Context(), c)
	o.kind(t, diag.Step)
	if o.sum.Built != 1 || o.sum.Failed != 1 {
		t.Fatalf("built %d, failed %d: %s", o.sum.Built, o.sum.Failed, failures(o.sum))
	}
	if strings.Contains(failures(o.sum)+o.err.Error(), value) {
		t.Errorf("a failure shows the secret: %s", failures(o.sum))
	}
	looked, logs := lookFor(t, c.state, value)
	if logs < 2 {
		t.Errorf("%d of %d files are logs: the steps printed nothing", logs, looked)
	}
}

// lookFor fails the test when a file below a folder holds the text, logs
// decompressed. It returns how many files and logs it read.
func lookFor(t *testing.T, dir, text string) (files, logs int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		if strings.HasSuffix(path, ".zst") {
			logs++
			r, err := zstd.NewReader(bytes.NewReader(data))
			if err != nil {
				return err
			}
			defer r.Close()
			if data, err = io.ReadAll(r); err != nil {
				return err
			}
			if len(data) == 0 {
				t.Errorf("%s is empty", path)
			}
		}
		if bytes.Contains(data, []byte(text)) {
			t.Errorf("%s holds the secret", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, logs
}

// TestEventsOfFailure has an image that fails, and then does not: the journal
// tells both, and the summary the last.
func TestEventsOfFailure(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	dir := s.dockerfile("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN wget -q -O /dev/null http://HOST" + gatePath + "open\n")
	f := s.fleet(dir, "failing")
	c := command{fleet: f, state: t.TempDir()}
	s.trouble(testfleet.Rule{Path: gatePath, Status: http.StatusNotFound})
	o := s.build(t.Context(), c)
	o.kind(t, diag.Step)
	if o.sum.Failed != 2 {
		t.Fatalf("failed %d", o.sum.Failed)
	}
	s.trouble()
	again := s.build(t.Context(), c)
	again.done(t, map[plan.Action]int{plan.Build: 2})
	if again.run == o.run || again.sum.Starts != 1 {
		t.Errorf("a run that had ended was gone on with")
	}
	var kinds []journal.Kind
	for _, e := range eventsOf(t, o.run) {
		if e.Unit == f.Images[0].ID && e.Kind != journal.StepBegun && e.Kind != journal.StepDone {
			kinds = append(kinds, e.Kind)
		}
	}
	if diff := cmp.Diff([]journal.Kind{journal.UnitQueued, journal.UnitStarted, journal.UnitFailed}, kinds); diff != "" {
		t.Errorf("events of an image (-want +got):\n%s", diff)
	}
}

// TestLayersOutOfReach has layers of an earlier run that the registry does not
// hand out for another reason than that they are gone: they are not made again.
func TestLayersOutOfReach(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	c := command{fleet: s.fleet(s.recipe("linked"), "reach"), state: t.TempDir()}
	first := s.build(t.Context(), c)
	first.done(t, map[plan.Action]int{plan.Append: 2})
	var layers journal.LayersData
	for _, e := range eventsOf(t, first.run) {
		if e.Kind == journal.LayersReady {
			if err := e.Decode(&layers); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.options.Planner.Skip = planner.SkipNever
	s.trouble(testfleet.Rule{Method: http.MethodGet, Path: "^/v2/reach/manifests/" + string(layers.Digest), Status: http.StatusForbidden})
	o := s.build(t.Context(), c)
	o.kind(t, diag.Infra)
	if o.daemons != 0 || len(o.sum.Failures) != 1 || !o.sum.Failures[0].Shared || len(o.sum.Failures[0].Images) != 2 {
		t.Errorf("%d daemons; failures %s", o.daemons, failures(o.sum))
	}
	s.trouble()
	o = s.build(t.Context(), c)
	o.done(t, map[plan.Action]int{plan.Append: 2})
	if o.daemons != 0 {
		t.Errorf("the layers were made again")
	}
	s.onlyOne(t, "reach")
}

// TestSolveIsTriedAgain has a registry forget an upload of the daemon, which does
// not begin another one: the solve fails.
func TestSolveIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds() {
		t.Run(kind.recipe, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 1)
			f := s.fleet(s.recipe(kind.recipe), "tried")
			p := s.trouble(testfleet.Rule{Method: http.MethodPut, Path: "^/v2/tried/blobs/uploads/", Status: http.StatusNotFound, Times: 1})
			o := s.build(t.Context(), command{fleet: f, state: t.TempDir()})
			o.done(t, map[plan.Action]int{kind.action: 1})
			again := false
			for _, e := range eventsOf(t, o.run) {
				again = again || e.Kind == journal.UnitRetried || e.Kind == journal.SharedFailed
			}
			if !again || p.Applied()[0] != 1 {
				t.Errorf("%d refusals, notes %v", p.Applied()[0], o.sum.Notes)
			}
			for _, row := range o.sum.Steps {
				if row.Kind == graph.KindExec && row.Executed != 1 {
					t.Errorf("%s was executed %d times", row.Name, row.Executed)
				}
			}
			s.onlyOne(t, "tried")
		})
	}
}
