//go:build linux

package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/diag"
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
	// buildAll asks for the strategy build.
	buildAll bool
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
		case "strategy":
			c.buildAll = value == "build"
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
		return tarball(at(1), at(2))
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
	t.Parallel()
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

// TestVerifyCases holds the cases to their purpose: enough images are appended,
// and the documentation's table of what stands in the way has a case for each
// line but safeguards, and a line for each code.
func TestVerifyCases(t *testing.T) {
	files, err := filepath.Glob("testdata/verify/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	seen, actions := map[string]bool{}, map[string]int{}
	for _, file := range files {
		words := strings.Fields(readCase(t, file, strings.NewReplacer()).verdict)
		actions[words[0]]++
		if words[0] == "build" {
			for _, w := range words[1:] {
				seen[w] = true
			}
		}
	}
	if actions["append"] < 40 || actions["build"] < 10 || actions["fail"] < 1 {
		t.Errorf("too few cases: %v", actions)
	}
	doc, err := os.ReadFile(filepath.Join(workertest.Root(t), "docs/design/append.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|(.*)$").FindAllStringSubmatch(string(doc), -1) {
		documented[m[1]] = true
		if !seen[m[1]] && !strings.Contains(m[2], "safeguard") {
			t.Errorf("no case for %s", m[1])
		}
	}
	if len(documented) < 10 {
		t.Errorf("the documentation has only %d codes", len(documented))
	}
	for code := range seen {
		if !documented[code] {
			t.Errorf("%s is not in the documentation", code)
		}
	}
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
	r := w.build(t.Context(), f, engine.Options{Planner: planner.Options{BuildAll: c.buildAll}})
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

// verify runs the whole of a verify command on a copy of the fleet; connected
// tells whether a daemon was asked for.
func (v *verifier) verify(t *testing.T, f fleet.Fleet, sample int, lenient bool) (results []engine.Verified, connected bool, err error) {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Setup{Fleet: &f, State: v.state, UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	daemon := engine.NewDaemon(e, v.state, engine.DaemonOptions{Address: workertest.Start(t).Addr()})
	e.Workers = connectors(func(ctx context.Context) (*engine.Worker, error) {
		connected = true
		return daemon.Connect(ctx)
	})
	results, err = e.Verify(t.Context(), sample, lenient)
	if closed := daemon.Close(); closed != nil {
		t.Error(closed)
	}
	return results, connected, err
}

// TestVerifyFleet verifies a fleet on bases of every form, some of whose images
// took their shared layers from an earlier run, and one that is not appended.
func TestVerifyFleet(t *testing.T) {
	t.Parallel()
	const n, before = 20, 5
	v := newVerifier(t)
	set, err := testfleet.Bases(t.Context(), testfleet.Options{Host: v.host, N: n, Seed: 2, Scale: 0.01, Envs: true, Docker: 3, Index: 3, Zstd: 3})
	if err != nil {
		t.Fatal(err)
	}
	v.bases = set.Images
	f := v.fleet(v.recipe("linked"), "verified")
	some := *f
	some.Images = f.Images[:before]
	if r := v.build(t.Context(), &some, engine.Options{}); r.err != nil || r.plan.Actions[plan.Append] != before {
		t.Fatalf("%v, %v", r.err, r.plan.Actions)
	}
	if r := v.build(t.Context(), f, engine.Options{}); r.err != nil || r.plan.Actions[plan.Append] != n-before || r.solves != 0 {
		t.Fatalf("%v, %v, %d daemons", r.err, r.plan.Actions, r.solves)
	}
	results, connected, err := v.verify(t, *f, 0, false)
	if err != nil || !connected {
		t.Errorf("%v, daemon asked for: %t", err, connected)
	}
	for i, got := range results {
		if diff := cmp.Diff(engine.Verified{Image: f.Images[i].ID, Tag: f.Images[i].Tags[0], State: engine.VerifyEqual}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	if len(results) != n {
		t.Errorf("%d results", len(results))
	}

	mixed := v.fleet(v.recipe("mixed"), "verified-mixed")
	mixed.Images = mixed.Images[:4]
	results, connected, err = v.verify(t, *mixed, 2, false)
	want := []engine.Verified{
		{Image: mixed.Images[0].ID, Tag: mixed.Images[0].Tags[0], State: engine.VerifyBuilt},
		{Image: mixed.Images[2].ID, Tag: mixed.Images[2].Tags[0], State: engine.VerifyBuilt},
	}
	if diff := cmp.Diff(want, results); diff != "" || connected || err != nil {
		t.Errorf("mixed: %v, daemon asked for: %t, -want +got:\n%s", err, connected, diff)
	}
}

// TestVerifyFinds publishes what a full build would not make, and expects to be
// told.
func TestVerifyFinds(t *testing.T) {
	t.Parallel()
	v := newVerifier(t)
	dir := v.dockerfile("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY --link a.txt b.txt /opt/\nLABEL a=b\n", map[string]string{"a.txt": "a\n", "b.txt": "b\n"})
	f := v.fleet(dir, "tampered")
	if r := v.build(t.Context(), f, engine.Options{}); r.err != nil || r.plan.Actions[plan.Append] != 1 {
		t.Fatalf("%v, %v", r.err, r.plan.Actions)
	}
	tag := f.Images[0].Tags[0]
	right := v.digestOf(tag)
	// publish puts an image under the tag whose manifest and config were changed.
	publish := func(t *testing.T, change func(manifest map[string]any, config string) string) {
		im := v.image(t, v.host+"/tampered", right)
		manifest := im.manifest.(map[string]any)
		config := change(manifest, string(im.raw))
		manifest["config"] = v.blob(t, "tampered", []byte(config), "application/vnd.oci.image.config.v1+json", nil)
		_, at, _ := strings.Cut(tag, "/")
		v.put(t, strings.Replace(at, ":", "/manifests/", 1), manifest["mediaType"].(string), encode(t, manifest))
	}
	replace := func(pattern, by string) func(map[string]any, string) string {
		return func(_ map[string]any, config string) string {
			changed := regexp.MustCompile(pattern).ReplaceAllString(config, by)
			if changed == config {
				t.Errorf("%s does not match %s", pattern, config)
			}
			return changed
		}
	}
	manifest := func(change func(manifest map[string]any)) func(map[string]any, string) string {
		return func(m map[string]any, config string) string {
			change(m)
			return config
		}
	}
	for _, tc := range []struct {
		name    string
		change  func(manifest map[string]any, config string) string
		lenient bool
		state   engine.VerifyState
		says    string
	}{
		{"nothing", manifest(func(map[string]any) {}), false, engine.VerifyEqual, ""},
		{"a time", replace(`^(.*?"created":")[^"]*`, "${1}2001-01-01T00:00:00Z"), false, engine.VerifyDiffers, "times"},
		{"a time, leniently", replace(`^(.*?"created":")[^"]*`, "${1}2001-01-01T00:00:00Z"), true, engine.VerifyEqual, "times"},
		{"times in the history, leniently", replace(`(\{"created":")[^"]*`, "${1}2001-01-01T00:00:00Z"), true, engine.VerifyEqual, "times"},
		{"a time in the history missing, leniently", replace(`("history":\[\{)"created":"[^"]*",`, "$1"), true, engine.VerifyEqual, "times"},
		{"the history, leniently", replace(`"created_by":"ADD`, `"created_by":"SUB`), true, engine.VerifyDiffers, `config field "history"`},
		{"a field of the history, leniently", replace(`"created_by"`, `"more":1,"created_by"`), true, engine.VerifyDiffers, `config field "history"`},
		{"a label, leniently", replace(`"a":"b"`, `"a":"c"`), true, engine.VerifyDiffers, `config field "config"`},
		{"a field too many", replace(`^\{`, `{"more":1,`), true, engine.VerifyDiffers, `config field "more"`},
		{"a field too few", replace(`"architecture":"[^"]*",`, ""), true, engine.VerifyDiffers, `config field "architecture"`},
		{"white space, leniently", replace(`$`, "\n"), true, engine.VerifyDiffers, "in bytes only"},
		{"no JSON", replace(`^.`, ""), true, engine.VerifyDiffers, "not JSON"},
		{"a layer too few", manifest(func(m map[string]any) { m["layers"] = m["layers"].([]any)[1:] }), true, engine.VerifyDiffers, "layers, a full build has"},
		{"layers in another order", manifest(func(m map[string]any) { slices.Reverse(m["layers"].([]any)) }), true, engine.VerifyDiffers, "layer 1 of"},
		{"another key", manifest(func(m map[string]any) {
			m["annotations"].(map[string]any)[fact.KeyAnnotation] = "v1:0"
		}), true, engine.VerifyDiffers, "other inputs"},
		{"no key", manifest(func(m map[string]any) { delete(m, "annotations") }), false, engine.VerifyEqual, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			publish(t, tc.change)
			results, _, err := v.verify(t, *f, 0, tc.lenient)
			checkVerified(t, results, err, tc.state, tc.says)
		})
	}
	t.Run("no tag", func(t *testing.T) {
		g := *f
		g.Images = []fleet.Image{f.Images[0]}
		g.Images[0].Tags = []string{tag + "-other"}
		results, connected, err := v.verify(t, g, 0, false)
		checkVerified(t, results, err, engine.VerifyDiffers, "not published")
		if connected {
			t.Error("a daemon was started for nothing")
		}
	})
	t.Run("no base", func(t *testing.T) {
		g := *f
		g.Images = []fleet.Image{f.Images[0]}
		g.Images[0].Base = v.host + "/no/base:v1"
		results, _, err := v.verify(t, g, 0, false)
		checkVerified(t, results, err, engine.VerifyFailed, "404")
	})
}

func checkVerified(t *testing.T, results []engine.Verified, err error, state engine.VerifyState, says string) {
	t.Helper()
	if len(results) != 1 || results[0].State != state || !strings.Contains(results[0].Difference, says) || says == "" && results[0].Difference != "times" && results[0].Difference != "" {
		t.Errorf("%+v, want %s: %s", results, state, says)
	}
	if bad := state != engine.VerifyEqual; bad != (err != nil) || bad && diag.KindOf(err) != diag.Gate {
		t.Errorf("%v, kind %v", err, diag.KindOf(err))
	}
}
