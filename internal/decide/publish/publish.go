// Package publish decides what goes to the registry and how: the bytes of an
// appended image's config and manifest, where each blob comes from, and the
// order of requests.
//
// Requests are the cost of a fleet, so the rules are: a blob that is in the
// target repository costs nothing, one in another repository of the same
// registry a mount, one in another registry a copy, each once per repository;
// a config two requests; a manifest one PUT.
package publish

import (
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// Split divides a full reference into registry/repository and its tag or
// digest; the latter is empty when there is none.
func Split(ref string) (repo, tag string) {
	if i := strings.IndexByte(ref, '@'); i >= 0 {
		repo, _ = Split(ref[:i])
		return repo, ref[i+1:]
	}
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i], ref[i+1:]
	}
	return ref, ""
}

// Host is the registry host of a full reference or repository.
func Host(ref string) string {
	host, _, _ := strings.Cut(ref, "/")
	return host
}

// KeyTag is the tag under which an image can be found by its content key.
func KeyTag(key string) string {
	_, hex, _ := strings.Cut(key, ":")
	return "k-" + hex[:min(12, len(hex))]
}

// CacheRef is where repo keeps the result of a shared step for other daemons, by
// the step's fingerprint: a reference for each content, so that steps which do
// the same share it and no others meet in it. It is "" for a source, which is as
// near for every daemon.
func CacheRef(repo string, s *graph.Step, print graph.Digest) string {
	if s.Kind.Source() {
		return ""
	}
	return repo + ":cache-" + print.Short()
}

// Repos lists the distinct repositories of tags in the order in which they first occur.
func Repos(tags []string) []string {
	var repos []string
	seen := map[string]bool{}
	for _, t := range tags {
		if r, _ := Split(t); !seen[r] {
			seen[r] = true
			repos = append(repos, r)
		}
	}
	return repos
}

// Blobs returns the operations that bring layers into repo when they are in
// from: none when the repositories are the same, mounts within a registry,
// copies between registries. Equal layers give one operation. The order is that
// of the layers.
func Blobs(repo, from string, layers []fact.Descriptor) []plan.Op {
	if repo == from {
		return nil
	}
	kind := plan.OpCopy
	if Host(repo) == Host(from) {
		kind = plan.OpMount
	}
	return bring(kind, repo, from, layers)
}

// BaseBlobs is [Blobs] for layers of a base, which is in a registry wherever
// images go: into another output they are copied.
func BaseBlobs(out fleet.Output, repo, from string, layers []fact.Descriptor) []plan.Op {
	if out.To != "" {
		return bring(plan.OpCopy, repo, from, layers)
	}
	return Blobs(repo, from, layers)
}

// bring is an operation for each distinct layer.
func bring(kind plan.OpKind, repo, from string, layers []fact.Descriptor) []plan.Op {
	ops := make([]plan.Op, 0, len(layers))
	seen := make(map[graph.Digest]bool, len(layers))
	for _, l := range layers {
		if seen[l.Digest] {
			continue
		}
		seen[l.Digest] = true
		ops = append(ops, plan.Op{Kind: kind, Repo: repo, From: from, Digest: l.Digest, Size: l.Size, MediaType: l.MediaType})
	}
	return ops
}

// Manifests returns the PUTs that publish manifest under tags, all of one
// repository, in order. A single tag with nothing pending is one PUT by tag,
// which is atomic. Several tags are preceded by a PUT by digest, so that no tag
// can name a manifest whose siblings the registry refused.
func Manifests(repo string, tags []string, manifest Object) []plan.Op {
	put := Put(repo, manifest)
	var ops []plan.Op
	if len(tags) > 1 {
		ops = append(ops, put)
	}
	for _, t := range tags {
		op := put
		_, op.Tag = Split(t)
		ops = append(ops, op)
	}
	return ops
}

// Put is the PUT of a manifest by its digest, under no tag.
func Put(repo string, manifest Object) plan.Op { return manifest.op(plan.OpManifest, repo) }

// Upload is the upload of a blob.
func Upload(repo string, blob Object) plan.Op { return blob.op(plan.OpUpload, repo) }

func (o Object) op(kind plan.OpKind, repo string) plan.Op {
	return plan.Op{Kind: kind, Repo: repo, Digest: o.Digest, Size: int64(len(o.Data)), MediaType: o.MediaType, Data: o.Data}
}

// Requests is the number of requests that op costs when all goes well, without
// those for tokens.
func Requests(op plan.Op) (target, source int64) {
	switch op.Kind {
	case plan.OpMount, plan.OpManifest:
		return 1, 0
	case plan.OpUpload:
		return 2, 0
	case plan.OpCopy:
		return 2, 1
	}
	return 0, 0
}

// Object is content with its digest.
type Object struct {
	MediaType string
	Digest    graph.Digest
	Data      []byte
}
