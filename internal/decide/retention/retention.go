// Package retention decides which images that a fleet published nobody needs any
// more: those whose tags the fleet file no longer names, and those whose tags
// name something else now.
//
// What is not known to be the fleet's own is kept: a tag that no run of it
// published, whatever another fleet or namespace published, and a manifest that
// an index refers to.
package retention

import (
	"cmp"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Publication is one image as one run published it.
type Publication struct {
	Run    string
	Image  string
	Digest graph.Digest
	Tags   []string // full references
	Key    string
}

// Repository is what a repository holds now.
type Repository struct {
	Name string // registry/repository
	// Tags are all its tags, without the repository, with what they name.
	Tags map[string]graph.Digest
	// Held are manifests that indexes under its tags refer to.
	Held map[graph.Digest]bool
}

// Input is what a decision rests on.
type Input struct {
	// Named are the full references that the fleet file names now, and the key tags
	// of what they stand for. KeysKnown is false when some key is not known: then
	// every key tag counts as named.
	Named     map[string]bool
	KeysKnown bool
	// Past are publications of the fleet's runs, the newest run first; Others
	// those of other fleets and namespaces.
	Past, Others []Publication
	// Now are the repositories that the fleet publishes to.
	Now []Repository
}

// Item is one image that the fleet needs no more.
type Item struct {
	Repo   string       `json:"repo"`
	Digest graph.Digest `json:"digest"`
	// Image is the id, Run the newest run that published it.
	Image string `json:"image"`
	Run   string `json:"run"`
	// Tags are those of its tags that are superseded, sorted; empty when the tags
	// that it had name something else now.
	Tags []string `json:"tags"`
	// Kept is a tag in use that names the same image, or "an index" that refers to
	// it: then the image stays, and only its superseded tags are needless.
	Kept string `json:"kept,omitempty"`
}

// Decide lists what is superseded, by repository and digest. An image without
// tags may be gone already: a repository does not say what it holds.
func Decide(in Input) []Item {
	ours := map[at]*Publication{}
	theirs := map[at]bool{}
	named := map[string]bool{}
	known := map[string]bool{} // references that the fleet's runs published
	for _, p := range in.Others {
		for _, repo := range publish.Repos(p.Tags) {
			theirs[at{repo, p.Digest}] = true
			named[keyRef(repo, p.Key)] = true
		}
		for _, t := range p.Tags {
			named[t] = true
		}
	}
	for i, p := range in.Past {
		for _, repo := range publish.Repos(p.Tags) {
			if p.Digest != "" && ours[at{repo, p.Digest}] == nil {
				ours[at{repo, p.Digest}] = &in.Past[i]
			}
			known[keyRef(repo, p.Key)] = in.KeysKnown
		}
		for _, t := range p.Tags {
			known[t] = true
		}
	}
	var out []Item
	for _, r := range in.Now {
		superseded, kept := map[graph.Digest][]string{}, map[graph.Digest]string{}
		for tag, d := range r.Tags {
			if ref := r.Name + ":" + tag; known[ref] && !named[ref] && !in.Named[ref] {
				superseded[d] = append(superseded[d], tag)
			} else if kept[d] == "" || tag < kept[d] {
				kept[d] = tag
			}
		}
		for a, p := range ours {
			if a.repo != r.Name || theirs[a] {
				continue
			}
			i := Item{Repo: a.repo, Digest: a.digest, Image: p.Image, Run: p.Run, Tags: superseded[a.digest], Kept: kept[a.digest]}
			if i.Kept == "" && r.Held[a.digest] {
				i.Kept = "an index"
			}
			if i.Kept != "" && len(i.Tags) == 0 {
				continue // in use, and under no other name
			}
			slices.Sort(i.Tags)
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b Item) int {
		return cmp.Or(strings.Compare(a.Repo, b.Repo), strings.Compare(a.Image, b.Image), strings.Compare(b.Run, a.Run), strings.Compare(string(a.Digest), string(b.Digest)))
	})
	return out
}

type at struct {
	repo   string
	digest graph.Digest
}

// keyRef is the key tag of content in a repository; "" without a key.
func keyRef(repo, key string) string {
	if key == "" {
		return ""
	}
	return repo + ":" + publish.KeyTag(key)
}
