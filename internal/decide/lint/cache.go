package lint

import (
	"fmt"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

// keptStep is the result of a shared step that a build keeps for other daemons.
type keptStep struct {
	step *graph.Step
	of   *conversion
}

// keeps are what a build keeps in the cache repository, by reference, and the
// references in the order of the steps. Images that are appended take no part:
// their shared layers are in their own repositories.
func (l *linter) keeps() (refs []string, of map[string]keptStep) {
	of = map[string]keptStep{}
	for _, c := range l.convs {
		if l.in.Cache == "" || c.variant.Shared != nil {
			continue
		}
		for _, r := range delta.CacheRefs(l.in.Cache, &c.variant.Graph, l.in.Images[c.images[0]].Files) {
			if _, ok := of[r.Ref]; !ok {
				refs = append(refs, r.Ref)
				of[r.Ref] = keptStep{r.Step, c}
			}
		}
	}
	return refs, of
}

// cache looks for a cache repository in which nothing is kept, or not what
// earlier runs kept.
func (l *linter) cache() {
	if l.in.Cache == "" || len(l.convs) == 0 {
		return
	}
	refs, of := l.keeps()
	if len(refs) == 0 && l.in.Asked {
		l.cacheFinding(rule.CacheUnused, "nothing is kept in "+l.in.Cache+", nor found there: no image is built with the result of a shared step")
	}
	lost, elsewhere := l.lost(refs)
	if len(lost) == 0 {
		return
	}
	p := l.cacheFinding(rule.CacheMoved, fmt.Sprintf("a build looks in %s for %d of the results that earlier runs kept in %s", l.in.Cache, len(lost), elsewhere))
	for _, ref := range lost {
		l.runs(p, of[ref].of, of[ref].step)
	}
}

// lost are those of the references that no earlier run kept anything under, while
// one kept the same in another repository, which is named.
func (l *linter) lost(refs []string) (lost []string, elsewhere string) {
	here, other := map[string]bool{}, map[string]string{}
	for _, ref := range l.in.Kept {
		repo, tag := publish.Split(ref)
		if repo == l.in.Cache {
			here[tag] = true
		} else if other[tag] == "" {
			other[tag] = repo
		}
	}
	for _, ref := range refs {
		if _, tag := publish.Split(ref); !here[tag] && other[tag] != "" {
			lost, elsewhere = append(lost, ref), other[tag]
		}
	}
	return lost, elsewhere
}

// cacheFinding adds a finding about the cache repository, for all images. The
// flag that names it stands for a line, which no file has.
func (l *linter) cacheFinding(code, message string) place {
	p := place{code: code, pos: diag.Pos{File: l.in.Fleet.File}}
	f := l.add(p, message)
	if f.Cost.Images = len(l.in.Images); l.in.Asked {
		f.Source = "--cache " + l.in.Cache
	}
	return p
}
