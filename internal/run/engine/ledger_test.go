//go:build linux

package engine_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
)

// ledger stands before a registry and writes down what was stored there, from
// the requests themselves: nothing that a client says of itself is in it.
type ledger struct {
	next http.Handler

	mu      sync.Mutex
	entries []entry
}

// entry is one manifest or blob that a client sent whole and the registry took.
type entry struct {
	// Repo has no host. Ref is a manifest's tag or digest, empty for a blob.
	Repo, Ref string
	// Digest is over the body that was sent.
	Digest string
	// Mounted is true when the blob came from another repository.
	Mounted bool
}

// tagged tells whether the entry gave a tag its content.
func (e entry) tagged() bool { return e.Ref != "" && !strings.Contains(e.Ref, ":") }

var (
	manifestPath = regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)
	uploadPath   = regexp.MustCompile(`^/v2/(.+)/blobs/uploads/`)
)

// gatePath is below what recipes may ask for: it is answered with nothing, and
// can be held up.
const gatePath = "/gate/"

// ServeHTTP answers one request.
func (l *ledger) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if strings.HasPrefix(q.URL.Path, gatePath) {
		w.WriteHeader(http.StatusOK)
		return
	}
	var e entry
	if m := manifestPath.FindStringSubmatch(q.URL.Path); m != nil && q.Method == http.MethodPut {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // its sender died
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		sum := sha256.Sum256(body)
		e = entry{Repo: m[1], Ref: m[2], Digest: "sha256:" + hex.EncodeToString(sum[:])}
	} else if m := uploadPath.FindStringSubmatch(q.URL.Path); m != nil {
		e = entry{Repo: m[1], Digest: q.URL.Query().Get("digest")}
		if from := q.URL.Query().Get("mount"); from != "" {
			e.Digest, e.Mounted = from, true
		}
	}
	s := &status{ResponseWriter: w}
	l.next.ServeHTTP(s, q)
	if e.Digest != "" && s.code == http.StatusCreated {
		l.mu.Lock()
		l.entries = append(l.entries, e)
		l.mu.Unlock()
	}
}

// stored returns what was stored in a repository, in order, without the first
// skip entries.
func (l *ledger) stored(repo string, skip int) []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []entry
	for _, e := range l.entries {
		if e.Repo == repo {
			out = append(out, e)
		}
	}
	return out[min(skip, len(out)):]
}

// tags returns the digests that each tag of a repository ever had, in order and
// without repetitions next to each other.
func (l *ledger) tags(repo string) map[string][]string {
	out := map[string][]string{}
	for _, e := range l.stored(repo, 0) {
		if had := out[e.Ref]; e.tagged() && (len(had) == 0 || had[len(had)-1] != e.Digest) {
			out[e.Ref] = append(had, e.Digest)
		}
	}
	return out
}

// status remembers the status of an answer.
type status struct {
	http.ResponseWriter
	code int
}

// WriteHeader notes the status.
func (s *status) WriteHeader(code int) {
	if s.code == 0 {
		s.code = code
	}
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap gives a ResponseController what is below.
func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }
