package publish

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// Part is a manifest of an index.
type Part struct {
	// Platform is OS/ARCH[/VARIANT], Key the content key.
	Platform string
	Key      string
	Manifest Object
	// Attestation is the manifest that holds statements about the part; the zero
	// value is none.
	Attestation Object
}

// indexJSON has the fields of an index in the order in which BuildKit writes them.
type indexJSON struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []childJSON       `json:"manifests"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type childJSON struct {
	fact.Descriptor
	Platform platformJSON `json:"platform"`
}

type platformJSON struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// nowhere is the platform of what does not run.
const nowhere = "unknown/unknown"

// Index makes the index of an image: its parts in order, and behind them what
// attests them. The bytes depend on the arguments alone. The index carries its
// key, and states that of each part beside it; with Docker media types, which have
// no annotations, only the configs of the parts carry theirs.
func Index(parts []Part, out fleet.Output, key string) (Object, error) {
	mediaType := "application/vnd.oci.image.index.v1+json"
	oci := out.MediaTypes != "docker"
	if !oci {
		mediaType = "application/vnd.docker.distribution.manifest.list.v2+json"
	}
	x := indexJSON{SchemaVersion: 2, MediaType: mediaType, Annotations: Annotations(out, key)}
	add := func(o Object, platform string, annotations map[string]string) {
		if !oci || annotations[fact.KeyAnnotation] == "" && len(annotations) == 1 {
			annotations = nil
		}
		x.Manifests = append(x.Manifests, childJSON{
			fact.Descriptor{MediaType: o.MediaType, Digest: o.Digest, Size: int64(len(o.Data)), Annotations: annotations}, platformOf(platform)})
	}
	for _, p := range parts {
		add(p.Manifest, p.Platform, map[string]string{fact.KeyAnnotation: p.Key})
	}
	for _, p := range parts {
		if p.Attestation.Digest != "" {
			add(p.Attestation, nowhere, map[string]string{
				"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": string(p.Manifest.Digest)})
		}
	}
	data, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return Object{}, fmt.Errorf("index: %w", err)
	}
	return object(mediaType, data), nil
}

func platformOf(s string) platformJSON {
	part := strings.SplitN(s+"//", "/", 4)
	return platformJSON{OS: part[0], Architecture: part[1], Variant: part[2]}
}
