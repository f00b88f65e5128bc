package fleet

import "github.com/lapstrake/lapstrake/internal/model/waiver"

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
	// Its reason is never empty.
	waiver.Waiver
}

// Limits bound what a plan may come to. Zero means no limit.
type Limits struct {
	// ExecutionsPerImage is the most step executions that a plan may come to, by
	// image that it makes.
	ExecutionsPerImage int `json:"executionsPerImage,omitempty"`
	// Bytes is the most bytes that it may write or move.
	Bytes int64 `json:"bytes,omitempty"`
}
