// Package mirrortest says what a layout's mirror does. It is for tests.
package mirrortest

import (
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lapstrake/lapstrake/internal/adapt/layout"
)

// Image is an image of a layout.
type Image struct {
	Manifest specs.Descriptor
	Config   digest.Digest
}

// Run tests a mirror that has nothing. again opens it anew; dir is a layout with
// two different images.
func Run(t *testing.T, again func(t *testing.T) layout.Mirror, dir string, one, two Image) {
	m := again(t)
	const a, b = "docker.io/org/agent:a", "registry.test:5000/agents:b__b-1"
	holds := func(ref string, im Image, want bool) {
		t.Helper()
		for when, m := range map[string]layout.Mirror{"": m, " when opened anew": again(t)} {
			if got := m.Has(ref, im.Manifest.Digest, im.Config); got != want {
				t.Errorf("%s has %s: %t%s", ref, im.Manifest.Digest, got, when)
			}
		}
	}
	load := func(ref string, im Image) {
		t.Helper()
		if err := m.Load(t.Context(), ref, im.Manifest, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	holds(a, one, false)
	load(a, one)
	holds(a, one, true)
	holds(a, two, false)
	holds(b, one, false)
	load(a, one) // it is there
	load(b, one)
	holds(b, one, true)
	load(a, two) // the name moves
	holds(a, one, false)
	holds(a, two, true)
	if err := m.Remove(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	holds(b, one, false)
	holds(a, two, true)
	if m.Remove(t.Context(), b) == nil {
		t.Error("what is not there was removed")
	}
	if m.Load(t.Context(), b, specs.Descriptor{MediaType: one.Manifest.MediaType, Digest: digest.FromString("none"), Size: 4}, os.DirFS(dir)) == nil {
		t.Error("an image was loaded that is not in the layout")
	}
	holds(b, one, false)
}
