package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// maxRestarts is how often an upload begins anew because its session broke.
const maxRestarts = 5

// Apply carries out one publish operation. Applying it again is harmless.
//
// A mount is one request; one that is not granted becomes a copy, whose upload
// goes on in the session that the registry opened instead, unless
// [Options.StrictMounts] makes it an [ErrMountRefused]. A copy is streamed, its
// digest verified on the way, and goes on where it stopped when the source
// breaks off; one request to the target finds out that the blob is there, or
// opens the upload (two with a registry that knows no mounts, which is found out
// once). An upload is two requests, a manifest one, whose body is the
// operation's data as it is. A manifest that is refused because its tag cannot
// be changed is an error that names both digests, unless the tag has it already:
// then that is the outcome.
//
// The context's end stops it; what was sent then may or may not have arrived.
func (s *Store) Apply(ctx context.Context, op plan.Op) (plan.Outcome, error) {
	at, err := s.published(op.Repo)
	if err != nil {
		return plan.Outcome{}, err
	}
	if !valid(op.Digest) {
		return plan.Outcome{}, diag.Errorf(diag.Internal, "", "%s to %s: digest %q is not valid", op.Kind, at, string(op.Digest))
	}
	switch op.Kind {
	case plan.OpMount:
		return s.mount(ctx, at, op)
	case plan.OpCopy:
		return s.copyBlob(ctx, at, op, nil)
	case plan.OpUpload:
		return s.upload(ctx, at, op)
	case plan.OpManifest:
		return s.putManifest(ctx, at, op)
	}
	return plan.Outcome{}, diag.Errorf(diag.Internal, "", "publish operation %q is not known", op.Kind)
}

// mount asks for a blob of another repository of the same registry.
func (s *Store) mount(ctx context.Context, at place, op plan.Op) (plan.Outcome, error) {
	from, err := s.origin(op)
	if err != nil {
		return plan.Outcome{}, err
	}
	if from.host != at.host {
		return plan.Outcome{}, diag.Errorf(diag.Internal, "", "mount from %s to %s: not the same registry", from, at)
	}
	var session *url.URL
	if !at.host.mountless.Load() {
		session, err = s.open(ctx, at, from, op, fmt.Sprintf("mount %s from %s to %s", op.Digest.Short(), from, at))
		if err != nil && !refusesMount(err) {
			return plan.Outcome{}, err
		}
		if err == nil && session == nil {
			s.count.mounted.Add(op.Size)
			return plan.Outcome{Did: plan.OpMount}, nil
		}
	}
	s.count.refused.Add(1)
	if s.o.StrictMounts {
		return plan.Outcome{}, diag.Errorf(diag.Infra, "the registry must let the pushing user read "+from.String(),
			"mount %s from %s to %s: %w", op.Digest.Short(), from, at, ErrMountRefused)
	}
	return s.copyBlob(ctx, at, op, session)
}

// origin is where an operation takes its blob from: a mount from what was
// published, a copy from a registry.
func (s *Store) origin(op plan.Op) (place, error) {
	if op.Kind == plan.OpMount {
		return s.published(op.From)
	}
	return s.place(op.From)
}

// open asks to mount a blob and returns nil when it is there now, or the
// session for uploading it.
func (s *Store) open(ctx context.Context, at, from place, op plan.Op, what string) (*url.URL, error) {
	c := call{
		what: what, host: at.host, grant: grant{repo: at.repo, push: true, from: from.repo}, method: http.MethodPost,
		url: at.url("blobs", "uploads/"), want: []int{http.StatusCreated, http.StatusAccepted},
	}
	if from.repo == at.repo {
		c.grant.from = ""
	}
	c.url.RawQuery = url.Values{"mount": {string(op.Digest)}, "from": {from.repo}}.Encode()
	session, err := s.openCall(ctx, c)
	if mountless(err) {
		at.host.mountless.Store(true)
	}
	return session, err
}

// openCall sends a request that opens an upload, unless it makes that needless.
func (s *Store) openCall(ctx context.Context, c call) (session *url.URL, err error) {
	c.read = func(resp *http.Response) error {
		if resp.StatusCode != http.StatusAccepted {
			return nil
		}
		l, err := url.Parse(resp.Header.Get("Location"))
		if err != nil || l.String() == "" {
			return permanent{errors.New("the registry gives no location for the upload")}
		}
		// The request may have been redirected, and the location is relative to
		// where it went.
		session = resp.Request.URL.ResolveReference(l)
		if c.url.Scheme == "https" && session.Scheme != "https" && session.Host != c.host.addr {
			return permanent{errInsecureRedirect}
		}
		return nil
	}
	err = s.do(ctx, c)
	return session, err
}

