package buildkit

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// History is what a daemon keeps of past solves. Its blobs are not among the
// records that [Client.Records] lists.
type History struct {
	// Entries is the number of solves.
	Entries int
	// Bytes is the size of their logs, traces and attestations, as far as the
	// entries name them.
	Bytes int64
}

// History adds up the daemon's history. A daemon that keeps none has a zero
// History. Solves that are running are not counted.
func (c *Client) History(ctx context.Context) (History, error) {
	const op = "list the daemon's history"
	stream, err := c.bk.ControlClient().ListenBuildHistory(ctx, &controlapi.BuildHistoryRequest{EarlyExit: true})
	if err != nil {
		return History{}, classify(ctx, op, err)
	}
	var h History
	for {
		ev, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF), status.Code(err) == codes.Unimplemented:
			return h, nil
		case err != nil:
			return History{}, classify(ctx, op, err)
		case ev.Record == nil || ev.Type != controlapi.BuildHistoryEventType_COMPLETE:
			continue
		}
		h.Entries++
		h.Bytes += bytesOf(ev.Record)
	}
}

func bytesOf(r *controlapi.BuildHistoryRecord) int64 {
	n := r.Logs.GetSize() + r.Trace.GetSize() + r.ExternalError.GetSize()
	for _, res := range append(slices.Collect(maps.Values(r.Results)), r.Result) {
		for _, a := range res.GetAttestations() {
			n += a.GetSize()
		}
	}
	return n
}
