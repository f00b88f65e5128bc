package buildkit

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	controlapi "github.com/moby/buildkit/api/services/control"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

func grpcError(c codes.Code, format string, args ...any) error {
	return grpcerrors.FromGRPC(status.Errorf(c, format, args...))
}

// graphOf is a definition of one source and one step on it, and their digests.
func graphOf(t testing.TB) (data []byte, source, exec digest.Digest) {
	t.Helper()
	src, err := (&pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "docker-image://base"}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	source = digest.FromBytes(src)
	run, err := (&pb.Op{Inputs: []*pb.Input{{Digest: string(source)}}, Op: &pb.Op_Exec{Exec: &pb.ExecOp{
		Meta: &pb.Meta{Args: []string{"make", "all"}}, Network: pb.NetMode_HOST, Security: pb.SecurityMode_INSECURE,
	}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	exec = digest.FromBytes(run)
	def := &pb.Definition{Def: [][]byte{src, run}, Source: &pb.Source{
		Infos: []*pb.SourceInfo{{Filename: "Dockerfile", Data: []byte("FROM base\r\nRUN make all\r\n")}},
		Locations: map[string]*pb.Locations{string(exec): {Locations: []*pb.Location{
			{SourceIndex: 0, Ranges: []*pb.Range{{Start: &pb.Position{Line: 2}, End: &pb.Position{Line: 2}}}},
		}}},
	}}
	data, err = def.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return data, source, exec
}

// TestOutcome is about solves of others, of which the history may say less than
// their steps do.
func TestOutcome(t *testing.T) {
	broken := &step{end: []byte("head: write error: No space left on device\n")}
	broken.Name, broken.Error = "RUN head", "process did not complete successfully: exit code: 1"
	stopped := &step{}
	stopped.Name, stopped.Error = "RUN yes", "exit code: 137: context canceled"
	named, pushed := Build{Names: []string{"host/image:1"}}, Build{Names: []string{"host/image:1"}, Digest: "sha256:1"}
	quiet := &controlapi.BuildHistoryRecord{Exporters: []*controlapi.Exporter{{Type: "image"}}}
	tar := &controlapi.BuildHistoryRecord{Exporters: []*controlapi.Exporter{{Type: "oci"}}}
	said := &controlapi.BuildHistoryRecord{Error: status.New(codes.Canceled, "context canceled").Proto()}
	for _, tt := range []struct {
		name   string
		record *controlapi.BuildHistoryRecord
		build  Build
		step   *step
		kind   string // empty: it did not fail
		full   bool
	}{
		{"the history says why", said, named, stopped, diag.Interrupted.String(), false},
		{"a step failed and the image is missing", quiet, named, broken, diag.Step.String(), true},
		{"the image is missing", quiet, named, stopped, diag.Infra.String(), false},
		{"an archive was asked for", tar, named, broken, "", false},
		{"the image is there", quiet, pushed, broken, "", false},
		{"no image was asked for", quiet, Build{}, broken, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFold(func(journal.StepRecord) {})
			f.steps["sha256:2"] = tt.step
			err := outcome(tt.record, tt.build, f)
			kind := ""
			if err != nil {
				kind = diag.KindOf(err).String()
			}
			if kind != tt.kind || errors.Is(err, ErrNoSpace) != tt.full {
				t.Errorf("%q: %v", kind, err)
			}
		})
	}
}

func TestBroken(t *testing.T) {
	lost := errors.New("failed to commit kesi05kht6zryf18qdz7apq8k to vssb5fx7cmkgs08kz2f4oiush during finalize: failed to stat active key during commit: snapshot does not exist: not found")
	for _, tt := range []struct {
		err  error
		want []string
	}{
		{nil, nil},
		{errors.New("failed to commit kesi05kht6zryf18qdz7apq8k: disk quota exceeded"), nil},
		{fmt.Errorf("solve: %w", lost), []string{"kesi05kht6zryf18qdz7apq8k", "vssb5fx7cmkgs08kz2f4oiush"}},
	} {
		if diff := cmp.Diff(tt.want, Broken(tt.err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.err, diff)
		}
	}
}

func TestSolveError(t *testing.T) {
	data, source, exec := graphOf(t)
	live := context.Background()
	cancelled, cancel := context.WithCancelCause(live)
	why := errors.New("why")
	cancel(why)
	soon, stop := context.WithDeadline(live, time.Now().Add(time.Hour))
	defer stop()
	exit := errdefs.WrapVertex(&gatewaypb.ExitError{ExitCode: 7, Err: grpcError(codes.Unknown, "process did not complete")}, exec)
	tests := []struct {
		name string
		ctx  context.Context
		err  error
		kind diag.Kind
		is   []error
		not  []error
		text string
	}{
		{"exit code", live, exit, diag.Step, nil, nil, "Dockerfile:2: step make all: exit code 7"},
		{"exit code after cancel", cancelled, exit, diag.Interrupted, []error{context.Canceled, why}, nil, "solve x: context canceled: why"},
		{"step without process", live, errdefs.WrapVertex(grpcError(codes.NotFound, "/x: not found"), exec), diag.Step, nil, nil, "Dockerfile:2: step make all: /x: not found"},
		{"step on a lost daemon", live, errdefs.WrapVertex(grpcError(codes.Unavailable, "closing"), exec), diag.Infra, []error{ErrLost}, nil, ""},
		{"step on a full disk", live, errdefs.WrapVertex(grpcError(codes.Unknown, "write /x: no space left on device"), exec), diag.Infra, []error{ErrNoSpace}, nil, ""},
		{"source", live, errdefs.WrapVertex(grpcError(codes.Unknown, "dial tcp: refused"), source), diag.Infra, nil, []error{ErrLost}, "solve x: docker-image://base: dial tcp: refused"},
		{"step that another solve ran", live, errdefs.WrapVertex(&gatewaypb.ExitError{ExitCode: 7, Err: grpcError(codes.Unknown, "x")}, "sha256:ee"), diag.Step, nil, nil, "Dockerfile:2: step make all: exit code 7"},
		{"step that is not in the graph", live, errdefs.WrapVertex(grpcError(codes.Unknown, "push failed"), "sha256:ff"), diag.Infra, nil, nil, ""},
		{"unavailable", live, grpcError(codes.Unavailable, "error reading from server: EOF"), diag.Infra, []error{ErrLost}, nil, "solve x: the daemon is gone: error reading from server: EOF"},
		{"the daemon cancels", live, grpcError(codes.Canceled, "context canceled"), diag.Infra, []error{ErrLost}, []error{context.Canceled}, ""},
		{"disk full", live, grpcError(codes.ResourceExhausted, "mkdir: no space left on device"), diag.Infra, []error{ErrNoSpace}, nil, ""},
		{"message too large", live, grpcError(codes.ResourceExhausted, "grpc: received message larger than max"), diag.Infra, nil, []error{ErrNoSpace}, ""},
		{"deadline known to the daemon first", soon, grpcError(codes.DeadlineExceeded, "deadline"), diag.Interrupted, []error{context.DeadlineExceeded}, nil, ""},
		{"deadline of the daemon's own", live, grpcError(codes.DeadlineExceeded, "deadline"), diag.Infra, nil, []error{context.DeadlineExceeded}, ""},
		{"push refused", live, grpcError(codes.Unknown, "failed to push x: unexpected status from POST: 403 Forbidden"), diag.Infra, nil, []error{ErrLost, ErrNoSpace}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			def, err := parseDefinition(data)
			if err != nil {
				t.Fatal(err)
			}
			steps := newFold(func(journal.StepRecord) {})
			steps.add(&controlapi.StatusResponse{Vertexes: []*controlapi.Vertex{{Digest: "sha256:ee", Name: "make all"}}})
			got := solveError(tt.ctx, "solve x", tt.err, def, steps)
			if diag.KindOf(got) != tt.kind {
				t.Errorf("kind %v of %v", diag.KindOf(got), got)
			}
			for _, want := range tt.is {
				if !errors.Is(got, want) {
					t.Errorf("%v is not %v", got, want)
				}
			}
			for _, not := range tt.not {
				if errors.Is(got, not) {
					t.Errorf("%v is %v", got, not)
				}
			}
			if tt.text != "" && got.Error() != tt.text {
				t.Errorf("text %q, want %q", got, tt.text)
			}
		})
	}
}

func TestDefinition(t *testing.T) {
	data, source, exec := graphOf(t)
	def, err := parseDefinition(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(def.entitlements()); got != "[network.host security.insecure]" {
		t.Errorf("entitlements %s", got)
	}
	for step, want := range map[digest.Digest]bool{exec: true, source: false, "sha256:ff": false} {
		if got := def.runs(graph.Digest(step)); got != want {
			t.Errorf("%s is the recipe's: %v, want %v", def.name(graph.Digest(step)), got, want)
		}
	}
	_, line := def.position(graph.Digest(exec))
	if line != "RUN make all" {
		t.Errorf("line %q", line)
	}
	if pos, line := def.position(graph.Digest(source)); pos != (diag.Pos{}) || line != "" {
		t.Errorf("the source has a place: %v %q", pos, line)
	}
	for _, bad := range [][]byte{nil, {}, []byte("not a definition")} {
		if _, err := parseDefinition(bad); diag.KindOf(err) != diag.Internal || err == nil {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzDefinition(f *testing.F) {
	data, _, exec := graphOf(f)
	f.Add(data)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		def, err := parseDefinition(data)
		if err != nil {
			return
		}
		def.entitlements()
		for step := range def.ops {
			def.name(step)
			def.position(step)
			def.runs(step)
		}
		def.position(graph.Digest(exec))
	})
}
