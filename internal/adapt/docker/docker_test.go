//go:build linux

package docker

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"

	"github.com/lapstrake/lapstrake/internal/adapt/layout"
	"github.com/lapstrake/lapstrake/internal/adapt/layout/mirrortest"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// open asks the daemon anew.
func open(t *testing.T) *Daemon {
	t.Helper()
	d, err := Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDaemon(t *testing.T) {
	testfleet.Docker(t)
	dir, d := t.TempDir(), open(t)
	files := os.DirFS(dir)
	im := twice(t)
	desc := inLayout(t, dir, im)
	config, err := im.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	id := digest.Digest(config.String())
	other, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	otherConfig, err := other.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	mirrortest.Run(t, func(t *testing.T) layout.Mirror { return open(t) }, dir, mirrortest.Image{Manifest: desc, Config: id},
		mirrortest.Image{Manifest: inLayout(t, dir, other), Config: digest.Digest(otherConfig.String())})

	refs := []string{"docker.io/library/agent:one", "agent:two", "registry.test:5000/agents:django__django-1"}
	var wg sync.WaitGroup
	for _, ref := range refs {
		wg.Go(func() {
			if err := d.Load(t.Context(), ref, desc, files); err != nil || !open(t).Has(ref, id) {
				t.Errorf("%s: error %v", ref, err)
			}
		})
	}
	wg.Wait()
	t.Run("a known image is not sent", func(t *testing.T) {
		manifest, err := fs.ReadFile(files, blob(desc.Digest))
		if err != nil {
			t.Fatal(err)
		}
		alone := fstest.MapFS{blob(desc.Digest): {Data: manifest}}
		if err := d.Load(t.Context(), "agent:alone", desc, alone); err != nil || !open(t).Has("agent:alone", id) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("gone behind our back", func(t *testing.T) {
		for _, ref := range append(refs, "agent:alone") {
			testfleet.DockerDo(t, "image", "rm", ref)
		}
		if err := d.Load(t.Context(), refs[2], desc, files); err != nil || !open(t).Has(refs[2], id) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("not what it says", func(t *testing.T) {
		wrong, err := random.Image(100, 1)
		if err != nil {
			t.Fatal(err)
		}
		config, err := wrong.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		config.RootFS.DiffIDs[0].Hex = strings.Repeat("0", 64)
		if wrong, err = mutate.ConfigFile(wrong, config); err != nil {
			t.Fatal(err)
		}
		if err := d.Load(t.Context(), "agent:wrong", inLayout(t, dir, wrong), files); err == nil || diag.KindOf(err) != diag.Infra || d.Has("agent:wrong", id) {
			t.Errorf("error %v", err)
		}
	})
}

// TestNoDaemon is about what people meet without Docker.
func TestNoDaemon(t *testing.T) {
	t.Run("no command", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if _, err := Open(t.Context()); diag.KindOf(err) != diag.Infra || !strings.Contains(diag.HelpOf(err), "install") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no daemon", func(t *testing.T) {
		if _, err := run(t.Context(), nil, "image", "--help"); err != nil {
			t.Skip("there is no docker command here")
		}
		t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "none"))
		if _, err := Open(t.Context()); diag.KindOf(err) != diag.Infra || !strings.Contains(diag.HelpOf(err), "DOCKER_HOST") {
			t.Errorf("error %v", err)
		}
	})
}
