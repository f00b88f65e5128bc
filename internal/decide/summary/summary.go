// Package summary is the one fold over a run's journal. The live view, the
// reports, resuming and comparing all read a [Summary]; nothing else adds
// events up.
//
// A figure that was not measured is null, never zero.
package summary

import (
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Version is the version of the summary's JSON form.
const Version = 1

// Summary is what a run came to, or has come to so far. Images is always the
// sum of Built, Skipped, Retagged, Failed and Pending. Its JSON form is for
// readers: a summary that was decoded cannot be folded on. Make one with [New].
//
// A Summary is not for concurrent use.
type Summary struct {
	V     int    `json:"v"`
	Run   string `json:"run"`
	Fleet string `json:"fleet"`
	// Observed is true when another program's builds were recorded, which nobody
	// planned; Fleet is its command line.
	Observed bool `json:"observed,omitempty"`
	// Imported is the file that an observed run was told of by, instead of its
	// daemon; Fleet is then that file, and nothing vouches for what it says.
	Imported string `json:"imported,omitempty"`
	// File is the fleet file's absolute path, Namespace where what is published was
	// moved to. Runs of earlier versions have no File.
	File      string `json:"file,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	// Output is where images went when that is not the registries that their tags
	// name.
	Output string `json:"output,omitempty"`
	// Starts is how often the run was started; more than one means resumed.
	Starts int `json:"starts"`
	// Started and Last are the times of the first and the last event.
	Started *time.Time `json:"started"`
	Last    *time.Time `json:"last"`
	// Exit is null while the run goes on, and after it was killed.
	Exit  *int   `json:"exit"`
	Cause string `json:"cause,omitempty"`

	// Images is the number of images planned.
	Images int `json:"images"`
	// Built images were published by an append or a build of this run.
	Built    int `json:"built"`
	Skipped  int `json:"skipped"`
	Retagged int `json:"retagged"`
	Failed   int `json:"failed"`
	// Pending images are still to do, or in work.
	Pending int `json:"pending"`
	// Strategies counts the Built images by action: append, build.
	Strategies map[string]int `json:"strategies"`
	// Temperature counts the images whose temperature the journal states.
	Temperature *Temperatures `json:"temperature"`

	// WallSeconds is the time that the run was at work, over all its starts.
	WallSeconds *float64 `json:"wallSeconds"`
	// PhaseSeconds are by phase. Phases may overlap; one that did not begin is absent.
	PhaseSeconds map[string]float64 `json:"phaseSeconds"`

	// StepsExecuted and StepsCached count executions and cache hits of steps;
	// merges and the solver's own work are not steps.
	StepsExecuted *int64 `json:"stepsExecuted"`
	StepsCached   *int64 `json:"stepsCached"`
	// StepsDistinct is the number of steps with different digests in the plan.
	StepsDistinct *int64 `json:"stepsDistinct"`
	// Rework is executions per distinct step. An execution that repeats one is
	// left out when it is a source, or when the step, the image it ran for, or
	// the worker that had its result failed since.
	Rework *float64 `json:"rework"`
	// Repull is base bytes that the daemon pulled per byte of distinct base
	// layers of the images to build.
	Repull *float64 `json:"repull"`

	// DiskPeakBytes, DiskFinalBytes: bytes used on the file system of the
	// daemon's state. DiskBudgetBytes is the most that the budget allowed, with what
	// others held of it before. Of several workers each is the largest.
	DiskPeakBytes   *int64 `json:"diskPeakBytes"`
	DiskFinalBytes  *int64 `json:"diskFinalBytes"`
	DiskBudgetBytes *int64 `json:"diskBudgetBytes"`
	// ReleasedBytes were given back by the daemon in ReleaseSeconds.
	ReleasedBytes  *int64   `json:"releasedBytes"`
	ReleaseSeconds *float64 `json:"releaseSeconds"`
	// Releases tells more of them; null when there was none.
	Releases *Releases `json:"releases"`
	// DiskCurve is the disk over time, at most 200 points of which each holds
	// the highest reading of its time; null without a reading. Of several
	// workers it is that which used most.
	DiskCurve []DiskPoint `json:"diskCurve"`

	// BytesPulled is what the client and the daemon fetched. BytesPushed and
	// BytesMounted are the client's: blobs sent, and blobs mounted instead.
	BytesPulled  *int64 `json:"bytesPulled"`
	BytesPushed  *int64 `json:"bytesPushed"`
	BytesMounted *int64 `json:"bytesMounted"`
	// Requests are the client's, by registry host; Retries those sent again.
	Requests map[string]int64 `json:"requests"`
	Retries  *int64           `json:"retries"`
	// MountsRefused are mounts that a registry turned into copies.
	MountsRefused *int64 `json:"mountsRefused"`

	// Limits are those that the schedule kept to; null when there was none.
	Limits *Limits `json:"limits"`
	// RetriesByCause counts images and shared steps that had to wait again, by
	// the Retry constants of package journal; null without a schedule.
	RetriesByCause map[string]int `json:"retriesByCause"`
	// Workers are the daemons that have names, in the order of their first event.
	Workers []*Worker `json:"workers"`
	// Forecasts are the first of each tenth of the images, and the last.
	Forecasts []*Forecast `json:"forecasts"`

	// Versions are those of the programs that took part. Different versions
	// over several starts are joined with ", ".
	Versions map[string]string `json:"versions"`

	// Steps is a row per name of a step, in the order of their first end.
	Steps []*Step `json:"steps"`
	// Parts say where the time of images went, apart from their steps' names.
	Parts []*Part `json:"parts"`
	// Failures are those of images that are failed now, one per cause.
	Failures []*Failure `json:"failures"`
	// Notes are the first hundred remarks.
	Notes []journal.NoteData `json:"notes"`
	// Ignored counts events of unknown kinds and events whose data did not decode.
	Ignored int `json:"ignored"`

	// Units are the images that something happened to, by id. They are not part
	// of the JSON form.
	Units map[string]UnitState `json:"-"`
	// Indexes are the images whose tags name an index, by id: what the journal says
	// of each, and how it came about. They are not part of the JSON form.
	Indexes map[string]journal.UnitData `json:"-"`
	// Layers are the layer sets that are in a repository. They are not part of
	// the JSON form.
	Layers map[LayersKey]journal.LayersData `json:"-"`
	// Live is what goes on now. It is not part of the JSON form.
	Live Live `json:"-"`

	fold state
}

// State is how far an image is.
type State string

// The states of an image.
const (
	Started   State = "started"
	Built     State = "built"     // a solve pushed its layers
	Put       State = "put"       // its manifest is about to be sent, or was
	Placed    State = "placed"    // its manifest is there by digest, and is to be scanned
	Published State = "published" // every tag is there
	Failed    State = "failed"
	Skipped   State = "skipped"
)

// UnitState is the last that the journal says of an image.
type UnitState struct {
	State  State  `json:"state"`
	Action string `json:"action,omitempty"`
	Key    string `json:"key,omitempty"`
	// Digest is the manifest's: what was put, or is about to be.
	Digest graph.Digest `json:"digest,omitempty"`
	Tags   []string     `json:"tags,omitempty"`
	// Worker is the daemon that the image was built on.
	Worker string `json:"worker,omitempty"`
	// Attempts is how often the image was started.
	Attempts    int    `json:"attempts,omitempty"`
	Temperature string `json:"temperature,omitempty"`
}

// LayersKey names a layer set in a repository.
type LayersKey struct {
	Layers graph.Digest
	Repo   string
}

// Temperatures counts images; see package evidence for the words.
type Temperatures struct {
	Cold    int `json:"cold"`
	Partial int `json:"partial"`
	Warm    int `json:"warm"`
	Skipped int `json:"skipped"`
}

// Step is what became of all steps with one name.
type Step struct {
	Name   string     `json:"name"`
	Kind   graph.Kind `json:"kind,omitempty"`
	Shared bool       `json:"shared,omitempty"`
	// Count is Executed + Cached; Failed are among Executed.
	Count    int64 `json:"count"`
	Executed int64 `json:"executed"`
	Cached   int64 `json:"cached"`
	Failed   int64 `json:"failed,omitempty"`
	// TotalSeconds, P50Seconds and P95Seconds are of executions; the last two
	// are right within 2 %, and null without executions.
	TotalSeconds float64  `json:"totalSeconds"`
	P50Seconds   *float64 `json:"p50Seconds"`
	P95Seconds   *float64 `json:"p95Seconds"`
	PulledBytes  int64    `json:"pulledBytes,omitempty"`

	times histogram
}

// Failure is one cause and the images that it stopped.
type Failure struct {
	Kind   string `json:"kind"`
	Cause  string `json:"cause"`
	Help   string `json:"help,omitempty"`
	Step   string `json:"step,omitempty"`
	Shared bool   `json:"shared,omitempty"`
	// Pos is the step's place in the recipe, as far as it is known.
	Pos diag.Pos `json:"pos,omitzero"`
	// Log is the end of the step's output; left out when failures are many.
	Log string `json:"log,omitempty"`
	// Images are ids, in the order of failing.
	Images []string `json:"images"`
}

// New is the summary of an empty journal.
func New() *Summary {
	return &Summary{
		V: Version, Strategies: map[string]int{}, PhaseSeconds: map[string]float64{}, Versions: map[string]string{},
		Steps: []*Step{}, Parts: []*Part{}, Workers: []*Worker{}, Failures: []*Failure{}, Notes: []journal.NoteData{},
		Units: map[string]UnitState{}, Indexes: map[string]journal.UnitData{}, Layers: map[LayersKey]journal.LayersData{},
		fold: newState(),
	}
}
