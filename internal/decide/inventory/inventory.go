// Package inventory lists what a run published, image by image, and makes the
// lock file of it.
package inventory

import (
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// LockVersion is the version of [Lock]'s JSON form. It grows when an old reader
// would misread a new file; a new field alone does not make it grow.
const LockVersion = 1

// Published is one image on one platform as a registry has it.
type Published struct {
	Image    string `json:"image"`
	Platform string `json:"platform"`
	// Digest is the manifest's; empty when the run does not know it.
	Digest graph.Digest `json:"digest,omitempty"`
	// Tags are full references, in the order of the fleet file.
	Tags []string `json:"tags,omitempty"`
	// Base is the declared reference, BaseDigest what it resolved to.
	Base       string       `json:"base"`
	BaseDigest graph.Digest `json:"baseDigest,omitempty"`
	// Key is the content key.
	Key string `json:"key,omitempty"`
	// Parts are the manifests of an index, in order, without tags of their own; nil
	// when the image is no index. The platform of an index is those of its parts,
	// with commas between them.
	Parts []Published `json:"parts,omitempty"`
}

// State is what became of an image in a run, in the words of the summary.
type State string

// The states. Built, retagged and skipped images are published.
const (
	Built    State = "built"
	Retagged State = "retagged"
	Skipped  State = "skipped"
	Failed   State = "failed"
	Pending  State = "pending"
)

// Image is one image of a run.
type Image struct {
	State State `json:"state"`
	Published
}

// Of lists the images that a run planned, in the plan's order, with what its
// summary says of each. An image that is not published has no digest, and its
// tags are those that it was to have. s must have been folded, not decoded.
func Of(p *plan.Plan, s *summary.Summary) []Image {
	out := make([]Image, 0, len(p.Units))
	for i := 0; i < len(p.Units); {
		u := &p.Units[i]
		n := 1
		if x := p.Index(u.Index); x == nil {
			out = append(out, imageOf(u, s))
		} else {
			n = len(x.Units)
			out = append(out, indexOf(x, p.Units[i:i+n], s))
		}
		i += n
	}
	return out
}

// imageOf is what became of a unit.
func imageOf(u *plan.Unit, s *summary.Summary) Image {
	is := s.Units[u.Image]
	i := Image{stateOf(is), Published{Image: u.Image, Platform: u.Platform, Tags: u.Tags, Base: u.Base, BaseDigest: u.BaseDigest, Key: u.Key}}
	if i.published() {
		i.Digest = is.Digest
	}
	return i
}

// indexOf is what became of an image that is an index over units. It is in place
// when its tags were told to name it.
func indexOf(x *plan.Index, units []plan.Unit, s *summary.Summary) Image {
	out := Image{Skipped, Published{Image: x.Image, Tags: x.Tags, Base: units[0].Base, BaseDigest: units[0].BaseDigest, Key: x.Key}}
	var platforms []string
	failed := false
	for i := range units {
		part := imageOf(&units[i], s)
		part.Tags = nil
		if part.State != Skipped {
			out.State = Pending
		}
		failed = failed || part.State == Failed
		platforms = append(platforms, part.Platform)
		out.Parts = append(out.Parts, part.Published)
	}
	out.Platform = strings.Join(platforms, ",")
	is, ok := s.Indexes[x.Image]
	switch {
	case failed:
		out.State = Failed
	case ok && is.Key == x.Key:
		out.State, out.Digest = stateOf(summary.UnitState{State: summary.Published, Action: is.Action}), is.Digest
		if is.Action == string(plan.Skip) {
			out.State = Skipped
		}
	}
	return out
}

func stateOf(u summary.UnitState) State {
	switch {
	case u.State == summary.Published && u.Action == string(plan.Retag):
		return Retagged
	case u.State == summary.Published:
		return Built
	case u.State == summary.Skipped:
		return Skipped
	case u.State == summary.Failed:
		return Failed
	}
	return Pending
}

func (i Image) published() bool { return i.State != Failed && i.State != Pending }

// Lock pins every image of a fleet to its digest. Equal content gives equal
// bytes, whichever run published it: there is no time, no id of a run and no
// state in it, and images are sorted by id and platform.
type Lock struct {
	V      int         `json:"v"`
	Fleet  string      `json:"fleet"`
	Images []Published `json:"images"`
}

// NewLock makes the lock file of a run's images. An image without a digest is an
// error of kind [diag.Step]: a lock that lacks an image locks nothing.
func NewLock(fleet string, images []Image) (*Lock, error) {
	l := &Lock{V: LockVersion, Fleet: fleet, Images: make([]Published, 0, len(images))}
	var missing []string
	for _, i := range images {
		if i.Digest == "" {
			missing = append(missing, i.Image+" ("+string(i.State)+")")
			continue
		}
		l.Images = append(l.Images, i.Published)
	}
	if n := len(missing); n > 0 {
		return nil, diag.Errorf(diag.Step, "build until every image is in place, without `--skip=tag`, which does not ask for digests",
			"%d of %d images have no digest in this run, the first is %s", n, len(images), missing[0])
	}
	slices.SortFunc(l.Images, func(a, b Published) int {
		if c := strings.Compare(a.Image, b.Image); c != 0 {
			return c
		}
		return strings.Compare(a.Platform, b.Platform)
	})
	return l, nil
}
