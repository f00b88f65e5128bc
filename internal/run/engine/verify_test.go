package engine_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
	bkclient "github.com/moby/buildkit/client"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/tonistiigi/fsutil"
)

// verifyCase is a file of testdata/verify: a remark, a header, a Dockerfile
// with its context, and whatever differs from the usual base and fleet.
type verifyCase struct {
	// verdict is "append", "append times", "build CODE...", or "fail" for what
	// neither way can build.
	verdict string
	// base is "system" for the base that commands can run on.
	base  string
	epoch *time.Time
	// setup are lines that make what an archive of texts cannot hold.
	setup string
	spec  *baseSpec
	fleet verifyFleet
	files []txtar.File
}

// verifyFleet is the fleet.json of a case.
type verifyFleet struct {
	Args, Labels, Contexts map[string]string
	Target                 string
	Output                 fleet.Output
	Image                  struct{ Args, Labels map[string]string }
}

// baseSpec is the base.json of a case.
type baseSpec struct {
	Docker, Index, ByDigest bool
	Annotations             map[string]string
	Layers                  []layerSpec
	// Config is the image's config; rootfs is added.
	Config map[string]any
}

type layerSpec struct {
	Files, Symlinks map[string]string
	Compression     string
	Annotations     map[string]string
}

// usualBase is the base of a case that has no base.json.
const usualBase = `{"layers": [{"files": {"etc/motd": "welcome\n", "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"}}, {"files": {"etc/hostname": "base\n"}}],
"config": {"architecture": "amd64", "os": "linux", "created": "2024-01-02T00:00:00Z", "config": {"Env": ["PATH=/usr/bin:/bin", "HOME=/root"], "Cmd": ["/bin/sh"], "WorkingDir": "/srv"},
"history": [{"created": "2024-01-01T00:00:00Z", "created_by": "ADD one"}, {"created": "2024-01-01T12:00:00Z", "created_by": "ADD two"},
{"created": "2024-01-02T00:00:00Z", "created_by": "CMD [\"/bin/sh\"]", "empty_layer": true}]}}`

func readCase(t *testing.T, file string, replace *strings.Replacer) verifyCase {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c verifyCase
	for line := range strings.Lines(string(a.Comment)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "verdict":
			c.verdict = value
		case "base":
			c.base = value
		case "epoch":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			at := time.Unix(n, 0).UTC()
			c.epoch = &at
		}
	}
	spec := usualBase
	for _, f := range a.Files {
		text := replace.Replace(string(f.Data))
		switch f.Name {
		case "setup":
			c.setup = text
		case "base.json":
			spec = text
		case "fleet.json":
			decode(t, text, &c.fleet)
		default:
			c.files = append(c.files, txtar.File{Name: f.Name, Data: []byte(text)})
		}
	}
	c.spec = new(baseSpec)
	decode(t, spec, c.spec)
	return c
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
}

// write makes the case's folder.
func (c *verifyCase) write(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "context"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range c.files {
		name := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(c.setup) {
		if err := setUp(filepath.Join(dir, "context"), strings.Fields(line)); err != nil {
			t.Fatalf("setup: %s: %v", strings.TrimSpace(line), err)
		}
	}
}

// setUp carries out one line of a case's setup in its context.
func setUp(dir string, words []string) error {
	at := func(i int) string { return filepath.Join(dir, words[i]) }
	number := func(base int) int64 {
		n, _ := strconv.ParseInt(words[1], base, 64)
		return n
	}
	switch words[0] {
	case "mode":
		return chmod(at(2), number(8))
	case "dir":
		if err := os.MkdirAll(at(2), 0o755); err != nil {
			return err
		}
		return chmod(at(2), number(8))
	case "symlink":
		return os.Symlink(words[1], at(2))
	case "hardlink":
		return os.Link(at(1), at(2))
	case "time":
		return os.Chtimes(at(2), time.Unix(number(10), 0), time.Unix(number(10), 0))
	case "tar":
		return archive(at(1), at(2))
	}
	return fmt.Errorf("no such word")
}

func chmod(name string, bits int64) error {
	mode := fs.FileMode(bits & 0o777)
	if bits&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if bits&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return os.Chmod(name, mode)
}

// archive writes the files under dir to a tar file, compressed when its name says so.
func archive(file, dir string) error {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	data := out.Bytes()
	if strings.HasSuffix(file, ".gz") {
		data = compressed(data, "gzip")
	}
	return os.WriteFile(file, data, 0o644)
}

// verifier is what the cases share: a registry with the bases that commands
// can run on, and two daemons.
type verifier struct {
	*world
	system string
	server string
	one    *bkclient.Client
	two    func() *bkclient.Client
}

func newVerifier(t *testing.T) *verifier {
	t.Helper()
	v := &verifier{world: newWorld(t, 1)}
	v.system = testfleet.Builder(v.host)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "file.txt", time.Unix(1_600_000_000, 0), strings.NewReader("served\n"))
	}))
	t.Cleanup(server.Close)
	v.server = server.URL
	v.one = dial(t, workertest.Start(t))
	v.two = sync.OnceValue(func() *bkclient.Client { return dial(t, workertest.New(t, worker.Options{})) })
	return v
}

