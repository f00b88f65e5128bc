package attribute

import (
	"math"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Reading is what one cell took.
type Reading struct {
	// Seconds is the wall time, Bytes what was written by distinct steps, so that
	// what was pruned and made again counts once.
	Seconds float64 `json:"seconds"`
	Bytes   float64 `json:"bytes"`
}

// Amplifier is the question whether a small disk makes a cause worse.
type Amplifier struct {
	// Reference is the cell with nothing new, Last the one with all, and Doubled is
	// Last with twice the disk budget.
	Reference Reading
	Last      Reading
	Doubled   Reading
	// SecondsMargin and BytesMargin are how far readings may lie apart and be the
	// same, relative: 0.1 is 10 %.
	SecondsMargin float64
	BytesMargin   float64
}

// Cause is the answer to an [Amplifier].
type Cause string

// The causes.
const (
	NoExcess  Cause = "no-excess"  // the last cell is not slower
	DiskCliff Cause = "disk-cliff" // the bytes grew over the disk: they are the cause, prune-and-rebuild makes it worse
	SmallDisk Cause = "small-disk" // the disk is too small for both, or for what differs besides bytes
	Partly    Cause = "partly"     // a larger disk gives a part of the time back
	Direct    Cause = "direct"     // the disk has no part in it
	Unclear   Cause = "unclear"    // the time comes back, but with the budget the bytes changed as well
)

// Amplification is what the readings say.
type Amplification struct {
	Cause    Cause  `json:"cause"`
	Sentence string `json:"sentence"`
	// Back is the share of the lost time that the larger disk gives back; 0 when
	// none was lost.
	Back float64 `json:"back"`
}

// Amplify says what part the disk has in a loss of time. Readings that are not
// above 0 are an error of kind diag.Usage.
func Amplify(a Amplifier) (Amplification, error) {
	for _, r := range []Reading{a.Reference, a.Last, a.Doubled} {
		if !(r.Seconds > 0 && r.Bytes > 0) || math.IsInf(r.Seconds+r.Bytes, 0) {
			return Amplification{}, diag.Errorf(diag.Usage, "", "attribute: a reading is not above 0")
		}
	}
	back := (a.Last.Seconds - a.Doubled.Seconds) / (a.Last.Seconds - a.Reference.Seconds)
	slower := func(x, y Reading) bool { return x.Seconds > y.Seconds*(1+a.SecondsMargin) }
	stay := math.Abs(a.Doubled.Bytes-a.Last.Bytes) <= a.BytesMargin*a.Last.Bytes
	grew := a.Last.Bytes > a.Reference.Bytes*(1+a.BytesMargin)
	switch {
	case !slower(a.Last, a.Reference):
		return Amplification{NoExcess, "it is not slower, so there is nothing that a disk could make worse", 0}, nil
	case !slower(a.Last, a.Doubled):
		return Amplification{Direct, "with twice the disk it is as slow: the disk has no part in it", back}, nil
	case slower(a.Doubled, a.Reference):
		return Amplification{Partly, "with twice the disk a part of the time comes back: the disk makes it worse and is not all", back}, nil
	case !stay:
		return Amplification{Unclear, "with twice the disk the time comes back, and the bytes change too: it cannot be told which of them did it", back}, nil
	case !grew:
		return Amplification{SmallDisk, "with twice the disk the time comes back, and no more is written than before: the disk is too small for it", back}, nil
	}
	return Amplification{DiskCliff, "disk cliff: with twice the disk the time comes back and the bytes stay, so the bytes are the cause, and prune-and-rebuild is the amplifier", back}, nil
}
