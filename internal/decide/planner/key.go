package planner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// KeyVersion is the version of the content key. It changes when the same inputs
// would give another key, or when other inputs count.
const KeyVersion = "v1"

// keyVersion is the part of a content key before the colon.
func keyVersion(key string) string {
	v, _, ok := strings.Cut(key, ":")
	if !ok {
		return "?"
	}
	return v
}

// keyer derives content keys. A key is a digest over inputs only, never over
// results: the base's content, the recipe's conversion, the copied files, the
// ids of secrets (never their values), and how the output is written.
type keyer struct {
	common  map[string]any
	secrets map[graph.Digest][]string // by variant
}

func newKeyer(f *fleet.Fleet, platform string) *keyer {
	common := map[string]any{"platform": platform, "mediaTypes": or(f.Output.MediaTypes, "oci"), "compression": or(f.Output.Compression, "gzip")}
	if f.Output.CompressionLevel > 0 {
		common["compressionLevel"] = f.Output.CompressionLevel
	}
	if len(f.Output.Annotations) > 0 {
		common["annotations"] = f.Output.Annotations
	}
	if f.Epoch != nil {
		common["epoch"] = f.Epoch.UTC().Format(time.RFC3339)
	}
	return &keyer{common: common, secrets: map[graph.Digest][]string{}}
}

// keyers are those of a plan's platforms.
type keyers map[string]*keyer

func (k keyers) of(f *fleet.Fleet, platform string) *keyer {
	if k[platform] == nil {
		k[platform] = newKeyer(f, platform)
	}
	return k[platform]
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// image is the content key of an image.
func (k *keyer) image(f *Facts) string {
	return KeyVersion + ":" + k.sum(map[string]any{"base": f.Base.Manifest, "variant": f.Variant.ID, "content": f.Content, "secrets": k.secretIDs(f.Variant)})
}

// indexKey is the content key of an index over units with these keys, in order:
// "" when one is not known.
func indexKey(units []string, out fleet.Output) string {
	if slices.Contains(units, "") {
		return ""
	}
	k := keyer{common: map[string]any{}}
	if out.SBOM != "" {
		k.common["sbom"] = out.SBOM
	}
	return KeyVersion + ":" + k.sum(map[string]any{"index": units, "provenance": out.Provenance})
}

// layers identifies the result of a layer set: its steps and the files they copy.
func (k *keyer) layers(f *Facts) graph.Digest {
	if len(f.Variant.Shared.Inputs) == 0 {
		return ""
	}
	return graph.Digest("sha256:" + k.sum(map[string]any{"layers": f.Variant.Shared.ID, "content": f.Content, "secrets": k.secretIDs(f.Variant)}))
}

// secretIDs lists the ids that the variant's steps mount, sorted.
func (k *keyer) secretIDs(v *graph.Variant) []string {
	if ids, ok := k.secrets[v.ID]; ok {
		return ids
	}
	ids := []string{}
	for _, s := range v.Graph.Steps {
		ids = append(ids, s.Secrets...)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	k.secrets[v.ID] = ids
	return ids
}

// sum hashes the fields as JSON, whose object keys encoding/json sorts.
func (k *keyer) sum(fields map[string]any) string {
	for name, v := range k.common {
		fields[name] = v
	}
	data, err := json.Marshal(fields)
	if err != nil {
		panic("planner: key fields are plain values: " + err.Error())
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
