package registry

import (
	"context"
	"errors"
	"net/http"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// maxDocument is the largest manifest or config that is read, in bytes.
const maxDocument = 16 << 20

var errNotAtHand = errors.New("not at hand")

// Resolve finds a base image for a platform (OS/ARCH[/VARIANT]). A reference by
// tag costs one HEAD, one by digest nothing; the manifest, that of the platform
// when it is an index, and the config are fetched when no earlier call, in this
// process or another, has left them in the facts folder. A tag that no earlier
// call has resolved is asked for its manifest at once, without the HEAD: where
// pulls are counted that is one either way. Mirrors are tried
// first. A reference or platform that does not exist is an error of kind
// [diag.File]; the former is [ErrNotFound].
func (s *Store) Resolve(ctx context.Context, ref, platform string) (*fact.Base, error) {
	b, _, err := s.resolve(ctx, ref, platform)
	return b, err
}

// Cached is Resolve with what is at hand: it sends nothing, and what a tag
// resolved to last counts. ok is false when something is missing.
func (s *Store) Cached(ref, platform string) (b *fact.Base, ok bool) {
	t, err := s.target(ref)
	if err != nil {
		return nil, false
	}
	p, err := parsePlatform(platform)
	if err != nil {
		return nil, false
	}
	d := graph.Digest(t.digest)
	if d == "" {
		d = s.facts.tag(t.String())
	}
	if d == "" {
		return nil, false
	}
	b, err = s.assemble(ref, d, p, func(d graph.Digest, _ string) ([]byte, error) {
		if data := s.facts.content(d); data != nil {
			return data, nil
		}
		return nil, errNotAtHand
	})
	return b, err == nil
}

// Config returns what a pull of ref would be answered with, which may be the
// digest of an index, and the raw config of its image for the platform. It
// costs what [Store.Resolve] does. The bytes are not to be changed.
func (s *Store) Config(ctx context.Context, ref, platform string) (graph.Digest, []byte, error) {
	b, at, err := s.resolve(ctx, ref, platform)
	if err != nil {
		return "", nil, err
	}
	config, err := s.fetch(ctx, at, b.ConfigDigest, "blobs", "resolve "+ref)
	return b.Digest, config, err
}

func (s *Store) resolve(ctx context.Context, ref, platform string) (*fact.Base, place, error) {
	t, err := s.target(ref)
	if err != nil {
		return nil, place{}, err
	}
	p, err := parsePlatform(platform)
	if err != nil {
		return nil, place{}, err
	}
	what := "resolve " + t.String()
	d := graph.Digest(t.digest)
	if d == "" {
		if d, err = s.latest(ctx, t, what); err != nil {
			return nil, place{}, missing(what, err)
		}
	}
	b, err := s.assemble(ref, d, p, func(d graph.Digest, kind string) ([]byte, error) {
		return s.fetch(ctx, t.place, d, kind, what)
	})
	if err != nil {
		return nil, place{}, missing(what, err)
	}
	return b, t.place, nil
}

// latest asks what a tag means now and keeps the answer: by HEAD when it was
// resolved before, else by reading the manifest, which is wanted then. Of several
// first calls one reads it.
func (s *Store) latest(ctx context.Context, t target, what string) (d graph.Digest, err error) {
	ask := s.head
	if s.facts.tag(t.String()) == "" {
		done, err := s.resolving.enter(ctx, t.String())
		if err != nil {
			return "", interrupted(ctx, what)
		}
		defer done()
		if s.facts.tag(t.String()) == "" {
			ask = s.getTag
		}
	}
	err = s.pull(ctx, t.place, func(at place) error {
		d, err = ask(ctx, target{place: at, tag: t.tag}, what)
		return err
	})
	if err != nil {
		return "", err
	}
	return d, s.facts.setTag(t.String(), d)
}

// missing makes a base that does not exist the fault of who named it.
func missing(what string, err error) error {
	var known *diag.Error
	if errors.Is(err, ErrNotFound) && errors.As(err, &known) {
		return &diag.Error{Kind: diag.File, Op: what, Help: known.Help, Err: known.Err}
	}
	if errors.As(err, &known) && known.Op != "" {
		return err
	}
	if known != nil {
		return &diag.Error{Kind: known.Kind, Op: what, Help: known.Help, Err: known.Err}
	}
	return diag.Wrap(diag.Infra, what, err)
}

// assemble returns the base that d means, from its record or from documents; get
// finds these by digest and kind, "manifests" or "blobs".
func (s *Store) assemble(ref string, d graph.Digest, p platform, get func(graph.Digest, string) ([]byte, error)) (*fact.Base, error) {
	if b := s.record(ref, d, p); b != nil {
		return b, nil
	}
	b := &fact.Base{Ref: ref, Digest: d, Manifest: d}
	var doc *document
	// Indexes may hold indexes; nobody needs many.
	for range 4 {
		data, err := get(b.Manifest, "manifests")
		if err != nil {
			return nil, err
		}
		if doc, err = parseManifest(data); err != nil {
			return nil, err
		}
		if !doc.index() {
			break
		}
		if b.Manifest, err = doc.choose(p); err != nil {
			return nil, err
		}
	}
	if doc.index() {
		return nil, errors.New("index within index within index")
	}
	b.Layers, b.ConfigDigest = doc.Layers, doc.Config.Digest
	config, err := get(b.ConfigDigest, "blobs")
	if err != nil {
		return nil, err
	}
	if err := s.describe(b, config); err != nil {
		return nil, err
	}
	return s.keepRecord(b, p)
}

// fetch returns a document by digest, from the facts or the registry.
func (s *Store) fetch(ctx context.Context, at place, d graph.Digest, kind, what string) ([]byte, error) {
	if data := s.facts.content(d); data != nil {
		return data, nil
	}
	done, err := s.fetching.enter(ctx, d)
	if err != nil {
		return nil, interrupted(ctx, what)
	}
	defer done()
	if data := s.facts.content(d); data != nil {
		return data, nil
	}
	var data []byte
	err = s.pull(ctx, at, func(at place) error {
		var err error
		data, _, err = s.get(ctx, at, d, kind, what, maxDocument)
		return err
	})
	if err != nil {
		return nil, err
	}
	return data, s.facts.keep(d, data)
}

// get fetches a document by digest and verifies it.
func (s *Store) get(ctx context.Context, at place, d graph.Digest, kind, what string, limit int64) (data []byte, mediaType string, err error) {
	if !valid(d) {
		return nil, "", diag.Errorf(diag.Internal, "", "%s: digest %q is not valid", what, string(d))
	}
	c := call{
		what: what, host: at.host, grant: grant{repo: at.repo}, method: http.MethodGet,
		url: at.url(kind, string(d)), want: []int{http.StatusOK},
		read: func(resp *http.Response) error {
			mediaType = resp.Header.Get("Content-Type")
			if err := keep(&data, limit)(resp); err != nil {
				return err
			}
			// A truncated answer of unknown length looks whole; only the digest
			// tells, so it is worth another attempt.
			return verify(d, data)
		},
	}
	if kind == "manifests" {
		c.header = acceptManifests
	}
	err = s.do(ctx, c)
	return data, mediaType, err
}

func acceptManifests() http.Header { return http.Header{"Accept": {accepted()}} }

// head asks for the digest of a tag. A registry that does not say is asked for
// the manifest.
func (s *Store) head(ctx context.Context, t target, what string) (graph.Digest, error) {
	var d graph.Digest
	c := byTag(t, http.MethodHead, what)
	c.read = func(resp *http.Response) error {
		d = graph.Digest(resp.Header.Get("Docker-Content-Digest"))
		return nil
	}
	err := s.do(ctx, c)
	if err == nil && valid(d) {
		return d, nil
	}
	var e *statusError
	if err != nil && !(errors.As(err, &e) && (e.status == http.StatusMethodNotAllowed || e.status == http.StatusBadRequest)) {
		return "", err
	}
	return s.getTag(ctx, t, what)
}

// getTag reads the manifest under a tag, keeps it, and returns its digest: the
// one that the registry states, which the content must have, else SHA-256.
func (s *Store) getTag(ctx context.Context, t target, what string) (graph.Digest, error) {
	var data []byte
	var d graph.Digest
	c := byTag(t, http.MethodGet, what)
	c.read = func(resp *http.Response) error {
		if err := keep(&data, maxDocument)(resp); err != nil {
			return err
		}
		if d = graph.Digest(resp.Header.Get("Docker-Content-Digest")); !valid(d) {
			d = digestOf(data)
		}
		return verify(d, data)
	}
	if err := s.do(ctx, c); err != nil {
		return "", err
	}
	return d, s.facts.keep(d, data)
}

// byTag is a request for the manifest under a tag.
func byTag(t target, method, what string) call {
	return call{
		what: what, host: t.host, grant: grant{repo: t.repo}, method: method, header: acceptManifests,
		url: t.url("manifests", t.id()), want: []int{http.StatusOK},
	}
}
