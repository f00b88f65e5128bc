package dockerfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/rogpeppe/go-internal/txtar"
)

const linked = `ARG BASE_IMAGE
FROM docker.io/library/golang:1 AS builder
COPY src /src
RUN make /out
FROM ${BASE_IMAGE}
COPY --link --from=builder /out /agent
COPY --link conf /etc/agent
ENV PATH=/agent/bin:$PATH
USER 1000:1000
ENTRYPOINT ["/agent/run"]
`

func recipe(t testing.TB, text string, change func(*Options)) *Recipe {
	t.Helper()
	c := load(t, &txtar.Archive{Files: []txtar.File{{Name: "Dockerfile", Data: []byte(text)}}})
	if change != nil {
		change(&c.opt)
	}
	r, err := Open(c.opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func variant(t testing.TB, r *Recipe, ref, view string, image fleet.Image) *graph.Variant {
	t.Helper()
	v, err := r.Variant(context.Background(), baseOf(ref, json.RawMessage(view)), image)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSharing(t *testing.T) {
	const otherView = `{"architecture":"amd64","config":{"Env":["PATH=/bin"]},"os":"linux"}`
	plain := fleet.Image{}
	commit := func(c string) fleet.Image { return fleet.Image{Args: map[string]string{"COMMIT": c}} }
	label := func(l string) fleet.Image { return fleet.Image{Labels: map[string]string{"id": l}} }
	withArg := strings.Replace(linked, "USER", "ARG COMMIT\nLABEL commit=$COMMIT\nUSER", 1)
	unusedArg := strings.Replace(linked, "RUN make", "ARG COMMIT\nRUN make", 1)
	leaky := strings.Replace(linked, "USER", "ARG BASE_IMAGE\nLABEL base=$BASE_IMAGE\nUSER", 1)
	type in struct {
		ref, view string
		image     fleet.Image
	}
	for _, tc := range []struct {
		name   string
		text   string
		a, b   in
		same   bool
		layers bool
	}{
		{"other reference", linked, in{"r.example/a:1", defaultView, plain}, in{"r.example/b:2", defaultView, plain}, true, true},
		{"other view", linked, in{"r.example/a:1", defaultView, plain}, in{"r.example/a:1", otherView, plain}, false, true},
		{"same args", withArg, in{"r.example/a:1", defaultView, commit("x")}, in{"r.example/b:1", defaultView, commit("x")}, true, true},
		{"other args", withArg, in{"r.example/a:1", defaultView, commit("x")}, in{"r.example/b:1", defaultView, commit("y")}, false, true},
		{"args that nothing uses", linked, in{"r.example/a:1", defaultView, commit("x")}, in{"r.example/b:1", defaultView, commit("y")}, true, true},
		{"an arg in the shared stage", unusedArg, in{"r.example/a:1", defaultView, commit("x")}, in{"r.example/b:1", defaultView, commit("y")}, false, false},
		{"same labels", linked, in{"r.example/a:1", defaultView, label("x")}, in{"r.example/b:1", defaultView, label("x")}, true, true},
		{"other labels", linked, in{"r.example/a:1", defaultView, label("x")}, in{"r.example/b:1", defaultView, label("y")}, false, true},
		{"leak, other reference", leaky, in{"r.example/a:1", defaultView, plain}, in{"r.example/b:1", defaultView, plain}, false, true},
		{"leak, same reference", leaky, in{"r.example/a:1", defaultView, plain}, in{"r.example/a:1", defaultView, plain}, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := recipe(t, tc.text, nil)
			a := variant(t, r, tc.a.ref, tc.a.view, tc.a.image)
			b := variant(t, r, tc.b.ref, tc.b.view, tc.b.image)
			if (a == b) != tc.same || (a.ID == b.ID) != tc.same {
				t.Errorf("same pointer is %v, same id %v; want %v", a == b, a.ID == b.ID, tc.same)
			}
			if (a.Shared.ID == b.Shared.ID) != tc.layers {
				t.Errorf("layer sets %s and %s, want equal: %v", a.Shared.ID.Short(), b.Shared.ID.Short(), tc.layers)
			}
		})
	}
}

// TestLabelsAreCheap: labels do not cost a conversion.
func TestLabelsAreCheap(t *testing.T) {
	r := recipe(t, linked, nil)
	a := variant(t, r, "r.example/a:1", defaultView, fleet.Image{})
	b := variant(t, r, "r.example/a:1", defaultView, fleet.Image{Labels: map[string]string{"id": "x"}})
	if &a.Graph.Steps[0] != &b.Graph.Steps[0] || len(r.slots) != 1 {
		t.Errorf("two conversions (%d slots) for two sets of labels", len(r.slots))
	}
}

// TestIdentity: what may change without changing a variant's id, and what may not.
func TestIdentity(t *testing.T) {
	base := func(r *Recipe) *graph.Variant { return variant(t, r, "r.example/a:1", defaultView, fleet.Image{}) }
	want := base(recipe(t, linked, nil))
	for _, tc := range []struct {
		name    string
		text    string
		ignore  string
		change  func(*Options)
		id      bool
		digests bool
	}{
		{"nothing", linked, "", nil, true, true},
		{"a comment and a blank line", "\n# comment\n" + linked, "", nil, true, true},
		{"the name of a stage", strings.ReplaceAll(linked, "builder", "maker"), "", nil, true, true},
		{"the ignore file", linked, "*.log\n", nil, true, false},
		{"the content of the context", linked, "", func(o *Options) { o.Unique = map[string]string{"context": "other"} }, true, false},
		{"a path", strings.Replace(linked, "COPY src", "COPY lib", 1), "", nil, false, false},
		{"a command", strings.Replace(linked, "make", "make -j", 1), "", nil, false, false},
		{"the platform", linked, "", func(o *Options) {
			o.Platform, o.BuildPlatform = "linux/arm64", "linux/arm64"
		}, false, false},
		{"another image", linked, "", func(o *Options) {
			o.Images = func(ctx context.Context, ref, platform string) (graph.Digest, []byte, error) {
				return testImages(ctx, ref+"2", platform)
			}
		}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := base(recipe(t, tc.text, func(o *Options) {
				if tc.change != nil {
					tc.change(o)
				}
				if tc.ignore != "" {
					if err := os.WriteFile(filepath.Join(o.Recipe.Context, ".dockerignore"), []byte(tc.ignore), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}))
			if (got.ID == want.ID) != tc.id {
				t.Errorf("same id is %v, want %v", got.ID == want.ID, tc.id)
			}
			if (got.Shared.ID == want.Shared.ID) != tc.id {
				t.Errorf("same layer set is %v, want %v", got.Shared.ID == want.Shared.ID, tc.id)
			}
			if (cmp.Diff(got.Shared.Inputs, want.Shared.Inputs) == "") != tc.digests {
				t.Errorf("layers %v and %v, want equal: %v", got.Shared.Inputs, want.Shared.Inputs, tc.digests)
			}
		})
	}
}

// TestOnceForAll: however many ask at the same time, an image is resolved once
// and a view converted once.
func TestOnceForAll(t *testing.T) {
	var asked atomic.Int64
	r := recipe(t, linked, func(o *Options) {
		o.Images = func(ctx context.Context, ref, platform string) (graph.Digest, []byte, error) {
			asked.Add(1)
			return testImages(ctx, ref, platform)
		}
	})
	const images, views = 200, 5
	var wg sync.WaitGroup
	got := make([]*graph.Variant, images)
	for i := range images {
		wg.Go(func() {
			view := fmt.Sprintf(`{"architecture":"amd64","config":{"Env":["PATH=/v%d"]},"os":"linux"}`, i%views)
			v, err := r.Variant(context.Background(), baseOf(fmt.Sprintf("r.example/a:%d", i), json.RawMessage(view)), fleet.Image{})
			if err != nil {
				t.Error(err)
			}
			got[i] = v
		})
	}
	wg.Wait()
	distinct := map[*graph.Variant]bool{}
	for _, v := range got {
		distinct[v] = true
	}
	if len(distinct) != views || len(r.slots) != views || asked.Load() != 1 {
		t.Errorf("%d variants, %d conversions, %d resolved; want %d, %d, 1", len(distinct), len(r.slots), asked.Load(), views, views)
	}
}

// TestFailuresPass: a registry's failure keeps its kind and is not remembered;
// a problem of the recipe is.
func TestFailuresPass(t *testing.T) {
	down := true
	asked := 0
	r := recipe(t, linked, func(o *Options) {
		o.Images = func(ctx context.Context, ref, platform string) (graph.Digest, []byte, error) {
			asked++
			if down {
				return "", nil, diag.Errorf(diag.Infra, "", "resolve %s: connection refused", ref)
			}
			return testImages(ctx, ref, platform)
		}
	})
	base := baseOf("r.example/a:1", json.RawMessage(defaultView))
	if _, err := r.Variant(t.Context(), base, fleet.Image{}); diag.KindOf(err) != diag.Infra {
		t.Errorf("kind %v of %v", diag.KindOf(err), err)
	}
	down = false
	if _, err := r.Variant(t.Context(), base, fleet.Image{}); err != nil || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}

	bad := recipe(t, "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nSTOPSIGNAL NOPE\n", nil)
	_, first := bad.Variant(t.Context(), base, fleet.Image{})
	_, second := bad.Variant(t.Context(), base, fleet.Image{})
	if diag.KindOf(first) != diag.File || cmp.Diff(first, second) != "" {
		t.Errorf("%v, then %v", first, second)
	}
}

// TestCancel: who gives up gets their context's error, and the others a result.
func TestCancel(t *testing.T) {
	entered := make(chan struct{})
	leave := make(chan struct{})
	r := recipe(t, linked, func(o *Options) {
		o.Images = func(ctx context.Context, ref, platform string) (graph.Digest, []byte, error) {
			close(entered)
			<-leave
			return testImages(ctx, ref, platform)
		}
	})
	base := baseOf("r.example/a:1", json.RawMessage(defaultView))
	done := make(chan error)
	go func() {
		_, err := r.Variant(context.Background(), base, fleet.Image{})
		done <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Variant(ctx, base, fleet.Image{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOpenMissing(t *testing.T) {
	_, err := Open(Options{Recipe: fleet.Recipe{Dockerfile: filepath.Join(t.TempDir(), "none")}})
	var l diag.List
	if !errors.As(err, &l) || l[0].Code != diag.FleetNotFound {
		t.Errorf("%v", err)
	}
}

// TestSnapshot: a recipe does not change with the files it was read from.
func TestSnapshot(t *testing.T) {
	r := recipe(t, linked, nil)
	variant(t, r, "r.example/a:1", defaultView, fleet.Image{})
	if err := os.WriteFile(r.opt.Recipe.Dockerfile, []byte("FROM nonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	v := variant(t, r, "r.example/a:1", `{"architecture":"amd64","os":"linux"}`, fleet.Image{})
	if v.Shared == nil {
		t.Error("the new text was read")
	}
}

func TestPinned(t *testing.T) {
	for _, tc := range []struct{ ref, want string }{
		{"docker.io/org/app:v1", "docker.io/org/app:v1@sha256:d"},
		{"docker.io/org/app", "docker.io/org/app:latest@sha256:d"},
		{"docker.io/org/app@sha256:old", "docker.io/org/app@sha256:d"},
		{"localhost:5000/app", "localhost:5000/app:latest@sha256:d"},
		{"r.example:5000/app:v1@sha256:old", "r.example:5000/app:v1@sha256:d"},
		{"app", "docker.io/library/app:latest@sha256:d"},
		{"docker.io/app:1", "docker.io/library/app:1@sha256:d"},
		{"org/app:1", "docker.io/org/app:1@sha256:d"},
	} {
		t.Run(tc.ref, func(t *testing.T) {
			if got := pinned(tc.ref, "sha256:d"); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestLocals(t *testing.T) {
	r := recipe(t, linked, func(o *Options) {
		o.Recipe.Contexts = map[string]string{"assets": "/srv/assets", "tools": "docker-image://docker.io/org/tools:1"}
	})
	want := map[string]string{"context": r.opt.Recipe.Context, "assets": "/srv/assets"}
	if d := cmp.Diff(want, r.Locals()); d != "" {
		t.Error(d)
	}
}

// TestHistoryGuard: an image whose history does not name its layers is built.
func TestHistoryGuard(t *testing.T) {
	r := recipe(t, linked, nil)
	base := baseOf("r.example/a:1", json.RawMessage(defaultView))
	c, err := r.conversion(t.Context(), r.key(base, fleet.Image{}), base, fleet.Image{})
	if err != nil {
		t.Fatal(err)
	}
	v := *variant(t, r, "r.example/a:1", defaultView, fleet.Image{})
	v.History = v.History[1:]
	set, blockers, err := c.layers(&v)
	if err != nil || set != nil || len(blockers) != 1 || blockers[0].Code != "history-mismatch" {
		t.Errorf("%v, %v, %v", set, blockers, err)
	}
}

// FuzzOpen: whatever stands in a Dockerfile, opening and converting it answers
// or complains, and complaints are the file's.
func FuzzOpen(f *testing.F) {
	for name, file := range cases(f) {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if strings.Contains(name, "git") || strings.Contains(name, "missing") {
			continue
		}
		for _, part := range a.Files {
			if part.Name == "Dockerfile" {
				f.Add(part.Data)
			}
		}
	}
	dir := f.TempDir()
	base := baseOf("r.example/a:1", json.RawMessage(defaultView))
	var n atomic.Int64
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), "ssh://") || strings.Contains(string(text), "git@") {
			t.Skip("the front end asks SSH hosts for their keys")
		}
		file := filepath.Join(dir, fmt.Sprint(n.Add(1)))
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file)
		r, err := Open(Options{Recipe: fleet.Recipe{Dockerfile: file, Context: dir}, Images: testImages})
		if err == nil {
			var v *graph.Variant
			if v, err = r.Variant(t.Context(), base, fleet.Image{}); err == nil {
				checkGraph(t, v)
				_, _, err = r.Definition(v, base, fleet.Image{})
			}
		}
		if k := diag.KindOf(err); err != nil && k != diag.File && k != diag.Infra {
			t.Errorf("%v: %v", k, err)
		}
	})
}

func bases(images, views int) []*fact.Base {
	var vs []json.RawMessage
	for i := range views {
		vs = append(vs, json.RawMessage(fmt.Sprintf(`{"architecture":"amd64","config":{"Env":["PATH=/opt/env%d/bin:/usr/bin:/bin"],"WorkingDir":"/testbed","Labels":{"env":"%d"}},"os":"linux"}`, i, i)))
	}
	out := make([]*fact.Base, images)
	for i := range out {
		out[i] = baseOf(fmt.Sprintf("docker.io/swebench/app-%d:latest", i), vs[i%views])
	}
	return out
}

// BenchmarkVariant converts a fleet of 10,000 images over 60 views, with and
// without a label of each image's own.
func BenchmarkVariant(b *testing.B) {
	all := bases(10000, 60)
	for _, labels := range []bool{false, true} {
		b.Run(fmt.Sprintf("labels=%v", labels), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := recipe(b, linked, nil)
				for i, base := range all {
					var im fleet.Image
					if labels {
						im.Labels = map[string]string{"instance": fmt.Sprint(i)}
					}
					if _, err := r.Variant(context.Background(), base, im); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkLeak converts each of 100 images on its own.
func BenchmarkLeak(b *testing.B) {
	all := bases(100, 1)
	b.ReportAllocs()
	for b.Loop() {
		r := recipe(b, strings.Replace(linked, "USER", "ARG BASE_IMAGE\nLABEL base=$BASE_IMAGE\nUSER", 1), nil)
		for _, base := range all {
			if _, err := r.Variant(context.Background(), base, fleet.Image{}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// TestReadFile converts a recipe that is not on the disk.
func TestReadFile(t *testing.T) {
	files := map[string]string{"/src/docker/Dockerfile": linked, "/src/.dockerignore": "*.tmp\n"}
	var mu sync.Mutex
	asked := map[string]int{}
	open := func() (*Recipe, error) {
		return Open(Options{
			Recipe: fleet.Recipe{Dockerfile: "/src/docker/Dockerfile", Context: "/src"}, Name: "docker/Dockerfile@1234",
			ReadFile: func(path string) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				asked[path]++
				if text, ok := files[path]; ok {
					return []byte(text), nil
				}
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			},
			Images: func(context.Context, string, string) (graph.Digest, []byte, error) {
				return graph.Digest("sha256:" + strings.Repeat("1", 64)), []byte(`{"architecture":"amd64","os":"linux"}`), nil
			},
		})
	}
	r, err := open()
	if err != nil {
		t.Fatal(err)
	}
	v := variant(t, r, "r.example/a:1", defaultView, fleet.Image{})
	if !strings.Contains(string(v.Definition), "*.tmp") {
		t.Error("the ignore file does not count")
	}
	want := map[string]int{"/src/docker/Dockerfile": 1, "/src/docker/Dockerfile.dockerignore": 1, "/src/.dockerignore": 1}
	if d := cmp.Diff(want, asked); d != "" {
		t.Error(d)
	}
	for _, s := range v.Graph.Steps {
		if s.Pos.Line > 0 && s.Pos.File != "docker/Dockerfile@1234" || s.Pos.Line == 0 && s.Kind != graph.KindLocal {
			t.Errorf("%s is at %s", s.Name, s.Pos)
		}
	}
	files["/src/docker/Dockerfile"] = "FROM\n"
	if _, err := open(); err == nil || !strings.HasPrefix(err.Error(), "docker/Dockerfile@1234:1:1: ") {
		t.Errorf("%v", err)
	}
	delete(files, "/src/docker/Dockerfile")
	if _, err := open(); err == nil || !strings.HasPrefix(err.Error(), "docker/Dockerfile@1234: the Dockerfile cannot be read: file does not exist") {
		t.Errorf("%v", err)
	}
}

// TestBaseFrom holds that the way in which a base is given changes nothing of an
// image: not its steps, not its config, not what is submitted.
func TestBaseFrom(t *testing.T) {
	const rest = "\nCOPY --link a /a\nENV PATH=/a:$PATH\nRUN make\nONBUILD RUN x\n"
	convert := func(t *testing.T, dockerfile string, recipe fleet.Recipe, image fleet.Image) (*graph.Variant, string) {
		t.Helper()
		dir := t.TempDir()
		for name, text := range map[string]string{"Dockerfile": dockerfile, "a": "a"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		recipe.Dockerfile, recipe.Context = filepath.Join(dir, "Dockerfile"), dir
		r, err := Open(Options{Recipe: recipe, Unique: unique, Images: testImages})
		if err != nil {
			t.Fatal(err)
		}
		base := baseOf("registry.example.com/python:3", json.RawMessage(defaultView))
		v, err := r.Variant(t.Context(), base, image)
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := r.Definition(v, base, image)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parseProgram(data)
		if err != nil {
			t.Fatal(err)
		}
		return v, p.ops[len(p.ops)-1].digest
	}
	want, submitted := convert(t, "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}"+rest, fleet.Recipe{}, fleet.Image{})
	for name, c := range map[string]struct {
		dockerfile, from string
		args             map[string]string
	}{
		"context": {"# one more line\nFROM base", "base", nil},
		"part":    {"ARG V\nFROM registry.example.com/python:${V}", "registry.example.com/python:${V}", map[string]string{"V": "3"}},
		"stage":   {"FROM alpine AS base\nFROM base", "base", nil},
	} {
		got, as := convert(t, c.dockerfile+rest, fleet.Recipe{BaseFrom: c.from}, fleet.Image{Args: c.args})
		if got.ID != want.ID || as != submitted {
			t.Errorf("%s: another image, %s and %s, than with an argument, %s and %s\n%s\n%s", name, got.ID, as, want.ID, submitted, got.Config, want.Config)
		}
	}
}
