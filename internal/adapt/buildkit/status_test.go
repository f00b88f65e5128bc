package buildkit

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

func at(sec int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(sec, 0)) }

// parts makes a map of names and seconds.
func parts(list ...any) map[string]time.Duration {
	out := map[string]time.Duration{}
	for i := 0; i < len(list); i += 2 {
		out[list[i].(string)] = time.Duration(list[i+1].(int)) * time.Second
	}
	return out
}

func collect(out *[]journal.StepRecord) *fold {
	return newFold(func(r journal.StepRecord) { *out = append(*out, r) })
}

func TestFold(t *testing.T) {
	const a, b, blob = "sha256:aa", "sha256:bb", "sha256:0123"
	unix := func(sec int64) time.Time { return time.Unix(sec, 0).UTC() }
	tests := []struct {
		name string
		in   []*controlapi.StatusResponse
		want []journal.StepRecord
	}{
		{"whole state each time, new output only", []*controlapi.StatusResponse{
			{Vertexes: []*controlapi.Vertex{{Digest: a, Name: "RUN x"}}},
			{Vertexes: []*controlapi.Vertex{{Digest: a, Name: "RUN x", Started: at(1)}}, Logs: []*controlapi.VertexLog{{Vertex: a, Msg: []byte("one")}, {Vertex: a, Msg: []byte("two")}}},
			{Logs: []*controlapi.VertexLog{{Vertex: a, Msg: []byte("three")}}},
			{Vertexes: []*controlapi.Vertex{{Digest: a, Started: at(1), Completed: at(2), Error: "bad"}}},
		}, []journal.StepRecord{
			{Digest: a, Name: "RUN x"},
			{Digest: a, Name: "RUN x", Started: unix(1), Log: []byte("onetwo")},
			{Digest: a, Name: "RUN x", Started: unix(1), Log: []byte("three")},
			{Digest: a, Name: "RUN x", Started: unix(1), Completed: unix(2), Error: "bad"},
		}},
		{"the last interval counts", []*controlapi.StatusResponse{
			{Vertexes: []*controlapi.Vertex{{Digest: a, Name: "COPY", Started: at(1), Completed: at(2)}}},
			{Vertexes: []*controlapi.Vertex{{Digest: a, Name: "COPY", Started: at(7)}}},
			{Vertexes: []*controlapi.Vertex{{Digest: a, Name: "COPY", Started: at(7), Completed: at(9)}}},
		}, []journal.StepRecord{
			{Digest: a, Name: "COPY", Started: unix(1), Completed: unix(2)},
			{Digest: a, Name: "COPY", Started: unix(7)},
			{Digest: a, Name: "COPY", Started: unix(7), Completed: unix(9)},
		}},
		{"a blob counts once, for who fetched it first", []*controlapi.StatusResponse{
			{Vertexes: []*controlapi.Vertex{{Digest: a, Name: "FROM a"}, {Digest: b, Name: "FROM b"}}},
			{Statuses: []*controlapi.VertexStatus{{ID: blob, Vertex: a, Current: 5, Total: 9}}},
			{Statuses: []*controlapi.VertexStatus{{ID: blob, Vertex: b, Current: 5, Total: 9}}},
			{Statuses: []*controlapi.VertexStatus{{ID: blob, Vertex: a, Current: 9, Total: 9}}},
			{Statuses: []*controlapi.VertexStatus{{ID: blob, Vertex: a, Current: 9, Total: 9}}},
			{Statuses: []*controlapi.VertexStatus{{ID: "extracting " + blob, Vertex: a, Current: 3}}},
		}, []journal.StepRecord{
			{Digest: a, Name: "FROM a"}, {Digest: b, Name: "FROM b"},
			{Digest: a, Name: "FROM a", Pulled: 5},
			{Digest: a, Name: "FROM a", Pulled: 9},
		}},
		{"parts", []*controlapi.StatusResponse{
			{Vertexes: []*controlapi.Vertex{{Digest: a, Name: "FROM a"}}},
			{Statuses: []*controlapi.VertexStatus{
				{ID: "resolve host/a", Vertex: a, Started: at(0), Completed: at(1)},
				{ID: blob, Vertex: a, Current: 9, Started: at(1)},
			}},
			{Statuses: []*controlapi.VertexStatus{
				{ID: blob, Vertex: a, Current: 9, Started: at(1), Completed: at(4)},
				{ID: "sha256:4567", Vertex: a, Current: 1, Started: at(2), Completed: at(6)},
				{ID: "sha256:89ab", Vertex: a, Current: 1, Started: at(8), Completed: at(9)},
				{ID: "extracting " + blob, Vertex: a, Started: at(9), Completed: at(11)},
				{ID: "done", Vertex: a, Started: at(9), Completed: at(11)},
			}},
			{Statuses: []*controlapi.VertexStatus{
				{ID: "extracting " + blob, Vertex: a, Started: at(9), Completed: at(11)},
				{ID: "pushing layers", Vertex: a, Started: at(11), Completed: at(11)},
			}},
		}, []journal.StepRecord{
			{Digest: a, Name: "FROM a"},
			{Digest: a, Name: "FROM a", Pulled: 9, Parts: parts(journal.PartResolve, 1)},
			{Digest: a, Name: "FROM a", Pulled: 11, Parts: parts(journal.PartResolve, 1, journal.PartPull, 6, journal.PartUnpack, 2)},
		}},
		{"parts of an export", []*controlapi.StatusResponse{
			{Vertexes: []*controlapi.Vertex{{Digest: a, Name: "exporting to image"}}, Statuses: []*controlapi.VertexStatus{
				{ID: "exporting layers", Vertex: a, Started: at(0), Completed: at(3)},
				{ID: "rewriting layers with source-date-epoch 0 (x)", Vertex: a, Started: at(3), Completed: at(4)},
				{ID: "exporting manifest sha256:1", Vertex: a, Started: at(4), Completed: at(5)},
				{ID: "exporting config sha256:2", Vertex: a, Started: at(4), Completed: at(5)},
				{ID: "pushing layers", Vertex: a, Started: at(5), Completed: at(8)},
				{ID: "pushing manifest for host/a", Vertex: a, Started: at(8), Completed: at(9)},
			}},
		}, []journal.StepRecord{{Digest: a, Name: "exporting to image", Parts: parts(journal.PartExport, 5, journal.PartPush, 4)}}},
		{"a status that ends later than was said", []*controlapi.StatusResponse{
			{Statuses: []*controlapi.VertexStatus{{ID: "pushing layers", Vertex: a, Started: at(1), Completed: at(2)}}},
			{Statuses: []*controlapi.VertexStatus{{ID: "pushing layers", Vertex: a, Started: at(1), Completed: at(4)}}},
		}, []journal.StepRecord{{Digest: a, Parts: parts(journal.PartPush, 1)}, {Digest: a, Parts: parts(journal.PartPush, 3)}}},
		{"output before its step", []*controlapi.StatusResponse{
			{Logs: []*controlapi.VertexLog{{Vertex: a, Msg: []byte("early")}}},
			{Vertexes: []*controlapi.Vertex{{Digest: a, Name: "RUN x", Cached: true}}},
		}, []journal.StepRecord{
			{Digest: a, Log: []byte("early")},
			{Digest: a, Name: "RUN x", Cached: true},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []journal.StepRecord
			f := collect(&got)
			for _, m := range tt.in {
				f.add(m)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("records (-want +got):\n%s", d)
			}
		})
	}
}

