// Package budget keeps the ledger of one daemon's disk: what a reading of the
// file system says is used, what was promised to work that runs, and what may
// be used at most.
//
// All sizes are bytes. A ledger is pure: the same readings and promises, in the
// same order, lead to the same answers. It is not for concurrent use.
package budget

import "math"

// Unlimited is the ceiling of a ledger that knows no limit.
const Unlimited = int64(math.MaxInt64)

// Rule says how much a daemon may hold. The zero value is no limit.
type Rule struct {
	// Bytes is the most that the daemon may hold; 0 means no such limit.
	Bytes int64
	// Share is the same as a share of the file system, above 0 up to 1; 0 means
	// no such limit.
	Share float64
	// LeaveFree are bytes of the file system that stay free.
	LeaveFree int64
}

// Reading is what a file system says of itself. Free is what can be written,
// which may be less than Total - Used.
type Reading struct{ Used, Free, Total int64 }

// Ledger is the account of one file system. Use [New].
type Ledger struct {
	rule     Rule
	others   int64 // bytes in the first reading that were not the daemon's
	reading  Reading
	promises map[string]*promise
	promised int64 // sum of what is left of the promises
	peak     int64
}

// promise is disk that work in progress may still take.
type promise struct{ left int64 }

// New opens a ledger with a first reading, of which the daemon held holds.
// Whatever else is used then is other people's and no part of Rule.Bytes.
// What others write later counts like the daemon's own bytes: the file system
// cannot tell them apart.
func New(rule Rule, first Reading, holds int64) *Ledger {
	return &Ledger{rule: rule, others: max(first.Used-max(holds, 0), 0), reading: first, promises: map[string]*promise{}, peak: first.Used}
}

// guard is the part of a limit that is kept back for what happens between two
// readings, and for what the file system itself needs.
const guard = 0.03

// Allowance is what the daemon may hold by the rule alone, with the guard taken
// off; [Unlimited] without a rule.
func (l *Ledger) Allowance() int64 {
	limit := Unlimited
	if l.rule.Bytes > 0 {
		limit = l.rule.Bytes
	}
	if l.rule.Share > 0 {
		limit = min(limit, int64(l.rule.Share*float64(l.reading.Total)))
	}
	if limit == Unlimited {
		return limit
	}
	return limit - int64(guard*float64(limit))
}

// Ceiling is the reading that must not be passed: the rule's, or that at which
// only LeaveFree bytes are left, whichever is lower.
func (l *Ledger) Ceiling() int64 {
	ceiling := l.reading.Used + l.reading.Free - l.rule.LeaveFree
	if a := l.Allowance(); a < Unlimited-l.others {
		ceiling = min(ceiling, l.others+a)
	}
	return ceiling
}

// Room is what can still be promised; below zero when the ceiling is passed or
// promises that were kept took more than was thought.
func (l *Ledger) Room() int64 { return l.Ceiling() - l.reading.Used - l.promised }

// Fits tells whether n more bytes can be promised.
func (l *Ledger) Fits(n int64) bool { return n <= l.Room() }

// Over tells whether the last reading is above the ceiling.
func (l *Ledger) Over() bool { return l.reading.Used > l.Ceiling() }

// Used is the last reading.
func (l *Ledger) Used() int64 { return l.reading.Used }

// Others is the part of the first reading that was not the daemon's.
func (l *Ledger) Others() int64 { return l.others }

// Peak is the highest reading.
func (l *Ledger) Peak() int64 { return l.peak }

// Promised is the sum of what is left of the promises.
func (l *Ledger) Promised() int64 { return l.promised }

// Promise sets n bytes aside for id. A second promise to the same id replaces
// the first.
func (l *Ledger) Promise(id string, n int64) {
	l.Settle(id)
	l.promises[id] = &promise{left: n}
	l.promised += n
}

// Settle ends the promise to id: what it took is in the readings from now on.
func (l *Ledger) Settle(id string) {
	if p := l.promises[id]; p != nil {
		l.promised -= p.left
		delete(l.promises, id)
	}
}

// Read takes a reading. Growth since the last one is taken off the promises, in
// proportion to what is left of each, so that bytes which are on the disk are
// not set aside as well; a fall gives nothing back to them, as it is a release.
func (l *Ledger) Read(r Reading) {
	growth := r.Used - l.reading.Used
	l.reading = r
	l.peak = max(l.peak, r.Used)
	if growth <= 0 || l.promised == 0 {
		return
	}
	if growth >= l.promised {
		for _, p := range l.promises {
			p.left = 0
		}
		l.promised = 0
		return
	}
	share := float64(growth) / float64(l.promised)
	var sum int64
	for _, p := range l.promises {
		// Rounded so that no more than the growth is taken off.
		p.left -= int64(share * float64(p.left))
		sum += p.left
	}
	l.promised = sum
}
