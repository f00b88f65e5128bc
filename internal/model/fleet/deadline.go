package fleet

import (
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Deadlines say how long things may take before they are cancelled, in the
// daemon too. Zero means no limit of the user's own; a limit is at least
// [MinDeadline].
type Deadlines struct {
	// Image is for one attempt to make an image.
	Image time.Duration `json:"image,omitempty"`
	// Step is for one step of an image, or one shared step.
	Step time.Duration `json:"step,omitempty"`
	// Release is for one release of dead records.
	Release time.Duration `json:"release,omitempty"`
	// Run is for the whole run.
	Run time.Duration `json:"run,omitempty"`
}

// Or returns d with the limits that it lacks taken from other.
func (d Deadlines) Or(other Deadlines) Deadlines {
	or := func(a, b time.Duration) time.Duration {
		if a != 0 {
			return a
		}
		return b
	}
	return Deadlines{
		Image: or(d.Image, other.Image), Step: or(d.Step, other.Step),
		Release: or(d.Release, other.Release), Run: or(d.Run, other.Run),
	}
}

// MinDeadline is the shortest deadline: less than a second stops everything,
// and is a number that forgot its unit or took the wrong one.
const MinDeadline = time.Second

// deadlineHelp says how a deadline is written.
const deadlineHelp = "write a time like 30s, 20m, 5h or 1h30m"

// ParseDeadline reads a time of at least [MinDeadline], as Go writes it: "30s",
// "20m", "1h30m".
//
// An error says what is wrong with the text without repeating it, is of kind
// diag.Usage and has help.
func ParseDeadline(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil && isNumber(s):
		return 0, diag.Errorf(diag.Usage, deadlineHelp, "a time has a unit")
	case err != nil:
		return 0, diag.Errorf(diag.Usage, deadlineHelp, "this is not a time")
	case d < MinDeadline:
		return 0, diag.Errorf(diag.Usage, deadlineHelp, "a deadline is at least a second")
	}
	return d, nil
}

func isNumber(s string) bool {
	_, err := parseNumber(s)
	return err == nil
}
