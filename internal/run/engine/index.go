package engine

import (
	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Index says what earlier runs left where images go, the registries or another
// output. It is a fold over their
// journals and only a hint: what it names may be gone, and is made again then.
type Index struct {
	images map[imageAt]graph.Digest
	layers map[graph.Digest]LayersAt
}

type imageAt struct{ key, repo string }

// LayersAt is where a layer set is: a repository and the manifest that holds it.
type LayersAt struct {
	Repo   string
	Digest graph.Digest
}

// ReadIndex folds the journals of the newest runs, at most limit of them. A
// journal that cannot be read counts as empty, and so does one of a run whose
// images went to another output.
func ReadIndex(state string, limit int, output string) (*Index, error) {
	x := &Index{images: map[imageAt]graph.Digest{}, layers: map[graph.Digest]LayersAt{}}
	runs, err := runlog.List(state)
	if err != nil {
		return nil, err
	}
	if len(runs) > limit {
		runs = runs[:limit]
	}
	for i := len(runs) - 1; i >= 0; i-- {
		for ev, err := range runlog.Read(runs[i].Dir) {
			if err != nil || elsewhere(ev, output) {
				break
			}
			x.fold(ev)
		}
	}
	return x, nil
}

// elsewhere tells whether an event begins a run whose images went to another
// output.
func elsewhere(ev journal.Event, output string) bool {
	var d journal.RunData
	return ev.Kind == journal.RunStarted && ev.Decode(&d) == nil && d.Output != output
}

func (x *Index) fold(ev journal.Event) {
	switch ev.Kind {
	case journal.UnitPlaced, journal.UnitPublished, journal.UnitSkipped:
		var d journal.UnitData
		if ev.Decode(&d) == nil {
			for _, repo := range publish.Repos(d.Tags) {
				if d.Digest == "" {
					continue
				}
				x.images[imageAt{d.Key, repo}] = d.Digest
			}
		}
	case journal.LayersReady:
		var d journal.LayersData
		if ev.Decode(&d) == nil {
			x.layers[d.Layers] = LayersAt{d.Repo, d.Digest}
		}
	}
}

// Image is the repository@digest under which content with key was published in
// repo, or "". A nil Index knows nothing.
func (x *Index) Image(key, repo string) string {
	if x == nil {
		return ""
	}
	if d, ok := x.images[imageAt{key, repo}]; ok && d != "" {
		return repo + "@" + string(d)
	}
	return ""
}

// Layers is where a layer set was left.
func (x *Index) Layers(id graph.Digest) (LayersAt, bool) {
	if x == nil {
		return LayersAt{}, false
	}
	at, ok := x.layers[id]
	return at, ok
}
