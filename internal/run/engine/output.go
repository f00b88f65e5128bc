package engine

import (
	"errors"
	"slices"

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
	layout *layout.Layout
	server *layout.Server
	hosts  []string
}

// openOutput opens a fleet's output.
func openOutput(f *fleet.Fleet) (o output, err error) {
	dir := f.Output.Layout()
	if dir == "" {
		return o, nil
	}
	for _, im := range f.Images {
		for _, tag := range im.Tags {
			if h := publish.Host(tag); !slices.Contains(o.hosts, h) {
				o.hosts = append(o.hosts, h)
			}
		}
	}
	if o.layout, err = layout.Open(dir); err == nil {
		o.server, err = layout.Serve(o.layout, o.hosts)
	}
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
		e.note(journal.Note, "", journal.NoteData{Level: "info", Text: "what no image in " + e.Fleet.Output.To + " has any more is removed"})
	}
	return diag.Wrap(diag.Infra, "tidy "+e.Fleet.Output.To, err)
}
