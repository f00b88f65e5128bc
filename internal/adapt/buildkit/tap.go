package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Prune is one prune of the daemon's records, as its client saw it.
type Prune struct {
	// Began and Ended are this machine's times.
	Began, Ended time.Time
	// Records are those that were removed, in the daemon's order; it does not
	// say their types.
	Records []Record
	// Err says why it did not come to its end; nil when it did.
	Err error
}

// Tap is a second address of a daemon, by which prunes are seen. Everything
// passes as it is, in both directions: sessions, solves, errors.
type Tap struct {
	server *grpc.Server
	up     *grpc.ClientConn
	prune  func() (ended func(Prune))
	serve  sync.WaitGroup
	calls  sync.WaitGroup
}

// pruneMethod is the one request that is looked at.
const pruneMethod = controlapi.Control_Prune_FullMethodName

// Tap serves the daemon at a unix socket, too, until Close is called. prune is
// called when a client asks for a prune, which waits until it returns; what it
// returns is called when the prune has ended, and the client's answer waits for
// that. For prunes at the same time both are called at the same time. Requests
// to the daemon's own address are not seen.
func (c *Client) Tap(socket string, prune func() (ended func(Prune))) (*Tap, error) {
	op := "listen at " + socket
	if !strings.HasPrefix(c.addr, "unix://") {
		return nil, diag.Errorf(diag.Internal, "", "%s: the daemon's address %s is no socket", op, c.addr)
	}
	up, err := grpc.NewClient(c.addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(verbatim{}), grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, diag.Wrap(diag.Infra, op, err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		up.Close()
		return nil, diag.Wrap(diag.Infra, op, err)
	}
	t := &Tap{up: up, prune: prune}
	t.server = grpc.NewServer(grpc.WaitForHandlers(true), grpc.ForceServerCodecV2(verbatim{}), grpc.UnknownServiceHandler(t.handle),
		grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32))
	t.serve.Go(func() { _ = t.server.Serve(l) })
	return t, nil
}

// Close ends every connection, and returns when no function is called any more.
func (t *Tap) Close() error {
	t.server.Stop()
	t.serve.Wait()
	t.calls.Wait()
	return t.up.Close()
}

// handle passes one call on.
func (t *Tap) handle(_ any, down grpc.ServerStream) (err error) {
	method, _ := grpc.MethodFromServerStream(down)
	md, _ := metadata.FromIncomingContext(down.Context())
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(down.Context(), md))
	defer cancel()
	var see func([]byte)
	if method == pruneMethod {
		ended := t.prune()
		p := Prune{Began: time.Now()}
		defer func() {
			p.Ended = time.Now()
			if err != nil {
				p.Err = fmt.Errorf("prune: %w", err)
			}
			ended(p)
		}()
		see = func(data []byte) {
			var u controlapi.UsageRecord
			if proto.Unmarshal(data, &u) == nil {
				p.Records = append(p.Records, pruned(&u))
			}
		}
	}
	up, err := t.up.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	t.calls.Go(func() { passDown(down, up, cancel) })
	return passUp(up, down, see)
}

// passDown passes on what the client sends, until it has said all.
func passDown(down grpc.ServerStream, up grpc.ClientStream, cancel context.CancelFunc) {
	for {
		var f frame
		err := down.RecvMsg(&f)
		if err == nil {
			err = up.SendMsg(&f) // io.EOF: the daemon has answered, and wants no more
		} else if errors.Is(err, io.EOF) {
			_ = up.CloseSend()
			return
		} else {
			cancel() // the client is gone
		}
		if err != nil {
			return
		}
	}
}

// passUp passes on what the daemon sends; its result is the end of the call.
func passUp(up grpc.ClientStream, down grpc.ServerStream, see func([]byte)) error {
	if header, err := up.Header(); err == nil && header != nil {
		if err := down.SendHeader(header); err != nil {
			return err
		}
	}
	for {
		var f frame
		err := up.RecvMsg(&f)
		if err != nil {
			down.SetTrailer(up.Trailer())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if see != nil {
			see(f.data.Materialize())
		}
		if err := down.SendMsg(&f); err != nil {
			return err
		}
	}
}

// frame is a message that is passed on without being understood.
type frame struct{ data mem.BufferSlice }

// verbatim is the codec of frames. It names itself as the codec that clients and
// daemon use.
type verbatim struct{}

// Name implements encoding.CodecV2.
func (verbatim) Name() string { return "proto" }

// Marshal implements encoding.CodecV2: the message's bytes are given away.
func (verbatim) Marshal(v any) (mem.BufferSlice, error) { return v.(*frame).data, nil }

// Unmarshal implements encoding.CodecV2. The bytes belong to the caller, who
// frees them after it.
func (verbatim) Unmarshal(data mem.BufferSlice, v any) error {
	data.Ref()
	v.(*frame).data = data
	return nil
}

// pruned is a record as the daemon's answer to a prune has it.
func pruned(u *controlapi.UsageRecord) Record {
	return Record{
		ID: u.ID, Parents: u.Parents, Description: u.Description, Type: u.RecordType, Bytes: u.Size,
		InUse: u.InUse, Shared: u.Shared, Mutable: u.Mutable, Created: instant(u.CreatedAt),
		LastUsed: instant(u.LastUsedAt), Uses: int(u.UsageCount),
	}
}
