package buildkit

import (
	"maps"
	"slices"
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
	spans              []span
}

// span is a status that has ended.
type span struct {
	part, id string
	from, to time.Time
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
		pulled := f.pull(st)
		if f.step(graph.Digest(st.Vertex)).part(st) || pulled {
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

// partOf tells by its id what a status is about; "" for what is no part.
func partOf(id string) string {
	for _, x := range []struct{ prefix, part string }{
		{"sha256:", journal.PartPull},
		{"resolve ", journal.PartResolve},
		{"extracting ", journal.PartUnpack},
		{"unpacking ", journal.PartUnpack},
		{"exporting ", journal.PartExport},
		{"rewriting layers ", journal.PartExport},
		{"pushing ", journal.PartPush},
	} {
		if strings.HasPrefix(id, x.prefix) {
			return x.part
		}
	}
	return ""
}

// part takes a status that has ended into the parts of the step. The same
// status may be reported again, also with a later end.
func (s *step) part(st *controlapi.VertexStatus) bool {
	part := partOf(st.ID)
	if part == "" || st.Started == nil || st.Completed == nil {
		return false
	}
	x := span{part, st.ID, st.Started.AsTime(), st.Completed.AsTime()}
	if !x.to.After(x.from) {
		return false
	}
	if i := slices.IndexFunc(s.spans, func(o span) bool { return o.id == x.id && o.from.Equal(x.from) }); i < 0 {
		s.spans = append(s.spans, x)
	} else if s.spans[i].to.Before(x.to) {
		s.spans[i] = x
	} else {
		return false
	}
	parts := maps.Clone(s.Parts) // the last one was handed out
	if parts == nil {
		parts = map[string]time.Duration{}
	}
	parts[part] = s.covered(part)
	s.Parts = parts
	return true
}

// covered is the time that at least one span of a part covers: layers are
// fetched several at once.
func (s *step) covered(part string) time.Duration {
	var all []span
	for _, x := range s.spans {
		if x.part == part {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b span) int { return a.from.Compare(b.from) })
	var sum time.Duration
	var end time.Time
	for _, x := range all {
		if x.from.After(end) {
			end = x.from
		}
		if x.to.After(end) {
			sum += x.to.Sub(end)
			end = x.to
		}
	}
	return sum
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
