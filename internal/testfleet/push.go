package testfleet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
)

// Docker's media types, and what registries answer a HEAD for.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	acceptAll      = v1.MediaTypeImageManifest + ", " + v1.MediaTypeImageIndex + ", " + dockerManifest
)

// picture is an image before it has digests.
type picture struct {
	form   form
	arch   string
	layers []blob
	env    []string
	dir    string
}

// config is the image config for an architecture.
func (p picture) config(arch string) []byte {
	created := birth()
	c := v1.Image{
		Created:  &created,
		Platform: v1.Platform{Architecture: arch, OS: "linux"},
		Config:   v1.ImageConfig{Env: p.env, WorkingDir: p.dir, Cmd: []string{"/bin/sh"}},
		RootFS:   v1.RootFS{Type: "layers"},
	}
	names := []string{"system", "environment", "instance"}
	for i, l := range p.layers {
		at := created.Add(time.Duration(i) * time.Minute)
		name := names[min(i, 2)]
		if i == len(p.layers)-1 && i > 0 {
			name = names[2]
		}
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.Digest(l.diffID))
		c.History = append(c.History, v1.History{Created: &at, CreatedBy: "ADD " + name + ".tar / # test fleet"})
	}
	end := created.Add(time.Hour)
	c.History = append(c.History, v1.History{Created: &end, CreatedBy: `CMD ["/bin/sh"]`, EmptyLayer: true})
	return marshal(c)
}

// manifest is the image's manifest over a config.
func (p picture) manifest(config blob) (data []byte, mediaType string) {
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.Digest(config.digest), Size: config.len()},
	}
	if p.form == formDocker {
		m.MediaType, m.Config.MediaType = dockerManifest, dockerConfig
	}
	for _, l := range p.layers {
		t := v1.MediaTypeImageLayerGzip
		switch {
		case l.zstd:
			t = v1.MediaTypeImageLayerZstd
		case p.form == formDocker:
			t = dockerLayer
		}
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: t, Digest: digest.Digest(l.digest), Size: l.len()})
	}
	return marshal(m), m.MediaType
}

// otherArch is the second platform of an index.
func otherArch(arch string) string {
	if arch == "arm64" {
		return "amd64"
	}
	return "arm64"
}

// pushed are the digests of an image in a registry.
type pushed struct {
	top      string // what the tag points to
	manifest string
}

// pusher writes to one registry.
type pusher struct {
	host   string
	client *http.Client
	own    *http.Transport // nil when the transport is the caller's
}

// newPusher connects to the options' host when the first request is made.
func newPusher(o Options) *pusher {
	p := &pusher{host: o.Host, client: &http.Client{Transport: o.Transport}}
	if o.Transport == nil {
		p.own = &http.Transport{MaxIdleConnsPerHost: o.Jobs}
		p.client.Transport = p.own
	}
	return p
}

// close closes the connections.
func (p *pusher) close() {
	if p.own != nil {
		p.own.CloseIdleConnections()
	}
}

// image pushes an image under a tag, unless that is there already. Layers
// without bytes are mounted from the builder's repository.
func (p *pusher) image(ctx context.Context, repo, tag string, pic picture) (pushed, error) {
	archs := []string{pic.arch}
	if pic.form == formIndex {
		archs = append(archs, otherArch(pic.arch))
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	var configs, manifests []blob
	var mediaType string
	for _, arch := range archs {
		c := newBlob(pic.config(arch))
		var data []byte
		data, mediaType = pic.manifest(c)
		m := newBlob(data)
		configs, manifests = append(configs, c), append(manifests, m)
		index.Manifests = append(index.Manifests, v1.Descriptor{MediaType: mediaType, Digest: digest.Digest(m.digest),
			Size: m.len(), Platform: &v1.Platform{Architecture: arch, OS: "linux"}})
	}
	top := manifests[0]
	if pic.form == formIndex {
		top = newBlob(marshal(index))
	}
	out := pushed{top: top.digest, manifest: manifests[0].digest}
	if there, err := p.has(ctx, repo, tag, top.digest); there || err != nil {
		return out, err
	}
	for _, b := range append(configs, pic.layers...) {
		if err := p.blob(ctx, repo, b); err != nil {
			return out, err
		}
	}
	if pic.form == formIndex {
		for _, m := range manifests {
			if err := p.manifest(ctx, repo, m.digest, mediaType, m.data); err != nil {
				return out, err
			}
		}
		mediaType = v1.MediaTypeImageIndex
	}
	return out, p.manifest(ctx, repo, tag, mediaType, top.data)
}

// has reports whether the tag points to the digest.
func (p *pusher) has(ctx context.Context, repo, tag, want string) (bool, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodHead, p.url(repo, "manifests/"+tag), nil)
	if err != nil {
		return false, err
	}
	q.Header.Set("Accept", acceptAll)
	a, err := p.do(q, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	return a.Header.Get("Docker-Content-Digest") == want, nil
}

// blob uploads a blob, or mounts it when it has no bytes.
func (p *pusher) blob(ctx context.Context, repo string, b blob) error {
	if b.data == nil {
		q, err := http.NewRequestWithContext(ctx, http.MethodPost,
			p.url(repo, "blobs/uploads/?mount="+b.digest+"&from="+url.QueryEscape(builderRepo)), nil)
		if err != nil {
			return err
		}
		_, err = p.do(q, http.StatusCreated)
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url(repo, "blobs/uploads/"), nil)
	if err != nil {
		return err
	}
	a, err := p.do(q, http.StatusAccepted)
	if err != nil {
		return err
	}
	at, err := a.Location()
	if err != nil {
		return fmt.Errorf("upload to %s: %w", repo, err)
	}
	v := at.Query()
	v.Set("digest", b.digest)
	at.RawQuery = v.Encode()
	q, err = http.NewRequestWithContext(ctx, http.MethodPut, at.String(), bytes.NewReader(b.data))
	if err != nil {
		return err
	}
	_, err = p.do(q, http.StatusCreated)
	return err
}

// manifest writes a manifest under a tag or digest.
func (p *pusher) manifest(ctx context.Context, repo, ref, mediaType string, data []byte) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPut, p.url(repo, "manifests/"+ref), bytes.NewReader(data))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", mediaType)
	_, err = p.do(q, http.StatusCreated)
	return err
}

// url is an address in a repository.
func (p *pusher) url(repo, rest string) string {
	return "http://" + p.host + "/v2/" + repo + "/" + rest
}

// do sends a request; an answer of another status than those is an error.
func (p *pusher) do(q *http.Request, want ...int) (*http.Response, error) {
	a, err := p.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(io.LimitReader(a.Body, 4096))
	if err != nil {
		return nil, err
	}
	for _, s := range want {
		if a.StatusCode == s {
			return a, nil
		}
	}
	return nil, fmt.Errorf("%s %s: %s: %s", q.Method, q.URL.Path, a.Status, body)
}
