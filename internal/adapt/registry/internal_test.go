package registry

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

func TestChoose(t *testing.T) {
	digest := func(s string) graph.Digest { return digestOf([]byte(s)) }
	index := func(platforms ...string) *document {
		d := &document{}
		for _, s := range platforms {
			p, err := parsePlatform(s)
			if err != nil {
				t.Fatal(err)
			}
			raw := strings.Split(s, "/")
			if len(raw) == 3 {
				p.Variant = raw[2] // as written, not as we read it
			}
			d.Manifests = append(d.Manifests, child{Descriptor: fact.Descriptor{Digest: digest(s)}, Platform: &p})
		}
		return d
	}
	for _, tt := range []struct {
		name  string
		index []string
		want  string
		found string
	}{
		{"exact", []string{"linux/arm64", "linux/amd64"}, "linux/amd64", "linux/amd64"},
		{"default variant asked for", []string{"linux/arm64"}, "linux/arm64/v8", "linux/arm64"},
		{"default variant written", []string{"linux/arm64/v8"}, "linux/arm64", "linux/arm64/v8"},
		{"amd64 v1", []string{"linux/amd64/v1"}, "linux/amd64", "linux/amd64/v1"},
		{"the best variant", []string{"linux/amd64", "linux/amd64/v2"}, "linux/amd64/v3", "linux/amd64/v2"},
		{"not a better one", []string{"linux/amd64/v2"}, "linux/amd64", ""},
		{"lower arm", []string{"linux/arm/v5", "linux/arm/v6"}, "linux/arm/v7", "linux/arm/v6"},
		{"arm is v7", []string{"linux/arm/v6", "linux/arm/v7"}, "linux/arm", "linux/arm/v7"},
		{"other system", []string{"windows/amd64"}, "linux/amd64", ""},
		{"the first of two", []string{"linux/amd64", "linux/amd64/v1"}, "linux/amd64", "linux/amd64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := parsePlatform(tt.want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := index(tt.index...).choose(p)
			if tt.found == "" {
				if diag.KindOf(err) != diag.File || !strings.Contains(diag.HelpOf(err), tt.index[0]) {
					t.Errorf("found %s, error %v", got, err)
				}
				return
			}
			if err != nil || got != digest(tt.found) {
				t.Errorf("error %v, found another", err)
			}
		})
	}
}

