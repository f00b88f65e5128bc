package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// foundPart settles a unit of an index whose manifest exists: it is taken as it
// is, and nothing is made. Whether the index over it exists is decided when all
// of its units are.
func foundPart(in *Input, f *Facts, u *plan.Unit) bool {
	held, exist := 0, 0
	for i, t := range f.Tags {
		if !t.Exists {
			continue
		}
		exist++
		repo, _ := publish.Split(f.Image.Tags[i])
		if d := t.Holds(u.Key); d == "" {
			u.Why = append(u.Why, replaced(f.Image.Tags[i], t, u.Key))
		} else if held++; u.From == "" {
			u.From = repo + "@" + string(d)
		}
	}
	if in.Options.Skip == SkipTag && exist == len(u.Tags) {
		u.Action, u.Why = plan.Skip, []plan.Reason{{Code: plan.TagExists, Detail: "the tag exists, and its content was not asked for"}}
		return true
	}
	// What one repository holds is of no use to another.
	if repos := publish.Repos(u.Tags); len(repos) == 1 && u.From == "" {
		if d := f.KeyTag.Holds(u.Key); d != "" {
			u.From = repos[0] + "@" + string(d)
		} else if in.Known != nil {
			u.From = in.Known(u.Key, repos[0])
		}
	} else if len(repos) > 1 && held < len(u.Tags) {
		u.From = ""
	}
	if u.From == "" {
		return false
	}
	u.Action = plan.Retag
	u.Why = []plan.Reason{{Code: plan.SameContent, Detail: "this content was published as " + u.From}}
	return true
}

// indexes decides on the indexes of a fleet, over units that are decided. The
// units of an index that exists are skipped.
func indexes(in *Input, units []plan.Unit) []plan.Index {
	var out []plan.Index
	for i := 0; i < len(units); {
		n := 1
		for i+n < len(units) && units[i+n].Index == units[i].Index {
			n++
		}
		out = append(out, index(in, &in.Images[i], units[i:i+n]))
		i += n
	}
	return out
}

// Key is the content key that an image's tags carry: that of its index, or of its
// one unit. The facts are those of its units, in order.
func Key(in *Input, units []Facts) string {
	keys := make([]string, len(units))
	for i := range units {
		keys[i] = Decide(in, &units[i]).Key
	}
	if !in.Fleet.Indexed() {
		return keys[0]
	}
	return indexKey(keys, in.Fleet.Output)
}

func index(in *Input, f *Facts, units []plan.Unit) plan.Index {
	x := plan.Index{Image: f.Image.ID, Action: plan.Compose, Tags: f.Image.Tags}
	var keys []string
	for _, u := range units {
		if u.Action == plan.Block {
			x.Action = plan.Block
		}
		x.Units, keys = append(x.Units, u.Image), append(keys, u.Key)
	}
	x.Key = indexKey(keys, in.Fleet.Output)
	for i := range units {
		units[i].Scan = in.Fleet.Output.SBOM != "" && x.Action != plan.Block
	}
	if x.Action == plan.Block || in.Options.Skip == SkipNever {
		return x
	}
	for i, t := range f.Tags {
		if !t.Exists || in.Options.Skip != SkipTag && !isIndex(t, x.Key, keys) {
			continue
		}
		x.Have = append(x.Have, x.Tags[i])
		if repo, _ := publish.Split(x.Tags[i]); x.From == "" && t.Digest != "" && isIndex(t, x.Key, keys) {
			x.From = repo + "@" + string(t.Digest)
		}
	}
	repos := publish.Repos(x.Tags)
	if x.From == "" && len(repos) == 1 && isIndex(f.KeyTag, x.Key, keys) {
		x.From = repos[0] + "@" + string(f.KeyTag.Digest)
	}
	why := plan.Reason{Code: plan.SameKey, Detail: "the tag holds this content"}
	switch {
	case len(x.Have) == len(x.Tags):
		x.Action = plan.Skip
	case x.From != "" && len(repos) == 1:
		x.Action = plan.Retag
		why = plan.Reason{Code: plan.SameContent, Detail: "this content was published as " + x.From}
	default:
		x.From, x.Have = "", nil
		return x
	}
	for i := range units {
		units[i].Scan = false
		if units[i].Action != plan.Skip {
			units[i].Action, units[i].Why = plan.Skip, []plan.Reason{why}
			units[i].Needs, units[i].Layers = nil, ""
		}
	}
	return x
}

// isIndex tells whether a tag holds the index with a key over units with keys. With
// Docker media types it has no key of its own, and its parts tell.
func isIndex(t fact.Tag, key string, units []string) bool {
	if t.Key != "" || key == "" {
		return key != "" && t.Key == key
	}
	for _, k := range units {
		if t.Parts[k] == "" {
			return false
		}
	}
	return len(t.Parts) == len(units)
}

// emulated warns when the steps of what is made run on several platforms.
func emulated(p *plan.Plan, in *Input) []plan.Reason {
	runs := map[string]bool{}
	for i, u := range p.Units {
		if u.Action != plan.Append && u.Action != plan.Build {
			continue
		}
		for _, at := range in.Images[i].Variant.Graph.Runs() {
			runs[at] = true
		}
	}
	if len(runs) < 2 {
		return nil
	}
	return []plan.Reason{{Code: plan.Emulated, Detail: fmt.Sprintf(
		"steps run on %s: a worker needs an emulator (binfmt) for what is not its own platform, unless a stage FROM --platform=$BUILDPLATFORM runs them", strings.Join(slices.Sorted(maps.Keys(runs)), ", "))}}
}
