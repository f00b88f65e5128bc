//go:build linux

package engine_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

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

// tarball writes the files under dir to a tar file, compressed when its name says so.
func tarball(file, dir string) error {
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
