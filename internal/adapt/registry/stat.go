package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Stat asks what is published under a reference: one HEAD. The content key is
// read from the manifest (with Docker's media types, from the config's label
// when the manifest has none) once per digest, ever; manifests that this
// package sent are known already. The parts of an index have the keys that it
// states for them; with Docker's media types, which have no place for them, each
// part is read. Only a "not found" answer makes Exists false. Mirrors are not
// asked.
func (s *Store) Stat(ctx context.Context, ref string) (fact.Tag, error) {
	t, err := s.target(ref)
	if err != nil {
		return fact.Tag{}, err
	}
	t.place = s.instead(t.place)
	what := "look up " + t.String()
	d, err := s.head(ctx, t, what)
	if errors.Is(err, ErrNotFound) {
		return fact.Tag{}, nil
	}
	if err != nil {
		return fact.Tag{}, err
	}
	key, doc, err := s.readKey(ctx, t.place, d, what)
	if err != nil {
		return fact.Tag{}, err
	}
	parts, err := s.parts(ctx, t.place, doc, what)
	if err != nil {
		return fact.Tag{}, err
	}
	return fact.Tag{Exists: true, Digest: d, Key: key, Parts: parts}, nil
}

// parts are the manifests of an index by their content keys; nil without one.
func (s *Store) parts(ctx context.Context, at place, index *document, what string) (map[string]graph.Digest, error) {
	if index == nil {
		return nil, nil
	}
	var out map[string]graph.Digest
	for _, m := range index.Manifests {
		key := m.Annotations[fact.KeyAnnotation]
		if key == "" && index.MediaType == string(types.DockerManifestList) && valid(m.Digest) {
			var err error
			if key, _, err = s.readKey(ctx, at, m.Digest, what); err != nil {
				return nil, err
			}
		}
		if key == "" || !valid(m.Digest) {
			continue
		}
		if out == nil {
			out = map[string]graph.Digest{}
		}
		out[key] = m.Digest
	}
	return out, nil
}

// readKey finds out which key a manifest carries, and returns it with the document
// when that is an index. One that went away meanwhile carries none.
func (s *Store) readKey(ctx context.Context, at place, d graph.Digest, what string) (key string, index *document, err error) {
	if key, ok := s.facts.key(d); ok {
		return key, nil, nil
	}
	done, err := s.keying.enter(ctx, d)
	if err != nil {
		return "", nil, interrupted(ctx, what)
	}
	defer done()
	if key, ok := s.facts.key(d); ok {
		return key, nil, nil
	}
	data := s.facts.content(d)
	if data == nil {
		var err error
		data, _, err = s.get(ctx, at, d, "manifests", what, maxDocument)
		if errors.Is(err, ErrNotFound) {
			return "", nil, nil
		}
		if err != nil {
			return "", nil, err
		}
	}
	doc, err := parseManifest(data)
	if err != nil {
		// Whatever it is, it is not ours.
		return "", nil, s.facts.setKey(d, "")
	}
	key = keyOf(doc, nil)
	if doc.index() {
		return key, doc, s.facts.keep(d, data) // for the keys of its parts
	}
	if key == "" && doc.docker() {
		config, err := s.fetch(ctx, at, doc.Config.Digest, "blobs", what)
		if errors.Is(err, ErrNotFound) {
			return "", nil, nil
		}
		if err != nil {
			return "", nil, err
		}
		key = keyOf(doc, config)
	}
	return key, nil, s.facts.setKey(d, key)
}

// maxPages bounds a list of tags, at a thousand a page.
const maxPages = 10_000

// Tags lists the tags of repo, which is registry/repository. A repository that
// does not exist has none. A registry that cannot list gives an error that is
// [ErrNoTagList]. Lists are as old as the request: tags come and go.
func (s *Store) Tags(ctx context.Context, repo string) (map[string]bool, error) {
	at, err := s.published(repo)
	if err != nil {
		return nil, err
	}
	tags := map[string]bool{}
	next := at.url("tags", "list")
	next.RawQuery = "n=1000"
	for range maxPages {
		page, link, err := s.page(ctx, at, next)
		if errors.Is(err, ErrNotFound) {
			return map[string]bool{}, nil
		}
		if err != nil {
			return nil, err
		}
		before := len(tags)
		for _, t := range page {
			tags[t] = true
		}
		if link == nil {
			return tags, nil
		}
		if len(tags) == before {
			break // it goes in circles
		}
		next = link
	}
	return nil, diag.Errorf(diag.Infra, notARegistry, "list tags of %s: the list does not end", at)
}

// page fetches one page of tags and the URL of the next.
func (s *Store) page(ctx context.Context, at place, from *url.URL) (tags []string, next *url.URL, err error) {
	var data []byte
	var link string
	c := call{
		what: "list tags of " + at.String(), host: at.host, grant: grant{repo: at.repo}, method: http.MethodGet,
		url: from, want: []int{http.StatusOK},
		read: func(resp *http.Response) error {
			link = resp.Header.Get("Link")
			return keep(&data, maxDocument)(resp)
		},
	}
	if err := s.do(ctx, c); err != nil {
		var e *statusError
		if errors.As(err, &e) && (e.has(transport.UnsupportedErrorCode) ||
			slices.Contains([]int{http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented}, e.status)) {
			err = fmt.Errorf("%w: %w", ErrNoTagList, err)
		}
		return nil, nil, err
	}
	var doc struct {
		Tags []string `json:"tags"`
	}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&doc); err != nil {
		return nil, nil, diag.Errorf(diag.Infra, notARegistry, "%s: answer is not JSON: %w", c.what, err)
	}
	if link == "" {
		return doc.Tags, nil, nil
	}
	next, err = nextPage(from, link)
	if err != nil {
		return nil, nil, diag.Wrap(diag.Infra, c.what, err)
	}
	return doc.Tags, next, nil
}

// nextPage reads a Link header: <URL>; rel="next". It may be relative, but not
// lead to another host.
func nextPage(from *url.URL, link string) (*url.URL, error) {
	raw, rest, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.HasPrefix(link, "<") || !strings.Contains(rest, "next") {
		return nil, errors.New("link to the next page does not parse")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("link to the next page does not parse")
	}
	u = from.ResolveReference(u)
	if u.Host != from.Host {
		return nil, errors.New("link to the next page leads to another host")
	}
	return u, nil
}

// Manifest fetches a manifest from repo, which is registry/repository, and
// verifies it. It always asks the registry, because that the repository has it
// is part of the answer; when it has not, the error is [ErrNotFound].
func (s *Store) Manifest(ctx context.Context, repo string, d graph.Digest) ([]byte, string, error) {
	at, err := s.published(repo)
	if err != nil {
		return nil, "", err
	}
	data, mediaType, err := s.get(ctx, at, d, "manifests", fmt.Sprintf("get manifest %s@%s", at, d), maxDocument)
	if err != nil {
		return nil, "", err
	}
	// Servers that forget the type answer with one that means nothing.
	if doc, err := parseManifest(data); err == nil {
		mediaType = doc.mediaType()
	}
	return data, mediaType, nil
}

// Blob fetches a blob of at most limit bytes from repo, which is
// registry/repository, and verifies it. A blob that is not there is
// [ErrNotFound].
func (s *Store) Blob(ctx context.Context, repo string, d graph.Digest, limit int64) ([]byte, error) {
	at, err := s.published(repo)
	if err != nil {
		return nil, err
	}
	data, _, err := s.get(ctx, at, d, "blobs", fmt.Sprintf("get blob %s@%s", at, d), limit)
	return data, err
}