func TestViews(t *testing.T) {
	s := &Store{}
	view := func(config string) string {
		t.Helper()
		var b fact.Base
		if err := s.describe(&b, []byte(config)); err != nil {
			t.Fatal(err)
		}
		return string(b.View)
	}
	const want = `{"architecture":"amd64","config":{"Env":["A=<b>&c"],"Labels":{"n":"1"}},"os":"linux"}`
	for name, config := range map[string]string{
		"plain":         `{"architecture":"amd64","os":"linux","config":{"Env":["A=<b>&c"],"Labels":{"n":"1"}}}`,
		"other order":   `{"os":"linux","config":{"Labels":{"n":"1"},"Env":["A=<b>&c"]},"architecture":"amd64"}`,
		"white space":   "{\n \"os\" : \"linux\",\t\"config\":{\"Labels\" : {\"n\":\"1\"},\"Env\":[ \"A=<b>&c\" ]}, \"architecture\":\"amd64\"}",
		"escapes":       `{"architecture":"amd64","os":"linux","config":{"Env":["A=\u003cb\u003e\u0026c"],"Labels":{"n":"1"}}}`,
		"layers, times": `{"architecture":"amd64","os":"linux","created":"2020-01-01T00:00:00Z","rootfs":{"diff_ids":[]},"history":[{"created_by":"x"}],"config":{"Env":["A=<b>&c"],"Labels":{"n":"1"}}}`,
		"old builders":  `{"architecture":"amd64","os":"linux","container":"abc","container_config":{"Hostname":"abc"},"docker_version":"19","config":{"Hostname":"abc","Image":"sha256:1","AttachStdin":false,"Env":["A=<b>&c"],"Labels":{"n":"1"}}}`,
	} {
		if got := view(config); got != want {
			t.Errorf("%s: view is\n%s, want\n%s", name, got, want)
		}
	}
	for name, config := range map[string]string{
		"other variable": `{"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Labels":{"n":"1"}}}`,
		"other label":    `{"architecture":"amd64","os":"linux","config":{"Env":["A=<b>&c"],"Labels":{"n":"2"}}}`,
		"other machine":  `{"architecture":"arm64","os":"linux","config":{"Env":["A=<b>&c"],"Labels":{"n":"1"}}}`,
		"onbuild":        `{"architecture":"amd64","os":"linux","config":{"Env":["A=<b>&c"],"Labels":{"n":"1"},"OnBuild":["RUN x"]}}`,
	} {
		if got := view(config); got == want {
			t.Errorf("%s: has the same view", name)
		}
	}
	if got, want := view(`{"big":12345678901234567890,"config":null}`), `{"big":12345678901234567890,"config":null}`; got != want {
		t.Errorf("numbers and null: %s", got)
	}
}

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		have   []string
		wanted string
		want   bool
	}{
		{[]string{"repository:a/b:pull,push"}, "repository:a/b:pull", true},
		{[]string{"repository:a/b:pull,push"}, "repository:a/b:push,pull", true},
		{[]string{"repository:a/b:pull"}, "repository:a/b:pull,push", false},
		{[]string{"repository:a/b:pull"}, "repository:a/c:pull", false},
		{[]string{"repository:a/b:pull,push", "repository:c:pull"}, "repository:c:pull repository:a/b:push", true},
		{[]string{"repository:a/b:pull,push"}, "repository:c:pull repository:a/b:push", false},
		{nil, "nonsense", false},
		{nil, "", true},
	} {
		if got := covers(tt.have, tt.wanted); got != tt.want {
			t.Errorf("covers(%v, %q) = %v", tt.have, tt.wanted, got)
		}
	}
}

func TestScrub(t *testing.T) {
	cause := &statusError{status: 403, text: "you sent abcd and YWJjZA=="}
	err := scrub(cause, "abcd", "", "x")
	if got, want := err.Error(), "403 Forbidden: you sent (hidden) and (hidden)"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	var e *statusError
	if !errors.As(err, &e) || e.status != 403 || strings.Contains(e.Error(), "abcd") {
		t.Errorf("as a status: %v", e)
	}
	if scrub(cause, "other") != error(cause) {
		t.Error("an error without secrets changed")
	}
}

func TestKeptKeys(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		f, err := openFacts(dir)
		if err != nil {
			t.Fatal(err)
		}
		d := digestOf([]byte("m"))
		if _, ok := f.key(d); ok {
			t.Error("a key that was never kept is known")
		}
		for _, key := range []string{"v1:abc", ""} {
			if err := f.setKey(d, key); err != nil {
				t.Fatal(err)
			}
			if got, ok := f.key(d); !ok || got != key {
				t.Errorf("key %q came back as %q, %v", key, got, ok)
			}
		}
		other := digestOf([]byte("x"))
		if err := f.write(shard("key", other), nil); err != nil {
			t.Fatal(err)
		}
		if _, ok := f.key(other); ok {
			t.Error("an empty file is a key")
		}
	}
}

// Facts about tags survive any reference.
func TestKeptTags(t *testing.T) {
	f, err := openFacts(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		ref, d := rapid.String().Draw(t, "ref"), digestOf([]byte(rapid.String().Draw(t, "content")))
		if err := f.setTag(ref, d); err != nil {
			t.Fatal(err)
		}
		// JSON replaces bytes that are no text, so such a reference is not found
		// again; a wrong one never is.
		if got := f.tag(ref); got != d && got != "" {
			t.Fatalf("tag is %s, want %s", got, d)
		}
	})
}