// finish is the URL that ends an upload session with all of the blob.
func finish(session *url.URL, d graph.Digest) *url.URL {
	u := *session
	q := u.Query()
	q.Set("digest", string(d))
	u.RawQuery = q.Encode()
	return &u
}

// put sends a blob into a session. A session that broke is a [restart].
func (s *Store) put(ctx context.Context, at place, op plan.Op, what string, session *url.URL, stream bool, body func() io.Reader) error {
	err := s.do(ctx, call{
		what: what, host: at.host, grant: grant{repo: at.repo, push: true}, method: http.MethodPut,
		url: finish(session, op.Digest), want: []int{http.StatusCreated, http.StatusNoContent},
		header: func() http.Header { return http.Header{"Content-Type": {"application/octet-stream"}} },
		body:   body, size: op.Size, once: true, stream: stream,
	})
	var e *statusError
	if errors.As(err, &e) && (e.status == http.StatusNotFound || e.has(transport.BlobUploadUnknownErrorCode) || e.has(transport.BlobUploadInvalidErrorCode)) {
		return restart{err}
	}
	return err
}

// upload sends a blob that we hold.
func (s *Store) upload(ctx context.Context, at place, op plan.Op) (plan.Outcome, error) {
	if err := checkData(op); err != nil {
		return plan.Outcome{}, err
	}
	var pushed atomic.Int64
	what := fmt.Sprintf("upload %s to %s", op.Digest.Short(), at)
	for n := 0; ; n++ {
		c := call{
			what: what, host: at.host, grant: grant{repo: at.repo, push: true}, method: http.MethodPost,
			url: at.url("blobs", "uploads/"), want: []int{http.StatusAccepted},
		}
		session, err := s.openCall(ctx, c)
		if err != nil {
			return plan.Outcome{Pushed: pushed.Load()}, err
		}
		err = s.put(ctx, at, op, what, session, false, func() io.Reader { return &counted{bytes.NewReader(op.Data), &pushed} })
		if err == nil {
			s.rememberConfig(op)
			return plan.Outcome{Did: plan.OpUpload, Pushed: pushed.Load()}, nil
		}
		if err, again := restartable(err, n); !again {
			return plan.Outcome{Pushed: pushed.Load()}, err
		}
	}
}

// restartable reports whether an upload that failed the nth time begins anew,
// and with which error it ends otherwise.
func restartable(err error, n int) (error, bool) {
	var again restart
	if !errors.As(err, &again) {
		return err, false
	}
	return again.error, n < maxRestarts
}

// checkData makes sure that we send what we said.
func checkData(op plan.Op) error {
	if int64(len(op.Data)) != op.Size {
		return diag.Errorf(diag.Internal, "", "%s %s: %d bytes, not %d", op.Kind, op.Digest, len(op.Data), op.Size)
	}
	return diag.Wrap(diag.Internal, string(op.Kind), verify(op.Digest, op.Data))
}

// rememberConfig keeps the key that a config's label carries, for when its
// manifest is sent. Only Docker's media types need that.
func (s *Store) rememberConfig(op plan.Op) {
	if op.MediaType != string(types.DockerConfigJSON) {
		return
	}
	if key := keyOf(&document{}, op.Data); key != "" {
		s.sentKeys.Store(op.Digest, key)
	}
}

// counted counts the bytes that are read, by goroutines of the transport too.
type counted struct {
	io.Reader
	n *atomic.Int64
}

