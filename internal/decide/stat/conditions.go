package stat

import (
	"fmt"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Conditions are what must be alike in two samples for their difference to mean
// anything.
type Conditions struct {
	// Temperature is what the trials found made, as it was attested: cold, warm …
	Temperature string `json:"temperature"`
	// Concurrency is the number of solves at once.
	Concurrency int `json:"concurrency"`
	// Plan names what was to be done, apart from the factor that is looked at.
	Plan string `json:"plan"`
	// Daemon is the version of the daemon.
	Daemon string `json:"daemon"`
}

// Difference is one condition that differs.
type Difference struct {
	// Field is temperature, concurrency, plan or daemon version.
	Field string `json:"field"`
	A     string `json:"a"`
	B     string `json:"b"`
}

// Refusal says why two samples cannot be compared. As part of an error it is
// found with errors.As.
type Refusal struct{ Differences []Difference }

// Error lists what differs.
func (r *Refusal) Error() string {
	parts := make([]string, len(r.Differences))
	for i, d := range r.Differences {
		parts[i] = fmt.Sprintf("%s (%s, %s)", d.Field, d.A, d.B)
	}
	return "trials that differ in " + strings.Join(parts, ", ") + " cannot be compared"
}

// Against returns nil when trials under c and d may be compared, else an error of
// kind diag.Usage that wraps a [*Refusal] and lists everything that differs.
func (c Conditions) Against(d Conditions) error {
	var r Refusal
	for _, f := range []Difference{
		{"temperature", c.Temperature, d.Temperature},
		{"concurrency", fmt.Sprint(c.Concurrency), fmt.Sprint(d.Concurrency)},
		{"plan", c.Plan, d.Plan},
		{"daemon version", c.Daemon, d.Daemon},
	} {
		if f.A != f.B {
			r.Differences = append(r.Differences, f)
		}
	}
	if r.Differences == nil {
		return nil
	}
	return diag.Errorf(diag.Usage, "compare trials that differ only in what the question is about", "%w", &r)
}
