package plan

import (
	"encoding/json"

	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Basis is what a plan's decisions rest on. It is kept with a run, so that
// another plan, or another run, can be compared with it.
type Basis struct {
	V int `json:"v"`
	// Observed is true of builds of another program: steps are known by name, and
	// what they read is not.
	Observed bool `json:"observed,omitempty"`
	// Conversions are the variants that units name, each once.
	Conversions []Conversion `json:"conversions"`
	// Listing is what steps read of local contexts: context, path, and the first
	// digits of a digest over the entry. Nil when it was not asked for.
	Listing Listing `json:"listing,omitempty"`
	// Folders are where the contexts are, absolute, by name.
	Folders map[string]string `json:"folders,omitempty"`
}

// Listing is the entries of local contexts: context, path, digest.
type Listing map[string]map[string]string

// Conversion is a variant as it is compared: its steps and what they read.
type Conversion struct {
	ID    graph.Digest `json:"id"`
	Graph graph.Graph  `json:"graph"`
	// Files are the digests of the local files that steps read.
	Files graph.Files `json:"files,omitempty"`
	// Config is the image config, as in graph.Variant.
	Config json.RawMessage `json:"config"`
}

// Conversion finds a conversion by the id of its variant; nil when there is none.
func (b *Basis) Conversion(id graph.Digest) *Conversion {
	for i := range b.Conversions {
		if b.Conversions[i].ID == id {
			return &b.Conversions[i]
		}
	}
	return nil
}