// Read reads from the reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// putManifest sends a manifest, by tag or by digest.
func (s *Store) putManifest(ctx context.Context, at place, op plan.Op) (plan.Outcome, error) {
	if err := checkData(op); err != nil {
		return plan.Outcome{}, err
	}
	t := target{place: at, tag: op.Tag}
	if op.Tag == "" {
		t.digest = string(op.Digest)
	}
	doc, parseErr := parseManifest(op.Data)
	if op.MediaType == "" && parseErr == nil {
		op.MediaType = doc.mediaType()
	}
	var pushed atomic.Int64
	err := s.do(ctx, call{
		what: "publish " + t.String(), host: at.host, grant: grant{repo: at.repo, push: true}, method: http.MethodPut,
		url: at.url("manifests", t.id()), want: []int{http.StatusOK, http.StatusCreated, http.StatusAccepted},
		header: func() http.Header { return http.Header{"Content-Type": {op.MediaType}} },
		body:   func() io.Reader { return &counted{bytes.NewReader(op.Data), &pushed} }, size: op.Size,
		read: func(resp *http.Response) error {
			if got := graph.Digest(resp.Header.Get("Docker-Content-Digest")); got != "" && got != op.Digest {
				return permanent{digestError{op.Digest, got}}
			}
			return nil
		},
	})
	out := plan.Outcome{Did: plan.OpManifest, Pushed: pushed.Load()}
	if err != nil {
		out.Did = ""
		err = s.settle(ctx, t, op.Digest, err)
	}
	if err != nil {
		return out, err
	}
	if parseErr != nil {
		return out, nil
	}
	// The next run can tell what is under the tag by one HEAD.
	if doc.index() {
		return out, s.facts.keep(op.Digest, op.Data)
	}
	key := keyOf(doc, nil)
	if key == "" && doc.docker() {
		k, ok := s.sentKeys.Load(doc.Config.Digest)
		if !ok {
			return out, nil
		}
		key = k.(string)
	}
	return out, s.facts.setKey(op.Digest, key)
}

// copyBlob brings a blob from another repository by way of this client. The
// session may be nil.
func (s *Store) copyBlob(ctx context.Context, at place, op plan.Op, session *url.URL) (plan.Outcome, error) {
	from, err := s.origin(op)
	if err != nil {
		return plan.Outcome{}, err
	}
	what := fmt.Sprintf("copy %s from %s to %s", op.Digest.Short(), from, at)
	select {
	case s.copies <- struct{}{}:
		defer func() { <-s.copies }()
	case <-ctx.Done():
		return plan.Outcome{}, interrupted(ctx, what)
	}
	c := &copying{op: op, at: at, from: from, what: what}
	for n := 0; ; n++ {
		if session == nil {
			if session, err = s.begin(ctx, c); err != nil || session == nil {
				return c.outcome(""), err
			}
		}
		err := s.stream(ctx, c, session)
		if err == nil {
			return c.outcome(plan.OpCopy), nil
		}
		if err, again := restartable(err, n); !again {
			return c.outcome(""), err
		}
		session = nil
	}
}

// copying is a copy under way.
type copying struct {
	op             plan.Op
	at, from       place
	what           string
	pulled, pushed atomic.Int64
}

func (c *copying) outcome(did plan.OpKind) plan.Outcome {
	return plan.Outcome{Did: did, Pulled: c.pulled.Load(), Pushed: c.pushed.Load()}
}

// begin asks the target to mount the blob from itself: a repository that has
// the blob says so, and any other opens an upload. That is one request where a
// HEAD and a POST would be two; a registry without mounts takes these.
func (s *Store) begin(ctx context.Context, c *copying) (*url.URL, error) {
	if !c.at.host.mountless.Load() {
		session, err := s.open(ctx, c.at, c.at, c.op, c.what)
		var e *statusError
		if !mountless(err) && !(errors.As(err, &e) && slices.Contains([]int{http.StatusBadRequest, http.StatusNotFound}, e.status)) {
			return session, err
		}
	}
	if c.at.host.mountless.Load() {
		there, err := s.has(ctx, c)
		if there || err != nil {
			return nil, err
		}
	}
	return s.openCall(ctx, call{
		what: c.what, host: c.at.host, grant: grant{repo: c.at.repo, push: true}, method: http.MethodPost,
		url: c.at.url("blobs", "uploads/"), want: []int{http.StatusAccepted},
	})
}

