// Package fact holds what registries told us: immutable facts about content,
// by digest, and perishable ones about tags.
package fact

import (
	"encoding/json"
	"errors"

	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Descriptor names a blob in a manifest.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      graph.Digest      `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Base is a base image for one platform. Everything but Ref is a fact about
// Digest and never changes.
type Base struct {
	// Ref is the reference as declared, Digest what it resolved to: the digest
	// that a pull by tag would be answered with, which may be an index.
	Ref    string       `json:"ref"`
	Digest graph.Digest `json:"digest"`
	// Manifest is the digest of the platform's manifest; equal to Digest unless
	// that is an index.
	Manifest graph.Digest `json:"manifest"`
	// Layers and DiffIDs go together, lowest first.
	Layers  []Descriptor   `json:"layers"`
	DiffIDs []graph.Digest `json:"diffIds"`
	// History is the config's history.
	History []graph.History `json:"history,omitempty"`
	// View is the canonical config without rootfs, history and created: what a
	// recipe's conversion may depend on. Bases with equal views share the bytes.
	View json.RawMessage `json:"view"`
	// ConfigDigest is the digest of the raw config blob.
	ConfigDigest graph.Digest `json:"configDigest"`
	// StandIn says that no registry was asked: View is what somebody said that
	// bases look like, and the digests and layers are made up.
	StandIn bool `json:"standIn,omitempty"`
}

// ErrNotLookedUp says that no registry was ever asked about an image, and that
// none may be asked now.
var ErrNotLookedUp = errors.New("was never looked up, and offline nobody is asked")

// Size is the sum of the compressed layers in bytes.
func (b *Base) Size() int64 {
	var n int64
	for _, l := range b.Layers {
		n += l.Size
	}
	return n
}

// Tag is what a registry says of a reference. Only a "not found" answer makes
// Exists false; any other failure is an error of the request, never a Tag.
type Tag struct {
	Exists bool         `json:"exists"`
	Digest graph.Digest `json:"digest,omitempty"`
	// Key is the content key that the manifest (or its config) carries; empty
	// when it carries none.
	Key string `json:"key,omitempty"`
	// Parts are the manifests of an index by their content keys; nil when it is
	// none, or states no keys.
	Parts map[string]graph.Digest `json:"parts,omitempty"`
}

// Holds is the manifest with a content key: what the reference names, or a part
// of it when that is an index. It is "" when neither has the key.
func (t Tag) Holds(key string) graph.Digest {
	if key != "" && t.Key == key {
		return t.Digest
	}
	return t.Parts[key]
}

// KeyAnnotation is the manifest annotation (or config label, with Docker media
// types) that carries an image's content key.
const KeyAnnotation = "dev.lapstrake.key"
