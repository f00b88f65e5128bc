package layout_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	ggcr "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/adapt/layout"
	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry/storetest"
	"github.com/lapstrake/lapstrake/internal/decide/limit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/model/traffic"
)

// counted is a layout that is served, with the requests to it.
type counted struct {
	http.Handler
	mu     sync.Mutex
	counts map[string]int64
}

func (c *counted) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	c.mu.Lock()
	c.counts[q.Method+" "+localregistry.KindOf(q)]++
	c.mu.Unlock()
	c.Handler.ServeHTTP(w, q)
}

func (c *counted) requests() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

// locked opens a layout that can be written to.
func locked(t *testing.T, dir string) *layout.Layout {
	t.Helper()
	l, err := layout.Open(dir)
	if err == nil {
		err = l.Lock()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// client makes a store that lets go of its connections with the test.
func client(t *testing.T, o registry.Options) *registry.Store {
	t.Helper()
	o.Limits = func(_ string, n int) traffic.Policy {
		return limit.New(limit.Options{Concurrency: n, Random: rand.Float64})
	}
	s, err := registry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// serve starts an HTTP server and returns its host.
func serve(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.World {
		servers := map[string]*counted{}
		var hosts []string
		for range 2 {
			c := &counted{Handler: locked(t, t.TempDir()).Handler("registry.test"), counts: map[string]int64{}}
			host := serve(t, c)
			servers[host] = c
			hosts = append(hosts, host)
		}
		return storetest.World{
			Host: hosts[0], Other: hosts[1],
			New:      func(t *testing.T, facts string) storetest.Store { return client(t, registry.Options{Facts: facts}) },
			Requests: func(host string) map[string]int64 { return servers[host].requests() },
		}
	})
}

// world is a layout that takes the place of registry.test and other.test.
type world struct {
	*testing.T
	dir    string
	layout *layout.Layout
	store  *registry.Store
}

const host, other = "registry.test", "other.test:5000"

func newWorld(t *testing.T, dir string) world {
	t.Helper()
	l := locked(t, dir)
	s, err := layout.Serve(l, []string{host, other})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	outputs := map[string]registry.Output{}
	for _, h := range []string{host, other} {
		outputs[h] = registry.Output{Addr: s.Addr(h), Username: layout.User, Password: s.Password()}
	}
	return world{t, dir, l, client(t, registry.Options{Outputs: outputs})}
}

// publish sends an image under a tag, or by digest.
func (w world) publish(repo, tag string, im storetest.Image) {
	w.Helper()
	storetest.Apply(w.T, w.store, im.Ops(repo, tag)...)
}

// index is what index.json holds: names and digests.
func index(t *testing.T, dir string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, specs.ImageIndexFile))
	if err != nil {
		t.Fatal(err)
	}
	var x specs.Index
	if err := json.Unmarshal(data, &x); err != nil || x.SchemaVersion != 2 || x.MediaType != specs.MediaTypeImageIndex {
		t.Fatalf("index.json: %v\n%s", err, data)
	}
	out := map[string]string{}
	for _, m := range x.Manifests {
		name := m.Annotations["io.containerd.image.name"]
		if ref := m.Annotations[specs.AnnotationRefName]; ref != strings.ReplaceAll(name, "__", "--") {
			t.Errorf("%s is called %s", name, ref)
		}
		if name == "" {
			name = m.Annotations["dev.lapstrake.repository"] + "@" + m.Digest.Encoded()[:4]
		}
		out[name] = string(m.Digest)
	}
	return out
}

// blobs are the names of all files with content.
func blobs(t *testing.T, dir string) (out []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		out = append(out, filepath.Base(filepath.Dir(f))+":"+filepath.Base(f))
	}
	return out
}

