package trials

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Seen is what was seen of a trial by those who did not run it: before it began,
// while it ran, and after.
type Seen struct {
	// Held are the bytes of the daemon's records before the trial.
	Held int64 `json:"held"`
	// CanaryHit tells whether the canary, a tiny image that every state is given,
	// was found made.
	CanaryHit bool `json:"canaryHit"`
	// SeedMark names the state that the trial's was copied from, as the copy says
	// itself; "" when it began with nothing.
	SeedMark string `json:"seedMark,omitempty"`
	// Refs are the references that were there before among those that the trial
	// might write, and CacheRefs those of its cache.
	Refs      []string `json:"refs,omitempty"`
	CacheRefs []string `json:"cacheRefs,omitempty"`
	// Foreign are references outside of the trial's own that its builds wrote, or
	// took a cache from.
	Foreign []string `json:"foreign,omitempty"`
	// Mounts are mounts below the trial's folder before it began and after it ended.
	Mounts []string `json:"mounts,omitempty"`
	// Steps are executed and cached steps by where their results came from.
	Steps Census `json:"steps"`
	// Inputs is a digest over what the builds read: sources, and what floating
	// references were locked to.
	Inputs graph.Digest `json:"inputs,omitempty"`
	// Jobs is the number of solves at once that the run kept to; 0 when it does not
	// say.
	Jobs int `json:"jobs,omitempty"`
}

// Census counts steps by where their results came from. Sources are no steps.
type Census struct {
	Executed int `json:"executed"`
	// Intra were made in the trial before, Seed in the state that it started from,
	// Foreign neither.
	Intra   int `json:"intra"`
	Seed    int `json:"seed"`
	Foreign int `json:"foreign"`
}

// Wanted is what a trial was meant to be.
type Wanted struct {
	Cell experiment.Cell
	// SeedMark names the state that it had to start from; "" is nothing.
	SeedMark string
	// Inputs is the digest of what all trials of the setting read; "" when that is
	// not known.
	Inputs graph.Digest
	// Jobs and Daemon are those of the experiment's other trials; 0 and "" when
	// not known.
	Jobs   int
	Daemon string
	// Skips tells whether skipping is a factor.
	Skips bool
}

// FaultCode names a way to contaminate a trial.
type FaultCode string

// The faults.
const (
	SharedState  FaultCode = "shared-state"  // the daemon held something
	NoState      FaultCode = "no-state"      // the daemon held nothing, and should have
	CanaryWrong  FaultCode = "canary"        // the canary was found made, or was not, against the temperature
	WrongSeed    FaultCode = "wrong-seed"    // it started from another state than was asked for
	SharedRef    FaultCode = "shared-ref"    // references that it writes were there before
	SharedCache  FaultCode = "shared-cache"  // so were some of its cache
	ForeignRef   FaultCode = "foreign-ref"   // it wrote or imported references that are not its own
	LeftMount    FaultCode = "left-mount"    // mounts were there before, or were left
	Skips        FaultCode = "skip"          // images were in place already
	ForeignSteps FaultCode = "foreign-steps" // results came from nowhere that it may know
	NotCold      FaultCode = "not-cold"      // a cold trial found steps made
	OtherInputs  FaultCode = "other-inputs"  // it read other sources or bases than the setting's trials
	OtherJobs    FaultCode = "other-jobs"    // it ran another number of solves at once
	OtherDaemon  FaultCode = "other-daemon"  // the daemon had another version
	NoSummary    FaultCode = "no-summary"    // its run left nothing to judge it by
)

// Fault is a reason for which a trial does not count.
type Fault struct {
	Code   FaultCode `json:"code"`
	Detail string    `json:"detail"`
}

// Attest holds what was seen of a trial against what it was meant to be. The
// faults are in the order in which they would have happened; none means that the
// trial counts. S is the summary of its run, nil when it left none.
//
// A trial that failed may count: that images fail is an observation.
func Attest(want Wanted, seen Seen, s *summary.Summary) []Fault {
	a := attest{faults: []Fault{}}
	a.state(want, seen)
	a.refs(seen)
	if len(seen.Mounts) > 0 {
		a.fault(LeftMount, "mounted below its folder: %s", some(seen.Mounts))
	}
	if s == nil {
		a.fault(NoSummary, "its run has no summary")
		return a.faults
	}
	if n := s.Skipped + s.Retagged; n > 0 && !want.Skips {
		a.fault(Skips, "%d images were in place already, and were not built", n)
	}
	a.steps(want, seen)
	a.conditions(want, seen, s)
	return a.faults
}

// attest collects faults.
type attest struct{ faults []Fault }

func (a *attest) fault(code FaultCode, format string, args ...any) {
	a.faults = append(a.faults, Fault{code, fmt.Sprintf(format, args...)})
}

// keeps tells whether a temperature starts with the daemon's state of a seed.
func keeps(t experiment.Temperature) bool { return t == experiment.Warm || t == experiment.Bump }

// state looks at what the daemon held before the trial.
func (a *attest) state(want Wanted, seen Seen) {
	switch kept := keeps(want.Cell.Temperature); {
	case !kept && seen.Held > 0:
		a.fault(SharedState, "the daemon held %d bytes before it", seen.Held)
	case kept && seen.Held == 0:
		a.fault(NoState, "the daemon held nothing before it")
	}
	if kept := keeps(want.Cell.Temperature); kept != seen.CanaryHit {
		found := map[bool]string{true: "found made", false: "not found made"}
		a.fault(CanaryWrong, "the canary was %s", found[seen.CanaryHit])
	}
	if want.SeedMark != seen.SeedMark {
		a.fault(WrongSeed, "it started from %s, not from %s", mark(seen.SeedMark), mark(want.SeedMark))
	}
}

func mark(s string) string {
	if s == "" {
		return "nothing"
	}
	return "the state " + s
}

// refs looks at names that several trials could meet under.
func (a *attest) refs(seen Seen) {
	if len(seen.Refs) > 0 {
		a.fault(SharedRef, "there before it: %s", some(seen.Refs))
	}
	if len(seen.CacheRefs) > 0 {
		a.fault(SharedCache, "in its cache before it: %s", some(seen.CacheRefs))
	}
	if len(seen.Foreign) > 0 {
		a.fault(ForeignRef, "not its own: %s", some(seen.Foreign))
	}
}

// steps looks at where results came from.
func (a *attest) steps(want Wanted, seen Seen) {
	if n := seen.Steps.Foreign; n > 0 {
		a.fault(ForeignSteps, "%d cached steps were made neither in it nor in what it started from", n)
	}
	if n := seen.Steps.Seed; n > 0 && want.Cell.Temperature == experiment.Cold {
		a.fault(NotCold, "%d steps were found made", n)
	}
}

// conditions looks at what must be alike in all trials.
func (a *attest) conditions(want Wanted, seen Seen, s *summary.Summary) {
	if want.Inputs != "" && seen.Inputs != want.Inputs {
		a.fault(OtherInputs, "it read %s, not %s as the others of its setting", seen.Inputs, want.Inputs)
	}
	if want.Jobs != 0 && seen.Jobs != 0 && seen.Jobs != want.Jobs {
		a.fault(OtherJobs, "%d solves at once, and %d in the other trials", seen.Jobs, want.Jobs)
	}
	if v := s.Versions[Daemon]; want.Daemon != "" && v != "" && v != want.Daemon {
		a.fault(OtherDaemon, "the daemon is %s, in the other trials it was %s", v, want.Daemon)
	}
}

// some are the first few of many names.
func some(names []string) string {
	const few = 3
	names = slices.Sorted(slices.Values(names))
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
