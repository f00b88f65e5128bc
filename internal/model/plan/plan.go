// Package plan holds what will be done, as data: it can be printed, compared
// and tested, and nothing in it does anything.
package plan

import (
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Version is the version of the plan's JSON form.
const Version = 1

// Action is what will be done for one image.
type Action string

// The actions.
const (
	Skip   Action = "skip"   // the tag holds this content already
	Retag  Action = "retag"  // this content exists under another tag
	Append Action = "append" // shared layers are laid over the base in the registry
	Build  Action = "build"  // a solve of its own
	Block  Action = "block"  // cannot be done; Why says what is wrong
)

// Actions lists every action from the cheapest to the dearest.
func Actions() []Action { return []Action{Skip, Retag, Append, Build, Block} }

// Reason says why something was decided. Codes are shared with lint.
type Reason struct {
	Code   string   `json:"code"`
	Pos    diag.Pos `json:"pos,omitzero"`
	Detail string   `json:"detail,omitempty"`
}

// Unit is one image on one platform.
type Unit struct {
	// Image names the unit, uniquely in the plan: the image's id, with the
	// platform behind it when there are several; see fleet.Fleet.Unit.
	Image    string `json:"image"`
	Platform string `json:"platform"`
	// Index is the image's id when the unit is a part of its [Index]: then the unit
	// is published by digest, and the tags are the index's.
	Index  string `json:"index,omitempty"`
	Action Action `json:"action"`
	// Key is the content key, "v1:" and 64 hex digits; empty when blocked
	// before it was known.
	Key string `json:"key,omitempty"`
	// Tags are the full references to publish, the first one first.
	Tags []string `json:"tags"`
	// Base is the declared reference, BaseDigest what it resolved to.
	Base       string       `json:"base"`
	BaseDigest graph.Digest `json:"baseDigest,omitempty"`
	// BaseLayers is a digest over the base's layers: what a solver knows a base by.
	BaseLayers graph.Digest `json:"baseLayers,omitempty"`
	// Variant is the id of the recipe's conversion, Layers that of the layer
	// set when the image is appended.
	Variant graph.Digest `json:"variant,omitempty"`
	Layers  graph.Digest `json:"layers,omitempty"`
	// From is the repository@digest that holds this content already, for a
	// retag or a skip by content.
	From string `json:"from,omitempty"`
	// Have are the tags that hold this content already; only the others are published.
	Have []string `json:"have,omitempty"`
	// Needs are the shared steps that must have run before.
	Needs []graph.Digest `json:"needs,omitempty"`
	// Scan tells that the image is scanned, when it is there, for its SBOM.
	Scan bool `json:"scan,omitempty"`
	// Why is never empty: the first reason decided.
	Why []Reason `json:"why"`
}

// Compose is the action for an index that is written once its units are there.
// The other actions of an index are Skip, Retag and Block.
const Compose Action = "compose"

// Index is an image that is published as an index over the manifests of its
// units, and over what attests them where that is asked for.
type Index struct {
	// Image is the image's id, Units are the names of its units.
	Image  string   `json:"image"`
	Units  []string `json:"units"`
	Action Action   `json:"action"`
	// Key is the content key of the whole, made of those of the units; empty when
	// one of these is.
	Key  string   `json:"key,omitempty"`
	Tags []string `json:"tags"`
	// From and Have are as in [Unit].
	From string   `json:"from,omitempty"`
	Have []string `json:"have,omitempty"`
}

// Index finds the index of an image; nil when it has none.
func (p *Plan) Index(image string) *Index {
	for i := range p.Indexes {
		if p.Indexes[i].Image == image {
			return &p.Indexes[i]
		}
	}
	return nil
}

// Scans is the number of units that are scanned.
func (p *Plan) Scans() (n int64) {
	for i := range p.Units {
		if p.Units[i].Scan {
			n++
		}
	}
	return n
}

// Plan is what one run will do.
type Plan struct {
	V     int    `json:"v"`
	Fleet string `json:"fleet"`
	// Output is where images go when that is not the registries that their tags
	// name; see fleet.Output.
	Output string `json:"output,omitempty"`
	Units  []Unit `json:"units"`
	// Indexes are those of the images that are published as one, in order; none
	// when an image is one manifest.
	Indexes []Index `json:"indexes,omitempty"`
	// Actions counts units.
	Actions map[Action]int `json:"actions"`
	// Kinds groups the units that share a variant.
	Kinds []Kind `json:"kinds"`
	// Executions compares steps that will run with one solve per image.
	Executions Executions `json:"executions"`
	// Requests is the predicted number of requests per registry host.
	Requests map[string]int64 `json:"requests"`
	// BytesToCopy are bytes that must cross from one registry to another.
	BytesToCopy int64 `json:"bytesToCopy"`
	// Cache is the registry/repository that results of shared steps are kept in
	// for other daemons; empty when there is none.
	Cache string `json:"cache,omitempty"`
	// Scanner is the image that makes SBOMs; empty when none are asked for.
	Scanner  string   `json:"scanner,omitempty"`
	Warnings []Reason `json:"warnings,omitempty"`
}

// Kind is a group of images with the same variant.
type Kind struct {
	Variant   graph.Digest `json:"variant"`
	Images    int          `json:"images"`
	Action    Action       `json:"action"`
	Shared    int          `json:"shared"`
	BaseBound int          `json:"baseBound"`
	// Top are the names of base-bound steps: what each image costs.
	Top []string `json:"top,omitempty"`
}

// Executions counts step executions on an empty cache.
type Executions struct {
	Planned int64 `json:"planned"` // each distinct step once
	Naive   int64 `json:"naive"`   // every step of every image
}

// OpKind is what a publish operation does.
type OpKind string

// The publish operations.
const (
	OpMount    OpKind = "mount"    // a blob from another repository of the same registry
	OpCopy     OpKind = "copy"     // a blob from another registry
	OpUpload   OpKind = "upload"   // a blob that we hold
	OpManifest OpKind = "manifest" // PUT of a manifest, by tag or digest
)

// Op is one publish operation. Applying the same Op again is harmless and has
// the same result.
type Op struct {
	Kind OpKind `json:"kind"`
	// Repo is registry/repository, the target.
	Repo string `json:"repo"`
	// Digest and Size are those of the blob or manifest.
	Digest    graph.Digest `json:"digest"`
	Size      int64        `json:"size"`
	MediaType string       `json:"mediaType,omitempty"`
	// From is registry/repository of the source, for mount and copy.
	From string `json:"from,omitempty"`
	// Tag, for a manifest: the tag to PUT; empty means by digest.
	Tag string `json:"tag,omitempty"`
	// Data is the content, for upload and manifest.
	Data []byte `json:"-"`
}

// Outcome says what applying an [Op] cost.
type Outcome struct {
	// Did is what really happened: a mount that the registry refused is an
	// OpCopy or OpUpload; "" means the blob was there.
	Did OpKind
	// Pulled and Pushed are body bytes that moved through this client.
	Pulled, Pushed int64
}

// Job is one solve.
type Job struct {
	// Definition is the opaque graph; see graph.Variant.
	Definition []byte
	// Config is the image config to export, BaseConfig that of the base (for
	// the epoch rule); both JSON.
	Config, BaseConfig []byte
	// Repo, when set, is registry/repository to push to, by digest only.
	Repo string
	// HTTP says that Repo's registry speaks plain HTTP.
	HTTP bool
	// MediaTypes, Compression and CompressionLevel are as in fleet.Output.
	MediaTypes, Compression string
	CompressionLevel        int
	Annotations             map[string]string
	// Epoch, when set, clamps times and rewrites those in new layers.
	Epoch *time.Time
	// Cache says where results are exported to and imported from.
	Cache Cache
}

// Scan is a solve that lists what is in an image that is published.
type Scan struct {
	// Image is registry/repository@digest, as the daemon reaches it.
	Image    string
	Platform string
	// Scanner is the reference of the image that does it; see fleet.Output.SBOM.
	Scanner string
}

// Cache is how results of steps reach another daemon by way of a registry. The
// zero value is not at all.
type Cache struct {
	// To is a registry/repository:tag that the results of all steps are exported
	// to; From are such references to find results in, of which one that does not
	// exist is no error. All are on one registry.
	To   string
	From []string
	// HTTP says that the registry speaks plain HTTP.
	HTTP bool
}

// Built is what a solve left in the registry.
type Built struct {
	// Digest is the pushed manifest's; empty when nothing was pushed.
	Digest graph.Digest
}