// TestOtherReaders has another reader of layouts read every image and check every
// digest.
func TestOtherReaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, filepath.Join(t.TempDir(), "new", "layout"))
	want := map[string]string{}
	for i, name := range []string{host + "/a/b:one", host + "/a/b:two__2.0", other + "/a/b:one"} {
		im := storetest.NewImage(fmt.Sprint(i), 2, i == 1, "v1:key")
		repo, tag, _ := cut(name)
		w.publish(repo, tag, im)
		want[name] = string(im.Digest)
	}
	if d := cmp.Diff(want, index(t, w.dir)); d != "" {
		t.Errorf("index (-want +got):\n%s", d)
	}
	root, err := ggcr.ImageIndexFromPath(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(root, validate.Fast); err != nil {
		t.Error(err)
	}
	m, err := root.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		im, err := root.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := im.Layers()
		if err != nil || len(layers) != 2 {
			t.Fatalf("%d layers, error %v", len(layers), err)
		}
		for _, l := range layers {
			r, err := l.Compressed()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if want, _ := l.Digest(); err != nil || want.String() != string(storetest.Sum(data)) {
				t.Errorf("layer %s, error %v", want, err)
			}
		}
	}
	if requests := w.store.Totals().Hosts; len(requests) > 0 {
		t.Errorf("requests to registries: %v", requests)
	}
}

// cut is a reference's repository and tag.
func cut(ref string) (repo, tag string, ok bool) {
	i := strings.LastIndexByte(ref, ':')
	return ref[:i], ref[i+1:], true
}

// TestBasesAreElsewhere has a base in a registry whose place the output takes.
func TestBasesAreElsewhere(t *testing.T) {
	t.Parallel()
	r, err := localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Stop(context.Background()) })
	base := storetest.NewImage("base", 1, false, "")
	repo := r.Host() + "/repo"
	storetest.Apply(t, client(t, registry.Options{}), base.Ops(repo, "base")...)

	l := locked(t, t.TempDir())
	s, err := layout.Serve(l, []string{r.Host()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	store := client(t, registry.Options{Outputs: map[string]registry.Output{r.Host(): {Addr: s.Addr(r.Host()), Username: layout.User, Password: s.Password()}}})
	if b, err := store.Resolve(t.Context(), repo+":base", "linux/amd64"); err != nil || b.Digest != base.Digest {
		t.Fatalf("base %v, error %v", b, err)
	}
	if tag, err := store.Stat(t.Context(), repo+":base"); err != nil || tag.Exists {
		t.Errorf("the output has the base: %v, error %v", tag, err)
	}
	out := storetest.Apply(t, store, storetest.Bring(plan.OpCopy, repo, repo, base.Layers[0]))
	if n := int64(len(base.Layers[0])); out[0] != (plan.Outcome{Did: plan.OpCopy, Pulled: n, Pushed: n}) {
		t.Errorf("the copy: %+v", out[0])
	}
	if at, plain := store.Pusher(repo); at != s.Addr(r.Host())+"/repo" || !plain {
		t.Errorf("a daemon pushes to %s, %t", at, plain)
	}
	if at, plain := store.Pusher("elsewhere.test/repo"); at != "elsewhere.test/repo" || plain {
		t.Errorf("a daemon pushes to %s, %t", at, plain)
	}
}

// TestPassword holds that nobody else on the machine gets at the layout.
func TestPassword(t *testing.T) {
	t.Parallel()
	s, err := layout.Serve(locked(t, t.TempDir()), []string{host})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, user := range []string{"", layout.User, "other"} {
		for _, method := range []string{"GET", "PUT"} {
			q, _ := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addr(host)+"/v2/a/manifests/x", strings.NewReader("{}"))
			if user != "" {
				q.SetBasicAuth(user, "guess")
			}
			a, err := http.DefaultClient.Do(q)
			if err != nil {
				t.Fatal(err)
			}
			a.Body.Close()
			if a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s as %q: %s", method, user, a.Status)
			}
		}
	}
}

// TestNamesOfOthers keeps what another program put into the layout.
func TestNamesOfOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, dir)
	w.publish(host+"/a", "x", storetest.NewImage("a", 1, false, ""))
	w.layout.Close()
	text, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	foreign := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + string(storetest.Sum([]byte("not here"))) +
		`","size":3,"platform":{"os":"linux","architecture":"amd64"},"annotations":{"org.opencontainers.image.ref.name":"latest"},"artifactType":"a/b"}`
	text = bytes.Replace(text, []byte(`"manifests":[`), []byte(`"annotations":{"who":"me"},"manifests":[`+foreign+`,`), 1)
	if err := os.WriteFile(filepath.Join(dir, "index.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	w = newWorld(t, dir)
	w.publish(host+"/a", "y", storetest.NewImage("b", 1, false, ""))
	if _, err := w.layout.Sweep(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{foreign, `"annotations":{"who":"me"}`, host + "/a:x", host + "/a:y"} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("the index lost %s:\n%s", want, got)
		}
	}
}

