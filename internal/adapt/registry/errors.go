package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// notARegistry helps with an answer that breaks the protocol.
const notARegistry = "is that address a registry? `lapstrake doctor --registry REF` tells what it can do"

// statusError is an answer that is not what was asked for.
type statusError struct {
	status int
	codes  []transport.ErrorCode
	text   string // what the registry says
}

// Error renders status, code and message.
func (e *statusError) Error() string {
	s := fmt.Sprintf("%d %s", e.status, http.StatusText(e.status))
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// Is makes an answer that something does not exist an [ErrNotFound].
func (e *statusError) Is(err error) bool {
	return err == ErrNotFound && (e.status == http.StatusNotFound ||
		e.status/100 == 4 && (e.has(transport.NameUnknownErrorCode) || e.has(transport.ManifestUnknownErrorCode)))
}

func (e *statusError) has(code transport.ErrorCode) bool {
	for _, c := range e.codes {
		if c == code {
			return true
		}
	}
	return false
}

// newStatusError reads the error document of an answer.
func newStatusError(resp *http.Response) *statusError {
	var t *transport.Error
	e := &statusError{status: resp.StatusCode}
	if err := transport.CheckError(resp); errors.As(err, &t) {
		e.read(t)
	}
	return e
}

func (e *statusError) read(t *transport.Error) {
	var parts []string
	for _, d := range t.Errors {
		e.codes = append(e.codes, d.Code)
		part := strings.TrimSuffix(string(d.Code)+": "+d.Message, ": ")
		if strings.EqualFold(strings.ReplaceAll(string(d.Code), "_", " "), d.Message) {
			part = d.Message // the code in words
		}
		parts = append(parts, part)
	}
	e.text = printable(strings.Join(parts, "; "))
}

// printable makes foreign text one short line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 400 {
		s = strings.ToValidUTF8(s[:400], "") + "…"
	}
	return s
}

// refusedError says that a host wants no requests for a long time.
type refusedError struct{ until time.Time }

// Error says until when.
func (e refusedError) Error() string {
	return "the registry wants no requests before " + e.until.UTC().Format(time.RFC3339)
}

func tooLarge(limit int64) error { return fmt.Errorf("larger than %d bytes", limit) }

// hopeless tells whether an attempt failed for a reason that will not go away.
func hopeless(err error) bool {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	return errors.As(err, &dns) && dns.IsNotFound || errors.As(err, &cert) || errors.As(err, &authority) ||
		errors.As(err, &record) || plainServer(err) || errors.Is(err, errInsecureRedirect)
}

// plainServer tells whether a server without TLS answered a client that wanted
// it. The library has no type for that.
func plainServer(err error) bool {
	return strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// fail gives an error its operation, kind and help. What is classified already
// keeps its kind; the end of the context passes through.
func (c call) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return interrupted(ctx, c.what)
	}
	var known *diag.Error
	if errors.As(err, &known) {
		return err
	}
	return &diag.Error{Kind: diag.Infra, Op: c.what, Help: c.help(err), Err: err}
}

func interrupted(ctx context.Context, op string) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, err) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return &diag.Error{Kind: diag.Interrupted, Op: op, Err: err}
}

// help says what to do about an error.
func (c call) help(err error) string {
	name := c.host.name
	var s *statusError
	var refused refusedError
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &s) && (s.status == http.StatusUnauthorized || s.status == http.StatusForbidden):
		return c.loginHelp()
	case errors.As(err, &refused), errors.As(err, &s) && s.status == http.StatusTooManyRequests:
		return "log in to " + name + " or use a mirror for a higher limit; the same command goes on later"
	case c.uncreated(err):
		return c.createHelp()
	case errors.Is(err, ErrNotFound):
		return "check the reference; a private repository may look as if it did not exist, so check the credentials for " + name + " too"
	case errors.As(err, &s):
		return ""
	case errors.As(err, &cert):
		return "name the certificates of " + name + " with caFile under registries in the fleet file"
	case plainServer(err):
		return "set http: true for " + name + " under registries in the fleet file, if that is meant"
	case errors.As(err, &dns):
		return "check the host name " + name
	}
	return "check that " + name + " can be reached from here; the same command goes on where it stopped"
}

func (c call) loginHelp() string {
	verb := "pull"
	if c.grant.push {
		verb = "push"
	}
	return fmt.Sprintf("check the credentials for %s: docker login %s, or %s under registries in the fleet file", c.host.name, c.host.name, verb)
}

// scrubbed is an error whose text held a secret. It keeps the original for
// errors.Is and As only.
type scrubbed struct {
	text string
	err  error
}

func (s scrubbed) Error() string        { return s.text }
func (s scrubbed) Is(target error) bool { return errors.Is(s.err, target) }

// As finds only what holds no text.
func (s scrubbed) As(target any) bool {
	var e *statusError
	p, ok := target.(**statusError)
	if !ok || !errors.As(s.err, &e) {
		return false
	}
	*p = &statusError{status: e.status, codes: e.codes, text: "(hidden)"}
	return true
}

// scrub takes secrets out of an error's text: a registry may echo what it was
// sent.
func scrub(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, s := range secrets {
		for _, form := range []string{s, base64.StdEncoding.EncodeToString([]byte(s))} {
			// Shorter ones would hide words at random, and give nothing away.
			if len(s) >= 4 {
				text = strings.ReplaceAll(text, form, "(hidden)")
			}
		}
	}
	if text == err.Error() {
		return err
	}
	return scrubbed{text, err}
}