func dial(t *testing.T, d *worker.Daemon) *bkclient.Client {
	t.Helper()
	c, err := bkclient.New(t.Context(), d.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestVerify builds small recipes with every kind of last step, and then builds
// each with the daemon's own front end and exporter: what Lapstrake published
// must be the same, to the last byte of the manifest.
func TestVerify(t *testing.T) {
	if testing.Short() {
		t.Skip("starts daemons")
	}
	files, err := filepath.Glob("testdata/verify/*.txtar")
	if err != nil || len(files) < 45 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	v := newVerifier(t)
	t.Run("cases", func(t *testing.T) {
		for _, file := range files {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
				t.Parallel()
				v.check(t, file)
			})
		}
	})
}

// check runs one case.
func (v *verifier) check(t *testing.T, file string) {
	name, dir := strings.TrimSuffix(filepath.Base(file), ".txtar"), t.TempDir()
	c := readCase(t, file, strings.NewReplacer("@SYSTEM@", v.system, "@SERVER@", v.server, "@DIR@", dir))
	c.write(t, dir)
	base := v.system
	if c.base != "system" {
		base = v.push(t, "base/"+name, c.spec)
	}
	f := c.asFleet(dir, base, v.host+"/verify/"+name+":v1")
	w := *v.world
	w.t, w.state = t, t.TempDir()
	r := w.build(t.Context(), f, engine.Options{})
	attrs := c.attrs(f, r.plan)
	if c.verdict == "fail" {
		full, err := v.full(t, v.one, f, attrs)
		if r.err == nil || err == nil {
			t.Errorf("both must fail: %v; the front end made %q, %v", r.err, full, err)
		}
		return
	}
	if r.err != nil {
		for _, f := range r.sum.Failures {
			t.Errorf("%+v", *f)
		}
		t.Fatal(r.err)
	}
	if got := verdictOf(r.plan); got != strings.TrimSuffix(c.verdict, " times") {
		t.Errorf("verdict %q, want %q", got, c.verdict)
	}
	published := w.digestOf(f.Images[0].Tags[0])
	daemons := map[string]*bkclient.Client{"the same daemon": v.one}
	if c.epoch != nil && r.plan.Units[0].Action == plan.Append {
		daemons["another daemon"] = v.two()
	}
	for _, which := range slices.Sorted(maps.Keys(daemons)) {
		full, err := v.full(t, daemons[which], f, attrs)
		if err != nil {
			t.Fatalf("%s: %v", which, err)
		}
		if diff := v.difference(t, f, published, full); (diff == "times") != strings.HasSuffix(c.verdict, " times") || diff != "" && diff != "times" {
			t.Errorf("%s: %s", which, diff)
		}
	}
}

// asFleet is the fleet of one image that the case describes.
func (c *verifyCase) asFleet(dir, base, tag string) *fleet.Fleet {
	return &fleet.Fleet{Name: "verify", File: filepath.Join(dir, "fleet.yaml"), Platform: "linux/amd64", Epoch: c.epoch, Output: c.fleet.Output,
		Recipe: fleet.Recipe{Dockerfile: filepath.Join(dir, "Dockerfile"), Context: filepath.Join(dir, "context"), BaseArg: "BASE_IMAGE",
			Target: c.fleet.Target, Args: c.fleet.Args, Labels: c.fleet.Labels, Contexts: c.fleet.Contexts},
		Images: []fleet.Image{{ID: "one", Base: base, Tags: []string{tag}, Args: c.fleet.Image.Args, Labels: c.fleet.Image.Labels}}}
}

