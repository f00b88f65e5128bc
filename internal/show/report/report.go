// Package report makes a page of what runs did, or of what an experiment says: one
// file that holds all it needs, opens offline, and sends no request.
//
// A [Page] is what it shows, and its JSON form the twin of the file. [Render] is a
// pure function of it.
package report

import (
	"github.com/lapstrake/lapstrake/internal/decide/answer"
	"github.com/lapstrake/lapstrake/internal/decide/explain"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/decide/timeline"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Version is the version of a page's JSON form.
const Version = 1

// Page is what a report shows: a run, two runs, or an experiment.
type Page struct {
	V int `json:"v"`
	// Title is that of the file.
	Title string `json:"title"`
	// Run is null in the page of an experiment.
	Run *Run `json:"run,omitempty"`
	// Old is the run that Run is compared with, and Difference what makes them
	// different; null without one.
	Old        *Old                `json:"old,omitempty"`
	Difference *explain.Difference `json:"difference,omitempty"`
	// Misses say why steps of Run were not cached; null when the run kept no plan
	// that could be compared. At most 200; MoreMisses counts the others.
	Misses     *explain.Report `json:"misses,omitempty"`
	MoreMisses int             `json:"moreMisses,omitempty"`
	Lab        *answer.Report  `json:"lab,omitempty"`
}

// Run is what is shown of a run. Times are seconds since its first event.
type Run struct {
	ID    string `json:"id"`
	Fleet string `json:"fleet"`
	// Summary is the same as `lapstrake show --json`, but that the disk over time is
	// in Disks.
	Summary *summary.Summary `json:"summary"`
	// Reasons count what was decided and why, the most frequent first; null when the
	// run kept no plan.
	Reasons []Reason `json:"reasons"`
	// StepNames and Workers are named by their places.
	StepNames []StepName `json:"stepNames"`
	Workers   []string   `json:"workers"`
	// Images are in the order of the plan.
	Images []Image `json:"images"`
	// Shared are the steps that serve many images, in the order of their ends.
	Shared   []Step              `json:"shared"`
	Spans    []Span              `json:"spans"`
	Held     []timeline.Interval `json:"held"`
	Releases []Release           `json:"releases"`
	Disks    []Disk              `json:"disks"`
	Logs     []Log               `json:"logs"`
}

// Old is what is shown of the run that another one is compared with.
type Old struct {
	ID      string           `json:"id"`
	Summary *summary.Summary `json:"summary"`
	Disks   []Disk           `json:"disks"`
	// Seconds is how long each image was in work, by id.
	Seconds map[string]float64 `json:"seconds"`
}

// Reason is an action with the first reason for it.
type Reason struct {
	Action string `json:"action"`
	Code   string `json:"code"`
	// Meaning says in a line what the code means.
	Meaning string `json:"meaning,omitempty"`
	Images  int    `json:"images"`
}

// StepName is a step as BuildKit shows it.
type StepName struct {
	Name   string     `json:"name"`
	Kind   graph.Kind `json:"kind,omitempty"`
	Shared bool       `json:"shared,omitempty"`
}

// Image is one image. Worker, and Step of a step, are places in lists of the run,
// Log in its logs; null is none.
type Image struct {
	ID    string `json:"id"`
	State string `json:"state"`
	// Action and Temperature may be "": not known.
	Action      string       `json:"action,omitempty"`
	Temperature string       `json:"temperature,omitempty"`
	Why         []Why        `json:"why,omitempty"`
	Base        string       `json:"base,omitempty"`
	BaseDigest  graph.Digest `json:"baseDigest,omitempty"`
	Platform    string       `json:"platform,omitempty"`
	Tags        []string     `json:"tags,omitempty"`
	Digest      graph.Digest `json:"digest,omitempty"`
	Key         string       `json:"key,omitempty"`
	Worker      *int         `json:"worker,omitempty"`
	Attempts    int          `json:"attempts,omitempty"`
	// Seconds is how long it was in work, over all attempts; null when it never was.
	Seconds *float64 `json:"seconds"`
	Pulled  int64    `json:"pulled,omitempty"`
	Steps   []Step   `json:"steps,omitempty"`
	// Failure is its place in the summary's failures.
	Failure *int `json:"failure,omitempty"`
}

// Why is a reason for what is done with an image.
type Why struct {
	Code   string `json:"code"`
	Place  string `json:"place,omitempty"` // file:line:col
	Detail string `json:"detail,omitempty"`
}

// Step is a step that ended.
type Step struct {
	Step   int     `json:"step"`
	Took   float64 `json:"took,omitempty"` // seconds
	Cached bool    `json:"cached,omitempty"`
	Pulled int64   `json:"pulled,omitempty"` // bytes
	Error  string  `json:"error,omitempty"`
	Log    *int    `json:"log,omitempty"`
}

// Span is an image, by its place, or a shared step, by its name, in work on a
// worker; a null worker is the registry's work alone. What goes on at once on a
// worker is on different lanes, from 0.
type Span struct {
	timeline.Interval
	Image   *int             `json:"image,omitempty"`
	Shared  string           `json:"shared,omitempty"`
	Worker  *int             `json:"worker,omitempty"`
	Lane    int              `json:"lane"`
	Outcome timeline.Outcome `json:"outcome"`
	Attempt int              `json:"attempt,omitempty"`
}

// Release is a release of a worker's records.
type Release struct {
	timeline.Interval
	Worker *int   `json:"worker,omitempty"`
	Bytes  int64  `json:"bytes"`
	Images int    `json:"images,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Disk is a worker's disk. A point is seconds, bytes used and the budget in bytes, 0
// when there is none.
type Disk struct {
	Worker string       `json:"worker"`
	Points [][3]float64 `json:"points"`
}

// Log is the end of a step's output.
type Log struct {
	Text string `json:"text"`
	// Bytes is the size of all of it.
	Bytes int64 `json:"bytes"`
}
