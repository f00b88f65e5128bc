package layout_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lapstrake/lapstrake/internal/adapt/layout"
	"github.com/lapstrake/lapstrake/internal/adapt/layout/mirrortest"
	"github.com/lapstrake/lapstrake/internal/adapt/registry/storetest"
)

// names is a mirror that only knows what its images are called.
type names struct {
	mu  sync.Mutex
	ids map[string]digest.Digest // of configs
	err error                    // of every Load
}

func (n *names) Has(ref string, ids ...digest.Digest) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(ids, n.ids[ref])
}

func (n *names) Load(_ context.Context, ref string, manifest specs.Descriptor, files fs.FS) error {
	data, err := fs.ReadFile(files, "blobs/sha256/"+manifest.Digest.Encoded())
	var m specs.Manifest
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err = errors.Join(err, n.err); err == nil {
		n.ids[ref] = m.Config.Digest
	}
	return err
}

func (n *names) Remove(_ context.Context, ref string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ids[ref] == "" {
		return errors.New("there is none")
	}
	delete(n.ids, ref)
	return nil
}

func TestMirrorConformance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, dir)
	var images []mirrortest.Image
	for _, seed := range []string{"one", "two"} {
		im := storetest.NewImage(seed, 1, false, "")
		w.publish(host+"/a", seed, im)
		images = append(images, mirrortest.Image{
			Manifest: specs.Descriptor{MediaType: im.MediaType, Digest: digest.Digest(im.Digest), Size: int64(len(im.Manifest))},
			Config:   digest.FromBytes(im.Config),
		})
	}
	m := &names{ids: map[string]digest.Digest{}}
	mirrortest.Run(t, func(*testing.T) layout.Mirror { return m }, dir, images[0], images[1])
}

// TestMirror is about tags that are there while the mirror has their images.
func TestMirror(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, dir)
	m := &names{ids: map[string]digest.Digest{}}
	w.layout.SetMirror(m)
	repo := host + "/a"
	exists := func(ref string, want bool) {
		t.Helper()
		if tag, err := w.store.Stat(t.Context(), repo+ref); err != nil || tag.Exists != want {
			t.Errorf("%s: %t, error %v", ref, tag.Exists, err)
		}
	}
	one, two := storetest.NewImage("one", 1, false, ""), storetest.NewImage("two", 1, false, "")
	w.publish(repo, "", two)
	if len(m.ids) > 0 {
		t.Errorf("what has no tag is sent: %v", m.ids)
	}
	w.publish(repo, "one", one)
	w.publish(repo, "two", two)
	w.publish(repo, "again", two)
	exists(":one", true)
	exists(":two", true)

	// What the mirror lost has no tag, but can get it again without being sent.
	delete(m.ids, repo+":one")
	m.ids[repo+":two"] = digest.FromBytes(one.Config)
	exists(":one", false)
	exists(":two", false)
	exists("@"+string(one.Digest), true)
	w.publish(repo, "two", two)
	exists(":two", true)

	// What nothing has any more goes.
	if removed, err := w.layout.Sweep(); err != nil || removed == 0 {
		t.Errorf("%d bytes removed, error %v", removed, err)
	}
	exists("@"+string(one.Digest), false)
	exists(":again", true)

	// What is deleted goes from both, and what somebody else named stays.
	m.ids[repo+":again"] = digest.FromBytes(one.Config)
	if err := w.store.Delete(t.Context(), repo, two.Digest); err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(maps.Keys(m.ids)); !slices.Equal(got, []string{repo + ":again"}) {
		t.Errorf("the mirror has %v", got)
	}

	// A publish is refused when the mirror does not take the image.
	m.err = errors.New("the disk is full")
	ops := one.Ops(repo, "full")
	last := len(ops) - 1
	storetest.Apply(t, w.store, ops[:last]...)
	if _, err := w.store.Apply(t.Context(), ops[last]); err == nil || !strings.Contains(err.Error(), m.err.Error()) {
		t.Errorf("error %v", err)
	}
	exists(":full", false)
}
