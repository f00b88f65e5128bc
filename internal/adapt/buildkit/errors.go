package buildkit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Errors that a caller can act on. They are found by errors.Is in what this
// package returns, which says more.
var (
	// ErrLost means that the daemon went away or cannot be reached. The same
	// call may succeed on a daemon that was started anew.
	ErrLost = errors.New("the daemon is gone")
	// ErrNoSpace means that the file system with the daemon's state is full.
	ErrNoSpace = errors.New("the daemon's disk is full")
)

const helpNoSpace = "free space where the daemon keeps its state"

// StepError is a step that failed.
type StepError struct {
	// Step is the digest of the operation as it was submitted.
	Step graph.Digest
	// Name is what BuildKit shows, such as "[2/3] RUN make".
	Name string
	// Pos is the instruction's place in the recipe, as far as it is known, and
	// Source its first line.
	Pos    diag.Pos
	Source string
	// ExitCode is that of the step's process; 0 when there was none.
	ExitCode int
	// Log is the end of what the step printed, at most 8 KiB.
	Log string
	// Err is the daemon's error.
	Err error
}

// Error names the step and says why it failed, without its log.
func (e *StepError) Error() string {
	s := "step " + e.Name
	if e.Pos.File != "" {
		s = e.Pos.String() + ": " + s
	}
	if e.ExitCode != 0 {
		return fmt.Sprintf("%s: exit code %d", s, e.ExitCode)
	}
	return s + ": " + message(e.Err)
}

// Unwrap returns the daemon's error.
func (e *StepError) Unwrap() error { return e.Err }

// reported is an error of the daemon with a readable message.
type reported struct {
	text string
	err  error
}

func (r *reported) Error() string { return r.text }
func (r *reported) Unwrap() error { return r.err }

// message is err's text without the names of gRPC codes that a gRPC error is
// prefixed with.
func message(err error) string {
	s := err.Error()
	for _, c := range []codes.Code{codes.Unknown, codes.Unavailable, codes.ResourceExhausted, codes.Internal, codes.NotFound} {
		s = strings.TrimPrefix(s, c.String()+": ")
	}
	return s
}

// classify gives a failed request its kind. ctx is the one that the request was
// made with.
func classify(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if e := interrupted(ctx, err); e != nil {
		return diag.Wrap(diag.Interrupted, op, e)
	}
	code, text := grpcerrors.Code(err), message(err)
	cause := error(&reported{text, err})
	wrap := func(class error, help string) error {
		if class != nil {
			cause = fmt.Errorf("%w: %w", class, cause)
		}
		return &diag.Error{Kind: diag.Infra, Op: op, Help: help, Err: cause}
	}
	switch {
	case full(text):
		return wrap(ErrNoSpace, helpNoSpace)
	case code == codes.Unavailable, strings.Contains(text, "no active session"), code == codes.Canceled:
		// A cancellation that is not ours is the daemon's way to say that it stops.
		return wrap(ErrLost, "see the daemon's log; is it running?")
	case code == codes.Unimplemented, incapable(err):
		return wrap(nil, "the daemon is too old; use BuildKit 0.32 or newer")
	case refused(text):
		return wrap(nil, "check the credentials for this registry (docker login)")
	case strings.Contains(text, " is not allowed") && strings.Contains(text, "entitlement"), strings.Contains(text, "granting entitlement"):
		return wrap(nil, "the recipe asks for network or security that the daemon must allow with insecure-entitlements in buildkitd.toml")
	}
	return wrap(nil, "")
}

// incapable tells whether the daemon lacks what a definition asks for. The type
// of its error is lost on the way.
func incapable(err error) bool {
	text := err.Error()
	return strings.Contains(text, "not supported by build server") || strings.Contains(text, "unknown API capability")
}

func refused(text string) bool {
	for _, s := range []string{"401 Unauthorized", "403 Forbidden", "insufficient_scope", "authorization failed", "unauthorized: "} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// interrupted returns an error in which errors.Is finds the context's own, when
// err came because ctx ended, else nil. The daemon knows the deadline too and
// may say so a moment before ctx does.
func interrupted(ctx context.Context, err error) error {
	done := ctx.Err()
	if done == nil {
		_, has := ctx.Deadline()
		if !has || grpcerrors.Code(err) != codes.DeadlineExceeded {
			return nil
		}
		done = context.DeadlineExceeded
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, done) {
		return fmt.Errorf("%w: %w", done, cause)
	}
	return done
}

// solveError classifies the failure of a solve: by the context, then by the
// step that the daemon names, then like any other request.
func solveError(ctx context.Context, op string, err error, def *definition, steps *fold) error {
	var vertex *errdefs.VertexError
	if interrupted(ctx, err) != nil || !errors.As(err, &vertex) {
		return classify(ctx, op, err)
	}
	at := graph.Digest(vertex.Digest)
	digest := def.own(at, steps.step(at).Name)
	var exit *gatewaypb.ExitError
	ran := errors.As(err, &exit)
	if !ran && (!def.runs(digest) || infra(err)) {
		return classify(ctx, op+": "+def.name(digest), err)
	}
	e := &StepError{Step: digest, Name: def.name(digest), Log: steps.tail(at), Err: err}
	e.Pos, e.Source = def.position(digest)
	for _, src := range errdefs.Sources(err) {
		if pos, line, ok := locate(src.Info, src.Ranges); ok {
			e.Pos, e.Source = pos, line
		}
	}
	if ran {
		e.ExitCode = int(exit.ExitCode)
	}
	return e.failure()
}

// failure is the error with its kind. The step's output may say that its disk was
// full, which is not the recipe's fault.
func (e *StepError) failure() error {
	out := &diag.Error{Kind: diag.Step, Err: e}
	if full(e.Log) {
		e.Err = fmt.Errorf("%w: %w", ErrNoSpace, e.Err)
		out.Help = helpNoSpace
	}
	return out
}

// infra tells errors of a step that are not the recipe's from the others.
func infra(err error) bool {
	code := grpcerrors.Code(err)
	return code == codes.Unavailable || code == codes.Canceled || gone(err.Error()) || full(err.Error())
}

// gone tells of a record whose content is not there any more: after its disk was
// full, a daemon may miss what it was about to commit.
func gone(text string) bool { return strings.Contains(text, "snapshot does not exist") }

// Broken lists the ids of the records that err names as broken, as their content
// is gone; none when it is about something else. The daemon keeps such a record,
// and every solve that needs it fails, until it is released.
func Broken(err error) []string {
	if err == nil || !gone(err.Error()) {
		return nil
	}
	return regexp.MustCompile(`\b[0-9a-z]{25}\b`).FindAllString(err.Error(), -1)
}

func full(text string) bool {
	return strings.Contains(strings.ToLower(text), "no space left on device")
}
