// Package testfleet makes what a fleet needs to be tried: base images in the
// shape of SWE-bench's on a registry, recipes with their sources, a proxy that
// injects faults, and file systems of a chosen size. Tests, the demo and the
// benchmark use it.
//
// Everything that it writes depends on its arguments and a seed only, so
// digests repeat over runs and machines. The exception is the operating
// system's layer, which holds the machine's busybox.
package testfleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Options say which bases to make. The zero value, with a Host, makes 500
// bases without environments.
type Options struct {
	// Host is the registry's host:port; it is spoken to in plain HTTP and
	// without credentials. Bases for a registry that asks for some can be pushed
	// to its folder while another one serves that without.
	Host string
	// IDs are the instances, unique, as "org__repo-number"; nil means [IDs] of N.
	IDs []string
	// N is the number of instances when IDs is nil; 0 means 500.
	N int
	// Seed chooses the content; the same seed gives the same digests.
	Seed int64
	// Scale multiplies the sizes of layers: at 1, which 0 stands for, 24 MiB of
	// padding in the system's layer, 1 MiB an environment, 32 KiB an instance,
	// before compression, which halves them.
	Scale float64
	// Envs puts an environment's layer, of about 60 for 500 instances, between
	// the system's and the instance's, and its name into ENV and PATH. Without,
	// the configs of all bases look alike.
	Envs bool
	// Arch is the images' architecture; empty means the machine's.
	Arch string
	// Bare leaves busybox out of the system's layer: nothing can run in the
	// images, and their digests are the same on every machine.
	Bare bool
	// OSTree is a folder with a root file system to use instead of busybox, such
	// as debootstrap writes.
	OSTree string
	// Docker, Index and Zstd are numbers of images that take another form than
	// OCI manifests with gzip layers: the first ones have Docker media types, the
	// next ones an index under their tag (with a second platform), the next ones
	// a zstd instance layer. Together at most as many as there are instances.
	Docker, Index, Zstd int
	// Jobs is how many images are pushed at once; 0 means 8.
	Jobs int
	// Transport carries the requests; nil means one of its own.
	Transport http.RoundTripper
}

// Base is one base image as it was pushed.
type Base struct {
	ID  string
	Ref string // with tag
	// Digest is what the tag points to: a manifest's or an index's.
	Digest string
	// Manifest is the digest of the image's manifest.
	Manifest string
	// Env is the environment's name, empty without.
	Env string
	// Layers are the digests of the layers' blobs, lowest first.
	Layers []string
}

// Set is what [Bases] pushed.
type Set struct {
	// Images are in the order of the ids.
	Images []Base
	// Builder is the reference of the builder stage's base, which is the
	// system's layer alone.
	Builder string
}