// attrs are the front end's and the exporter's attributes of a full build. The
// key is told to both as a person would, so that whole manifests can be equal.
func (c *verifyCase) attrs(f *fleet.Fleet, p *plan.Plan) (attrs [2]map[string]string) {
	im := f.Images[0]
	front := map[string]string{"filename": "Dockerfile", "platform": f.Platform, "build-arg:BASE_IMAGE": im.Base}
	export := map[string]string{"push": "true", "push-by-digest": "true", "name-canonical": "true", "registry.insecure": "true",
		"oci-mediatypes": strconv.FormatBool(f.Output.MediaTypes != "docker")}
	for _, args := range []map[string]string{f.Recipe.Args, im.Args} {
		for k, v := range args {
			front["build-arg:"+k] = v
		}
	}
	for _, labels := range []map[string]string{f.Recipe.Labels, im.Labels} {
		for k, v := range labels {
			front["label:"+k] = v
		}
	}
	for k, v := range f.Recipe.Contexts {
		if filepath.IsAbs(v) {
			v = "local:" + k
		}
		front["context:"+k] = v
	}
	if f.Recipe.Target != "" {
		front["target"] = f.Recipe.Target
	}
	if f.Epoch != nil {
		front["build-arg:SOURCE_DATE_EPOCH"] = strconv.FormatInt(f.Epoch.Unix(), 10)
		export["rewrite-timestamp"] = "true"
	}
	if f.Output.Compression != "" {
		export["compression"] = f.Output.Compression
	}
	for k, v := range f.Output.Annotations {
		export["annotation."+k] = v
	}
	if p != nil && f.Output.MediaTypes == "docker" {
		front["label:"+fact.KeyAnnotation] = p.Units[0].Key
	} else if p != nil {
		export["annotation."+fact.KeyAnnotation] = p.Units[0].Key
	}
	return [2]map[string]string{front, export}
}

// verdictOf is the plan's decision for its only image, as the cases write it.
func verdictOf(p *plan.Plan) string {
	u := p.Units[0]
	words := []string{string(u.Action)}
	if u.Action == plan.Append {
		return words[0]
	}
	for _, w := range u.Why {
		if !slices.Contains(words, w.Code) {
			words = append(words, w.Code)
		}
	}
	return strings.Join(words, " ")
}

// full builds the fleet's image with a daemon's own front end, pushes it by
// digest to a repository where nothing of ours is, and returns its digest.
func (v *verifier) full(t *testing.T, c *bkclient.Client, f *fleet.Fleet, attrs [2]map[string]string) (string, error) {
	t.Helper()
	mounts := map[string]fsutil.FS{}
	locals := map[string]string{"context": f.Recipe.Context, "dockerfile": filepath.Dir(f.Recipe.Dockerfile)}
	for name, at := range f.Recipe.Contexts {
		if filepath.IsAbs(at) {
			locals[name] = at
		}
	}
	for name, at := range locals {
		var err error
		if mounts[name], err = fsutil.NewFS(at); err != nil {
			return "", err
		}
	}
	attrs[1]["name"] = fullRepo(f)
	resp, err := c.Solve(t.Context(), nil, bkclient.SolveOpt{Frontend: "dockerfile.v0", FrontendAttrs: attrs[0], LocalMounts: mounts,
		Exports: []bkclient.ExportEntry{{Type: bkclient.ExporterImage, Attrs: attrs[1]}}}, nil)
	if err != nil {
		return "", err
	}
	return resp.ExporterResponse["containerimage.digest"], nil
}

// fullRepo is where the full builds of a fleet go.
func fullRepo(f *fleet.Fleet) string {
	return strings.TrimSuffix(strings.Replace(f.Images[0].Tags[0], "/verify/", "/full/", 1), ":v1")
}

// difference compares two manifests with what they name: "" when they are the
// same, "times" when only times in the config differ.
func (v *verifier) difference(t *testing.T, f *fleet.Fleet, published, full string) string {
	t.Helper()
	if published == full {
		return ""
	}
	repo := strings.TrimSuffix(f.Images[0].Tags[0], ":v1")
	a, b := v.image(t, repo, published), v.image(t, fullRepo(f), full)
	if diff := cmp.Diff(b.manifest, a.manifest); diff != "" {
		return "manifest (-full +published):\n" + diff + cmp.Diff(b.config, a.config)
	}
	if diff := cmp.Diff(timeless(b.config), timeless(a.config)); diff != "" {
		return "config (-full +published):\n" + diff + cmp.Diff(b.config, a.config)
	}
	if cmp.Equal(a.config, b.config) {
		return fmt.Sprintf("bytes differ: full %s, published %s", b.raw, a.raw)
	}
	return "times"
}

// verified is an image as it lies in a registry.
type verified struct {
	manifest, config any
	raw              []byte
}

// image reads an image; the digest of the config is left out of its manifest.
func (v *verifier) image(t *testing.T, repo, digest string) (im verified) {
	t.Helper()
	_, at, _ := strings.Cut(repo, "/")
	var m map[string]any
	raw := v.get(t, at+"/manifests/"+digest)
	decode(t, string(raw), &m)
	im.manifest = m
	config := m["config"].(map[string]any)
	im.raw = v.get(t, at+"/blobs/"+config["digest"].(string))
	decode(t, string(im.raw), &im.config)
	delete(config, "digest")
	delete(config, "size")
	return im
}

// timeless is a config without its times.
func timeless(config any) any {
	c := maps.Clone(config.(map[string]any))
	delete(c, "created")
	var history []any
	if h, ok := c["history"].([]any); ok {
		for _, e := range h {
			entry := maps.Clone(e.(map[string]any))
			delete(entry, "created")
			history = append(history, entry)
		}
	}
	c["history"] = history
	return c
}

