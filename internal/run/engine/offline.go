package engine

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// notLookedUp is the help for images that nothing is known of.
const notLookedUp = "leave out --offline once, or give --base-config"

// offlineBase is a base as it was when it was last looked up, or what stands in
// for it.
func (e *Engine) offlineBase(ref, platform string) (*fact.Base, error) {
	if b, ok := e.Store.Cached(ref, platform); ok {
		return b, nil
	}
	if e.Opts.StandIn == nil {
		return nil, diag.Errorf(diag.Step, notLookedUp, "the base %w", fact.ErrNotLookedUp)
	}
	b := *e.Opts.StandIn
	b.Ref = ref
	return &b, nil
}

// offlineImage is an image that a recipe uses beside the base, as it was when it
// was last looked up. Where bases have a stand-in, an empty config stands in for
// it.
func (e *Engine) offlineImage(ref, platform string) (graph.Digest, []byte, error) {
	if d, config, ok := e.Store.CachedConfig(ref, platform); ok {
		return d, config, nil
	}
	if e.Opts.StandIn == nil {
		return "", nil, diag.Errorf(diag.Step, notLookedUp, "%s %w", ref, fact.ErrNotLookedUp)
	}
	e.assumed.add(ref)
	d := e.Opts.StandIn.Digest
	if _, own, ok := strings.Cut(ref, "@"); ok {
		d = graph.Digest(own)
	}
	os, arch, _ := strings.Cut(platform, "/")
	arch, _, _ = strings.Cut(arch, "/")
	config, err := json.Marshal(map[string]any{"os": os, "architecture": arch, "config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": []graph.Digest{d}}})
	return d, config, diag.Wrap(diag.Internal, "stand-in for "+ref, err)
}

// nameSet is a set of names that is safe for concurrent use.
type nameSet struct {
	mu  sync.Mutex
	set map[string]bool
}

func (n *nameSet) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.set == nil {
		n.set = map[string]bool{}
	}
	n.set[name] = true
}

func (n *nameSet) sorted() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.set))
}
