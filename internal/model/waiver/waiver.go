// Package waiver is somebody's word that something was looked at and is accepted,
// for a time: a finding of lint, or a claim of a gate that does not hold.
package waiver

import (
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Waiver says who accepts something, why, and for how long.
type Waiver struct {
	// Owner is who answers for it; empty when nobody is named.
	Owner string `json:"owner,omitempty"`
	// Reason is for people.
	Reason string `json:"reason"`
	// Expires is the moment from which on it does not count; zero means never.
	Expires time.Time `json:"expires,omitzero"`
	// Pos is where it was given.
	Pos diag.Pos `json:"-"`
}

// Counts tells whether it counts at a time.
func (w Waiver) Counts(now time.Time) bool { return w.Expires.IsZero() || now.Before(w.Expires) }

// String is the reason, with the owner and the end where they are known:
// "known (ana, expires 2027-01-31)".
func (w Waiver) String() string {
	var more []string
	if w.Owner != "" {
		more = append(more, w.Owner)
	}
	if !w.Expires.IsZero() {
		more = append(more, "expires "+Day(w.Expires))
	}
	if len(more) == 0 {
		return w.Reason
	}
	return w.Reason + " (" + strings.Join(more, ", ") + ")"
}

// Day is a moment as a waiver is written: a day when it begins one in UTC, else a
// time.
func Day(at time.Time) string {
	if at = at.UTC(); at.Equal(at.Truncate(24 * time.Hour)) {
		return at.Format(time.DateOnly)
	}
	return at.Format(time.RFC3339)
}

// ParseExpiry reads the day, in UTC, or the moment from which on a waiver does not
// count: 2027-01-31, or 2027-01-31T12:00:00Z.
//
// An error says what is wrong with the text without repeating it, is of kind
// diag.Usage and has help.
func ParseExpiry(s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, diag.Errorf(diag.Usage, "write the day from which on it does not count, like 2027-01-31", "this is not a day")
}
