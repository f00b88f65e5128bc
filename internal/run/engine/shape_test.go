//go:build linux

package engine_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// kind is a recipe that every shape is tried with, what it plans, and for how
// many images.
type kind struct {
	recipe string
	action plan.Action
	n      int
}

func kinds() []kind { return []kind{{"linked", plan.Append, 5}, {"mixed", plan.Build, 3}} }

// TestShapes makes fleets of every shape, cold and warm: every tag is there, has
// the content of the others of its image, and the plan knew the requests.
func TestShapes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		shape func(f *fleet.Fleet, host string)
		// extra is the number of further tags of each image.
		extra int
	}{
		{name: "one repository", shape: func(*fleet.Fleet, string) {}},
		{name: "a repository for each image", shape: func(f *fleet.Fleet, host string) {
			for i := range f.Images {
				f.Images[i].Tags = []string{fmt.Sprintf("%s/each/%s:latest", host, strings.ToLower(f.Images[i].ID))}
			}
		}},
		{name: "two tags", shape: func(f *fleet.Fleet, host string) {
			for i := range f.Images {
				f.Images[i].Tags = append(f.Images[i].Tags, f.Images[i].Tags[0]+"-second")
			}
		}},
		{name: "tags in two repositories", shape: func(f *fleet.Fleet, host string) {
			for i := range f.Images {
				f.Images[i].Tags = append(f.Images[i].Tags, fmt.Sprintf("%s/more/images:%s", host, strings.ToLower(f.Images[i].ID)))
			}
		}},
		{name: "key tags", shape: func(f *fleet.Fleet, host string) { f.Output.KeyTag = true }, extra: 1},
		{name: "namespace in the path", shape: func(f *fleet.Fleet, host string) { *f = f.InNamespace("trial", fleet.NamespacePath) }},
		{name: "namespace in the tag", shape: func(f *fleet.Fleet, host string) { *f = f.InNamespace("trial", fleet.NamespaceTag) }},
		{name: "docker media types", shape: func(f *fleet.Fleet, host string) { f.Output.MediaTypes = "docker" }},
	}
	for _, kind := range kinds() {
		for _, tt := range tests {
			t.Run(tt.name+" "+kind.recipe, func(t *testing.T) {
				t.Parallel()
				n := kind.n
				s := newSite(t, n)
				f := s.fleet(s.recipe(kind.recipe), "shape")
				tt.shape(f, s.host)
				c := command{fleet: f, state: t.TempDir()}
				cold := s.build(t.Context(), c)
				cold.done(t, map[plan.Action]int{kind.action: n})
				cold.predicted(t, s.host)
				tags := s.check(t, f)
				if want := tags + n*tt.extra; s.stored(f) != want {
					t.Errorf("%d tags were stored, not %d", s.stored(f), want)
				}
				// On another machine, without state.
				warm := s.build(t.Context(), command{fleet: f, state: t.TempDir()})
				warm.done(t, map[plan.Action]int{plan.Skip: n})
				warm.predicted(t, s.host)
				if warm.daemons != 0 || warm.requests["PUT manifest"] != 0 || warm.requests["POST upload"] != 0 {
					t.Errorf("warm: %d daemons, requests %v", warm.daemons, warm.requests)
				}
			})
		}
	}
}

// check compares the tags of each image with each other and with its plan, and
// returns their number.
func (s *site) check(t *testing.T, f *fleet.Fleet) (tags int) {
	t.Helper()
	for _, im := range f.Images {
		first := s.digest(t, im.Tags[0])
		for _, tag := range im.Tags {
			tags++
			if got := s.digest(t, tag); got == "" || got != first {
				t.Errorf("%s: digest %q, of its first tag %q", tag, got, first)
			}
			if !s.whole(t, tag) {
				t.Errorf("%s: its blobs are not all there", tag)
			}
		}
		s.onlyOne(t, pathOf(im.Tags[0]))
	}
	return tags
}

// whole tells whether a repository has every blob of an image, and whether the
// image names its key.
func (s *site) whole(t *testing.T, ref string) bool {
	t.Helper()
	repo, tag := publish.Split(ref)
	at := "http://" + s.host + "/v2/" + strings.TrimPrefix(repo, s.host+"/")
	var m struct {
		Config      fact.Descriptor
		Layers      []fact.Descriptor
		Annotations map[string]string
	}
	if !s.get(t, at+"/manifests/"+tag, &m) {
		return false
	}
	for _, l := range append(m.Layers, m.Config) {
		a, err := http.Head(at + "/blobs/" + string(l.Digest))
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != http.StatusOK {
			return false
		}
	}
	var c struct {
		Config struct{ Labels map[string]string }
	}
	return s.get(t, at+"/blobs/"+string(m.Config.Digest), &c) && (m.Annotations[fact.KeyAnnotation] != "" || c.Config.Labels[fact.KeyAnnotation] != "")
}

func (s *site) get(t *testing.T, url string, v any) bool {
	t.Helper()
	q, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	return a.StatusCode == http.StatusOK && json.NewDecoder(a.Body).Decode(v) == nil
}

// stored is the number of tags that were stored in a fleet's repositories.
func (s *site) stored(f *fleet.Fleet) (n int) {
	seen := map[string]bool{}
	for _, im := range f.Images {
		for _, tag := range im.Tags {
			if repo := pathOf(tag); !seen[repo] {
				seen[repo] = true
				for _, ref := range s.tagsOf(repo) {
					if !strings.Contains(ref, ":") {
						n++
					}
				}
			}
		}
	}
	return n
}

