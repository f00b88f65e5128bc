package attribute

import (
	"math"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Reading is what one cell took.
type Reading struct {
	// Cost is what was lost: wall time in seconds, or a count such as executed steps.
	// Bytes is what was written by distinct steps, so that what was pruned and made
	// again counts once.
	Cost  float64 `json:"cost"`
	Bytes float64 `json:"bytes"`
}

// Amplifier is the question whether a small disk makes a cause worse.
type Amplifier struct {
	// Reference is the cell with nothing new, Last the one with all, and Doubled is
	// Last with twice the disk budget.
	Reference Reading
	Last      Reading
	Doubled   Reading
	// What is the cost in words, for the sentence: "the time" when empty.
	What string
	// CostMargin is how far costs may lie apart and be the same, in their unit, and
	// BytesMargin the same of bytes, relative: 0.1 is 10 %.
	CostMargin  float64
	BytesMargin float64
}

// Cause is the answer to an [Amplifier].
type Cause string

// The causes.
const (
	NoExcess  Cause = "no-excess"  // the last cell takes no more
	DiskCliff Cause = "disk-cliff" // the bytes grew over the disk: they are the cause, prune-and-rebuild makes it worse
	SmallDisk Cause = "small-disk" // the disk is too small for both, or for what differs besides bytes
	Partly    Cause = "partly"     // a larger disk gives a part of it back
	Direct    Cause = "direct"     // the disk has no part in it
	Unclear   Cause = "unclear"    // the cost comes back, but with the budget the bytes changed as well
)

// Amplification is what the readings say.
type Amplification struct {
	Cause    Cause  `json:"cause"`
	Sentence string `json:"sentence"`
	// Back is the share of the lost time that the larger disk gives back; 0 when
	// none was lost.
	Back float64 `json:"back"`
}

// Amplify says what part the disk has in a loss. Readings that are not
// above 0 are an error of kind diag.Usage.
func Amplify(a Amplifier) (Amplification, error) {
	for _, r := range []Reading{a.Reference, a.Last, a.Doubled} {
		if !(r.Cost > 0 && r.Bytes > 0) || math.IsInf(r.Cost+r.Bytes, 0) {
			return Amplification{}, diag.Errorf(diag.Usage, "choose a metric that is above 0 in every cell", "attribute: a reading is not above 0")
		}
	}
	what := a.What
	if what == "" {
		what = "the time"
	}
	back := (a.Last.Cost - a.Doubled.Cost) / (a.Last.Cost - a.Reference.Cost)
	more := func(x, y Reading) bool { return x.Cost > y.Cost+a.CostMargin }
	stay := math.Abs(a.Doubled.Bytes-a.Last.Bytes) <= a.BytesMargin*a.Last.Bytes
	grew := a.Last.Bytes > a.Reference.Bytes*(1+a.BytesMargin)
	switch {
	case !more(a.Last, a.Reference):
		return Amplification{NoExcess, "it takes no more, so there is nothing that a disk could make worse", 0}, nil
	case !more(a.Last, a.Doubled):
		return Amplification{Direct, "with twice the disk it takes as much: the disk has no part in it", back}, nil
	case more(a.Doubled, a.Reference):
		return Amplification{Partly, "with twice the disk a part of " + what + " comes back: the disk makes it worse and is not all", back}, nil
	case !stay:
		return Amplification{Unclear, "with twice the disk " + what + " comes back, and the bytes change too: it cannot be told which of them did it", back}, nil
	case !grew:
		return Amplification{SmallDisk, "with twice the disk " + what + " comes back, and no more is written than before: the disk is too small for it", back}, nil
	}
	return Amplification{DiskCliff, "disk cliff: with twice the disk " + what + " comes back and the bytes stay, so the bytes are the cause, and prune-and-rebuild is the amplifier", back}, nil
}
