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

	"github.com/lapstrake/lapstrake/internal/model/diag"
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
	Scheduling    Kind = "scheduling"     // SchedulingData; the limits that a schedule keeps to
	SharedQueued  Kind = "shared.queued"  // SharedData; Step is a shared step, or a layer set, that images wait for
	UnitQueued    Kind = "unit.queued"    // QueuedData; the image waits for a solve
	Queued        Kind = "queued"         // no data; everything that waits is queued
	Paused        Kind = "paused"         // no data; nothing more is to start until Unpaused
	Unpaused      Kind = "unpaused"       // no data
	SharedStarted Kind = "shared.started" // SharedData; Step, Worker
	SharedReady   Kind = "shared.ready"   // SharedData; Step, Worker: its result is on that daemon
	SharedFailed  Kind = "shared.failed"  // FailData; with a Reason it is tried again
	UnitStarted   Kind = "unit.started"   // UnitData
	UnitRetried   Kind = "unit.retried"   // FailData; the image waits again
	UnitBuilt     Kind = "unit.built"     // UnitData; a solve pushed its layers
	UnitPut       Kind = "unit.put"       // UnitData; a manifest is about to be sent, written before it is
	UnitPlaced    Kind = "unit.placed"    // UnitData; its manifest is there by digest, and is to be scanned
	UnitPublished Kind = "unit.published" // UnitData; every tag is there
	UnitFailed    Kind = "unit.failed"    // FailData
	UnitSkipped   Kind = "unit.skipped"   // UnitData
	WorkerReady   Kind = "worker.ready"   // WorkerData; a daemon answered
	WorkerLost    Kind = "worker.lost"    // FailData; what ran on it waits again
	IndexReady    Kind = "index.ready"    // UnitData; Unit is an image's id: every tag names its index
	LayersReady   Kind = "layers.ready"   // LayersData
	StepBegun     Kind = "step.begun"     // StepBegunData; Unit, or Step, the shared step or layer set that is being made
	StepDone      Kind = "step.done"      // StepData
	Releasing     Kind = "releasing"      // no data; a release of a worker's dead records begins
	Released      Kind = "released"       // ReleaseData; ends a release, whatever came of it
	Disk          Kind = "disk"           // DiskData
	Forecast      Kind = "forecast"       // ForecastData
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
	Unit    string          `json:"unit,omitempty"` // image id, with the platform behind it when there are several
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
	// Observed runs were not planned: another program's builds were recorded.
	// Fleet is then its command line.
	Observed bool `json:"observed,omitempty"`
	// Imported is the file that an observed run was told of by: no daemon was seen,
	// so that its steps, its bytes and its disk are not known. Fleet is then the file.
	Imported string `json:"imported,omitempty"`
	// File is the fleet file's absolute path, Namespace where the run moved what it
	// publishes to. Runs of earlier versions have no File.
	File      string `json:"file,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	// Output is where images go when that is not the registries that their tags
	// name.
	Output string `json:"output,omitempty"`
}

// WorkerData says which daemon a run uses.
type WorkerData struct {
	Address string `json:"address,omitempty"`
	// Disk is the first reading of its file system; nil when it is not ours.
	Disk *DiskData `json:"disk,omitempty"`
	// Holds are the bytes that the daemon held of it then.
	Holds int64 `json:"holds,omitempty"`
	// Budget, Share and LeaveFree are as in SchedulingData, for this worker
	// instead of the run's; all 0: the run's.
	Budget    int64   `json:"budget,omitempty"`
	Share     float64 `json:"share,omitempty"`
	LeaveFree int64   `json:"leaveFree,omitempty"`
	// Versions are versions of programs by name.
	Versions map[string]string `json:"versions,omitempty"`
}

// EndData closes a run.
type EndData struct {
	Exit  int    `json:"exit"`
	Cause string `json:"cause,omitempty"`
}

// PhaseData names a phase: prepare, resolve, plan, shared, images, publish,
// release. Those of an observed run are images, while at least one of its builds
// runs, prune, while none does and the daemon prunes, and between, for the rest.
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
	// Tags are full references; by digest for a part of an index.
	Tags []string `json:"tags,omitempty"`
	// Attested are the manifests that attest the parts of an index.
	Attested []graph.Digest `json:"attested,omitempty"`
	// Temperature is cold, partial, warm or skipped, for images that were built.
	Temperature string `json:"temperature,omitempty"`
	// Promised is the disk in bytes that the image was given to start with.
	Promised int64 `json:"promised,omitempty"`
}

// SchedulingData are the limits that the schedule of a run keeps to.
type SchedulingData struct {
	// Jobs is the most solves at once on one worker, Workers the number of
	// workers that are expected.
	Jobs    int `json:"jobs"`
	Workers int `json:"workers"`
	// Budget is what a daemon may hold, in bytes; 0 means no limit of its own.
	Budget int64 `json:"budget,omitempty"`
	// Share is the same as a share of the file system, above 0 up to 1; 0 means none.
	Share float64 `json:"share,omitempty"`
	// LeaveFree are bytes of the file system that stay free in any case.
	LeaveFree int64 `json:"leaveFree,omitempty"`
	// Limit is the run's time limit; 0 means none.
	Limit time.Duration `json:"limit,omitempty"`
	// Since is the Mono from which Limit counts: 0, or when a resumed run was
	// started again.
	Since time.Duration `json:"since,omitempty"`
	// Cache is the registry/repository that results of shared steps are kept in
	// for other daemons; empty means none.
	Cache string `json:"cache,omitempty"`
}

// QueuedData is an image that waits for a solve, as the scheduler sees it.
type QueuedData struct {
	// Variant is the id of the recipe's conversion, by which later runs know an
	// image that has the same steps.
	Variant graph.Digest `json:"variant,omitempty"`
	// Layers are the base's, lowest first.
	Layers []LayerData `json:"layers,omitempty"`
	// Needs are the shared steps that must have run before.
	Needs []graph.Digest `json:"needs,omitempty"`
	// Bytes and Took are what earlier runs of the same steps lead to expect:
	// disk beside the base, and time; 0 when there were none.
	Bytes int64         `json:"bytes,omitempty"`
	Took  time.Duration `json:"took,omitempty"`
}

// SharedData is about a shared step, or about a layer set, which is made and
// pushed in one solve. Its name is for people; all is left out of its events but
// the first.
type SharedData struct {
	Name string `json:"name,omitempty"`
	// Bytes is the disk that earlier runs lead to expect of it; 0 when there were none.
	Bytes int64 `json:"bytes,omitempty"`
	// Early is true for a layer set: it starts before everything that waits is
	// queued, whoever needs it.
	Early bool `json:"early,omitempty"`
}

// LayerData is one layer of a base; Bytes is its compressed size.
type LayerData struct {
	Digest graph.Digest `json:"digest"`
	Bytes  int64        `json:"bytes"`
}

// ForecastData is where a run is going: its whole wall time and the highest
// reading of the disk, each with a 90 % interval.
type ForecastData struct {
	Done int             `json:"done"` // images that the forecast rests on
	Wall Interval[int64] `json:"wall"` // nanoseconds
	Peak Interval[int64] `json:"peak"` // bytes; zero when the disk is not ours
}

// Interval is a value with the bounds of its interval.
type Interval[T int64 | float64] struct {
	Low   T `json:"low"`
	Value T `json:"value"`
	High  T `json:"high"`
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
	// Pos is the step's place in the recipe, as far as it is known.
	Pos diag.Pos `json:"pos,omitzero"`
	// Log is the tail of the step's output.
	Log string `json:"log,omitempty"`
	// Reason says for a retry what is to blame: one of the Retry constants.
	Reason string `json:"reason,omitempty"`
}

// The reasons for which an image, or a shared step, waits again.
const (
	RetryPassing = "passing" // it may go away by itself
	RetryDisk    = "disk"    // the daemon's disk is full
	RetryBudget  = "budget"  // stopped by the scheduler to keep the budget
	RetryWorker  = "worker"  // its daemon is gone
)

// LayersData says that a layer set is in a repository.
type LayersData struct {
	Layers graph.Digest `json:"layers"`
	Repo   string       `json:"repo"`
	Digest graph.Digest `json:"digest"` // of the manifest that holds them
	// Blobs are the layers' digests in order.
	Blobs []graph.Digest `json:"blobs"`
	Bytes int64          `json:"bytes"`
}

// StepBegunData is the vertex that a solve is at: of those that run, the one that
// began last. Its kind is for people who watch; what came of it is StepDone's.
type StepBegunData struct {
	Name string `json:"name"`
}

// StepData is one vertex of a solve, complete.
type StepData struct {
	Name   string `json:"name"`
	Cached bool   `json:"cached,omitempty"`
	// Began is when it began, by the daemon's clock; zero when not known.
	Began   time.Time     `json:"began,omitzero"`
	Took    time.Duration `json:"took,omitempty"`
	Error   string        `json:"error,omitempty"`
	Pulled  int64         `json:"pulled,omitempty"` // bytes that the daemon fetched
	Shared  bool          `json:"shared,omitempty"`
	LogSize int64         `json:"logSize,omitempty"`
	// Kind is the planned step's; empty when the vertex was not planned.
	Kind graph.Kind `json:"kind,omitempty"`
	// Parts are as in StepRecord; absent when there were none.
	Parts map[string]time.Duration `json:"parts,omitempty"`
}

// The parts of a vertex, apart from the work that is its own.
const (
	PartResolve = "resolve" // asking a registry what a reference means
	PartPull    = "pull"    // fetching layers
	PartUnpack  = "unpack"  // extracting layers
	PartExport  = "export"  // making layers, config and manifest of a result
	PartPush    = "push"    // sending them
)

// ReleaseData is one release of records of the daemon.
type ReleaseData struct {
	Records int           `json:"records"`
	Bytes   int64         `json:"bytes"`
	Took    time.Duration `json:"took"`
	// Images is the number of published images that this was for; Own are the
	// bytes above their bases, Base those of base layers, and Compressed what
	// the same layers take in a registry.
	Images     int   `json:"images,omitempty"`
	Own        int64 `json:"own,omitempty"`
	Base       int64 `json:"base,omitempty"`
	Compressed int64 `json:"compressed,omitempty"`
	// Before and After are the daemon's records by type, in bytes.
	Before map[string]int64 `json:"before,omitempty"`
	After  map[string]int64 `json:"after,omitempty"`
	// Error says why not everything went; TimedOut that a deadline ended it.
	Error    string `json:"error,omitempty"`
	TimedOut bool   `json:"timedOut,omitempty"`
}

// DiskData is a reading of the disk that holds the daemon's state.
type DiskData struct {
	Used  int64 `json:"used"`
	Free  int64 `json:"free"`
	Total int64 `json:"total"`
	// Records says that Used is the sum of what the daemon says that it keeps, as
	// its file system cannot be read; Free and Total then say nothing of a disk.
	Records bool `json:"records,omitempty"`
	// Budget is what the daemon may hold of it by the run's budget, beside what
	// others held before it; 0 when it has no budget.
	Budget int64 `json:"budget,omitempty"`
	// IO and Memory are the shares of the last seconds in which some task waited
	// for them, in percent, by the kernel's pressure figures; 0 when not known.
	IO     float64 `json:"io,omitempty"`
	Memory float64 `json:"memory,omitempty"`
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
	// Parts say how long the vertex was at work on what the solver reports apart,
	// by the Part constants. What is done at once counts once. Nil when there was
	// nothing of the kind; never changed after it was reported.
	Parts map[string]time.Duration
	// Log is new output since the last report.
	Log []byte
}
