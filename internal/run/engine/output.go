package engine

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/lapstrake/lapstrake/internal/adapt/docker"
	"github.com/lapstrake/lapstrake/internal/adapt/layout"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// output is where images go when that is not the registries that their tags name:
// a layout which answers for these while the engine is open. The zero value is
// registries.
type output struct {
	dir    string
	layout *layout.Layout
	server *layout.Server
	hosts  []string
}

// dockerStage is the folder of a state folder with what goes to Docker: a layout,
// whose images the daemon gets when they are published there.
const dockerStage = "docker"

// openOutput opens a fleet's output. A daemon is asked what it has, unless nobody
// is to be asked.
func openOutput(ctx context.Context, f *fleet.Fleet, state string, offline bool) (o output, err error) {
	o.dir = f.Output.Layout()
	if f.Output.Docker() {
		if f.Indexed() {
			return o, diag.Errorf(diag.Usage, "leave out platforms, output.provenance and output.sbom, or publish to a registry or to oci:FOLDER", "images for several platforms, or with attestations, are image indexes, which docker does not load")
		}
		o.dir = filepath.Join(state, dockerStage)
	}
	if o.dir == "" {
		return o, nil
	}
	for _, im := range f.Images {
		for _, tag := range im.Tags {
			if h := publish.Host(tag); !slices.Contains(o.hosts, h) {
				o.hosts = append(o.hosts, h)
			}
		}
	}
	if o.layout, err = layout.Open(o.dir); err != nil {
		return o, err
	}
	if f.Output.Docker() && !offline {
		daemon, err := docker.Open(ctx)
		if err != nil {
			return o, err
		}
		o.layout.SetMirror(daemon)
	}
	o.server, err = layout.Serve(o.layout, o.hosts)
	return o, err
}

// registries are the hosts whose place it takes.
func (o output) registries() map[string]registry.Output {
	out := map[string]registry.Output{}
	for _, h := range o.hosts {
		out[h] = registry.Output{Addr: o.server.Addr(h), Username: layout.User, Password: o.server.Password()}
	}
	return out
}

// serves tells whether a daemon that pushes to host pushes to the output.
func (o output) serves(host string) bool {
	return slices.ContainsFunc(o.hosts, func(h string) bool { return o.server.Addr(h) == host })
}

// lock makes the output writable.
func (o output) lock() error {
	if o.layout == nil {
		return nil
	}
	return o.layout.Lock()
}

// Close ends what Open began. Nothing can be published afterwards.
func (e *Engine) Close() error {
	e.Store.Close()
	if e.output.layout == nil {
		return nil
	}
	return errors.Join(e.output.server.Close(), e.output.layout.Close())
}

// sweep removes from the output what no image has any more.
func (e *Engine) sweep() error {
	if e.output.layout == nil {
		return nil
	}
	n, err := e.output.layout.Sweep()
	if n > 0 {
		e.note(journal.Note, "", journal.NoteData{Level: "info", Text: "what no image has any more is removed from " + e.output.dir})
	}
	return diag.Wrap(diag.Infra, "tidy "+e.output.dir, err)
}