// A base comes back from its record as it was.
func TestRecords(t *testing.T) {
	text := rapid.String()
	digest := rapid.Custom(func(t *rapid.T) graph.Digest { return digestOf([]byte(text.Draw(t, "content"))) })
	rapid.Check(t, func(t *rapid.T) {
		b := &fact.Base{
			Digest: digest.Draw(t, "digest"), Manifest: digest.Draw(t, "manifest"), ConfigDigest: digest.Draw(t, "config"),
			View: json.RawMessage(text.Draw(t, "view")), Layers: []fact.Descriptor{}, DiffIDs: []graph.Digest{},
		}
		for range rapid.IntRange(0, 4).Draw(t, "layers") {
			l := fact.Descriptor{MediaType: text.Draw(t, "type"), Digest: digest.Draw(t, "layer"), Size: rapid.Int64().Draw(t, "size")}
			if rapid.Bool().Draw(t, "annotated") {
				l.Annotations = rapid.MapOfN(text, text, 1, 3).Draw(t, "annotations")
			}
			b.Layers = append(b.Layers, l)
			b.DiffIDs = append(b.DiffIDs, digest.Draw(t, "diff"))
		}
		for range rapid.IntRange(0, 4).Draw(t, "history") {
			h := graph.History{CreatedBy: text.Draw(t, "by"), Author: text.Draw(t, "author"), Comment: text.Draw(t, "comment"), EmptyLayer: rapid.Bool().Draw(t, "empty")}
			if rapid.Bool().Draw(t, "dated") {
				at := time.Unix(rapid.Int64Range(-1e9, 4e9).Draw(t, "seconds"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds")).
					In(time.FixedZone("", 60*rapid.IntRange(-600, 600).Draw(t, "zone")))
				h.Created = &at
			}
			b.History = append(b.History, h)
		}
		data := encodeBase(b)
		got, err := decodeBase(data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(b, got); d != "" {
			t.Fatalf("(-before +after):\n%s", d)
		}
		for i, h := range b.History {
			if h.Created != nil && h.Created.Format(time.RFC3339Nano) != got.History[i].Created.Format(time.RFC3339Nano) {
				t.Fatalf("time %v is written as %v", h.Created, got.History[i].Created)
			}
		}
		i := rapid.IntRange(0, len(data)-1).Draw(t, "damaged byte")
		data[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "damage"))
		if _, err := decodeBase(data); err == nil {
			t.Fatalf("damage of byte %d is not seen", i)
		}
	})
}

// FuzzRecord feeds the reader what its checksum would keep from it.
func FuzzRecord(f *testing.F) {
	at := time.Unix(0, 0)
	data := encodeBase(&fact.Base{
		Digest: digestOf(nil), View: json.RawMessage("{}"), DiffIDs: []graph.Digest{"sha256:1"},
		Layers: []fact.Descriptor{{MediaType: "t", Size: 5, Annotations: map[string]string{"k": "v"}}}, History: []graph.History{{Created: &at, EmptyLayer: true}},
	})
	f.Add(data[len(recordVersion)+sha256.Size:])
	f.Fuzz(func(t *testing.T, payload []byte) {
		sum := sha256.Sum256(payload)
		b, err := decodeBase(slices.Concat([]byte(recordVersion), sum[:], payload))
		if err != nil {
			return
		}
		again, err := decodeBase(encodeBase(b))
		if d := cmp.Diff(b, again); err != nil || d != "" {
			t.Errorf("error %v (-before +after):\n%s", err, d)
		}
	})
}

// A record is for its own digest and platform, and names no file elsewhere.
func TestRecordPaths(t *testing.T) {
	s, err := New(Options{Facts: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	d := digestOf([]byte("d"))
	amd := platform{OS: "linux", Architecture: "amd64"}
	if _, err := s.keepRecord(&fact.Base{Digest: d, View: json.RawMessage("{}")}, amd); err != nil {
		t.Fatal(err)
	}
	if b := s.record("ref", d, amd); b == nil || b.Ref != "ref" {
		t.Errorf("record %v", b)
	}
	for name, p := range map[string]platform{
		"other machine": {OS: "linux", Architecture: "arm64"}, "variant": {OS: "linux", Architecture: "amd64", Variant: "v2"},
		"elsewhere": {OS: "../../x", Architecture: "amd64"},
	} {
		if b := s.record("ref", d, p); b != nil {
			t.Errorf("%s: %v", name, b)
		}
	}
	if _, err := s.keepRecord(&fact.Base{Digest: d}, platform{OS: "../../x", Architecture: "y"}); err != nil {
		t.Error(err)
	}
	if s.record("ref", digestOf([]byte("e")), amd) != nil {
		t.Error("record of another digest")
	}
}

// An attempt ends with its context, even while its body waits for data that does
// not come.
func TestBodyDoesNotHoldAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Options{Dial: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, server) }()
			return client, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		h := s.host("localhost")
		r, w := io.Pipe()
		defer w.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = s.do(ctx, call{
			what: "send", host: h, method: http.MethodPut, url: place{h, "a"}.url("blobs", "uploads/1"),
			body: func() io.Reader { return r }, size: 10, once: true, stream: true,
		})
		if diag.KindOf(err) != diag.Interrupted {
			t.Errorf("error %v", err)
		}
	})
}

