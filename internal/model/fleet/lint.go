package fleet

import (
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Lint says how a fleet is checked. The zero value is every rule as it is, and
// no limits.
type Lint struct {
	// Rules gives a rule's code another severity: "error", "warning" or "off".
	Rules map[string]string `json:"rules,omitempty"`
	// Waivers are findings that were looked at and are accepted.
	Waivers []Waiver `json:"waivers,omitempty"`
	// Limits bound what a plan may come to.
	Limits Limits `json:"limits,omitzero"`
}

// Waiver accepts findings of one rule in one place.
type Waiver struct {
	Rule string `json:"rule"`
	// Where is FILE:LINE, the file's name with as many of its folders as tell it
	// apart, or a text that the finding's line holds.
	Where string `json:"where"`
	// Reason is for people; never empty.
	Reason string `json:"reason"`
	// Until is the last day on which it counts; nil means for ever.
	Until *time.Time `json:"until,omitempty"`
	Pos   diag.Pos   `json:"pos"`
}

// Limits bound what a plan may come to. Zero means no limit.
type Limits struct {
	// ExecutionsPerImage is the most step executions that a plan may come to, by
	// image that it makes.
	ExecutionsPerImage int `json:"executionsPerImage,omitempty"`
	// Bytes is the most bytes that it may write or move.
	Bytes int64 `json:"bytes,omitempty"`
}