// TestSweep holds what is kept and what goes when a tag moves on.
func TestSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, dir)
	repo := host + "/a"
	old, now, kept := storetest.NewImage("old", 2, false, ""), storetest.NewImage("now", 2, false, ""), storetest.NewImage("kept", 1, false, "")
	w.publish(repo, "moves", old)
	w.publish(repo, "stays", kept)
	w.publish(repo, "moves", now)
	sets := storetest.NewImage("now", 1, false, "set") // its layer is one of an image
	w.publish(repo, "", sets)
	w.publish(repo, "", storetest.NewImage("gone", 1, false, "")) // its layer is of no image
	if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", strings.Repeat("0", 64)), []byte("left by a process that was killed"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := size(t, dir)
	removed, err := w.layout.Sweep()
	if err != nil {
		t.Fatal(err)
	}
	if got := before - size(t, dir); got != removed || removed == 0 {
		t.Errorf("%d bytes removed, %d said", got, removed)
	}
	want := map[string]bool{}
	for _, im := range []storetest.Image{now, kept, sets} {
		for _, data := range append(im.Layers, im.Config, im.Manifest) {
			want[string(storetest.Sum(data))] = true
		}
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(want)), blobs(t, dir)); d != "" {
		t.Errorf("blobs (-want +got):\n%s", d)
	}
	for ref, there := range map[string]bool{"@" + string(old.Digest): false, "@" + string(now.Digest): true, "@" + string(sets.Digest): true, ":moves": true, ":stays": true} {
		if tag, err := w.store.Stat(t.Context(), repo+ref); err != nil || tag.Exists != there {
			t.Errorf("%s: %v, error %v", ref, tag, err)
		}
	}
	if err := w.store.Delete(t.Context(), repo, kept.Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := w.layout.Sweep(); err != nil {
		t.Fatal(err)
	}
	if tags, err := w.store.Tags(t.Context(), repo); err != nil || !maps.Equal(tags, map[string]bool{"moves": true}) {
		t.Errorf("tags %v, error %v", tags, err)
	}
	if n := len(blobs(t, dir)); n != len(want)-3 {
		t.Errorf("%d blobs are left of %d", n, len(want))
	}
}

func size(t *testing.T, dir string) (sum int64) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		sum += st.Size()
	}
	return sum
}

// TestSweepLeavesTheUnknown removes nothing where it cannot tell what is used.
func TestSweepLeavesTheUnknown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, dir)
	w.publish(host+"/a", "x", storetest.NewImage("a", 1, false, ""))
	w.layout.Close()
	text, _ := os.ReadFile(filepath.Join(dir, "index.json"))
	text = bytes.Replace(text, []byte(`"manifests":[`), []byte(`"manifests":[{"mediaType":"application/vnd.new.thing","digest":"`+string(storetest.Sum([]byte("x")))+`","size":1},`), 1)
	if err := os.WriteFile(filepath.Join(dir, "index.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	loose := filepath.Join(dir, "blobs", "sha256", strings.Repeat("0", 64))
	if err := os.WriteFile(loose, []byte("named by the thing, for all we know"), 0o644); err != nil {
		t.Fatal(err)
	}
	if n, err := locked(t, dir).Sweep(); n != 0 || err != nil {
		t.Errorf("%d bytes removed, error %v", n, err)
	}
	if _, err := os.Stat(loose); err != nil {
		t.Error(err)
	}
}

// TestOpenRefuses holds what is no layout.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		return filepath.Dir(path)
	}
	mark := `{"imageLayoutVersion":"1.0.0"}`
	for name, tt := range map[string]struct{ dir, text string }{
		"a folder of something else": {write("other/file", "x"), "not empty"},
		"a file":                     {filepath.Join(write("other/file", "x"), "file"), "not a folder"},
		"a version to come":          {write("future/oci-layout", `{"imageLayoutVersion":"2.0.0"}`), "not a layout of a version"},
		"an index that is no JSON":   {write("torn/index.json", "{"), "index.json"},
		"an element that is none":    {write("odd/index.json", `{"manifests":[1]}`), "index.json"},
	} {
		if strings.HasSuffix(tt.text, ".json") {
			write(filepath.Base(tt.dir)+"/oci-layout", mark)
		}
		_, err := layout.Open(tt.dir)
		if err == nil || diag.KindOf(err) != diag.File || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for _, missing := range []string{filepath.Join(dir, "new"), write("empty/oci-layout", mark)} {
		if _, err := layout.Open(missing); err != nil {
			t.Errorf("%s: %v", missing, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("to read a layout made it")
	}
}

// TestOneWriter holds that two runs do not write to one layout, and that one that
// only reads does not write.
func TestOneWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := locked(t, dir)
	second, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Lock(); err == nil || diag.KindOf(err) != diag.Infra {
		t.Errorf("locked twice: %v", err)
	}
	c := client(t, registry.Options{})
	at := serve(t, second.Handler(host))
	_, err = c.Apply(t.Context(), storetest.Upload(at+"/a", storetest.OCILayer, []byte("x")))
	if err == nil || !strings.Contains(err.Error(), "only read") {
		t.Errorf("written without the lock: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".upload-left"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := second.Lock(); err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("half done and still there: %v", left)
	}
	storetest.Apply(t, c, storetest.Upload(at+"/a", storetest.OCILayer, []byte("x")))
}

// TestEveryAnswerIsOnTheDisk publishes many tags at once and, whenever one was
// accepted, reads the layout as another process would.
func TestEveryAnswerIsOnTheDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, dir)
	im := storetest.NewImage("one", 1, false, "")
	w.publish(host+"/a", "first", im)
	ops := im.Ops(host+"/a", "")
	put := ops[len(ops)-1]
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for k := range 12 {
				op := put
				op.Tag = fmt.Sprintf("t%d-%d", i, k)
				if _, err := w.store.Apply(t.Context(), op); err != nil {
					t.Error(err)
					return
				}
				data, err := os.ReadFile(filepath.Join(dir, "index.json"))
				if err != nil || !json.Valid(data) || !bytes.Contains(data, []byte(`"`+host+"/a:"+op.Tag+`"`)) {
					t.Errorf("%s was accepted and is not in the index (error %v)", op.Tag, err)
				}
			}
		})
	}
	wg.Wait()
	if got := index(t, dir); len(got) != 16*12+1 {
		t.Errorf("%d names", len(got))
	}
}