func TestHelp(t *testing.T) {
	c := call{host: &host{name: "r.example.com"}}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&statusError{status: 401}, "docker login"},
		{&statusError{status: 429}, "mirror"},
		{refusedError{time.Now()}, "mirror"},
		{&statusError{status: 404}, "check the reference"},
		{errStalled, "can be reached"},
	} {
		if got := c.help(tt.err); !strings.Contains(got, tt.want) {
			t.Errorf("help for %v is %q", tt.err, got)
		}
	}
}

func FuzzManifest(f *testing.F) {
	d := string(digestOf(nil))
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"`+d+`"},"layers":[{"digest":"`+d+`","size":3}]}`), []byte(`{"rootfs":{"diff_ids":["`+d+`"]},"history":[{"created":"2024-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"`+d+`","platform":{"os":"linux","architecture":"amd64"}}]}`), []byte(`{}`))
	f.Add([]byte(`{"schemaVersion":1}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		doc, err := parseManifest(manifest)
		if err != nil {
			return
		}
		if doc.index() {
			if got, err := doc.choose(platform{OS: "linux", Architecture: "amd64"}); err == nil && !valid(got) {
				t.Errorf("chose %q", got)
			}
			return
		}
		s := &Store{}
		b := fact.Base{Layers: doc.Layers}
		if s.describe(&b, config) != nil {
			return
		}
		if len(b.DiffIDs) != len(b.Layers) {
			t.Errorf("%d layers, %d diff ids", len(b.Layers), len(b.DiffIDs))
		}
		if !json.Valid(b.View) {
			t.Errorf("view is not JSON: %s", b.View)
		}
		// A view is its own view, by either way through the memory.
		for _, s := range []*Store{s, {}} {
			again := fact.Base{}
			if err := s.describe(&again, b.View); err != nil || string(again.View) != string(b.View) {
				t.Errorf("view %s of view %s, error %v", again.View, b.View, err)
			}
		}
		keyOf(doc, config)
	})
}

func FuzzNextPage(f *testing.F) {
	f.Add(`</v2/a/tags/list?last=b>; rel="next"`)
	f.Add(`<http://r.example.com/x>; rel=next`)
	f.Fuzz(func(t *testing.T, link string) {
		from := &url.URL{Scheme: "https", Host: "r.example.com", Path: "/v2/a/tags/list"}
		if next, err := nextPage(from, link); err == nil && next.Host != from.Host {
			t.Errorf("%q leads to %s", link, next)
		}
	})
}

func FuzzReference(f *testing.F) {
	for _, ref := range []string{"debian", "docker.io/library/debian:12", "localhost:5000/a/b@" + string(digestOf(nil)), "a/b:c@" + string(digestOf(nil))} {
		f.Add(ref)
	}
	s, err := New(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		one, err := s.target(ref)
		if err != nil {
			if diag.KindOf(err) != diag.File {
				t.Errorf("kind of %v", err)
			}
			return
		}
		two, err := s.target(one.String())
		if err != nil {
			t.Fatalf("%q became %q: %v", ref, one, err)
		}
		if d := cmp.Diff(one.String(), two.String()); d != "" || one.host != two.host {
			t.Errorf("%q: %s", ref, d)
		}
	})
}
