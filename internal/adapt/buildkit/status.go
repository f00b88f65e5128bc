package buildkit

import (
	"strings"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

const (
	// logChunk bounds the output in one record, tailSize what is kept of a
	// step for its error.
	logChunk = 64 << 10
	tailSize = 8 << 10
)

// fold accumulates a solve's status messages, which hold changes, into records,
// which are whole. It is not safe for concurrent use.
type fold struct {
	record func(journal.StepRecord)
	steps  map[graph.Digest]*step
	owner  map[string]graph.Digest // blob -> the step that fetched it
}

type step struct {
	journal.StepRecord // Log is what was not reported yet
	pulled             map[string]int64
	end                []byte
}

func newFold(record func(journal.StepRecord)) *fold {
	return &fold{record: record, steps: map[graph.Digest]*step{}, owner: map[string]graph.Digest{}}
}

// add takes one message and reports every step that it changed, in the order in
// which the message first names them.
func (f *fold) add(m *controlapi.StatusResponse) {
	var changed []*step
	seen := map[*step]bool{}
	touch := func(digest string) *step {
		s := f.step(graph.Digest(digest))
		if !seen[s] {
			seen[s] = true
			changed = append(changed, s)
		}
		return s
	}
	for _, v := range m.Vertexes {
		touch(v.Digest).vertex(v)
	}
	for _, st := range m.Statuses {
		if f.pull(st) {
			touch(st.Vertex)
		}
	}
	for _, l := range m.Logs {
		s := touch(l.Vertex)
		s.Log = append(s.Log, l.Msg...)
		s.keep(l.Msg)
	}
	for _, s := range changed {
		s.report(f.record)
	}
}

func (f *fold) step(d graph.Digest) *step {
	s := f.steps[d]
	if s == nil {
		s = &step{StepRecord: journal.StepRecord{Digest: d}, pulled: map[string]int64{}}
		f.steps[d] = s
	}
	return s
}

// pull counts bytes that were fetched from a registry. Their progress is the
// only one whose id is a bare digest. A blob counts once, for the step that
// fetched it first, even when another waits for it.
func (f *fold) pull(st *controlapi.VertexStatus) bool {
	if !strings.HasPrefix(st.ID, "sha256:") {
		return false
	}
	d := graph.Digest(st.Vertex)
	if _, ok := f.owner[st.ID]; !ok {
		f.owner[st.ID] = d
	}
	s := f.step(d)
	if f.owner[st.ID] != d || st.Current <= s.pulled[st.ID] {
		return false
	}
	s.Pulled += st.Current - s.pulled[st.ID]
	s.pulled[st.ID] = st.Current
	return true
}

// tail is the end of what a step printed.
func (f *fold) tail(d graph.Digest) string {
	if s := f.steps[d]; s != nil {
		return string(s.end)
	}
	return ""
}

// vertex takes the daemon's view of the step. A step may start and stop several
// times, first while its cache key is computed: the last interval is kept,
// which is that of its work.
func (s *step) vertex(v *controlapi.Vertex) {
	if v.Name != "" {
		s.Name = v.Name
	}
	s.Started, s.Completed = instant(v.Started), instant(v.Completed)
	s.Cached = v.Cached
	s.Error = v.Error
}

func (s *step) keep(p []byte) {
	s.end = append(s.end, p...)
	if n := len(s.end) - tailSize; n > 0 {
		s.end = append(s.end[:0], s.end[n:]...)
	}
}

// report hands the step over, in several records when there is much output.
func (s *step) report(record func(journal.StepRecord)) {
	for {
		r := s.StepRecord
		if len(r.Log) > logChunk {
			r.Log = r.Log[:logChunk:logChunk]
		}
		s.Log = s.Log[len(r.Log):]
		record(r)
		if len(s.Log) == 0 {
			s.Log = nil
			return
		}
	}
}

func instant(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
