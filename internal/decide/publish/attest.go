package publish

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Statement is an in-toto statement about the manifest of a part.
type Statement struct {
	// Predicate is the type of what it says, Data the whole statement as JSON.
	Predicate string
	Data      []byte
}

// statementType is what every statement says that it is.
const statementType = "https://in-toto.io/Statement/v1"

// spdx is the predicate type of an SBOM.
const spdx = "https://spdx.dev/Document"

// SBOM makes a statement about the manifest of an image of one that a scanner wrote
// of its files, in which BuildKit's protocol leaves the subject to others. What it
// says stays as it is. A text that is no SPDX document is diag.Step: the scanner is
// the user's.
func SBOM(image string, manifest graph.Digest, scanned []byte) (Statement, error) {
	wrong := func(format string, args ...any) (Statement, error) {
		return Statement{}, diag.Errorf(diag.Step, "use a scanner that follows BuildKit's protocol for SBOM scanners (output.sbom)", "what the scanner wrote of "+image+" "+format, args...)
	}
	var s struct {
		Type          string          `json:"_type"`
		PredicateType string          `json:"predicateType"`
		Subject       []resource      `json:"subject"`
		Predicate     json.RawMessage `json:"predicate"`
	}
	if err := json.Unmarshal(scanned, &s); err != nil {
		return wrong("is no in-toto statement: %w", err)
	}
	if s.PredicateType != spdx || !bytes.HasPrefix(s.Predicate, []byte("{")) {
		return wrong("is of type %q and no SPDX document", s.PredicateType)
	}
	s.Type, s.Subject = statementType, []resource{{Name: image, Digest: digestSet(manifest)}}
	data, err := json.Marshal(s)
	if err != nil {
		return Statement{}, fmt.Errorf("SBOM of %s: %w", image, err)
	}
	return Statement{spdx, data}, nil
}

// Attest makes the manifest that holds statements about another manifest, as buildx
// reads it, and the blobs of the manifest. There is at least one statement.
func Attest(statements []Statement) (blobs []Object, manifest Object, err error) {
	types := mediaTypes(true)
	m := manifestJSON{SchemaVersion: 2, MediaType: types.manifest}
	var ids []graph.Digest
	for _, s := range statements {
		o := object("application/vnd.in-toto+json", s.Data)
		blobs, ids = append(blobs, o), append(ids, o.Digest)
		m.Layers = append(m.Layers, fact.Descriptor{MediaType: o.MediaType, Digest: o.Digest, Size: int64(len(o.Data)), Annotations: map[string]string{"in-toto.io/predicate-type": s.Predicate}})
	}
	config, err := json.Marshal(map[string]any{"architecture": "unknown", "os": "unknown", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	if err != nil {
		return nil, Object{}, fmt.Errorf("attestation: %w", err)
	}
	about := object(types.config, config)
	m.Config = fact.Descriptor{MediaType: about.MediaType, Digest: about.Digest, Size: int64(len(about.Data))}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, Object{}, fmt.Errorf("attestation: %w", err)
	}
	return append(blobs, about), object(types.manifest, data), nil
}