// TestKeyTagsWithoutState publishes equal content under other tags from a machine
// without state: the key tag tells where it is.
func TestKeyTagsWithoutState(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds() {
		t.Run(kind.recipe, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 3)
			f := s.fleet(s.recipe(kind.recipe), "keyed")
			f.Output.KeyTag = true
			first := s.build(t.Context(), command{fleet: f, state: t.TempDir()})
			first.done(t, map[plan.Action]int{kind.action: 3})
			next := *f
			next.Images = slices.Clone(f.Images)
			for i := range next.Images {
				next.Images[i].Tags = []string{f.Images[i].Tags[0] + "-next"}
			}
			moved := s.build(t.Context(), command{fleet: &next, state: t.TempDir()})
			moved.done(t, map[plan.Action]int{plan.Retag: 3})
			moved.predicted(t, s.host)
			if moved.daemons != 0 || moved.requests["POST upload"]+moved.requests["POST mount"] != 0 || moved.requests["PUT manifest"] != 3 {
				t.Errorf("%d daemons, requests %v", moved.daemons, moved.requests)
			}
			for i := range f.Images {
				if a, b := s.digest(t, f.Images[i].Tags[0]), s.digest(t, next.Images[i].Tags[0]); a != b {
					t.Errorf("%s: digest %s, before %s", next.Images[i].Tags[0], b, a)
				}
			}
		})
	}
}

// TestPartOfTheTags has an image with two tags of which one is there.
func TestPartOfTheTags(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	f := s.fleet(s.recipe("linked"), "part")
	s.build(t.Context(), command{fleet: f, state: t.TempDir()}).done(t, map[plan.Action]int{plan.Append: 3})
	for i := range f.Images {
		f.Images[i].Tags = append(f.Images[i].Tags, f.Images[i].Tags[0]+"-second")
	}
	o := s.build(t.Context(), command{fleet: f, state: t.TempDir()})
	o.done(t, map[plan.Action]int{plan.Retag: 3})
	o.predicted(t, s.host)
	if o.requests["PUT manifest"] != 3 {
		t.Errorf("requests %v", o.requests)
	}
	s.check(t, f)
}

// TestAnotherRegistry has the bases in one registry and the images in another:
// each blob leaves the first one once.
func TestAnotherRegistry(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds() {
		for _, each := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s a repository each %t", kind.recipe, each), func(t *testing.T) {
				t.Parallel()
				n := kind.n
				from, to := newSite(t, n), newSite(t, 0)
				f := from.fleet(from.recipe(kind.recipe), "moved")
				var distinct []string
				for i := range f.Images {
					id := strings.ToLower(f.Images[i].ID)
					f.Images[i].Tags = []string{to.host + "/moved:" + id}
					if each {
						f.Images[i].Tags = []string{to.host + "/moved/" + id + ":latest"}
					}
					distinct = append(distinct, from.bases[i].Layers...)
				}
				slices.Sort(distinct)
				distinct = slices.Compact(distinct)
				var size int64
				for _, d := range distinct {
					size += from.blobSize(t, d)
				}
				pulls := from.trouble()
				counted := to.counting()
				o := from.build(t.Context(), command{fleet: f, state: t.TempDir()})
				o.done(t, map[plan.Action]int{kind.action: n})
				atTarget := counted()
				to.check(t, f)
				if o.plan.BytesToCopy != size {
					t.Errorf("the plan copies %d bytes; the %d distinct layers have %d", o.plan.BytesToCopy, len(distinct), size)
				}
				if kind.action == plan.Append && *o.sum.BytesPushed < size {
					t.Errorf("%d bytes were pushed, less than the %d that had to be", *o.sum.BytesPushed, size)
				}
				want := map[string]int{}
				for _, d := range distinct {
					want[d] = 1
				}
				if kind.action == plan.Append {
					// The daemon runs the builder's step on it, and it is copied too.
					want[from.bases[0].Layers[0]]++
				}
				if diff := cmp.Diff(want, pulled(pulls, distinct)); diff != "" {
					t.Errorf("layers by how often they left the first registry (-want +got):\n%s", diff)
				}
				o.predicted(t, from.host)
				o.requests = atTarget
				o.predicted(t, to.host)
				again := from.build(t.Context(), command{fleet: f, state: t.TempDir()})
				again.done(t, map[plan.Action]int{plan.Skip: n})
			})
		}
	}
}

// pulled counts how often blobs were fetched whole.
func pulled(p *testfleet.FaultProxy, digests []string) map[string]int {
	out := map[string]int{}
	for _, r := range p.Records() {
		_, d, ok := strings.Cut(r.Path, "/blobs/")
		if ok && r.Method == http.MethodGet && r.Status == http.StatusOK && slices.Contains(digests, d) {
			out[d]++
		}
	}
	return out
}

// blobSize is the size of a layer of one of the bases.
func (s *site) blobSize(t *testing.T, digest string) int64 {
	t.Helper()
	for _, b := range s.bases {
		if slices.Contains(b.Layers, digest) {
			a, err := http.Head("http://" + s.host + "/v2/" + pathOf(b.Ref) + "/blobs/" + digest)
			if err != nil {
				t.Fatal(err)
			}
			a.Body.Close()
			return a.ContentLength
		}
	}
	t.Fatalf("no base has %s", digest)
	return 0
}
