package planner

import (
	"slices"
	"strconv"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// What the daemon asks of a registry. It is taken to hold nothing yet; one that
// does sends fewer requests.
const (
	// An image that it reads: HEAD of the manifest, GET of manifest and config.
	readImage = 3
	// A blob that it looks for, and one that it sends when it is not there.
	lookBlob, sendBlob = 1, 2
	// A manifest that it sends: HEAD and PUT.
	sendManifest = 2
	// A config that it sends.
	sendConfig = lookBlob + sendBlob
)

// What this program asks of a registry, beside publish.Requests.
const (
	readManifest, readConfig = 1, 1
	uploadConfig             = 2
)

// costs counts requests per registry, and bytes that cross between registries.
type costs struct {
	plan  *plan.Plan
	in    *Input
	blobs map[blobAt]bool         // in a repository
	hosts map[blobAt]bool         // copied into a registry: repo is the host
	sets  map[graph.Digest]string // the repository that a layer set is made in
	read  map[string]bool         // images that shared steps read
	bases map[graph.Digest]bool   // layers that the daemon pulls
}

type blobAt struct {
	repo string
	blob graph.Digest
}

func newCosts(p *plan.Plan, in *Input) costs {
	return costs{plan: p, in: in, blobs: map[blobAt]bool{}, hosts: map[blobAt]bool{}, sets: map[graph.Digest]string{}, read: map[string]bool{}, bases: map[graph.Digest]bool{}}
}

func (c *costs) ask(ref string, n int) { c.plan.Requests[publish.Host(ref)] += int64(n) }

// tell counts requests about what is published: to a registry, unless images go
// elsewhere.
func (c *costs) tell(repo string, n int) {
	if c.in.Fleet.Output.To == "" {
		c.ask(repo, n)
	}
}

// beside tells whether a base is in the registry that its images go to.
func (c *costs) beside(from, repo string) bool {
	return c.in.Fleet.Output.To == "" && publish.Host(from) == publish.Host(repo)
}

// unit counts what one image costs, beside what the ones before it paid for.
func (c *costs) unit(u *plan.Unit, f *Facts) {
	switch u.Action {
	case plan.Retag:
		c.tell(u.Tags[0], readManifest)
		if u.Index == "" {
			c.tell(u.Tags[0], len(u.Tags)-len(u.Have))
		}
	case plan.Append:
		c.appended(u, f)
	case plan.Build:
		c.built(u, f)
	}
	if u.Scan {
		c.scanned(u, f)
	}
}

// scanned counts what the daemon reads to scan an image, layers that it has left out.
func (c *costs) scanned(u *plan.Unit, f *Facts) {
	if scanner := c.in.Fleet.Output.SBOM; !c.read[scanner] {
		c.read[scanner] = true
		c.ask(scanner, readImage+1)
	}
	c.tell(u.Tags[0], readImage+1) // and its config is read here too
	layers := slices.Clone(f.Base.Layers)
	if u.Action != plan.Build {
		layers = append(layers, newLayers(u, f.Variant)...)
	}
	for _, l := range layers {
		if !c.bases[l.Digest] {
			c.bases[l.Digest] = true
			c.tell(u.Tags[0], 1)
		}
	}
}

// appended counts an image that this program puts together.
func (c *costs) appended(u *plan.Unit, f *Facts) {
	repos := publish.Repos(u.Tags)
	set, blobs := "", []fact.Descriptor(nil)
	if u.Layers != "" {
		set = c.layers(u, f.Variant, repos[0])
		blobs = unknown(string(u.Layers), len(f.Variant.Shared.Inputs))
	}
	from, _ := publish.Split(f.Base.Ref)
	for _, repo := range repos {
		c.bring(publish.BaseBlobs(c.in.Fleet.Output, repo, from, f.Base.Layers))
		if set != "" {
			c.bring(publish.Blobs(repo, set, blobs))
		}
		c.tell(repo, uploadConfig)
		c.manifest(u, repo)
	}
}

// layers counts the making of a layer set, or the reading of one that is known,
// and returns its repository.
func (c *costs) layers(u *plan.Unit, v *graph.Variant, repo string) string {
	if at := c.sets[u.Layers]; at != "" {
		return at
	}
	c.sets[u.Layers] = repo
	c.tell(repo, readManifest+readConfig)
	if c.in.LayersKnown == nil || !c.in.LayersKnown(u.Layers) {
		c.sources(v)
		c.tell(repo, len(v.Shared.Inputs)*(lookBlob+sendBlob)+sendConfig+sendManifest)
	}
	return repo
}

// sources counts the images that shared steps read. How many layers they have
// is not known; one is counted.
func (c *costs) sources(v *graph.Variant) {
	for _, s := range v.Graph.Steps {
		if s.Kind == graph.KindImage && !s.BaseBound && s.Source != "" && !c.read[s.Source] {
			c.read[s.Source] = true
			c.ask(s.Source, readImage+1)
		}
	}
}

// built counts an image that the daemon makes, pushes by digest to the first
// repository and that this program then tags.
func (c *costs) built(u *plan.Unit, f *Facts) {
	c.sources(f.Variant)
	repos := publish.Repos(u.Tags)
	from, _ := publish.Split(f.Base.Ref)
	c.ask(from, readImage)
	c.pulled(f, from)
	if c.beside(from, repos[0]) {
		c.bring(publish.Blobs(repos[0], from, f.Base.Layers))
	}
	layers := append(append([]fact.Descriptor(nil), f.Base.Layers...), newLayers(u, f.Variant)...)
	for _, l := range layers {
		c.tell(repos[0], lookBlob)
		if at := (blobAt{repos[0], l.Digest}); !c.blobs[at] {
			c.blobs[at] = true
			c.tell(repos[0], sendBlob)
		}
	}
	c.tell(repos[0], sendConfig+sendManifest+readManifest)
	for i, repo := range repos {
		if i > 0 {
			c.bring(publish.Blobs(repo, repos[0], append(layers, unknown(u.Image+" config", 1)...)))
		}
		if i > 0 || u.Index == "" { // else the daemon sent it
			c.manifest(u, repo)
		}
	}
}

// pulled counts the layers that the daemon fetches to run steps on them. One
// that nothing runs on stays where it is, unless that is another registry.
func (c *costs) pulled(f *Facts, from string) {
	across := !c.beside(from, f.Image.Tags[0])
	if f.Variant.Shared != nil && !across {
		return
	}
	for _, l := range f.Base.Layers {
		if c.bases[l.Digest] {
			continue
		}
		c.bases[l.Digest] = true
		c.ask(from, 1)
		if across {
			c.plan.BytesToCopy += l.Size
		}
	}
}

// newLayers stands for the layers that a build adds: those that shared steps
// make are the same in every image.
func newLayers(u *plan.Unit, v *graph.Variant) []fact.Descriptor {
	n := 0
	for _, h := range v.History {
		if !h.EmptyLayer {
			n++
		}
	}
	bound := map[graph.Digest]bool{}
	for _, s := range v.Graph.Steps {
		bound[s.Digest] = s.BaseBound
	}
	var out []fact.Descriptor
	for _, s := range v.Graph.Steps {
		if s.Kind != graph.KindMerge || !s.BaseBound {
			continue
		}
		for _, d := range s.Inputs {
			if !bound[d] && len(out) < n {
				out = append(out, fact.Descriptor{Digest: d})
			}
		}
	}
	return append(out, unknown(u.Image, n-len(out))...)
}

// unknown stands for n blobs whose digests will be known later.
func unknown(name string, n int) []fact.Descriptor {
	out := make([]fact.Descriptor, 0, max(n, 0))
	for i := range n {
		out = append(out, fact.Descriptor{Digest: graph.Digest(name + "#" + strconv.Itoa(i))})
	}
	return out
}

// bring counts how blobs come into a repository: once each, from another registry only
// the first time.
func (c *costs) bring(ops []plan.Op) {
	for _, op := range ops {
		at, host := blobAt{op.Repo, op.Digest}, blobAt{publish.Host(op.Repo), op.Digest}
		if c.blobs[at] {
			continue
		}
		c.blobs[at] = true
		if op.Kind == plan.OpCopy && c.hosts[host] {
			op.Kind = plan.OpMount
		} else if op.Kind == plan.OpCopy {
			c.hosts[host] = true
		}
		target, source := publish.Requests(op)
		c.tell(op.Repo, int(target))
		if source > 0 {
			c.ask(op.From, int(source))
			c.plan.BytesToCopy += op.Size
		}
	}
}

// manifest counts the PUTs of a unit's manifest in one repository: by digest when
// it is a part of an index.
func (c *costs) manifest(u *plan.Unit, repo string) {
	if u.Index != "" {
		c.tell(repo, 1)
		return
	}
	c.tags(u.Key, u.Tags, repo)
}

// attestation is what attests one unit in a repository: a config and a manifest,
// beside uploadStatement for each statement.
const attestation, uploadStatement = uploadConfig + 1, 2

// index counts the writing of an index.
func (c *costs) index(x *plan.Index) {
	switch x.Action {
	case plan.Retag:
		c.tell(x.Tags[0], readManifest+len(x.Tags)-len(x.Have))
	case plan.Compose:
		for _, repo := range publish.Repos(x.Tags) {
			c.tell(repo, len(x.Units)*attested(c.in.Fleet.Output))
			c.tags(x.Key, x.Tags, repo)
		}
	}
}

// attested is how many requests attest one unit.
func attested(out fleet.Output) (n int) {
	if !out.Attested() {
		return 0
	}
	n = attestation
	if out.Provenance {
		n += uploadStatement
	}
	if out.SBOM != "" {
		n += uploadStatement
	}
	return n
}

// tags counts the PUTs of a manifest under those of the tags that are in one
// repository.
func (c *costs) tags(key string, all []string, repo string) {
	var tags []string
	if c.in.Fleet.Output.KeyTag {
		tags = append(tags, repo+":"+publish.KeyTag(key))
	}
	for _, t := range all {
		if r, _ := publish.Split(t); r == repo {
			tags = append(tags, t)
		}
	}
	c.tell(repo, len(publish.Manifests(repo, tags, publish.Object{})))
}