// TestChunks uploads in pieces, which this program's client does not do.
func TestChunks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := serve(t, locked(t, dir).Handler(host))
	send := func(method, url, body string, header ...string) *http.Response {
		q, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			q.Header.Set(header[i], header[i+1])
		}
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		return a
	}
	digest := string(storetest.Sum([]byte("one two three")))
	begin := func() string {
		a := send("POST", "http://"+at+"/v2/a/blobs/uploads/", "")
		if a.StatusCode != http.StatusAccepted {
			t.Fatalf("begin: %s", a.Status)
		}
		return "http://" + at + a.Header.Get("Location")
	}
	session := begin()
	for _, tt := range []struct {
		body, span string
		status     int
	}{
		{"one ", "0-3", http.StatusAccepted},
		{"three", "9-13", http.StatusRequestedRangeNotSatisfiable},
		{"two ", "", http.StatusAccepted},
	} {
		var header []string
		if tt.span != "" {
			header = []string{"Content-Range", tt.span}
		}
		if a := send("PATCH", session, tt.body, header...); a.StatusCode != tt.status {
			t.Errorf("%s at %s: %s", tt.body, tt.span, a.Status)
		}
	}
	if a := send("PUT", session+"?digest="+digest, "three"); a.StatusCode != http.StatusCreated {
		t.Errorf("finish: %s", a.Status)
	}
	if a := send("PUT", session+"?digest="+digest, ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("finish again: %s", a.Status)
	}
	if a := send("PUT", begin()+"?digest="+digest, "something else"); a.StatusCode != http.StatusBadRequest {
		t.Errorf("what has another digest: %s", a.Status)
	}
	if d := cmp.Diff([]string{digest}, blobs(t, dir)); d != "" {
		t.Errorf("blobs (-want +got):\n%s", d)
	}
	if a := send("GET", "http://"+at+"/v2/a/blobs/"+digest, "", "Range", "bytes=4-6"); a.StatusCode != http.StatusPartialContent || a.ContentLength != 3 {
		t.Errorf("a range: %s, %d bytes", a.Status, a.ContentLength)
	}
	for path, status := range map[string]int{"/": 404, "/v2/a/blobs/uploads/../../x": 404, "/v2/a/blobs/sha256:zz": 400, "/v2/a/manifests/x": 404} {
		if a := send("GET", "http://"+at+path, ""); a.StatusCode != status {
			t.Errorf("%s: %s, want %d", path, a.Status, status)
		}
	}
	if a := send("DELETE", "http://"+at+"/v2/a/blobs/"+digest, ""); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("delete a blob: %s", a.Status)
	}
}