// has asks whether the target has the blob.
func (s *Store) has(ctx context.Context, c *copying) (bool, error) {
	err := s.do(ctx, call{
		what: c.what, host: c.at.host, grant: grant{repo: c.at.repo, push: true}, method: http.MethodHead,
		url: c.at.url("blobs", string(c.op.Digest)), want: []int{http.StatusOK},
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// stream sends the blob into a session while it is being read.
func (s *Store) stream(ctx context.Context, c *copying, session *url.URL) error {
	if c.at.host == c.from.host && c.at.host.width == 1 {
		return s.spool(ctx, c, session)
	}
	reading, cancel := context.WithCancelCause(ctx)
	r, w := io.Pipe()
	var pump sync.WaitGroup
	var pumpErr error
	// Reading begins when the request to the target has its turn.
	body := func() io.Reader {
		pump.Go(func() {
			if pumpErr = s.pump(reading, c, w); pumpErr != nil {
				w.CloseWithError(permanent{pumpErr})
				return
			}
			w.Close()
		})
		return countedCloser{&counted{r, &c.pushed}, r}
	}
	err := s.put(ctx, c.at, c.op, c.what, session, true, body)
	cancel(errAbandoned)
	r.CloseWithError(errAbandoned)
	pump.Wait()
	if pumpErr != nil && !errors.Is(pumpErr, errAbandoned) {
		// This is why the target did not get the whole blob.
		return pumpErr
	}
	return err
}

type countedCloser struct {
	io.Reader
	io.Closer
}

// spool reads the blob into a file first: a registry that may be sent one
// request at a time cannot be read and written at once.
func (s *Store) spool(ctx context.Context, c *copying, session *url.URL) error {
	f, err := os.CreateTemp("", "lapstrake-blob-")
	if err != nil {
		return diag.Wrap(diag.Infra, c.what, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := s.pump(ctx, c, f); err != nil {
		return err
	}
	return s.put(ctx, c.at, c.op, c.what, session, false, func() io.Reader {
		return &counted{io.NewSectionReader(f, 0, c.op.Size), &c.pushed}
	})
}

// pump writes the blob to w and verifies it. When the source breaks off, it
// goes on from there, with the next mirror if need be. What a mirror spoiled is
// a [restart].
func (s *Store) pump(ctx context.Context, c *copying, w io.Writer) error {
	h, _ := hasher(c.op.Digest)
	in := &intake{size: c.op.Size, to: &sink{w: io.MultiWriter(w, h)}, pulled: &c.pulled}
	var spoiled error
	return s.pull(ctx, c.from, func(at place) error {
		if spoiled != nil {
			return restart{diag.Wrap(diag.Infra, c.what, spoiled)}
		}
		return s.do(ctx, call{
			what: c.what, host: at.host, grant: grant{repo: at.repo}, method: http.MethodGet,
			url: at.url("blobs", string(c.op.Digest)), want: []int{http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable},
			header: in.header,
			read: func(resp *http.Response) error {
				err := in.read(resp)
				if err == nil {
					if got := sumOf(c.op.Digest, h); got != c.op.Digest {
						err = permanent{digestError{c.op.Digest, got}}
					}
				}
				var p permanent
				if errors.As(err, &p) {
					spoiled = err
				}
				return err
			},
		})
	})
}

// intake takes in a blob over several answers.
type intake struct {
	size, off int64
	whole     bool // the source does not do ranges
	to        *sink
	pulled    *atomic.Int64
}

// header asks for what is still missing.
func (i *intake) header() http.Header {
	if i.off == 0 || i.whole {
		return http.Header{}
	}
	return http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", i.off, i.size-1)}}
}

// read takes one answer; an error that is not permanent leaves off where the
// next answer must begin.
func (i *intake) read(resp *http.Response) error {
	body := &counted{resp.Body, i.pulled}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		i.whole = true
		return errNoRange
	}
	if resp.StatusCode == http.StatusOK && i.off > 0 {
		if _, err := io.CopyN(io.Discard, body, i.off); err != nil {
			return err
		}
	}
	n, err := io.Copy(i.to, io.LimitReader(body, i.size-i.off+1))
	i.off += n
	switch {
	case i.to.err != nil:
		return permanent{fmt.Errorf("%w: %w", errAbandoned, i.to.err)}
	case err != nil:
		return err
	case i.off < i.size:
		return io.ErrUnexpectedEOF
	case i.off > i.size:
		return permanent{tooLarge(i.size)}
	}
	return nil
}

var errNoRange = errors.New("the source does not do ranges")

// sink remembers that writing failed, which reading is not to blame for.
type sink struct {
	w   io.Writer
	err error
}

// Write writes.
func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}
