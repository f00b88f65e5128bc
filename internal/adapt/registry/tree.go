package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// CopyTags gives repository to, registry/repository as from, every tag of from
// with the same manifest. Both are of one registry, so blobs are mounted; an
// index is followed. A repository that does not exist has no tags.
func (s *Store) CopyTags(ctx context.Context, from, to string) error {
	tags, err := s.Tags(ctx, from)
	if err != nil {
		return err
	}
	for tag := range tags {
		t, err := s.Stat(ctx, from+":"+tag)
		if err != nil {
			return err
		}
		if t.Exists {
			if err := s.copyManifest(ctx, from, to, t.Digest, tag); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyManifest copies one manifest with what it names.
func (s *Store) copyManifest(ctx context.Context, from, to string, d graph.Digest, tag string) error {
	data, mediaType, err := s.Manifest(ctx, from, d)
	if err != nil {
		return err
	}
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		return diag.Errorf(diag.Infra, notARegistry, "manifest %s of %s: %w", d, from, err)
	}
	for _, c := range doc.Manifests {
		if err := s.copyManifest(ctx, from, to, c.Digest, ""); err != nil {
			return err
		}
	}
	blobs := doc.Layers
	if doc.Config != nil {
		blobs = append(blobs, *doc.Config)
	}
	for _, b := range blobs {
		if _, err := s.Apply(ctx, plan.Op{Kind: plan.OpMount, Repo: to, Digest: b.Digest, Size: b.Size, From: from}); err != nil {
			return err
		}
	}
	_, err = s.Apply(ctx, plan.Op{Kind: plan.OpManifest, Repo: to, Digest: d, Size: int64(len(data)), MediaType: mediaType, Tag: tag, Data: data})
	return err
}

// Published is the size of what the tags of repositories name, in bytes, each image
// by itself: its manifests, configs and layers. So it does not matter whether images
// share a layer, or each has its own of the same content.
func (s *Store) Published(ctx context.Context, repos []string) (sum int64, err error) {
	for _, repo := range repos {
		tags, err := s.Tags(ctx, repo)
		if err != nil {
			return 0, err
		}
		for tag := range tags {
			sizes := map[graph.Digest]int64{}
			t, err := s.Stat(ctx, repo+":"+tag)
			if err == nil && t.Exists {
				err = s.weigh(ctx, repo, t.Digest, sizes)
			}
			if err != nil {
				return 0, err
			}
			for _, n := range sizes {
				sum += n
			}
		}
	}
	return sum, nil
}

// weigh adds the sizes of a manifest and of what it names.
func (s *Store) weigh(ctx context.Context, repo string, d graph.Digest, sizes map[graph.Digest]int64) error {
	data, _, err := s.Manifest(ctx, repo, d)
	if err != nil {
		return err
	}
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		return diag.Errorf(diag.Infra, notARegistry, "manifest %s of %s: %w", d, repo, err)
	}
	sizes[d] = int64(len(data))
	for _, c := range doc.Manifests {
		if err := s.weigh(ctx, repo, c.Digest, sizes); err != nil {
			return err
		}
	}
	for _, l := range doc.Layers {
		sizes[l.Digest] = l.Size
	}
	if doc.Config != nil {
		sizes[doc.Config.Digest] = doc.Config.Size
	}
	return nil
}

// Delete deletes a manifest, registry/repository and its digest, and with it all
// its tags. One that is not there is no error. A registry that deletes nothing is
// an error of kind [diag.Infra] that wraps [errors.ErrUnsupported].
func (s *Store) Delete(ctx context.Context, repo string, d graph.Digest) error {
	at, err := s.published(repo)
	if err != nil {
		return err
	}
	what := "delete " + string(d) + " of " + at.String()
	status := 0
	err = s.do(ctx, call{
		what: what, host: at.host, grant: grant{repo: at.repo, push: true, remove: true}, method: http.MethodDelete,
		url: at.url("manifests", string(d)), want: []int{http.StatusAccepted, http.StatusOK, http.StatusMethodNotAllowed},
		read: func(resp *http.Response) error { status = resp.StatusCode; return nil },
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err == nil && status == http.StatusMethodNotAllowed:
		return diag.Errorf(diag.Infra, "delete it with the registry's own means", "%s: %w", what, errors.ErrUnsupported)
	}
	return err
}

// Repositories lists the repositories of a registry by its host, as its catalog
// names them. Few registries elsewhere have one; the embedded one has.
func (s *Store) Repositories(ctx context.Context, host string) ([]string, error) {
	at, err := s.place(host + "/catalog")
	if err != nil {
		return nil, err
	}
	u := *at.url("tags", "list")
	u.Path = "/v2/_catalog"
	var out []string
	for last := ""; ; last = out[len(out)-1] {
		u.RawQuery = url.Values{"n": {"1000"}, "last": {last}}.Encode()
		var data []byte
		err = s.do(ctx, call{
			what: "list the repositories of " + host, host: at.host, method: http.MethodGet, url: &u,
			want: []int{http.StatusOK}, read: keep(&data, maxDocument),
		})
		if err != nil {
			return nil, err
		}
		var list struct{ Repositories []string }
		if err := json.Unmarshal(data, &list); err != nil {
			return nil, diag.Errorf(diag.Infra, notARegistry, "list the repositories of %s: %w", host, err)
		}
		if len(list.Repositories) == 0 || slices.Contains(out, list.Repositories[0]) {
			return out, nil
		}
		out = append(out, list.Repositories...)
	}
}
