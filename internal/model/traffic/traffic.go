// Package traffic holds what a client and the policy that paces its requests to
// one host say to each other.
package traffic

import "time"

// Kind is what happened to a request.
type Kind int

// The kinds of event.
const (
	Tick Kind = iota // time passed, nothing else
	Ask              // a request wants to be sent
	Done             // a request that was sent has ended
	Drop             // a request is given up by its sender, sent or not
)

// Event is one thing that happened.
type Event struct {
	Kind Kind
	// ID names the request; the sender chooses it and does not use it twice.
	ID uint64
	// Status is the HTTP status of the answer, for Done; 0 means that no
	// complete answer came.
	Status int
	// Final says, for Done, that trying again cannot help.
	Final bool
	// Header is that of the answer, with canonical names; may be nil.
	Header map[string][]string
}

// Ruling is what a policy wants done after an event.
type Ruling struct {
	// Send are requests to send now, in order.
	Send []uint64
	// Again answers Done: the request counts as asked again, and its id comes
	// back in Send. When it is false, the request is over.
	Again bool
	// Refuse are waiting requests that will not be sent, because the host wants
	// none before Until, which is too far away to wait for.
	Refuse []uint64
	Until  time.Time
	// Wake is when the policy wants the next event at the latest; the zero time
	// means that it can wait for one.
	Wake time.Time
}

// Policy decides when the requests to one host are sent. Step is told the time,
// which never goes back, and is not safe for concurrent use. An event about an
// id that is unknown changes nothing.
type Policy interface {
	Step(now time.Time, e Event) Ruling
}