// push writes a base to the registry and returns its reference.
func (v *verifier) push(t *testing.T, repo string, spec *baseSpec) string {
	t.Helper()
	var layers []map[string]any
	var diffIDs []string
	for _, l := range spec.Layers {
		plain := l.tar(t)
		data := compressed(plain, l.Compression)
		diffIDs = append(diffIDs, sum(plain))
		layers = append(layers, v.blob(t, repo, data, mediaType(spec.Docker, l.Compression), l.Annotations))
	}
	images := []string{"amd64"}
	if spec.Index {
		images = append(images, "arm64")
	}
	var top []byte
	var children []map[string]any
	for _, arch := range images {
		config := maps.Clone(spec.Config)
		config["architecture"] = arch
		config["rootfs"] = map[string]any{"type": "layers", "diff_ids": diffIDs}
		kind, configType := "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json"
		if spec.Docker {
			kind, configType = "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.container.image.v1+json"
		}
		m := map[string]any{"schemaVersion": 2, "mediaType": kind, "config": v.blob(t, repo, encode(t, config), configType, nil), "layers": layers}
		if layers == nil {
			m["layers"] = []any{}
		}
		if spec.Annotations != nil {
			m["annotations"] = spec.Annotations
		}
		top = encode(t, m)
		v.put(t, repo+"/manifests/"+sum(top), kind, top)
		children = append(children, map[string]any{"mediaType": kind, "digest": sum(top), "size": len(top), "platform": map[string]any{"os": "linux", "architecture": arch}})
	}
	kind := children[0]["mediaType"].(string)
	if spec.Index {
		kind = "application/vnd.oci.image.index.v1+json"
		top = encode(t, map[string]any{"schemaVersion": 2, "mediaType": kind, "manifests": children})
	}
	v.put(t, repo+"/manifests/v1", kind, top)
	if spec.ByDigest {
		return v.host + "/" + repo + "@" + sum(top)
	}
	return v.host + "/" + repo + ":v1"
}

// tar is the layer before compression.
func (l layerSpec) tar(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	at, dirs := time.Unix(1_700_000_000, 0), map[string]bool{".": true}
	add := func(h tar.Header, data string) {
		h.ModTime, h.Size = at, int64(len(data))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.Files)) {
		var parents []string
		for d := path.Dir(name); !dirs[d]; d = path.Dir(d) {
			dirs[d] = true
			parents = append(parents, d)
		}
		slices.Reverse(parents)
		for _, d := range parents {
			add(tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755}, "")
		}
		add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, l.Files[name])
	}
	for _, name := range slices.Sorted(maps.Keys(l.Symlinks)) {
		add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: l.Symlinks[name], Mode: 0o777}, "")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// compressed is data in gzip unless kind says "zstd" or "none".
func compressed(data []byte, kind string) []byte {
	var out bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&out)
	switch kind {
	case "none":
		return data
	case "zstd":
		w, _ = zstd.NewWriter(&out) // fails only with options
	}
	w.Write(data) // a bytes.Buffer takes everything
	w.Close()
	return out.Bytes()
}

func mediaType(docker bool, compression string) string {
	kind := "application/vnd.oci.image.layer.v1.tar"
	if docker {
		kind = "application/vnd.docker.image.rootfs.diff.tar"
	}
	switch {
	case compression == "none":
		return kind
	case compression == "zstd":
		return kind + "+zstd"
	case docker:
		return kind + ".gzip"
	}
	return kind + "+gzip"
}

// blob uploads a blob and returns its descriptor.
func (v *verifier) blob(t *testing.T, repo string, data []byte, kind string, annotations map[string]string) map[string]any {
	t.Helper()
	resp, err := http.Post("http://"+v.host+"/v2/"+repo+"/blobs/uploads/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	at, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	q := at.Query()
	q.Set("digest", sum(data))
	at.RawQuery = q.Encode()
	v.do(t, http.MethodPut, at.String(), "application/octet-stream", data)
	d := map[string]any{"mediaType": kind, "digest": sum(data), "size": len(data)}
	if annotations != nil {
		d["annotations"] = annotations
	}
	return d
}

func (v *verifier) put(t *testing.T, at, kind string, data []byte) {
	t.Helper()
	v.do(t, http.MethodPut, "http://"+v.host+"/v2/"+at, kind, data)
}

func (v *verifier) get(t *testing.T, at string) []byte {
	t.Helper()
	return v.do(t, http.MethodGet, "http://"+v.host+"/v2/"+at, "", nil)
}

// do sends a request and returns the body of an answer that says yes.
func (v *verifier) do(t *testing.T, method, url, kind string, data []byte) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s, %v: %s", method, url, resp.Status, err, body)
	}
	return body
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(h[:])
}
