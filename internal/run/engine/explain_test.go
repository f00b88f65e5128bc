//go:build linux

package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/explain"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/run/archive"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// explainable has a shared stage and steps on the base, and every kind of input.
const explainable = `ARG BASE_IMAGE
FROM %s AS builder
COPY src /src
RUN cat /src/a /src/b > /out && echo explainable >> /out

FROM ${BASE_IMAGE}
ENV MODE=fast
RUN echo first-on-base > /first
ARG VERSION=1
WORKDIR /work
COPY conf/ /conf/
COPY --from=builder /out /out
RUN --mount=type=cache,id=one,target=/cache echo second-on-base > /second
USER 1000
RUN echo third-on-base
`

// change is a version of the recipe.
type change struct {
	name  string
	edit  []string          // replacements in the Dockerfile
	files map[string]string // files with other content
	args  map[string]string
	base  int // which base
	kind  graph.FacetKind
	cause string // name of the cause
}

// TestExplained builds a recipe, changes one thing and builds again, twelve
// times and more: what was predicted to execute is what executes, and the change
// is named as its cause.
func TestExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	text := fmt.Sprintf(explainable, testfleet.Builder(w.host))
	before := w.version(text, change{name: "before"})
	for _, c := range []change{
		{name: "argument", args: map[string]string{"VERSION": "2"}, kind: graph.FacetArgument, cause: "VERSION"},
		{name: "default of an argument", edit: []string{"VERSION=1", "VERSION=3"}, kind: graph.FacetArgument, cause: "VERSION"},
		{name: "environment", edit: []string{"MODE=fast", "MODE=slow"}, kind: graph.FacetEnvironment, cause: "MODE"},
		{name: "command on the base", edit: []string{"first-on-base", "other-on-base"}, kind: graph.FacetInstruction},
		{name: "shared command", edit: []string{"echo explainable", "echo explained"}, kind: graph.FacetInstruction},
		{name: "file of a shared step", files: map[string]string{"src/a": "other"}, kind: graph.FacetFiles, cause: "src"},
		{name: "file of a step on the base", files: map[string]string{"conf/c": "other"}, kind: graph.FacetFiles, cause: "conf"},
		{name: "base", base: 1, kind: graph.FacetSource, cause: "base"},
		{name: "mount", edit: []string{"target=/cache echo", "target=/other echo"}, kind: graph.FacetInstruction},
		{name: "cache of a mount", edit: []string{"id=one", "id=two"}},
		{name: "user", edit: []string{"USER 1000", "USER 1001"}, kind: graph.FacetUser},
		{name: "working folder", edit: []string{"WORKDIR /work", "WORKDIR /elsewhere"}, kind: graph.FacetInstruction},
		{name: "shell", edit: []string{"USER 1000", "SHELL [\"/bin/busybox\", \"sh\", \"-c\"]\nUSER 1000"}, kind: graph.FacetCommand},
		{name: "step put in", edit: []string{"WORKDIR /work", "RUN echo put-in > /put\nWORKDIR /work"}},
		{name: "step taken out", edit: []string{"RUN echo first-on-base > /first\n", ""}, kind: graph.FacetInput},
		{name: "file that nothing reads", files: map[string]string{"doc": "other"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			after := w.version(text, c)
			diff := delta.Plans(before.side(), after.side(), nil)
			var predicted, executed []string
			for _, s := range diff.Steps {
				if s.Executions > 0 && s.Status != delta.Same {
					predicted = append(predicted, s.Name)
				}
			}
			report := explain.Misses(after.run, before.run, "")
			for _, m := range report.Misses {
				executed = append(executed, m.Name)
			}
			slices.Sort(predicted)
			slices.Sort(executed)
			if d := cmp.Diff(predicted, executed); d != "" {
				t.Errorf("predicted and executed: %s", d)
			}
			if c.kind == "" {
				return
			}
			if root := rootCause(diff); root.Kind != c.kind || root.Name != c.cause {
				t.Errorf("predicted cause %+v", root)
			}
			if len(report.Misses) == 0 || len(report.Misses[0].Causes) == 0 {
				if c.kind != graph.FacetSource { // a base is no step that executes
					t.Fatalf("misses %+v", report.Misses)
				}
				return
			}
			if got := report.Misses[0].Causes[0]; got.Kind != c.kind || got.Name != c.cause {
				t.Errorf("cause %+v", got)
			}
		})
	}
}

// rootCause is the first cause of the first step that changed.
func rootCause(r *delta.Report) delta.Cause {
	for _, s := range r.Steps {
		if s.Status == delta.Changed {
			return s.Causes[0]
		}
	}
	return delta.Cause{}
}

// built is one build of a version.
type built struct {
	run *explain.Run
}

func (b built) side() delta.Plan { return delta.Plan{Plan: b.run.Plan, Basis: b.run.Basis} }

// version builds a version of a recipe on the daemon that tests share.
func (w *world) version(text string, c change) built {
	w.t.Helper()
	files := map[string]string{"src/a": "a", "src/b": "b", "conf/c": "c", "doc": "d"}
	for name, content := range c.files {
		files[name] = content
	}
	dir := w.dockerfile(strings.NewReplacer(c.edit...).Replace(text), files)
	f := w.fleet(dir, "explained")
	f.Images = []fleet.Image{{ID: "image", Base: w.bases[c.base].Ref, Tags: []string{w.host + "/explained:image"}}}
	f.Recipe.Args = c.args
	r, run := w.command(w.t.Context(), f, engine.Options{}, func(e *engine.Engine) []*engine.Daemon {
		d := engine.NewDaemon(e, w.state, engine.DaemonOptions{Address: workertest.Start(w.t).Addr()})
		e.Workers = []engine.Connector{d.Connector()}
		return []*engine.Daemon{d}
	})
	if r.err != nil {
		w.t.Fatalf("%v: %s", r.err, failures(r.sum))
	}
	return built{readExplained(w.t, run)}
}

// readExplained reads a run as the program does.
func readExplained(t *testing.T, dir string) *explain.Run {
	t.Helper()
	r, err := archive.At(dir).Explained()
	if err != nil {
		t.Fatal(err)
	}
	return r
}