// TestLikeAMap does to a layout what is done to a registry, opens it anew now and
// then, and compares it with a map of tags.
func TestLikeAMap(t *testing.T) {
	t.Parallel()
	images := []storetest.Image{storetest.NewImage("a", 1, false, "k"), storetest.NewImage("b", 1, false, ""), storetest.NewImage("a", 1, true, "")}
	store := client(t, registry.Options{})
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		l := locked(t, dir)
		at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { l.Handler(host).ServeHTTP(w, q) }))
		model := map[string]storetest.Image{}
		repos := rapid.SampledFrom([]string{"a", "a/b"})
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(rt *rapid.T) {
				repo, tag, im := repos.Draw(rt, "repo"), rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "tag"), rapid.SampledFrom(images).Draw(rt, "image")
				storetest.Apply(t, store, im.Ops(at+"/"+repo, tag)...)
				model[repo+":"+tag] = im
			},
			"push": func(rt *rapid.T) {
				storetest.Apply(t, store, rapid.SampledFrom(images).Draw(rt, "image").Ops(at+"/"+repos.Draw(rt, "repo"), "")...)
			},
			"delete": func(rt *rapid.T) {
				repo, im := repos.Draw(rt, "repo"), rapid.SampledFrom(images).Draw(rt, "image")
				if err := store.Delete(t.Context(), at+"/"+repo, im.Digest); err != nil {
					rt.Fatal(err)
				}
				maps.DeleteFunc(model, func(ref string, other storetest.Image) bool {
					return strings.HasPrefix(ref, repo+":") && other.Digest == im.Digest
				})
			},
			"sweep": func(rt *rapid.T) {
				if _, err := l.Sweep(); err != nil {
					rt.Fatal(err)
				}
			},
			"reopen": func(rt *rapid.T) {
				l.Close()
				l = locked(t, dir)
			},
			"": func(rt *rapid.T) {
				want, have := map[string]string{}, blobs(t, dir)
				for ref, im := range model {
					want[host+"/"+ref] = string(im.Digest)
					for _, data := range append(im.Layers, im.Config, im.Manifest) {
						if !slices.Contains(have, string(storetest.Sum(data))) {
							rt.Fatalf("%s: a blob is not there", ref)
						}
					}
				}
				got := map[string]string{}
				if len(have) > 0 {
					got = index(t, dir)
				}
				maps.DeleteFunc(got, func(name, _ string) bool { return strings.Contains(name, "@") })
				if d := cmp.Diff(want, got); d != "" {
					rt.Fatalf("tags (-want +got):\n%s", d)
				}
			},
		})
	})
}

// FuzzOpen reads any index, and writes it back without losing an element.
func FuzzOpen(f *testing.F) {
	f.Add(`{"schemaVersion":2,"manifests":[{"mediaType":"a","digest":"sha256:00","size":1,"annotations":{"org.opencontainers.image.ref.name":"h/r:t"}}]}`)
	f.Add(`{"manifests":[{},{"annotations":{"dev.lapstrake.repository":"h/r"}}]}`)
	f.Add(`{"manifests":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		for name, data := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": text} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		l, err := layout.Open(dir)
		if err != nil {
			return
		}
		if err := l.Lock(); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		at := serve(t, l.Handler(host))
		storetest.Apply(t, client(t, registry.Options{}), storetest.NewImage("x", 1, false, "").Ops(at+"/a", "fuzz")...)
		if _, err := layout.Open(dir); err != nil {
			t.Errorf("what was written does not read: %v", err)
		}
		var before, after specs.Index
		now, err := os.ReadFile(filepath.Join(dir, "index.json"))
		if err := errors.Join(err, json.Unmarshal([]byte(text), &before), json.Unmarshal(now, &after)); err != nil {
			t.Fatal(err)
		}
		if len(after.Manifests) == 0 || len(after.Manifests) > len(before.Manifests)+1 || !bytes.Contains(now, []byte(host+"/a:fuzz")) {
			t.Errorf("%d elements became %d:\n%s", len(before.Manifests), len(after.Manifests), now)
		}
	})
}
