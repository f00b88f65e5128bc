package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// settle finds out what a refused manifest means. Registries whose tags cannot
// be changed refuse it with any of a dozen answers, also when the tag has the
// same manifest already: then nothing is wrong. That costs one HEAD, after a
// refusal that can mean this.
func (s *Store) settle(ctx context.Context, t target, d graph.Digest, refusal error) error {
	var e *statusError
	if t.tag == "" || !errors.As(refusal, &e) || !e.mayMeanTaken() {
		return refusal
	}
	what := "publish " + t.String()
	held, err := s.head(ctx, t, what)
	switch {
	case ctx.Err() != nil:
		return interrupted(ctx, what)
	case err != nil || held != d && e.status == http.StatusForbidden && !e.saysTaken():
		return refusal
	case held == d:
		return nil
	}
	return &diag.Error{
		Kind: diag.Infra, Op: what,
		Help: "a tag that cannot be changed needs other content under another tag: change tags in the fleet file, let the registry change this one, or delete it there",
		Err:  fmt.Errorf("the tag has %s, and the registry does not let it have %s: %w", held, d, e),
	}
}

// mayMeanTaken tells whether the answer to a manifest can be about its tag, not
// about its content.
func (e *statusError) mayMeanTaken() bool {
	switch e.status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusConflict,
		http.StatusPreconditionFailed, http.StatusUnprocessableEntity, http.StatusLocked:
	default:
		return false
	}
	return !slices.ContainsFunc([]transport.ErrorCode{
		transport.ManifestInvalidErrorCode, transport.ManifestBlobUnknownErrorCode, transport.ManifestUnverifiedErrorCode,
		transport.BlobUnknownErrorCode, transport.DigestInvalidErrorCode, transport.NameInvalidErrorCode, transport.SizeInvalidErrorCode,
	}, e.has)
}

// saysTaken tells whether the registry says that it is about the tag.
func (e *statusError) saysTaken() bool {
	text := strings.ToLower(e.text)
	return slices.ContainsFunc([]string{"immutable", "already exist", "overwrit", "locked", "protected"}, func(word string) bool {
		return strings.Contains(text, word)
	})
}

// refusesMount tells whether an answer to the request for a mount means that
// the blob must come in another way. Forbidden may mean that of the source.
func refusesMount(err error) bool {
	var e *statusError
	return errors.As(err, &e) && (e.status/100 == 4 && e.status != http.StatusTooManyRequests && e.status != http.StatusRequestTimeout || e.status == http.StatusNotImplemented)
}

// mountless tells whether the answer means that the registry knows no mounts at
// all, so that there is no use in asking again.
func mountless(err error) bool {
	var e *statusError
	return errors.As(err, &e) && (e.status == http.StatusMethodNotAllowed || e.status == http.StatusNotImplemented || e.has(transport.UnsupportedErrorCode))
}

// uncreated tells whether the answer to a push means that its repository must be
// made first.
func (c call) uncreated(err error) bool {
	// What was sent to a session that is gone is not found either.
	return c.grant.push && !c.once && (c.method == http.MethodPost || c.method == http.MethodPut) && errors.Is(err, ErrNotFound)
}

func (c call) createHelp() string {
	return fmt.Sprintf("make the repository %s at %s first, then run the same command again: this registry makes none by itself when something is pushed (on Amazon ECR: aws ecr create-repository --repository-name %s)",
		c.grant.repo, c.host.name, c.grant.repo)
}
