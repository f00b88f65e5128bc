package delta_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/dockerfile"
	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

const agent = `ARG BASE_IMAGE
FROM scratch AS tools
COPY tools /tools

FROM ${BASE_IMAGE}
ARG VERSION=1
ENV MODE=fast
RUN apt-get install curl
COPY --from=tools /tools /tools
COPY --link src/conf /conf
USER agent
RUN setup
`

// version is one side: a Dockerfile with its arguments; files are by use.
type version struct {
	text  string
	args  map[string]string
	files map[string]string
	base  string
}

func (v version) side(t *testing.T) delta.Side {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "Dockerfile")
	if err := os.WriteFile(file, []byte(v.text), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := dockerfile.Open(dockerfile.Options{Recipe: fleet.Recipe{Dockerfile: file, Context: dir, Args: v.args}})
	if err != nil {
		t.Fatal(err)
	}
	base := &fact.Base{Ref: "docker.io/library/base:1", Digest: graph.Digest("sha256:" + strings.Repeat("a", 64)),
		View: []byte(`{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]}}`), DiffIDs: []graph.Digest{"sha256:1"}}
	conv, err := r.Variant(t.Context(), base, fleet.Image{ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	files := graph.Files{}
	for _, s := range conv.Graph.Steps {
		for _, u := range s.Uses {
			files[s.Digest] = append(files[s.Digest], graph.Digest("sha256:"+u.String()+v.files[u.String()]))
		}
	}
	return delta.Side{Graph: &conv.Graph, Files: files, Base: graph.Digest(v.base)}
}

// render is a line for each step that is not the same.
func render(steps []delta.Step) string {
	var b strings.Builder
	for _, s := range steps {
		if s.Status == delta.Same {
			continue
		}
		step := s.New
		if step == nil {
			step = s.Old
		}
		fmt.Fprintf(&b, "%s %s", s.Status, step.Key.Text)
		if s.Maybe {
			b.WriteString(" (maybe)")
		}
		for i, c := range s.Causes {
			if i == 0 {
				fmt.Fprintf(&b, " | %s %s %q -> %q line %d", c.Kind, c.Name, c.Old, c.New, c.Pos.Line)
			}
		}
		for _, from := range s.From {
			for _, o := range steps {
				if o.New != nil && o.New.Digest == from {
					fmt.Fprintf(&b, " < %s", o.New.Key.Text)
				}
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestCompare(t *testing.T) {
	edit := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(agent) }
	tests := []struct {
		name     string
		old, new version
		want     string
	}{
		{name: "nothing", old: version{text: agent}, new: version{text: agent}},
		{name: "comment", old: version{text: agent}, new: version{text: "# words\n" + agent}},
		{name: "renamed stage", old: version{text: agent}, new: version{text: edit("AS tools", "AS kit", "--from=tools", "--from=kit")}},
		{name: "files that no step reads", old: version{text: agent}, new: version{text: agent, files: map[string]string{"doc": "new"}}},
		{name: "argument", old: version{text: agent}, new: version{text: agent, args: map[string]string{"VERSION": "2"}},
			want: `changed RUN apt-get install curl | argument VERSION "1" -> "2" line 6
inherited COPY --from=tools /tools /tools < RUN apt-get install curl
inherited LINK COPY --link src/conf /conf < RUN apt-get install curl
changed RUN setup | argument VERSION "1" -> "2" line 6 < RUN apt-get install curl
`},
		{name: "argument moved before the step", old: version{text: edit("ARG VERSION=1\n", "", "USER agent", "ARG VERSION=1\nUSER agent")}, new: version{text: agent},
			want: `changed RUN apt-get install curl | argument VERSION "" -> "1" line 6
inherited COPY --from=tools /tools /tools < RUN apt-get install curl
inherited LINK COPY --link src/conf /conf < RUN apt-get install curl
changed RUN setup | environment the order of the variables "" -> "" line 12 < RUN apt-get install curl
`},
		{name: "environment", old: version{text: agent}, new: version{text: edit("MODE=fast", "MODE=slow")},
			want: `changed RUN apt-get install curl | environment MODE "fast" -> "slow" line 7
inherited COPY --from=tools /tools /tools < RUN apt-get install curl
inherited LINK COPY --link src/conf /conf < RUN apt-get install curl
changed RUN setup | environment MODE "fast" -> "slow" line 7 < RUN apt-get install curl
`},
		{name: "a secret's value", old: version{text: edit("VERSION=1", "API_TOKEN=one")}, new: version{text: edit("VERSION=1", "API_TOKEN=two")},
			want: `changed RUN apt-get install curl | argument API_TOKEN "sha256:7692c3ad3540" -> "sha256:3fc4ccfe7458" line 6
inherited COPY --from=tools /tools /tools < RUN apt-get install curl
inherited LINK COPY --link src/conf /conf < RUN apt-get install curl
changed RUN setup | argument API_TOKEN "sha256:7692c3ad3540" -> "sha256:3fc4ccfe7458" line 6 < RUN apt-get install curl
`},
		{name: "text", old: version{text: agent}, new: version{text: edit("RUN setup", "RUN setup --all")},
			want: "changed RUN setup --all | instruction  \"RUN setup\" -> \"RUN setup --all\" line 12\n"},
		{name: "copied files", old: version{text: agent}, new: version{text: agent, files: map[string]string{"tools": "new"}},
			want: `changed COPY tools /tools | files tools "sha256:tools" -> "sha256:toolsnew" line 3
inherited COPY --from=tools /tools /tools (maybe) < COPY tools /tools
inherited LINK COPY --link src/conf /conf (maybe) < COPY tools /tools
inherited RUN setup (maybe) < COPY tools /tools
`},
		{name: "linked files", old: version{text: agent}, new: version{text: agent, files: map[string]string{"src/conf": "new"}},
			want: `changed COPY --link src/conf /conf | files src/conf "sha256:src/conf" -> "sha256:src/confnew" line 10
inherited LINK COPY --link src/conf /conf < COPY --link src/conf /conf
inherited RUN setup < COPY --link src/conf /conf
`},
		{name: "an argument in a path", old: version{text: edit("src/conf", "src/$VERSION")}, new: version{text: edit("src/conf", "src/$VERSION", "VERSION=1", "VERSION=2")},
			want: `changed RUN apt-get install curl | argument VERSION "1" -> "2" line 6
inherited COPY --from=tools /tools /tools < RUN apt-get install curl
changed COPY --link src/2 /conf | argument VERSION "1" -> "2" line 6
inherited LINK COPY --link src/2 /conf < RUN apt-get install curl < COPY --link src/2 /conf
changed RUN setup | argument VERSION "1" -> "2" line 6 < RUN apt-get install curl < COPY --link src/2 /conf
`},
		{name: "step put in", old: version{text: agent}, new: version{text: edit("USER agent", "RUN useradd agent\nUSER agent")},
			want: `added RUN useradd agent
inherited RUN setup < RUN useradd agent
`},
		{name: "step taken out", old: version{text: agent}, new: version{text: edit("RUN apt-get install curl\n", "")},
			want: `changed COPY --from=tools /tools /tools | input  "RUN apt-get install curl" -> "FROM ${BASE_IMAGE}" line 8
inherited LINK COPY --link src/conf /conf < COPY --from=tools /tools /tools
inherited RUN setup < COPY --from=tools /tools /tools
gone RUN apt-get install curl
`},
		{name: "user", old: version{text: agent}, new: version{text: edit("USER agent", "USER root")},
			want: "changed RUN setup | user  \"agent\" -> \"root\" line 11\n"},
		{name: "working folder", old: version{text: edit("USER agent", "WORKDIR /a")}, new: version{text: edit("USER agent", "WORKDIR /b")},
			want: `changed WORKDIR /b | instruction  "WORKDIR /a" -> "WORKDIR /b" line 11
changed RUN setup | workdir  "/a" -> "/b" line 11 < WORKDIR /b
`},
		{name: "mount", old: version{text: edit("RUN setup", "RUN --mount=type=tmpfs,target=/c setup")}, new: version{text: edit("RUN setup", "RUN --mount=type=tmpfs,target=/d setup")},
			want: "changed RUN --mount=type=tmpfs,target=/d setup | instruction  \"RUN --mount=type=tmpfs,target=/c setup\" -> \"RUN --mount=type=tmpfs,target=/d setup\" line 12\n"},
		{name: "cache of a mount", old: version{text: edit("RUN setup", "RUN --mount=type=cache,id=a,target=/c setup")}, new: version{text: edit("RUN setup", "RUN --mount=type=cache,id=b,target=/c setup")}},
		{name: "shell", old: version{text: agent}, new: version{text: edit("USER agent", "SHELL [\"/bin/bash\",\"-c\"]\nUSER agent")},
			want: "changed RUN setup | command  \"/bin/sh -c setup\" -> \"/bin/bash -c setup\" line 13\n"},
		{name: "base", old: version{text: agent, base: "one"}, new: version{text: agent, base: "two"},
			want: `changed FROM ${BASE_IMAGE} | source base "one" -> "two" line 5
inherited RUN apt-get install curl < FROM ${BASE_IMAGE}
inherited COPY --from=tools /tools /tools < FROM ${BASE_IMAGE}
inherited LINK COPY --link src/conf /conf < FROM ${BASE_IMAGE}
inherited RUN setup < FROM ${BASE_IMAGE}
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := render(delta.Compare(tt.old.side(t), tt.new.side(t)))
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
