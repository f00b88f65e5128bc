// Package docker puts images into a Docker daemon.
//
// It speaks to the daemon by Docker's command line, which finds the daemon as
// people do, by DOCKER_HOST and contexts. Each call of that takes a tenth of a
// second, so what the daemon has is asked once, when a [Daemon] is opened, and
// kept up with what is done from then on.
package docker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// loads is how many images are sent to the daemon at once. With two cores, two took
// 15 % less time than one, and four 10 % more than two.
const loads = 2

// Daemon is a Docker daemon and what it has. Its methods may be called
// concurrently. Their errors are of kind [diag.Infra].
type Daemon struct {
	slots chan struct{}

	mu     sync.Mutex
	images map[string]digest.Digest // the id of each image, by the name that Docker shows
}

// Open asks the daemon for its images.
func Open(ctx context.Context) (*Daemon, error) {
	out, err := run(ctx, nil, "image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
	if err != nil {
		return nil, err
	}
	d := &Daemon{slots: make(chan struct{}, loads), images: map[string]digest.Digest{}}
	for line := range strings.Lines(out) {
		name, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		d.images[name] = digest.Digest(id)
	}
	return d, nil
}

// Has tells whether an image with one of the ids has the name. An image's id is
// its config's digest in Docker's own store and its manifest's in containerd's.
func (d *Daemon) Has(ref string, ids ...digest.Digest) bool {
	named, err := parse(ref)
	d.mu.Lock()
	defer d.mu.Unlock()
	return err == nil && slices.Contains(ids, d.images[reference.FamiliarString(named)])
}

// Load makes an image of a layout the daemon's, under a name that no other image
// has from then on. An image that the daemon has under another name is not sent.
func (d *Daemon) Load(ctx context.Context, ref string, manifest specs.Descriptor, layout fs.FS) error {
	im, err := read(ref, manifest, layout)
	if err != nil {
		return err
	}
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	sent := false
	if id := d.holds(im.ids()); id != "" {
		_, err := run(ctx, nil, "image", "tag", string(id), im.name)
		sent = err == nil // somebody may have removed the image meanwhile
	}
	if !sent {
		if err := send(ctx, im); err != nil {
			return err
		}
	}
	return d.learn(ctx, im)
}

// holds is the id by which the daemon has an image; empty when it has none.
func (d *Daemon) holds(ids []digest.Digest) digest.Digest {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range d.images {
		if slices.Contains(ids, id) {
			return id
		}
	}
	return ""
}

// send streams an image to the daemon.
func send(ctx context.Context, im *image) error {
	r, w := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := im.archive(w)
		w.CloseWithError(err)
		wrote <- err
	}()
	_, err := run(ctx, r, "image", "load", "--quiet")
	r.Close()
	if broken := <-wrote; broken != nil && !errors.Is(broken, io.ErrClosedPipe) {
		return diag.Wrap(diag.Infra, "read what docker loads", broken)
	}
	zstd := func(l specs.Descriptor) bool { return strings.HasSuffix(l.MediaType, "+zstd") }
	if err != nil && slices.ContainsFunc(im.manifest.Layers, zstd) {
		return fmt.Errorf("%w (it has layers in zstd, which older daemons cannot read)", err)
	}
	return err
}

// learn asks what the daemon has under an image's name now, which must be the image.
func (d *Daemon) learn(ctx context.Context, im *image) error {
	out, err := run(ctx, nil, "image", "inspect", "--format", "{{.Id}}", im.name)
	if err != nil {
		return err
	}
	id := digest.Digest(strings.TrimSpace(out))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.images[im.name] = id
	if !slices.Contains(im.ids(), id) {
		return diag.Errorf(diag.Infra, "run the same command again, and nothing else that names images so", "docker has %s as %s, which is another image", im.name, id)
	}
	return nil
}

// Remove takes a name from an image, and the image when it has no other. One that
// containers use stays, which is an error.
func (d *Daemon) Remove(ctx context.Context, ref string) error {
	named, err := parse(ref)
	if err != nil {
		return err
	}
	name := reference.FamiliarString(named)
	if _, err := run(ctx, nil, "image", "rm", name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.images, name)
	return nil
}

// parse reads a tag's reference.
func parse(ref string) (reference.NamedTagged, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if tagged, ok := named.(reference.NamedTagged); err == nil && ok {
		return tagged, nil
	}
	return nil, diag.Errorf(diag.Infra, "name the image HOST/REPOSITORY:TAG", "%s is no name for docker: %w", ref, cmp.Or(err, reference.ErrReferenceInvalidFormat))
}

// run runs a command of Docker's command line and returns what it prints.
func run(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	var out, problem bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &problem
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out.String(), nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return "", diag.Errorf(diag.Infra, "install Docker's command line, or choose another output", "%w", err)
	case errors.As(err, &exit) && problem.Len() > 0:
		err = errors.New(strings.TrimSpace(problem.String()))
	}
	return "", diag.Errorf(diag.Infra, "docker info must work as this user; DOCKER_HOST and docker context choose the daemon", "docker image %s: %w", args[1], err)
}
