package registry_test

import (
	"context"
	"slices"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry/storetest"
)

// TestTree copies the tags of a repository, lists repositories, and deletes what
// was copied: the original stays.
func TestTree(t *testing.T) {
	reg, err := localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir(), Auth: &localregistry.Auth{
		Users: map[string]string{"u": "p"}, Token: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Stop(context.Background()) })
	host := reg.Host()
	s := client(t, registry.Options{Credentials: func(context.Context, string, string, bool) (string, string, string, string, error) {
		return "u", "p", "", "", nil
	}})
	im := storetest.NewImage("im", 2, false, "v1:k")
	storetest.Apply(t, s, im.Ops(host+"/from/a", "1")...)
	if err := s.CopyTags(t.Context(), host+"/from/a", host+"/to/b"); err != nil {
		t.Fatal(err)
	}
	if err := s.CopyTags(t.Context(), host+"/from/nothing", host+"/to/nothing"); err != nil {
		t.Errorf("a repository that does not exist: %v", err)
	}
	from, err := s.Stat(t.Context(), host+"/from/a:1")
	if err != nil {
		t.Fatal(err)
	}
	to, err := s.Stat(t.Context(), host+"/to/b:1")
	if err != nil || !to.Exists || to.Digest != from.Digest {
		t.Fatalf("copied %+v as %+v: %v", from, to, err)
	}
	want := int64(len(im.Config))
	for _, l := range im.Layers {
		want += int64(len(l))
	}
	want *= 2 // both repositories hold it; the manifest's own bytes are the rest
	n, err := s.Published(t.Context(), []string{host + "/from/a", host + "/to/b"})
	if err != nil || n <= want || n > want+2000 {
		t.Errorf("%d bytes are published, %d of them blobs: %v", n, want, err)
	}
	for range 2 { // again is no error
		if err := s.Delete(t.Context(), host+"/to/b", to.Digest); err != nil {
			t.Fatal(err)
		}
	}
	if to, err = s.Stat(t.Context(), host+"/to/b:1"); err != nil || to.Exists {
		t.Errorf("it is still there: %+v, %v", to, err)
	}
	if from, err = s.Stat(t.Context(), host+"/from/a:1"); err != nil || !from.Exists {
		t.Errorf("the original went with its copy: %v", err)
	}
}

// TestRepositories lists what a registry has.
func TestRepositories(t *testing.T) {
	reg, err := localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Stop(context.Background()) })
	s := client(t, registry.Options{})
	im := storetest.NewImage("im", 1, false, "v1:k")
	storetest.Apply(t, s, im.Ops(reg.Host()+"/b/c", "1")...)
	storetest.Apply(t, s, im.Ops(reg.Host()+"/a", "1")...)
	got, err := s.Repositories(t.Context(), reg.Host())
	if want := []string{"a", "b/c"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, want %v: %v", got, want, err)
	}
}
