package localregistry

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestKinds(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, c := range []struct{ method, target, repo, kind string }{
		{"GET", "/v2/", "", "base"},
		{"GET", "/v2", "", "base"},
		{"HEAD", "/v2/a/manifests/latest", "a", "manifest"},
		{"PUT", "/v2/a/b/c/manifests/" + digest, "a/b/c", "manifest"},
		{"GET", "/v2/a/b/blobs/" + digest, "a/b", "blob"},
		{"POST", "/v2/a/b/blobs/uploads/", "a/b", "upload"},
		{"PATCH", "/v2/a/b/blobs/uploads/8b0fd2d0-0000", "a/b", "upload"},
		{"PUT", "/v2/a/b/blobs/uploads/8b0fd2d0-0000?digest=" + digest, "a/b", "upload"},
		{"POST", "/v2/a/b/blobs/uploads/?mount=" + digest + "&from=c", "a/b", "mount"},
		{"POST", "/v2/a/b/blobs/uploads/?mount=&from=c", "a/b", "upload"},
		{"GET", "/v2/a/b/tags/list?n=10", "a/b", "tags"},
		{"GET", "/v2/_catalog", "", "other"},
		{"GET", "/debug", "", "other"},
		// Names that look like the rest of a path.
		{"GET", "/v2/a/manifests/b/manifests/c", "a/manifests/b", "manifest"},
		{"GET", "/v2/blobs/uploads/manifests/x", "blobs/uploads", "manifest"},
		{"GET", "/v2/tags/list/blobs/" + digest, "tags/list", "blob"},
	} {
		q := httptest.NewRequest(c.method, c.target, nil)
		if got := KindOf(q); got != c.kind {
			t.Errorf("%s %s: kind %q, want %q", c.method, c.target, got, c.kind)
		}
		if repo, _ := route(q.URL.Path); repo != c.repo {
			t.Errorf("%s %s: repository %q, want %q", c.method, c.target, repo, c.repo)
		}
	}
}

func FuzzRoute(f *testing.F) {
	for _, s := range []string{"", "/", "/v2/", "/v2//", "/v2/manifests/x", "/v2/a/blobs/uploads/", "/v2/a/tags/list", "/v2/blobs/uploads"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		repo, kind := route(path)
		if kind == "" {
			t.Errorf("%q: no kind", path)
		}
		if repo == "" {
			return
		}
		if kind == "base" || kind == "other" {
			t.Errorf("%q: kind %s with repository %q", path, kind, repo)
		}
		if !strings.HasPrefix(path, "/v2/"+repo+"/") {
			t.Errorf("%q: does not begin with repository %q", path, repo)
		}
	})
}
