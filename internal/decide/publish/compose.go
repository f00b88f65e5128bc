package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Layers is a layer set as a solve left it in a repository.
type Layers struct {
	Descriptors []fact.Descriptor `json:"descriptors"`
	DiffIDs     []graph.Digest    `json:"diffIds"`
	// Times are the layers' creation times, from the history of the exported config.
	Times []time.Time `json:"times"`
}

// ReadLayers takes a layer set from the manifest and config that exporting it
// alone produced.
func ReadLayers(manifest, config []byte) (Layers, error) {
	var m struct {
		Layers []fact.Descriptor `json:"layers"`
	}
	var c struct {
		RootFS struct {
			DiffIDs []graph.Digest `json:"diff_ids"`
		} `json:"rootfs"`
		History []graph.History `json:"history"`
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		return Layers{}, fmt.Errorf("manifest of a layer set: %w", err)
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return Layers{}, fmt.Errorf("config of a layer set: %w", err)
	}
	l := Layers{Descriptors: m.Layers, DiffIDs: c.RootFS.DiffIDs}
	for _, h := range c.History {
		if !h.EmptyLayer && h.Created != nil {
			l.Times = append(l.Times, *h.Created)
		}
	}
	if len(l.DiffIDs) != len(l.Descriptors) || len(l.Times) != len(l.Descriptors) {
		return Layers{}, fmt.Errorf("layer set: %d layers, %d diff ids, %d times", len(l.Descriptors), len(l.DiffIDs), len(l.Times))
	}
	return l, nil
}

// Image is everything that the bytes of an appended image depend on.
type Image struct {
	Base    *fact.Base
	Variant *graph.Variant
	Layers  Layers
	Output  fleet.Output
	Epoch   *time.Time
	Key     string
}

// Compose makes the config and manifest of an image that is its base with a
// layer set on top. Both are the bytes that BuildKit's exporter writes for a
// full build with the same records, but for the key: an annotation of the
// manifest, or a label of the config with Docker media types.
func Compose(im Image) (config, manifest Object, err error) {
	oci := im.Output.MediaTypes != "docker"
	cfg, err := composeConfig(im, oci)
	if err != nil {
		return Object{}, Object{}, fmt.Errorf("config of %s: %w", im.Base.Ref, err)
	}
	types := mediaTypes(oci)
	config = object(types.config, cfg)
	m := manifestJSON{SchemaVersion: 2, MediaType: types.manifest, Config: fact.Descriptor{MediaType: types.config, Digest: config.Digest, Size: int64(len(cfg))}}
	for _, l := range im.Base.Layers {
		m.Layers = append(m.Layers, baseLayer(l, oci))
	}
	for _, l := range im.Layers.Descriptors {
		m.Layers = append(m.Layers, newLayer(l, oci))
	}
	m.Annotations = Annotations(im.Output, im.Key)
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return Object{}, Object{}, fmt.Errorf("manifest of %s: %w", im.Base.Ref, err)
	}
	return config, object(types.manifest, data), nil
}

