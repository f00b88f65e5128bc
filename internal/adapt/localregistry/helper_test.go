package localregistry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// client speaks to one registry the way a test likes it: failures to connect
// end the test, statuses are returned.
type client struct {
	t         *testing.T
	host      string
	http      *http.Client
	auth      func(*http.Request)
	transport *http.Transport
}

func newClient(t *testing.T, r *Registry) *client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{t: t, host: r.Host(), http: &http.Client{Transport: tr}, transport: tr}
}

// do sends a request and reads the answer.
func (c *client) do(method, path, contentType string, body []byte) (*http.Response, []byte) {
	c.t.Helper()
	if !strings.HasPrefix(path, "http://") {
		path = "http://" + c.host + path
	}
	q, err := http.NewRequest(method, path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	q.Header.Set("Accept", ociManifest+", "+dockerManifest)
	if contentType != "" {
		q.Header.Set("Content-Type", contentType)
	}
	if c.auth != nil {
		c.auth(q)
	}
	a, err := c.http.Do(q)
	if err != nil {
		c.t.Fatal(err)
	}
	defer a.Body.Close()
	data, err := io.ReadAll(a.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return a, data
}

// want sends a request and requires its status.
func (c *client) want(status int, method, path string) []byte {
	c.t.Helper()
	a, data := c.do(method, path, "", nil)
	if a.StatusCode != status {
		c.t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.StatusCode, status, data)
	}
	return data
}

// push uploads a blob in two requests and returns its digest.
func (c *client) push(repo string, data []byte) string {
	c.t.Helper()
	a, body := c.do("POST", "/v2/"+repo+"/blobs/uploads/", "", nil)
	if a.StatusCode != http.StatusAccepted {
		c.t.Fatalf("upload to %s: status %d: %s", repo, a.StatusCode, body)
	}
	at, err := a.Location()
	if err != nil {
		c.t.Fatal(err)
	}
	d := digestOf(data)
	at.RawQuery += "&digest=" + url.QueryEscape(d)
	if a, body := c.do("PUT", at.String(), "", data); a.StatusCode != http.StatusCreated {
		c.t.Fatalf("upload to %s: status %d: %s", repo, a.StatusCode, body)
	}
	return d
}

// image pushes a config, a layer and a manifest under a tag.
func (c *client) image(repo, tag, mediaType string) (manifest, layer string) {
	c.t.Helper()
	config := []byte(`{"architecture":"amd64","os":"linux","repo":"` + repo + `"}`)
	content := []byte("layer of " + repo)
	layer = c.push(repo, content)
	data, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     mediaType,
		"config":        descriptor("application/vnd.oci.image.config.v1+json", c.push(repo, config), config),
		"layers":        []any{descriptor("application/vnd.oci.image.layer.v1.tar", layer, content)},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	a, body := c.do("PUT", "/v2/"+repo+"/manifests/"+tag, mediaType, data)
	if a.StatusCode != http.StatusCreated {
		c.t.Fatalf("manifest %s:%s: status %d: %s", repo, tag, a.StatusCode, body)
	}
	return digestOf(data), layer
}

func descriptor(mediaType, digest string, data []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest, "size": len(data)}
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// start runs a registry until the test's end.
func start(t *testing.T, o Options) *Registry {
	t.Helper()
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	r, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(context.Background()); err != nil {
			t.Error("stop:", err)
		}
	})
	return r
}