// However the output is cut into messages, the records hold all of it in order
// and in bounded pieces, and the tail is its end.
func TestFoldKeepsOutput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var got []journal.StepRecord
		f := collect(&got)
		want := map[string][]byte{}
		for range rapid.IntRange(0, 12).Draw(t, "messages") {
			m := &controlapi.StatusResponse{}
			for range rapid.IntRange(0, 4).Draw(t, "logs") {
				v := rapid.SampledFrom([]string{"sha256:a", "sha256:b"}).Draw(t, "vertex")
				p := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(0, 2*logChunk).Draw(t, "size"))
				m.Logs = append(m.Logs, &controlapi.VertexLog{Vertex: v, Msg: p})
				want[v] = append(want[v], p...)
			}
			f.add(m)
		}
		sum := map[string][]byte{}
		for _, r := range got {
			if len(r.Log) > logChunk {
				t.Fatalf("a record has %d bytes of output", len(r.Log))
			}
			sum[string(r.Digest)] = append(sum[string(r.Digest)], r.Log...)
		}
		for v, w := range want {
			if !bytes.Equal(sum[v], w) {
				t.Fatalf("%s: %d bytes, want %d", v, len(sum[v]), len(w))
			}
			tail := f.tail(graph.Digest(v))
			if len(tail) != min(len(w), tailSize) || !strings.HasSuffix(string(w), tail) {
				t.Fatalf("%s: the tail is not the end", v)
			}
		}
	})
}

// A record's output is the caller's: later messages must not write into it.
func TestFoldHandsOutputOver(t *testing.T) {
	var got []journal.StepRecord
	f := collect(&got)
	for _, s := range []string{"first", "second", "third"} {
		f.add(&controlapi.StatusResponse{Logs: []*controlapi.VertexLog{{Vertex: "sha256:a", Msg: []byte(s)}}})
	}
	for i, want := range []string{"first", "second", "third"} {
		if string(got[i].Log) != want {
			t.Errorf("record %d: %q, want %q", i, got[i].Log, want)
		}
	}
}
