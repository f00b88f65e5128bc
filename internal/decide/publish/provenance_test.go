package publish_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// made is what an image was made from, with everything that may be known.
func made() publish.Made {
	epoch := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	commit := strings.Repeat("c", 40)
	return publish.Made{
		Image: "a", Platform: "linux/arm64", Key: "v1:key", Manifest: "sha256:manifest",
		Base: &fact.Base{Ref: "docker.io/library/debian:12", Digest: "sha256:index", Manifest: "sha256:arm"},
		Variant: &graph.Variant{ID: "sha256:variant", Shared: &graph.LayerSet{ID: "sha256:set"}, Graph: graph.Graph{Steps: []graph.Step{
			{Kind: graph.KindImage, BaseBound: true, Source: "base"},
			{Kind: graph.KindLocal, Source: "context"},
			{Kind: graph.KindImage, Source: "docker.io/library/golang:1@sha256:golang"},
			{Kind: graph.KindGit, Source: "https://user:word@git.example.com/a/b.git#" + commit},
			{Kind: graph.KindHTTP, Source: "https://example.com/a?b=c@d"},
			{Kind: graph.KindHTTP, Source: "https://example.com/a?b=c@d"},
			{Kind: graph.KindExec, Secrets: []string{"token", "npm"}},
			{Kind: graph.KindExec, Secrets: []string{"token"}},
		}}},
		Content: "sha256:content", Dockerfile: "docker/Dockerfile", Text: "sha256:text",
		Recipe: fleet.Recipe{BaseArg: "BASE_IMAGE", Target: "final", Network: "none", Source: &fleet.Source{Git: "https://git.example.com/agent.git", Commit: commit}},
		Args:   map[string]string{"MODE": "fast", "API_TOKEN": "hunter22"}, Epoch: &epoch,
		Versions: map[string]string{"lapstrake": "1.2.3", "buildkit-dockerfile": "v0.34.2"},
	}
}

// statementOf is a statement of provenance, pretty.
func statementOf(t testing.TB, m publish.Made) string {
	t.Helper()
	s, err := publish.Provenance(m)
	if err != nil {
		t.Fatal(err)
	}
	return pretty(t, s)
}

func pretty(t testing.TB, s publish.Statement) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, s.Data, "", " "); err != nil {
		t.Fatal(err)
	}
	return out.String() + "\n"
}

func TestProvenance(t *testing.T) {
	golden.Text(t, "testdata/provenance.json", statementOf(t, made()))
	bare := publish.Made{Image: "a", Platform: "linux/amd64", Base: &fact.Base{Ref: "b"}, Variant: &graph.Variant{}, Recipe: fleet.Recipe{BaseArg: "BASE_IMAGE", Source: &fleet.Source{Git: "/home/ana/agent", Commit: "c"}}}
	golden.Text(t, "testdata/provenance-bare.json", statementOf(t, bare))
}

// TestProvenanceProperty: no credential of a URL and no value of a secret argument gets
// into a statement, and equal inputs are attested by equal bytes.
func TestProvenanceProperty(t *testing.T) {
	word := rapid.StringMatching(`Q[a-z0-9@:]{3,9}Z`)
	rapid.Check(t, func(t *rapid.T) {
		secret := word.Draw(t, "secret")
		m := made()
		m.Args = map[string]string{rapid.SampledFrom([]string{"TOKEN", "DB_PASSWORD", "my_secret"}).Draw(t, "name"): secret}
		url := rapid.SampledFrom([]string{"https://", "ssh://", "http://"}).Draw(t, "scheme") + secret + "@host.example" + rapid.SampledFrom([]string{"", "/", "/a/b.git", "/a@b"}).Draw(t, "path")
		m.Recipe.Source.Git = url
		m.Variant.Graph.Steps = append(m.Variant.Graph.Steps, graph.Step{Kind: graph.KindHTTP, Source: url})
		first, err := publish.Provenance(m)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(first.Data, []byte(secret)) {
			t.Fatalf("%s is in %s", secret, first.Data)
		}
		if again, _ := publish.Provenance(m); !bytes.Equal(again.Data, first.Data) {
			t.Fatal("other bytes")
		}
	})
}