// Layers returns the digests of the distinct layers of all images, sorted.
func (s *Set) Layers() []string {
	var all []string
	for _, b := range s.Images {
		all = append(all, b.Layers...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// withDefaults fills in what was left out, and checks the rest.
func (o Options) withDefaults() (Options, error) {
	if o.Scale == 0 {
		o.Scale = 1
	}
	if o.N == 0 {
		o.N = 500
	}
	if o.Jobs == 0 {
		o.Jobs = 8
	}
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	switch {
	case o.Host == "":
		return o, fmt.Errorf("bases: no registry host")
	case o.Scale < 0 || o.N < 0 || o.Jobs < 0 || o.Docker < 0 || o.Index < 0 || o.Zstd < 0:
		return o, fmt.Errorf("bases: negative number")
	}
	if o.IDs == nil {
		o.IDs = IDs(o.N)
	}
	if k := o.Docker + o.Index + o.Zstd; k > len(o.IDs) {
		return o, fmt.Errorf("bases: %d images of other forms, but %d instances", k, len(o.IDs))
	}
	sorted := slices.Sorted(slices.Values(o.IDs))
	if i := len(sorted) - len(slices.Compact(slices.Clone(sorted))); i > 0 {
		return o, fmt.Errorf("bases: %d ids occur more than once", i)
	}
	return o, nil
}

// form is how an image is stored.
type form int

const (
	formOCI form = iota
	formDocker
	formIndex
	formZstd
)

// form is that of the i-th image.
func (o Options) form(i int) form {
	switch {
	case i < o.Docker:
		return formDocker
	case i < o.Docker+o.Index:
		return formIndex
	case i < o.Docker+o.Index+o.Zstd:
		return formZstd
	}
	return formOCI
}

// Bases makes the bases and the builder's image and pushes them, what is there
// already excepted. The layers are 1 + environments + instances.
func Bases(ctx context.Context, o Options) (*Set, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	p := newPusher(o)
	defer p.close()
	system, err := osLayer(o)
	if err != nil {
		return nil, fmt.Errorf("bases: %w", err)
	}
	if _, err := p.image(ctx, builderRepo, "1", picture{layers: []blob{system}, arch: o.Arch, env: []string{"PATH=" + systemPath}}); err != nil {
		return nil, fmt.Errorf("bases: builder: %w", err)
	}
	m := &maker{o: o, p: p, system: system.light(), env: environments(o.IDs), envs: map[string]func() (blob, error){}}
	set := &Set{Images: make([]Base, len(o.IDs)), Builder: Builder(o.Host)}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(o.Jobs)
	for i, id := range o.IDs {
		g.Go(func() error {
			b, err := m.base(ctx, i, id)
			if err != nil {
				return fmt.Errorf("bases: %s: %w", id, err)
			}
			set.Images[i] = b
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return set, nil
}

// maker makes instances over the layers that they share.
type maker struct {
	o      Options
	p      *pusher
	system blob
	env    map[string]string // id -> environment

	mu   sync.Mutex
	envs map[string]func() (blob, error) // environment -> its layer, made and pushed once
}

// envLayer returns an environment's layer, which is in the builder's repository
// when it returns.
func (m *maker) envLayer(ctx context.Context, env string) (blob, error) {
	m.mu.Lock()
	once, ok := m.envs[env]
	if !ok {
		once = sync.OnceValues(func() (blob, error) {
			b, err := envLayer(m.o, env)
			if err != nil {
				return blob{}, err
			}
			return b.light(), m.p.blob(ctx, builderRepo, b)
		})
		m.envs[env] = once
	}
	m.mu.Unlock()
	return once()
}

// base makes and pushes the i-th base.
func (m *maker) base(ctx context.Context, i int, id string) (Base, error) {
	f := m.o.form(i)
	pic := picture{form: f, arch: m.o.Arch, layers: []blob{m.system}, dir: "/testbed", env: []string{"PATH=" + systemPath}}
	out := Base{ID: id, Ref: Ref(m.o.Host, id)}
	if m.o.Envs {
		out.Env = m.env[id]
		b, err := m.envLayer(ctx, out.Env)
		if err != nil {
			return Base{}, err
		}
		pic.layers = append(pic.layers, b)
		pic.env = []string{"PATH=/opt/env/" + out.Env + "/bin:" + systemPath, "TEST_ENV=" + out.Env}
	}
	b, err := instanceLayer(m.o, id, f == formZstd)
	if err != nil {
		return Base{}, err
	}
	pic.layers = append(pic.layers, b)
	for _, l := range pic.layers {
		out.Layers = append(out.Layers, l.digest)
	}
	pushed, err := m.p.image(ctx, repository(id), "latest", pic)
	out.Digest, out.Manifest = pushed.top, pushed.manifest
	return out, err
}

// light is the blob without its bytes, for one that is pushed.
func (b blob) light() blob {
	b.size, b.data = b.len(), nil
	return b
}

// len is the number of bytes.
func (b blob) len() int64 {
	if b.data == nil {
		return b.size
	}
	return int64(len(b.data))
}

// marshal is JSON without a way to fail.
func marshal(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // only types of this package come here
	}
	return data
}
