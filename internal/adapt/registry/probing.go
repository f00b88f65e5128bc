package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// The parts of a probe, in the order in which they are tried; see [Probed].

func (p *prober) reach(ctx context.Context) bool {
	h := p.at.host
	a := Ability{Name: "reach", OK: true, Needed: true, Found: "answers at " + h.scheme + "://" + h.addr + "/v2/"}
	if err := p.store.greet(ctx, h); err != nil {
		a = failed("reach", true, reply{}, err, "")
	}
	return p.add(a)
}

func (p *prober) login(ctx context.Context) bool {
	h, g := p.at.host, grant{repo: p.at.repo, push: true}
	h.auth.mu.Lock()
	scheme, realm := strings.ToLower(h.auth.challenge.Scheme), h.auth.challenge.Parameters["realm"]
	h.auth.mu.Unlock()
	if scheme == "" {
		return p.add(Ability{Name: "login", OK: true, Needed: true, Found: "asks for none"})
	}
	if _, err := p.store.authorize(ctx, h, g); err != nil {
		return p.add(failed("login", true, reply{}, err, ""))
	}
	user, pass, identity, token, _ := p.store.credentials(ctx, h, g)
	found := "user and password with every request"
	if scheme == "bearer" {
		found = "tokens"
		if u, err := url.Parse(realm); err == nil {
			found += " from " + u.Host
		}
	}
	if user+pass+identity+token == "" {
		found += ", anonymously: there are no credentials"
	}
	return p.add(Ability{Name: "login", OK: true, Needed: true, Found: found})
}

func (p *prober) list(ctx context.Context) {
	r, err := p.send(ctx, p.at, http.MethodGet, p.at.url("tags", "list"), nil, nil)
	p.fresh = r.is(http.StatusNotFound)
	a := Ability{Name: "list", OK: true, Found: "lists tags"}
	switch {
	case p.fresh:
		a.Found = "says that there is no repository yet"
	case err != nil || !r.is(http.StatusOK):
		a = failed("list", false, r, err, "each tag costs a request of its own")
	}
	p.add(a)
}

// push sends the layer, in one request if the registry takes it so.
func (p *prober) push(ctx context.Context) bool {
	layer := p.im.layer
	u := p.at.url("blobs", "uploads/")
	u.RawQuery = url.Values{"digest": {string(digestOf(layer))}}.Encode()
	r, err := p.send(ctx, p.at, http.MethodPost, u, octets(), layer)
	once := Ability{Name: "post", OK: true, Found: "takes a blob in one request"}
	if err == nil && r.is(http.StatusAccepted) {
		once.OK, once.Found, once.Help = false, "wants two requests for a blob", "two are what is sent anyway"
		var session *url.URL
		if session, err = r.session(); err == nil {
			r, err = p.send(ctx, p.at, http.MethodPut, finish(session, digestOf(layer)), octets(), layer)
		}
	}
	if err != nil || !r.is(http.StatusCreated, http.StatusNoContent) {
		c := call{host: p.at.host, grant: grant{repo: p.at.repo, push: true}, method: http.MethodPost}
		help := ""
		if r.err != nil {
			help = c.help(r.err)
		}
		return p.add(failed("push", true, r, err, help))
	}
	p.sent(p.at, "blobs", digestOf(layer))
	if p.fresh {
		p.touched = append(p.touched, p.at)
	}
	p.add(Ability{Name: "push", OK: true, Needed: true, Found: "may push to " + p.at.repo})
	p.add(once)
	return true
}

// sent notes what is to be removed.
func (p *prober) sent(at place, kind string, d graph.Digest) {
	p.pushed = append(p.pushed, pushed{at, kind, d})
}

// chunks sends the config in two pieces, or else as every other blob is sent.
func (p *prober) chunks(ctx context.Context) {
	config, d := p.im.config, digestOf(p.im.config)
	r, err := p.send(ctx, p.at, http.MethodPost, p.at.url("blobs", "uploads/"), nil, nil)
	half := len(config) / 2
	for _, piece := range [][2]int{{0, half}, {half, len(config)}} {
		var session *url.URL
		if err == nil && r.is(http.StatusAccepted) {
			session, err = r.session()
		}
		if err != nil || session == nil {
			break
		}
		header := octets()
		header.Set("Content-Range", fmt.Sprintf("%d-%d", piece[0], piece[1]-1))
		r, err = p.send(ctx, p.at, http.MethodPatch, session, header, config[piece[0]:piece[1]])
	}
	if err == nil && r.is(http.StatusAccepted) {
		var session *url.URL
		if session, err = r.session(); err == nil {
			r, err = p.send(ctx, p.at, http.MethodPut, finish(session, d), octets(), nil)
		}
	}
	if err == nil && r.is(http.StatusCreated, http.StatusNoContent) {
		p.sent(p.at, "blobs", d)
		p.add(Ability{Name: "chunks", OK: true, Found: "takes a blob in pieces"})
		return
	}
	p.add(failed("chunks", false, r, err, "blobs are sent whole"))
	op := plan.Op{Kind: plan.OpUpload, Repo: p.at.String(), Digest: d, Size: int64(len(config)), Data: config}
	if _, err := p.store.upload(ctx, p.at, op); err == nil {
		p.sent(p.at, "blobs", d)
	}
}

func (p *prober) ranges(ctx context.Context) {
	r, err := p.send(ctx, p.at, http.MethodGet, p.at.url("blobs", string(digestOf(p.im.layer))), http.Header{"Range": {"bytes=4-11"}}, nil)
	a := Ability{Name: "ranges", OK: true, Found: "sends a part of a blob"}
	if err != nil || !r.is(http.StatusPartialContent) || r.size != 8 {
		a = failed("ranges", false, r, err, "a copy from there that breaks off reads the blob from its beginning")
	}
	p.add(a)
}

