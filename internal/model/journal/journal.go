// Package journal is the record of a run: an append-only sequence of events.
// Everything that is shown, summed up, resumed or compared is a fold over it.
//
// The format is JSON, one event a line. Readers keep events of kinds that they
// do not know. A field, once written, keeps its meaning for ever; Version grows
// when an old reader would misread a new event.
package journal

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Version is the version of events written by this program.
const Version = 1

// Kind names what happened.
type Kind string

// The kinds of event, with the type of their Data.
const (
	RunStarted    Kind = "run.started"    // RunData
	RunEnded      Kind = "run.ended"      // EndData
	PhaseStarted  Kind = "phase.started"  // PhaseData
	PhaseEnded    Kind = "phase.ended"    // PhaseData
	Planned       Kind = "planned"        // PlannedData; once, after the plan is known
	UnitStarted   Kind = "unit.started"   // UnitData
	UnitBuilt     Kind = "unit.built"     // UnitData; a solve pushed its layers
	UnitPut       Kind = "unit.put"       // UnitData; a manifest is about to be sent, written before it is
	UnitPublished Kind = "unit.published" // UnitData; every tag is there
	UnitFailed    Kind = "unit.failed"    // FailData
	UnitSkipped   Kind = "unit.skipped"   // UnitData
	WorkerReady   Kind = "worker.ready"   // WorkerData; a daemon answered
	LayersReady   Kind = "layers.ready"   // LayersData
	StepDone      Kind = "step.done"      // StepData
	Released      Kind = "released"       // ReleaseData
	Disk          Kind = "disk"           // DiskData
	Requests      Kind = "requests"       // RequestData; running totals
	Note          Kind = "note"           // NoteData
)

// Event is one line of the journal.
type Event struct {
	V    int       `json:"v"`
	Seq  int64     `json:"seq"`  // from 1, without gaps
	Wall time.Time `json:"wall"` // for people
	// Mono is nanoseconds since the run's first event, by the monotonic clock;
	// in a resumed run it goes on from the last.
	Mono    time.Duration   `json:"mono"`
	Kind    Kind            `json:"kind"`
	Unit    string          `json:"unit,omitempty"` // image id
	Step    graph.Digest    `json:"step,omitempty"`
	Worker  string          `json:"worker,omitempty"`
	Attempt int             `json:"attempt,omitempty"` // from 1
	Data    json.RawMessage `json:"data,omitempty"`
}

// Decode unmarshals the event's Data into v, which must be a pointer to the
// type that the kind's constant names.
func (e *Event) Decode(v any) error {
	if err := json.Unmarshal(e.Data, v); err != nil {
		return fmt.Errorf("journal: event %d (%s): %w", e.Seq, e.Kind, err)
	}
	return nil
}

// RunData opens a run. A resumed run has one for each time it was started.
type RunData struct {
	Run      string            `json:"run"`
	Fleet    string            `json:"fleet"`
	Command  []string          `json:"command,omitempty"`
	Resumed  bool              `json:"resumed,omitempty"`
	Versions map[string]string `json:"versions,omitempty"`
}

// WorkerData says which daemon a run uses.
type WorkerData struct {
	// Versions are versions of programs by name.
	Versions map[string]string `json:"versions,omitempty"`
}

// EndData closes a run.
type EndData struct {
	Exit  int    `json:"exit"`
	Cause string `json:"cause,omitempty"`
}

// PhaseData names a phase: prepare, resolve, plan, shared, images, publish, release.
type PhaseData struct {
	Phase string `json:"phase"`
}

// PlannedData says how much the plan holds.
type PlannedData struct {
	Images        int            `json:"images"`
	Actions       map[string]int `json:"actions"`
	StepsDistinct int64          `json:"stepsDistinct"`
	// BaseBytes is the sum of distinct base layers that builds will pull.
	BaseBytes int64 `json:"baseBytes"`
}

// UnitData is about one image.
type UnitData struct {
	Action string       `json:"action,omitempty"`
	Key    string       `json:"key,omitempty"`
	Digest graph.Digest `json:"digest,omitempty"` // of the manifest
	Tags   []string     `json:"tags,omitempty"`
	// Temperature is cold, partial, warm or skipped, for images that were built.
	Temperature string `json:"temperature,omitempty"`
}

// FailData says why an image failed.
type FailData struct {
	// Kind is diag.Kind's name.
	Kind  string `json:"kind"`
	Cause string `json:"cause"`
	Help  string `json:"help,omitempty"`
	// Step is the failed step's name; Shared is true when it serves other images too.
	Step   string `json:"step,omitempty"`
	Shared bool   `json:"shared,omitempty"`
	// Log is the tail of the step's output.
	Log string `json:"log,omitempty"`
}

// LayersData says that a layer set is in a repository.
type LayersData struct {
	Layers graph.Digest `json:"layers"`
	Repo   string       `json:"repo"`
	Digest graph.Digest `json:"digest"` // of the manifest that holds them
	// Blobs are the layers' digests in order.
	Blobs []graph.Digest `json:"blobs"`
	Bytes int64          `json:"bytes"`
}

// StepData is one vertex of a solve, complete.
type StepData struct {
	Name    string        `json:"name"`
	Cached  bool          `json:"cached,omitempty"`
	Took    time.Duration `json:"took,omitempty"`
	Error   string        `json:"error,omitempty"`
	Pulled  int64         `json:"pulled,omitempty"` // bytes that the daemon fetched
	Shared  bool          `json:"shared,omitempty"`
	LogSize int64         `json:"logSize,omitempty"`
	// Kind is the planned step's; empty when the vertex was not planned.
	Kind graph.Kind `json:"kind,omitempty"`
}

// ReleaseData is one release of records of the daemon.
type ReleaseData struct {
	Records int           `json:"records"`
	Bytes   int64         `json:"bytes"`
	Took    time.Duration `json:"took"`
}

// DiskData is a reading of the file system that holds the daemon's state.
type DiskData struct {
	Used  int64 `json:"used"`
	Free  int64 `json:"free"`
	Total int64 `json:"total"`
	// Budget is what the run may use; 0 when it has no budget.
	Budget int64 `json:"budget,omitempty"`
}

// RequestData are totals since the run was started.
type RequestData struct {
	Hosts   map[string]int64 `json:"hosts"`
	Retries int64            `json:"retries"`
	Pulled  int64            `json:"pulled"`
	Pushed  int64            `json:"pushed"`
	Mounted int64            `json:"mounted"`
	// MountsRefused counts mounts that a registry turned into copies.
	MountsRefused int64 `json:"mountsRefused,omitempty"`
}

// NoteData is a remark for people.
type NoteData struct {
	Level string `json:"level"` // info or warning
	Text  string `json:"text"`
}

// StepRecord is one vertex as a solver reports it. A vertex is reported again
// whenever something about it changed; the last report is complete.
type StepRecord struct {
	Digest    graph.Digest
	Name      string
	Started   time.Time // zero: not yet
	Completed time.Time // zero: not yet
	Cached    bool
	Error     string
	// Pulled is the number of bytes fetched so far.
	Pulled int64
	// Log is new output since the last report.
	Log []byte
}
