package dockerfile

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil"
)

// daemonCase is a recipe that is given to a real daemon in both ways.
type daemonCase struct {
	name, text string
	files      map[string]string
}

var daemonCases = []daemonCase{
	{"link twice, heredoc, workdir", `ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ARG BASE_IMAGE
WORKDIR /srv
COPY --link a.txt sub/*.md /x/
COPY --link a.txt sub/*.md /x/
COPY --link --chown=5:6 --exclude=*.md sub /sub
COPY <<EOF /etc/motd
hello
EOF
RUN echo "$BASE_IMAGE" > /from
`, map[string]string{"a.txt": "a\n", "sub/b.md": "b\n", "sub/c.txt": "c\n", ".dockerignore": "*.log\n", "x.log": "no\n"}},
	{"shared layers, one of them twice", `ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY --link a.txt /x/
COPY --link b.txt /y/
COPY --link a.txt /x/
`, map[string]string{"a.txt": "a\n", "b.txt": "b\n"}},
	{"mounts and stages", `# mounts
ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS tools
RUN mkdir /out && echo built > /out/file
FROM tools AS mid
RUN --mount=type=bind,source=sub,target=/src --mount=type=cache,target=/c --mount=type=secret,id=none --mount=type=tmpfs,target=/t cp /src/b.md /out/
FROM ${BASE_IMAGE}
COPY --link --from=mid /out /out
COPY --parents sub/./b.md /y/
`, map[string]string{"sub/b.md": "b\n"}},
}

// TestDaemon gives recipes to a real daemon's front end and compares the
// operations that it reports with ours; then it submits ours, and everything
// must be in the cache.
func TestDaemon(t *testing.T) {
	d := workertest.New(t, worker.Options{})
	base, resolve := daemonBase(t)
	c, err := bkclient.New(t.Context(), d.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, tc := range daemonCases {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tc.files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(t.TempDir(), "Dockerfile")
			if err := os.WriteFile(file, []byte(tc.text), 0o644); err != nil {
				t.Fatal(err)
			}
			compareWithDaemon(t, c, base, Options{Recipe: fleet.Recipe{Dockerfile: file, Context: dir}, Unique: map[string]string{"context": "sha256:x"}, Images: resolve})
		})
	}
}

// daemonBase pushes a base to a registry of the test's own.
func daemonBase(t *testing.T) (*fact.Base, func(context.Context, string, string) (graph.Digest, []byte, error)) {
	t.Helper()
	reg, err := localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Stop(context.Background()) })
	set, err := testfleet.Bases(t.Context(), testfleet.Options{Host: reg.Host(), N: 1, Scale: 0.01, Envs: true, Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	store, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	base, err := store.Resolve(t.Context(), set.Images[0].Ref, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	return base, func(ctx context.Context, ref, platform string) (graph.Digest, []byte, error) {
		return store.Config(ctx, ref, "linux/amd64")
	}
}

func compareWithDaemon(t *testing.T, c *bkclient.Client, base *fact.Base, opt Options) {
	t.Helper()
	r, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.Variant(t.Context(), base, fleet.Image{})
	if err != nil {
		t.Fatal(err)
	}
	def, steps, err := r.Definition(v, base, fleet.Image{})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := parseProgram(def)
	if err != nil {
		t.Fatal(err)
	}

	s := daemonSession(t, c, opt.Recipe)
	theirs := solve(t, c, nil, bkclient.SolveOpt{
		SharedSession: s, SessionPreInitialized: true, Frontend: "dockerfile.v0",
		FrontendAttrs: map[string]string{"build-arg:BASE_IMAGE": base.Ref, "platform": "linux/amd64", "filename": "Dockerfile"},
	})
	// The front end of the daemon ties a context to the session that sends it.
	tied, _, err := ours.rewrite(func(o *pb.Op) bool {
		if _, ok := localName(o); !ok {
			return false
		}
		src := o.GetSource()
		src.Attrs = maps.Clone(src.Attrs)
		delete(src.Attrs, pb.AttrLocalUniqueID)
		src.Attrs[pb.AttrLocalSessionID] = s.ID()
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range tied.steps() {
		if theirs[o.digest] == nil {
			t.Errorf("the daemon did not run %s (%s)", tied.name(o.digest), o.digest)
		}
	}

	dir, err := fsutil.NewFS(opt.Recipe.Context)
	if err != nil {
		t.Fatal(err)
	}
	graphs := bkclient.SolveOpt{SharedSession: s, SessionPreInitialized: true, LocalMounts: map[string]fsutil.FS{"context": dir}}
	again := solve(t, c, ours, graphs)
	for _, o := range ours.steps() {
		vx := again[o.digest]
		if vx == nil {
			t.Errorf("no record of %s", ours.name(o.digest))
			continue
		}
		if _, ok := steps[graph.Digest(o.digest)]; !ok {
			t.Errorf("%s leads to no step", vx.Name)
		}
		if o.op.GetExec() != nil && !vx.Cached {
			t.Errorf("%s ran again", vx.Name)
		}
	}
	if v.Shared != nil {
		p, err := parseProgram(v.Shared.Definition)
		if err != nil {
			t.Fatal(err)
		}
		solve(t, c, p, graphs)
	}
}

func daemonSession(t *testing.T, c *bkclient.Client, recipe fleet.Recipe) *session.Session {
	t.Helper()
	s, err := session.NewSession(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	dirs := filesync.StaticDirSource{}
	for name, at := range map[string]string{"context": recipe.Context, "dockerfile": filepath.Dir(recipe.Dockerfile)} {
		if dirs[name], err = fsutil.NewFS(at); err != nil {
			t.Fatal(err)
		}
	}
	s.Allow(filesync.NewFSSyncProvider(dirs))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx, c.Dialer())
	}()
	t.Cleanup(func() {
		s.Close()
		cancel()
		<-done
	})
	return s
}

// solve returns the vertices that the daemon reported.
func solve(t *testing.T, c *bkclient.Client, p *program, opt bkclient.SolveOpt) map[string]*bkclient.Vertex {
	t.Helper()
	var def *llb.Definition
	if p != nil {
		data, err := p.marshal()
		if err != nil {
			t.Fatal(err)
		}
		var m pb.Definition
		if err := m.Unmarshal(data); err != nil {
			t.Fatal(err)
		}
		def = &llb.Definition{}
		def.FromPB(&m)
	}
	ch := make(chan *bkclient.SolveStatus)
	seen := map[string]*bkclient.Vertex{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for st := range ch {
			for _, v := range st.Vertexes {
				seen[v.Digest.String()] = v
			}
		}
	})
	_, err := c.Solve(t.Context(), def, opt, ch)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return seen
}