// manifestJSON has the fields of an image manifest in the order in which
// BuildKit writes them.
type manifestJSON struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        fact.Descriptor   `json:"config"`
	Layers        []fact.Descriptor `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Annotations are the manifest annotations of an image with the given key; nil
// with Docker media types, which have none.
func Annotations(out fleet.Output, key string) map[string]string {
	if out.MediaTypes == "docker" {
		return nil
	}
	a := make(map[string]string, len(out.Annotations)+1)
	for k, v := range out.Annotations {
		a[k] = v
	}
	if key != "" {
		a[fact.KeyAnnotation] = key
	}
	return a
}

func object(mediaType string, data []byte) Object {
	sum := sha256.Sum256(data)
	return Object{MediaType: mediaType, Digest: graph.Digest("sha256:" + hex.EncodeToString(sum[:])), Data: data}
}

// composeConfig renders the final config: the front end's, with rootfs, history
// and created replaced, its keys sorted.
func composeConfig(im Image, oci bool) ([]byte, error) {
	m, err := configMap(im.Variant, labelKey(oci, im.Key))
	if err != nil {
		return nil, err
	}
	rootfs := struct {
		Type    string         `json:"type"`
		DiffIDs []graph.Digest `json:"diff_ids"`
	}{"layers", append(append([]graph.Digest(nil), im.Base.DiffIDs...), im.Layers.DiffIDs...)}
	history, err := composeHistory(im)
	if err != nil {
		return nil, err
	}
	var created *time.Time
	for _, h := range history {
		if h.Created != nil {
			created = h.Created
		}
	}
	for name, v := range map[string]any{"rootfs": rootfs, "history": history, "created": created} {
		if m[name], err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	return json.Marshal(m)
}

// composeHistory joins the base's and the recipe's history and fills in the
// times as BuildKit's exporter does: a layer without a time takes its record's,
// any other entry the first new layer's, or the time before it.
func composeHistory(im Image) ([]graph.History, error) {
	all := append(append([]graph.History(nil), im.Base.History...), im.Variant.History...)
	nbase := len(im.Base.DiffIDs)
	layer := 0
	for i := range all {
		if all[i].EmptyLayer {
			continue
		}
		if all[i].Created == nil {
			switch n := layer - nbase; {
			case n >= 0 && n < len(im.Layers.Times):
				all[i].Created = &im.Layers.Times[n]
			case n < 0 && len(im.Layers.Times) > 0:
				all[i].Created = &im.Layers.Times[0]
			}
		}
		layer++
	}
	if want := nbase + len(im.Layers.DiffIDs); layer != want {
		return nil, fmt.Errorf("history has %d layers, the image %d", layer, want)
	}
	fillTimes(all)
	if im.Epoch != nil {
		clamp(all, im.Base.History, *im.Epoch)
	}
	return all, nil
}

// fillTimes gives every entry without a time the first time after the first gap,
// or the last known time when there is none; later gaps take the time before them.
func fillTimes(all []graph.History) {
	var created *time.Time
	gap := false
	for _, h := range all {
		if h.Created == nil {
			gap = true
			continue
		}
		created = h.Created
		if gap {
			break
		}
	}
	gap = false
	for i := range all {
		if all[i].Created == nil {
			gap = true
			all[i].Created = created
		} else if gap {
			created = all[i].Created
		}
	}
}

// clamp limits the times of entries after the base's own history to epoch.
func clamp(all, base []graph.History, epoch time.Time) {
	diverged := false
	for i := range all {
		if !diverged && i < len(base) && sameHistory(all[i], base[i]) {
			continue
		}
		diverged = true
		if all[i].Created == nil || all[i].Created.After(epoch) {
			all[i].Created = &epoch
		}
	}
}

func sameHistory(a, b graph.History) bool {
	if (a.Created == nil) != (b.Created == nil) || a.Created != nil && !a.Created.Equal(*b.Created) {
		return false
	}
	return a.CreatedBy == b.CreatedBy && a.Author == b.Author && a.Comment == b.Comment && a.EmptyLayer == b.EmptyLayer
}

type types struct{ manifest, config string }

func mediaTypes(oci bool) types {
	if oci {
		return types{"application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json"}
	}
	return types{"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.container.image.v1+json"}
}

// layerTypes pairs Docker's and OCI's names of the same layer format.
var layerTypes = [...][2]string{
	{"application/vnd.docker.image.rootfs.diff.tar", "application/vnd.oci.image.layer.v1.tar"},
	{"application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.oci.image.layer.v1.tar+gzip"},
	{"application/vnd.docker.image.rootfs.diff.tar.zstd", "application/vnd.oci.image.layer.v1.tar+zstd"},
	{"application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar"},
	{"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"},
}

// keptAnnotations are those that BuildKit keeps on the layers of a base: a lazy
// puller needs them.
var keptAnnotations = [...]string{"containerd.io/snapshot/stargz/toc.digest", "io.containers.estargz.uncompressed-size"}

// newLayer is a layer of a layer set as the exporter writes it: its media type in
// the manifest's own family, and the annotations that the exporter gave it,
// which Docker's manifests cannot have.
func newLayer(l fact.Descriptor, oci bool) fact.Descriptor {
	out := fact.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size}
	if oci {
		out.Annotations = l.Annotations
	}
	for _, pair := range layerTypes {
		if l.MediaType == pair[0] && oci {
			out.MediaType = pair[1]
		}
		if l.MediaType == pair[1] && !oci {
			out.MediaType = pair[0]
		}
	}
	return out
}

// baseLayer is a layer of a base as the exporter writes it: as a new one, with no
// annotations but those that lazy pulling needs.
func baseLayer(l fact.Descriptor, oci bool) fact.Descriptor {
	out := newLayer(l, oci)
	out.Annotations = nil
	for _, k := range keptAnnotations {
		if v, ok := l.Annotations[k]; ok && oci {
			if out.Annotations == nil {
				out.Annotations = map[string]string{}
			}
			out.Annotations[k] = v
		}
	}
	return out
}

// ConfigOf is the digest of a manifest's config.
func ConfigOf(manifest []byte) (graph.Digest, error) {
	var m struct {
		Config fact.Descriptor `json:"config"`
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		return "", fmt.Errorf("manifest: %w", err)
	}
	if m.Config.Digest == "" {
		return "", fmt.Errorf("manifest names no config")
	}
	return m.Config.Digest, nil
}

// Pulled is an image as what a solve starts from: its layers by the digest of its
// manifest, and nothing else that is known of bases.
func Pulled(ref string, digest graph.Digest, manifest, config []byte) (*fact.Base, error) {
	blobs, err := BlobsOf(manifest)
	if err != nil {
		return nil, err
	}
	var c struct {
		RootFS struct {
			DiffIDs []graph.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return &fact.Base{Ref: ref, Digest: digest, Manifest: digest, Layers: blobs[:len(blobs)-1], DiffIDs: c.RootFS.DiffIDs}, nil
}

// BlobsOf lists the blobs of a manifest: its layers, and last its config.
func BlobsOf(manifest []byte) ([]fact.Descriptor, error) {
	var m manifestJSON
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return append(m.Layers, m.Config), nil
}
