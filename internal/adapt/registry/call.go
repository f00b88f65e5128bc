package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// How long an attempt may go without a byte in either direction, and how long
// when a registry has to put away what it received.
const (
	stall       = time.Minute
	stallUpload = 10 * time.Minute
)

// call is one request, which may take several attempts.
type call struct {
	what   string // names it in errors
	host   *host
	grant  grant // what its token must allow; the zero value means that no credentials are sent
	method string
	url    *url.URL
	header func() http.Header // of each attempt; may be nil
	body   func() io.Reader   // of each attempt; nil: none
	size   int64              // of the body
	want   []int              // the statuses that are answers; nil: every one that is not worth another attempt
	// read takes in an answer. An error means that the answer did not come
	// through, unless it is permanent.
	read   func(*http.Response) error
	direct bool // redirects are answers
	// once says that a body that may have arrived in part cannot be sent a second
	// time to the same URL, stream that there is no second time at all.
	once, stream bool
}

// permanent is an error that another attempt would meet again.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// restart says that the request may be tried again, but only from the beginning
// of the operation that it is part of.
type restart struct{ error }

func (r restart) Unwrap() error { return r.error }

var (
	errStalled   = errors.New("no data for too long")
	errAbandoned = errors.New("abandoned by its reader")
)

// do makes the call. It returns when the answer has been read, when another
// attempt cannot help or is not allowed, or when the context ends.
func (s *Store) do(ctx context.Context, c call) error {
	for renewals := 0; ; {
		// Tokens are fetched before asking for a turn: a request that held one
		// meanwhile could keep the token's own request waiting for ever.
		key, err := s.authorize(ctx, c.host, c.grant)
		if err != nil {
			return c.fail(ctx, err)
		}
		status, header, err := s.attempts(ctx, c, key)
		if status == http.StatusUnauthorized && !c.grant.none() && renewals < maxRenewals && c.host.auth.renew(c.grant, key, header) {
			renewals++
			if c.stream {
				return restart{c.fail(ctx, err)}
			}
			continue
		}
		if status != 0 && status != http.StatusUnauthorized {
			c.host.auth.proved(c.grant, key.token)
		}
		if err == nil {
			return nil
		}
		var r restart
		if errors.As(err, &r) {
			return restart{c.fail(ctx, scrub(r.error, key.secrets()...))}
		}
		return c.fail(ctx, scrub(err, key.secrets()...))
	}
}

// attempts sends the call until an answer came or the host's policy has it that
// this was all. status is 0 when there was no answer.
func (s *Store) attempts(ctx context.Context, c call, key key) (status int, header http.Header, err error) {
	t := c.host.gate.ask()
	defer t.drop()
	for {
		if err := t.wait(ctx); err != nil {
			return 0, nil, err
		}
		status, header, err := s.attempt(ctx, c, key)
		if ctx.Err() != nil {
			return 0, nil, ctx.Err()
		}
		var p permanent
		final := err != nil && (errors.As(err, &p) || hopeless(err))
		counted := status
		if err != nil && c.answer(status) && !final {
			counted = 0 // the answer broke off
		}
		if !t.done(counted, final, header) {
			return status, header, err
		}
		if c.once {
			// The turn is what the policy wants waited for; what is sent then is
			// another request.
			if err := t.wait(ctx); err != nil {
				return 0, nil, err
			}
			return status, header, restart{err}
		}
	}
}

// answer tells whether the status is one that the caller asked for.
func (c call) answer(status int) bool {
	if c.want == nil {
		return status != 0 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout
	}
	return slices.Contains(c.want, status)
}

// attempt sends the call once and reads the answer. A status that is no answer
// is an error too.
func (s *Store) attempt(ctx context.Context, c call, key key) (int, http.Header, error) {
	ctx, stop, beat := watch(ctx, c.once)
	defer stop()
	req := (&http.Request{
		Method: c.method, URL: c.url, Host: c.url.Host, Header: http.Header{},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(context.WithValue(ctx, beatKey{}, beat))
	if c.header != nil {
		req.Header = c.header()
	}
	if v := key.header(); v != "" {
		req.Header.Set("Authorization", v)
	}
	defer c.setBody(req)()
	resp, err := c.send(req)
	if err != nil {
		return 0, nil, cause(ctx, err)
	}
	defer resp.Body.Close()
	if !c.answer(resp.StatusCode) {
		return resp.StatusCode, resp.Header, newStatusError(resp)
	}
	if c.read != nil {
		if err := c.read(resp); err != nil {
			return resp.StatusCode, resp.Header, cause(ctx, err)
		}
	}
	// What is left, if little, is read so that the connection can serve again.
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	return resp.StatusCode, resp.Header, nil
}

// setBody gives a request its body. Connections that turn out to be closed are
// replaced without another attempt, when the body can be had again.
// The function that it returns is to be called when the attempt is over.
func (c call) setBody(req *http.Request) func() bool {
	if c.body == nil || c.size == 0 {
		return func() bool { return false }
	}
	closer := func() io.ReadCloser {
		b := c.body()
		if rc, ok := b.(io.ReadCloser); ok {
			return rc
		}
		return io.NopCloser(b)
	}
	req.ContentLength = c.size
	req.Body = closer()
	if !c.stream {
		req.GetBody = func() (io.ReadCloser, error) { return closer(), nil }
	}
	// The transport waits for a read of the body to return, even when the
	// context has ended; and a body that comes from elsewhere may not.
	body := req.Body
	return context.AfterFunc(req.Context(), func() { body.Close() })
}

func (c call) send(req *http.Request) (*http.Response, error) {
	if c.direct {
		return c.host.client.Transport.RoundTrip(req)
	}
	return c.host.client.Do(req)
}

// watch returns a context that ends when beat was not called for too long, and
// the function that ends the watch.
func watch(ctx context.Context, upload bool) (watched context.Context, stop, beat func()) {
	limit := stall
	if upload {
		limit = stallUpload
	}
	watched, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(errStalled) })
	return watched, func() { timer.Stop(); cancel(nil) }, func() { timer.Reset(limit) }
}

// cause is what ended an attempt: the error without the URL, whose query may
// hold a signature.
func cause(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// keep returns a read function that keeps the whole body, of at most limit
// bytes.
func keep(into *[]byte, limit int64) func(*http.Response) error {
	return func(resp *http.Response) error {
		if resp.ContentLength > limit {
			return permanent{tooLarge(limit)}
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
		if err != nil {
			return err
		}
		if int64(len(data)) > limit {
			return permanent{tooLarge(limit)}
		}
		*into = data
		return nil
	}
}