// mount asks for the layer in a second repository.
func (p *prober) mount(ctx context.Context) {
	d := digestOf(p.im.layer)
	u := p.beside.url("blobs", "uploads/")
	u.RawQuery = url.Values{"mount": {string(d)}, "from": {p.at.repo}}.Encode()
	const help = "base layers are copied by way of this machine instead of mounted; put bases and images in one repository, or check that the user may read the one and push to the other"
	existed, err := p.send(ctx, p.beside, http.MethodGet, p.beside.url("tags", "list"), nil, nil)
	// The token must allow to read the source too.
	r, mountErr := p.sendAs(ctx, p.beside, grant{repo: p.beside.repo, push: true, from: p.at.repo}, http.MethodPost, u, nil, nil)
	switch {
	case mountErr != nil || !r.is(http.StatusCreated, http.StatusAccepted):
		p.add(failed("mount", false, r, mountErr, help))
		return
	case r.is(http.StatusCreated):
		p.sent(p.beside, "blobs", d)
		p.add(Ability{Name: "mount", OK: true, Found: "mounts blobs of " + p.at.repo + " in " + p.beside.repo})
	default:
		if session, err := r.session(); err == nil {
			_, _ = p.send(ctx, p.beside, http.MethodDelete, session, nil, nil)
		}
		p.add(Ability{Name: "mount", Found: "opens an upload instead of mounting a blob of " + p.at.repo + " in " + p.beside.repo, Help: help})
	}
	if err == nil && existed.is(http.StatusNotFound) {
		p.touched = append(p.touched, p.beside)
	}
}

// oci sends the manifest with OCI's media types, or else with Docker's. It
// reports whether there is one now.
func (p *prober) oci(ctx context.Context) bool {
	r, err := p.put(ctx, p.im.manifest(types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer, 1))
	if err == nil && r.is(http.StatusCreated, http.StatusOK, http.StatusAccepted) {
		return p.add(Ability{Name: "oci", OK: true, Found: "takes OCI manifests"})
	}
	a := failed("oci", true, r, err, "")
	r, err = p.put(ctx, p.im.manifest(types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer, 1))
	took := err == nil && r.is(http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if took {
		a.Needed, a.Help = false, "write mediaTypes: docker under output in the fleet file"
	}
	p.add(a)
	return took
}

// put sends a manifest under the probe's tag.
func (p *prober) put(ctx context.Context, manifest []byte) (reply, error) {
	doc, err := parseManifest(manifest)
	if err != nil {
		return reply{}, err
	}
	r, err := p.send(ctx, p.at, http.MethodPut, p.at.url("manifests", p.im.tag), http.Header{"Content-Type": {doc.mediaType()}}, manifest)
	if err == nil && r.err == nil {
		p.im.last = manifest
		p.sent(p.at, "manifests", digestOf(manifest))
	}
	return r, err
}

func (p *prober) digest(ctx context.Context) {
	var took []time.Duration
	a := Ability{Name: "digest", OK: true}
	for range heads {
		began := time.Now()
		r, err := p.send(ctx, p.at, http.MethodHead, p.at.url("manifests", p.im.tag), acceptManifests(), nil)
		if err != nil || !r.is(http.StatusOK) || r.header.Get("Docker-Content-Digest") != string(digestOf(p.im.last)) {
			if a = failed("digest", false, r, err, "each look at a tag reads its manifest"); err == nil && r.err == nil {
				a.Found = "a HEAD of a tag does not say its digest"
			}
			break
		}
		took = append(took, time.Since(began))
	}
	if len(took) > 0 {
		slices.Sort(took)
		median := took[len(took)/2].Seconds()
		p.out.HeadSeconds = &median
	}
	if a.OK {
		a.Found = "says the digest of a tag in answer to a HEAD"
	}
	p.add(a)
}

// retag gives the tag a second manifest.
func (p *prober) retag(ctx context.Context) {
	doc, err := parseManifest(p.im.last)
	if err != nil {
		return
	}
	config, layer := types.OCIConfigJSON, types.OCILayer
	if doc.docker() {
		config, layer = types.DockerConfigJSON, types.DockerLayer
	}
	r, err := p.put(ctx, p.im.manifest(types.MediaType(doc.mediaType()), config, layer, 2))
	a := Ability{Name: "retag", OK: true, Found: "a tag can be given other content"}
	if err != nil || r.err != nil {
		a = failed("retag", false, r, err, "an image whose content changes needs another tag")
	}
	p.add(a)
}

// probeImage is an image that nobody else has.
type probeImage struct {
	tag           string
	layer, config []byte
	last          []byte // manifest under the tag
}

func newProbeImage() (*probeImage, error) {
	name := "lapstrake-doctor-" + strings.ToLower(rand.Text()[:12])
	var files, layer bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644}); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	z := gzip.NewWriter(&layer)
	if _, err := z.Write(files.Bytes()); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"Labels": map[string]string{"lapstrake.doctor": name}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []graph.Digest{digestOf(files.Bytes())}},
	})
	return &probeImage{tag: name, layer: layer.Bytes(), config: config}, err
}

// manifest is one of the image's; those with other numbers differ.
func (im *probeImage) manifest(manifest, config, layer types.MediaType, n int) []byte {
	part := func(mt types.MediaType, data []byte) map[string]any {
		return map[string]any{"mediaType": mt, "digest": digestOf(data), "size": len(data)}
	}
	// Docker's manifests have no annotations; white space makes a difference too.
	data, _ := json.MarshalIndent(map[string]any{
		"schemaVersion": 2, "mediaType": manifest, "config": part(config, im.config), "layers": []any{part(layer, im.layer)},
	}, "", strings.Repeat(" ", n))
	return data
}
